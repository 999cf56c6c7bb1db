# SPDX-License-Identifier: Apache-2.0
"""The recorder's subscriptions and the versions of ROS 2."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")

AS_IN_HUMBLE = """
import sys
import rclpy.event_handler as events
import rclpy.lifecycle
sys.modules["rclpy.qos_event"] = events
sys.modules["rclpy.event_handler"] = None
from nucleus_bridge.ros.subscriptions import SubscriptionEventCallbacks
assert SubscriptionEventCallbacks is events.SubscriptionEventCallbacks
"""


def test_humble_has_the_events_in_another_module() -> None:
    done = subprocess.run([sys.executable, "-c", AS_IN_HUMBLE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
