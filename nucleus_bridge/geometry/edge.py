# SPDX-License-Identifier: Apache-2.0
"""What is known of one edge of the transform tree: a fixed pose, or poses over time, by the rules of tf2's caches."""

from __future__ import annotations

import enum
from array import array
from bisect import bisect_left, bisect_right

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.geometry import transforms
from nucleus_bridge.geometry.scalar_pose import Pose, between
from nucleus_bridge.model import FloatArray, IntArray, Transform


def unexplained_steps(stamps_ns: IntArray, positions: FloatArray, comparable: NDArray[np.bool_]) -> FloatArray:
    """Return for each pair of consecutive samples the part of its step that is not continued motion, in metres.

    The step of pair k is the least of: its length; its distance from what the velocity over pair k-1 predicts; and its
    distance from what the velocity over pair k-2 predicts, where that one counts only as far as pair k-2 was explained
    itself. The last keeps a jump during fast motion from being reported again on the pair after it, whose predecessor's
    velocity is the jump's. The first pair has nothing to be judged by and counts as explained.

    Args:
        stamps_ns: Shape (m,), ascending.
        positions: Shape (m, 3), metres.
        comparable: Shape (m - 1,), whether both samples of a pair are positions in the same frame.

    Returns:
        Shape (m - 1,), metres, never negative.
    """
    steps = np.diff(positions, axis=0)
    seconds = np.diff(stamps_ns) * 1e-9
    by_last = np.minimum(_length(steps), _distance_from_velocity(steps, seconds, lag=1))
    by_older = _distance_from_velocity(steps, seconds, lag=2)
    by_older[2:] = np.maximum(by_older[2:], by_last[:-2])
    unexplained: FloatArray = np.minimum(by_last, by_older)
    unexplained[~comparable] = 0.0
    has_predecessor = np.concatenate(([False], comparable[:-1]))
    unexplained[~has_predecessor] = 0.0
    return unexplained


def _distance_from_velocity(steps: FloatArray, seconds: FloatArray, *, lag: int) -> FloatArray:
    """Return how far each step is from the one predicted by the velocity ``lag`` pairs before; infinite without one."""
    distance = np.full(len(steps), np.inf)
    if len(steps) > lag:
        moving = seconds[:-lag] > 0.0
        ratio = seconds[lag:] / np.where(moving, seconds[:-lag], 1.0)
        distance[lag:] = np.where(moving, _length(steps[lag:] - steps[:-lag] * ratio[:, None]), np.inf)
    return distance


def _length(vectors: FloatArray) -> FloatArray:
    x, y, z = vectors[:, 0], vectors[:, 1], vectors[:, 2]
    length: FloatArray = np.sqrt(x * x + y * y + z * z)
    return length


ALL_TIME = (-(2**63), 2**63 - 1)
NOT_COVERED = -1
GAP_FACTOR = 3
"""A gap is more than this many times the interval before it."""


class Insertion(enum.Enum):
    """What became of a transform that was added."""

    ACCEPTED = "accepted"
    IGNORED_OLD = "ignored_old"
    RESTARTED = "restarted"


class StaticEdge:
    """A pose that holds for all time; or, with a history, from its stamp on, the first one for all before as well."""

    __slots__ = ("_parents", "_poses", "_stamps")
    is_static = True

    def __init__(self, parent: str, pose: Pose, stamp_ns: int = 0) -> None:
        self._stamps = [stamp_ns]
        self._parents = [parent]
        self._poses = [pose]

    @property
    def parent(self) -> str:
        """Parent frame of the newest pose."""
        return self._parents[-1]

    @property
    def pose(self) -> Pose:
        """The newest pose."""
        return self._poses[-1]

    @property
    def reparented(self) -> bool:
        """Whether it has had several parents."""
        return any(parent != self._parents[0] for parent in self._parents)

    def insert(self, stamp_ns: int, parent: str, pose: Pose) -> None:
        """Put a pose at its place in time; of several of one stamp the last counts."""
        place = bisect_left(self._stamps, stamp_ns)
        if place < len(self._stamps) and self._stamps[place] == stamp_ns:
            self._parents[place], self._poses[place] = parent, pose
            return
        if place and self._holds(place - 1, parent, pose):
            return
        if place < len(self._stamps) and self._holds(place, parent, pose):
            self._stamps[place] = stamp_ns
            return
        self._stamps.insert(place, stamp_ns)
        self._parents.insert(place, parent)
        self._poses.insert(place, pose)

    def _holds(self, index: int, parent: str, pose: Pose) -> bool:
        return self._parents[index] == parent and self._poses[index] == pose

    def find(self, stamp_ns: int) -> int:
        """Return the index of the pose that holds at a stamp; 0 is the newest."""
        if len(self._stamps) == 1:
            return 0
        return len(self._stamps) - 1 if stamp_ns == 0 else max(0, bisect_right(self._stamps, stamp_ns) - 1)

    def changes(self, first_ns: int, last_ns: int) -> bool:
        """Whether it has several poses within [first_ns, last_ns]."""
        return self.find(first_ns) != self.find(last_ns)

    def parent_at(self, index: int) -> str:
        """Return the parent frame."""
        return self._parents[index]

    def pose_at(self, index: int, _stamp_ns: int) -> Pose:
        """Return parent_from_child."""
        return self._poses[index]

    def needed_ns(self, _index: int, _stamp_ns: int) -> int:
        """Return the stamp of the newest sample that a pose needs: what is not known yet is not waited for."""
        return ALL_TIME[0]

    def poses_at(self, stamps_ns: IntArray) -> Transform:
        """Return parent_from_child for stamps over which it does not change, to be broadcast."""
        pose = self._poses[self.find(int(stamps_ns[0]))]
        return Transform(np.array(pose[:3]), np.array(pose[3:]))


class DynamicEdge:
    """Samples in ascending order of their stamps, 68 bytes each.

    Rules of tf2's ``TimeCache``: of samples with the same stamp the first ends the time before it and the last begins
    the time after it (those between could never be seen and are not kept); a sample's parent holds until the next
    sample; between samples of different parents the older pose holds.
    """

    __slots__ = ("_cache_ns", "_first", "_gap_ns", "_parent_numbers", "_parents", "_poses", "_reset_ns", "_stamps")
    is_static = False

    def __init__(self, cache_ns: int | None, reset_ns: int | None, gap_ns: int | None = None) -> None:
        self._cache_ns = cache_ns
        self._gap_ns = gap_ns
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

    def take_after(self, stamp_ns: int) -> list[tuple[int, str, Pose]]:
        """Take the samples later than a stamp off the history: stamp, parent and pose of each."""
        begin = bisect_right(self._stamps, stamp_ns, self._first)
        taken = [(self._stamps[i], self.parent_at(i), self._pose(i)) for i in range(begin, len(self._stamps))]
        del self._stamps[begin:], self._parent_numbers[begin:], self._poses[7 * begin :]
        return taken

    def find(self, stamp_ns: int) -> int:
        """Return the index of the sample that holds at the stamp, NOT_COVERED outside of the span; 0 is the newest."""
        stamps, first = self._stamps, self._first
        if len(stamps) == first:
            return NOT_COVERED
        oldest, newest = stamps[first], stamps[-1]
        if stamp_ns in (newest, 0):
            return len(stamps) - 1
        if oldest < stamp_ns < newest:
            index = bisect_right(stamps, stamp_ns, first) - 1
            if self._gap_ns is not None and stamps[index] != stamp_ns and self._is_gap(index):
                return NOT_COVERED
            return index
        return first if stamp_ns == oldest else NOT_COVERED

    def gap_around(self, stamp_ns: int) -> tuple[int, int] | None:
        """Return the stamps on both sides of the gap that a stamp lies in, or None."""
        index = bisect_right(self._stamps, stamp_ns, self._first) - 1
        if not self._first <= index < len(self._stamps) - 1 or self._stamps[index] == stamp_ns:
            return None
        return (self._stamps[index], self._stamps[index + 1]) if self._is_gap(index) else None

    def changes(self, first_ns: int, last_ns: int) -> bool:
        """Whether there is a gap between two stamps."""
        if self._gap_ns is None or last_ns - first_ns <= self._gap_ns:
            return False
        begin = max(bisect_right(self._stamps, first_ns, self._first) - 1, self._first)
        end = min(bisect_left(self._stamps, last_ns, self._first), len(self._stamps) - 1)
        return any(self._is_gap(index) for index in range(begin, end))

    def _is_gap(self, index: int) -> bool:
        """Whether the device may have been anywhere between a sample and the next one."""
        stamps = self._stamps
        length_ns = stamps[index + 1] - stamps[index]
        if self._gap_ns is None or length_ns <= self._gap_ns or index == self._first:
            return False
        return length_ns > GAP_FACTOR * (stamps[index] - stamps[index - 1])

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
        oldest = self._stamps[self._first]
        earliest, latest = (int(stamps_ns.min()), int(stamps_ns.max())) if len(stamps_ns) else (oldest, oldest)
        begin = max(bisect_left(self._stamps, earliest, self._first) - 1, self._first)
        knots_ns, poses = self._copy(begin, bisect_right(self._stamps, latest, begin) + 1)
        before, after, fraction = transforms.bracket(knots_ns, stamps_ns)
        start, end = poses[before], poses[after]
        return transforms.between(Transform(start[:, :3], start[:, 3:]), Transform(end[:, :3], end[:, 3:]), fraction)

    def turning_points(self, first_ns: int, last_ns: int, *, gaps: bool = False) -> list[int]:
        """Return the stamps in [first_ns, last_ns] of the oldest and newest sample and of those with a new parent.

        With ``gaps`` those before one, too.
        """
        begin = bisect_left(self._stamps, first_ns, self._first)
        end = bisect_right(self._stamps, last_ns, self._first)
        numbers, last = self._parent_numbers, len(self._stamps) - 1

        def turns(index: int) -> bool:
            if index in (self._first, last) or numbers[index] != numbers[index - 1]:
                return True
            return gaps and self._is_gap(index)

        return [self._stamps[index] for index in range(begin, end) if turns(index)]

    def largest_jump(self, after_ns: int, until_ns: int) -> float:
        """Return the largest unexplained step in metres of the pairs whose first stamp is in [after_ns, until_ns)."""
        begin = bisect_left(self._stamps, after_ns, self._first)
        end = min(bisect_left(self._stamps, until_ns, self._first), len(self._stamps) - 1)
        if end <= begin:
            return 0.0
        context = max(begin - 3, self._first)  # the three pairs before are what a pair is judged by
        numbers = np.array(self._parent_numbers[context : end + 1])
        stamps_ns, poses = self._copy(context, end + 1)
        steps = unexplained_steps(stamps_ns, poses[:, :3], numbers[1:] == numbers[:-1])
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

    def _copy(self, begin: int, end: int) -> tuple[IntArray, FloatArray]:
        """Return the stamps and poses of some samples.

        No views: an array cannot grow while one lives, and whoever looks at the stack of another thread (a profiler, a
        debugger) keeps the variables of a call for a while after its end.
        """
        stamps, poses = self._stamps[begin:end], self._poses[7 * begin : 7 * end]
        return np.frombuffer(stamps, dtype=np.int64), np.frombuffer(poses, dtype=np.float64).reshape(-1, 7)


Edge = StaticEdge | DynamicEdge
