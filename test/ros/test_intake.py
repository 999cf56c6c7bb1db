# SPDX-License-Identifier: Apache-2.0
"""What the taking of messages tells about itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
import rclpy
from live_graph import LIMIT_S, new_domain
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from std_msgs.msg import String

from nucleus_bridge.ros.intake import CALM_BYTES, CALM_PERIOD_S, PERIOD_S, Durations, Intake


def test_a_percentile_is_a_power_of_two_that_is_not_too_low() -> None:
    durations = Durations()
    assert durations.percentile_ms(0.99) == 0.0
    for _ in range(990):
        durations.note(300_000)
    for _ in range(10):
        durations.note(6_000_000)
    assert durations.percentile_ms(0.99) == 0.512
    assert durations.percentile_ms(0.995) == 8.192


@pytest.mark.live
def test_looks_are_rarer_without_sensors_until_one_sends_and_nothing_is_missed() -> None:
    new_domain()
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("listener", context=context)
    intake = Intake(node)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    profile = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE)
    taken: dict[str, list[str]] = {"/small": [], "/large": []}
    for topic, texts in taken.items():
        take = partial(lambda texts, data, *_: texts.append(deserialize_message(data, String).data), texts)
        intake.subscribe(String, topic, profile, take)
    publishers = {topic: node.create_publisher(String, topic, profile) for topic in taken}
    sent: dict[str, list[str]] = {topic: [] for topic in taken}

    def send_until(topic: str, size: int, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < end
            sent[topic].append(f"{len(sent[topic])} ".ljust(size))
            publishers[topic].publish(String(data=sent[topic][-1]))
            executor.spin_once(timeout_sec=0.01)

    try:
        for _ in range(2):
            send_until("/small", 100, lambda: intake.period_s == CALM_PERIOD_S)
            send_until("/large", 2 * CALM_BYTES, lambda: intake.period_s == PERIOD_S)
        end = time.monotonic() + LIMIT_S
        while taken != sent:
            assert time.monotonic() < end
            executor.spin_once(timeout_sec=0.1)
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.shutdown(context=context)
