# SPDX-License-Identifier: Apache-2.0
"""Where sources of poses that are only compared say the device was: a thinned track a source and scene.

A track is made of the source's own samples, stamped from the first to the last frame of the scene, which is a pure
function of their content: frames wait for them as for all else that they need.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from nucleus_bridge.config import Config
from nucleus_bridge.errors import DecodeError, InvalidTransformError, TransformError
from nucleus_bridge.geometry import TransformTree, scalar_pose
from nucleus_bridge.geometry.scalar_pose import Pose
from nucleus_bridge.model import Message, Scene
from nucleus_bridge.poses import Edge, PoseSource
from nucleus_bridge.poses.feed import AHEAD_NS

MOST_SAMPLES = 500
"""Of a source and scene."""
_MOST_WAITING = 50_000
_CLOCK_STEP_NS = 1_000_000_000
DECIMALS = 3
"""Of metres and of milliseconds."""


class ComparedSource(PoseSource, Protocol):
    """A source of poses that is only compared.

    Attributes:
        is_estimated: Whether its poses are relative to where they begin, whatever frame they are said to be in.
    """

    is_estimated: bool


@dataclass
class _Thinned:
    """Places in the order of time, so many that they never are more than ``MOST_SAMPLES``."""

    rows: list[tuple[int, float, float, float]] = field(default_factory=list)
    every: int = 1
    count: int = 0

    def add(self, stamp_ns: int, pose: Pose) -> None:
        if self.count % self.every == 0:
            if len(self.rows) == MOST_SAMPLES:
                del self.rows[1::2]
                self.every *= 2
            if self.count % self.every == 0:
                self.rows.append((stamp_ns, *pose[:3]))
        self.count += 1


class _Track:
    """The poses of one source: those that no frame has passed yet, and what is kept of the open scene."""

    def __init__(self, source: ComparedSource) -> None:
        self.source = source
        self.newest_ns: int | None = None
        self._stamps: list[int] = []
        self._edges: list[Edge] = []
        self._set_back: list[Edge] = []
        self._passed_ns: int | None = None
        self.begin()

    def begin(self) -> None:
        """Forget what is kept of the scene before."""
        self.kept = _Thinned()
        self.frames = "", ""
        self.problem = ""
        self.is_laid_on = False
        self._world_from_source: Pose | None = None

    def hear(self, edge: Edge) -> None:
        """Take a pose; one that is stamped far back waits until it is clear whether the clock was set back."""
        newest_ns = edge.stamp_ns if self.newest_ns is None else self.newest_ns
        if edge.stamp_ns < newest_ns - _CLOCK_STEP_NS:
            self._set_back = [*self._set_back[-_MOST_WAITING:], edge]
            return
        if edge.stamp_ns >= newest_ns:
            self._set_back.clear()
        self.newest_ns = max(newest_ns, edge.stamp_ns)
        if self._passed_ns is not None and edge.stamp_ns <= self._passed_ns:
            return  # later than what frames wait for
        place = bisect_right(self._stamps, edge.stamp_ns)
        self._stamps.insert(place, edge.stamp_ns)
        self._edges.insert(place, edge)
        if len(self._stamps) > 2 * _MOST_WAITING:
            del self._stamps[:_MOST_WAITING], self._edges[:_MOST_WAITING]

    def restart(self) -> None:
        """Start over after a step of the clock, with the poses of the time after it."""
        later, self._set_back = self._set_back, []
        self._stamps, self._edges = [], []
        self.newest_ns = self._passed_ns = None
        for edge in later:
            self.hear(edge)

    def take_until(self, stamp_ns: int) -> list[Edge]:
        """Take the poses up to a stamp."""
        count = bisect_right(self._stamps, stamp_ns)
        taken = self._edges[:count]
        del self._stamps[:count], self._edges[:count]
        self._passed_ns = stamp_ns
        return taken

    def add(self, edge: Edge, tree: TransformTree, world: str, device: str) -> None:
        """Keep where the device is by a pose, where the tree joins both ends of it to what is asked for."""
        try:
            pose = scalar_pose.checked_pose(edge.translation, edge.rotation_xyzw)
        except InvalidTransformError:
            return
        if not self.kept.count:
            self.frames = edge.parent, edge.child
        try:
            pose = scalar_pose.compose(pose, _pose(tree, edge.child, device, edge.stamp_ns))
        except TransformError:
            self.problem = self.problem or f"nothing joins {edge.child!r} to {device!r}"
            return
        with contextlib.suppress(TransformError):
            if not self.kept.count:
                self._begin_in(edge, pose, tree, world, device)
            moved = self._world_from_source or _pose(tree, world, edge.parent, edge.stamp_ns)
            self.kept.add(edge.stamp_ns, scalar_pose.compose(moved, pose))

    def _begin_in(self, edge: Edge, pose: Pose, tree: TransformTree, world: str, device: str) -> None:
        """Find out how the source's frame lies in the world: where nothing tells, it begins where the device is."""
        self.is_laid_on, self._world_from_source = self.source.is_estimated, None
        if not self.is_laid_on:
            try:
                _pose(tree, world, edge.parent, edge.stamp_ns)
            except TransformError:
                self.is_laid_on = True
        if self.is_laid_on:
            there = _pose(tree, world, device, edge.stamp_ns)
            self._world_from_source = scalar_pose.compose(there, scalar_pose.inverse(pose))

    def record(self, first_ns: int, offset: Sequence[float]) -> dict[str, Any]:
        """Return what the manifest says of it: ``samples`` are ms since the first frame, then x, y and z."""
        said: dict[str, Any] = {"source": self.source.name}
        if topic := next(iter(self.source.topics), ""):
            said["topic"] = topic
        said["parent"], said["child"] = self.frames
        if self.source.is_estimated:
            said["estimated"] = True
        if self.problem and not self.kept.rows:
            said["problem"] = self.problem
        said["laid_on"] = self.is_laid_on
        said["samples"] = [
            " ".join(
                _text(value)
                for value in ((stamp_ns - first_ns) / 1e6, *(a - b for a, b in zip(xyz, offset, strict=True)))
            )
            for stamp_ns, *xyz in self.kept.rows
        ]
        return said


class ComparedPoses:
    """The tracks of all sources that are only compared.

    Args:
        config: The configuration.
        sources: The sources; none of them feeds the tree.
        tree: The tree, whose poses the scenes are made with.
        tellers: The names of the sources that feed a child of the tree.
    """

    def __init__(
        self,
        config: Config,
        sources: Iterable[ComparedSource],
        tree: TransformTree,
        tellers: Mapping[str, Iterable[str]],
    ) -> None:
        self._world, self._device = config.world_frame, config.device_frame
        self._tree = tree
        self._tellers = tellers
        self._tracks = {source.name: _Track(source) for source in sources}
        self._files = [track for track in self._tracks.values() if not track.source.topics]
        self._topics = [track for track in self._tracks.values() if track.source.topics]
        self._scene: Scene | None = None
        self._from_ns = 0

    def hear(self, name: str, message: Message) -> None:
        """Take a message of a source; one that cannot be used is passed over, as nothing is made from it."""
        track = self._tracks[name]
        with contextlib.suppress(DecodeError):
            for edge in track.source.edges(message):
                track.hear(edge)

    def advance(self, message_time_ns: int) -> None:
        """Read files on so far that frames up to message time find their poses."""
        for track in self._files:
            for edge in track.source.until(message_time_ns + AHEAD_NS):
                track.hear(edge)

    def unsettled(self, stamp_ns: int) -> str:
        """Name a topic whose messages to come may be of before a stamp; empty when there is none."""
        for track in self._topics:
            if track.newest_ns is None or track.newest_ns < stamp_ns:
                return f"a message on {next(iter(track.source.topics))} for {track.source.name}"
        return ""

    def begin(self, scene: Scene, stamp_ns: int) -> None:
        """Start a scene at the moment of its first frame."""
        self._scene = scene
        for track in self._tracks.values():
            track.take_until(stamp_ns - 1)
            track.begin()

    def pass_frame(self, stamp_ns: int) -> None:
        """Take note that a frame joins the open scene; its poses are known."""
        for track in self._tracks.values():
            for edge in track.take_until(stamp_ns):
                track.add(edge, self._tree, self._world, self._device)

    def end(self) -> dict[str, Any]:
        """End the open scene; return what the manifest says of its poses, nothing where no source is compared."""
        scene, self._scene = self._scene, None
        if scene is None or not self._tracks:
            return {}
        records = [track.record(scene.first_stamp_ns, scene.world_offset) for track in self._tracks.values()]
        return {"used": self._used(), "compared": records}

    def _used(self) -> list[str]:
        """Return the sources that say how the device moves, in the order from the world down."""
        try:
            chain = [child for child in self._tree.chain(self._world, self._device) if not self._tree.is_static(child)]
        except TransformError:
            return []
        return list(dict.fromkeys(name for child in reversed(chain) for name in sorted(self._tellers.get(child, ()))))

    def restart(self) -> None:
        """Start over after a step of the clock."""
        for track in self._tracks.values():
            track.source.reset("clock_step")
            track.restart()


def _pose(tree: TransformTree, target: str, source: str, stamp_ns: int) -> Pose:
    found = tree.lookup(target, source, stamp_ns)
    x, y, z = found.translation.tolist()
    qx, qy, qz, qw = found.rotation_xyzw.tolist()
    return x, y, z, qx, qy, qz, qw


def _text(value: float) -> str:
    return f"{round(value, DECIMALS) + 0.0:.{DECIMALS}f}"
