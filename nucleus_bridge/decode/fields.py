# SPDX-License-Identifier: Apache-2.0
"""Any field of any message by its path, such as ``status[0].level``: checked against the type, then read.

A type is known from ROS 2 itself, from this package, or from the definition that a recording embeds. So a path is
checked before the first message is read, and one that is wrong is refused with the nearest field and its type.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from keyword import iskeyword
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from nucleus_bridge.decode import cdr
from nucleus_bridge.decode.cdr import byte_order, naming
from nucleus_bridge.decode.detections import DEFINITIONS
from nucleus_bridge.decode.radar import RADAR_SCAN, RADAR_SCAN_DEFINITION
from nucleus_bridge.errors import DecodeError, InputError
from nucleus_bridge.model import Message

if TYPE_CHECKING:
    from rosbags.interfaces.typing import FieldDesc, Typesdict
    from rosbags.typesys.store import Typestore

Holds = Literal["number", "boolean", "text", "vector", "other"]
"""What a field holds; a vector is an array of numbers, or a structure of numbers alone such as Vector3."""
Value = float | int | bool | str | tuple[float, ...]

_STEP = re.compile(r"([A-Za-z_]\w*)(?:\[(\d+)\])?")
_SEPARATOR = "=" * 80 + "\n"
_HEADER, _TIME, _DURATION = "std_msgs/msg/Header", "builtin_interfaces/msg/Time", "builtin_interfaces/msg/Duration"
_CORE = frozenset({_HEADER, _TIME, _DURATION})
"""The same in every release of ROS 2; ROS 1 writes them otherwise."""
_BOOL, _TEXTS = "bool", frozenset({"string", "wstring"})
_DEEPEST = 8
_MOST_PATHS = 2000
_BASE, _NAME, _ARRAY, _SEQUENCE = 1, 2, 3, 4
"""The kinds of nodes in definitions as rosbags keeps them."""


class FieldError(InputError):
    """A path leads to no field of its type, or the type is not known."""


@dataclass(frozen=True)
class Step:
    """One part of a path: a field, and which element of it."""

    name: str
    index: int | None = None

    def __str__(self) -> str:
        return self.name if self.index is None else f"{self.name}[{self.index}]"


@dataclass(frozen=True)
class Field:
    """A field of an interface type.

    Attributes:
        type_name: The interface type, such as ``geometry_msgs/msg/TwistStamped``.
        path: The way to the field.
        holds: What it holds.
        declared: Its type as the definition writes it, such as ``float64`` or ``float64[36]``.
        definition: Text of the interface definition that it was found in; "" for a type that is known anyway.
    """

    type_name: str
    path: tuple[Step, ...]
    holds: Holds
    declared: str
    definition: str = ""

    def __str__(self) -> str:
        return ".".join(map(str, self.path))

    def read(self, message: Message) -> Value | None:
        """Return the value in a message; None where a list is too short to have the element.

        Raises:
            DecodeError: The bytes are damaged (cause ``damaged``), or of another type (``wrong_type``).
        """
        if message.type_name != self.type_name:
            text = f"{message.topic} carries {message.type_name}, expected {self.type_name}"
            raise DecodeError(text, cause="wrong_type")
        content: Any = _content(message, self.definition)
        for step, name in zip(self.path, _attributes(self.path), strict=True):
            content = getattr(content, name)
            if step.index is not None:
                if step.index >= len(content):
                    return None
                content = content[step.index]
        return _value(content, self.holds)


def parse_path(text: str) -> tuple[Step, ...]:
    """Read a path such as ``pose.pose.position.x`` or ``status[0].values[1].value``.

    Raises:
        FieldError: It is not a path.
    """
    steps = []
    for part in text.split("."):
        found = _STEP.fullmatch(part.strip())
        if found is None:
            raise FieldError(f"{text!r} is not a path of a field such as pose.pose.position.x or status[0].level")
        name, index = found.groups()
        steps.append(Step(name, None if index is None else int(index)))
    return tuple(steps)


def find_field(type_name: str, path: str, definition: str = "") -> Field:
    """Find the field that a path leads to.

    Args:
        type_name: Interface name such as ``sensor_msgs/msg/Imu``.
        path: The path.
        definition: Text of the definition as recordings embed it; "" where the type is one that is known.

    Raises:
        FieldError: The path is none, leads nowhere, or the type is not known; with the nearest field and its type.
    """
    steps = parse_path(path)
    definition = definition or _own_definition(type_name)
    types = _known(type_name, definition).fielddefs
    where = type_name
    for number, step in enumerate(steps):
        fields = dict(types[where][1])
        if step.name not in fields:
            text = f"{path!r}: {where} has no field {step.name!r}; the nearest field of {type_name} is"
            raise FieldError(f"{text} {nearest_field(type_name, path, definition)}")
        node = fields[step.name]
        if step.index is not None:
            node = _element(node, step.index, ".".join(map(str, steps[: number + 1])), type_name)
        if number == len(steps) - 1:
            return Field(type_name, steps, _holds(node, types), _declared(node), definition)
        kind, inner = node
        if kind != _NAME:
            reached = ".".join(map(str, steps[: number + 1]))
            hint = f"choose an element: {reached}[0]" if kind in (_ARRAY, _SEQUENCE) else "nothing is inside it"
            raise FieldError(f"{path!r}: {reached} of {type_name} is {_declared(node)}; {hint}")
        where = str(inner)
    raise AssertionError  # a path has a step


def paths_of(type_name: str, definition: str = "") -> dict[str, str]:
    """Return every path that leads to a number, a boolean or a text, with its declared type; lists by their first.

    Raises:
        FieldError: The type is not known.
    """
    types = _known(type_name, definition or _own_definition(type_name)).fielddefs
    return {path: _declared(node) for path, node in islice(_leaves(type_name, types, "", 0), _MOST_PATHS)}


def nearest_field(type_name: str, path: str, definition: str = "") -> str:
    """Name the field of a type that is nearest to a path, with its declared type.

    Raises:
        FieldError: The type is not known.
    """
    known = paths_of(type_name, definition)
    plain = re.sub(r"\[\d+\]", "[0]", path)
    last = plain.rpartition(".")[2]
    ends_alike = [name for name in known if name.rpartition(".")[2] == last]
    nearest = difflib.get_close_matches(plain, ends_alike or list(known), n=1, cutoff=0.0)
    return f"{nearest[0]} ({known[nearest[0]]})" if nearest else "none"


def _leaves(type_name: str, types: Typesdict, prefix: str, depth: int) -> Iterator[tuple[str, FieldDesc]]:
    for name, node in types[type_name][1]:
        path, inner = f"{prefix}{name}", node
        if node[0] in (_ARRAY, _SEQUENCE):
            if _holds(node, types) == "vector":
                yield f"{path}[0]", _inner(node)
                continue
            path, inner = f"{path}[0]", _inner(node)
        if inner[0] == _BASE:
            yield path, inner
        elif depth < _DEEPEST:
            yield from _leaves(str(inner[1]), types, f"{path}.", depth + 1)


def _element(node: FieldDesc, index: int, reached: str, type_name: str) -> FieldDesc:
    """Return what an element of a field is.

    Raises:
        FieldError: The field has no elements, or not so many.
    """
    if node[0] not in (_ARRAY, _SEQUENCE):
        raise FieldError(f"{reached}: the field of {type_name} is {_declared(node)}, which has no elements")
    length = int(node[1][1])
    if node[0] == _ARRAY and index >= length:
        raise FieldError(
            f"{reached}: the field of {type_name} is {_declared(node)}, its last element is [{length - 1}]"
        )
    return _inner(node)


def _inner(node: FieldDesc) -> FieldDesc:
    inner: FieldDesc = node[1][0]  # type: ignore[assignment]
    return inner


def _holds(node: FieldDesc, types: Typesdict) -> Holds:
    kind, inner = node
    if kind == _BASE:
        name = str(inner[0])
        return "boolean" if name == _BOOL else "text" if name in _TEXTS else "number"
    if kind == _NAME:
        parts = [] if str(inner) in _CORE else [field for _, field in types[str(inner)][1]]
        return "vector" if parts and all(_holds(part, types) == "number" for part in parts) else "other"
    return "vector" if _inner(node)[0] == _BASE and _holds(_inner(node), types) == "number" else "other"


def _declared(node: FieldDesc) -> str:
    kind, inner = node
    if kind == _BASE:
        return str(inner[0])
    if kind == _NAME:
        return str(inner)
    return f"{_declared(_inner(node))}[{inner[1] if kind == _ARRAY else ''}]"


def _value(content: Any, holds: Holds) -> Value | None:
    if holds == "vector":
        if isinstance(content, np.ndarray | list):
            return tuple(map(float, content))
        return tuple(float(part) for name, part in vars(content).items() if name != "__msgtype__")
    if holds == "other":
        return None
    if isinstance(content, np.generic):
        return content.item()  # type: ignore[no-any-return]
    return content  # type: ignore[no-any-return]


def _attributes(path: tuple[Step, ...]) -> Iterator[str]:
    """Yield the names of fields as Python has them."""
    return (f"{step.name}_" if iskeyword(step.name) else step.name for step in path)


def _content(message: Message, definition: str) -> Any:
    if not definition:
        return cdr.deserialise(message)
    with naming(message):
        byte_order(message.data)
        try:
            return _defined(message.type_name, definition).deserialize_cdr(memoryview(message.data), message.type_name)
        except Exception as error:  # damage surfaces as many types, by library version
            raise DecodeError(str(error)) from error


def _known(type_name: str, definition: str) -> Typestore:
    """Return what knows a type and all that it is made of.

    Raises:
        FieldError: Nothing does.
    """
    if definition:
        return _defined(type_name, definition)
    store = cdr.known_types()
    if type_name not in store.fielddefs:
        raise FieldError(f"the definition of {type_name} is not known, nor does the recording embed it")
    return store


def _own_definition(type_name: str) -> str:
    """Return the definition that this package has of a type that ROS 2 does not bring; "" for others."""
    return DEFINITIONS.get(type_name, RADAR_SCAN_DEFINITION if type_name == RADAR_SCAN else "")


@lru_cache(maxsize=64)
def _defined(type_name: str, definition: str) -> Typestore:
    """Return a store of the types that a definition brings, and of the standard ones.

    Raises:
        FieldError: The definition cannot be used.
    """
    from rosbags.typesys.store import Typestore  # noqa: PLC0415 - only where an event or a signal is configured

    try:
        given = {name: fields for name, fields in _parsed(type_name, definition).items() if name not in _CORE}
        store = Typestore()
        standard = cdr.known_types().fielddefs
        store.register({**{name: fields for name, fields in standard.items() if name not in given}, **given})
    except Exception as error:  # the parser has no common base class for what it raises
        raise FieldError(f"the definition of {type_name} in the recording cannot be used: {error}") from error
    return store


def _parsed(type_name: str, definition: str) -> Typesdict:
    from rosbags.typesys import get_types_from_idl, get_types_from_msg  # noqa: PLC0415

    if f"IDL: {type_name}" not in definition:
        return get_types_from_msg(definition, type_name)
    types: Typesdict = {}
    for part in definition.split(_SEPARATOR):
        if part.startswith("IDL: "):
            lines = part.splitlines()[1:]
            types |= get_types_from_idl("\n".join(line for line in lines if not line.lstrip().startswith("#")))
    return types


def has_header(type_name: str, definition: str = "") -> bool:
    """Say whether messages of a type begin with ``std_msgs/msg/Header``; a type that is not known has none."""
    try:
        fields = _known(type_name, definition or _own_definition(type_name)).fielddefs[type_name][1]
    except (FieldError, KeyError):
        return False
    return bool(fields) and fields[0][1] == (_NAME, _HEADER)
