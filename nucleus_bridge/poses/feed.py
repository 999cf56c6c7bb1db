# SPDX-License-Identifier: Apache-2.0
"""Feeds the transform tree from all pose sources: which of them wins for a frame, and how far ahead files are read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from nucleus_bridge import warnings
from nucleus_bridge.causes import Cause
from nucleus_bridge.decode.interface import Reset
from nucleus_bridge.errors import InvalidTransformError, TransformError
from nucleus_bridge.geometry import TransformTree, scalar_pose
from nucleus_bridge.geometry.scalar_pose import Pose
from nucleus_bridge.poses.mounts import Mount
from nucleus_bridge.poses.rivals import Rivals
from nucleus_bridge.poses.source import Edge, OfBodies, PoseSource, Rank
from nucleus_bridge.warnings import Finding

AHEAD_NS = 10_000_000_000
"""Files are read this far ahead of message time: past every stamp at which a frame may ask for a pose."""
STEP_NS = 1_000_000_000
"""Message time that passes before files are read on."""
BEHIND_NS = 60_000_000_000
"""No frame asks for a pose this far behind message time: what a file holds before it is passed over."""
_KEPT = 20_000
"""Poses of a body that are kept for the moment at which its mount becomes known: 100 s at 200 Hz."""
_LEVELS: Final[dict[Rank, int]] = {"description": 0, "transform": 1, "mount": 2}

Lost = Callable[[str, Cause, int, str], None]
"""Takes what named the edge (a topic or a source), the cause, the stamp and the text that explains it."""


class PoseFeed:
    """Puts edges into the tree.

    A child has one rank at a time: the highest that any of its edges has had. Edges of a lower rank are ignored. Those
    of a robot description are held back until ``settle`` says that no transform can be waited for any longer.

    Args:
        sources: Every source of poses.
        tree: Takes the edges.
        lost: Is called with edges that cannot be used.
        frames: ``world_frame`` and ``device_frame``.

    Attributes:
        tellers: The names of the sources whose edges of a child have counted.
    """

    def __init__(
        self, sources: Iterable[PoseSource], tree: TransformTree, lost: Lost, frames: tuple[str, str] = ("", "")
    ) -> None:
        self._sources = tuple(sources)
        self._world, self._device = frames
        self._bodies = Bodies(self._device)
        self._of_bodies = frozenset(source.name for source in self._sources if isinstance(source, OfBodies))
        self._mounts = {source.edge.child: source for source in self._sources if isinstance(source, Mount)}
        self._overruled: dict[str, Finding] = {}
        self._rivals = Rivals() if any(isinstance(source, OfBodies) for source in self._sources) else None
        self._tree = tree
        self._lost = lost
        self._levels: dict[str, int] = {}
        self._described: dict[str, tuple[Edge, str]] = {}
        self.tellers: dict[str, set[str]] = {}
        self._due_ns: int | None = None
        for source in self._sources:
            for edge in source.initial():
                self._take(source, edge)

    def placed(self, source: PoseSource, edge: Edge, named_by: str) -> Edge:
        """Return an edge as it goes into the tree: a pose of a mounted body becomes one of what carries it."""
        return self._bodies.placed(edge, named_by) if source.name in self._of_bodies and not edge.static else edge

    def admits(self, rank: Rank, edge: Edge, named_by: str) -> bool:
        """Say whether an edge counts now; one that does not must not be added."""
        level = _LEVELS[rank]
        known = self._levels.get(edge.child, -1)
        if level == known and level:
            return True
        if rank == "description":
            if known < 0 or self._bodies.waits_for(edge.child):
                self._levels.pop(edge.child, None)
                self._described[edge.child] = edge, named_by
                self._add_again(self._bodies.learn(edge, is_described=True))
            return False
        if level < known and edge.child in self._mounts and edge.child not in self._overruled:
            self._note_overruled(edge, named_by)
        if level > known:
            self._levels[edge.child] = level
            self._described.pop(edge.child, None)
        return level >= known

    def note_teller(self, source: PoseSource, edge: Edge) -> None:
        """Take note of which source an edge that counts is from."""
        self.tellers.setdefault(edge.child, set()).add(source.name)

    def add(self, edge: Edge, named_by: str) -> None:
        """Put an edge that counts into the tree."""
        try:
            self._tree.add(*edge)
        except TransformError as error:
            self._lost(named_by, "bad_transform", edge.stamp_ns, f"{named_by}: {error}")
            return
        if edge.static:
            self._add_again(self._bodies.learn(edge))
        elif self._rivals is not None:
            self._rivals.hear(edge, named_by)

    def findings(self) -> Iterator[Finding]:
        """Tell what is odd about the sources: their files, mounts that replace transforms, bodies without a mount."""
        for source in self._sources:
            yield from getattr(source, "findings", ())
        yield from self._overruled.values()
        if self._rivals is not None:
            yield from self._rivals.findings
        if not self._may_move():
            yield warnings.device_never_moves(self._world, self._device)
        for body in self._bodies.waiting:
            try:
                self._tree.chain(self._device, body)
            except TransformError:
                yield warnings.unmounted_body(body, self._device)

    def advance(self, message_time_ns: int) -> None:
        """Read files on so that frames up to message time find their poses."""
        if self._due_ns is not None and message_time_ns < self._due_ns:
            return
        self._due_ns = message_time_ns + STEP_NS
        oldest_ns = message_time_ns - BEHIND_NS
        for source in self._sources:
            passed_over: Edge | None = None
            for edge in source.until(message_time_ns + AHEAD_NS):
                if edge.stamp_ns < oldest_ns:
                    passed_over = edge
                    continue
                if passed_over is not None:
                    self._take(source, passed_over)
                    passed_over = None
                self._take(source, edge)

    @property
    def is_unsettled(self) -> bool:
        """Whether a transform that may still come would replace a part of the robot description."""
        return bool(self._described)

    def settle(self) -> None:
        """Let the robot description fill what no other source has given a parent."""
        described, self._described = self._described, {}
        for edge, named_by in described.values():
            self._levels[edge.child] = _LEVELS["description"]
            self.add(edge, named_by)

    def reset(self, why: Reset) -> None:
        """Start over after a step of the clock, a gap or a seek; what holds for all time stays."""
        self._due_ns = None
        self._bodies.reset()
        if self._rivals is not None:
            self._rivals.reset()
        for source in self._sources:
            source.reset(why)

    def _may_move(self) -> bool:
        """Say whether something tells how the device moves; where nothing connects it, that is told by the frames."""
        try:
            chain = self._tree.chain(self._world, self._device)
        except TransformError:
            return True
        return any(not self._tree.is_static(child) for child in chain)

    def _note_overruled(self, edge: Edge, named_by: str) -> None:
        mount = self._mounts[edge.child]
        try:
            difference = mount.overrules(edge)
        except TransformError:
            return  # what is not a transform cannot differ
        if difference:
            self._overruled[edge.child] = warnings.mount_overrides(edge.child, difference, named_by)

    def _add_again(self, poses: Iterable[tuple[Edge, str]]) -> None:
        for edge, named_by in poses:
            if self.admits("transform", edge, named_by):
                self.add(edge, named_by)

    def _take(self, source: PoseSource, edge: Edge) -> None:
        edge = self.placed(source, edge, source.name)
        if self.admits(source.rank, edge, source.name):
            self.note_teller(source, edge)
            self.add(edge, source.name)


class Bodies:
    """Turns poses of a lidar, an IMU or an antenna into poses of the frame on which it is mounted.

    A LIO tells where its IMU is, an INS where its antenna is. As an edge of their own such poses would take the body
    away from its mount; composed with the mount they say the same of what carries it.

    Args:
        device: The frame whose poses need no mount.
    """

    def __init__(self, device: str) -> None:
        self._device = device.lstrip("/")
        self._mounts: dict[str, tuple[str, Pose]] = {}
        self._described: set[str] = set()
        self._kept: dict[str, deque[tuple[Edge, str]]] = {}

    @property
    def waiting(self) -> list[str]:
        """Bodies other than the device whose poses came and whose mounts did not."""
        return sorted(self._kept)

    def placed(self, edge: Edge, named_by: str) -> Edge:
        """Return a pose as one of the frame at the lower end of the fixed mounts above its body."""
        try:
            pose = scalar_pose.checked_pose(edge.translation, edge.rotation_xyzw)
        except InvalidTransformError:
            return edge  # the tree says what is wrong with it
        carrier, passed = edge.child, {edge.child}
        while (mount := self._mounts.get(carrier)) is not None and mount[0] not in (edge.parent, *passed):
            pose = scalar_pose.compose(pose, scalar_pose.inverse(mount[1]))
            carrier = mount[0]
            passed.add(carrier)
        if carrier != edge.child:
            edge = edge._replace(child=carrier, translation=pose[:3], rotation_xyzw=pose[3:])
        if carrier != self._device:
            self._kept.setdefault(carrier, deque(maxlen=_KEPT)).append((edge, named_by))
        return edge

    def learn(self, edge: Edge, *, is_described: bool = False) -> list[tuple[Edge, str]]:
        """Take a mount; return the poses of its body so far, moved to what carries it, and what named them.

        One from a robot description counts until a transform or a mount of the same child comes.
        """
        known = edge.child in self._mounts
        if is_described and known and edge.child not in self._described:
            return []
        try:
            pose = scalar_pose.checked_pose(edge.translation, edge.rotation_xyzw)
        except InvalidTransformError:
            return []
        self._mounts[edge.child] = edge.parent, pose
        (self._described.add if is_described else self._described.discard)(edge.child)
        return [(self.placed(kept, named_by), named_by) for kept, named_by in self._kept.pop(edge.child, ())]

    def waits_for(self, body: str) -> bool:
        """Say whether poses of a body came and its mount did not."""
        return body in self._kept

    def reset(self) -> None:
        """Forget poses; mounts stay."""
        self._kept.clear()
