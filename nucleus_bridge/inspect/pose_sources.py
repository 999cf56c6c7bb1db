# SPDX-License-Identifier: Apache-2.0
"""Every source of poses in a recording: its edge, rate, gaps and speed, and how it agrees with the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nucleus_bridge.config.sources import PoseConfig
from nucleus_bridge.errors import DecodeError
from nucleus_bridge.geometry.agreement import Agreement, agreement, level_agreement, top_speed, trajectory_of
from nucleus_bridge.inspect.clouds import decoded
from nucleus_bridge.inspect.satellites import course_of
from nucleus_bridge.inspect.scan import Scan, Stream
from nucleus_bridge.model import IntArray, Trajectory
from nucleus_bridge.poses.trajectory_formats import read_trajectory

_GAP_PERIODS = 3.0


@dataclass(frozen=True)
class PoseSourceReport:
    """One source of poses.

    Attributes:
        topic: Where it is published, or the file that it is read from.
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


@dataclass(frozen=True, eq=False)
class Source:
    """Poses of one source, and the stamps of all of them where the poses are a sample."""

    topic: str
    parent: str
    child: str
    stamps: IntArray
    trajectory: Trajectory


def pose_sources(scan: Scan, files: Sequence[Source] = ()) -> list[PoseSourceReport]:
    """List the moving edges of transforms, the topics of poses, and files that are to be compared with them."""
    every = [*_sources(scan), *files]
    sources = [source for source in every if len(source.trajectory.stamps_ns) > 1]
    courses = {stream.name: course for stream in scan.of_kind("fix") if (course := course_of(stream)) is not None}
    return [_report(source, sources, courses) for source in sources]


def _sources(scan: Scan) -> Iterator[Source]:
    for track in scan.tracks.values():
        if not track.static:
            stamps = np.sort(track.stamps)
            trajectory = trajectory_of(track.stamps, track.translations, track.rotations)
            yield Source(track.topic, track.parent, track.child, stamps, trajectory)
    for stream in scan.of_kind("pose"):
        yield from _of_topic(stream)


def _of_topic(stream: Stream) -> Iterator[Source]:
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
        yield Source(stream.name, samples[0].parent, samples[0].child, np.sort(stream.arrivals[0]), trajectory)


def source_of_file(path: Path) -> Source:
    """Read a trajectory file.

    Raises:
        ConfigError: It is not one.
    """
    read = read_trajectory(PoseConfig(name=path.stem, file=path.name), path.parent)
    trajectory = trajectory_of(read.stamps_ns, read.poses[:, :3], read.poses[:, 3:])
    return Source(str(path), "its own frame", "", np.sort(read.stamps_ns), trajectory)


def _report(source: Source, sources: list[Source], courses: Mapping[str, Trajectory]) -> PoseSourceReport:
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
    source: Source, sources: list[Source], courses: Mapping[str, Trajectory]
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
