# SPDX-License-Identifier: Apache-2.0
"""Whose clock stamps what: log times and the other topics are the arbiters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np

from nucleus_bridge import warnings
from nucleus_bridge.decode.registry import in_decoding_order
from nucleus_bridge.inspect.clouds import CloudFacts
from nucleus_bridge.inspect.forward_steps import forward_step_findings
from nucleus_bridge.inspect.scan import Scan, Stream, Track
from nucleus_bridge.inspect.transforms import (
    EDGE_STEP,
    MAX_GAP_S,
    SENSOR_STEP,
    VIDEO_STEP,
    Transforms,
    find_step,
    motion_of,
)
from nucleus_bridge.model import IntArray
from nucleus_bridge.warnings import Code, Finding, length_of_time

Moment = Literal["start", "middle", "end"]

AHEAD_MS = 5.0
"""Stamps later than the log time by this much are a proof: nothing is received before it is sent."""
LATE_MS = 305.0
"""A source may answer so late and be right; beyond it its clock may be behind."""
LATE_LIDAR_MS, LATE_AMONG_LIDARS_MS = 150.0, 100.0
"""The same of a lidar's sweep after its last point; less where another lidar is quick."""
SLOW_MS = 60.0
_CLOCK_MS = 60_000.0
_UNSTEADY_MS = 250.0
_USUAL_DELAY_MS = 5.0
_LOG_STEP_NS = 1e8
_SET_NS = 1_000_000_000_000_000_000
_STEPS_MS = (37_000.0, 18_000.0, 19_000.0)
_QUARTER_HOUR_MS = 900_000.0
_SNAP_MS = 250.0
_LEAST_MESSAGES = 3
_BY_LOG = ("cloud", "image")
_KINDS = ("cloud", "image", "radar", "fix", "heading", "pose")


@dataclass(frozen=True)
class Latency:
    """How long after its stamps a topic is recorded.

    Attributes:
        low_ms: Median of log time - stamp, less the sweep that may lie between.
        high_ms: Median of log time - stamp.
        spread_ms: How much it varies: 90 % of the messages lie within it.
    """

    low_ms: float
    high_ms: float
    spread_ms: float

    def is_within(self, low_ms: float, high_ms: float) -> bool:
        """Whether it may lie between two values."""
        return self.low_ms <= high_ms and self.high_ms >= low_ms


@dataclass(frozen=True)
class Correction:
    """What makes a topic's stamps right.

    Attributes:
        offset_ms: To be added to its stamps.
        by_log: Whether log times should stand for them.
        reason: Why, for a comment.
    """

    offset_ms: float = 0.0
    by_log: bool = False
    reason: str = ""


@dataclass(frozen=True)
class Limits:
    """The settings by which lateness and gaps are judged, seconds; and by how much log times may be off either way."""

    wait_s: float
    max_gap_s: float = MAX_GAP_S
    log_error_ms: float = 0.0


@dataclass(frozen=True)
class Given:
    """What the configuration says of a topic's clock already.

    Attributes:
        section: Where it says so.
        offset_ms: What it adds to the stamps.
    """

    section: str
    offset_ms: float = 0.0

    def corrected_by(self, offset_ms: float) -> str:
        """Return the line that adds so much besides."""
        return f"{self.section}.clock_offset_ms: {round(self.offset_ms + offset_ms, 3)}"


_IF_CLOCK = "if it is the clock: "
_SENSOR, _TRANSFORMS, _GPS = Given("<sensor>"), Given("transforms"), Given("gps")


@dataclass
class Clocks:
    """What the comparison of clocks gave.

    Attributes:
        measured: Whether log times run with the stamps, so that they could be compared.
        latencies: By topic.
        corrections: By topic: what the configuration needs.
        suspected: By topic: what its clock is off by, proven or not, ms to be added.
        moments: By topic of a lidar: which moment of the sweep its stamps mark, with the reason.
        transforms_offset_ms: To be added to the stamps of transforms.
        transforms_reason: Why.
        given: By topic: what the configuration says already.
        findings: Warnings.
        forward_steps: Clocks that were set forward; beside the findings, as no stage of the pipeline sees them.
        notes: What is worth knowing and proves nothing, by topic.
    """

    measured: bool = False
    latencies: dict[str, Latency] = field(default_factory=dict)
    corrections: dict[str, Correction] = field(default_factory=dict)
    suspected: dict[str, float] = field(default_factory=dict)
    moments: dict[str, tuple[Moment, str]] = field(default_factory=dict)
    transforms_offset_ms: float = 0.0
    transforms_reason: str = ""
    given: Mapping[str, Given] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    forward_steps: list[Finding] = field(default_factory=list)
    notes: dict[str, list[str]] = field(default_factory=dict)

    def corrected(self, stream: Stream) -> IntArray:
        """Return a topic's stamps as the configuration makes them, ns, in the order of arrival."""
        correction = self.corrections.get(stream.name, Correction())
        if correction.by_log:
            return np.sort(np.array(stream.logs, np.int64))
        stamps, _ = stream.arrivals
        return np.asarray(stamps + round(correction.offset_ms * 1e6))


def compare_clocks(
    scan: Scan,
    transforms: Transforms,
    facts: Mapping[str, CloudFacts],
    path: Iterable[str],
    limits: Limits,
    given: Mapping[str, Given] | None = None,
) -> Clocks:
    """Compare the clocks of sensors and of the transforms of these child frames; ``given`` is configured already."""
    streams = [s for s in scan.streams.values() if any(kind in s.kinds for kind in _KINDS) and s.info.count]
    streams = [s for s in streams if s.kinds != ("heading",) or "heading" in s.name]
    clocks = Clocks(given=given or {})
    for stream in streams:
        latency = _latency(stream, facts.get(stream.name))
        if latency is not None:
            clocks.latencies[stream.name] = latency
    tracks = [t for child in path for t in transforms.tracks_of(child) if not t.static and len(t) >= _LEAST_MESSAGES]
    edges = {id(track): _latency_of(track.logs - track.stamps) for track in tracks}
    known = [*clocks.latencies.values(), *edges.values()]
    steady = [latency for latency in known if latency.spread_ms < _UNSTEADY_MS]
    clocks.measured = 2 * len(steady) > len(known) > 0 and not log_steps(scan.streams.values())
    _unset_stamps(streams, clocks)
    if clocks.measured:
        reference = _reference_ms(steady)
        for stream in streams:
            if stream.name in clocks.latencies:
                _judge(stream, clocks, reference, streams, limits.wait_s, facts)
        if abs(reference) < _CLOCK_MS:
            _judge_tracks(tracks, edges, clocks, reference, _Others(streams, limits.wait_s))
            for topic, seen in facts.items():
                correction = clocks.corrections.get(topic, Correction())
                is_known = not correction.by_log and abs(correction.offset_ms) in (0.0, *_STEPS_MS)
                if topic in clocks.latencies and is_known:
                    _find_moment(
                        scan.streams[topic], seen, clocks, reference, correction.offset_ms, limits.log_error_ms
                    )
    _part_satellites(streams, clocks)
    for topic, seen in facts.items():
        _moment_by_times(topic, seen, clocks)
    clocks.findings += step_findings(streams, tracks)
    clocks.forward_steps = forward_step_findings(streams, tracks, limits.max_gap_s)
    return clocks


def _latency(stream: Stream, facts: CloudFacts | None) -> Latency | None:
    stamps, logs = stream.arrivals
    if len(stamps) < _LEAST_MESSAGES:
        return None
    latency = _latency_of(logs - stamps)
    sweep_ms = 0.0
    if facts is not None and not facts.is_radar:
        sweep_ms = max(facts.times.last_ms, 0.0) if facts.times.is_good else 1.1 * stream.period_ns / 1e6
    return Latency(latency.high_ms - sweep_ms, latency.high_ms, latency.spread_ms)


def _latency_of(late_ns: IntArray) -> Latency:
    low, middle, high = np.percentile(late_ns / 1e6, (5, 50, 95))
    return Latency(float(middle), float(middle), float(high - low))


def _reference_ms(known: list[Latency]) -> float:
    """Return the latency of the topics that agree with the log; where none does, of the largest group that agrees."""
    good = [latency for latency in known if latency.is_within(-AHEAD_MS, LATE_MS)]
    if good:
        return float(np.median([min(max(latency.low_ms, 0.0), latency.high_ms) for latency in good]))
    groups = [
        [other for other in known if other.is_within(one.low_ms - LATE_MS, one.high_ms + LATE_MS)] for one in known
    ]
    return float(np.median([latency.low_ms for latency in max(groups, key=len)]))


def _unset_stamps(streams: list[Stream], clocks: Clocks) -> None:
    """Name topics whose stamps were never set, or come from a clock that counts from its start."""
    for stream in streams:
        unset, total = stream.unset, len(stream.stamps)
        if not total:
            continue
        stamps, _ = stream.arrivals
        if unset > total / 2:
            text = f"{unset} of {total} stamps of {stream.name} are 0: the driver sets none"
        elif len(stamps) and float(np.median(stamps)) < _SET_NS and float(np.median(stream.logs)) > _SET_NS:
            since = length_of_time(float(np.median(stamps)) / 1e6)
            text = f"stamps of {stream.name} count from the start of its clock ({since}), not from 1970"
        else:
            continue
        if any(kind in _BY_LOG for kind in stream.kinds):
            clocks.corrections[stream.name] = Correction(by_log=True, reason=text)
            remedy = "<sensor>.stamp_source: log"
        else:
            remedy = "have its driver stamp its messages"
        clocks.findings.append(warnings.sensor_clock(stream.name, text, remedy))


def _judge(
    stream: Stream,
    clocks: Clocks,
    reference: float,
    streams: list[Stream],
    wait_s: float,
    facts: Mapping[str, CloudFacts],
) -> None:
    topic, latency = stream.name, clocks.latencies[stream.name]
    if topic in clocks.corrections or latency.spread_ms > _UNSTEADY_MS:
        return
    others = [value for name, value in clocks.latencies.items() if name != topic]
    if not others and abs(reference - latency.low_ms) < 1.0:
        return
    if latency.high_ms - min(reference, 0.0) < -AHEAD_MS:
        ahead = max(min(reference, _USUAL_DELAY_MS), 0.0) - latency.low_ms
        offset = -_likely(ahead)
        text = f"{topic} is stamped {length_of_time(ahead)} later than it was recorded: its clock is ahead"
        _correct(clocks, topic, offset, text)
    elif latency.low_ms - reference > _most_late(topic, clocks, facts):
        _judge_late(stream, clocks, reference, streams, wait_s)
    elif latency.low_ms - reference > SLOW_MS:
        clocks.notes.setdefault(topic, []).append(
            f"log time - stamp is {latency.low_ms:.0f} ms, the other topics' {reference:.0f} ms: it is slow to be "
            f"published, or its clock is off by {latency.low_ms - reference:+.0f} ms"
        )


def _most_late(topic: str, clocks: Clocks, facts: Mapping[str, CloudFacts]) -> float:
    """Return how much later than the others a sensor may be recorded: a lidar that tells its times is soon done.

    Pictures are encoded and cross slow links, poses and fixes are computed.
    """
    timed = [name for name, seen in facts.items() if seen.times.is_good and name in clocks.latencies]
    if topic not in timed or clocks.latencies[topic].spread_ms > SLOW_MS:
        return LATE_MS
    has_quick_peers = any(clocks.latencies[name].is_within(-AHEAD_MS, SLOW_MS) for name in timed if name != topic)
    return LATE_AMONG_LIDARS_MS if has_quick_peers else LATE_LIDAR_MS


def _judge_late(stream: Stream, clocks: Clocks, reference: float, streams: list[Stream], wait_s: float) -> None:
    topic = stream.name
    behind = clocks.latencies[topic].low_ms - reference
    offset = _likely(behind)
    if behind > _CLOCK_MS or offset in _STEPS_MS:
        text = f"stamps of {topic} are {length_of_time(behind)} behind those of the other topics: another clock"
        _correct(clocks, topic, offset, text)
        return
    if behind > wait_s * 1e3:
        clocks.findings.append(warnings.late_messages(topic, behind + reference, reference, wait_s))
    if _starts_late(stream, streams, behind):
        return
    text = (
        f"{topic} is recorded {length_of_time(behind + reference)} after its stamps, other topics "
        f"{length_of_time(reference)}: it is slow to be published, or its clock is behind"
    )
    clocks.suspected[topic] = _rounded(behind)
    remedy = f"{_IF_CLOCK}{clocks.given.get(topic, _SENSOR).corrected_by(_rounded(behind))}"
    clocks.findings.append(warnings.sensor_clock(topic, text, remedy))


def _starts_late(stream: Stream, streams: list[Stream], behind_ms: float) -> bool:
    """Whether a topic's stamps begin with the others' and its log times later: its messages were on their way."""
    return _begin_late(*stream.arrivals, [other for other in streams if other is not stream], behind_ms)


def _begin_late(stamps: IntArray, logs: IntArray, others: list[Stream], behind_ms: float) -> bool:
    starts = [
        (int(other_stamps[0]), int(other_logs[0]))
        for other_stamps, other_logs in (other.arrivals for other in others)
        if len(other_stamps)
    ]
    if not starts or not len(stamps):
        return False
    by_stamp = (int(stamps[0]) - float(np.median([s for s, _ in starts]))) / 1e6
    by_log = (int(logs[0]) - float(np.median([g for _, g in starts]))) / 1e6
    return abs(by_stamp) < behind_ms / 2.5 and by_log > behind_ms / 2


def _correct(clocks: Clocks, topic: str, offset_ms: float, text: str) -> None:
    clocks.corrections[topic] = Correction(offset_ms, reason=text)
    clocks.suspected[topic] = offset_ms
    remedy = clocks.given.get(topic, _SENSOR).corrected_by(offset_ms)
    clocks.findings.append(warnings.sensor_clock(topic, text, remedy))


def heading_offset_ms(clocks: Clocks, fix: str, heading: str) -> float:
    """Return what headings need besides what fixes need, ms; only what is proven."""
    offsets = [clocks.corrections.get(topic, Correction()).offset_ms for topic in (fix, heading)]
    return offsets[1] - offsets[0]


def _part_satellites(streams: list[Stream], clocks: Clocks) -> None:
    """Correct fixes and headings apart: they share a parameter, and headings have another one besides."""
    fix = next((stream.name for stream in streams if "fix" in stream.kinds), "")
    heading = next((stream.name for stream in streams if "heading" in stream.kinds), "")
    if not (fix and heading and {fix, heading} & clocks.suspected.keys()):
        return
    configured = [clocks.given.get(topic, _GPS).offset_ms for topic in (fix, heading)]
    wanted = [
        offset + clocks.suspected.get(topic, 0.0) for offset, topic in zip(configured, (fix, heading), strict=True)
    ]
    apart = round(wanted[1] - wanted[0], 3)
    lines = [f"gps.clock_offset_ms: {round(wanted[0], 3)}"] if wanted[0] != configured[0] else []
    lines += [f"gps.heading_clock_offset_ms: {apart}"] if apart != round(configured[1] - configured[0], 3) else []
    for number, finding in enumerate(clocks.findings):
        if finding.code is Code.SENSOR_CLOCK and finding.name in (fix, heading) and "clock_offset" in finding.remedy:
            doubt = _IF_CLOCK if finding.remedy.startswith(_IF_CLOCK) else ""
            clocks.findings[number] = replace(finding, remedy=doubt + ", ".join(lines))


def _likely(apart_ms: float) -> float:
    """Round to what clocks usually differ by: TAI, GPS time, time zones; else to what log times can tell."""
    for known in _STEPS_MS:
        if abs(apart_ms - known) < _SNAP_MS:
            return known
    hours = round(apart_ms / _QUARTER_HOUR_MS) * _QUARTER_HOUR_MS
    if hours and abs(apart_ms - hours) < 4 * _SNAP_MS:
        return hours
    return _rounded(apart_ms)


def _rounded(milliseconds: float) -> float:
    """Round to 10 ms: how long messages are on their way is not known better."""
    return round(milliseconds / 10.0) * 10.0


class _Others(NamedTuple):
    """The sensors beside transforms, and how long is waited for what comes late."""

    streams: list[Stream]
    wait_s: float


def _judge_tracks(
    tracks: list[Track], edges: Mapping[int, Latency], clocks: Clocks, reference: float, others: _Others
) -> None:
    """Judge the edges along which the device moves; those that stand may be stamped ahead, as AMCL does."""
    proven: list[Finding] = []
    offsets: list[float] = []
    for track in tracks:
        motion = motion_of([track])
        latency = edges[id(track)]
        if latency.spread_ms > _UNSTEADY_MS:
            continue
        off = latency.high_ms - min(reference, 0.0)
        matters = motion.extent_m > 0.3
        given = clocks.given.get(track.topic, _TRANSFORMS)
        if off < -AHEAD_MS and matters:
            offset = _rounded(latency.high_ms - min(max(reference, 0.0), _USUAL_DELAY_MS))
            proven.append(warnings.tf_clock_ahead(track.child, -off, motion.speed, given.corrected_by(offset)))
            if given.section == _TRANSFORMS.section:
                offsets.append(offset)
        elif latency.high_ms - max(reference, 0.0) > LATE_MS - 5.0 and latency.high_ms > LATE_MS and matters:
            behind = latency.high_ms - min(max(reference, 0.0), _USUAL_DELAY_MS)
            if _begin_late(track.stamps, track.logs, others.streams, behind):
                if behind > others.wait_s * 1e3:
                    found = warnings.late_messages(track.topic, latency.high_ms, reference, others.wait_s)
                    clocks.findings.append(found)
                continue
            offset = _likely(behind)
            is_proven = behind > _CLOCK_MS or offset in _STEPS_MS
            finding = warnings.tf_clock_behind(
                track.child,
                latency.high_ms,
                reference,
                motion.speed,
                given.corrected_by(offset),
                is_proven=is_proven,
            )
            if is_proven and given.section == _TRANSFORMS.section:
                offsets.append(offset)
            (proven if is_proven else clocks.findings).append(finding)
    clocks.findings += proven
    if offsets and len(proven) == len([t for t in tracks if motion_of([t]).extent_m > 0.3]):
        clocks.transforms_offset_ms = float(np.median(offsets))
        clocks.transforms_reason = proven[0].text


def _find_moment(
    stream: Stream, facts: CloudFacts, clocks: Clocks, reference: float, offset_ms: float, log_error_ms: float
) -> None:
    """Find a lidar whose clouds are recorded before the sweep would be over that began at their stamps."""
    times = facts.times
    if not times.is_good or times.is_absolute or times.first_ms < -0.1 * times.span_ms:
        return
    if clocks.latencies[stream.name].spread_ms > _UNSTEADY_MS:
        return
    late = stream.latencies_ms - offset_ms
    soonest, usual = np.percentile(late, (5, 50))
    if soonest + log_error_ms > times.last_ms - 3.0 - 0.03 * times.span_ms or usual < -AHEAD_MS:
        return
    others = [
        latency.low_ms
        for topic, latency in clocks.latencies.items()
        if topic != stream.name and latency.is_within(-AHEAD_MS, LATE_MS)
    ]
    typical = float(np.median(others)) if others else min(reference, _USUAL_DELAY_MS)
    middle = float(usual) - times.span_ms / 2
    moment: Moment = "end"
    if middle > -2.0 and abs(middle - typical) < abs(float(usual) - typical):
        moment = "middle"
    finding = warnings.stamp_end(stream.name, float(usual), times.span_ms, moment, f"<sensor>.stamp: {moment}")
    clocks.moments[stream.name] = (moment, finding.text)
    clocks.findings.append(finding)


def _moment_by_times(topic: str, facts: CloudFacts, clocks: Clocks) -> None:
    """Read off absolute times which moment of the sweep the stamp marks."""
    times = facts.times
    if not times.is_good or not times.is_absolute or topic in clocks.moments or topic in clocks.corrections:
        return
    if abs(times.last_ms) < 0.15 * times.span_ms:
        clocks.moments[topic] = ("end", "the last point has the time of the stamp")
    elif abs(times.first_ms + times.last_ms) < 0.2 * times.span_ms:
        clocks.moments[topic] = ("middle", "the stamp is in the middle of the points' times")


def log_steps(streams: Iterable[Stream]) -> bool:
    """Whether the recorder's own clock was set back: log times go back within a topic."""
    return any(float(np.diff(stream.arrivals[1]).min(initial=0)) < -_LOG_STEP_NS for stream in streams)


def step_findings(streams: Iterable[Stream], tracks: Iterable[Track]) -> list[Finding]:
    """Find clocks that were set back: stamps that stay below the highest one for several messages in a row.

    A clock was set alone where a lidar would have shown the step, and did not.
    """
    streams, tracks = list(streams), list(tracks)
    steps = {stream.name: find_step(stream.arrivals[0], _in_a_row(stream)) for stream in streams}
    of_tracks: dict[str, tuple[float, float] | None] = {}
    for track in tracks:
        of_tracks[track.child] = find_step(track.stamps, EDGE_STEP) or of_tracks.get(track.child)
    lidars = {stream.name: stream.period_ns for stream in streams if "cloud" in stream.kinds}
    periods = {track.child: float(np.median(np.diff(track.stamps))) for track in tracks if len(track) > _LEAST_MESSAGES}

    def finding(name: str, back_s: float, after_s: float, *, is_frame: bool) -> Finding:
        able = {**lidars, **(periods if name in lidars else {})}
        stepped = {**of_tracks, **steps}
        steady = (one for one, period in able.items() if stepped[one] is None and 2 * period <= back_s * 1e9)
        other = next(steady, "")
        if not other:
            return warnings.clock_step(name, back_s, after_s, is_frame=is_frame)
        return warnings.clock_step_alone(name, back_s, after_s, other, is_frame=is_frame)

    found = [finding(name, *step, is_frame=False) for name, step in steps.items() if step is not None]
    found += [finding(child, *step, is_frame=True) for child, step in of_tracks.items() if step is not None]
    return found


def _in_a_row(stream: Stream) -> int:
    """Return how many stamps in a row below the highest one are a step: of a video in decoding order many are not."""
    return VIDEO_STEP if any(in_decoding_order(message) for message in stream.first[:1]) else SENSOR_STEP
