# SPDX-License-Identifier: Apache-2.0
"""One end of a bond, by which a lifecycle manager such as nav2's sees that a node that it activated is alive.

Both ends publish ``bond/msg/Status`` under one id with an instance id of their own. One that ends says that it is not
active any more; one that hears nothing of the other for its heartbeat timeout takes the bond to be broken.
"""

from __future__ import annotations

import time
import uuid
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile

from nucleus_bridge.errors import ConfigError
from nucleus_bridge.ros.first_start import message_type

TOPIC = "bond"
"""In the namespace of the node, as nav2 has it."""
HEARTBEAT_TIMEOUT_S = 4.0
_DEPTH = 100


class Bond:
    """This node's end, from its activation on until it is deactivated.

    Attributes:
        is_formed: Whether the other end has been heard, and has not ended since.
    """

    def __init__(self, node: Node, period_s: float) -> None:
        """Begin to publish.

        Args:
            node: The node, by whose name the bond is known.
            period_s: Time between two heartbeats.

        Raises:
            ConfigError: There are no messages for it.
        """
        self._message = status_message()
        self.is_formed = False
        self._node = node
        self._period_s = period_s
        self._instance = str(uuid.uuid4())
        self._heard_s = 0.0
        self._publisher = node.create_publisher(self._message, TOPIC, QoSProfile(depth=_DEPTH))
        self._subscription = node.create_subscription(self._message, TOPIC, self._take, QoSProfile(depth=_DEPTH))
        self._timer = node.create_timer(period_s, self._beat, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def close(self) -> None:
        """Say that this end is not active any more."""
        self._publish(is_active=False)
        self._node.destroy_timer(self._timer)
        self._node.destroy_subscription(self._subscription)
        self._node.destroy_publisher(self._publisher)

    def _beat(self) -> None:
        self._publish(is_active=True)
        if self.is_formed and time.monotonic() - self._heard_s > HEARTBEAT_TIMEOUT_S:
            self._broken(f"nothing came from it for {HEARTBEAT_TIMEOUT_S:.0f} s")

    def _take(self, status: Any) -> None:
        if status.id != self._node.get_name() or status.instance_id == self._instance:
            return
        self._heard_s = time.monotonic()
        if status.active and not self.is_formed:
            self.is_formed = True
            self._node.get_logger().info("bond: the lifecycle manager is there")
        elif not status.active and self.is_formed:
            self._publish(is_active=False)  # as the other end expects
            self._broken("it has ended")

    def _broken(self, reason: str) -> None:
        self.is_formed = False
        self._node.get_logger().warning(f"bond: the lifecycle manager is gone, {reason}; recording goes on")

    def _publish(self, *, is_active: bool) -> None:
        status = self._message(id=self._node.get_name(), instance_id=self._instance, active=is_active)
        status.header.stamp = self._node.get_clock().now().to_msg()
        status.heartbeat_timeout, status.heartbeat_period = HEARTBEAT_TIMEOUT_S, self._period_s
        self._publisher.publish(status)


def status_message() -> Any:
    """Return the class of the messages.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        return message_type("bond/msg/Status")
    except ConfigError as error:
        raise ConfigError(f"bond_heartbeat_period: {error}") from None
