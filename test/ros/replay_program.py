# SPDX-License-Identifier: Apache-2.0
"""Plays a recording over DDS, byte by byte as it was recorded: ``replay_program.py BAG [--rate R] ...``.

Waits until every topic has a subscriber, says ``ready`` and starts at once, or when a line comes on stdin with
``--hold``. With ``--pause-at S`` it says ``paused`` there, and with ``--pause-between`` after the first message of
/clock of each further bag; a line on stdin lets it go on. A machine that stops for a while only makes it late: it
never makes up for lost time. Says ``done`` when everything is delivered, and stays until stdin closes.
"""

from __future__ import annotations

import argparse
import heapq
import random
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import rclpy
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock

from nucleus_bridge.model import Message
from nucleus_bridge.recordings import open_recording

CLOCK_PERIOD_S = 0.02
LIMIT_S = 60
LATE_S = 0.1


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("bags", type=Path, nargs="+", metavar="BAG", help="played one after the other")
    parser.add_argument("--rate", type=float, default=1.0)
    parser.add_argument("--delay-ms", type=float, default=0.0, help="each topic is delayed by up to this, at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--skip", action="append", default=[], help="topic that is not played")
    parser.add_argument("--best-effort", action="store_true")
    parser.add_argument("--volatile-static", action="store_true")
    parser.add_argument("--clock", action="store_true")
    parser.add_argument("--hold", action="store_true")
    parser.add_argument("--pause-at", type=float, action="append", default=[], metavar="S")
    parser.add_argument("--pause-between", action="store_true")
    parser.add_argument("--eager", action="store_true", help="do not wait for subscribers")
    return parser.parse_args()


def publisher(node: Any, topic: str, type_name: str, given: argparse.Namespace) -> Any:
    package, _, name = type_name.partition("/msg/")
    qos = QoSProfile(depth=1000 if "tf" in topic else 50)
    if given.best_effort and not topic.startswith("/tf"):
        qos.reliability = ReliabilityPolicy.BEST_EFFORT
    if topic in ("/tf_static", "/robot_description") and not given.volatile_static:
        qos.durability = DurabilityPolicy.TRANSIENT_LOCAL
    return node.create_publisher(getattr(import_module(f"{package}.msg"), name), topic, qos)


def schedule(messages: list[Message], given: argparse.Namespace) -> Iterator[tuple[float, Message]]:
    """Yield each message with its time in seconds; topics change places with others, not within themselves."""
    chance = random.Random(given.seed)
    start = min(message.log_ns for message in messages)
    mean = {topic: chance.uniform(0.0, given.delay_ms / 1e3) for topic in {m.topic for m in messages}}
    latest: dict[str, float] = {}
    queue: list[tuple[float, int, Message]] = []
    for number, message in enumerate(messages):
        due = (message.log_ns - start) / 1e9 + chance.uniform(0.0, mean[message.topic])
        due = latest[message.topic] = max(due, latest.get(message.topic, 0.0))
        heapq.heappush(queue, (due, number, message))
    while queue:
        due, _, message = heapq.heappop(queue)
        yield due, message


def read(path: Path, skip: list[str]) -> tuple[dict[str, str], list[Message]]:
    with open_recording(path) as bag:
        topics = {topic.name: topic.type_name for topic in bag.topics if topic.name not in skip}
        return topics, sorted(bag.messages(topics), key=lambda message: message.log_ns)


def main() -> None:
    given = options()
    rclpy.init()
    node = rclpy.create_node("replay")
    bags = [read(path, given.skip) for path in given.bags]
    topics = {name: type_name for topics, _ in bags for name, type_name in topics.items()}
    publishers = {topic: publisher(node, topic, name, given) for topic, name in topics.items()}
    clock = node.create_publisher(Clock, "/clock", 10) if given.clock else None
    limit = time.monotonic() + LIMIT_S
    waiting = {} if given.eager else {**publishers, **({"/clock": clock} if clock else {})}
    while any(not one.get_subscription_count() for one in waiting.values()):
        if time.monotonic() > limit:
            sys.exit(f"no subscriber: {[topic for topic, one in waiting.items() if not one.get_subscription_count()]}")
        time.sleep(0.02)
    print("ready", flush=True)  # noqa: T201
    if given.hold:
        sys.stdin.readline()
    for number, (_, messages) in enumerate(bags):
        play(messages, publishers, clock, given, pause_first=given.pause_between and number > 0)
    for topic, one in publishers.items():
        if not one.wait_for_all_acked(Duration(seconds=LIMIT_S)):
            sys.exit(f"not delivered: {topic}")
    print("done", flush=True)  # noqa: T201
    sys.stdin.read()
    rclpy.shutdown()


def pause() -> None:
    print("paused", flush=True)  # noqa: T201
    sys.stdin.readline()


def play(messages: list[Message], publishers: Any, clock: Any, given: argparse.Namespace, *, pause_first: bool) -> None:
    start_ns = messages[0].log_ns
    next_tick = 0.0
    pauses = sorted(given.pause_at)

    def tick(now: float) -> None:
        nonlocal next_tick
        if clock is not None and now >= next_tick:
            stamp = start_ns + round(now * 1e9)
            message = Clock()
            message.clock.sec, message.clock.nanosec = divmod(stamp, 10**9)
            clock.publish(message)
            next_tick = now + CLOCK_PERIOD_S

    tick(0.0)
    if pause_first:
        pause()
    begin = time.monotonic()
    for due, message in schedule(messages, given):
        if pauses and due >= pauses[0]:
            pauses.pop(0)
            pause()
        while (now := (time.monotonic() - begin) * given.rate) < due:
            tick(now)
            time.sleep(min(CLOCK_PERIOD_S, (due - now) / given.rate))
        if now - due > LATE_S:
            begin += (now - due) / given.rate
        publishers[message.topic].publish(message.data)


if __name__ == "__main__":
    main()
