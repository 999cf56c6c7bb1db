# SPDX-License-Identifier: Apache-2.0
"""The short soak: drivers restart, transforms stop, the receiver goes down, and each sweep is accounted for."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("tf2_msgs", reason="needs tf2_msgs: nucleus-bridge ros-setup tf2_msgs")
pytest.importorskip("obstore", reason="needs the extra 'cloud'")
from live_graph import HERE, Program, new_domain

pytestmark = pytest.mark.live


def test_everything_is_recorded_or_counted_and_uploaded() -> None:
    new_domain()
    program = HERE.parent.parent / "benchmarks" / "soak.py"
    load = ("--points", "4000", "--cameras", "1")
    with Program(str(program), "--seconds", "45", *load) as soak:
        soak.process.wait(600)
        assert soak.wait() == 0, soak.output
        assert "sweeps published" in soak.output
