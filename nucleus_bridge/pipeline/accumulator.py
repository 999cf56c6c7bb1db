# SPDX-License-Identifier: Apache-2.0
"""Sweeps that come in parts: the messages whose stamps fall into one span make one sweep."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.decode.points import point_times
from nucleus_bridge.errors import DecodeError
from nucleus_bridge.model import IntArray, Sweep

PART_TIME = "part_time"
"""Column for the times of points that have none of their own: those of their parts."""


def group_of(stamp_ns: int, span_ns: int) -> int:
    """Return the number of the span that a stamp falls into; the parts of one sweep have the same."""
    return stamp_ns // span_ns


class Accumulator:
    """Puts the parts of one lidar's sweeps together (``lidars.<name>.accumulate_ms``).

    A group is closed by the first part of a later one, or by the end of data.

    Args:
        span_ns: How long a sweep is.
    """

    def __init__(self, span_ns: int) -> None:
        self._span_ns = span_ns
        self._parts: list[Sweep] = []
        self._group = 0
        self._most = 0

    def add(self, part: Sweep) -> Iterator[Sweep | DecodeError]:
        """Take a part; yield the sweep that it shows to be complete."""
        group = group_of(part.stamp_ns, self._span_ns)
        if self._parts and group > self._group:
            yield from self.close()
        if self._parts and group == self._group:
            if _kind(part) != _kind(self._parts[0]):
                text = f"a part at stamp {part.stamp_ns} has another frame or other fields than the first of its sweep"
                yield DecodeError(text, cause="part_differs")
                return
        elif group <= self._group and self._most:
            yield DecodeError(f"a part at stamp {part.stamp_ns} came after its sweep was closed", cause="late_part")
            return
        self._group = group
        self._parts.append(part)

    def close(self) -> Iterator[Sweep | DecodeError]:
        """Yield what is there: nothing more comes of this sweep."""
        parts, self._parts = sorted(self._parts, key=lambda part: part.stamp_ns), []
        if not parts:
            return
        if len(parts) < self._most:
            text = f"the sweep at stamp {parts[0].stamp_ns} has {len(parts)} parts, others {self._most}"
            yield DecodeError(text, cause="sweep_lacks_parts")
        self._most = max(self._most, len(parts))
        yield joined(parts)

    def restart(self) -> None:
        """Forget which sweeps were closed, after a step of the clock."""
        self._group, self._most = 0, 0


def joined(parts: list[Sweep]) -> Sweep:
    """Return the sweep that parts of the same fields make, each point at its own time or at that of its part."""
    first = parts[0]
    base_ns = first.stamp_ns
    time_field = first.time_field or PART_TIME
    names = first.points.dtype.names or ()
    kinds = [(name, first.points.dtype[name]) for name in names if name != time_field]
    points: NDArray[np.void] = np.empty(sum(len(part.points) for part in parts), [*kinds, (time_field, "<i8")])
    for name, _ in kinds:
        points[name] = np.concatenate([part.points[name] for part in parts])
    points[time_field] = np.concatenate([_times_since(part, base_ns) for part in parts])
    first_ns, last_ns = min(part.first_ns for part in parts), max(part.last_ns for part in parts)
    has_outliers = any(part.time_window is not None for part in parts)
    return replace(
        first,
        points=points,
        time_field=time_field,
        first_ns=first_ns,
        last_ns=last_ns,
        time_unit_ns=1,
        time_is_relative=True,
        time_base_ns=base_ns,
        time_window=(first_ns - base_ns, last_ns - base_ns) if has_outliers else None,
    )


def _times_since(part: Sweep, base_ns: int) -> IntArray:
    """Return the times of a part's points, ns after ``base_ns``; far before it where they cannot be."""
    if part.time_field is None:
        return np.full(len(part.points), part.stamp_ns - base_ns)
    times_ns, is_good = point_times(part)
    return np.where(is_good, times_ns - base_ns, np.iinfo(np.int64).min)


def _kind(part: Sweep) -> tuple[object, ...]:
    return part.frame_id, part.points.dtype, part.time_field
