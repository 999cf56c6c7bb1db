# SPDX-License-Identifier: Apache-2.0
"""Warnings of what was noted on the way through the pipeline, by the rules that a recording is inspected with."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from nucleus_bridge import warnings
from nucleus_bridge.config import Config, LidarConfig
from nucleus_bridge.decode import registry
from nucleus_bridge.errors import TransformError
from nucleus_bridge.geometry import TransformTree
from nucleus_bridge.inspect.clocks import Given, Limits, compare_clocks
from nucleus_bridge.inspect.clouds import Cloud, CloudFacts
from nucleus_bridge.inspect.frozen import frozen_in_evidence
from nucleus_bridge.inspect.inverted import inverted
from nucleus_bridge.inspect.kept_samples import sample_findings
from nucleus_bridge.inspect.point_times import FAR_MS, MOST_SHARE, NO_TIMES, PointTimes, Times
from nucleus_bridge.inspect.scan import Scan, Stream, Track, kinds_of
from nucleus_bridge.inspect.seam import WRONG_POSES
from nucleus_bridge.inspect.silent import Sent, silence_findings
from nucleus_bridge.inspect.standing import stands_by_fixes
from nucleus_bridge.inspect.sweeps import turns
from nucleus_bridge.inspect.transforms import Transforms, transform_findings
from nucleus_bridge.pipeline.evidence import MOST, Evidence
from nucleus_bridge.poses import PoseSource
from nucleus_bridge.recordings import TopicInfo
from nucleus_bridge.warnings import Code, Finding

MADE_BY_PIPELINE = frozenset((Code.CLOCK_STEP, Code.LATE_MESSAGES))
"""What the pipeline itself tells where it happens."""
_BY_POSES = frozenset((Code.POINT_TIME_SUSPECT, Code.AXES_MIRRORED))
_LEAST_SWEEPS = 3
_PARAMETERS = {"lidar": "lidars", "cloud": "lidars", "image": "cameras", "radar": "radars"}


def findings_of(
    evidence: Evidence,
    config: Config,
    tree: TransformTree,
    sources: Iterable[PoseSource] = (),
    known: Iterable[Finding] = (),
    *,
    on_its_way_ns: int = 0,
) -> list[Finding]:
    """Judge what was noted: clocks of sensors and transforms, two answers for one transform, mounts, samples.

    Args:
        evidence: What was noted.
        config: The configuration.
        tree: The transforms.
        sources: The sources of poses.
        known: What the pipeline has found, which is not said again.
        on_its_way_ns: How late messages may still come; 0 where all are there.
    """
    parts = [slice(None)]
    if any(seen.is_cut for seen in evidence.topics.values()) or any(seen.is_cut for seen in evidence.edges.values()):
        parts = [slice(0, MOST // 2), slice(MOST // 2, None)]  # what is not continuous is judged apart
    found: dict[tuple[Code, str], Finding] = {}
    for finding in _of_point_times(evidence, config):
        found[finding.code, finding.name] = finding
    for part in parts:
        for finding in _judged(evidence, config, tree, part):
            found.setdefault((finding.code, finding.name), finding)
    for finding in silence_findings(_sent(evidence, config), (*found.values(), *known), on_its_way_ns):
        found.setdefault((finding.code, finding.name), finding)
    inverse = list(inverted(evidence, sources, config.device_frame.lstrip("/")))
    is_named = any(finding.code is Code.POSE_INVERSE for finding in (*inverse, *known))
    all_found = [
        *inverse,
        *stands_by_fixes(evidence, config),
        *found.values(),
        *(one for one in sample_findings(evidence, config, tree) if not (is_named and one.code is Code.POSE_INVERSE)),
        *frozen_in_evidence(evidence, config),
    ]
    if any(finding.code in WRONG_POSES for finding in all_found):
        return [finding for finding in all_found if finding.code not in _BY_POSES]
    return all_found


def _judged(evidence: Evidence, config: Config, tree: TransformTree, part: slice) -> list[Finding]:
    tracks = tuple(_tracks(evidence, part))
    transforms = Transforms(tree, tracks, tuple(sorted({t.topic for t in tracks if not t.static})), ())
    scan = Scan({stream.name: stream for stream in _streams(evidence, part)})
    path = sorted({child for frame in _frames(config, tree) for child in frame})
    max_gap_s = config.scene.max_gap_s or 1e9
    facts, given = _facts(evidence, config), _given(config)
    limits = Limits(config.sync.wait_s, max_gap_s, evidence.log_step_ns / 2e6)
    clocks = compare_clocks(scan, transforms, facts, path, limits, given)
    found = [*clocks.findings, *transform_findings(transforms, path, max_gap_s, config.device_frame)]
    return [
        replace(finding, remedy=finding.remedy.replace("<sensor>", given[finding.name].section))
        if finding.name in given
        else finding
        for finding in dict.fromkeys(found)
        if finding.code not in MADE_BY_PIPELINE or _is_late_pose(finding, given)
    ] + clocks.forward_steps


def _is_late_pose(finding: Finding, given: Mapping[str, Given]) -> bool:
    """Whether it is about poses that come late: the pipeline waits for them frame by frame."""
    is_of_poses = finding.name in given and given[finding.name].section.startswith(("transforms", "poses."))
    return finding.code is Code.LATE_MESSAGES and is_of_poses


def _given(config: Config) -> dict[str, Given]:
    """Return what is configured of each topic's clock."""
    transforms = config.transforms
    given = {topic: Given("transforms", transforms.clock_offset_ms) for topic in transforms.topics}
    given |= {pose.topic: Given(f"poses.{pose.name}", pose.clock_offset_ms) for pose in config.poses if pose.topic}
    gps = config.gps
    given |= {gps.topic: Given("gps", gps.clock_offset_ms)} if gps.topic else {}
    if gps.heading_topic:
        given[gps.heading_topic] = Given("gps", gps.clock_offset_ms + gps.heading_clock_offset_ms)
    return given | {
        sensor.topic: Given(f"{_PARAMETERS[sensor.kind]}.{sensor.name}", sensor.clock_offset_ms)
        for sensor in config.sensors
    }


def _facts(evidence: Evidence, config: Config) -> dict[str, CloudFacts]:
    """Return what the lidars' point times are, as far as clocks can be compared by them."""
    return {
        lidar.topic: CloudFacts(times=_times(lidar, evidence))
        for lidar in config.lidars
        if lidar.topic in evidence.topics
    }


def _times(lidar: LidarConfig, evidence: Evidence) -> PointTimes:
    seen = evidence.sweeps.get(lidar.topic)
    if seen is None or lidar.topic not in evidence.topics or len(seen.firsts) < _LEAST_SWEEPS or lidar.accumulate_ms:
        return NO_TIMES
    firsts = np.array(seen.firsts) / 1e6
    first, last = float(np.median(firsts)), float(np.median(seen.lasts)) / 1e6
    period_ms = _period_ms(evidence, lidar.topic)
    low, high = np.percentile(firsts, (5, 95))
    verdict = Times.GOOD if last > first else Times.CONSTANT
    if max(first, -last, high - low) > FAR_MS:
        verdict = Times.FAR
    elif period_ms and last - first > MOST_SHARE * period_ms:
        verdict = Times.NO_UNIT
    return PointTimes(verdict, lidar.time_field, is_absolute=seen.is_absolute, first_ms=first, last_ms=last)


def _of_point_times(evidence: Evidence, config: Config) -> Iterator[Finding]:
    """Name point times that are of another clock than the stamp, or longer than sweeps are apart, or all the same."""
    for lidar in config.lidars:
        times = _times(lidar, evidence)
        if times.verdict in (Times.NONE, Times.GOOD):
            continue
        field = "" if lidar.time_field == "auto" else lidar.time_field
        remedy = f"lidars.{lidar.name}.time_field: none"
        period_ms = _period_ms(evidence, lidar.topic)
        if times.verdict is Times.FAR:
            apart_ms = times.first_ms if times.first_ms > 0 else times.last_ms
            yield warnings.point_time_far(lidar.topic, field, apart_ms, remedy)
        elif times.verdict is Times.NO_UNIT:
            span = f"{times.first_ms:.1f} to {times.last_ms:.1f} ms as they are read"
            yield warnings.point_time_span(lidar.topic, field, span, period_ms, remedy)
        elif _turns(evidence, lidar.topic):
            yield warnings.point_times_equal(lidar.topic, field, period_ms, remedy)


def _sent(evidence: Evidence, config: Config) -> Iterator[Sent]:
    """Yield when the configured sensors sent; the first lidar is what frames are made from."""
    for sensor in config.sensors:
        seen = evidence.topics.get(sensor.topic)
        if seen is not None:
            section = "" if sensor is config.sensors[0] else f"{_PARAMETERS[sensor.kind]}.{sensor.name}"
            yield Sent(sensor.topic, section, np.array(seen.stamps, np.int64), not seen.is_cut)


def _period_ms(evidence: Evidence, topic: str) -> float:
    seen = evidence.topics.get(topic)
    steps = np.diff(np.sort(seen.stamps)) if seen is not None else np.empty(0)
    return float(np.median(steps[steps > 0])) / 1e6 if (steps > 0).any() else 0.0


def _turns(evidence: Evidence, topic: str) -> bool:
    sweeps = evidence.samples.first.get(topic, [])
    return bool(sweeps) and turns(topic, Cloud(sweeps[0].stamp_ns, sweeps[0].stamp_ns, sweeps[0]))


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
