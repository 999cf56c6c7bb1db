# SPDX-License-Identifier: Apache-2.0
"""Warnings of what was noted on the way through the pipeline, by the rules that a recording is inspected with."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from nucleus_bridge import warnings
from nucleus_bridge.config import Config, LidarConfig
from nucleus_bridge.decode import registry
from nucleus_bridge.errors import TransformError
from nucleus_bridge.geometry import TransformTree
from nucleus_bridge.inspect.clocks import Given, Limits, compare_clocks
from nucleus_bridge.inspect.clouds import CloudFacts
from nucleus_bridge.inspect.frozen import frozen_in_evidence
from nucleus_bridge.inspect.inverted import inverted
from nucleus_bridge.inspect.kept_samples import sample_findings
from nucleus_bridge.inspect.point_times import FAR_MS, MOST_SHARE, NO_TIMES, PointTimes, Times
from nucleus_bridge.inspect.scan import Scan, Stream, Track, kinds_of
from nucleus_bridge.inspect.standing import stands_by_fixes
from nucleus_bridge.inspect.transforms import Transforms, transform_findings
from nucleus_bridge.pipeline.evidence import MOST, Evidence, SeenSweeps
from nucleus_bridge.poses import PoseSource
from nucleus_bridge.recordings import TopicInfo
from nucleus_bridge.warnings import Code, Finding

MADE_BY_PIPELINE = frozenset((Code.CLOCK_STEP, Code.LATE_MESSAGES))
"""What the pipeline itself tells where it happens."""
_LEAST_SWEEPS = 3
_PARAMETERS = {"lidar": "lidars", "cloud": "lidars", "image": "cameras", "radar": "radars"}


def findings_of(
    evidence: Evidence, config: Config, tree: TransformTree, sources: Iterable[PoseSource] = ()
) -> list[Finding]:
    """Judge what was noted: clocks of sensors and transforms, two answers for one transform, mounts, samples."""
    parts = [slice(None)]
    if any(seen.is_cut for seen in evidence.topics.values()) or any(seen.is_cut for seen in evidence.edges.values()):
        parts = [slice(0, MOST // 2), slice(MOST // 2, None)]  # what is not continuous is judged apart
    found: dict[tuple[Code, str], Finding] = {}
    for finding in _of_point_times(evidence, config):
        found[finding.code, finding.name] = finding
    for part in parts:
        for finding in _judged(evidence, config, tree, part):
            found.setdefault((finding.code, finding.name), finding)
    return [
        *inverted(evidence, sources, config.device_frame.lstrip("/")),
        *stands_by_fixes(evidence, config),
        *found.values(),
        *sample_findings(evidence, config, tree),
        *frozen_in_evidence(evidence, config),
    ]


def _judged(evidence: Evidence, config: Config, tree: TransformTree, part: slice) -> list[Finding]:
    tracks = tuple(_tracks(evidence, part))
    transforms = Transforms(tree, tracks, tuple(sorted({t.topic for t in tracks if not t.static})), ())
    scan = Scan({stream.name: stream for stream in _streams(evidence, part)})
    path = sorted({child for frame in _frames(config, tree) for child in frame})
    max_gap_s = config.scene.max_gap_s or 1e9
    facts, given = _facts(evidence, config), _given(config)
    limits = Limits(config.sync.wait_s, max_gap_s, evidence.log_step_ns / 2e6)
    clocks = compare_clocks(scan, transforms, facts, path, limits, given)
    found = [*clocks.findings, *transform_findings(transforms, path, max_gap_s)]
    return [
        replace(finding, remedy=finding.remedy.replace("<sensor>", given[finding.name].section))
        if finding.name in given
        else finding
        for finding in dict.fromkeys(found)
        if finding.code not in MADE_BY_PIPELINE
    ] + clocks.forward_steps


def _given(config: Config) -> dict[str, Given]:
    """Return what is configured of each topic's clock."""
    transforms = config.transforms
    given = {topic: Given("transforms", transforms.clock_offset_ms) for topic in transforms.topics}
    given |= {pose.topic: Given(f"poses.{pose.name}", pose.clock_offset_ms) for pose in config.poses if pose.topic}
    given |= {topic.name: Given("gps", config.gps.clock_offset_ms) for topic in config.gps.topics}
    return given | {
        sensor.topic: Given(f"{_PARAMETERS[sensor.kind]}.{sensor.name}", sensor.clock_offset_ms)
        for sensor in config.sensors
    }


def _facts(evidence: Evidence, config: Config) -> dict[str, CloudFacts]:
    """Return what the lidars' point times are, as far as clocks can be compared by them."""
    return {
        lidar.topic: CloudFacts(times=_times(lidar, evidence.sweeps.get(lidar.topic)))
        for lidar in config.lidars
        if lidar.topic in evidence.topics
    }


def _times(lidar: LidarConfig, seen: SeenSweeps | None) -> PointTimes:
    if seen is None or len(seen.firsts) < _LEAST_SWEEPS or lidar.accumulate_ms:
        return NO_TIMES
    first, last = (float(np.median(ends)) / 1e6 for ends in (seen.firsts, seen.lasts))
    is_far = max(first, -last) > FAR_MS
    verdict = Times.FAR if is_far else Times.GOOD if last > first else Times.CONSTANT
    return PointTimes(verdict, lidar.time_field, is_absolute=seen.is_absolute, first_ms=first, last_ms=last)


def _of_point_times(evidence: Evidence, config: Config) -> Iterator[Finding]:
    """Name point times that are of another clock than the stamp, or longer than sweeps are apart."""
    for lidar in config.lidars:
        seen, topic = evidence.sweeps.get(lidar.topic), evidence.topics.get(lidar.topic)
        times = _times(lidar, seen)
        if topic is None or times is NO_TIMES:
            continue
        field = "" if lidar.time_field == "auto" else lidar.time_field
        remedy = f"lidars.{lidar.name}.time_field: none"
        if times.verdict is Times.FAR:
            apart_ms = times.first_ms if times.first_ms > 0 else times.last_ms
            yield warnings.point_time_far(lidar.topic, field, apart_ms, remedy)
            continue
        steps = np.diff(np.sort(topic.stamps))
        period_ms = float(np.median(steps[steps > 0])) / 1e6 if (steps > 0).any() else 0.0
        if period_ms and times.span_ms > MOST_SHARE * period_ms:
            span = f"{times.first_ms:.1f} to {times.last_ms:.1f} ms as they are read"
            yield warnings.point_time_span(lidar.topic, field, span, period_ms, remedy)


def _frames(config: Config, tree: TransformTree) -> Iterator[list[str]]:
    """Yield the moving frames between the world and each frame of the tree."""
    for frame in tree.frames():
        try:
            yield [child for child in tree.chain(config.world_frame, frame) if not tree.is_static(child)]
        except TransformError:
            continue


def _streams(evidence: Evidence, part: slice) -> Iterator[Stream]:
    for topic, seen in sorted(evidence.topics.items()):
        stamps, logs = seen.stamps[part], _amid_step(seen.logs[part], evidence)
        info = TopicInfo(topic, seen.type_name, len(stamps))
        if not any(interface.peek for interface in registry.interfaces_of(seen.type_name)):
            stamps = stamps[:0]  # a type without a header: 0 stands for nothing here
        in_turn = list(range(1, len(logs) + 1))  # they were noted as they arrived, whatever the log's clock did
        yield Stream(info, kinds_of(info), seen=len(logs), stamps=stamps, logs=logs, places=in_turn)


def _amid_step(logs: array[int], evidence: Evidence) -> array[int]:
    """Return log times without what is too early of them in the mean, where their clock goes in steps."""
    by_ns = evidence.log_step_ns // 2
    return array(logs.typecode, (log_ns + by_ns for log_ns in logs)) if by_ns else logs


def _tracks(evidence: Evidence, part: slice) -> Iterator[Track]:
    for (topic, parent, child), seen in evidence.edges.items():
        track = Track(topic, parent, child, static=False)
        first = part.start or 0
        logs = _amid_step(seen.logs[part], evidence)
        for number, (stamp_ns, log_ns) in enumerate(zip(seen.stamps[part], logs, strict=True)):
            x, y, z, qx, qy, qz, qw = seen.poses[7 * (first + number) : 7 * (first + number) + 7]
            track.add(stamp_ns, log_ns, (x, y, z), (qx, qy, qz, qw), place=number + 1)
        yield track
    for child, edges in evidence.statics.items():
        for parent in sorted({edge.parent for edge in edges}):
            track = Track("", parent, child, static=True)
            for edge in edges:
                if edge.parent == parent:
                    track.add(edge.stamp_ns, edge.stamp_ns, edge.translation, edge.rotation_xyzw)
            yield track
