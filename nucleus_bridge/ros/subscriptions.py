# SPDX-License-Identifier: Apache-2.0
"""The subscriptions of the recorder: made when a publisher is seen, matched to its type and quality of service."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from rclpy.node import Node
from rclpy.qos import qos_policy_name_from_kind
from rclpy.subscription import Subscription

from nucleus_bridge.config import Config
from nucleus_bridge.ros.intake import Intake
from nucleus_bridge.ros.qos import (
    CAMERA_INFO,
    CLOUD,
    COMPRESSED_IMAGE,
    FIX,
    IMAGE,
    IMU,
    RADAR_SCAN,
    STATIC,
    STATIC_TOPIC,
    TRANSFORMS,
    Match,
    match_publishers,
    overriding_options,
)

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # ROS 2 Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

Receive = Callable[[str, str, bytes], None]
"""Takes topic, type and the serialised message."""

CLOCK_TOPIC = "/clock"
UNPUBLISHED_AFTER_S = 5.0
WARN_PERIOD_S = 30.0
PUBLISHED_EVERY = 4
"""A topic that has publishers is asked about more of them at every fourth look at the graph."""
FRAGMENTS_LOST = (
    "messages of many UDP fragments are lost whole when one fragment is: let the publisher be reliable, set "
    "FASTDDS_BUILTIN_TRANSPORTS=LARGE_DATA for both sides, or raise net.core.rmem_max (see docs/vehicle.md)"
)
HISTORY_OVERRUN = (
    "they were overwritten before they could be delivered: the machine is overloaded, or the publisher's history depth "
    "is too small for its rate"
)


@dataclass
class Topic:
    """One topic that the configuration asks for, and what has come of it.

    Attributes:
        name: As the configuration has it.
        parameter: The parameter that names it.
        allowed: Types it may have.
        needed: Whether there can be no frame without it.
        publishers: How many there are now.
        received: Messages taken.
        received_bytes: Their size.
        last_s: When the last one came, on the monotonic clock.
        last_sent_ns: When the last one was sent, 0 when unknown.
        longest_gap_s: Longest time without a message that has ended since the last report.
        transport_lost: Messages that the middleware reports as lost.
        missing: Why there is no subscription, with the remedy, or "".
        incompatible: Why a publisher's messages cannot come, with the remedy, or "".
    """

    name: str
    parameter: str
    allowed: tuple[str, ...]
    needed: bool
    publishers: int = 0
    received: int = 0
    received_bytes: int = 0
    last_s: float | None = None
    last_sent_ns: int = 0
    longest_gap_s: float = 0.0
    transport_lost: int = 0
    missing: str = ""
    incompatible: str = ""
    match: Match | None = None
    subscription: Subscription | None = None
    known: set[bytes] = field(default_factory=set)

    def note(self, size: int, sent_ns: int) -> None:
        """Count a message that came now."""
        now = time.monotonic()
        if self.last_s is not None:
            # A pause of the publisher is one also when this process slept through it; two may have different clocks.
            known = sent_ns and self.last_sent_ns and self.publishers == 1
            sent_gap_s = (sent_ns - self.last_sent_ns) / 1e9 if known else 0.0
            self.longest_gap_s = max(self.longest_gap_s, now - self.last_s, sent_gap_s)
        self.received += 1
        self.received_bytes += size
        self.last_s, self.last_sent_ns = now, sent_ns

    def take_longest_gap_s(self) -> float:
        """Return the longest time without a message that has ended since this was asked the last time."""
        longest, self.longest_gap_s = self.longest_gap_s, 0.0
        return longest

    @property
    def problem(self) -> str:
        """What keeps messages from coming, with the remedy, or ""."""
        return self.missing or self.incompatible


def wanted_topics(config: Config) -> Iterator[Topic]:
    """List the topics that a configuration asks for."""
    yield Topic("/tf", "world_frame", (TRANSFORMS,), needed=True)
    yield Topic(STATIC_TOPIC, "world_frame", (TRANSFORMS,), needed=False)
    for camera in config.cameras:
        if not camera.calibration_file:
            yield Topic(camera.info_topic, f"cameras.{camera.name}.info_topic", (CAMERA_INFO,), camera.required)
    if config.gps.topic:
        yield Topic(config.gps.topic, "gps.topic", (FIX,), needed=False)
    if config.gps.heading_topic:
        yield Topic(config.gps.heading_topic, "gps.heading_topic", (IMU,), needed=False)
    for index, lidar in enumerate(config.lidars):
        yield Topic(lidar.topic, f"lidars.{lidar.name}.topic", (CLOUD,), needed=index == 0 or lidar.required)
    for camera in config.cameras:
        kinds = (IMAGE, COMPRESSED_IMAGE)
        yield Topic(camera.image_topic, f"cameras.{camera.name}.image_topic", kinds, camera.required)
    for radar in config.radars:
        yield Topic(radar.topic, f"radars.{radar.name}.topic", (CLOUD, RADAR_SCAN), radar.required)


class Subscriptions:
    """Everything the recorder listens to.

    Attributes:
        topics: The state of each topic by name.
        durations: How long each message took to be taken and handed over.
    """

    def __init__(
        self, node: Node, config: Config, receive: Receive, lost: Callable[[str], None], given: Mapping[str, object]
    ) -> None:
        """Subscribe to what is published already; ``update`` does the rest.

        Args:
            node: The node.
            config: Its configuration.
            receive: Takes every message.
            lost: Told the topic of each message that the middleware lost.
            given: The node's parameters, for ``qos_overrides``.
        """
        self._node = node
        self._receive = receive
        self._lost = lost
        self._given = given
        self._intake = Intake(node)
        self.durations = self._intake.durations
        self._started_s = time.monotonic()
        self._warned_s: dict[str, float] = {}
        self._updates = 0
        self.topics: dict[str, Topic] = {}
        for topic in wanted_topics(config):
            self.topics.setdefault(topic.name, topic)
        for own in node.subscriptions:
            if own.topic_name == CLOCK_TOPIC:
                self._intake.adopt(own)
        static = self.topics[STATIC_TOPIC]
        self._subscribe(static, STATIC)
        self.update()

    def update(self) -> None:
        """Look at the graph: subscribe where a publisher came, and again where it changes what all can give."""
        names = dict(self._node.get_topic_names_and_types())
        self._updates += 1
        for topic in self.topics.values():
            if topic.known and self._updates % PUBLISHED_EVERY:
                continue
            name = self._node.resolve_topic_name(topic.name)
            publishers = self._node.get_publishers_info_by_topic(name) if name in names else []
            there = {bytes(publisher.endpoint_gid) for publisher in publishers}
            topic.publishers = len(there)
            if there - topic.known:
                self._match(topic, publishers)
            elif not there:
                topic.incompatible = ""
                self._check_unpublished(topic, names)
            topic.known = there

    def close(self) -> None:
        """End all subscriptions; what has arrived is taken first."""
        self._intake.close()
        for topic in self.topics.values():
            topic.subscription = None

    def warn(self, key: str, text: str) -> None:
        """Log a warning, the same one not again for a while."""
        now = time.monotonic()
        if now - self._warned_s.get(key, -WARN_PERIOD_S) >= WARN_PERIOD_S:
            self._warned_s[key] = now
            self._node.get_logger().warning(text)

    def _match(self, topic: Topic, publishers: Iterable[Any]) -> None:
        by_type: dict[str, list[Any]] = {}
        for publisher in publishers:
            by_type.setdefault(publisher.topic_type, []).append(publisher)
        fitting = [name for name in topic.allowed if name in by_type]
        if not fitting:
            found, wanted = ", ".join(sorted(by_type)), " or ".join(topic.allowed)
            topic.missing = f"{topic.parameter}: {topic.name} is {found}, not {wanted}; name another topic"
            self.warn(topic.name, topic.missing)
            return
        topic.missing = ""
        match = match_publishers(topic.name, fitting[0], by_type[fitting[0]])
        if match != topic.match:
            self._subscribe(topic, match)

    def _subscribe(self, topic: Topic, match: Match) -> None:
        if topic.subscription is not None:
            self._intake.destroy(topic.subscription)
            self._node.get_logger().info(f"{topic.name}: subscribed again as {match}, which all publishers offer")
        package, _, name = match.type_name.partition("/msg/")
        topic.match, topic.incompatible = match, ""
        topic.subscription = self._intake.subscribe(
            getattr(import_module(f"{package}.msg"), name),
            topic.name,
            match.profile,
            self._receiver(topic, match.type_name),
            event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=lambda event: self._on_incompatible(topic, event),
                message_lost=lambda event: self._on_lost(topic, event),
                use_default_callbacks=False,
            ),
            qos_overriding_options=overriding_options(topic.name, self._given),
        )

    def _receiver(self, topic: Topic, type_name: str) -> Callable[[bytes, int], None]:
        def take(data: bytes, sent_ns: int) -> None:
            topic.note(len(data), sent_ns)
            self._receive(topic.name, type_name, data)

        return take

    def _on_incompatible(self, topic: Topic, event: Any) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind).lower()
        topic.incompatible = (
            f"{topic.name}: a publisher offers another {policy} than the subscription asks for "
            f"({topic.match}), nothing of it will come; {_remedy(topic, policy)}"
        )
        self.warn(f"{topic.name} qos", topic.incompatible)

    def _on_lost(self, topic: Topic, event: Any) -> None:
        topic.transport_lost += event.total_count_change
        for _ in range(event.total_count_change):
            self._lost(topic.name)
        remedy = HISTORY_OVERRUN if topic.match is not None and topic.match.reliable else FRAGMENTS_LOST
        self.warn(
            f"{topic.name} lost",
            f"{topic.name}: {topic.transport_lost} messages did not arrive, {topic.received} did; {remedy}",
        )

    def _check_unpublished(self, topic: Topic, names: Mapping[str, Sequence[str]]) -> None:
        if time.monotonic() - self._started_s < UNPUBLISHED_AFTER_S or topic.known or topic.received:
            return
        others = sorted(name for name, types in names.items() if set(types) & set(topic.allowed))
        there = ", ".join(name for name in others if name not in self.topics) or "none"
        topic.missing = (
            f"{topic.parameter}: nobody publishes {topic.name}; check its name, ROS_DOMAIN_ID and the driver; "
            f"other topics of type {' or '.join(topic.allowed)}: {there}"
        )
        self.warn(topic.name, topic.missing)


def _remedy(topic: Topic, policy: str) -> str:
    if topic.name == STATIC_TOPIC and policy == "durability":
        return "publish /tf_static as transient local; with `ros2 bag play` use --qos-profile-overrides-path"
    return f"remove qos_overrides.{topic.name}.subscription.{policy}, or change the publisher"
