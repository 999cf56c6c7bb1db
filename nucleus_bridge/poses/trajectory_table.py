# SPDX-License-Identifier: Apache-2.0
"""Text files of numbers as tables: where the numbers begin, what the columns are called, decimal stamps to integers."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nucleus_bridge.errors import ConfigError
from nucleus_bridge.model import IntArray

GPS_EPOCH_S = 315_964_800
GPS_LEAP_S = 18
"""By how many seconds GPS time is ahead of UTC, since 2017."""
WEEK_S = 7 * 86_400
NS_PER: Mapping[str, int] = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
ANGLES = ("deg", "rad")

ALIASES: Mapping[str, tuple[str, ...]] = {
    "stamp": ("stamp", "timestamp", "time", "t", "ts", "utc", "unixtime", "gpsseconds", "gpstime", "sow", "tow"),
    "week": ("week", "gpsweek"),
    "x": ("x", "tx", "px", "posx", "positionx", "posepositionx", "east", "easting", "prsrx"),
    "y": ("y", "ty", "py", "posy", "positiony", "posepositiony", "north", "northing", "prsry"),
    "z": ("z", "tz", "pz", "posz", "positionz", "posepositionz", "up", "prsrz"),
    "qx": ("qx", "quatx", "quaternionx", "orientationx", "poseorientationx", "rotx", "qrsx"),
    "qy": ("qy", "quaty", "quaterniony", "orientationy", "poseorientationy", "roty", "qrsy"),
    "qz": ("qz", "quatz", "quaternionz", "orientationz", "poseorientationz", "rotz", "qrsz"),
    "qw": ("qw", "quatw", "quaternionw", "orientationw", "poseorientationw", "rotw", "qrsw"),
    "lat": ("lat", "latitude"),
    "lon": ("lon", "long", "lng", "longitude"),
    "alt": ("alt", "altitude", "ellipsoidheight", "ellipsoidalheight", "hell", "height"),
    "roll": ("roll",),
    "pitch": ("pitch",),
    "heading": ("heading", "azimuth", "trueheading"),
    "yaw": (),  # makers count it in both senses: only who names the column knows
}
"""What each number of a pose is, and how columns that hold it are called, letters alone and without their unit."""

_PREAMBLE_LINES = 200
_MAX_DIGITS = 40
_MIN_KNOWN = 4
_LARGEST = 10**19  # of a stamp in any unit: more does not fit 64 bits of nanoseconds
_SEPARATORS = re.compile(r"[,;\t]")
_UNIT = re.compile(r"(?:[\[(]\s*(ns|us|ms|s|sec|deg|rad|m)\s*[\])]|_(ns|us|ms|s|sec|deg|rad|m))$", re.IGNORECASE)


class Column(NamedTuple):
    """Which column holds something, from 0, and its unit; empty where nothing says it."""

    at: int
    unit: str = ""


@dataclass(frozen=True)
class Table:
    """The rows of numbers of a text file.

    Attributes:
        names: The columns' names; empty where no line holds as many words as there are numbers in a row.
        width: Numbers in a row.
        rows: Line numbers with their fields, read as they are asked for.
    """

    names: tuple[str, ...]
    width: int
    rows: Iterator[tuple[int, list[str]]]


def open_table(path: Path, name: str) -> Table:
    """Find where the numbers of a file begin.

    Args:
        path: The file; fields are separated by commas, semicolons, tabs or blanks, comments begin with # or %.
        name: The parameter that names the file.

    Raises:
        ConfigError: It cannot be read, or holds no row of numbers.
    """
    lines = read_lines(path, name)
    preamble: list[str] = []
    for number, line in lines:
        text = line.strip()
        fields = fields_of(text)
        if text and all(_is_number(field) for field in fields):
            return Table(_names(preamble, len(fields)), len(fields), _rows(path, name, (number, fields), lines))
        if text:
            preamble.append(text)
        if len(preamble) > _PREAMBLE_LINES:
            break
    what = "holds no row of numbers" if preamble else "is empty"
    raise ConfigError(f"{name}: {path} {what}")


def read_lines(path: Path, name: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text file with their numbers, from 1.

    Raises:
        ConfigError: It cannot be read, or is not text.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from enumerate(file, 1)
    except OSError as error:
        raise ConfigError(f"{name}: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{name}: {path} is not a text file") from None


def fields_of(text: str) -> list[str]:
    """Split a line at its commas, semicolons or tabs, else at its blanks."""
    if _SEPARATORS.search(text):
        return [field.strip().strip('"') for field in _SEPARATORS.split(text.rstrip(",;"))]
    return text.split()


def resolved(names: Sequence[str]) -> dict[str, Column]:
    """Return which column holds what, as far as the names say; the first of several that fit."""
    found: dict[str, Column] = {}
    for index, name in enumerate(names):
        plain = re.sub(r"[^a-z]", "", _UNIT.sub("", name.strip().lower()))
        for role, aliases in ALIASES.items():
            if plain in aliases and role not in found:
                found[role] = Column(index, unit_in(name))
    return found


def unit_in(name: str) -> str:
    """Return the unit that a column's name ends with: ``[ns]``, ``(deg)``, ``_s``; empty where there is none."""
    match = _UNIT.search(name.strip())
    unit = (match[1] or match[2]).lower() if match else ""
    return {"sec": "s", "m": ""}.get(unit, unit)


class Stamps:
    """Decimal stamps as integer nanoseconds; where nothing says the unit, it is told from the size of the first.

    Args:
        unit: ``s``, ``ms``, ``us``, ``ns`` or empty.
    """

    def __init__(self, unit: str) -> None:
        self._unit = unit if unit in NS_PER else ""
        self._values = array("q")

    def __len__(self) -> int:
        return len(self._values)

    def add(self, text: str, week: str = "") -> None:
        """Take a stamp, in seconds of a GPS week where there is one.

        Raises:
            ValueError: It is not a number that fits 64 bits.
        """
        try:
            value = Decimal(text if len(text) <= _MAX_DIGITS else "NaN")
            self._unit = self._unit or ("s" if week else _unit_of(abs(value)))
            if not abs(value) < _LARGEST:
                raise ValueError(text)
            ns = int((value * NS_PER[self._unit]).to_integral_value())
            if week:
                ns += (int(week) * WEEK_S + GPS_EPOCH_S - GPS_LEAP_S) * 10**9
            self._values.append(ns)
        except ArithmeticError:  # what decimal raises
            raise ValueError(text) from None

    @property
    def ns(self) -> IntArray:
        """Shape (n,), int64."""
        return np.frombuffer(self._values, dtype=np.int64) if self._values else np.zeros(0, np.int64)


def _unit_of(value: Decimal) -> str:
    """Tell the unit from the size: 1e11 seconds are in the year 5138, 1e11 milliseconds in 1973."""
    limits: tuple[tuple[str, int], ...] = (("s", 10**11), ("ms", 10**14), ("us", 10**17))
    return next((unit for unit, limit in limits if value < limit), "ns")


def _names(preamble: Sequence[str], width: int) -> tuple[str, ...]:
    """Return the line that names the columns: of those of the right length the one that is understood best.

    A comment counts only when it is understood: it may be about anything.
    """
    best: tuple[str, ...] = ()
    for text in preamble:
        names = tuple(fields_of(text.lstrip("#%").strip()))
        known, is_comment = len(resolved(names)), text[0] in "#%"
        if len(names) == width and known >= max(len(resolved(best)), _MIN_KNOWN if is_comment else 0):
            best = names
    return best


def _rows(
    path: Path, name: str, first: tuple[int, list[str]], lines: Iterator[tuple[int, str]]
) -> Iterator[tuple[int, list[str]]]:
    yield first
    for number, line in lines:
        text = line.strip()
        if not text or text[0] in "#%":
            continue
        fields = fields_of(text)
        if len(fields) != len(first[1]):
            width = len(first[1])
            raise ConfigError(f"{name}: {path} line {number} has {len(fields)} columns, those before have {width}")
        yield number, fields


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
