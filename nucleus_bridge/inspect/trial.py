# SPDX-License-Identifier: Apache-2.0
"""A trial run: the very pipeline that converts, fed with what is read of the recording, and the score that follows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from nucleus_bridge.calibration.check import Verdict
from nucleus_bridge.causes import is_expected
from nucleus_bridge.config import Config
from nucleus_bridge.errors import InputError
from nucleus_bridge.geometry.sharpness import DeskewEffect
from nucleus_bridge.inspect.calibration import TrialCheck, calibration_findings
from nucleus_bridge.inspect.mounting import SeenMounts
from nucleus_bridge.inspect.played import all_findings
from nucleus_bridge.inspect.scan import Progress, sampled_messages
from nucleus_bridge.inspect.sharpness import TrialSharpness
from nucleus_bridge.model import Frame
from nucleus_bridge.pipeline.events import Event, FrameReady
from nucleus_bridge.recordings import Recording
from nucleus_bridge.replay import primed_pipeline
from nucleus_bridge.text import counted
from nucleus_bridge.warnings import Finding, Weight

MAX_FRAMES = 300
_COSTS = {Weight.NOTE: 1, Weight.LOSS: 4, Weight.METRES: 20}
_LIKELY = 20


@dataclass(frozen=True)
class Trial:
    """What the pipeline made of a recording, or of its beginning.

    Attributes:
        frames: Frames that came out.
        used: Frames that hold each sensor, by name.
        losses: What was lost by fault, by topic and cause.
        reasons: For each cause, the text of its first occurrence.
        whole: Whether the whole recording went in.
        problem: Why nothing could be tried, or ''.
        calibrations: What the frames say about the calibration of each camera.
        period_ms: From one frame to the next; 0 where unknown.
        sharpness: How sharp each lidar's sweeps are together; looked at with ``deep`` alone.
        findings: What contradicts itself with this configuration; looked for where a configuration is judged.
    """

    frames: int = 0
    used: dict[str, int] = field(default_factory=dict)
    losses: dict[str, dict[str, int]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    whole: bool = True
    problem: str = ""
    calibrations: list[Verdict] = field(default_factory=list)
    period_ms: float = 0.0
    sharpness: dict[str, DeskewEffect] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    def why_not(self, topic: str) -> str:
        """Say what became of the messages of a topic that reached no frame."""
        lost = self.losses.get(topic, {})
        causes = ", ".join(f"{count} {cause}" for cause, count in lost.items())
        why = next((self.reasons[cause] for cause in lost if cause in self.reasons), "")
        return f"{causes} ({why})" if causes and why else why or causes or self.problem


class _Watcher(Protocol):
    """Looks at the frames that go by."""

    def add(self, frame: Frame) -> None:
        """Take a frame."""


def try_config(
    bag: Recording, config: Config, *, full: bool, deep: bool = False, judged: bool = False, progress: Progress
) -> Trial:
    """Feed a recording to the pipeline; nothing is written, and the points and pictures of few frames are looked at.

    Unless ``full``, it ends after ``MAX_FRAMES`` frames or the part of a recording that a scan reads. With ``deep``
    all frames are looked at. With ``judged`` it says what contradicts itself, as ``convert`` would.
    """
    try:
        pipeline = primed_pipeline(bag, config)
    except InputError as error:
        return Trial(problem=str(error))
    used: Counter[str] = Counter()
    frames, stopped = 0, False
    expected = _expected(bag, config, full=full)
    check, mounts = TrialCheck(config, expected, deep=deep), SeenMounts()
    sharpness = TrialSharpness(config, expected) if deep else None
    watchers: list[_Watcher] = [check, mounts, *([] if sharpness is None else [sharpness])]
    for message, over in sampled_messages(bag, list(pipeline.topics), full=full):
        frames += _count(pipeline.add(message), used, watchers)
        if bag.end_ns > bag.start_ns:
            progress((message.log_ns - bag.start_ns) / (bag.end_ns - bag.start_ns))
        stopped = over or (not full and frames >= MAX_FRAMES)
        if stopped:
            break
    if not stopped:
        frames += _count(pipeline.finish(), used, watchers)
    losses = {
        topic: {cause: count for cause, count in causes.items() if not is_expected(cause)}
        for topic, causes in pipeline.ledger.totals.items()
    }
    reasons = dict(pipeline.ledger.reasons)
    found: tuple[Finding, ...] = ()
    if judged:
        topics = {camera.name: camera.image_topic for camera in config.cameras}
        measured = [verdict for verdict in check.verdicts() if verdict.camera in mounts.frame_ids]
        found = (
            *all_findings(pipeline, bag, pipeline.ledger.totals, reasons),
            *mounts.findings(config),
            *calibration_findings(measured, topics, mounts.frame_ids, config, pipeline.tree, check.period_ms),
        )
    progress(1.0)
    lost = {topic: causes for topic, causes in losses.items() if causes}
    return Trial(
        frames,
        dict(used),
        lost,
        reasons,
        not stopped,
        calibrations=check.verdicts(),
        period_ms=check.period_ms,
        sharpness=sharpness.results() if sharpness else {},
        findings=found,
    )


def _expected(bag: Recording, config: Config, *, full: bool) -> int:
    """Return how many frames will come out, more or less."""
    counts = {info.name: info.count for info in bag.topics}
    sweeps = counts.get(config.lidars[0].topic, 1)
    return sweeps if full else min(sweeps, MAX_FRAMES)


def _count(events: Iterable[Event], used: Counter[str], watchers: Sequence[_Watcher]) -> int:
    count = 0
    for event in events:
        if isinstance(event, FrameReady):
            used.update(name for name, _ in event.frame.samples)
            for watcher in watchers:
                watcher.add(event.frame)
            count += 1
    return count


@dataclass(frozen=True)
class Part:
    """One part of the score: points out of at most some, and why."""

    name: str
    points: float
    most: int
    why: str


@dataclass(frozen=True)
class Counts:
    """What the score is made of.

    Attributes:
        lidars: Chosen lidars: whether each can be used.
        cameras: Cameras of the recording: whether each can be used.
        sweeps_lost: Sweeps of the lidars that became no frame in the trial run.
        missing: Clouds and images that gaps in the stamps show to be missing.
        read: Clouds and images that were read.
        standing: Why points are only right if the device stood still, or ''.
        damage: What of the recording cannot be read.
    """

    lidars: Sequence[bool]
    cameras: Sequence[bool]
    sweeps_lost: int
    missing: int
    read: int
    standing: str
    damage: Sequence[str]


def health(counts: Counts, findings: Sequence[Finding], trial: Trial) -> list[Part]:
    """Give each part of the score its points: none for anything where no frame comes of the recording."""
    parts = [
        _share("lidars", 20, counts.lidars),
        _poses(counts, trial),
        _share("cameras", 15, counts.cameras),
        _completeness(counts),
        _likelihood(findings, trial),
        Part("undamaged", 0 if counts.damage else 5, 5, counts.damage[0] if counts.damage else "all of it can be read"),
    ]
    if trial.frames:
        return parts
    return [Part(part.name, 0, part.most, "this recording gives no frame") for part in parts]


def _share(name: str, most: int, good: Sequence[bool]) -> Part:
    share = sum(good) / len(good) if good else 0.0
    return Part(name, most * share, most, f"{sum(good)} of {len(good)} usable" if good else "there are none")


def _poses(counts: Counts, trial: Trial) -> Part:
    """Sweeps that became frames, of all sweeps that went in; nothing without a pose."""
    if counts.standing:
        return Part("poses", 0, 25, "the lidar has no pose over time")
    total = trial.frames + counts.sweeps_lost
    share = trial.frames / total if total else 0.0
    frames, lost = counted(trial.frames, "frame"), counted(counts.sweeps_lost, "sweep")
    return Part("poses", 25 * share, 25, f"{frames}, {lost} lost in the trial run")


def _completeness(counts: Counts) -> Part:
    """Messages there, of those that should be; each percent missing costs a tenth."""
    total = counts.missing + counts.read
    points = 15 * max(0.0, 1 - 10 * counts.missing / total) if total else 0.0
    return Part("completeness", points, 15, f"{counts.missing} clouds and images missing of {total}")


def _likelihood(findings: Sequence[Finding], trial: Trial) -> Part:
    cost = sum(_COSTS[finding.weight] for finding in findings)
    metres = sum(finding.weight is Weight.METRES for finding in findings)
    text = (
        f"{len(findings)} {'warning' if len(findings) == 1 else 'warnings'}" if findings else "nothing looks unlikely"
    )
    which = "" if metres == len(findings) else f"{metres} of "
    more = f", {which}which may mean errors of metres" if metres else ""
    states = Counter(verdict.state for verdict in trial.calibrations)
    if states:
        more += f"; images agree with the cloud for {states['agrees']} of {states.total()} cameras"
        more += f", {states['suspect']} suspect" if states["suspect"] else ""
        more += f", {states['not_measured']} not measured" if states["not_measured"] else ""
    return Part("likelihood", max(0, _LIKELY - cost), _LIKELY, text + more)
