# SPDX-License-Identifier: Apache-2.0
"""Which edges lie between two frames at a stamp, or why there is no way, as tf2's BufferCore walks its tree."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from typing import NamedTuple, TypeVar

from nucleus_bridge.geometry import tree_text
from nucleus_bridge.geometry.edge import NOT_COVERED, DynamicEdge, Edge
from nucleus_bridge.geometry.scalar_pose import IDENTITY, Pose, compose, inverse

T = TypeVar("T")


class Crossing(NamedTuple):
    """An edge on the way, by its child frame, with the index of its sample that holds at the stamp."""

    child: str
    edge: Edge
    sample: int


class Path(NamedTuple):
    """The edges from source and from target up to the frame where both meet."""

    up: list[Crossing]
    down: list[Crossing]

    def crosses_the_same_as(self, later: Path) -> bool:
        """Say whether the way is the same at every stamp from this path's to the later one's."""
        ways = [([c.child for c in path.up], [c.child for c in path.down]) for path in (self, later)]
        return ways[0] == ways[1] and not any(crossing.edge.reparented for crossing in self.up + self.down)

    def changes(self, first_ns: int, last_ns: int) -> bool:
        """Say whether an edge has a gap, or another fixed pose, within [first_ns, last_ns]."""
        return any(crossing.edge.changes(first_ns, last_ns) for crossing in (*self.up, *self.down))

    def joined(self, pose_of: Callable[[Crossing], T], compose: Callable[[T, T], T], inverse: Callable[[T], T]) -> T:
        """Return target_from_source from the poses of the edges; at least one edge is crossed."""
        if not self.down:
            return _accumulated([pose_of(crossing) for crossing in self.up], compose)
        target_from_meeting = inverse(_accumulated([pose_of(crossing) for crossing in self.down], compose))
        if not self.up:
            return target_from_meeting
        return compose(target_from_meeting, _accumulated([pose_of(crossing) for crossing in self.up], compose))


class Way(NamedTuple):
    """The edges of a path that is the same at every stamp, so that it need not be found again."""

    up: tuple[Edge, ...]
    down: tuple[Edge, ...]

    @classmethod
    def of(cls, path: Path) -> Way | None:
        """Return the way of a path; None where an edge has had several parents."""
        up, down = (tuple(crossing.edge for crossing in crossings) for crossings in path)
        return None if any(edge.reparented for edge in up + down) else cls(up, down)

    def pose_at(self, stamp_ns: int) -> Pose | None:
        """Return target_from_source, the same bits as ``Path.joined``; None where an edge does not cover the stamp."""
        meeting_from_source = _pose_along(self.up, stamp_ns)
        if not self.down or meeting_from_source is None:
            return meeting_from_source
        meeting_from_target = _pose_along(self.down, stamp_ns)
        if meeting_from_target is None:
            return None
        target_from_meeting = inverse(meeting_from_target)
        return compose(target_from_meeting, meeting_from_source) if self.up else target_from_meeting

    def covers(self, first_ns: int, last_ns: int) -> bool:
        """Say whether every edge has its poses throughout [first_ns, last_ns], without a gap or another fixed one."""
        for edge in (*self.up, *self.down):
            if edge.find(last_ns) == NOT_COVERED or edge.find(first_ns) == NOT_COVERED:
                return False
            if edge.changes(first_ns, last_ns):
                return False
        return True

    def needed_ns(self, stamp_ns: int) -> int:
        """Return the stamp of the newest sample that the pose at a stamp, which it covers, is made from."""
        return max(edge.needed_ns(edge.find(stamp_ns), stamp_ns) for edge in (*self.up, *self.down))


def _pose_along(edges: tuple[Edge, ...], stamp_ns: int) -> Pose | None:
    """Return top_from_bottom, the identity without edges; None where one does not cover the stamp."""
    pose: Pose | None = None
    for edge in edges:
        sample = edge.find(stamp_ns)
        if sample == NOT_COVERED:
            return None
        step = edge.pose_at(sample, stamp_ns)
        pose = step if pose is None else compose(step, pose)
    return IDENTITY if pose is None else pose


def find_path(edges: Mapping[str, Edge], target: str, source: str, stamp_ns: int) -> Path:
    """Return the way between two different frames; stamp 0 takes the newest sample of each edge.

    As in tf2 an edge that does not cover the stamp is not an obstacle above the frame where both ways meet, and of two
    obstacles the one on target's side is reported. Other than in tf2 a loop is always an error.

    Raises:
        ConnectivityError: The frames are not in one tree, or the tree has a loop.
        ExtrapolationError: The stamp is outside the history of an edge between them.
    """
    up, top = _climb(edges, source, stamp_ns, ())
    heights = {crossing.child: height for height, crossing in enumerate(up)}
    heights[top] = len(up)
    down, meeting = _climb(edges, target, stamp_ns, heights)
    if meeting in heights:
        return Path(up[: heights[meeting]], down)
    for obstacle in (meeting, top):
        edge = edges.get(obstacle)
        if isinstance(edge, DynamicEdge):
            raise tree_text.not_covered(target, source, stamp_ns, obstacle, edge)
    raise tree_text.not_connected(target, source, stamp_ns, (meeting, top), edges)


def _climb(edges: Mapping[str, Edge], frame: str, stamp_ns: int, until: Container[str]) -> tuple[list[Crossing], str]:
    """Cross edges towards the root until a wanted frame, the root, or an edge that does not cover the stamp."""
    crossings: list[Crossing] = []
    while frame not in until:
        edge = edges.get(frame)
        if edge is None:
            break
        sample = edge.find(stamp_ns)
        if sample == NOT_COVERED:
            break
        crossings.append(Crossing(frame, edge, sample))
        if len(crossings) > len(edges):
            raise tree_text.loop([crossing.child for crossing in crossings])
        frame = edge.parent_at(sample)
    return crossings, frame


def _accumulated(steps: Sequence[T], compose: Callable[[T, T], T]) -> T:
    pose = steps[0]
    for step in steps[1:]:
        pose = compose(step, pose)
    return pose
