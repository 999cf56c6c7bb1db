# SPDX-License-Identifier: Apache-2.0
"""The sections of a ROS 2 parameter file as its own parser reads them for one node.

A section is the mapping below ``ros__parameters``; the keys above it, joined by slashes, say whose it is. ``*`` stands
for one part of a full name, ``**`` for any number of them. Sections that fit apply in the order of the file. Values are
what the parser of ROS 2 makes of them, which is not what YAML says: ``y`` is true, ``010`` is 8, ``~`` and
``2026-11-28`` are text, and a list holds values of one type.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from nucleus_bridge.errors import ConfigError, TextError
from nucleus_bridge.strict_text import StrictLoader, compose_yaml, line_of, read_text, refuse_alias

NODE_NAMES = ("nucleus_recorder", "nucleus_uploader")

_MARKER = "ros__parameters"
UNTAGGED = "untagged"
"""Tag of a node that has none in the file."""

_TEXT = "tag:yaml.org,2002:str"
_TRUE = frozenset(["Y", "y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"])
_FALSE = frozenset(["N", "n", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"])
_INTEGER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)", re.ASCII)
_DECIMAL = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_HEXADECIMAL = re.compile(r"[-+]?0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)(?:[pP][-+]?[0-9]+)?", re.ASCII)
_NOT_FINITE = re.compile(r"[-+]?(?:inf|infinity|nan)", re.ASCII | re.IGNORECASE)
_DOTTED = frozenset(f"{sign}.{word}" for sign in ("", "+", "-") for word in ("inf", "Inf", "INF")) | frozenset(
    (".nan", ".NaN", ".NAN")
)
_INTEGERS = 1 << 63
_LONGEST_INTEGER = 20  # sign and decimal digits; Python takes no more than 4300
_ANY_NAMESPACE = "any"


class PlainLoader(StrictLoader):
    """Leaves values without a tag as they were written."""

    def resolve(self, kind: type[yaml.Node], value: str | None, implicit: tuple[bool, bool]) -> str:  # noqa: ARG002
        """Return the tag of a node that has none."""
        return UNTAGGED


@dataclass(frozen=True)
class Section:
    """What a file says under one ``ros__parameters``.

    Attributes:
        name: Whose it is: the keys above it, joined.
        node: What is below ``ros__parameters``; or, where a value stands outside of any such key, that value.
        is_outside: Whether it is such a value.
        repeated: A key above it that the file gives twice, or None.
    """

    name: str
    node: yaml.Node
    is_outside: bool
    repeated: yaml.Node | None

    @property
    def pattern(self) -> str:
        """The name with a leading slash."""
        return f"/{self.name.lstrip('/')}"


def read_parameters(path: Path, full_name: str = "") -> dict[str, object]:
    """Read what a parameter file says for a node, under flat dotted names.

    Args:
        path: The file.
        full_name: The node's full name. "": that of this package's nodes in the namespace that the file itself tells,
            which is the root where it tells none; then some section must fit.

    Raises:
        ConfigError: The file is missing, unreadable or no parameter file; no section fits; or those of two robots do.
    """
    try:
        sections = tuple(_sections(compose_yaml(read_text(path), PlainLoader)))
        names = (full_name,) if full_name else _own_names(sections)
        fitting = [section for section in sections if any(fits(section.pattern, name) for name in names)]
        if not full_name:
            _check_found(fitting, sections, names)
        return _merged(fitting)
    except (TextError, RecursionError) as error:
        made = "" if path.exists() else "; `nucleus-bridge init BAG -o drive.yaml` writes one"
        raise ConfigError(f"configuration {path}: {error}{made}") from None


def read_value(text: str) -> object:
    """Read one value of the command line; numbers of both kinds may stand in one list.

    Raises:
        TextError: It is not YAML, or no value.
    """
    node = compose_yaml(text, PlainLoader)
    if node is None:
        raise TextError("has no value; write '' for empty text")
    if isinstance(node, yaml.MappingNode):
        raise TextError("holds keys and values; set them one by one")
    if isinstance(node, yaml.SequenceNode):
        return [_scalar(item, "the list") for item in node.value]
    return _scalar(node, "the value")


def written(value: object) -> str:
    """Write a text, number, boolean or list of them on one line, so that ROS 2 reads it back as it is."""
    plain = list(value) if isinstance(value, tuple) else value
    text = _dumped(plain, None)
    return text if repr(read_value(text)) == repr(plain) else _dumped(plain, '"')


def _dumped(value: object, style: str | None) -> str:
    dumped: str = yaml.safe_dump(value, default_style=style, default_flow_style=True, width=math.inf)
    return dumped.strip().removesuffix("...").strip()


def fits(pattern: str, full_name: str) -> bool:
    """Say whether a section is for the node of a full name."""
    parts = full_name.split("/")[1:]
    reached = {0}
    for part in pattern.split("/")[1:]:
        if part == "**":
            reached = set(range(min(reached, default=len(parts) + 1), len(parts) + 1))
        else:
            left = (number for number in reached if number < len(parts))
            reached = {number + 1 for number in left if part in ("*", parts[number])}
    return len(parts) in reached


def _sections(
    node: yaml.Node | None, path: tuple[str, ...] = (), repeated: yaml.Node | None = None
) -> Iterator[Section]:
    """Yield the sections of a file in their order."""
    if not isinstance(node, yaml.MappingNode):
        return
    again_of: dict[str, yaml.Node | None] = {}
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            again_of[key.value] = key if key.value in again_of else None
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise TextError(f"{line_of(key)}: a key must be plain text")
        again = again_of[key.value] or repeated
        if key.value == _MARKER and path:
            yield Section("/".join(path), value, is_outside=False, repeated=again)
        elif isinstance(value, yaml.MappingNode) and (value.value or not path):
            yield from _sections(value, (*path, key.value), again)
        elif path:
            yield Section("/".join(path), value, is_outside=True, repeated=again)


def _own_names(sections: Sequence[Section]) -> tuple[str, ...]:
    """Return the full names of this package's nodes in the namespace that a file tells.

    Raises:
        TextError: It tells several.
    """
    patterns = [section.pattern for section in sections if not section.is_outside]
    own = [pattern for pattern in patterns if "*" not in pattern and pattern.rpartition("/")[2] in NODE_NAMES]
    root = tuple(f"/{name}" for name in NODE_NAMES)
    if not own and any(fits(pattern, name) for pattern in patterns for name in root):
        return root
    spaces = {pattern.rpartition("/")[0]: pattern for pattern in own or _possible_names(patterns)}
    if len(spaces) > 1:
        first, second, *_ = spaces.values()
        raise TextError(
            f"has sections for {first} and for {second}, which are two nodes; leave one of them out, or give each a "
            "file of its own"
        )
    return tuple(f"{space}/{name}" for space in spaces for name in NODE_NAMES) or root


def _possible_names(patterns: Sequence[str]) -> Iterator[str]:
    """Yield the shortest full name of a node of this package that each pattern with a wildcard fits."""
    for pattern in patterns:
        space = "".join(
            f"/{_ANY_NAMESPACE if part == '*' else part}" for part in pattern.split("/")[1:] if part != "**"
        )
        for name in (space.rpartition("/")[0] + f"/{NODE_NAMES[0]}", f"{space}/{NODE_NAMES[0]}"):
            if "*" in pattern and fits(pattern, name):
                yield name
                break


def _check_found(fitting: Sequence[Section], sections: Sequence[Section], names: Sequence[str]) -> None:
    """Refuse a file that has nothing for the node.

    Raises:
        TextError: Naming what it has instead.
    """
    there = ", ".join(dict.fromkeys(repr(section.pattern) for section in sections))
    if not there:
        raise TextError(f"expected a ROS 2 parameter file that starts with '/**: {_MARKER}:'")
    if not fitting:
        raise TextError(f"no section is for {' or '.join(names)}, as '/**' would be; the file has {there}")


def _merged(sections: Sequence[Section]) -> dict[str, object]:
    """Return the parameters of sections; several under one name stand at the place of the first, as in ROS 2."""
    merged: dict[str, dict[str, object]] = {}
    for section in sections:
        if section.repeated is not None:
            raise TextError(f"{line_of(section.repeated)}: key {section.repeated.value!r} is given twice")
        where = f"{line_of(section.node)}: section {section.pattern!r}"
        if section.is_outside:
            raise TextError(f"{where} must hold '{_MARKER}:' and its parameters below it")
        refuse_alias(section.node)
        if not isinstance(section.node, yaml.MappingNode):
            raise TextError(f"{where}: {_MARKER} must be a mapping of parameters")
        place = merged.setdefault(section.name, {})
        for name, node in _leaves(section.node, ""):
            if name in place:
                raise TextError(f"{line_of(node)}: parameter {name!r} of {section.pattern!r} is given twice")
            place[name] = _value(node, name)
    return {name: value for place in merged.values() for name, value in place.items()}


def _leaves(node: yaml.MappingNode, prefix: str) -> Iterator[tuple[str, yaml.Node]]:
    """Yield dotted names and what they are given; an empty mapping sets nothing."""
    _check_tag(node)
    seen = set()
    for key, value in node.value:
        refuse_alias(key)
        if not isinstance(key, yaml.ScalarNode) or not key.value:
            raise TextError(f"{line_of(key)}: a key must be plain text")
        if key.value in seen:
            raise TextError(f"{line_of(key)}: key {key.value!r} is given twice")
        seen.add(key.value)
        if isinstance(value, yaml.MappingNode):
            yield from _leaves(value, f"{prefix}{key.value}.")
        else:
            yield f"{prefix}{key.value}", value


def _value(node: yaml.Node, name: str) -> object:
    """Return what the parser of ROS 2 makes of a scalar or a list."""
    if not isinstance(node, yaml.SequenceNode):
        return _scalar(node, name)
    _check_tag(node)
    values = [_scalar(item, name) for item in node.value]
    types = {type(value) for value in values}
    if types == {int, float}:
        numbers = ", ".join(_decimal(value) for value in values)
        raise TextError(f"{line_of(node)}: {name}: ROS 2 reads no list of whole and decimal numbers; write [{numbers}]")
    if len(types) > 1:
        raise TextError(f"{line_of(node)}: {name}: ROS 2 reads no list of different types; put each entry in quotes")
    return values


def _decimal(value: object) -> str:
    return f"{float(value)}" if isinstance(value, (int, float)) else str(value)


def _scalar(node: yaml.Node, name: str) -> object:
    """Return what the parser of ROS 2 makes of a scalar."""
    refuse_alias(node)
    if not isinstance(node, yaml.ScalarNode):
        raise TextError(f"{line_of(node)}: {name}: ROS 2 reads no list or mapping within a list")
    _check_tag(node)
    text: str = node.value
    if node.style in ("'", '"') or node.tag == _TEXT:
        return text
    if not text:
        raise TextError(f"{line_of(node)}: {name}: has no value; leave it out, or write '' for empty text")
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    number = _number(text)
    return text if number is None else number


def _number(text: str) -> int | float | None:
    """Return the number that C's strtol and strtod read, or None where they do not take the whole text."""
    if _INTEGER.fullmatch(text):
        base = 16 if "x" in text.lower() else 8 if text.lstrip("+-").startswith("0") else 10
        value = int(text, base) if base != 10 or len(text) <= _LONGEST_INTEGER else _INTEGERS
        if -_INTEGERS <= value < _INTEGERS:
            return value
    if text in _DOTTED:
        return float(text.replace(".", ""))
    if _NOT_FINITE.fullmatch(text):
        return float(text)
    try:
        number = float(text) if _DECIMAL.fullmatch(text) else None
        number = float.fromhex(text) if _HEXADECIMAL.fullmatch(text) else number
    except OverflowError:
        return None
    if number is None or math.isinf(number) or (abs(number) < sys.float_info.min and _is_nonzero(text)):
        return None  # out of range, which the parser takes for text
    return number


def _is_nonzero(text: str) -> bool:
    """Say whether the digits of a number are not all zeros."""
    digits = re.split("[pP]" if "x" in text.lower() else "[eE]", text)[0]
    return any(digit not in "+-.0xX" for digit in digits)


def _check_tag(node: yaml.Node) -> None:
    if node.tag not in (UNTAGGED, _TEXT):
        raise TextError(f"not valid YAML: {line_of(node)}: the tag {node.tag} cannot be used")
