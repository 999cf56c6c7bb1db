# SPDX-License-Identifier: Apache-2.0
"""What is in a recording and what it is good for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nucleus_bridge.config import Config
from nucleus_bridge.convert import CLOUD, IMAGE
from nucleus_bridge.inspect.contradictions import clock_warnings, mounting_warnings
from nucleus_bridge.inspect.health import Part, health
from nucleus_bridge.inspect.scan import DROP_PERIODS, Progress, Scan, Stream, scan_bag
from nucleus_bridge.inspect.suggest import Suggestion, suggest
from nucleus_bridge.inspect.tree import draw_tree
from nucleus_bridge.inspect.trial import Trial, try_config
from nucleus_bridge.recordings import Recording, open_recording

USABLE = "usable"
_CLOCK_STEP_NS = 60e9
"""A longer hole is a step of the clock or a pause: nobody knows how many messages would have been in it."""
_SENSOR_TYPES = (*CLOUD, *IMAGE)


@dataclass(frozen=True)
class TopicReport:
    """One topic. Times are in ms; ``latency_ms``: smallest, median and largest log time - stamp, or None."""

    topic: str
    type: str
    count: int
    read: int
    rate_hz: float
    gaps: int
    drops: int
    largest_gap_ms: float
    latency_ms: tuple[float, float, float] | None
    backwards: int
    frames: tuple[str, ...]


@dataclass(frozen=True)
class SensorReport:
    """One lidar or camera: what it is like and whether it can be used.

    Attributes:
        verdict: Begins with ``usable``, or says what is missing and how to get it.
        facts: What was measured, as text by title.
        warnings: What is unlikely about it.
    """

    topic: str
    name: str
    kind: str
    verdict: str
    facts: dict[str, str]
    warnings: list[str] = field(default_factory=list)

    @property
    def usable(self) -> bool:
        """Whether it comes out of ``convert``."""
        return self.verdict.startswith(USABLE)


@dataclass(frozen=True)
class BagReport:
    """Everything ``inspect`` says. ``read_s`` of ``duration_s`` were read; exact figures need both to be equal."""

    path: str
    duration_s: float
    messages: int
    whole: bool
    read_s: float
    damage: list[str]
    topics: list[TopicReport]
    tree: str
    tree_parts: list[list[str]]
    sensors: list[SensorReport]
    left_out: dict[str, str]
    warnings: list[str]
    missing: list[str]
    trial: Trial
    parts: list[Part]

    @property
    def score(self) -> int:
        """Health from 0 to 100."""
        return round(sum(part.points for part in self.parts))

    @property
    def usable(self) -> bool:
        """Whether scenes come of it."""
        return any(sensor.usable and sensor.kind == "lidar" for sensor in self.sensors)


def _no_progress(share: float) -> None:
    """Tell nobody."""


def inspect_bag(path: Path | str, *, full: bool = False, progress: Progress = _no_progress) -> BagReport:
    """Look through a recording.

    Args:
        path: A rosbag2 folder, or a bare .mcap or .db3 file.
        full: Read everything, however large it is.
        progress: Told how much is done, 0 to 1.

    Raises:
        BagError: It cannot be read.
    """
    return study(path, full=full, progress=progress)[0]


def study(path: Path | str, *, full: bool = False, progress: Progress = _no_progress) -> tuple[BagReport, Suggestion]:
    """Look through a recording and suggest a configuration for it.

    Raises:
        BagError: It cannot be read.
    """
    with open_recording(path) as bag:
        scan = scan_bag(bag, full=full, progress=lambda share: progress(share / 2))
        suggestion = suggest(scan)
        config = suggestion.config()
        trial = Trial()
        if config is not None:
            trial = try_config(bag, config, full=full, progress=lambda share: progress(0.5 + share / 2))
        return _report(bag, scan, suggestion, config, trial), suggestion


def _report(bag: Recording, scan: Scan, suggestion: Suggestion, config: Config | None, trial: Trial) -> BagReport:
    topics = [_topic(stream) for _, stream in sorted(scan.streams.items())]
    mounting, warnings = mounting_warnings(scan, suggestion, config)
    latencies = {t.topic: t.latency_ms[1] for t in topics if t.latency_ms and t.type in _SENSOR_TYPES}
    for topic, facts in suggestion.lidars.items():
        if topic in latencies:
            latencies[topic] -= facts.after_stamp_ms
    clocks = clock_warnings(latencies)
    sensors = [_lidar(topic, scan, suggestion, trial) for topic in suggestion.lidars]
    sensors += [_camera(topic, suggestion, trial, mounting) for topic in suggestion.cameras]
    for sensor in sensors:
        sensor.warnings.extend(clocks.get(sensor.topic, []))
    warnings += [f"{text} ({count} times)" for text, count in scan.problems.items()]
    parts_of_tree = _parts(scan)
    damage = [str(item) for item in bag.damage]
    return BagReport(
        path=str(bag.path),
        duration_s=(bag.end_ns - bag.start_ns) / 1e9,
        messages=bag.message_count,
        whole=scan.whole,
        read_s=scan.read_s,
        damage=damage,
        topics=topics,
        tree=draw_tree(scan, bag.start_ns),
        tree_parts=parts_of_tree,
        sensors=sensors,
        left_out=suggestion.left_out,
        warnings=warnings,
        missing=suggestion.missing,
        trial=trial,
        parts=health(topics, sensors, warnings, damage, suggestion, trial),
    )


def _topic(stream: Stream) -> TopicReport:
    steps = np.diff(stream.times).astype(np.float64)
    period = stream.period_ns
    sensor = stream.info.type_name in _SENSOR_TYPES
    holes = steps[steps > DROP_PERIODS * period] if period and sensor else steps[:0]
    latency = None
    if len(stream.stamps) == len(stream.logs) and len(stream.stamps):
        late = (np.array(stream.logs) - np.array(stream.stamps)) / 1e6
        latency = (float(late.min()), float(np.median(late)), float(late.max()))
    return TopicReport(
        topic=stream.info.name,
        type=stream.info.type_name,
        count=stream.info.count,
        read=stream.seen,
        rate_hz=1e9 / period if period else 0.0,
        gaps=len(holes),
        drops=int(np.rint(holes[holes < _CLOCK_STEP_NS] / period - 1).sum()) if len(holes) else 0,
        largest_gap_ms=float(steps.max()) / 1e6 if len(steps) else 0.0,
        latency_ms=latency,
        backwards=int((np.diff(np.array(stream.stamps, dtype=np.int64)) < 0).sum()),
        frames=tuple(sorted(stream.frames)),
    )


def _lidar(topic: str, scan: Scan, suggestion: Suggestion, trial: Trial) -> SensorReport:
    facts, stream, name = suggestion.lidars[topic], scan.streams[topic], suggestion.lidar_names.get(topic, "")
    seen = facts.intensity_seen
    measured = {
        "frame": stream.frame_id,
        "layout": ", ".join(facts.fields),
        "points a sweep": f"{facts.points}, {facts.nan_share:.1%} NaN, {facts.zero_share:.1%} at the origin",
        "farthest": f"{facts.farthest_m:.1f} m",
        "point times": f"{facts.timing}; sweep of {facts.sweep_ms:.1f} ms",
        "intensity": f"{facts.intensity_field}: {seen[0]:g} to {seen[1]:g}" if seen else "none",
        "poses": _coverage(scan, suggestion, stream, facts.sweep_ms),
    }
    warnings = list(facts.notes)
    if not name:
        return SensorReport(topic, "", "lidar", f"not used: {suggestion.left_out.get(topic, '')}", measured, warnings)
    return SensorReport(topic, name, "lidar", _verdict(topic, name, suggestion, trial), measured, warnings)


def _coverage(scan: Scan, suggestion: Suggestion, stream: Stream, sweep_ms: float) -> str:
    """Count the sweeps whose whole duration has a pose in the world frame."""
    world = str(suggestion.values.get("world_frame", ""))
    if not world or not stream.stamps:
        return "none"
    if world == stream.frame_id:
        return "none: no transform has this frame, points can only stay in the sensor's own frame"
    last_ns = round(sweep_ms * 1e6)
    covered = sum(
        scan.tree.availability(world, stream.frame_id, stamp, stamp + last_ns) is None for stamp in stream.stamps
    )
    return f"{covered} of {len(stream.stamps)} sweeps have their poses in {world!r}"


def _camera(topic: str, suggestion: Suggestion, trial: Trial, mounting: dict[str, list[str]]) -> SensorReport:
    facts, name = suggestion.cameras[topic], suggestion.camera_names.get(topic, "")
    measured = {
        "frame": facts.optical_frame or facts.frame_id or "(empty)",
        "images": f"{facts.size[0]} x {facts.size[1]} {facts.encoding}",
        "calibration": f"{facts.info_topic} ({facts.pairing}): {facts.model}" if facts.info_topic else "none",
    }
    if facts.rectified:
        measured["rectification"] = facts.rectified
    warnings = [*facts.notes, *mounting.get(topic, [])]
    if not name:
        return SensorReport(topic, "", "camera", f"not used: {suggestion.left_out.get(topic, '')}", measured, warnings)
    offset = suggestion.values.get(f"cameras.{name}.offset_ms", 0.0)
    measured["stamp - sweep stamp"] = f"{offset} ms"
    return SensorReport(topic, name, "camera", _verdict(topic, name, suggestion, trial), measured, warnings)


def _verdict(topic: str, name: str, suggestion: Suggestion, trial: Trial) -> str:
    used = trial.used.get(name, 0)
    lost = trial.losses.get(topic, {})
    causes = ", ".join(f"{count} {cause}" for cause, count in lost.items())
    why = next((trial.reasons[cause] for cause in lost if cause in trial.reasons), "")
    if not used:
        return f"not usable: {why or causes or 'no frame came of it in the trial run'}"
    if suggestion.no_pose:
        return f"{USABLE} only if the device stood still: {suggestion.no_pose}"
    return f"{USABLE} ({used} frames in the trial run{f'; lost: {causes}' if causes else ''})"


def _parts(scan: Scan) -> list[list[str]]:
    """Group the frames by the root they hang from."""
    groups: dict[str, list[str]] = {}
    for frame in scan.tree.frames():
        climbed = [frame]
        while (parent := scan.tree.parent_of(climbed[-1])) is not None and parent not in climbed:
            climbed.append(parent)
        groups.setdefault(climbed[-1], []).append(frame)
    return [groups[root] for root in sorted(groups)]
