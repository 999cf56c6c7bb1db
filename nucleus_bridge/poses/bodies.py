# SPDX-License-Identifier: Apache-2.0
"""Poses of a body that is mounted: moved to the frame that carries it, since a frame of the tree has one parent."""

from __future__ import annotations

from collections import deque

from nucleus_bridge.errors import InvalidTransformError
from nucleus_bridge.geometry import scalar_pose
from nucleus_bridge.geometry.scalar_pose import Pose
from nucleus_bridge.poses.source import Edge

_KEPT = 20_000
"""Poses of a body that are kept for the moment at which its mount becomes known: 100 s at 200 Hz."""


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
