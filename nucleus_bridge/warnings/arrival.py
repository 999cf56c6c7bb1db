# SPDX-License-Identifier: Apache-2.0
"""Clocks, and what comes late, repeated or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from nucleus_bridge.warnings.finding import Code, Finding, Weight, length_of_time


def clock_step(name: str, back_s: float, after_s: float | None, *, is_frame: bool) -> Finding:
    """A clock that was set back."""
    what = f"transforms of {name!r}" if is_frame else name
    return Finding(
        Code.CLOCK_STEP,
        "frame" if is_frame else "topic",
        name,
        f"stamps of {what} step back by {length_of_time(back_s * 1e3)}"
        + ("" if after_s is None else f" {after_s:.1f} s after their start")
        + ": the clock was set; the scene ends there",
        "synchronise clocks before recording (chrony, PTP); nothing can be said about the time that ran twice",
        Weight.LOSS,
    )


def clock_step_alone(name: str, back_s: float, after_s: float | None, others: str, *, is_frame: bool) -> Finding:
    """A clock that was set back while that of the others was not, so that nothing after it belongs together."""
    what = f"transforms of {name!r}" if is_frame else name
    return Finding(
        Code.CLOCK_STEP,
        "frame" if is_frame else "topic",
        name,
        f"stamps of {what} step back by {length_of_time(back_s * 1e3)}"
        + ("" if after_s is None else f" {after_s:.1f} s after their start")
        + f", those of {others} do not: its clock alone was set; the scene ends there, and what is stamped after it "
        "does not belong to what the others saw",
        "convert the time before it: nucleus-bridge convert --around FILE; "
        + ("take poses from elsewhere" if is_frame else "or leave it out")
        + "; synchronise clocks before recording (chrony, PTP)",
    )


def recorder_clock(path: str, shift_s: float) -> Finding:
    """A recorder of several whose clock differs from that of the others."""
    return Finding(
        Code.RECORDER_CLOCK,
        "recording",
        path,
        f"the clock of the recorder of {path} is {length_of_time(abs(shift_s) * 1e3)} "
        f"{'ahead' if shift_s < 0 else 'behind'}; its log times are moved to the clock of the other",
        "nothing need be done: stamps decide; synchronise the clocks of recorders (chrony, PTP)",
        Weight.NOTE,
    )


def clock_step_forward(name: str, by_s: float, after_s: float, max_gap_s: float | None, *, is_frame: bool) -> Finding:
    """A clock that was set forward by less than what ends a scene, so that poses are interpolated across it."""
    what = f"transforms of {name!r}" if is_frame else name
    remedy = "synchronise clocks before recording (chrony, PTP); nothing can be said about what was measured across it"
    return Finding(
        Code.CLOCK_STEP,
        "frame" if is_frame else "topic",
        name,
        f"stamps of {what} step forward by {length_of_time(by_s * 1e3)} {after_s:.1f} s after their start, while log "
        "times go on evenly: the clock was set, and what is interpolated across it is wrong",
        remedy if max_gap_s is None else f"scene.max_gap_s: {max_gap_s}",
    )


def sensor_clock(topic: str, text: str, remedy: str) -> Finding:
    """A sensor whose clock is not that of the others."""
    return Finding(Code.SENSOR_CLOCK, "topic", topic, text, remedy)


def late_messages(topic: str, late_ms: float, others_ms: float, wait_s: float) -> Finding:
    """Messages that are recorded later than the synchroniser waits."""
    enough = float(int(late_ms / 1e3) + 2)
    return Finding(
        Code.LATE_MESSAGES,
        "topic",
        topic,
        f"{topic} is recorded {length_of_time(late_ms)} after its stamps, other topics {length_of_time(others_ms)}: "
        f"that is more than sync.wait_s, {wait_s:g} s, so it comes too late for its frames",
        f"sync.wait_s: {enough}",
        Weight.LOSS,
    )


def late_for_frames(topic: str, late_s: float, wait_s: float) -> Finding:
    """Messages that came when their frames were decided."""
    return Finding(
        Code.LATE_MESSAGES,
        "topic",
        topic,
        f"messages of {topic} came up to {late_s:.1f} s after those of other topics with the same stamp, later than "
        f"sync.wait_s, {wait_s:g} s: their frames were made without them",
        f"sync.wait_s: {float(int(late_s) + 2)}",
        Weight.LOSS,
    )


def sensor_unused(topic: str, name: str, kind: str, lost: Mapping[str, int], parameter: str) -> Finding:
    """A configured sensor of which nothing is in any frame."""
    causes = ", ".join(f"{count} {cause}" for cause, count in sorted(lost.items()))
    remedy = "look at its topic: nucleus-bridge inspect"
    if lost.keys() & {"no_frame", "other_clock"}:
        remedy = (
            f"compare its clock (nucleus-bridge inspect), then {parameter}.clock_offset_ms or "
            f"{parameter}.stamp_source: log, or raise {parameter}.tolerance_ms"
        )
    elif lost.keys() & {"uncalibrated", "no_calibration"}:
        remedy = f"{parameter}.calibration_file: a camera_info YAML of this camera at this size"
    elif "late" in lost:
        remedy = "raise sync.wait_s"
    return Finding(
        Code.CAMERA_UNUSED if kind == "image" else Code.SENSOR_UNUSED,
        "topic",
        topic,
        f"no frame has anything of the configured sensor {name!r} on {topic}: "
        + (f"lost by {causes}" if causes else "it has no messages"),
        remedy,
        Weight.LOSS,
    )


def sensor_silent(topic: str, spans: Sequence[str], of_s: float, section: str) -> Finding:
    """A sensor that sends nothing for a part of the time; ``section`` is '' for the one that frames are made from."""
    without = "frames of that time are without it" if section else "there are no frames of that time"
    remedy = "look at its driver and its link"
    return Finding(
        Code.SENSOR_SILENT,
        "topic",
        topic,
        f"{topic} sends nothing {' and '.join(spans)} of the {of_s:.1f} s in which the sensors send: {without}",
        f"{remedy}, or leave out frames without it: {section}.required: true" if section else remedy,
        Weight.LOSS,
    )


def metadata_absent(topic: str, name: str, count: int) -> Finding:
    """A signal of the vehicle of which no scene has a value."""
    why = f"its {count} values lie behind every scene" if count else "it has no value"
    return Finding(
        Code.METADATA_ABSENT,
        "topic",
        topic,
        f"{topic}: no scene has metadata.{name}: {why}",
        f"compare its stamps with the lidar's (nucleus-bridge inspect), or leave metadata_from.{name} out",
        Weight.LOSS,
    )


def frozen(
    what: Literal["cloud", "image"], topic: str, share: str, longest: int, seconds: float, way_m: float
) -> Finding:
    """A lidar or a camera that repeats itself while the device moves; ``share`` is how many of how many."""
    lidar_or_camera = "lidar" if what == "cloud" else "camera"
    return Finding(
        Code.CLOUD_FROZEN if what == "cloud" else Code.IMAGE_FROZEN,
        "topic",
        topic,
        f"{share} {what}s of {topic} repeat the one before under a new stamp while the device moves, up to {longest} "
        f"in a row over {length_of_time(1e3 * seconds)} and {way_m:.1f} m: they are older than they say",
        f"leave it out of {lidar_or_camera}_names, or convert the time without them: nucleus-bridge convert --around "
        "FILE",
    )
