# SPDX-License-Identifier: Apache-2.0
"""Where frames are relative to each other over time, answered by the rules of tf2's BufferCore."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from nucleus_bridge.errors import (
    ConnectivityError,
    ExtrapolationError,
    InvalidTransformError,
    TransformError,
)
from nucleus_bridge.geometry import scalar_pose, transforms, tree_text
from nucleus_bridge.geometry.edge import ALL_TIME, DynamicEdge, Edge, Insertion, StaticEdge
from nucleus_bridge.geometry.tree_path import Path, Way, find_path
from nucleus_bridge.model import IntArray, Trajectory, Transform


class TransformTree:
    """Transforms between named frames over time.

    A dynamic edge is interpolated between its samples (straight line and shorter arc) and never extrapolated; a static
    one holds for all time and its newest value counts. Two frames are joined at their nearest common ancestor. A
    leading slash of a frame id is stripped. Not safe to change from one thread while another one uses it.

    Args:
        cache_ns: How much older than its newest sample the history of an edge may be; None keeps everything.
        reset_ns: A sample older than its edge's newest by more than this restarts the edge (a looping bag, a clock that
            was set back); None never restarts.
        gap_ns: Between two samples of an edge further apart than this, and than three times the interval before them,
            nothing is interpolated; None interpolates always, as tf2 does.
        static_history: Whether a static transform holds from its stamp on, the first one for all before as well;
            else the newest holds for all time, as in tf2.

    Examples:
        >>> tree = TransformTree()
        >>> added = tree.add("base_link", "lidar_top", 0, (0.0, 0.0, 2.0), (0.0, 0.0, 0.0, 1.0), static=True)
        >>> for second in (1, 2):
        ...     added = tree.add("map", "base_link", second * 10**9, (10.0 * second, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
        >>> tree.lookup("map", "lidar_top", 1_250_000_000).translation
        array([12.5,  0. ,  2. ])
        >>> import numpy as np
        >>> tree.lookup_many("map", "lidar_top", np.array([1_000_000_000, 1_500_000_000])).translations
        array([[10.,  0.,  2.],
               [15.,  0.,  2.]])
        >>> tree.lookup("map", "lidar_top", 2_000_000_001)
        Traceback (most recent call last):
        ...
        nucleus_bridge.errors.ExtrapolationError: ...
    """

    def __init__(
        self,
        cache_ns: int | None = None,
        reset_ns: int | None = None,
        gap_ns: int | None = None,
        *,
        static_history: bool = False,
    ) -> None:
        self._cache_ns = cache_ns
        self._reset_ns = reset_ns
        self._gap_ns = gap_ns
        self._static_history = static_history
        self._edges: dict[str, Edge] = {}  # by child frame
        self._frames: set[str] = set()
        self._ways: dict[tuple[str, str], Way] = {}  # of earlier lookups, while no edge begins or gets another parent

    def add(
        self,
        parent: str,
        child: str,
        stamp_ns: int,
        translation: Iterable[float],
        rotation_xyzw: Iterable[float],
        static: bool = False,  # noqa: FBT001, FBT002 - a fixed part of the public interface
    ) -> Insertion:
        """Take in one transform: the pose of ``child`` in ``parent``.

        As in tf2, a child that changes between static and dynamic starts anew, and quaternions are scaled to unit
        length (tf2's check for unit length comes after that and refuses only zero and NaN).

        Args:
            parent: Frame the pose is expressed in.
            child: Frame the pose is of.
            stamp_ns: When it held; without meaning for static transforms.
            translation: Three numbers, metres.
            rotation_xyzw: Quaternion.
            static: Whether it holds for all time.

        Returns:
            Whether it was accepted, ignored as older than the cache, or restarted the history of its edge.

        Raises:
            InvalidTransformError: Empty or equal frame ids, values that are not finite, a zero quaternion.
        """
        parent, child = _strip_slash(parent), _strip_slash(child)
        if not parent or not child or parent == child:
            raise InvalidTransformError(
                f"a transform needs two different frame ids, got parent {parent!r} and child {child!r}"
            )
        stamp_ns = int(stamp_ns)
        if not ALL_TIME[0] <= stamp_ns <= ALL_TIME[1]:
            raise InvalidTransformError(f"stamp {stamp_ns} of {parent!r} -> {child!r} does not fit 64 bits")
        try:
            pose = scalar_pose.checked_pose(translation, rotation_xyzw)
        except InvalidTransformError as error:
            raise InvalidTransformError(f"transform {parent!r} -> {child!r} at {stamp_ns} ns: {error}") from error
        self._frames.update((parent, child))
        if static:
            fixed = self._edges.get(child)
            if self._static_history and isinstance(fixed, StaticEdge):
                fixed.insert(stamp_ns, parent, pose)
            else:
                self._edges[child] = StaticEdge(parent, pose, stamp_ns)
            self._ways.clear()
            return Insertion.ACCEPTED
        edge = self._edges.get(child)
        if not isinstance(edge, DynamicEdge):
            edge = self._edges[child] = DynamicEdge(self._cache_ns, self._reset_ns, self._gap_ns)
        if edge.parent != parent:
            self._ways.clear()
        return edge.insert(stamp_ns, parent, pose)

    def lookup(self, target: str, source: str, stamp_ns: int) -> Transform:
        """Return ``target_from_source``, the pose of ``source`` expressed in ``target``.

        A frame in itself is the identity, even an unknown one, as in tf2.

        Args:
            target: Frame to express in.
            source: Frame whose pose is asked for.
            stamp_ns: When; 0 for the latest time that all edges between have in common.

        Returns:
            ``translation`` of shape (3,) in metres, ``rotation_xyzw`` of shape (4,), both float64.

        Raises:
            UnknownFrameError: A frame id was never added.
            ConnectivityError: The frames are not in one tree, or the tree has a loop.
            ExtrapolationError: The stamp is outside the history of an edge between them.
        """
        target, source, stamp_ns = _strip_slash(target), _strip_slash(source), int(stamp_ns)
        if target == source:
            pose = scalar_pose.IDENTITY
        else:
            if stamp_ns == 0:
                stamp_ns = self._latest_common_ns(target, source)
            way = self._ways.get((target, source))
            known = way.pose_at(stamp_ns) if way else None
            pose = self._pose_by_path(target, source, stamp_ns) if known is None else known
        return Transform(np.array(pose[:3]), np.array(pose[3:]))

    def lookup_many(self, target: str, source: str, stamps_ns: IntArray) -> Trajectory:
        """Return ``target_from_source`` at many stamps: the same bits as n calls of ``lookup``.

        Args:
            target: Frame to express in.
            source: Frame whose poses are asked for.
            stamps_ns: Shape (n,), int64, in any order.

        Returns:
            ``translations`` of shape (n, 3) in metres, ``rotations_xyzw`` of shape (n, 4).

        Raises:
            TransformError: As ``lookup`` for the first stamp that fails.
        """
        target, source = _strip_slash(target), _strip_slash(source)
        stamps_ns = np.asarray(stamps_ns, dtype=np.int64)
        if target == source or not len(stamps_ns):
            return _trajectory(stamps_ns, Transform(np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0])))
        if not stamps_ns.all():
            return self._lookup_each(target, source, stamps_ns)
        try:
            path = self._path(target, source, int(stamps_ns.min()))
            first_ns, last_ns = int(stamps_ns.min()), int(stamps_ns.max())
            constant = path.crosses_the_same_as(self._path(target, source, last_ns)) and not path.changes(
                first_ns, last_ns
            )
        except TransformError:
            constant = False
        if not constant:
            return self._lookup_each(target, source, stamps_ns)
        pose = path.joined(lambda crossing: crossing.edge.poses_at(stamps_ns), transforms.compose, transforms.inverse)
        return _trajectory(stamps_ns, pose)

    def availability(self, target: str, source: str, first_ns: int, last_ns: int) -> TransformError | None:
        """Return None when every lookup in [first_ns, last_ns] would succeed, else the error one of them raises."""
        target, source = _strip_slash(target), _strip_slash(source)
        if target == source:
            return None
        way = self._ways.get((target, source)) if first_ns and last_ns else None
        if way is not None and way.covers(first_ns, last_ns):
            return None
        try:
            first, last = (self._path_at(target, source, stamp_ns) for stamp_ns in (first_ns, last_ns))
            if not first.crosses_the_same_as(last) or first.changes(first_ns, last_ns):
                for stamp_ns in self._turning_points(first_ns, last_ns):
                    self._path_at(target, source, stamp_ns)
        except TransformError as error:
            return error.with_traceback(None)
        return None

    def needed_ns(self, target: str, source: str, stamp_ns: int) -> int:
        """Return the stamp of the newest transform that ``lookup`` at a stamp is made from.

        Raises:
            TransformError: As ``lookup``.
        """
        target, source = _strip_slash(target), _strip_slash(source)
        if target == source:
            return ALL_TIME[0]
        way = self._ways.get((target, source)) if stamp_ns else None
        if way is not None and way.covers(stamp_ns, stamp_ns):
            return way.needed_ns(stamp_ns)
        path = self._path_at(target, source, stamp_ns)
        return max(crossing.edge.needed_ns(crossing.sample, stamp_ns) for crossing in (*path.up, *path.down))

    def chain(self, target: str, source: str) -> list[str]:
        """Return the child frames of the edges crossed from source to target, as the newest transforms have it.

        Raises:
            TransformError: As ``lookup``.
        """
        target, source = _strip_slash(target), _strip_slash(source)
        if target == source:
            return []
        path = self._path(target, source, 0)
        return [crossing.child for crossing in (*path.up, *reversed(path.down))]

    def largest_jump(self, target: str, source: str, after_ns: int, until_ns: int) -> float:
        """Return the largest step in metres that no motion explains, on the dynamic edges between two frames.

        Looks at the pairs of consecutive samples whose first stamp is in [after_ns, until_ns); see ``jumps``.

        Raises:
            TransformError: As ``lookup``.
        """
        edges = (self._edges[child] for child in self.chain(target, source))
        return max((e.largest_jump(after_ns, until_ns) for e in edges if isinstance(e, DynamicEdge)), default=0.0)

    def frames(self) -> list[str]:
        """Return the ids of all frames, sorted."""
        return sorted(self._frames)

    def parent_of(self, frame: str) -> str | None:
        """Return the frame that the newest transform of ``frame`` is expressed in, None for a root.

        Raises:
            UnknownFrameError: The frame id was never added.
        """
        edge = self._edge_of(frame)
        return edge.parent if edge else None

    def is_static(self, frame: str) -> bool:
        """Say whether the pose of ``frame`` in its parent holds for all time; a root's does not.

        Raises:
            UnknownFrameError: The frame id was never added.
        """
        return isinstance(self._edge_of(frame), StaticEdge)

    def span(self, child: str) -> tuple[int, int]:
        """Return the oldest and newest stamp of a frame's pose in its parent; all of int64 for a static one.

        Raises:
            UnknownFrameError: The frame id was never added.
            ConnectivityError: The frame is a root.
            ExtrapolationError: The frame's history was restarted and nothing came since.
        """
        edge = self._edge_of(child)
        if edge is None:
            raise ConnectivityError(f"frame {child!r} is a root: nobody published its pose in a parent")
        if isinstance(edge, StaticEdge):
            return ALL_TIME
        if edge.span is None:
            raise ExtrapolationError(
                f"frame {child!r} has no poses since its history was restarted", direction="future"
            )
        return edge.span

    def restart(self, child: str) -> None:
        """Forget the dynamic history of one frame; a static pose stays.

        Raises:
            UnknownFrameError: The frame id was never added.
        """
        edge = self._edge_of(child)
        if isinstance(edge, DynamicEdge):
            edge.clear()

    def has_leapt(self, child: str) -> bool:
        """Return whether a frame's clock went so far ahead that its next sample cuts off all before the step."""
        edge = self._edges.get(_strip_slash(child))
        return isinstance(edge, DynamicEdge) and edge.leapt

    def would_restart(self, child: str, stamp_ns: int) -> bool:
        """Say whether a sample at this stamp would restart the history of its edge, as after a step of the clock."""
        edge = self._edges.get(_strip_slash(child))
        if self._reset_ns is None or not isinstance(edge, DynamicEdge) or edge.span is None:
            return False
        return stamp_ns < edge.span[1] - self._reset_ns

    def clear_dynamic(self, newer_than_ns: int | None = None) -> None:
        """Forget the history of all dynamic edges, or of those with a sample newer than a stamp; static ones stay."""
        for edge in self._edges.values():
            if not isinstance(edge, DynamicEdge) or edge.span is None:
                continue
            if newer_than_ns is None or edge.span[1] > newer_than_ns:
                edge.clear()

    def take_after(self, child: str, stamp_ns: int) -> list[tuple[int, str, Transform]]:
        """Take the samples of a moving frame that are later than a stamp: stamp, parent, parent_from_child of each."""
        edge = self._edges.get(_strip_slash(child))
        if not isinstance(edge, DynamicEdge):
            return []
        taken = edge.take_after(stamp_ns)
        return [(at, parent, Transform(np.array(pose[:3]), np.array(pose[3:]))) for at, parent, pose in taken]

    def describe(self) -> str:
        """Return the tree as text, a frame a line, children indented under their parent."""
        return tree_text.describe(self._frames, self._edges)

    def _edge_of(self, frame: str) -> Edge | None:
        frame = _strip_slash(frame)
        self._check_known(frame)
        return self._edges.get(frame)

    def _check_known(self, frame: str) -> None:
        if frame not in self._frames:
            raise tree_text.unknown_frame(frame, self._frames)

    def _pose_by_path(self, target: str, source: str, stamp_ns: int) -> scalar_pose.Pose:
        path = self._path(target, source, stamp_ns)
        way = Way.of(path)
        if way is not None:
            self._ways[target, source] = way
        return path.joined(
            lambda crossing: crossing.edge.pose_at(crossing.sample, stamp_ns), scalar_pose.compose, scalar_pose.inverse
        )

    def _lookup_each(self, target: str, source: str, stamps_ns: IntArray) -> Trajectory:
        poses = [self.lookup(target, source, stamp_ns) for stamp_ns in stamps_ns.tolist()]
        return Trajectory(
            stamps_ns, np.array([p.translation for p in poses]), np.array([p.rotation_xyzw for p in poses])
        )

    def _latest_common_ns(self, target: str, source: str) -> int:
        """Return the newest stamp that no dynamic edge of the newest path is behind; 0 when all of it is static."""
        path = self._path(target, source, 0)
        spans = [edge.span for _, edge, _ in path.up + path.down if isinstance(edge, DynamicEdge)]
        return min((span[1] for span in spans if span and span[1] != 0), default=0)

    def _turning_points(self, first_ns: int, last_ns: int) -> list[int]:
        """Return all stamps in [first_ns, last_ns] from which on an edge has another parent, begins or is over."""
        found = {
            stamp_ns
            for edge in self._edges.values()
            if isinstance(edge, DynamicEdge)
            for turn_ns in edge.turning_points(first_ns, last_ns, gaps=edge.changes(first_ns, last_ns))
            for stamp_ns in (turn_ns, turn_ns + 1)
        }
        return sorted(found - {last_ns + 1})

    def _path_at(self, target: str, source: str, stamp_ns: int) -> Path:
        return self._path(target, source, stamp_ns or self._latest_common_ns(target, source))

    def _path(self, target: str, source: str, stamp_ns: int) -> Path:
        for frame in (target, source):
            self._check_known(frame)
        return find_path(self._edges, target, source, stamp_ns)


def _strip_slash(frame: str) -> str:
    return frame.removeprefix("/")


def _trajectory(stamps_ns: IntArray, pose: Transform) -> Trajectory:
    translations = np.broadcast_to(pose.translation, (len(stamps_ns), 3)).copy()
    return Trajectory(stamps_ns, translations, np.broadcast_to(pose.rotation_xyzw, (len(stamps_ns), 4)).copy())
