# SPDX-License-Identifier: Apache-2.0
"""What the times of a lidar's points mean, judged by several sweeps and by how often sweeps come."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import numpy as np

from nucleus_bridge.model import FloatArray

UNITS_NS = {"s": 1e9, "ms": 1e6, "us": 1e3, "ns": 1.0}
_LEAST_SHARE, MOST_SHARE = 0.02, 1.3
_CENTRAL = (2.0, 98.0)
_DENSE, _LEAST_POINTS = 0.75, 8
_LEAST_WRAPPED = 4
FAR_MS = 300.0
"""Absolute times farther than this from the stamp are of another clock."""
_USUAL_PERIOD_NS = 1e8
_RELATIVE_NS = 60e9


class Times(Enum):
    """What can be made of a column of times."""

    NONE = "none"
    GOOD = "good"
    CONSTANT = "constant"
    NO_UNIT = "no_unit"
    FAR = "far"


class Column(NamedTuple):
    """The time column of one sweep: values of usable points as float64, and its stamp."""

    stamp_ns: int
    values: FloatArray


@dataclass(frozen=True)
class PointTimes:
    """How a lidar's points carry their times.

    Attributes:
        verdict: What can be made of them.
        field: The column, '' without one.
        dtype: Its type.
        unit: ``s``, ``ms``, ``us`` or ``ns``; '' where none fits.
        is_absolute: Whether they do not count from the stamp.
        first_ms: Of the earliest point from the stamp, in a typical sweep.
        last_ms: Of the latest point.
        outliers: Points of those looked at whose time is impossible.
        looked_at: Points looked at.
        farthest_ms: How far the farthest of them is outside of its sweep.
        raw: Smallest and largest value of a typical sweep.
    """

    verdict: Times = Times.NONE
    field: str = ""
    dtype: str = ""
    unit: str = ""
    is_absolute: bool = False
    first_ms: float = 0.0
    last_ms: float = 0.0
    outliers: int = 0
    looked_at: int = 0
    farthest_ms: float = 0.0
    raw: tuple[float, float] = (0.0, 0.0)

    @property
    def is_good(self) -> bool:
        """Whether points can be deskewed by them."""
        return self.verdict is Times.GOOD

    @property
    def span_ms(self) -> float:
        """Time between the first and the last point; 0 where unknown."""
        return self.last_ms - self.first_ms if self.verdict in (Times.GOOD, Times.FAR) else 0.0

    def __str__(self) -> str:
        """Describe them."""
        if self.verdict is Times.NONE:
            return "none: points have no time of their own, so they cannot be deskewed"
        if self.verdict is Times.CONSTANT:
            what = "not numbers" if math.isnan(self.raw[0]) else "the same"
            return f"none: all times in {self.field!r} of a sweep are {what}"
        if self.verdict is Times.NO_UNIT:
            return f"none that make sense: {self.field!r} runs from {self.raw[0]:g} to {self.raw[1]:g}"
        kind = "absolute" if self.is_absolute else "from the stamp"
        span = f"{self.first_ms:+.1f} to {self.last_ms:+.1f} ms around the stamp"
        return f"{self.field}, {self.dtype} in {self.unit}, {kind}; {span}"


NO_TIMES = PointTimes()


def judge_times(field: str, dtype: np.dtype[np.generic], sweeps: Sequence[Column], period_ns: float) -> PointTimes:
    """Find unit and reference of a time column.

    Args:
        field: Its name.
        dtype: Its type.
        sweeps: Its values in several sweeps.
        period_ns: Time between sweeps; 0 where unknown.
    """
    central = [_central(_signed(column.values, dtype)) for column in sweeps if len(column.values)]
    if not central:  # none of them is a number
        return PointTimes(Times.CONSTANT, field, dtype.name, raw=(math.nan, math.nan)) if sweeps else NO_TIMES
    low, high = (float(np.median([ends[k] for ends in central])) for k in (0, 1))
    span = high - low
    ends = (min(low, high), max(low, high))
    if span <= 0:
        return PointTimes(Times.CONSTANT, field, dtype.name, raw=ends)
    unit = _unit(span, period_ns or _USUAL_PERIOD_NS, has_period=period_ns > 0)
    ends_of = _central
    if not unit:  # many may stray: those that lie closest together are tried alone
        ends_of = _densest
        dense = [ends_of(_signed(column.values, dtype)) for column in sweeps if len(column.values) >= _LEAST_POINTS]
        if dense:
            dense_ends = (float(np.median([one[0] for one in dense])), float(np.median([one[1] for one in dense])))
            unit = _unit(dense_ends[1] - dense_ends[0], period_ns or _USUAL_PERIOD_NS, has_period=period_ns > 0)
            ends = dense_ends if unit else ends
    if not unit:
        return PointTimes(Times.NO_UNIT, field, dtype.name, raw=ends)
    return _placed(field, dtype, sweeps, _Reading(unit, ends, period_ns or _USUAL_PERIOD_NS, ends_of))


def _unit(span: float, period_ns: float, *, has_period: bool) -> str:
    """Return the unit in which a span is a likely part of the period; '' where none is."""
    least, most = (_LEAST_SHARE, MOST_SHARE) if has_period else (0.01, 10.0)
    for unit, ns in UNITS_NS.items():
        if least < span * ns / period_ns < most:
            return unit
    return ""


def _signed(values: FloatArray, dtype: np.dtype[np.generic]) -> FloatArray:
    """Read unsigned values just below zero, which wrap around, as what they were meant to be."""
    if dtype.kind != "u" or dtype.itemsize < _LEAST_WRAPPED:
        return values
    whole = 2.0 ** (8 * dtype.itemsize)
    wrapped = values > 0.75 * whole
    if not wrapped.any() or wrapped.mean() > 0.5:
        return values
    return np.where(wrapped, values - whole, values)


def _central(values: FloatArray) -> tuple[float, float]:
    """Return the ends of a sweep, drawn from its central part so that single strays do not count."""
    low, high = np.percentile(values, _CENTRAL)
    more = (high - low) * _CENTRAL[0] / (_CENTRAL[1] - _CENTRAL[0])
    inner = values[(values >= low - 3 * more) & (values <= high + 3 * more)]
    return float(inner.min()), float(inner.max())


def _densest(values: FloatArray) -> tuple[float, float]:
    """Return the ends of the times near the shortest span that holds three quarters of them."""
    ordered = np.sort(values)
    most = int(_DENSE * (len(ordered) - 1))
    start = int(np.argmin(ordered[most:] - ordered[: len(ordered) - most]))
    low, high = ordered[start], ordered[start + most]
    inner = ordered[(ordered >= 2 * low - high) & (ordered <= 2 * high - low)]
    return float(inner[0]), float(inner[-1])


class _Reading(NamedTuple):
    """How a column is read: its unit, the ends of a typical sweep in it, and what finds them in each."""

    unit: str
    raw: tuple[float, float]
    period_ns: float
    ends_of: Callable[[FloatArray], tuple[float, float]]


def _placed(field: str, dtype: np.dtype[np.generic], sweeps: Sequence[Column], how: _Reading) -> PointTimes:
    unit, raw, period_ns, ends_of = how
    ns = UNITS_NS[unit]
    is_absolute = _is_absolute(raw[0] * ns, [column.stamp_ns for column in sweeps])
    firsts, lasts, outliers, looked_at, farthest = [], [], 0, 0, 0.0
    for column in sweeps:
        if not len(column.values):
            continue
        values = _signed(column.values, dtype)
        low, high = ends_of(values)
        base = column.stamp_ns / ns if is_absolute else 0.0
        firsts.append((low - base) * ns / 1e6)
        lasts.append((high - base) * ns / 1e6)
        room = max(high - low, period_ns / ns) / 2
        beyond = np.maximum(low - room - values, values - high - room)
        outliers += int((beyond > 0).sum())
        looked_at += len(values)
        farthest = max(farthest, float(beyond.max() + room) * ns / 1e6)
    first, last = float(np.median(firsts)), float(np.median(lasts))
    apart = max(first, -last, 0.0) * 1e6
    limit = max(FAR_MS * 1e6 if is_absolute else 0.0, 1.1 * period_ns)
    verdict = Times.FAR if apart > limit else Times.GOOD
    return PointTimes(
        verdict,
        field,
        dtype.name,
        unit,
        is_absolute,
        first,
        last,
        outliers,
        looked_at,
        farthest if outliers else 0.0,
        raw,
    )


def _is_absolute(first_ns: float, stamps_ns: Sequence[int]) -> bool:
    """Whether times are too large to count from the stamp, or are nearer to it than to zero."""
    stamp_ns = float(np.median(stamps_ns))
    return abs(first_ns) > _RELATIVE_NS or (stamp_ns > 0 and abs(first_ns - stamp_ns) < abs(first_ns))
