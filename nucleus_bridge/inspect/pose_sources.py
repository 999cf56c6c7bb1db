# SPDX-License-Identifier: Apache-2.0
"""Every source of poses in a recording: its edge, rate, gaps and speed, and how it agrees with the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from nucleus_bridge.errors import DecodeError
from nucleus_bridge.inspect.clouds import decoded
from nucleus_bridge.inspect.satellites import course_of
from nucleus_bridge.inspect.scan import Scan, Stream
from nucleus_bridge.model import IntArray, Trajectory
from nucleus_bridge.poses.agreement import Agreement, agreement, level_agreement, top_speed, trajectory_of

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
        agrees: How far it is from each other source of the same body, by topic; and from the fixes of satellite
            receivers and the course over ground between them, seen from above.
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

    def cells(self, reference: str, fixes: str = "") -> tuple[str, ...]:
        """Return it as a row of a table; ``reference`` and ``fixes`` are the topics that all are compared with."""
        return (
            self.topic,
            f"{self.parent} -> {self.child or '(not named)'}",
            f"{self.rate_hz:.1f}",
            str(self.gaps),
            f"{self.longest_s:.3f} s",
            f"{self.top_speed_mps:.1f} m/s",
            *(self._apart(topic) for topic in (reference, fixes) if topic),
        )

    def _apart(self, topic: str) -> str:
        if (found := self.agrees.get(topic)) is None:
            return ""
        apart = f"{found.median_m:.3f} m, {found.median_deg:.2f} deg"
        return f"{apart}, laid over" if found.is_aligned else apart


def course_topic(reports: Sequence[PoseSourceReport]) -> str:
    """Return the topic of fixes that sources are compared with; empty for none."""
    compared = {topic for report in reports for topic in report.agrees}
    return min(compared - {report.topic for report in reports}, default="")


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
    courses = {stream.name: course for stream in scan.of_kind("fix") if (course := course_of(stream)) is not None}
    return [_report(source, sources, courses) for source in sources]


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


def _report(source: _Source, sources: list[_Source], courses: Mapping[str, Trajectory]) -> PoseSourceReport:
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
        dict(_agreements(source, sources, courses)),
    )


def _agreements(
    source: _Source, sources: list[_Source], courses: Mapping[str, Trajectory]
) -> Iterator[tuple[str, Agreement]]:
    for other in sources:
        if other is source or (source.child and other.child and source.child != other.child):
            continue
        found = agreement(source.trajectory, other.trajectory, in_one_frame=source.parent == other.parent)
        if found is not None:
            yield other.topic, found
    if any(other.parent == source.child for other in sources):
        return  # it moves a frame in which the device moves: the map's correction of odometry
    for topic, course in courses.items():
        found = level_agreement(course, source.trajectory)
        if found is not None:
            yield topic, found
