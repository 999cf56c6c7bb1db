# SPDX-License-Identifier: Apache-2.0
"""Messages that repeat the one before under a new stamp, as of a sensor that has stopped and goes on being sent.

A camera that stands still in front of a wall never sends the same bytes twice, a simulated one does. So copies mean
something only where the device moved while they came.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.decode.points import any_value, coordinates
from nucleus_bridge.model import FloatArray, Sweep

_HEADER_BYTES = 12  # encapsulation and stamp
_SLICES, _SLICE_BYTES = 8, 64
_LOOKED_AT, _LEAST_POINTS = 192, 24
_MOST_RUNS = 512
_LEAST_COPIES, _LEAST_WAY_M, _MOST_STOPS = 3, 0.5, 9
_MOST_PLACES, _SPACING_NS, _MOST_APART_NS = 4_096, 100_000_000, 2_000_000_000

PlaceOf = Callable[[int], "FloatArray | None"]
"""Returns the position of the device at a stamp, shape (3,), or None where it is not known."""


class Run(NamedTuple):
    """Messages in a row that are the same: the stamps of the first and the last one, and how many are copies."""

    begin_ns: int
    end_ns: int
    copies: int


class Repeats:
    """Watches the messages of one topic, in the order of arrival.

    Attributes:
        total: How many came.
        runs: Those that are the same, at most some hundred runs.
    """

    def __init__(self) -> None:
        self.total = 0
        self.runs: list[Run] = []
        self._key = b""
        self._content: bytes | None = None
        self._stamp_ns = -1
        self._is_open = False

    def add(self, data: bytes, stamp_ns: int) -> None:
        """Take the next message that begins with a header."""
        step = max(1, (len(data) - _HEADER_BYTES - _SLICE_BYTES) // (_SLICES - 1))
        starts = range(_HEADER_BYTES, len(data), step)
        key = b"".join([len(data).to_bytes(8, "little"), *(data[start : start + _SLICE_BYTES] for start in starts)])
        is_same = key == self._key and self._content is not None and _are_same(data, self._content)
        self._take(key, stamp_ns, is_same=is_same)
        self._content = data

    def add_sweep(self, sweep: Sweep) -> None:
        """Take the next sweep; its points count, whatever time they say."""
        points = sweep.points
        key = b""
        with any_value():
            xyz = coordinates(points[:: max(1, len(points) // _LOOKED_AT)])
            if int((np.isfinite(xyz).all(axis=1) & xyz.any(axis=1)).sum()) >= _LEAST_POINTS:
                key = len(points).to_bytes(8, "little") + xyz.tobytes()
        self._take(key, sweep.stamp_ns, is_same=bool(key) and key == self._key)

    def _take(self, key: bytes, stamp_ns: int, *, is_same: bool) -> None:
        self.total += 1
        if is_same and stamp_ns > self._stamp_ns:
            if self._is_open:
                begin_ns, _, copies = self.runs.pop()
                self.runs.append(Run(begin_ns, stamp_ns, copies + 1))
            elif len(self.runs) < _MOST_RUNS:
                self.runs.append(Run(self._stamp_ns, stamp_ns, 1))
                self._is_open = True
        else:
            self._is_open = False
        self._key, self._stamp_ns = key, stamp_ns


def _are_same(one: bytes, other: bytes) -> bool:
    """Whether two messages of one length are the same but for their stamps."""
    return bool(np.array_equal(_content(one), _content(other)))


def _content(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8)[_HEADER_BYTES:]


class Places:
    """Where the device was in frames: as many places as say how far it went, not more for a longer drive."""

    def __init__(self) -> None:
        self._stamps = array("q")
        self._xyz = array("d")
        self._spacing_ns = _SPACING_NS
        self._is_in_order = True

    def add(self, stamp_ns: int, xyz: FloatArray) -> None:
        """Take the next place."""
        if self._stamps and stamp_ns < self._stamps[-1] + self._spacing_ns:
            self._is_in_order &= stamp_ns > self._stamps[-1] - _MOST_APART_NS
            return
        self._stamps.append(stamp_ns)
        self._xyz.extend(xyz.tolist())
        if len(self._stamps) > _MOST_PLACES:
            kept = np.array(self._xyz).reshape(-1, 3)[::2]
            self._stamps, self._xyz = self._stamps[::2], array("d", kept.ravel().tolist())
            self._spacing_ns *= 2

    def at(self, stamp_ns: int) -> FloatArray | None:
        """Return the place at a stamp, between the two next to it; None where a clock was set back."""
        after = int(np.searchsorted(self._stamps, stamp_ns)) if self._is_in_order else 0
        if not 0 < after < len(self._stamps):
            return None
        first, last = self._stamps[after - 1], self._stamps[after]
        if last - first > max(_MOST_APART_NS, 2 * self._spacing_ns):
            return None
        xyz = np.array(self._xyz[3 * after - 3 : 3 * after + 3]).reshape(2, 3)
        return np.asarray(xyz[0] + (stamp_ns - first) / (last - first) * (xyz[1] - xyz[0]))


@dataclass(frozen=True)
class Copies:
    """What was sent again although the device had moved on.

    Attributes:
        count: Copies in all.
        longest: Copies in the longest run.
        seconds: How long that run took.
        way_m: How far the device went in it.
    """

    count: int
    longest: int
    seconds: float
    way_m: float


def copies_on_the_way(runs: Iterable[Run], place_of: PlaceOf) -> Copies | None:
    """Return the copies that came while the device moved; None where there are too few to tell."""
    moved = [(run, way_m) for run in runs if (way_m := _way(run, place_of)) >= _LEAST_WAY_M]
    count = sum(run.copies for run, _ in moved)
    if count < _LEAST_COPIES:
        return None
    longest, way_m = max(moved, key=lambda one: one[0].copies)
    return Copies(count, longest.copies, (longest.end_ns - longest.begin_ns) / 1e9, way_m)


def _way(run: Run, place_of: PlaceOf) -> float:
    """Return how far the device got from where it was when the first of them came, metres."""
    stops = np.linspace(0, run.end_ns - run.begin_ns, min(_MOST_STOPS, run.copies + 1)).astype(np.int64)
    places = [place for stop in stops.tolist() if (place := place_of(run.begin_ns + stop)) is not None]
    return max((float(np.linalg.norm(place - places[0])) for place in places), default=0.0)
