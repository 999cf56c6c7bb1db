# SPDX-License-Identifier: Apache-2.0
"""Choose the parameters of lidars by what their clouds showed."""

from __future__ import annotations

import math

from nucleus_bridge import warnings
from nucleus_bridge.inspect.clouds import CloudFacts
from nucleus_bridge.inspect.point_times import Times
from nucleus_bridge.inspect.scan import Stream
from nucleus_bridge.inspect.seam import WRONG_POSES, Seam, open_seam, seam_finding
from nucleus_bridge.inspect.suggestion import Reference, Suggestion, put_clock, put_offset
from nucleus_bridge.inspect.sweeps import corrected_by_evidence, corrected_by_name, poses_in, turns
from nucleus_bridge.inspect.transforms import Transforms
from nucleus_bridge.inspect.units import UNIT_NAMES, mounted_height, scale_of


def in_metres(facts: CloudFacts, frame: str, transforms: Transforms) -> CloudFacts:
    """Return what clouds show in metres, where a lidar writes another unit."""
    if facts.is_radar:
        return facts
    scale = scale_of(facts.clouds, mounted_height(transforms.tree, frame))
    return facts if scale == 1.0 else facts.scaled(scale)


def put_lidar(made: Suggestion, name: str, stream: Stream, reference: Reference) -> None:
    """Choose the parameters of a lidar."""
    facts, key, topic = made.lidars[stream.name], f"lidars.{name}", stream.name
    others = [f"{other} ({out.text})" for other, out in made.left_out.items() if other in made.lidars]
    made.put(
        f"{key}.topic",
        topic,
        f"{facts.points} points a sweep, frame {stream.frame_id!r}",
        f"left out: {'; '.join(others)}" if others else "",
    )
    put_clock(made, key, topic)
    if facts.scale != 1.0:
        finding = warnings.cloud_units(topic, UNIT_NAMES[facts.scale], f"{key}.scale: {facts.scale}")
        made.put(f"{key}.scale", facts.scale, finding.text)
        made.findings.append(finding.remedied())
    made.put(f"{key}.intensity_field", facts.intensity_field, facts.intensity_reason)
    made.put(f"{key}.intensity_max", facts.intensity_max)
    _point_times(made, key, stream, facts)
    _moment(made, key, topic)
    _deskewed(made, key, topic, facts)
    parts = reference.parts.get(topic)
    if parts is not None:
        line = f"{key}.accumulate_ms: {parts.turn_ms}"
        finding = warnings.sweep_in_parts(topic, parts.count, parts.degrees, line)
        made.put(f"{key}.accumulate_ms", parts.turn_ms, finding.text)
        made.findings.append(finding.remedied())
    if stream is not reference.stream:
        put_offset(
            made, key, stream, reference, "median of its stamps against the first lidar's, spread {spread:.1f} ms"
        )


def _point_times(made: Suggestion, key: str, stream: Stream, facts: CloudFacts) -> None:
    times, topic = facts.times, stream.name
    period_ms = stream.period_ns / 1e6
    usable = times.verdict is Times.GOOD
    made.put(f"{key}.time_field", times.field if usable else "none", str(times), *facts.notes)
    if usable:
        reference = "absolute" if times.is_absolute else "stamp"
        turn = f" of {period_ms:.1f} ms" if period_ms else ""
        made.put(f"{key}.time_unit", times.unit, f"with it a sweep takes {times.span_ms:.1f} ms{turn}")
        made.put(f"{key}.time_reference", reference)
    if times.verdict is Times.NO_UNIT:
        span = f"{times.raw[0]:g} to {times.raw[1]:g}"
        finding = warnings.point_time_span(topic, times.field, span, period_ms, f"{key}.time_field: none")
        made.findings.append(finding)
    elif times.verdict is Times.CONSTANT and facts.clouds and turns(topic, facts.clouds[0]):
        remedy = f"{key}.time_field: none, if its driver cannot write them"
        are_numbers = not math.isnan(times.raw[0])
        finding = warnings.point_times_equal(topic, times.field, period_ms, remedy, are_numbers=are_numbers)
        made.findings.append(finding)
    elif times.verdict is Times.FAR:
        apart = times.first_ms if times.first_ms > 0 else times.last_ms
        made.findings.append(warnings.point_time_far(topic, times.field, apart, f"{key}.time_field: none"))
    if usable and times.outliers:
        share = times.outliers / times.looked_at
        made.findings.append(warnings.point_time_outliers(topic, times.field, times.outliers, share, times.farthest_ms))


def _moment(made: Suggestion, key: str, topic: str) -> None:
    by_log = made.clocks.corrections.get(topic)
    if by_log is not None and by_log.by_log:
        made.put(f"{key}.stamp", "end", "a cloud is recorded when its sweep is over")
        return
    moment, reason = made.clocks.moments.get(topic, ("start", "as most drivers do; `end` if yours stamps its end"))
    made.put(f"{key}.stamp", moment, reason)
    if moment != "start":
        made.findings[:] = [
            f.remedied() if f.code is warnings.Code.STAMP_END and f.name == topic else f for f in made.findings
        ]


def _deskewed(made: Suggestion, key: str, topic: str, facts: CloudFacts) -> None:
    if not facts.times.is_good:
        return
    word = corrected_by_name(topic)
    why = f"its name says {word}" if word else ""
    if not why and made.frames.moves:
        shift_ns = round(getattr(made.clocks.corrections.get(topic), "offset_ms", 0.0) * 1e6)
        frame = facts.clouds[0].sweep.frame_id
        poses_of = poses_in(made.transforms.tree, made.frames.world, frame, shift_ns)
        why = corrected_by_evidence(facts, facts.times, poses_of)
        if not why:
            _seam(made, key, topic, open_seam(facts, facts.times, poses_of))
    if why:
        finding = warnings.already_deskewed(topic, why, f"{key}.deskew: false")
        made.put(f"{key}.deskew", False, finding.text)
        made.findings.append(finding.remedied())


def _seam(made: Suggestion, key: str, topic: str, seam: Seam | None) -> None:
    """Name what keeps the turns of a lidar from closing; two answers for a pose would explain anything."""
    if seam is not None and not any(f.code in WRONG_POSES for f in made.findings):
        made.findings.append(seam_finding(topic, key, made.lidars[topic].times.field, seam))


def put_point_fields(made: Suggestion) -> None:
    """Choose the fields that scenes keep of each point."""
    names = list(made.lidar_names.values())
    if not names:
        return
    fields = ["intensity"] if all(made.values[f"lidars.{name}.intensity_field"] for name in names) else []
    more = ["device"] if len(names) > 1 else []
    made.put(
        "point_fields",
        [*fields, *more],
        "device numbers the lidars" if more else "",
        "" if fields else "no intensity: not every lidar has one",
        "alternatives: time (each point's own), is_ground (with lidars.<name>.ground_field)",
    )
