# SPDX-License-Identifier: Apache-2.0
"""A participant of its own that listens whether topics can be heard: ``probe TOPIC TYPE [TOPIC TYPE ...]``.

Says ``listening`` once it does, ``heard TOPIC`` for the first message of each, and ends when stdin closes, as it does
with the process that asked. It has its own process, since Fast DDS may wait without an end when a participant with
``LARGE_DATA`` leaves.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy

from nucleus_bridge.ros.leaving import leaving
from nucleus_bridge.ros.middleware import SubscriptionEventCallbacks
from nucleus_bridge.ros.shared_memory import free_half_made_ports

LEAVE_WITHIN_S = 2.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Listen until stdin closes; return the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    free_half_made_ports()
    rclpy.init(args=[])
    node = rclpy.create_node("_nucleus_probe", start_parameter_services=False, enable_rosout=False)
    heard: set[str] = set()
    for topic, type_name in zip(given[::2], given[1::2], strict=True):
        listen(node, topic, type_name, partial(tell_once, topic, heard))
    print("listening", flush=True)
    threading.Thread(target=end_with_stdin, daemon=True).start()
    with suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(node)
    with leaving(LEAVE_WITHIN_S):
        rclpy.try_shutdown()
    return 0


def listen(node: Any, topic: str, type_name: str, take: Callable[[bytes], None]) -> None:
    """Subscribe in both ways that a publisher may send in; one that does not fit is silent."""
    package, _, name = type_name.partition("/msg/")
    kind = getattr(import_module(f"{package}.msg"), name)
    for reliability in (ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT):
        qos = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1, reliability=reliability)
        quiet = SubscriptionEventCallbacks(use_default_callbacks=False)
        node.create_subscription(kind, topic, take, qos, raw=True, event_callbacks=quiet)


def tell_once(topic: str, heard: set[str], _: bytes) -> None:
    """Say that a topic is heard, the first time."""
    if topic not in heard:
        heard.add(topic)
        print(f"heard {topic}", flush=True)


def end_with_stdin() -> None:
    """End when nobody asks any more."""
    sys.stdin.read()
    rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main())
