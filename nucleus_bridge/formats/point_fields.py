# SPDX-License-Identifier: Apache-2.0
"""The keys of a point in a point cloud JSON: the text each adds to a record, and the table entries that complete it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.errors import CloudError, CoordinateRangeError
from nucleus_bridge.formats import digits

MAX_COORDINATE_M = 1e5
MAX_DEVICE = 255

_SECOND_NS = 1_000_000_000
_BOUNDS_POINTS = 256

Rows = NDArray[np.int64]
Numbers = NDArray[np.int32]


@dataclass(frozen=True)
class Slot:
    """Blanks in a record that are filled from a table.

    Attributes:
        width: Columns.
        table: Makes the table, given the text that follows the slot.
        row: Which row of the field's indices chooses the entry.
    """

    width: int
    table: Callable[[bytes], digits.Words]
    row: int = 0


class Field:
    """A key of a point with its values for all points; as it stands, one text for all.

    Attributes:
        key: The key, without quotation marks.
        parts: What makes up the value.
        rows: How many indices a point needs.
    """

    def __init__(self, key: bytes, *parts: bytes | Slot) -> None:
        """Describe the value's text."""
        self.key = key
        self.parts = parts
        self.slots = [part for part in parts if isinstance(part, Slot)]
        self.rows = 1 + max((slot.row for slot in self.slots), default=-1)

    def index(self, block: slice, scratch: Scratch, rows: Rows) -> None:
        """Write the table indices for a block of points, shape (self.rows, points)."""


class Scratch:
    """Buffers for the arithmetic on one block of points; each method overwrites the results of earlier calls."""

    def __init__(self, points: int) -> None:
        """Make buffers for so many points."""
        self.points = points
        self._real = np.empty(points, np.float64)
        self._number, self._quotient, self._remainder = np.empty((3, points), np.int32)

    def thousandths(self, values: NDArray[Any]) -> Numbers:
        """Round to thousandths, half to even."""
        real = self._real[: len(values)]
        np.multiply(values, 1000.0, out=real, dtype=np.float64)
        np.rint(real, out=real)
        return self.narrow(real)

    def narrow(self, values: NDArray[Any]) -> Numbers:
        """Convert integers to 32 bits, which they must fit in."""
        number = self._number[: len(values)]
        np.copyto(number, values, casting="unsafe")
        return number

    def divide(self, number: Numbers, divisor: int) -> tuple[Numbers, Numbers]:
        """Return quotient and remainder."""
        quotient, remainder = self._quotient[: len(number)], self._remainder[: len(number)]
        np.floor_divide(number, divisor, out=quotient)
        np.multiply(quotient, divisor, out=remainder)
        np.subtract(number, remainder, out=remainder)
        return quotient, remainder


class _SmallNumber(Field):
    """Coordinates below 100 m: one table entry has all digits."""

    def __init__(self, key: bytes, values: NDArray[np.floating[Any]], width: int) -> None:
        super().__init__(key, Slot(width, partial(digits.numbers, width)))
        self._values = values
        self._first = digits.number_range(width).start

    def index(self, block: slice, scratch: Scratch, rows: Rows) -> None:
        number = scratch.thousandths(self._values[block])
        np.subtract(number, self._first, out=number)
        np.copyto(rows[0], number)


class _Number(Field):
    """Coordinates of any size: one table entry has the sign and the whole metres, one has the thousandths."""

    def __init__(self, key: bytes, values: NDArray[np.floating[Any]], width: int) -> None:
        whole = width - len(".000")
        super().__init__(
            key, Slot(whole, partial(digits.whole_parts, whole)), b".", Slot(3, partial(digits.padded_counts, 3), row=1)
        )
        self._values = values
        self._first = digits.whole_part_range(whole).start

    def index(self, block: slice, scratch: Scratch, rows: Rows) -> None:
        number = scratch.thousandths(self._values[block])
        sign = np.right_shift(number, 31)  # -1 where negative
        whole, thousandths = scratch.divide(np.abs(number, out=number), 1000)
        np.copyto(rows[1], thousandths)
        np.bitwise_xor(whole, sign, out=whole)  # ~whole where negative: tells -0 from 0
        np.subtract(whole, self._first, out=whole)
        np.copyto(rows[0], whole)


def coordinates(points: NDArray[np.floating[Any]]) -> Iterator[Field]:
    """Describe x, y and z of points, shape (n, 3), metres.

    Raises:
        CoordinateRangeError: A coordinate is not finite or not below 100 km.
    """
    for axis, (low, high) in enumerate(coordinate_bounds(points)):
        ends = [round(end * 1000) for end in (low, high)]
        width = max(len(f"{'-' * (end < 0)}{abs(end) // 1000}.000") for end in ends)
        is_small = max(map(abs, ends)) < digits.NUMBER_LIMIT
        yield (_SmallNumber if is_small else _Number)(b"xyz"[axis : axis + 1], points[:, axis], width)


def coordinate_bounds(points: NDArray[np.floating[Any]]) -> list[tuple[float, float]]:
    """Return the smallest and the largest x, y and z of contiguous points, shape (n, 3), metres.

    Raises:
        CoordinateRangeError: A coordinate is not finite or not below 100 km.
    """
    lows, highs = _bounds(points)
    bounds = list(zip(lows.tolist(), highs.tolist(), strict=True))
    for axis, (low, high) in enumerate(bounds):
        if not -MAX_COORDINATE_M < low <= high < MAX_COORDINATE_M:  # false for NaN too
            values = points[:, axis]
            at = int(np.argmin(np.abs(values) < MAX_COORDINATE_M))
            raise CoordinateRangeError(
                f"{'xyz'[axis]} of point {at} is {values[at]} m; expected a finite number below "
                f"{MAX_COORDINATE_M:.0f} m: choose a world frame or scene origin nearer to the device"
            )
    return bounds


class _Unit(Field):
    """Numbers from 0 to 1."""

    def __init__(self, key: bytes, values: NDArray[np.floating[Any]]) -> None:
        super().__init__(key, Slot(len("0.000"), digits.unit_fractions))
        self._values = values

    def index(self, block: slice, scratch: Scratch, rows: Rows) -> None:
        np.copyto(rows[0], scratch.thousandths(self._values[block]))


class _Indices(Field):
    """Values that are table indices as they stand."""

    def __init__(self, key: bytes, values: NDArray[Any], *parts: bytes | Slot) -> None:
        super().__init__(key, *parts)
        self._values = values

    def index(self, block: slice, scratch: Scratch, rows: Rows) -> None:  # noqa: ARG002
        np.copyto(rows[0], self._values[block])


def intensities(values: NDArray[np.floating[Any]]) -> Field:
    """Describe i; shape (n,).

    Raises:
        CloudError: An intensity is outside 0..1.
    """
    check_intensities(values)
    return _Unit(b"i", values)


def check_intensities(values: NDArray[np.floating[Any]]) -> None:
    """Check that there is nothing outside 0..1.

    Raises:
        CloudError: There is.
    """
    low, high = float(values.min()), float(values.max())
    if not 0 <= low <= high <= 1:  # false for NaN too
        raise CloudError(f"intensities reach from {low} to {high}; expected 0 to 1", cause="intensity")


def devices(numbers: NDArray[np.integer[Any]]) -> Field:
    """Describe d, the number of the lidar: shape (n,), or () for the same at all points.

    Raises:
        CloudError: A number is outside 0..255.
    """
    low, high = device_bounds(numbers)
    if low == high:
        return Field(b"d", b"%d" % high)
    width = len(str(high))
    return _Indices(b"d", numbers, Slot(width, partial(digits.small_counts, width)))


def device_bounds(numbers: NDArray[np.integer[Any]]) -> tuple[int, int]:
    """Return the smallest and the largest number of a lidar.

    Raises:
        CloudError: A number is outside 0..255.
    """
    low, high = int(numbers.min()), int(numbers.max())
    if not 0 <= low <= high <= MAX_DEVICE:
        raise CloudError(f"devices reach from {low} to {high}; expected 0 to {MAX_DEVICE}", cause="device")
    return low, high


def grounds(truths: NDArray[np.bool_]) -> Field:
    """Describe is_ground; shape (n,)."""
    return _Indices(b"is_ground", truths, Slot(len("false"), digits.truths))


class _Time(Field):
    """Times from 1 s on that lie within two seconds: the second, then one entry for five digits and one for four."""

    def __init__(self, time_ns: NDArray[np.int64], first_s: int, last_s: int) -> None:
        super().__init__(
            b"t",
            *_listed([b"%d" % second for second in range(first_s, last_s + 1)], row=2),
            Slot(5, partial(digits.padded_counts, 5), row=1),
            Slot(4, partial(digits.padded_counts, 4), row=0),
        )
        self._time_ns = time_ns
        self._first_ns = first_s * _SECOND_NS

    def index(self, block: slice, scratch: Scratch, rows: Rows) -> None:
        np.subtract(self._time_ns[block], self._first_ns, out=rows[0])
        rest = scratch.narrow(rows[0])
        for row, divisor in enumerate((10**4, 10**5)[: len(rows) - 1]):
            quotient, remainder = scratch.divide(rest, divisor)
            np.copyto(rows[row], remainder)
            np.copyto(rest, quotient)
        np.copyto(rows[-1], rest)


def times(time_ns: NDArray[np.int64]) -> Field:
    """Describe t; shape (n,).

    Raises:
        CloudError: A time is negative.
    """
    low, high = time_bounds(time_ns)
    if low == high:
        return Field(b"t", b"%d" % low)
    first_s, last_s = low // _SECOND_NS, high // _SECOND_NS
    if first_s and last_s - first_s < 2:  # offsets fit in 32 bits
        return _Time(time_ns, first_s, last_s)
    distinct, which = np.unique(time_ns, return_inverse=True)
    return _Indices(b"t", which, *_listed([b"%d" % value for value in distinct.tolist()], row=0))


def time_bounds(time_ns: NDArray[np.int64]) -> tuple[int, int]:
    """Return the first and the last time.

    Raises:
        CloudError: A time is negative.
    """
    low, high = int(time_ns.min()), int(time_ns.max())
    if low < 0:
        raise CloudError(f"a point's time is {low} ns; expected none before 0", cause="time")
    return low, high


def _listed(texts: list[bytes], row: int) -> Iterator[bytes | Slot]:
    """Yield what the texts have in common at the start, and slots for the rest that one index fills."""
    text = digits.aligned_text(texts)
    common = int(np.argmin(np.append((text == text[0]).all(axis=0), False)))
    yield texts[0].rjust(text.shape[1])[:common]
    for start in range(common, text.shape[1], digits.WORD_BYTES):
        piece = text[:, start : start + digits.WORD_BYTES]
        yield Slot(piece.shape[1], partial(digits.words, piece), row)


def _bounds(points: NDArray[np.floating[Any]]) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
    """Return minima and maxima of the columns; reduces many rows of three side by side, because one alone is short."""
    if not points.flags.c_contiguous:
        return points.min(axis=0), points.max(axis=0)
    aligned = len(points) - len(points) % _BOUNDS_POINTS
    groups, rest = points[:aligned].reshape(-1, 3 * _BOUNDS_POINTS), points[aligned:]
    low, high = rest, rest
    if aligned:
        low = np.concatenate([groups.min(axis=0).reshape(-1, 3), rest])
        high = np.concatenate([groups.max(axis=0).reshape(-1, 3), rest])
    return low.min(axis=0), high.max(axis=0)
