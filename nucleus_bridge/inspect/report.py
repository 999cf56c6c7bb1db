# SPDX-License-Identifier: Apache-2.0
"""Everything ``inspect`` knows about a recording: topics, transforms, sensors, warnings, and a score."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nucleus_bridge import warnings
from nucleus_bridge.calibration.check import State
from nucleus_bridge.config import Config
from nucleus_bridge.errors import TransformError
from nucleus_bridge.inspect.calibration import calibration_findings
from nucleus_bridge.inspect.configured import Configured, Given, judge
from nucleus_bridge.inspect.lidars import DERIVED, Why
from nucleus_bridge.inspect.mounting import mount_findings
from nucleus_bridge.inspect.pose_sources import PoseSourceReport, pose_sources, source_of_file
from nucleus_bridge.inspect.recorded import recording_findings
from nucleus_bridge.inspect.scan import DROP_PERIODS, Progress, Scan, Stream, scan_bag
from nucleus_bridge.inspect.suggest import suggest
from nucleus_bridge.inspect.suggestion import Suggestion, device_track
from nucleus_bridge.inspect.transforms import draw_tree, tree_parts
from nucleus_bridge.inspect.trial import Counts, Part, Trial, health, try_config
from nucleus_bridge.kinds import Kind
from nucleus_bridge.model import FloatArray
from nucleus_bridge.recordings import Place, Recording, open_recording
from nucleus_bridge.text import counted
from nucleus_bridge.warnings import Code, Finding

_CLOCK_STEP_NS = 60e9
"""A longer gap is a step of the clock or a pause: nobody knows how many messages would have been in it."""
_SENSOR_KINDS: tuple[Kind, ...] = ("cloud", "image", "radar")


class Verdict(Enum):
    """What can be made of a sensor."""

    USABLE = "usable"
    USABLE_IF_STILL = "usable_if_still"
    NOT_USED = "not_used"
    NOT_USABLE = "not_usable"

    @property
    def is_usable(self) -> bool:
        """Whether it comes out of ``convert``."""
        return self in (Verdict.USABLE, Verdict.USABLE_IF_STILL)

    @property
    def words(self) -> str:
        """The verdict for a person."""
        return {"usable_if_still": "usable only if the device stood still"}.get(
            self.value, self.value.replace("_", " ")
        )


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
    is_sensor: bool = False


@dataclass(frozen=True)
class SensorReport:
    """One lidar, camera or radar: what it is like and whether it can be used.

    Attributes:
        topic: Its topic.
        name: Its name in the configuration, or ''.
        kind: ``lidar``, ``camera`` or ``radar``.
        verdict: Whether it can be used.
        why: What it is used for, or what is missing and how to get it.
        facts: What was measured, as text by title.
        notes: What else a person should know.
        warnings: What contradicts itself.
        reason: Why it is not used, where it is not.
        calibration: Of a camera that is used: whether it ``agrees`` with the cloud, is ``suspect`` or ``not_measured``.
    """

    topic: str
    name: str
    kind: str
    verdict: Verdict
    why: str
    facts: dict[str, str]
    notes: list[str] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    reason: Why | None = None
    calibration: State | None = None

    @property
    def usable(self) -> bool:
        """Whether it comes out of ``convert``."""
        return self.verdict.is_usable

    @property
    def is_doubtful(self) -> bool:
        """Whether it can be used, but what is made of it is likely to be wrong."""
        return self.usable and self.calibration == "suspect"

    @property
    def words(self) -> str:
        """The verdict for a person, doubts included."""
        return f"{self.verdict.words}{', but its calibration is suspect' if self.is_doubtful else ''}"


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
    clocks_measured: bool
    warnings: list[Finding]
    missing: list[str]
    trial: Trial
    parts: list[Part]
    pose_sources: list[PoseSourceReport] = field(default_factory=list)
    configured: Configured | None = None

    @property
    def score(self) -> int:
        """Health from 0 to 100."""
        return round(sum(part.points for part in self.parts))

    @property
    def usable(self) -> bool:
        """Whether scenes come of it."""
        return any(sensor.usable and sensor.kind == "lidar" for sensor in self.sensors)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values; warnings as every command writes them."""
        document = asdict(replace(self, configured=None))
        if self.configured is None:
            document.pop("configured")
        else:
            document["configured"] = self.configured.as_json()
        document["warnings"] = [finding.as_json() for finding in self.warnings]
        for made, sensor in zip(document["sensors"], self.sensors, strict=True):
            made["verdict"] = sensor.verdict.value
            made["reason"] = sensor.reason.value if sensor.reason else None
            made["warnings"] = [finding.as_json() for finding in sensor.warnings]
        for key in ("calibrations", "findings"):
            document["trial"].pop(key)
        document["calibrations"] = [found.as_json() for found in self.trial.calibrations]
        return {**document, "score": self.score, "usable": self.usable}


def _no_progress(share: float) -> None:
    """Do nothing."""


def inspect_bag(
    path: Place | str,
    *,
    full: bool = False,
    deep: bool = False,
    progress: Progress = _no_progress,
    trajectories: Sequence[Path] = (),
    given: Given | None = None,
) -> BagReport:
    """Look through a recording.

    Args:
        path: A rosbag2 folder, or a bare .mcap or .db3 file.
        full: Read everything, however large it is.
        deep: Decode every picture rather than a sample.
        progress: Is called with the share that is done, 0 to 1.
        trajectories: Trajectory files that are compared with the recording's sources of poses.
        given: A configuration that it is judged with besides.

    Raises:
        BagError: It cannot be read.
        ConfigError: A file is not a trajectory, or one that the configuration names cannot be used.
    """
    report, _ = study(path, full=full, deep=deep, progress=progress, trajectories=trajectories, given=given)
    return report


def study(
    path: Place | str,
    *,
    full: bool = False,
    deep: bool = False,
    progress: Progress = _no_progress,
    trajectories: Sequence[Path] = (),
    given: Given | None = None,
) -> tuple[BagReport, Suggestion]:
    """Look through a recording and suggest a configuration for it.

    Raises:
        BagError: It cannot be read.
        ConfigError: One of ``trajectories`` is not one, or a file that the configuration names cannot be used.
    """
    compared = [source_of_file(file) for file in trajectories]
    passes = 2 if given is None else 3
    with open_recording(path) as bag:
        scan = scan_bag(bag, full=full, progress=lambda share: progress(share / passes))
        if deep:
            for stream in scan.of_kind("image"):
                stream.every = partial(bag.messages, [stream.name])
        suggestion = suggest(scan)
        config = suggestion.config()
        trial = Trial()
        if config is not None:
            trial = try_config(
                bag, config, full=full, deep=deep, progress=lambda share: progress((1.0 + share) / passes)
            )
        report = _report(bag, scan, suggestion, config, trial)
        if given is not None:
            tried = try_config(
                bag,
                given.config,
                full=full,
                deep=deep,
                judged=True,
                progress=lambda share: progress((2.0 + share) / passes),
            )
            judged = judge(bag, suggestion, given, tried, report.warnings)
            report = replace(report, configured=judged)
        return replace(report, pose_sources=pose_sources(scan, compared)), suggestion


def _report(bag: Recording, scan: Scan, made: Suggestion, config: Config | None, trial: Trial) -> BagReport:
    topics = [topic_report(stream) for _, stream in sorted(scan.streams.items())]
    findings = [
        *recording_findings(bag, scan, made),
        *made.findings,
        *_mounting(made, config),
        *_unused(made, trial),
        *_calibrations(made, config, trial),
    ]
    findings += [
        Finding(Code.BAD_TRANSFORM, "topic", text.partition(":")[0], f"{text} ({count} times)", "fix its publisher")
        for text, count in made.transforms.problems.items()
    ]
    findings = list(dict.fromkeys(findings))
    sensors = [_lidar(topic, scan, made, trial, findings) for topic in made.lidars if topic not in made.names["radars"]]
    sensors += [_camera(topic, made, trial, findings) for topic in made.cameras]
    sensors += [_radar(topic, scan, made, trial, findings) for topic in made.radars]
    damage = [str(item) for item in bag.damage]
    missing = list(made.missing)
    if config is not None and not trial.frames:
        first = next(iter(made.lidar_names))
        missing.insert(0, f"the trial run makes no frame: {trial.why_not(first) or 'no sweep was matched'}")
    return BagReport(
        path=str(bag.path),
        duration_s=(bag.end_ns - bag.start_ns) / 1e9,
        messages=bag.message_count,
        whole=scan.whole,
        read_s=scan.read_s,
        damage=damage,
        topics=topics,
        tree=draw_tree(made.transforms, scan),
        tree_parts=tree_parts(made.transforms.tree),
        sensors=sensors,
        left_out={topic: out.text for topic, out in made.left_out.items()},
        clocks_measured=made.clocks.measured,
        warnings=findings,
        missing=missing,
        trial=trial,
        parts=health(_counts(topics, sensors, made, trial, damage), findings, trial),
    )


def _counts(
    topics: Iterable[TopicReport], sensors: Iterable[SensorReport], made: Suggestion, trial: Trial, damage: list[str]
) -> Counts:
    sensors = list(sensors)
    read = [topic for topic in topics if topic.is_sensor]
    no_camera = (Why.SAME_CAMERA, Why.NO_PICTURE)
    return Counts(
        [s.usable for s in sensors if s.kind == "lidar" and s.name],
        [s.usable for s in sensors if s.kind == "camera" and s.reason not in no_camera],
        sum(sum(trial.losses.get(topic, {}).values()) for topic in made.lidar_names),
        sum(topic.drops for topic in read),
        sum(topic.read for topic in read),
        made.frames.standing,
        damage,
    )


def _unused(made: Suggestion, trial: Trial) -> list[Finding]:
    """Name chosen cameras of which nothing reached a frame although frames came out."""
    found = []
    for topic, name in made.camera_names.items():
        if trial.frames and not trial.used.get(name):
            why = trial.why_not(topic) or "none is near a sweep"
            found.append(warnings.camera_unused(topic, why, f"cameras.{name}.clock_offset_ms or offset_ms"))
    return found


def _calibrations(made: Suggestion, config: Config | None, trial: Trial) -> list[Finding]:
    """Name cameras that do not fit the clouds, or of which that could not be measured."""
    if config is None:
        return []
    topics = {name: topic for topic, name in made.camera_names.items()}
    frames = {name: made.cameras[topic].frame for name, topic in topics.items()}
    tree = made.transforms.tree
    return calibration_findings(trial.calibrations, topics, frames, config, tree, trial.period_ms)


def _mounting(made: Suggestion, config: Config | None) -> list[Finding]:
    """Check how cameras and device are mounted."""
    if config is None:
        return []
    rotations: dict[str, FloatArray] = {}
    topics = {name: topic for topic, name in made.camera_names.items()}
    for camera in config.cameras:
        frame = made.cameras[topics[camera.name]].frame
        if camera.frame_convention == "body":
            continue  # named already, and turned
        try:
            rotations[camera.name] = made.transforms.tree.lookup(config.device_frame, frame, 0).rotation_xyzw
        except TransformError:
            continue
    positions, turns = device_track(made)
    return mount_findings(rotations, topics, config.world_frame, config.device_frame, positions, turns)


def topic_report(stream: Stream) -> TopicReport:
    """Sum up one topic."""
    steps = np.diff(stream.times).astype(np.float64)
    period = stream.period_ns
    sensor = any(kind in _SENSOR_KINDS for kind in stream.kinds)
    gaps = steps[steps > DROP_PERIODS * period] if period and sensor else steps[:0]
    late = stream.latencies_ms
    latency = (float(late.min()), float(np.median(late)), float(late.max())) if len(late) else None
    return TopicReport(
        topic=stream.name,
        type=stream.info.type_name,
        count=stream.info.count,
        read=stream.seen,
        rate_hz=1e9 / period if period else 0.0,
        gaps=len(gaps),
        drops=int(np.rint(gaps[gaps < _CLOCK_STEP_NS] / period - 1).sum()) if len(gaps) else 0,
        largest_gap_ms=float(steps.max()) / 1e6 if len(steps) else 0.0,
        latency_ms=latency,
        backwards=int((np.diff(np.array(stream.stamps, dtype=np.int64)) < 0).sum()),
        frames=tuple(sorted(stream.frames)),
        is_sensor=sensor,
    )


def _about(topic: str, findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.subject == "topic" and finding.name == topic]


def _left_out(made: Suggestion, topic: str) -> tuple[Verdict, str, Why | None]:
    out = made.left_out.get(topic)
    return Verdict.NOT_USED, out.text if out else "", out.why if out else None


def _lidar(topic: str, scan: Scan, made: Suggestion, trial: Trial, findings: list[Finding]) -> SensorReport:
    facts, stream, name = made.lidars[topic], scan.streams[topic], made.lidar_names.get(topic, "")
    seen = facts.intensity_seen
    measured = {
        "frame": stream.frame_id,
        "layout": "; ".join([", ".join(facts.fields), *facts.notes]),
        "points a sweep": f"{facts.points}, {facts.nan_share:.1%} NaN, {facts.zero_share:.1%} at the origin",
        "farthest": f"{facts.farthest_m:.1f} m",
        "point times": f"{facts.times}; sweep of {facts.times.span_ms:.1f} ms",
        "intensity": f"{facts.intensity_field}: {seen[0]:g} to {seen[1]:g}" if seen else "none",
        "poses": _coverage(made, stream, facts.times.span_ms),
    }
    if name in trial.sharpness:
        measured["thickness, all sweeps"] = trial.sharpness[name].words
    notes, about = made.clocks.notes.get(topic, []), _about(topic, findings)
    if name:
        verdict, why = _verdict(topic, name, made, trial)
        return SensorReport(topic, name, "lidar", verdict, why, measured, list(notes), about)
    verdict, why, reason = _left_out(made, topic)
    kind = "cloud" if reason in DERIVED else "lidar"
    return SensorReport(topic, "", kind, verdict, why, measured, list(notes), about, reason)


def _coverage(made: Suggestion, stream: Stream, sweep_ms: float) -> str:
    """Count the sweeps whose whole duration has a pose in the world frame."""
    world, stamps = made.frames.world, made.clocks.corrected(stream).tolist()
    if not world or not stamps:
        return "none"
    if world == stream.frame_id:
        return "none: no transform has this frame, points can only stay in the sensor's own frame"
    last_ns, tree = round(sweep_ms * 1e6), made.transforms.tree
    covered = sum(tree.availability(world, stream.frame_id, stamp, stamp + last_ns) is None for stamp in stamps)
    return f"{covered} of {len(stamps)} sweeps have their poses in {world!r}"


def _camera(topic: str, made: Suggestion, trial: Trial, findings: list[Finding]) -> SensorReport:
    facts, name = made.cameras[topic], made.camera_names.get(topic, "")
    measured = {
        "frame": facts.frame or "(empty)",
        "images": f"{facts.size[0]} x {facts.size[1]} {facts.encoding}",
        "calibration": f"{facts.info_topic} ({facts.pairing}): {facts.model}" if facts.info_topic else "none",
    }
    if facts.rectified:
        measured["rectification"] = facts.rectified
    notes = [*facts.notes, *made.clocks.notes.get(topic, [])]
    about = [*_about(topic, findings), *(_about(facts.info_topic, findings) if facts.info_topic else [])]
    if not name:
        verdict, why, reason = _left_out(made, topic)
        return SensorReport(topic, "", "camera", verdict, why, measured, notes, about, reason)
    offset = made.values.get(f"cameras.{name}.offset_ms")
    measured["stamp - sweep stamp"] = "not measured" if offset is None else f"{offset} ms"
    found = next((found for found in trial.calibrations if found.camera == name), None)
    if found is not None:
        measured["fits the cloud"] = f"{found.state.replace('_', ' ')}: {found.text}"
    state = None if found is None else found.state
    verdict, why = _verdict(topic, name, made, trial)
    return SensorReport(topic, name, "camera", verdict, why, measured, notes, about, calibration=state)


def _radar(topic: str, scan: Scan, made: Suggestion, trial: Trial, findings: list[Finding]) -> SensorReport:
    name, stream = made.names["radars"].get(topic, ""), scan.streams[topic]
    measured = {"frame": stream.frame_id or "(empty)", "detections a scan": str(made.radars[topic])}
    notes, about = list(made.clocks.notes.get(topic, [])), _about(topic, findings)
    if not name:
        verdict, why, reason = _left_out(made, topic)
        return SensorReport(topic, "", "radar", verdict, why, measured, notes, about, reason)
    verdict, why = _verdict(topic, name, made, trial)
    return SensorReport(topic, name, "radar", verdict, why, measured, notes, about)


def _verdict(topic: str, name: str, made: Suggestion, trial: Trial) -> tuple[Verdict, str]:
    used = trial.used.get(name, 0)
    causes = ", ".join(f"{count} {cause}" for cause, count in trial.losses.get(topic, {}).items())
    if not used:
        return Verdict.NOT_USABLE, trial.why_not(topic) or "no frame came of it in the trial run"
    if made.frames.standing:
        return Verdict.USABLE_IF_STILL, made.frames.standing
    return Verdict.USABLE, f"{counted(used, 'frame')} in the trial run{f'; lost: {causes}' if causes else ''}"
