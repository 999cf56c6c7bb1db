# SPDX-License-Identifier: Apache-2.0
"""What is known of one edge of the transform tree: a fixed pose, or poses over time, by the rules of tf2's caches."""

from __future__ import annotations

import enum
from array import array
from bisect import bisect_left, bisect_right

import numpy as np

from nucleus_bridge.geometry import transforms
from nucleus_bridge.geometry.jumps import unexplained_steps
from nucleus_bridge.geometry.scalar_pose import Pose, between
from nucleus_bridge.model import FloatArray, IntArray, Transform

ALL_TIME = (-(2**63), 2**63 - 1)
NOT_COVERED = -1


class Insertion(enum.Enum):
    """What became of a transform that was added."""

    ACCEPTED = "accepted"
    IGNORED_OLD = "ignored_old"
    RESTARTED = "restarted"


class StaticEdge:
    """A pose that holds for all time."""

    __slots__ = ("parent", "pose")
    is_static = True
    reparented = False

    def __init__(self, parent: str, pose: Pose) -> None:
        self.parent = parent
        self.pose = pose

    def find(self, _stamp_ns: int) -> int:
        """Return the index of the only sample."""
        return 0

    def parent_at(self, _index: int) -> str:
        """Return the parent frame."""
        return self.parent

    def pose_at(self, _index: int, _stamp_ns: int) -> Pose:
        """Return parent_from_child."""
        return self.pose

    def needed_ns(self, _index: int, _stamp_ns: int) -> int:
        """Return the stamp of the newest sample that a pose needs: it holds for all time."""
        return ALL_TIME[0]

    def poses_at(self, _stamps_ns: IntArray) -> Transform:
        """Return parent_from_child for any stamps, to be broadcast."""
        return Transform(np.array(self.pose[:3]), np.array(self.pose[3:]))


class DynamicEdge:
    """Samples in ascending order of their stamps, 68 bytes each.

    Rules of tf2's ``TimeCache``: of samples with the same stamp the first ends the time before it and the last begins
    the time after it (those between could never be seen and are not kept); a sample's parent holds until the next
    sample; between samples of different parents the older pose holds.
    """

    __slots__ = ("_cache_ns", "_first", "_parent_numbers", "_parents", "_poses", "_reset_ns", "_stamps")
    is_static = False

    def __init__(self, cache_ns: int | None, reset_ns: int | None) -> None:
        self._cache_ns = cache_ns
        self._reset_ns = reset_ns
        self.clear()

    def clear(self) -> None:
        """Forget all samples."""
        self._stamps = array("q")
        self._poses = array("d")
        self._parent_numbers = array("i")
        self._parents: list[str] = []
        self._first = 0  # samples before this one are forgotten, their memory not given back yet

    def __len__(self) -> int:
        return len(self._stamps) - self._first

    @property
    def span(self) -> tuple[int, int] | None:
        """Oldest and newest stamp, None without samples."""
        return (self._stamps[self._first], self._stamps[-1]) if len(self) else None

    @property
    def parent(self) -> str | None:
        """Parent frame of the newest sample, None without samples."""
        return self._parents[self._parent_numbers[-1]] if len(self) else None

    @property
    def reparented(self) -> bool:
        """Whether samples of more than one parent frame came in."""
        return len(self._parents) > 1

    @property
    def leapt(self) -> bool:
        """Whether the newest sample is so far ahead that the next one cuts off all before it."""
        stamps = self._stamps
        return self._cache_ns is not None and len(self) > 1 and stamps[-1] - stamps[-2] > self._cache_ns

    def insert(self, stamp_ns: int, parent: str, pose: Pose) -> Insertion:
        """Put a sample at its place in time.

        As in tf2 the history is cut before the new sample is looked at, so that up to one sample more than the cache
        time may remain.
        """
        outcome = Insertion.ACCEPTED
        if len(self):
            age_ns = self._stamps[-1] - stamp_ns
            if self._reset_ns is not None and age_ns > self._reset_ns:
                self.clear()
                outcome = Insertion.RESTARTED
            elif self._cache_ns is not None:
                self._forget_before(self._stamps[-1] - self._cache_ns)
                if age_ns > self._cache_ns:
                    return Insertion.IGNORED_OLD
        if parent not in self._parents:
            self._parents.append(parent)
        parent_number = self._parents.index(parent)
        begin = bisect_left(self._stamps, stamp_ns, self._first)
        end = bisect_right(self._stamps, stamp_ns, begin)
        if any(self._pose(i) == pose and self._parent_numbers[i] == parent_number for i in range(begin, end)):
            return outcome
        place = min(end, begin + 1)
        self._stamps[place:end] = array("q", (stamp_ns,))
        self._parent_numbers[place:end] = array("i", (parent_number,))
        self._poses[7 * place : 7 * end] = array("d", pose)
        return outcome

    def find(self, stamp_ns: int) -> int:
        """Return the index of the sample that holds at the stamp, NOT_COVERED outside of the span; 0 is the newest."""
        stamps, first = self._stamps, self._first
        if len(stamps) == first:
            return NOT_COVERED
        oldest, newest = stamps[first], stamps[-1]
        if stamp_ns in (newest, 0):
            return len(stamps) - 1
        if oldest < stamp_ns < newest:
            return bisect_right(stamps, stamp_ns, first) - 1
        return first if stamp_ns == oldest else NOT_COVERED

    def parent_at(self, index: int) -> str:
        """Return the parent frame of a sample."""
        return self._parents[self._parent_numbers[index]]

    def pose_at(self, index: int, stamp_ns: int) -> Pose:
        """Return parent_from_child at a stamp, whose index ``find`` gave."""
        start = self._pose(index)
        after = index + 1
        if after == len(self._stamps):
            return between(start, start, 0.0)
        if self._parent_numbers[after] != self._parent_numbers[index]:
            return start
        start_ns = self._stamps[index]
        fraction = float(stamp_ns - start_ns) / float(max(self._stamps[after] - start_ns, 1))
        return between(start, self._pose(after), fraction)

    def needed_ns(self, index: int, stamp_ns: int) -> int:
        """Return the stamp of the newest sample that the pose at a stamp, whose index ``find`` gave, is made from."""
        after = index + 1
        between_two = after < len(self._stamps) and self._stamps[index] != stamp_ns
        return self._stamps[after if between_two else index]

    def poses_at(self, stamps_ns: IntArray) -> Transform:
        """Return parent_from_child at stamps within the span, shape (n,), of an edge that was never reparented."""
        before, after, fraction = transforms.bracket(self._stamps_view(), stamps_ns)
        poses = self._poses_view()
        start, end = poses[before], poses[after]
        return transforms.between(Transform(start[:, :3], start[:, 3:]), Transform(end[:, :3], end[:, 3:]), fraction)

    def turning_points(self, first_ns: int, last_ns: int) -> list[int]:
        """Return the stamps in [first_ns, last_ns] of the oldest and newest sample and of those with a new parent."""
        begin = bisect_left(self._stamps, first_ns, self._first)
        end = bisect_right(self._stamps, last_ns, self._first)
        numbers, edges = self._parent_numbers, (self._first, len(self._stamps) - 1)
        return [self._stamps[i] for i in range(begin, end) if i in edges or numbers[i] != numbers[i - 1]]

    def largest_jump(self, after_ns: int, until_ns: int) -> float:
        """Return the largest unexplained step in metres of the pairs whose first stamp is in [after_ns, until_ns)."""
        begin = bisect_left(self._stamps, after_ns, self._first)
        end = min(bisect_left(self._stamps, until_ns, self._first), len(self._stamps) - 1)
        if end <= begin:
            return 0.0
        context = max(begin - 3, self._first)  # the three pairs before are what a pair is judged by
        offset = context - self._first
        window = slice(offset, end + 1 - self._first)
        numbers = np.array(self._parent_numbers[context : end + 1])
        steps = unexplained_steps(
            self._stamps_view()[window], self._poses_view()[window, :3], numbers[1:] == numbers[:-1]
        )
        return float(steps[begin - context :].max())

    def _pose(self, index: int) -> Pose:
        x, y, z, qx, qy, qz, qw = self._poses[7 * index : 7 * index + 7]
        return x, y, z, qx, qy, qz, qw

    def _forget_before(self, stamp_ns: int) -> None:
        """Forget samples older than the stamp; give memory back once it is worth moving the rest."""
        self._first = bisect_left(self._stamps, stamp_ns, self._first)
        if self._first > 1000 and 2 * self._first > len(self._stamps):
            del self._stamps[: self._first]
            del self._parent_numbers[: self._first]
            del self._poses[: 7 * self._first]
            self._first = 0

    # An array cannot grow while a view of it lives: the views below must not outlive the call that made them.

    def _stamps_view(self) -> IntArray:
        return np.frombuffer(self._stamps, dtype=np.int64)[self._first :]

    def _poses_view(self) -> FloatArray:
        return np.frombuffer(self._poses, dtype=np.float64).reshape(-1, 7)[self._first :]


Edge = StaticEdge | DynamicEdge
