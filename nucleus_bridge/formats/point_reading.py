# SPDX-License-Identifier: Apache-2.0
"""Point cloud files and frame files in JSON, read into columns: the one reader of points in JSON.

What our own encoder wrote is read by its layout: all points are records of one length, so that their numbers are
columns of bytes. What comes of it is encoded again and must give the same bytes, which proves that the file says
exactly this and nothing else. Everything else goes through a JSON parser point by point, which is a hundred times
slower and says what is wrong with each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.errors import CloudError, CoordinateRangeError, SceneError
from nucleus_bridge.formats.content import Points
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
_BLOCK_POINTS = 8192  # a block's bytes and digits stay in a core's level 2 cache
_WIDEST = {**dict.fromkeys(_POSITION, 10), "i": 5, "d": 3, "t": 19, "is_ground": 5}
_ZERO, _MINUS, _SPACE = b"0- "
_TIME_DIGITS = 9  # of a time that are summed up apart: 64-bit floats hold no more than 15


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
    """

    total: int
    numbers: NDArray[np.int64]
    columns: Mapping[str, NDArray[Any]]
    faults: Mapping[str, PointFault]

    def points(self) -> Points:
        """Return the usable points.

        Raises:
            SceneError: A number of one is of no use.
        """
        columns = self.columns
        xyz = np.column_stack([columns[key] for key in _POSITION])
        if not (np.abs(xyz) < _FARTHEST_M).all():
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


def read_cloud(data: bytes) -> tuple[Document, PointTable]:
    """Read a point cloud file, or a frame file, which has its points at another place.

    Returns:
        The document, whose ``points`` may have been left out, and the points.

    Raises:
        SceneError: It is no JSON.
    """
    return read_own_form(data) or read_any_form(data)


def read_own_form(data: bytes) -> tuple[Document, PointTable] | None:
    """Read a file whose points are, to the byte, what our own encoder writes; None when they are not."""
    opening = _OPENING.search(data)
    end = data.find(b"]", opening.end()) if opening else -1
    if opening is None or end < 0:
        return None
    span = slice(opening.end() - 1, end + 1)
    columns = _columns(data, span)
    if columns is None:
        return None
    rest = data[: span.start + 1] + data[end:]
    try:
        document = parse(rest)
    except SceneError:
        return None  # the other way says where the damage is
    if rest.count(b'"points"') != 1 or not isinstance(document.value, dict) or document.value.get("points") != []:
        return None  # these are some other points
    count = len(columns["x"])
    return document, PointTable(count, np.arange(count), columns, {})


def _columns(data: bytes, span: slice) -> dict[str, NDArray[Any]] | None:
    """Read the numbers of a list of points by the places they have in the first, and prove them by encoding them."""
    length = data.find(b"}", span.start, span.start + _LONGEST_RECORD) - span.start + 1  # "," or "]" included
    size = span.stop - span.start - 1
    if length <= len('{"x":0.000}') or size % length:
        return None
    first = data[span.start + 1 : span.start + 1 + length]
    keys = [match[1].decode() for match in _KEY.finditer(first)]
    if keys != [*_POSITION, *(key for key in KEYS[3:] if key in keys)]:
        return None
    starts = [match.end() for match in _KEY.finditer(first)]
    stops = [*[match.start() - 1 for match in _KEY.finditer(first)][1:], length - 2]
    if any(stop - start > _WIDEST[key] for key, start, stop in zip(keys, starts, stops, strict=True)):
        return None
    rows = np.frombuffer(data, np.uint8, size, span.start + 1).reshape(-1, length)
    columns = {key: np.empty(len(rows), np.int64 if key == "t" else np.float64) for key in keys}
    for block in _blocks(len(rows)):
        text = np.ascontiguousarray(rows[block].T)
        for key, start, stop in zip(keys, starts, stops, strict=True):
            columns[key][block] = _READERS[key](text[start:stop])
    try:
        again = encode_points(**_for_encoder(columns))
    except (CloudError, CoordinateRangeError):
        return None
    return columns if again == memoryview(data)[span] else None


def _for_encoder(columns: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    given: dict[str, Any] = {"xyz": np.stack([columns[key] for key in _POSITION]).T}
    if "i" in columns:
        given["intensity"] = columns["i"]
    if "d" in columns:
        given["device"] = columns["d"].astype(np.int64)
    if "t" in columns:
        given["time_ns"] = columns["t"]
    if "is_ground" in columns:
        given["is_ground"] = columns["is_ground"] != 0.0
    return given


def _blocks(length: int) -> Iterator[slice]:
    return (slice(start, start + _BLOCK_POINTS) for start in range(0, length, _BLOCK_POINTS))


def _whole(text: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Sum up digits, shape (width, n); blanks and signs count as 0."""
    digits = np.where(text < _ZERO, 0, text - np.uint8(_ZERO)).astype(np.float64)
    weights = 10.0 ** np.arange(len(text) - 1, -1, -1)
    whole: NDArray[np.float64] = weights @ digits
    return whole


def _decimal(text: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Read numbers with three decimals."""
    width = len(text)
    thousandths = _whole(np.delete(text, max(0, width - 4), axis=0))
    negative = (text[: max(0, width - 5)] == _MINUS).any(axis=0)
    value: NDArray[np.float64] = np.where(negative, -thousandths, thousandths) / 1000.0
    return value


def _time(text: NDArray[np.uint8]) -> NDArray[np.int64]:
    whole = _whole(text[:-_TIME_DIGITS]).astype(np.int64) * 10**_TIME_DIGITS if len(text) > _TIME_DIGITS else 0
    return np.asarray(whole + _whole(text[-_TIME_DIGITS:]).astype(np.int64))


def _truth(text: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.asarray(text[0] == _SPACE, np.float64)


_READERS = {
    **dict.fromkeys(("x", "y", "z", "i"), _decimal),
    "d": _whole,
    "t": _time,
    "is_ground": _truth,
}


def read_any_form(data: bytes) -> tuple[Document, PointTable]:
    """Read a cloud of whatever form point by point, and say what is wrong with each.

    Raises:
        SceneError: It is no JSON.
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
