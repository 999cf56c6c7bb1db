# SPDX-License-Identifier: Apache-2.0
"""What differs between releases of rclpy, or is none of its public names; nothing else in here knows of either."""

from __future__ import annotations

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # ROS 2 Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

__all__ = ["SubscriptionEventCallbacks"]
