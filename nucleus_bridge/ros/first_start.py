# SPDX-License-Identifier: Apache-2.0
"""What can be known before the first message comes: message packages, topic names, overrides of quality of service."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSPolicyKind, ReliabilityPolicy
from rclpy.type_support import check_for_type_support
from rclpy.validate_full_topic_name import validate_full_topic_name

from nucleus_bridge.errors import BridgeError, ConfigError
from nucleus_bridge.pipeline.topics import WantedTopic

OVERRIDES = "qos_overrides."
POLICIES = {
    "history": QoSPolicyKind.HISTORY,
    "depth": QoSPolicyKind.DEPTH,
    "reliability": QoSPolicyKind.RELIABILITY,
    "durability": QoSPolicyKind.DURABILITY,
}
"""Those of a subscription that can be overridden, by the name that ROS 2 gives them."""
_WORDS = {"history": HistoryPolicy, "reliability": ReliabilityPolicy, "durability": DurabilityPolicy}
_NOT_ASKED_FOR = ("UNKNOWN",)
_OWN_TOPICS = ("/clock", "/diagnostics", "/parameter_events", "/rosout")
"""Topics of every node, or of this one, whose overrides are not ours to judge."""


def check_first_start(
    wanted: Iterable[WantedTopic], given: Mapping[str, object], resolved: Callable[[str], str]
) -> None:
    """Check what was configured against the ROS 2 that is installed here.

    Args:
        wanted: The topics that the configuration asks for.
        given: The node's parameters as they were given, for ``qos_overrides``.
        resolved: Says what a topic is called after remapping.

    Raises:
        ConfigError: All that a person has to correct, a line each.
    """
    topics = list(wanted)
    names = {topic.name: topic.parameter for topic in topics}
    wrong = [f"{names[name]}: {problem}" for name in names if (problem := _name_problem(name, resolved))]
    if not wrong:
        known = sorted({resolved(name) for name in names})
        wrong += [
            problem for name, value in sorted(given.items()) if (problem := _override_problem(name, value, known))
        ]
    wrong += dict.fromkeys(_missing_packages(topics))
    if wrong:
        raise ConfigError("\n".join(wrong))


def message_type(type_name: str) -> Any:
    """Return the class of a message type, with what the middleware needs for it.

    Raises:
        ConfigError: Its package is not installed, or is broken; with the remedy.
    """
    package, _, name = type_name.partition("/msg/")
    remedy = f"install the ROS 2 package {package}, or run `nucleus-bridge ros-setup {package}`"
    try:
        found = getattr(import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError):
        raise ConfigError(f"{type_name} is not installed here: {remedy}") from None
    try:
        check_for_type_support(found)
    except Exception as error:  # each distribution raises another one
        raise ConfigError(f"{type_name} is installed but cannot be used: {described(error)}; {remedy}") from error
    return found


def described(error: BaseException) -> str:
    """Return an error for a person: those of other libraries with their type, and on one line."""
    text = str(error) if isinstance(error, BridgeError) else " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _name_problem(name: str, resolved: Callable[[str], str]) -> str:
    try:
        validate_full_topic_name(resolved(name))
    except Exception as error:  # noqa: BLE001 - rclpy's own and those of rcl, by what is wrong with it
        reason = " ".join(str(error).split()).removeprefix("failed to resolve name: ").partition(", at /")[0]
        return f"{name!r} is not a topic name: {reason}"
    return ""


def _override_problem(parameter: str, value: object, known: list[str]) -> str:
    """Say what is wrong with ``qos_overrides.<topic>.subscription.<policy>``; empty for anything else."""
    if not parameter.startswith(OVERRIDES):
        return ""
    topic, _, policy = parameter.removeprefix(OVERRIDES).rpartition(".subscription.")
    if any(parameter.startswith(f"{OVERRIDES}{name}.") for name in _OWN_TOPICS):
        return ""
    if not topic:
        return f"{parameter}: must be {OVERRIDES}<topic>.subscription.<policy>"
    if topic not in known:
        near = difflib.get_close_matches(topic, known, 1) or known
        return f"{parameter}: {topic} is not subscribed to; did you mean {' or '.join(near)}?"
    if policy not in POLICIES:
        return f"{parameter}: no such policy; it is one of {', '.join(POLICIES)}"
    return _value_problem(parameter, policy, value)


def _value_problem(parameter: str, policy: str, value: object) -> str:
    if policy == "depth":
        is_depth = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        return "" if is_depth else f"{parameter}: {value!r} must be a whole number of at least 1"
    words = [word.lower() for word in _WORDS[policy].__members__ if word.isupper() and word not in _NOT_ASKED_FOR]
    return "" if value in words else f"{parameter}: {value!r} must be one of {', '.join(dict.fromkeys(words))}"


def _missing_packages(topics: Iterable[WantedTopic]) -> Iterator[str]:
    """Report topics that cannot be read, whichever of their types they have."""
    for topic in topics:
        if topic.is_optional or topic.takes_any_type:
            continue
        problems = []
        for type_name in topic.types:
            try:
                message_type(type_name)
            except ConfigError as error:
                problems.append(str(error))
        if len(problems) == len(topic.types):
            yield f"{topic.parameter}: {topic.name} cannot be read: {'; or '.join(problems)}"
