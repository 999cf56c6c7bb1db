# SPDX-License-Identifier: Apache-2.0
"""A point cloud file read into columns: quickly when it is written as promised, thoroughly when it is not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.errors import SceneError
from nucleus_bridge.validate.json import Document, WrittenFloat, finite, integer, parse
from nucleus_bridge.validate.report import shown

POINT_RULES = {
    "point-keys-and-order": "every point of a cloud has the same keys, in the order x, y, z, i, d, t, is_ground",
    "point-values": "x, y, z and i are numbers, d and t integers that are not negative, is_ground is true or false",
    "point-decimals": "x, y, z and i are written with three decimals",
}

KEYS = ("x", "y", "z", "i", "d", "t", "is_ground")

_POSITION = KEYS[:3]
_THREE_DECIMALS = re.compile(r"-?[0-9]+\.[0-9]{3}")

# The quick way knows the promised form alone; spaces may stand before a value.
_DECIMAL = rb" *-?(?:0|[1-9][0-9]*)\.[0-9]{3}"
_COUNT = rb" *(?:0|[1-9][0-9]{0,18})"
_FORM = {**dict.fromkeys(("x", "y", "z", "i"), _DECIMAL), "d": _COUNT, "t": _COUNT, "is_ground": rb" *(?:true|false)"}
_OPENING = re.compile(rb'"points"[ \t\r\n]*:[ \t\r\n]*\[')
_FIRST_POINT = re.compile(
    rb"\{"
    + b",".join(rb'"%s":%s' % (key.encode(), _FORM[key]) for key in _POSITION)
    + b"".join(rb'(,"%s":%s)?' % (key.encode(), _FORM[key]) for key in KEYS[3:])
    + rb"\}"
)
_NOT_NUMERIC = bytes(set(range(256)) - set(b"0123456789.-, "))


@dataclass
class PointFault:
    """A rule that points break: the first of them, what is wrong with it, and how many break it in all."""

    rule: str
    point: int
    text: str
    points: int = 1


@dataclass(frozen=True, eq=False)
class Points:
    """The points of a cloud.

    Attributes:
        total: Number of points, usable or not.
        numbers: Shape (n,), the place in the file of each usable point.
        columns: Shape (n,), float64, the values of the usable points by key; false and true are 0 and 1.
        faults: What is wrong with single points, by rule.
    """

    total: int
    numbers: NDArray[np.int64]
    columns: Mapping[str, NDArray[np.float64]]
    faults: Mapping[str, PointFault]


def read_cloud(data: bytes) -> tuple[Document, Points]:
    """Read a point cloud file, or a frame file, which has its points at another place.

    Returns:
        The document, whose ``points`` may have been left out, and the points.

    Raises:
        SceneError: It is no JSON.
    """
    return read_promised_form(data) or read_any_form(data)


def read_promised_form(data: bytes) -> tuple[Document, Points] | None:
    """Read a cloud whose points have the promised form to the byte; None when they have not.

    All points are matched by one regular expression and converted by numpy, the rest of the file is parsed as JSON.
    """
    opening = _OPENING.search(data)
    first = _FIRST_POINT.match(data, opening.end()) if opening else None
    if opening is None or first is None:
        return None
    keys = (*_POSITION, *(key for key, text in zip(KEYS[3:], first.groups(), strict=True) if text is not None))
    end = data.find(b"]", opening.end())
    text = data[opening.end() : end]
    unmatched, total = _all_points(keys).subn(b"", text)
    if unmatched or end < 0:
        return None
    rest = data[: opening.end()] + data[end:]
    try:
        document = parse(rest)
    except SceneError:
        return None  # the other way says where the damage is
    if rest.count(b'"points"') != 1 or not isinstance(document.value, dict) or document.value.get("points") != []:
        return None  # these are some other points
    if "is_ground" in keys:
        text = text.replace(b"true", b"1").replace(b"false", b"0")
    table = np.fromstring(text.translate(None, _NOT_NUMERIC), dtype=np.float64, sep=",").reshape(total, len(keys))
    columns = {key: table[:, column] for column, key in enumerate(keys)}
    return document, Points(total, np.arange(total), columns, {})


@lru_cache(maxsize=16)
def _all_points(keys: tuple[str, ...]) -> re.Pattern[bytes]:
    point = b",".join(rb'"%s":%s' % (key.encode(), _FORM[key]) for key in keys)
    return re.compile(rb"\{" + point + rb"\}(?:,(?=\{)|\Z)")


def read_any_form(data: bytes) -> tuple[Document, Points]:
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
    rows: list[list[float]] = []
    numbers: list[int] = []
    for number, point in enumerate(points):
        row = _row(point, keys, number, faults)
        if row is not None:
            rows.append(row)
            numbers.append(number)
    table = np.array(rows, dtype=np.float64).reshape(len(rows), len(keys))
    columns = {key: table[:, column] for column, key in enumerate(keys)}
    return document, Points(len(points), np.array(numbers, dtype=np.int64), columns, faults)


def _row(point: object, keys: tuple[str, ...], number: int, faults: dict[str, PointFault]) -> list[float] | None:
    """Return a point's values, None when one of them is unusable."""
    found = tuple(point) if isinstance(point, dict) else ()
    if not isinstance(point, dict) or found != keys:
        what = f"keys {', '.join(map(shown, found))}" if isinstance(point, dict) else f"form of {shown(point)}"
        _note(faults, "point-keys-and-order", number, f"has the {what}, expected {', '.join(keys)}")
    if not isinstance(point, dict) or not set(keys) <= set(found):
        return None
    row: list[float] = []
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


def _usable(key: str, value: object) -> float | None:
    if key == "is_ground":
        return float(value) if isinstance(value, bool) else None
    if key in ("d", "t"):
        number = integer(value)
        return float(number) if number is not None and number >= 0 else None
    return finite(value)


def _note(faults: dict[str, PointFault], rule: str, number: int, text: str) -> None:
    if rule in faults:
        faults[rule].points += 1
    else:
        faults[rule] = PointFault(rule, number, text)
