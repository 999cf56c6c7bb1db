# SPDX-License-Identifier: Apache-2.0
"""What the taking of messages tells about itself."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
from nucleus_bridge.ros.intake import Durations


def test_a_percentile_is_a_power_of_two_that_is_not_too_low() -> None:
    durations = Durations()
    assert durations.percentile_ms(0.99) == 0.0
    for _ in range(990):
        durations.note(300_000)
    for _ in range(10):
        durations.note(6_000_000)
    assert durations.percentile_ms(0.99) == 0.512
    assert durations.percentile_ms(0.995) == 8.192
