# SPDX-License-Identifier: Apache-2.0
"""Every source of poses in a recording: its edge, rate, gaps and speed, and how it agrees with the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from nucleus_bridge.errors import DecodeError
from nucleus_bridge.inspect.clouds import decoded
from nucleus_bridge.inspect.scan import Scan, Stream
from nucleus_bridge.model import IntArray, Trajectory
from nucleus_bridge.poses.agreement import Agreement, agreement, top_speed, trajectory_of

_GAP_PERIODS = 3.0


@dataclass(frozen=True)
class PoseSourceReport:
    """One source of poses.

    Attributes:
        topic: Where it is published.
        parent: The frame that its poses are in.
        child: The body; empty where the messages do not say.
        poses: How many were read.
        rate_hz: From the median interval.
        gaps: Intervals of more than three times the median.
        longest_s: The longest interval.
        top_speed_mps: The largest speed over half a second.
        agrees: How far it is from each other source of the same body, by topic.
    """

    topic: str
    parent: str
    child: str
    poses: int
    rate_hz: float
    gaps: int
    longest_s: float
    top_speed_mps: float
    agrees: dict[str, Agreement] = field(default_factory=dict)

    def cells(self, reference: str) -> tuple[str, ...]:
        """Return it as a row of a table; ``reference`` is the source that all are compared with."""
        found = self.agrees.get(reference)
        apart = "" if found is None else f"{found.median_m:.3f} m, {found.median_deg:.2f} deg"
        return (
            self.topic,
            f"{self.parent} -> {self.child or '(not named)'}",
            f"{self.rate_hz:.1f}",
            str(self.gaps),
            f"{self.longest_s:.3f} s",
            f"{self.top_speed_mps:.1f} m/s",
            f"{apart}, laid over" if found is not None and found.is_aligned else apart,
        )


def reference_of(reports: Sequence[PoseSourceReport]) -> str:
    """Return the topic of the source with most poses, which the others are compared with."""
    return max(reports, key=lambda report: report.poses).topic


@dataclass(frozen=True)
class _Source:
    topic: str
    parent: str
    child: str
    stamps: IntArray
    trajectory: Trajectory


def pose_sources(scan: Scan) -> list[PoseSourceReport]:
    """List the moving edges of transforms and the topics of poses."""
    sources = [source for source in _sources(scan) if len(source.trajectory.stamps_ns) > 1]
    return [_report(source, sources) for source in sources]


def _sources(scan: Scan) -> Iterator[_Source]:
    for track in scan.tracks.values():
        if not track.static:
            stamps = np.sort(track.stamps)
            trajectory = trajectory_of(track.stamps, track.translations, track.rotations)
            yield _Source(track.topic, track.parent, track.child, stamps, trajectory)
    for stream in scan.of_kind("pose"):
        yield from _of_topic(stream)


def _of_topic(stream: Stream) -> Iterator[_Source]:
    samples = []
    for message in stream.samples.messages:
        try:
            samples += decoded(message, "pose", None)
        except DecodeError:
            continue
    if samples:
        trajectory = trajectory_of(
            np.array([sample.stamp_ns for sample in samples], np.int64),
            np.array([sample.translation for sample in samples]),
            np.array([sample.rotation_xyzw for sample in samples]),
        )
        yield _Source(stream.name, samples[0].parent, samples[0].child, np.sort(stream.arrivals[0]), trajectory)


def _report(source: _Source, sources: list[_Source]) -> PoseSourceReport:
    intervals = np.diff(source.stamps)
    intervals = intervals[intervals > 0]
    median = float(np.median(intervals)) if len(intervals) else 0.0
    return PoseSourceReport(
        source.topic,
        source.parent,
        source.child,
        len(source.stamps),
        1e9 / median if median else 0.0,
        int(np.count_nonzero(intervals > _GAP_PERIODS * median)),
        float(intervals.max(initial=0)) / 1e9,
        top_speed(source.trajectory),
        dict(_agreements(source, sources)),
    )


def _agreements(source: _Source, sources: list[_Source]) -> Iterator[tuple[str, Agreement]]:
    for other in sources:
        if other is source or (source.child and other.child and source.child != other.child):
            continue
        found = agreement(source.trajectory, other.trajectory, in_one_frame=source.parent == other.parent)
        if found is not None:
            yield other.topic, found
