# SPDX-License-Identifier: Apache-2.0
"""What the taking of messages tells about itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
import rclpy
from live_graph import LIMIT_S, new_domain, wait_until
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rosgraph_msgs.msg import Clock
from std_msgs.msg import String

from nucleus_bridge.pipeline.topics import WantedTopic
from nucleus_bridge.ros import intake as intake_module
from nucleus_bridge.ros.intake import CALM_BYTES, CALM_PERIOD_S, PERIOD_S, QUIET_PERIOD_S, Durations, Intake
from nucleus_bridge.ros.subscriptions import Subscriptions, Topic


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
def test_looks_are_rarer_without_sensors_until_one_sends_and_nothing_is_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
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
        monkeypatch.setattr(intake_module, "QUIET_LOOKS", 3)
        end = time.monotonic() + LIMIT_S
        while intake.period_s != QUIET_PERIOD_S:
            assert time.monotonic() < end
            executor.spin_once(timeout_sec=0.1)
        send_until("/small", 100, lambda: intake.period_s != QUIET_PERIOD_S)
    finally:
        intake.close()
        executor.shutdown()
        node.destroy_node()
        rclpy.shutdown(context=context)


@pytest.mark.live
def test_messages_that_are_taken_together_have_the_times_at_which_each_was_received() -> None:
    """By the system's clock, and by a simulated one that goes on between them: in steps of 0.2 s, then of a minute."""
    new_domain()
    context = rclpy.Context()
    rclpy.init(context=context)
    simulated = Parameter("use_sim_time", value=True)
    node = rclpy.create_node("listener", context=context, parameter_overrides=[simulated])
    other = rclpy.create_node("driver", context=context)
    intake = Intake(node)
    seen: dict[str, tuple[int, int]] = {}

    def take(data: bytes, _sent_ns: int, received_ns: int) -> None:
        seen[deserialize_message(data, String).data] = (received_ns, node.get_clock().now().nanoseconds)

    profile = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
    try:
        [own] = [one for one in node.subscriptions if one.topic_name == "/clock"]
        intake.adopt_clock(own)
        intake.subscribe(String, "/text", profile, take)
        texts, clock = (
            other.create_publisher(String, "/text", profile),
            other.create_publisher(Clock, "/clock", profile),
        )
        wait_until(lambda: texts.get_subscription_count() and clock.get_subscription_count() == 2, "the subscriptions")
        sent: dict[str, tuple[int, int, int]] = {}
        now_ns = 100 * 10**9
        for number in range(20):
            now_ns += 60 * 10**9 if number >= 10 else 200_000_000
            message = Clock()
            message.clock.sec, message.clock.nanosec = divmod(now_ns, 10**9)
            clock.publish(message)
            time.sleep(0.04)  # the two have connections of their own
            begin_ns = time.time_ns()
            texts.publish(String(data=str(number)))
            time.sleep(0.04)
            sent[str(number)] = begin_ns, time.time_ns(), now_ns
        wait_until(lambda: intake.drain() >= 0 and len(seen) == len(sent), "all messages", lambda: str(seen))
        assert [clock_ns for _, clock_ns in seen.values()] == [clock_ns for *_, clock_ns in sent.values()]
        received = [received_ns for received_ns, _ in seen.values()]
        assert received == sorted(received)
        assert all(begin_ns <= at_ns for at_ns, (begin_ns, *_) in zip(received, sent.values(), strict=True))
        assert received[-1] - received[0] > 18 * 40_000_000  # although one look took them all
        assert intake.clock_step_ns == 200_000_000
    finally:
        intake.close()
        node.destroy_node()
        other.destroy_node()
        rclpy.shutdown(context=context)


@pytest.mark.live
def test_a_topic_whose_messages_cannot_be_taken_fails_alone(capfd: pytest.CaptureFixture[str]) -> None:
    """One topic's callback raises, one's subscription is gone; the third is heard."""
    new_domain()
    context = rclpy.Context()
    rclpy.init(context=context)
    node, other = (rclpy.create_node(name, context=context) for name in ("listener", "driver"))
    wanted = [
        WantedTopic(f"/{name}", f"events.{name}.topic", "value", "event", name, takes_any_type=True)
        for name in ("bad", "good")
    ]
    good: list[bytes] = []

    def receive(topic: Topic, _type: str, data: bytes, _received_ns: int) -> None:
        if topic.name == "/bad":
            raise ValueError("as the test wants")
        good.append(data)

    publishers = [other.create_publisher(String, topic, 10) for topic in ("/bad", "/good")]
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    made = Subscriptions(node, wanted, receive, lambda _: None, {})
    gone = made._intake.subscribe(String, "/gone", 1, lambda *_: None)
    gone.handle.destroy_when_not_in_use()
    try:
        end = time.monotonic() + LIMIT_S
        while not (made.topics["/bad"].failed and len(good) > 3):
            assert time.monotonic() < end
            made.update()
            for publisher in publishers:
                publisher.publish(String(data="x"))
            executor.spin_once(timeout_sec=0.01)
        text = "/bad: a message cannot be taken, the other topics are recorded: ValueError: as the test wants"
        assert made.topics["/bad"].problem == text
        assert not made.topics["/good"].problem
        told = capfd.readouterr().err
        assert text in told
        assert "/gone failed, everything else goes on: InvalidHandle: " in told
        thread = made._intake._thread
        made.close()
        assert not thread.is_alive()
    finally:
        executor.shutdown()
        node.destroy_node()
        other.destroy_node()
        rclpy.shutdown(context=context)
