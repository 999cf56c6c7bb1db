# SPDX-License-Identifier: Apache-2.0
"""The definitions of installed message types, so that any field of any message can be read live as well."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from nucleus_bridge.decode.cdr import known_types, register
from nucleus_bridge.errors import BridgeError
from nucleus_bridge.pipeline.signals import signal_field
from nucleus_bridge.pipeline.topics import WantedTopic
from nucleus_bridge.ros.first_start import message_type

_SEPARATOR = "=" * 80
_SEQUENCE = re.compile(r"sequence<(.+?)(?:, ?(\d+))?>")
_ARRAY = re.compile(r"(.+)\[(\d+)\]")
_NAMES = {"double": "float64", "float": "float32", "boolean": "bool", "octet": "byte"}


def field_problem(topic: WantedTopic, type_name: str) -> str:
    """Say what keeps a topic's messages of a type from being read for a signal; empty for anything else."""
    if topic.role != "signal":
        return ""
    try:
        make_known(type_name)
        signal_field(topic.settings, type_name)
    except BridgeError as error:
        return str(error)
    return ""


def field_problems(wanted: Iterable[WantedTopic], types: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Say what can be said of fields before the first message.

    Args:
        wanted: The topics that the configuration asks for.
        types: The types of those that are published already, by the names that the configuration has for them.
    """
    for topic in wanted:
        found = [field_problem(topic, type_name) for type_name in types.get(topic.name, ())]
        if found and all(found):
            yield found[0]


def make_known(type_name: str) -> None:
    """Make an installed message type known to whatever reads messages here.

    Raises:
        ConfigError: Its package is not installed, or is broken.
        DecodeError: Its definition cannot be used.
    """
    if type_name not in known_types().fielddefs:
        register(type_name, definition_of(type_name))


def definition_of(type_name: str) -> str:
    """Return the definition of an installed message type as recordings embed it: those that it needs follow.

    Raises:
        ConfigError: Its package is not installed, or is broken.
    """
    parts: dict[str, str] = {}
    waiting = [type_name]
    while waiting:
        name = waiting.pop()
        if name in parts:
            continue
        fields = message_type(name).get_fields_and_field_types()
        lines = [(_declared(kind), field) for field, kind in fields.items()]
        parts[name] = "".join(f"{declared} {field}\n" for declared, field in lines)
        waiting += [f"{package}/msg/{inner}" for declared, _ in lines for package, inner in _inner(declared)]
    own = parts.pop(type_name)
    rest = (f"{_SEPARATOR}\nMSG: {name.replace('/msg/', '/')}\n{text}" for name, text in sorted(parts.items()))
    return "".join((own, *rest))


def _declared(kind: str) -> str:
    """Turn a type as rosidl's Python classes name it into that of a .msg file."""
    if found := _SEQUENCE.fullmatch(kind):
        bound = f"<={found[2]}" if found[2] else ""
        return f"{_declared(found[1])}[{bound}]"
    if found := _ARRAY.fullmatch(kind):
        return f"{_declared(found[1])}[{found[2]}]"
    if found := re.fullmatch(r"(w?string)<(\d+)>", kind):
        return f"{found[1]}<={found[2]}"
    return _NAMES.get(kind, kind)


def _inner(declared: str) -> Iterator[tuple[str, str]]:
    package, slash, name = declared.partition("[")[0].partition("/")
    if slash:
        yield package, name
