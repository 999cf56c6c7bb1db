# SPDX-License-Identifier: Apache-2.0
"""Point cloud files and frame files in JSON, read into columns: the one reader of points in JSON.

What our own encoder wrote is read by its layout: all points are records of one length, so that their numbers are
columns of bytes. What comes of it is encoded again and must give the same bytes, which proves that the file says
exactly this and nothing else. Everything else goes through a JSON parser point by point, which is a hundred times
slower and says what is wrong with each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.errors import CloudError, CoordinateRangeError, SceneError
from nucleus_bridge.formats.content import Points, some_of
from nucleus_bridge.formats.point_json import encode_points
from nucleus_bridge.formats.rules.findings import shown
from nucleus_bridge.formats.strict_json import Document, WrittenFloat, finite, integer, parse

POINT_RULES = {
    "point-keys-and-order": "every point of a cloud has the same keys, in the order x, y, z, i, d, t, is_ground",
    "point-values": "x, y, z and i are numbers, d and t integers that are not negative, is_ground is true or false",
    "point-decimals": "x, y, z and i are written with three decimals",
}

KEYS = ("x", "y", "z", "i", "d", "t", "is_ground")

_POSITION = KEYS[:3]
_THREE_DECIMALS = re.compile(r"-?[0-9]+\.[0-9]{3}")
_LARGEST_TIME = 2**63 - 1
_LARGEST_DEVICE = 255
_FARTHEST_M = 1e9  # nothing that is computed with positions overflows below

_OPENING = re.compile(rb'"points"[ \t\r\n]*:[ \t\r\n]*\[')
_KEY = re.compile(rb'"([a-z_]+)":')
_LONGEST_RECORD = 256
_COMPARED_BYTES = 1 << 18
_BLOCK_POINTS = 16_384  # a block's bytes and digits stay in a core's level 2 cache
_WIDEST = {**dict.fromkeys(_POSITION, 10), "i": 5, "d": 3, "t": 19, "is_ground": 5}
_ZERO, _MINUS, _SPACE = b"0- "
_TEN = 10
_SHORT_DIGITS = 4  # as many as 16 bits hold
_TIME_DIGITS = 9  # as many as 32 bits hold


@dataclass
class PointFault:
    """A rule that points break: the first of them, what is wrong with it, and how many break it in all."""

    rule: str
    point: int
    text: str
    points: int = 1


@dataclass(frozen=True, eq=False)
class PointTable:
    """The points of a file.

    Attributes:
        total: Number of points, usable or not.
        numbers: Shape (n,), the place in the file of each usable point.
        columns: Shape (n,), the values of the usable points by key: float64, times int64, 0 and 1 for false and true.
        faults: What is wrong with single points, by rule.
        xyz: Shape (n, 3), the columns of the position as one array, where they lie together.
    """

    total: int
    numbers: NDArray[np.int64]
    columns: Mapping[str, NDArray[Any]]
    faults: Mapping[str, PointFault]
    xyz: NDArray[np.float64] | None = None

    def points(self) -> Points:
        """Return the usable points.

        Raises:
            SceneError: A number of one is of no use.
        """
        columns = self.columns
        xyz = _positions(columns) if self.xyz is None else self.xyz
        if not -_FARTHEST_M < xyz.min(initial=0.0) <= xyz.max(initial=0.0) < _FARTHEST_M:  # false for NaN too
            raise SceneError("has a point whose position is not finite or far too large")
        intensity, device, time, ground = (columns.get(key) for key in KEYS[3:])
        if device is not None and not ((device >= 0) & (device <= _LARGEST_DEVICE)).all():
            raise SceneError(f"has a point of a lidar that is not numbered 0 to {_LARGEST_DEVICE}")
        if intensity is not None and not np.isfinite(intensity).all():
            raise SceneError("has a point whose intensity is not finite")
        return Points(
            xyz,
            None if intensity is None else intensity.astype(np.float32),
            None if device is None else device.astype(np.uint8),
            None if time is None else time.astype(np.int64),
            None if ground is None else ground.astype(np.bool_),
        )


def read_cloud(data: bytes, most: int | None = None) -> tuple[Document, PointTable]:
    """Read a point cloud file, or a frame file, which has its points at another place.

    Args:
        data: The file.
        most: Read only this many points, the same ones each time, where that is quicker; the others are counted and
            not looked at.

    Returns:
        The document, whose ``points`` may have been left out, and the points.

    Raises:
        SceneError: It is not JSON.
    """
    return read_own_form(data, most) or read_any_form(data)


def read_own_form(data: bytes, most: int | None = None) -> tuple[Document, PointTable] | None:
    """Read a file whose points are, to the byte, what our own encoder writes; None when they are not."""
    opening = _OPENING.search(data)
    span = None if opening is None else _span(data, opening.end() - 1)
    table = None if span is None else _table(data, span, most)
    if span is None or table is None:
        return None
    rest = data[: span.start + 1] + data[span.stop - 1 :]
    try:
        document = parse(rest)
    except SceneError:
        return None  # the other way says where the damage is
    if rest.count(b'"points"') != 1 or not isinstance(document.value, dict) or document.value.get("points") != []:
        return None  # these are some other points
    return document, table


@dataclass(frozen=True)
class _Slot:
    """Where the number under a key lies in each point's record."""

    key: str
    start: int
    stop: int


@dataclass(frozen=True)
class _Span:
    """Where a list of records of one length lies, brackets included."""

    start: int
    stop: int
    length: int


def _span(data: bytes, start: int) -> _Span | None:
    """Find the end of a list that may be of records of one length; None where it cannot be."""
    length = data.find(b"}", start, start + _LONGEST_RECORD) - start + 1  # the comma or bracket behind it included
    if length <= len('{"x":0.000}'):
        return None
    stop = data.find(b"]", start) + 1  # no number of ours has one
    return _Span(start, stop, length) if stop > start + length and (stop - start - 1) % length == 0 else None


def _table(data: bytes, span: _Span, most: int | None) -> PointTable | None:
    """Read the numbers of a list of points by the places they have in the first, and prove them by encoding them."""
    length, size = span.length, span.stop - span.start - 1
    slots = _slots(data[span.start + 1 : span.start + 1 + length])
    if slots is None:
        return None
    rows = np.frombuffer(data, np.uint8, size, span.start + 1).reshape(-1, length)
    total = len(rows)
    if most is None or total <= most:
        xyz, columns = _columns(rows, slots)
        if not _is_text_of(xyz, columns, rows.reshape(-1)):
            return None
        return PointTable(total, np.arange(total), columns, {}, xyz)
    numbers = some_of(total, most)
    rows = rows.take(numbers, axis=0)
    xyz, columns = _columns(rows, slots)
    widest = _with_the_widest(columns, slots)
    if not _is_text_of(_positions(widest), widest, rows.reshape(-1), is_cut=True):
        return None
    return PointTable(total, numbers, columns, {}, xyz)


def _slots(record: bytes) -> list[_Slot] | None:
    """Find the numbers of a record that ends in "," or "]"; None where it is none of our own."""
    found = list(_KEY.finditer(record))
    keys = [match[1].decode() for match in found]
    if keys != [*_POSITION, *(key for key in KEYS[3:] if key in keys)]:
        return None
    stops = [*(match.start() - 1 for match in found[1:]), len(record) - 2]
    slots = [_Slot(key, match.end(), stop) for key, match, stop in zip(keys, found, stops, strict=True)]
    return slots if all(slot.stop - slot.start <= _WIDEST[slot.key] for slot in slots) else None


def _positions(columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    xyz: NDArray[np.float64] = np.stack([columns[key] for key in _POSITION]).T
    return xyz


def _columns(rows: NDArray[np.uint8], slots: Sequence[_Slot]) -> tuple[NDArray[np.float64], dict[str, NDArray[Any]]]:
    """Read numbers off their places: positions, shape (n, 3), and all by key.

    Whether the text is theirs is for the encoder to say.
    """
    numbers = np.empty((len(slots), len(rows)), np.float64)
    columns: dict[str, NDArray[Any]] = dict(zip((slot.key for slot in slots), numbers, strict=True))
    if "t" in columns:
        columns["t"] = np.empty(len(rows), np.int64)
    for block in _blocks(len(rows)):
        for slot in slots:
            _READERS[slot.key](rows[block, slot.start : slot.stop].T, columns[slot.key][block])
    return numbers[: len(_POSITION)].T, columns  # the first slots are the position's


def _is_text_of(
    xyz: NDArray[np.float64], columns: Mapping[str, NDArray[Any]], text: NDArray[np.uint8], *, is_cut: bool = False
) -> bool:
    """Whether columns are written so, but for the bracket in front; ``is_cut``: without their last point."""
    given: dict[str, Any] = {"xyz": xyz, "intensity": columns.get("i")}
    given |= {"time_ns": columns.get("t")}
    if "d" in columns:
        given["device"] = columns["d"].astype(np.int64)
    if "is_ground" in columns:
        given["is_ground"] = columns["is_ground"] != 0.0
    try:
        again = np.frombuffer(encode_points(**given), np.uint8)[1:]
    except (CloudError, CoordinateRangeError):
        return False
    last = len(text) - is_cut
    pieces = (slice(start, min(start + _COMPARED_BYTES, last)) for start in range(0, last, _COMPARED_BYTES))
    return (is_cut or len(again) == last) and all(bool((again[piece] == text[piece]).all()) for piece in pieces)


def _with_the_widest(columns: Mapping[str, NDArray[Any]], slots: Sequence[_Slot]) -> dict[str, NDArray[Any]]:
    """Add a point whose numbers take all the room there is, so that those of some points are written as in the file."""
    more = {}
    for slot in slots:
        column, width = columns[slot.key], slot.stop - slot.start
        if slot.key in _POSITION:
            more[slot.key] = -(10.0 ** (width - len("-0.000"))) if width > len("0.000") else 0.0
        elif slot.key == "d":
            more[slot.key] = 10.0 ** (width - 1) if width > 1 else float(column[0])
        else:
            more[slot.key] = column[0]
    return {key: np.append(column, more[key]) for key, column in columns.items()}


def _blocks(length: int) -> Iterator[slice]:
    return (slice(start, start + _BLOCK_POINTS) for start in range(0, length, _BLOCK_POINTS))


def _whole(text: NDArray[np.uint8]) -> NDArray[np.unsignedinteger[Any]]:
    """Sum up at most nine columns of digits, shape (width, n); whatever is not a digit counts as 0."""
    value = np.zeros(text.shape[1], np.uint16 if len(text) <= _SHORT_DIGITS else np.uint32)
    for column in text:
        digit = column - np.uint8(_ZERO)
        digit *= digit < _TEN
        value *= _TEN
        value += digit
    return value


def _decimal(text: NDArray[np.uint8], numbers: NDArray[np.float64]) -> None:
    """Read numbers with three decimals, shape (width, n)."""
    thousandths = _whole(text[:-4]).astype(np.uint32)
    thousandths *= 1000
    thousandths += _whole(text[-3:])
    np.divide(thousandths, 1000.0, out=numbers)
    for column in text[:-5]:
        is_negative = column == _MINUS
        if is_negative.any():
            np.negative(numbers, out=numbers, where=is_negative)


def _count(text: NDArray[np.uint8], numbers: NDArray[np.float64]) -> None:
    """Read small integers."""
    numbers[:] = _whole(text)


def _time(text: NDArray[np.uint8], numbers: NDArray[np.int64]) -> None:
    """Read integers of up to 19 digits; one too large comes out as another one."""
    numbers[:] = 0
    for start in range(len(text) % -_TIME_DIGITS, len(text), _TIME_DIGITS):
        numbers *= 10**_TIME_DIGITS
        numbers += _whole(text[max(0, start) : start + _TIME_DIGITS]).astype(np.int64)


def _truth(text: NDArray[np.uint8], numbers: NDArray[np.float64]) -> None:
    """Read false, which is a letter longer, and true."""
    numbers[:] = text[0] == _SPACE


_READERS: dict[str, Callable[..., None]] = {
    **dict.fromkeys(("x", "y", "z", "i"), _decimal),
    "d": _count,
    "t": _time,
    "is_ground": _truth,
}


def read_any_form(data: bytes) -> tuple[Document, PointTable]:
    """Read a cloud of whatever form point by point, and say what is wrong with each.

    Raises:
        SceneError: It is not JSON.
    """
    document = parse(data)
    points = document.value.get("points") if isinstance(document.value, dict) else None
    if not isinstance(points, list):
        points = []
    first = points[0] if points and isinstance(points[0], dict) else {}
    keys = tuple(key for key in KEYS if key in first or key in _POSITION)
    faults: dict[str, PointFault] = {}
    rows: list[list[Any]] = []
    numbers: list[int] = []
    for number, point in enumerate(points):
        row = _row(point, keys, number, faults)
        if row is not None:
            rows.append(row)
            numbers.append(number)
    values = list(zip(*rows, strict=True)) or [()] * len(keys)
    columns = {
        key: np.array(column, np.int64 if key == "t" else np.float64) for key, column in zip(keys, values, strict=True)
    }
    return document, PointTable(len(points), np.array(numbers, dtype=np.int64), columns, faults)


def _row(point: object, keys: tuple[str, ...], number: int, faults: dict[str, PointFault]) -> list[Any] | None:
    """Return a point's values, None when one of them is unusable."""
    found = tuple(point) if isinstance(point, dict) else ()
    if not isinstance(point, dict) or found != keys:
        what = f"keys {', '.join(map(shown, found))}" if isinstance(point, dict) else f"form of {shown(point)}"
        _note(faults, "point-keys-and-order", number, f"has the {what}, expected {', '.join(keys)}")
    if not isinstance(point, dict) or not set(keys) <= set(found):
        return None
    row: list[Any] = []
    for key in keys:
        value = point[key]
        usable = _usable(key, value)
        if usable is None:
            _note(faults, "point-values", number, f"has {key} = {shown(value)}")
            return None
        row.append(usable)
        if key in ("x", "y", "z", "i"):
            text = value.text if isinstance(value, WrittenFloat) else str(value)
            if not _THREE_DECIMALS.fullmatch(text):
                _note(faults, "point-decimals", number, f"has {key} written as {shown(value)}")
    return row


def _usable(key: str, value: object) -> int | float | None:
    if key == "is_ground":
        return float(value) if isinstance(value, bool) else None
    if key in ("d", "t"):
        number = integer(value)
        return min(number, _LARGEST_TIME) if number is not None and number >= 0 else None
    return finite(value)


def _note(faults: dict[str, PointFault], rule: str, number: int, text: str) -> None:
    if rule in faults:
        faults[rule].points += 1
    else:
        faults[rule] = PointFault(rule, number, text)
