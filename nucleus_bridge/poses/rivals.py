# SPDX-License-Identifier: Apache-2.0
"""Two sources that tell the pose of one frame: whether they agree, without waiting for either."""

from __future__ import annotations

from collections import deque

from nucleus_bridge import warnings
from nucleus_bridge.errors import InvalidTransformError
from nucleus_bridge.geometry import scalar_pose
from nucleus_bridge.poses.source import Edge
from nucleus_bridge.warnings import Finding

_AGREE_M, _AGREE_DEG = 0.02, 0.2
_KEPT = 4
_MAX_TELLERS = 8


class Rivals:
    """Compares what several sources say of a moving frame, each with the other's poses around its own stamp."""

    def __init__(self) -> None:
        self._told: dict[str, dict[str, deque[Edge]]] = {}
        self._found: dict[str, Finding] = {}

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Frames about which sources disagree."""
        return tuple(self._found.values())

    def hear(self, edge: Edge, named_by: str) -> None:
        """Take an edge and what named it: a topic or a source."""
        told = self._told.setdefault(edge.child, {})
        if named_by not in told and len(told) == _MAX_TELLERS:
            return
        told.setdefault(named_by, deque(maxlen=_KEPT)).append(edge)
        if len(told) == 1 or edge.child in self._found:
            return
        for other, edges in told.items():
            if other != named_by:
                self._compare(edge.child, (named_by, told[named_by]), (other, edges))

    def reset(self) -> None:
        """Forget poses; what was found stays."""
        self._told.clear()

    def _compare(self, child: str, one: tuple[str, deque[Edge]], other: tuple[str, deque[Edge]]) -> None:
        parents = one[1][-1].parent, other[1][-1].parent
        names = f"{one[0]} and {other[0]}"
        if parents[0] != parents[1]:
            self._note(child, names, f"{one[0]} in {parents[0]!r}, {other[0]} in {parents[1]!r}")
            return
        for edge in other[1]:
            pose = _at(one[1], edge.stamp_ns)
            if pose is None:
                continue
            try:
                told = scalar_pose.checked_pose(edge.translation, edge.rotation_xyzw)
            except InvalidTransformError:
                continue
            metres, degrees = scalar_pose.apart(pose, told)
            if metres > _AGREE_M or degrees > _AGREE_DEG:
                self._note(child, names, f"{names} differ by {metres:.3f} m and {degrees:.2f} degrees")
                return

    def _note(self, child: str, names: str, detail: str) -> None:
        remedy = f"use one of {names}: leave the other out of pose_names or transforms.topics"
        self._found[child] = warnings.tf_conflict(child, detail, remedy)


def _at(edges: deque[Edge], stamp_ns: int) -> scalar_pose.Pose | None:
    """Return the pose at a stamp between two neighbouring edges; None outside of them."""
    for before, after in zip(edges, list(edges)[1:], strict=False):
        if before.stamp_ns <= stamp_ns <= after.stamp_ns:
            try:
                first, last = (
                    scalar_pose.checked_pose(edge.translation, edge.rotation_xyzw) for edge in (before, after)
                )
            except InvalidTransformError:
                return None
            span = after.stamp_ns - before.stamp_ns
            return scalar_pose.between(first, last, (stamp_ns - before.stamp_ns) / span if span else 0.0)
    return None
