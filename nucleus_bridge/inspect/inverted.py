# SPDX-License-Identifier: Apache-2.0
"""Whether parent and child of configured poses are swapped: by the fixes beside frames, and by how the body moves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from nucleus_bridge import warnings
from nucleus_bridge.decode.navsat import Fix
from nucleus_bridge.geometry import transforms
from nucleus_bridge.geometry.agreement import trajectory_of
from nucleus_bridge.inspect.satellites import local_places
from nucleus_bridge.model import FloatArray, IntArray, Trajectory
from nucleus_bridge.pipeline.evidence import MOST, Evidence, SeenEdge
from nucleus_bridge.poses import PoseSource, plausibility
from nucleus_bridge.poses.topics import TopicPoses
from nucleus_bridge.poses.trajectory import FilePoses
from nucleus_bridge.warnings import Code, Finding, Weight

_LEAST_FIXES, _LEAST_REACH_M = 6, 5.0
_OFF_M, _OFF_SHARE, _CLEARLY = 1.5, 0.05, 4.0
_LEAST_POSES = 12


def inverted(evidence: Evidence, sources: Iterable[PoseSource], device_frame: str) -> Iterator[Finding]:
    """Name each source of poses whose parent and child are swapped."""
    fixes = sorted((one.fix for one in evidence.samples.fixes.items), key=_stamp)
    for source in sources:
        if isinstance(source, FilePoses):
            poses = source.of_device
            known = any(
                found.code is Code.POSE_INVERSE and found.weight is not Weight.NOTE for found in source.findings
            )
            if poses is not None and not known and (why := _by_fixes(source.trajectory[0], poses, fixes)):
                yield warnings.pose_inverse(source.name, source.parent, source.child, why)
        elif isinstance(source, TopicPoses):
            for (topic, parent, child), seen in evidence.edges.items():
                if topic not in source.topics or len(seen.stamps) < _LEAST_POSES:
                    continue
                stamps_ns, poses = _poses_of(seen, is_of_device=parent != device_frame)
                if why := _by_motion(poses) or _by_fixes(stamps_ns, poses, fixes):
                    yield warnings.pose_inverse(source.name, parent, child, why)


def _poses_of(seen: SeenEdge, *, is_of_device: bool) -> tuple[IntArray, FloatArray]:
    """Return the first poses that were seen, which follow each other."""
    rows = np.array(seen.poses, np.float64).reshape(-1, 7)[: MOST // 2]
    poses = trajectory_of(np.array(seen.stamps, np.int64)[: MOST // 2], rows[:, :3], rows[:, 3:])
    rows = np.concatenate((poses.translations, poses.rotations_xyzw), axis=1)
    return poses.stamps_ns, rows if is_of_device else plausibility.inverse(rows)


def _by_motion(poses: FloatArray) -> str:
    if len(poses) and plausibility.is_inverse(poses):
        return "by them the device moves sideways, and turned round it does not"
    return ""


def _by_fixes(stamps_ns: IntArray, poses: FloatArray, fixes: list[Fix]) -> str:
    """Say what fixes contradict as given and confirm inverted; '' where they do not."""
    inside = [fix for fix in fixes if len(stamps_ns) and stamps_ns[0] <= fix.stamp_ns <= stamps_ns[-1]]
    if len(inside) < _LEAST_FIXES:
        return ""
    at = transforms.interpolate(
        Trajectory(stamps_ns, poses[:, :3], poses[:, 3:]), np.array([fix.stamp_ns for fix in inside], np.int64)
    )
    rows = np.concatenate((at.translations, at.rotations_xyzw), axis=1)
    off, off_if_inverted, reach = plausibility.misfits(rows, local_places(inside))
    most = max(_OFF_M, _OFF_SHARE * reach)
    if reach < _LEAST_REACH_M or off < max(most, _CLEARLY * off_if_inverted) or off_if_inverted > most:
        return ""
    return f"the fixes are up to {off:.1f} m beside their track, and {off_if_inverted:.1f} m beside it turned round"


def _stamp(fix: Fix) -> int:
    return fix.stamp_ns
