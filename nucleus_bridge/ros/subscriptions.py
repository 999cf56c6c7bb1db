# SPDX-License-Identifier: Apache-2.0
"""The subscriptions of the recorder: made when a publisher is seen, matched to its type and quality of service."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSProfile,
    ReliabilityPolicy,
    qos_policy_name_from_kind,
)
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from rclpy.topic_endpoint_info import TopicEndpointInfo

from nucleus_bridge.decode.pointcloud2 import POINTCLOUD2
from nucleus_bridge.decode.registry import interface_of, interfaces_of
from nucleus_bridge.errors import ConfigError, InputError
from nucleus_bridge.pipeline.topics import WantedTopic
from nucleus_bridge.ros.clouds import layout_text
from nucleus_bridge.ros.definitions import field_problem
from nucleus_bridge.ros.first_start import OVERRIDES, POLICIES, described, message_type
from nucleus_bridge.ros.intake import Intake, Take
from nucleus_bridge.ros.middleware import SubscriptionEventCallbacks

CLOCK_TOPIC = "/clock"
UNPUBLISHED_AFTER_S = 5.0
WARN_PERIOD_S, LONGEST_WARN_PERIOD_S = 30.0, 600.0
PUBLISHED_EVERY_S = 0.9
"""A topic that has publishers is asked about more of them once a second."""
FRAGMENTS_LOST = (
    "messages of many UDP fragments are lost whole when one fragment is: let the publisher be reliable, set "
    "FASTDDS_BUILTIN_TRANSPORTS=LARGE_DATA for both sides, or raise net.core.rmem_max (see docs/vehicle.md)"
)
HISTORY_OVERRUN = (
    "they were overwritten before they could be delivered: the machine is overloaded, or the publisher's history depth "
    "is too small for its rate"
)

_DEPTH = 100
"""Types of topics that no decoder reads by itself."""
_FEW = 5
_MOST_TYPES = 3
"""As many of the types that a topic may have are named; of more, one fewer."""
_MOST_OTHERS = 5
"""As many other topics are offered where nobody publishes the one that is asked for."""


@dataclass(frozen=True)
class Match:
    """What is asked for; equal ones need no new subscription."""

    type_name: str
    reliable: bool
    transient_local: bool
    depth: int

    @property
    def profile(self) -> QoSProfile:
        """The profile for rclpy."""
        return QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=self.depth,
            reliability=ReliabilityPolicy.RELIABLE if self.reliable else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if self.transient_local else DurabilityPolicy.VOLATILE,
        )

    def __str__(self) -> str:
        """Name the policies as ROS 2 does."""
        reliability = "reliable" if self.reliable else "best effort"
        return f"{reliability}, {'transient local' if self.transient_local else 'volatile'}, depth {self.depth}"


@dataclass
class Topic:
    """One topic that the configuration asks for, and what has come of it.

    Attributes:
        roles: What it is read for; at least one.
        comes_again: Whether it is sent again and again.
        takes_any_type: Whether any type will do in all its roles.
        is_of_field: Whether a field of its messages shows an event, or is a signal of the vehicle.
        allowed: Types that it may have in all its roles; () where any will do.
        publishers: How many there are now.
        received: Messages taken.
        earlier: Messages that an earlier connection to the graph took.
        received_bytes: Their size.
        first_s: When the first one came, on the monotonic clock.
        last_s: When the last one came.
        last_sent_ns: When the last one was sent, 0 when unknown.
        longest_gap_s: Longest time without a message that has ended since the last report.
        transport_lost: Messages that the middleware reports as lost.
        missing: Why there is no subscription, with the remedy, or "".
        incompatible: Why a publisher's messages cannot come, with the remedy, or "".
        refused: Why it cannot be subscribed to, with the remedy, or "".
        failed: Why its latest message could not be handed over, or "".
    """

    roles: tuple[WantedTopic, ...]
    publishers: int = 0
    received: int = 0
    earlier: int = 0
    received_bytes: int = 0
    first_s: float | None = None
    last_s: float | None = None
    last_sent_ns: int = 0
    longest_gap_s: float = 0.0
    transport_lost: int = 0
    missing: str = ""
    incompatible: str = ""
    refused: str = ""
    failed: str = ""
    match: Match | None = None
    subscription: Subscription | None = None
    known: set[bytes] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Settle what is asked for with each message."""
        self.name = self.roles[0].name
        self.parameter = self.roles[0].parameter
        self.is_sample = any(role.is_sample for role in self.roles)
        self.is_latched = any(role.is_latched for role in self.roles)
        self.is_pose = any(role.role == "poses" for role in self.roles)
        self.is_optional = all(role.is_optional for role in self.roles)
        self.needed = any(role.needed for role in self.roles)
        self.comes_again = all(role.ahead == "nothing" for role in self.roles)
        self.takes_any_type = all(role.takes_any_type for role in self.roles)
        self.is_of_field = any(role.takes_any_type for role in self.roles)
        strict = [set(role.types) for role in self.roles if not role.takes_any_type]
        first = next((role.types for role in self.roles if not role.takes_any_type), ())
        self.allowed = tuple(name for name in first if all(name in types for types in strict))

    def note(self, size: int, sent_ns: int) -> None:
        """Count a message that came now."""
        now = time.monotonic()
        if self.last_s is not None:
            # A pause of the publisher is one also when this process slept through it; two may have different clocks.
            known = sent_ns and self.last_sent_ns and self.publishers == 1
            sent_gap_s = (sent_ns - self.last_sent_ns) / 1e9 if known else 0.0
            self.longest_gap_s = max(self.longest_gap_s, now - self.last_s, sent_gap_s)
        else:
            self.first_s = now
        self.received += 1
        self.received_bytes += size
        self.last_s, self.last_sent_ns = now, sent_ns

    def take_longest_gap_s(self) -> float:
        """Return the longest time without a message that has ended since this was asked the last time."""
        longest, self.longest_gap_s = self.longest_gap_s, 0.0
        return longest

    @property
    def period_s(self) -> float | None:
        """How far its messages were apart, on average; None where there were too few."""
        if self.first_s is None or self.last_s is None or self.received < _FEW:
            return None
        return (self.last_s - self.first_s) / (self.received - 1)

    @property
    def problem(self) -> str:
        """What keeps messages from coming, with the remedy, or ""."""
        return self.refused or self.failed or self.missing or self.incompatible


Receive = Callable[[Topic, str, bytes, int], None]
"""Takes topic, type, the serialised message, and the time in ns at which it was received, 0 when unknown."""


Define = Callable[[str, str], None]
"""Takes topic and type."""


class Reminders:
    """When something is to be said again that remains as it is: after longer and longer pauses."""

    def __init__(self) -> None:
        self._due: dict[str, tuple[float, float]] = {}

    def is_due(self, key: str, now: float) -> bool:
        """Whether it was never said, or not for long enough."""
        return key not in self._due or now >= self._due[key][0]

    def note(self, key: str, now: float) -> None:
        """Take note that it is said now."""
        _, pause_s = self._due.get(key, (0.0, WARN_PERIOD_S))
        self._due[key] = now + pause_s, min(2 * pause_s, LONGEST_WARN_PERIOD_S)

    def clear(self) -> None:
        """Begin anew with everything."""
        self._due.clear()


class Subscriptions:
    """Everything the recorder listens to.

    Attributes:
        topics: The state of each topic by name.
        durations: How long each message took to be taken and handed over.
    """

    def __init__(  # noqa: PLR0913 - what it hands on, and to whom
        self,
        node: Node,
        wanted: Iterable[WantedTopic],
        receive: Receive,
        lost: Callable[[str], None],
        given: Mapping[str, object],
        *,
        earlier: Mapping[str, int] | None = None,
        define: Define | None = None,
        looked: Callable[[], bool] | None = None,
    ) -> None:
        """Subscribe to what is published already; ``update`` does the rest.

        Args:
            node: The node.
            wanted: The topics, each in all its roles.
            receive: Takes every message.
            lost: Is called with the topic of each message that the middleware lost.
            given: The node's parameters, for ``qos_overrides``.
            earlier: Messages of each topic that an earlier connection took.
            define: Is called with the type of each topic of an event before its first message; raises where it does
                not fit.
            looked: Is called several times a second, in the thread that takes messages; returns whether there was
                anything new.
        """
        self._define = define or (lambda _topic, _type: None)
        self._node = node
        self._receive = receive
        self._lost = lost
        self._given = given
        self._intake = Intake(node, looked)
        self.durations = self._intake.durations
        self._started_s = time.monotonic()
        self._warned_s: dict[str, float] = {}
        self._published_s = -PUBLISHED_EVERY_S
        roles: dict[str, list[WantedTopic]] = {}
        for role in wanted:
            roles.setdefault(role.name, []).append(role)
        self.topics = {name: Topic(tuple(of_topic)) for name, of_topic in roles.items()}
        for name, topic in self.topics.items():
            topic.earlier = (earlier or {}).get(name, 0)
        self._full_names = {name: node.resolve_topic_name(name) for name in self.topics}
        self._names: Mapping[str, Sequence[str]] = {}
        self._unpublished = Reminders()
        for own in tuple(node.subscriptions):
            if own.topic_name == CLOCK_TOPIC:
                self._intake.adopt_clock(own)
        for topic in self.topics.values():
            if topic.is_latched and len(topic.allowed) == 1:
                self._subscribe(topic, match_publishers(topic.roles, topic.allowed[0], []))
        self.update()

    def update(self) -> None:
        """Look at the graph: subscribe where a publisher came, and again where it changes what all can give."""
        names, now = dict(self._node.get_topic_names_and_types()), time.monotonic()
        self._intake.ask_for_events()
        if names != self._names:
            self._names = names
            self._unpublished.clear()
        is_due = now - self._published_s >= PUBLISHED_EVERY_S
        if is_due:
            self._published_s = now
        for topic in self.topics.values():
            if topic.known and not is_due:
                continue
            name = self._full_names[topic.name]
            publishers = self._node.get_publishers_info_by_topic(name) if name in names else []
            there = {bytes(publisher.endpoint_gid) for publisher in publishers}
            topic.publishers = len(there)
            if there - topic.known:
                self._match(topic, publishers)
            elif not there:
                topic.incompatible = ""
                self._check_unpublished(topic)
            topic.known = there

    def has_news(self) -> bool:
        """Whether topics or their first publishers have come or gone since ``update``; any thread may ask."""
        names = self._names
        if dict(self._node.get_topic_names_and_types()) != names:
            return True
        unseen = (self._full_names[topic.name] for topic in self.topics.values() if not topic.known)
        return any(name in names and self._node.count_publishers(name) for name in unseen)

    @property
    def is_quiet(self) -> bool:
        """Whether nobody publishes what is wanted, which is said, and nothing has come or changed for some seconds."""
        if not self._intake.is_quiet:
            return False
        now = time.monotonic()
        return not any(topic.known or self._is_to_be_said(topic, now) for topic in self.topics.values())

    @property
    def one_at_a_time(self) -> AbstractContextManager[Any]:
        """Held while messages are handed over."""
        return self._intake.one_at_a_time

    @property
    def clock_step_ns(self) -> int:
        """How far the node's clock goes at once: 0 where it is not simulated."""
        return self._intake.clock_step_ns

    def stop(self) -> None:
        """Take what has arrived, and nothing from then on."""
        self._intake.stop()

    def close(self) -> None:
        """End all subscriptions; what has arrived is taken first."""
        self._intake.close()
        for topic in self.topics.values():
            topic.subscription = None

    def warn(self, key: str, text: str, *, is_error: bool = False) -> bool:
        """Log a warning or an error, the same one not again for a while; returns whether it was logged."""
        now = time.monotonic()
        if now - self._warned_s.get(key, -WARN_PERIOD_S) < WARN_PERIOD_S:
            return False
        self._warned_s[key] = now
        logger = self._node.get_logger()
        (logger.error if is_error else logger.warning)(text)
        return True

    def _match(self, topic: Topic, publishers: Iterable[Any]) -> None:
        by_type: dict[str, list[Any]] = {}
        for publisher in publishers:
            by_type.setdefault(publisher.topic_type, []).append(publisher)
        fitting = [name for name in (sorted(by_type) if topic.takes_any_type else topic.allowed) if name in by_type]
        if not fitting:
            found, wanted = ", ".join(sorted(by_type)), types_text(topic.allowed)
            topic.missing = f"{topic.parameter}: {topic.name} is {found}, not {wanted}; name another topic"
            self.warn(topic.name, topic.missing)
            return
        problems = [field_problem(role, fitting[0]) for role in topic.roles]
        topic.missing = next(filter(None, problems), "")
        if topic.missing:
            self.warn(topic.name, topic.missing, is_error=True)
        if all(problems):
            return
        match = match_publishers(topic.roles, fitting[0], by_type[fitting[0]])
        if match != topic.match:
            self._subscribe(topic, match)

    def _subscribe(self, topic: Topic, match: Match) -> None:
        if topic.subscription is not None:
            self._intake.destroy(topic.subscription)
            topic.subscription = None
            self._node.get_logger().info(f"{topic.name}: subscribed again as {match}, which all publishers offer")
        topic.match, topic.refused, topic.incompatible = None, "", ""
        try:
            if topic.is_of_field:
                self._tell_type(topic, match.type_name)
            topic.subscription = self._intake.subscribe(
                message_type(match.type_name),
                topic.name,
                match.profile,
                self._receiver(topic, match.type_name),
                event_callbacks=SubscriptionEventCallbacks(
                    incompatible_qos=lambda event: self._on_incompatible(topic, event),
                    message_lost=lambda event: self._on_lost(topic, event),
                    use_default_callbacks=False,
                ),
                qos_overriding_options=overriding_options(self._full_names[topic.name], self._given),
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, the other topics go on
            reason = str(error) if isinstance(error, ConfigError) else described(error)
            topic.refused = (
                f"{topic.parameter}: {topic.name} cannot be used, the other topics are recorded: {reason}; "
                "it is tried again when its publisher comes anew"
            )
            self.warn(topic.name, topic.refused, is_error=True)
            return
        topic.match = match

    def _tell_type(self, topic: Topic, type_name: str) -> None:
        """Say what type a topic has, which may not have the fields that are asked for.

        Raises:
            InputError: It does not; not where that was reported of a signal, since there is more to the topic.
        """
        try:
            self._define(topic.name, type_name)
        except InputError:
            if not topic.missing:
                raise

    def _receiver(self, topic: Topic, type_name: str) -> Take:
        def take(data: bytes, sent_ns: int, received_ns: int) -> None:
            try:
                if not topic.received:
                    about = f"{type_name}; {topic.match}"
                    self._node.get_logger().info(f"{topic.name}: the first message has come ({about})")
                    if type_name == POINTCLOUD2 and (layout := layout_text(data)):
                        self._node.get_logger().info(f"{topic.name}: its points are {layout}")
                topic.note(len(data), sent_ns)
                self._receive(topic, type_name, data, received_ns)
                topic.failed = ""
            except Exception as error:  # noqa: BLE001 - whatever it is, the other topics go on
                reason = described(error)
                topic.failed = f"{topic.name}: a message cannot be taken, the other topics are recorded: {reason}"
                self.warn(f"{topic.name} failed", topic.failed, is_error=True)

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
        with self._intake.one_at_a_time:
            for _ in range(event.total_count_change):
                self._lost(topic.name)
        remedy = HISTORY_OVERRUN if topic.match is not None and topic.match.reliable else FRAGMENTS_LOST
        self.warn(
            f"{topic.name} lost",
            f"{topic.name}: {topic.transport_lost} messages did not arrive, {topic.received} did; {remedy}",
        )

    def _check_unpublished(self, topic: Topic) -> None:
        """Say that nobody publishes a topic; again when the graph has changed, or after longer and longer pauses."""
        now = time.monotonic()
        if now - self._started_s < UNPUBLISHED_AFTER_S or not self._is_to_be_said(topic, now):
            return
        what = f"of type {types_text(topic.allowed)}" if topic.allowed else "of a similar name"
        topic.missing = (
            f"{topic.parameter}: nobody publishes {topic.name}; check its name, ROS_DOMAIN_ID and the driver; "
            f"other topics {what}: {', '.join(self._others(topic)) or 'none'}"
        )
        if self.warn(topic.name, topic.missing):
            self._unpublished.note(topic.name, now)

    def _is_to_be_said(self, topic: Topic, now: float) -> bool:
        """Whether nobody publishes a topic, and it is time to say so."""
        is_there = topic.is_optional or topic.known or topic.received
        return not is_there and self._unpublished.is_due(topic.name, now)

    def _others(self, topic: Topic) -> list[str]:
        """Return what somebody else publishes and may be meant, the most likely ones first."""
        name = self._full_names[topic.name]
        free = self._names.keys() - self._full_names.values()
        if not topic.allowed:
            return [other for other in difflib.get_close_matches(name, free, n=3) if self._is_of_others(other)]
        kinds = {role.kind for role in topic.roles if not role.takes_any_type}

        def rank(other: str) -> tuple[bool, float, str]:
            first = [part.kind for kind in self._names[other] for part in interfaces_of(kind)[:1]]
            is_mostly_else = not kinds.intersection(first)  # as images are that may hold depth
            return is_mostly_else, -difflib.SequenceMatcher(None, name, other).ratio(), other

        fitting = [other for other in free if not set(self._names[other]).isdisjoint(topic.allowed)]
        others = [other for other in sorted(fitting, key=rank) if self._is_of_others(other)]
        more = len(others) - _MOST_OTHERS
        return others if more <= 0 else [*others[:_MOST_OTHERS], f"and {more} more"]

    def _is_of_others(self, name: str) -> bool:
        """Whether another node publishes a topic: what this one shows to people is not a sensor."""
        own = self._node.get_name(), self._node.get_namespace()
        publishers = self._node.get_publishers_info_by_topic(name)
        return any((one.node_name, one.node_namespace) != own for one in publishers)


def types_text(types: Sequence[str]) -> str:
    """Name the types that a topic may have; of many the first ones, which are the most usual."""
    few = types if len(types) <= _MOST_TYPES else (*types[: _MOST_TYPES - 1], "another type that is read here")
    return " or ".join(few)


def _remedy(topic: Topic, policy: str) -> str:
    if topic.is_latched and policy == "durability":
        return f"publish {topic.name} as transient local; with `ros2 bag play` use --qos-profile-overrides-path"
    return f"remove qos_overrides.{topic.name}.subscription.{policy}, or change the publisher"


def match_publishers(roles: Sequence[WantedTopic], type_name: str, publishers: Sequence[TopicEndpointInfo]) -> Match:
    """Choose what every publisher can give: reliable only when all are, likewise what is published once.

    What holds for all time is asked for as tf2 does, whoever publishes it.
    """
    interfaces = [interface for role in roles if (interface := interface_of(type_name, role.kind))]
    depth = max((interface.depth for interface in interfaces), default=_DEPTH)
    if any(role.is_latched for role in roles):
        return Match(type_name, reliable=True, transient_local=True, depth=min(depth, _DEPTH))
    profiles = [publisher.qos_profile for publisher in publishers]
    reliable = all(profile.reliability == ReliabilityPolicy.RELIABLE for profile in profiles)
    latched = all(profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for profile in profiles)
    may_be_latched = any(role.ahead == "first" or role.role in ("event", "signal") for role in roles) or any(
        part.is_latched for part in interfaces
    )
    return Match(type_name, reliable, latched and may_be_latched, depth)


def overriding_options(topic: str, given: Mapping[str, object]) -> QoSOverridingOptions | None:
    """Return the options for the policies that the user set through ``qos_overrides``, if any."""
    prefix = f"{OVERRIDES}{topic}.subscription."
    kinds = [kind for name, kind in POLICIES.items() if f"{prefix}{name}" in given]
    return QoSOverridingOptions(kinds) if kinds else None
