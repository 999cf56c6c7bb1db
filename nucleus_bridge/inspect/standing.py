# SPDX-License-Identifier: Apache-2.0
"""Whether a vehicle moved whose scenes stand: by the fixes beside its frames, or by poses that are not used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from nucleus_bridge import warnings
from nucleus_bridge.config import Config
from nucleus_bridge.decode import registry
from nucleus_bridge.errors import DecodeError, MissingExtraError
from nucleus_bridge.inspect.clouds import decoded
from nucleus_bridge.pipeline.evidence import Evidence
from nucleus_bridge.recordings import Recording
from nucleus_bridge.warnings import Code, Finding, Weight

_LEAST_WAY_M = 5.0
_FASTEST_M_S = 80.0
_BY_POSES = frozenset((Code.GPS_IMPLAUSIBLE, Code.HEADING_DISAGREES, Code.ALREADY_DESKEWED, Code.NO_POSE))
"""What is judged by poses says little where those are wrong."""


def stands_by_fixes(evidence: Evidence, config: Config) -> Iterator[Finding]:
    """Name a device that stands in the scenes while the fixes beside its frames move."""
    motion = evidence.samples.motion
    if motion.stands:
        yield warnings.device_stands(config.gps.topic, "fixes", motion.stood_m, config.device_frame)


def stands_by_poses(recording: Recording, config: Config, found: Iterable[Finding]) -> Iterator[Finding]:
    """Where nothing says how the device moves, name a recorded topic of poses that does; it is read for that."""
    if not any(finding.code is Code.NO_POSE for finding in found) or _is_proven(found):
        return
    for topic in sorted(recording.topics, key=lambda one: one.name):
        if registry.interface_of(topic.type_name, "pose") is None or topic.count < 2:
            continue
        way_m = _way_m(recording, topic.name)
        if way_m > _LEAST_WAY_M:
            yield warnings.device_stands(topic.name, "its poses", way_m, config.device_frame)
            return


def _is_proven(found: Iterable[Finding]) -> bool:
    return any(finding.code is Code.NO_POSE and finding.subject == "topic" for finding in found)


def _way_m(recording: Recording, topic: str) -> float:
    """Return how far the poses of a topic get from the first one; leaps that no vehicle makes do not count."""
    stamps, places = [], []
    for message in recording.messages([topic], trusts_index=True):
        try:
            for edge in decoded(message, "pose", None):
                stamps.append(edge.stamp_ns)
                places.append(edge.translation)
        except (DecodeError, MissingExtraError):
            continue
    if len(stamps) < 2:
        return 0.0
    steps, seconds = np.diff(np.array(places), axis=0), np.diff(np.array(stamps)) / 1e9
    length = np.linalg.norm(steps, axis=1)
    real = np.isfinite(length) & (seconds > 0.0) & (length <= _FASTEST_M_S * seconds)
    return float(np.linalg.norm(np.cumsum(steps[real], axis=0), axis=1).max(initial=0.0))


def once(found: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings, each once, causes before what they cause.

    A device that stands is named once, by what proves that it moved where that is. Poses with parent and child swapped
    come before the fixes and headings that contradict them.
    """
    found = tuple(dict.fromkeys(found))
    proven = _is_proven(found)
    found = tuple(f for f in found if not (proven and f.code is Code.NO_POSE and f.subject == "frame"))
    swapped = next((f for f in found if f.code is Code.POSE_INVERSE and f.weight is not Weight.NOTE), None)
    if swapped is None:
        return found
    first = f"first set the poses right: {swapped.remedy}"
    return (
        *(f for f in found if f.code is Code.POSE_INVERSE and f.weight is not Weight.NOTE),
        *(f.remedied(first) if f.code in _BY_POSES else f for f in found if f.code is not Code.POSE_INVERSE),
    )
