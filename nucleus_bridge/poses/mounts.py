# SPDX-License-Identifier: Apache-2.0
"""Mounts that the configuration gives, in numbers or by a calibration file, and how they differ from transforms."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from nucleus_bridge.config import MountConfig
from nucleus_bridge.decode.cdr import strip_slashes
from nucleus_bridge.decode.interface import Reset
from nucleus_bridge.errors import ConfigError
from nucleus_bridge.geometry import scalar_pose
from nucleus_bridge.geometry.scalar_pose import Pose
from nucleus_bridge.model import Message
from nucleus_bridge.poses.calibration_files import pose_of, read_mount
from nucleus_bridge.poses.source import Edge, PoseTopic, Rank
from nucleus_bridge.warnings import Code, Finding

_FAR_M = 20.0
_SAME_M, _SAME_DEG = 1e-6, 1e-5


class Mount:
    """One static edge of the tree (a ``PoseSource``); it wins over transforms of the same child.

    Args:
        settings: ``mounts.<name>``.
        base_dir: What its file is relative to.

    Raises:
        ConfigError: Naming the parameter, the file and what is wrong.
    """

    rank: Rank = "mount"

    def __init__(self, settings: MountConfig, base_dir: Path) -> None:
        self.name = f"mounts.{settings.name}"
        self.edge = _edge(settings, self.name, base_dir)

    @property
    def topics(self) -> Mapping[str, PoseTopic]:
        """Return nothing: it reads no topic."""
        return {}

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is odd about it."""
        away = math.hypot(*self.edge.translation)
        if away <= _FAR_M:
            return ()
        text = f"{self.name} puts {self.edge.child} {away:.1f} m from {self.edge.parent}; mounts are in metres"
        return (Finding(Code.MOUNT_FAR, "frame", self.edge.child, text, f"{self.name}.xyz: metres"),)

    def initial(self) -> Iterable[Edge]:
        """Return its edge."""
        return (self.edge,)

    def edges(self, message: Message) -> Iterable[Edge]:  # noqa: ARG002 - it reads no topic
        """Return nothing: it reads no topic."""
        return ()

    def until(self, stamp_ns: int) -> Iterable[Edge]:  # noqa: ARG002 - it holds at all times
        """Return nothing: it holds at all times."""
        return ()

    def reset(self, why: Reset) -> None:
        """Do nothing."""

    def overrules(self, other: Edge) -> str:
        """Say by how much a transform of the same child differs; empty when it says the same.

        Raises:
            InvalidTransformError: The transform is none.
        """
        if other.child != self.edge.child:
            return ""
        if other.parent != self.edge.parent:
            return f"{self.name} replaces the transform {other.parent} -> {other.child} by {self.edge.parent} as parent"
        metres, degrees = difference(self.edge, other)
        if metres <= _SAME_M and degrees <= _SAME_DEG:
            return ""
        return (
            f"{self.name} replaces the transform {other.parent} -> {other.child}: "
            f"{1000.0 * metres:.1f} mm and {degrees:.3f} degrees from it"
        )


def difference(one: Edge, other: Edge) -> tuple[float, float]:
    """Return by how many metres and degrees two poses differ.

    Raises:
        InvalidTransformError: One of them has values that are not a pose.
    """
    first, second = (scalar_pose.checked_pose(edge.translation, edge.rotation_xyzw) for edge in (one, other))
    return scalar_pose.apart(first, second)


def _edge(settings: MountConfig, name: str, base_dir: Path) -> Edge:
    parent = strip_slashes(settings.parent_frame)
    child = strip_slashes(settings.child_frame or settings.key)
    if not parent or not child or parent == child:
        raise ConfigError(f"{name}: needs two different frames, not parent_frame {parent!r} and child_frame {child!r}")
    pose = _pose(settings, name, parent, child, base_dir)
    return Edge(parent, child, 0, pose[:3], pose[3:], static=True)


def _pose(settings: MountConfig, name: str, parent: str, child: str, base_dir: Path) -> Pose:
    in_numbers = [key for key in ("xyz", "rpy", "quaternion_xyzw") if getattr(settings, key)]
    if settings.file:
        if in_numbers:
            raise ConfigError(f"{name}.{in_numbers[0]}: says the same as {name}.file; leave one of them out")
        return read_mount(base_dir / settings.file, settings.key, parent, child, name)
    if not in_numbers:
        raise ConfigError(f"{name}.xyz: set it (metres, with rpy or quaternion_xyzw), or {name}.file")
    if settings.rpy and settings.quaternion_xyzw:
        raise ConfigError(f"{name}.rpy: says the same as {name}.quaternion_xyzw; leave one of them out")
    turn = settings.quaternion_xyzw or settings.rpy
    return pose_of(
        settings.xyz or (0.0, 0.0, 0.0), turn, f"{name}.{'quaternion_xyzw' if settings.quaternion_xyzw else 'rpy'}"
    )
