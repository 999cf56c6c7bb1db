# SPDX-License-Identifier: Apache-2.0
"""JSON read strictly: duplicate keys and numbers that are not finite are noticed, damage is one kind of error."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from nucleus_bridge.errors import SceneError, TextError
from nucleus_bridge.strict_text import parse_json

_T = TypeVar("_T")

_LONGEST_INTEGER = 308  # characters; every integer of at most so many fits a float


class WrittenFloat(float):
    """A number that remembers how it was written."""

    __slots__ = ("text",)
    text: str


@dataclass
class Document:
    """A parsed JSON text and what is irregular about it."""

    value: object = None
    duplicate_keys: list[str] = field(default_factory=list)
    not_finite: list[str] = field(default_factory=list)

    def read_float(self, text: str) -> WrittenFloat:
        """Take a number that has a point or an exponent, or NaN or infinity, from the parser."""
        number = WrittenFloat(text)
        number.text = text
        if not math.isfinite(number):
            self.not_finite.append(text)
        return number

    def read_integer(self, text: str) -> int | float:
        """Take an integer from the parser; one too large for a float becomes infinity."""
        if len(text) <= _LONGEST_INTEGER:
            return int(text)
        self.not_finite.append(text)
        return math.inf


def parse(data: bytes) -> Document:
    """Parse UTF-8 JSON; numbers with a point or an exponent become :class:`WrittenFloat`.

    Raises:
        SceneError: It is not JSON, or nested too deeply to be read.
    """
    document = Document()
    try:
        document.value = parse_json(
            data,
            repeated=document.duplicate_keys.extend,
            parse_float=document.read_float,
            parse_int=document.read_integer,
            parse_constant=document.read_float,
        )
    except TextError as error:
        raise SceneError(str(error)) from None
    return document


def finite(value: object) -> float | None:
    """Return a JSON number as float, None for anything else; true and false are not numbers."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def integer(value: object) -> int | None:
    """Return a JSON integer, None for anything else; true, false and 1.0 are not integers."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def text_or_none(value: object) -> str | None:
    """Return a string that is not empty, None for anything else."""
    return value if isinstance(value, str) and value else None


def components(value: object, keys: Sequence[str]) -> list[float] | None:
    """Return the finite numbers of an object that has exactly these keys, None for anything else."""
    if not isinstance(value, dict) or set(value) != set(keys):
        return None
    numbers = [number for number in (finite(value[key]) for key in keys) if number is not None]
    return numbers if len(numbers) == len(keys) else None


def table(value: object, entry: Callable[[object], _T | None]) -> dict[str, _T] | None:
    """Return an object whose values all pass ``entry``, None for anything else."""
    if not isinstance(value, dict):
        return None
    entries = {key: entry(item) for key, item in value.items()}
    found = {key: item for key, item in entries.items() if item is not None}
    return found if len(found) == len(entries) else None


def count(value: object) -> int | None:
    """Return an integer that is not negative, None for anything else."""
    number = integer(value)
    return number if number is not None and number >= 0 else None
