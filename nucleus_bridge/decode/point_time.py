# SPDX-License-Identifier: Apache-2.0
"""Which convention a cloud's per-point times follow, and those times as integer nanoseconds.

Unit and reference are decided from one message: the unit is the one in which the sweep takes 1 ms to 1 s, the
reference follows from ``header.stamp``. The type alone decides only where a cloud has too few different times to tell.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.decode.cdr import seconds
from nucleus_bridge.errors import CloudError
from nucleus_bridge.model import IntArray

NS_PER_S = 1_000_000_000
TimeUnit = Literal["auto", "s", "ms", "us", "ns"]
TimeReference = Literal["auto", "stamp", "absolute"]
Rows = NDArray[np.intp]
BoolArray = NDArray[np.bool_]
#: Names under which drivers publish point times, the most telling first.
TIME_FIELD_NAMES = ("t", "time", "timestamp", "time_stamp", "offset_time", "time_offset", "time_offset_ns")
_OTHER_NAMES = re.compile(r"(point|rel(ative)?|delta|offset)?_?(ts|time|(time_?)?stamp)(_?(s|sec|ms|us|ns|offset))?")
"""Other spellings, in small letters, taken where none of the usual names is there and their numbers fit."""
SHORTEST_SWEEP_NS = 1_000_000
LONGEST_SWEEP_NS = NS_PER_S
"""The unit is the one in which a sweep takes this long."""
FARTHEST_RELATIVE_NS = 5 * NS_PER_S
"""Times that count from ``header.stamp`` lie at most this far from it."""
FARTHEST_FROM_STAMP_NS = 10 * NS_PER_S
"""Absolute times lie at most this far from ``header.stamp``."""
_TELLING = 8
"""With fewer different times the span of a cloud says nothing about their unit."""
_SAMPLE = 512
_FIRST = 256
_CORE = (0.05, 0.95)
_MARGIN = 1.0
"""A time that is this many spans of the middle nine tenths outside of them is an outlier."""
_DENSE = 0.75
"""Where no convention fits, the times of so many points that lie closest together are tried alone."""


@dataclass(frozen=True)
class Convention:
    """How numbers in a time column are meant."""

    unit_ns: int
    is_relative: bool


UNITS_NS = {"s": NS_PER_S, "ms": 1_000_000, "us": 1_000, "ns": 1}
_USUAL = {
    ("u", 4): (Convention(1, is_relative=True),),
    ("i", 4): (Convention(1, is_relative=True),),
    ("u", 8): (Convention(1, is_relative=False), Convention(1, is_relative=True)),
    ("i", 8): (Convention(1, is_relative=False), Convention(1, is_relative=True)),
    ("f", 4): (Convention(NS_PER_S, is_relative=True),),
    ("f", 8): (
        Convention(NS_PER_S, is_relative=False),
        Convention(1, is_relative=False),
        Convention(NS_PER_S, is_relative=True),
    ),
}
"""What drivers mean by a type of numbers, the usual first; by kind and size of numpy's type."""


_REFERENCE: dict[bool, TimeReference] = {True: "stamp", False: "absolute"}


@dataclass(frozen=True)
class PointTimes:
    """What the time column of one cloud means.

    Attributes:
        convention: Unit and reference.
        low: Smallest time of a usable point that is not an outlier, as in the column.
        high: Largest one.
        window: Smallest and largest number that is a time of this sweep, where others are in the column; None where
            all are.
    """

    convention: Convention
    low: Any
    high: Any
    window: tuple[float, float] | None


def find_time_field(names: Sequence[str], wanted: str) -> str | None:
    """Choose the column that holds the point times.

    Args:
        names: Columns of the cloud.
        wanted: ``auto``, ``none`` or a column's name, as in ``lidars.<name>.time_field``.

    Raises:
        CloudError: The column asked for is not there; cause ``missing_field``.
    """
    if wanted == "none":
        return None
    if wanted == "auto":
        usual = next((name for name in TIME_FIELD_NAMES if name in names), None)
        return usual or next((name for name in names if _OTHER_NAMES.fullmatch(_snake(name))), None)
    if wanted not in names:
        msg = f"there is no field {wanted!r} for time_field; fields are {', '.join(names)}"
        raise CloudError(msg, cause="missing_field")
    return wanted


def _snake(name: str) -> str:
    """Write a name as small words: timeStamp as time_stamp."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def signed(times: NDArray[Any]) -> NDArray[Any]:
    """Read unsigned times of 4 and 8 bytes as signed: what is a little before zero wraps around in their drivers."""
    if times.dtype.kind == "u" and times.dtype.itemsize >= 4:
        return times.view(times.dtype.str.replace("u", "i"))
    return times


def read_times(
    name: str,
    times: NDArray[Any],
    is_usable: Callable[[Rows], BoolArray],
    stamp_ns: int | None,
    unit: TimeUnit = "auto",
    reference: TimeReference = "auto",
) -> PointTimes | None:
    """Find out what a time column means, and which of its numbers cannot be times of this sweep.

    Args:
        name: The column, for error texts.
        times: Shape (n,), numbers.
        is_usable: Tells which of some rows are usable points.
        stamp_ns: ``header.stamp`` as it came; None where absolute times are of a clock of their own.
        unit: ``lidars.<name>.time_unit``.
        reference: ``lidars.<name>.time_reference``.

    Returns:
        None when no point is usable.

    Raises:
        CloudError: The numbers fit no convention; cause ``point_time``.
    """
    given, times = times, signed(times)
    sample = _sorted_sample(times, is_usable)
    different = 1 + int(np.count_nonzero(np.diff(sample))) if len(sample) else 0
    all_ends = _extremes(times, is_usable)
    if all_ends is None:
        return None
    readings: list[tuple[bool, int, PointTimes]] = []
    usual = _USUAL.get((given.dtype.kind, given.dtype.itemsize), ())
    for core_of in (_middle, _densest):
        core = core_of(sample) if different >= _TELLING else None
        ends, window = _within(times, is_usable, core, all_ends)
        if ends is None:
            break
        found = _convention(given.dtype, ends, stamp_ns, unit, reference, is_telling=different >= _TELLING)
        if found is None:
            continue
        meaning = PointTimes(found, ends[0], ends[1], window)
        is_sweep = float(ends[1] - ends[0]) * found.unit_ns <= LONGEST_SWEEP_NS
        if is_sweep and found in usual:
            return meaning
        readings.append((not is_sweep, len(readings), meaning))
    if not readings:
        raise _no_convention(name, given.dtype, all_ends, stamp_ns)
    return min(readings, key=_first_two)[2]


def _first_two(reading: tuple[bool, int, PointTimes]) -> tuple[bool, int]:
    return reading[:2]


def _sorted_sample(times: NDArray[Any], is_usable: Callable[[Rows], BoolArray]) -> NDArray[np.float64]:
    """Return the finite times of some usable points, ascending."""
    rows = np.arange(0, len(times), max(1, len(times) // _SAMPLE))
    sample = np.sort(times.take(rows[is_usable(rows)]).astype(np.float64))
    return sample[np.isfinite(sample)]


def _middle(sample: NDArray[np.float64]) -> tuple[float, float] | None:
    """Return where the middle nine tenths of the times lie."""
    low, high = (float(sample[int(share * (len(sample) - 1))]) for share in _CORE)
    return (low, high) if high > low else None


def _densest(sample: NDArray[np.float64]) -> tuple[float, float] | None:
    """Return the shortest span that holds most of the times."""
    most = int(_DENSE * (len(sample) - 1))
    start = int(np.argmin(sample[most:] - sample[: len(sample) - most]))
    low, high = float(sample[start]), float(sample[start + most])
    return (low, high) if high > low else None


def _within(
    times: NDArray[Any],
    is_usable: Callable[[Rows], BoolArray],
    core: tuple[float, float] | None,
    ends: NDArray[Any],
) -> tuple[NDArray[Any] | None, tuple[float, float] | None]:
    """Return the ends of the times that are near their core, and the window outside of which others lie."""
    window = None if core is None else _window(core)
    if window is not None and not (window[0] <= ends[0] and ends[1] <= window[1]):  # false for NaN too
        inside = np.flatnonzero((times >= window[0]) & (times <= window[1]))
        kept = times.take(inside[is_usable(inside)])
        ends = np.stack([kept.min(), kept.max()])
    else:
        window = None
    if not np.isfinite(ends).all():
        finite = np.flatnonzero(np.isfinite(times))
        kept = times.take(finite[is_usable(finite)])
        if not len(kept):
            return None, None
        ends = np.stack([kept.min(), kept.max()])
        window = float(ends[0]), float(ends[1])
    return ends, window


def _window(core: tuple[float, float]) -> tuple[float, float]:
    low, high = core
    margin = _MARGIN * (high - low)
    return low - margin, high + margin


def _extremes(times: NDArray[Any], is_usable: Callable[[Rows], BoolArray]) -> NDArray[Any] | None:
    """Return the smallest and the largest time of usable points, shape (2,), or None when there are none.

    Mostly a usable point is among those that have the smallest time of all, and the same goes for the largest; only
    where this is not so every point has to be looked at.
    """
    first, last = times.argmin(), times.argmax()
    ends = times[[first, last]]
    if is_usable(np.array([first, last])).all():
        return ends
    if all(is_usable(np.flatnonzero(times == end)[:_FIRST]).any() for end in ends):
        return ends
    times = times.take(np.flatnonzero(is_usable(np.arange(len(times)))))
    return np.stack([times.min(), times.max()]) if len(times) else None


def _convention(
    dtype: np.dtype[Any],
    ends: NDArray[Any],
    stamp_ns: int | None,
    unit: TimeUnit,
    reference: TimeReference,
    *,
    is_telling: bool,
) -> Convention | None:
    usual = _USUAL.get((dtype.kind, dtype.itemsize), ())
    candidates = _candidates(usual, unit, reference)
    if len(candidates) == 1:
        return candidates[0]
    span = float(ends[1] - ends[0])
    for one in candidates:
        if SHORTEST_SWEEP_NS <= span * one.unit_ns <= LONGEST_SWEEP_NS and _is_near(one, ends, stamp_ns):
            if is_telling or one in usual or unit != "auto":
                return one
            break
    possible = usual if unit == "auto" else candidates
    return next(
        (
            one
            for one in candidates
            if one in possible and span * one.unit_ns <= LONGEST_SWEEP_NS and _is_near(one, ends, stamp_ns)
        ),
        None,
    )


@lru_cache(maxsize=64)
def _candidates(usual: tuple[Convention, ...], unit: TimeUnit, reference: TimeReference) -> tuple[Convention, ...]:
    """Return the conventions that settings leave, the usual ones of a type first."""
    all_of_them = [Convention(unit_ns, is_relative) for unit_ns in UNITS_NS.values() for is_relative in (True, False)]
    return tuple(
        convention
        for convention in dict.fromkeys((*usual, *all_of_them))
        if unit in ("auto", _name_of(convention)) and reference in ("auto", _REFERENCE[convention.is_relative])
    )


def _is_near(convention: Convention, ends: NDArray[Any], stamp_ns: int | None) -> bool:
    """Whether the times lie where times of a sweep with this stamp can lie."""
    low, high = (float(end) * convention.unit_ns for end in ends)
    if convention.is_relative:
        return -FARTHEST_RELATIVE_NS <= low <= high <= FARTHEST_RELATIVE_NS
    if stamp_ns is None:
        return True
    return abs(low - stamp_ns) <= FARTHEST_FROM_STAMP_NS and abs(high - stamp_ns) <= FARTHEST_FROM_STAMP_NS


def _name_of(convention: Convention) -> str:
    return next(name for name, unit_ns in UNITS_NS.items() if unit_ns == convention.unit_ns)


def _no_convention(name: str, dtype: np.dtype[Any], ends: NDArray[Any], stamp_ns: int | None) -> CloudError:
    when = "of any time" if stamp_ns is None else seconds(stamp_ns)
    text = (
        f"times in field {name!r} ({dtype.name}, {ends[0]!s} to {ends[1]!s}) fit no convention at header.stamp "
        f"{when}: in no unit from s to ns do they make a sweep of at most {LONGEST_SWEEP_NS // 1_000_000} "
        f"ms that is near the stamp (relative ones within {FARTHEST_RELATIVE_NS // NS_PER_S} s, absolute ones within "
        f"{FARTHEST_FROM_STAMP_NS // NS_PER_S} s). Set time_unit and time_reference, correct the driver's clock, or "
        "set time_field: none"
    )
    return CloudError(text, cause="point_time")


def times_to_ns(times: NDArray[Any], unit_ns: int) -> IntArray:
    """Convert a time column to integer nanoseconds without losing resolution.

    Args:
        times: Shape (n,), integers or floats, finite.
        unit_ns: Nanoseconds a unit.

    Returns:
        Shape (n,), int64, counted from wherever ``times`` count.
    """
    if times.dtype.kind in "ui":
        return signed(times).astype(np.int64) * unit_ns
    values = times.astype(np.float64)
    if times.dtype.itemsize <= np.dtype(np.float32).itemsize and unit_ns % 2 == 0:
        values *= unit_ns  # exact: 24 bits times at most 21 and a power of two
        return np.rint(values, out=values).astype(np.int64)
    # The product of absolute seconds and 1e9 would be rounded to 256 ns once more; that of the fraction is not.
    whole = np.floor(values)
    values -= whole
    values *= unit_ns
    nanoseconds: IntArray = np.rint(values, out=values).astype(np.int64)
    nanoseconds += whole.astype(np.int64) * unit_ns
    return nanoseconds
