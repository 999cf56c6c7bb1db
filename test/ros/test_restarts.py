# SPDX-License-Identifier: Apache-2.0
"""The benchmark of restarting drivers in its short form: every sweep that was received is in a scene or counted."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("tf2_msgs", reason="needs tf2_msgs: nucleus-bridge ros-setup tf2_msgs")
from live_graph import HERE, Program, new_domain

pytestmark = pytest.mark.live


@pytest.mark.parametrize("transport", ["LARGE_DATA", "UDPv4"])
def test_every_sweep_is_accounted_for_whatever_drivers_do(transport: str) -> None:
    new_domain()
    program = HERE.parent.parent / "benchmarks" / "restarts.py"
    given = ("--restarts", "3", "--points", "2000", "--transport", transport, "--deaf-s", "600")
    with Program(str(program), *given) as restarts:
        restarts.process.wait(300)
        assert restarts.wait() == 0, restarts.output
        assert "runs              3, 1 killed; 0 missed whole" in restarts.output
        assert "not accounted for 0" in restarts.output
