# SPDX-License-Identifier: Apache-2.0
"""The definition of an installed message type as text, as recordings embed it, and what fields it lacks."""

from __future__ import annotations

import re
from typing import Any

from nucleus_bridge.errors import ConfigError, InputError
from nucleus_bridge.pipeline.signals import signal_field
from nucleus_bridge.pipeline.topics import WantedTopic
from nucleus_bridge.ros.first_start import message_type

_SEPARATOR = "=" * 80
_BASE = {"double": "float64", "float": "float32", "boolean": "bool", "octet": "byte"}
_SEQUENCE = re.compile(r"sequence<(.+?)(?:,\s*(\d+))?>")
_ARRAY = re.compile(r"(.+)\[(\d+)\]")
_BOUNDED_TEXT = re.compile(r"(w?string)<\d+>")


def definition_of(type_name: str) -> str:
    """Return the definition of a type and of all that it is made of.

    Raises:
        ConfigError: A package is not installed.
    """
    parts: dict[str, str] = {}
    waiting = [type_name]
    while waiting:
        name = waiting.pop()
        if name in parts:
            continue
        fields = _fields(message_type(name))
        parts[name] = "".join(f"{declared} {field}\n" for field, declared in fields.items())
        waiting += [_full(base) for declared in fields.values() if "/" in (base := declared.partition("[")[0])]
    own = parts.pop(type_name)
    others = (f"{_SEPARATOR}\nMSG: {name.replace('/msg/', '/')}\n{text}" for name, text in sorted(parts.items()))
    return own + "".join(others)


def field_problem(topic: WantedTopic, type_name: str) -> str:
    """Say what keeps a topic's messages of a type from being read for a signal; empty for anything else."""
    if topic.role != "signal":
        return ""
    try:
        signal_field(topic.settings, type_name, definition_of(type_name))
    except InputError as error:
        return str(error)
    return ""


def _fields(message: Any) -> dict[str, str]:
    return {name: _declared(given) for name, given in message.get_fields_and_field_types().items()}


def _declared(given: str) -> str:
    """Return a type as message files have it: ``sequence<double, 3>`` is ``float64[<=3]``."""
    if found := _SEQUENCE.fullmatch(given):
        bound = f"<={found[2]}" if found[2] else ""
        return f"{_declared(found[1])}[{bound}]"
    if found := _ARRAY.fullmatch(given):
        return f"{_declared(found[1])}[{found[2]}]"
    if found := _BOUNDED_TEXT.fullmatch(given):
        return found[1]
    return _BASE.get(given, given)


def _full(name: str) -> str:
    package, _, base = name.partition("/")
    if not package or not base:
        raise ConfigError(f"{name!r} is no message type")
    return f"{package}/msg/{base}"
