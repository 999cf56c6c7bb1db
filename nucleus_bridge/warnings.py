# SPDX-License-Identifier: Apache-2.0
"""Every warning: its code, its text with figures, and the configuration line or command that remedies it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Literal, get_args

Subject = Literal["topic", "frame", "sensor", "recording", "scene", "parameter"]


class Code(str, Enum):
    """What a warning is about. Scripts and pages go by these names; none is ever renamed."""

    TF_CLOCK = "tf_clock"
    TF_CONFLICT = "tf_conflict"
    TF_SPARSE = "tf_sparse"
    TF_GAP = "tf_gap"
    TF_IMPLAUSIBLE = "tf_implausible"
    BAD_TRANSFORM = "bad_transform"
    STATIC_CHANGED = "static_changed"
    NO_POSE = "no_pose"
    NO_MOUNT = "no_mount"
    POSE_UNUSED = "pose_unused"
    MOUNT_UNUSED = "mount_unused"
    MOUNT_FAR = "mount_far"
    MOUNT_OVERRIDES = "mount_overrides"
    POSE_DUPLICATES = "pose_duplicates"
    POSE_GAPS = "pose_gaps"
    POSE_ATTITUDE = "pose_attitude"
    POSE_INVERSE = "pose_inverse"
    CLOCK_STEP = "clock_step"
    RECORDER_CLOCK = "recorder_clock"
    SENSOR_CLOCK = "sensor_clock"
    POINT_TIME_SPAN = "point_time_span"
    POINT_TIME_OUTLIERS = "point_time_outliers"
    POINT_TIME_FAR = "point_time_far"
    POINT_TIME_SUSPECT = "point_time_suspect"
    STAMP_END = "stamp_end"
    ALREADY_DESKEWED = "already_deskewed"
    SWEEP_IN_PARTS = "sweep_in_parts"
    DERIVED_CLOUD = "derived_cloud"
    CLOUD_FROZEN = "cloud_frozen"
    CLOUD_UNITS = "cloud_units"
    CAMERA_INFO_IMPLAUSIBLE = "camera_info_implausible"
    CAMERA_BODY_FRAME = "camera_body_frame"
    CAMERA_MOUNT = "camera_mount"
    STEREO_ONE_FRAME = "stereo_one_frame"
    IMAGE_MOSAIC = "image_mosaic"
    IMAGE_ORIENTATION = "image_orientation"
    IMAGE_DAMAGED = "image_damaged"
    IMAGE_DARK = "image_dark"
    IMAGE_FROZEN = "image_frozen"
    CAMERA_UNUSED = "camera_unused"
    SENSOR_UNUSED = "sensor_unused"
    METADATA_ABSENT = "metadata_absent"
    LATE_MESSAGES = "late_messages"
    GPS_IMPLAUSIBLE = "gps_implausible"
    HEADING_INVALID = "heading_invalid"
    HEADING_DISAGREES = "heading_disagrees"
    DEVICE_AXES = "device_axes"
    AXES_MIRRORED = "axes_mirrored"
    CALIBRATION_SUSPECT = "calibration_suspect"
    CALIBRATION_NOT_MEASURED = "calibration_not_measured"
    UNREADABLE_TOPIC = "unreadable_topic"
    SPLIT_MISSING = "split_missing"
    RECORDING_DAMAGED = "recording_damaged"
    ROS1_MESSAGES = "ros1_messages"
    SCENE_LARGE = "scene_large"


LOST_PARTS = (Code.CAMERA_UNUSED.value, Code.SENSOR_UNUSED.value)
"""Codes of a configured sensor that is missing whole."""
INCOMPLETE = (*LOST_PARTS, Code.LATE_MESSAGES.value)
"""Codes that say of a conversion that something is missing, whatever is counted as lost."""


class Weight(Enum):
    """What a warning means for the scenes."""

    NOTE = "note"  # a matter of taste, or already remedied
    LOSS = "loss"  # something is missing
    METRES = "metres"  # what comes out may be wrong by metres, or is not what it seems


@dataclass(frozen=True)
class Finding:
    """One warning about a recording, a scene or a live graph.

    Attributes:
        code: Fixed; scripts and pages go by it.
        subject: The kind of thing it is about.
        name: Its name.
        text: What contradicts what, with figures in human units.
        remedy: A configuration line or a command.
        weight: What it means for the scenes.
        is_proven: Whether the recording itself proves it, so that ``init`` applies the remedy.

    Examples:
        >>> from nucleus_bridge.inspect.report import inspect_bag
        >>> inspect_bag("drive").warnings
        []
        >>> finding = Finding(Code.IMAGE_DARK, "topic", "/front", "every picture is dark", "look at one of them")
        >>> print(finding)
        warning: every picture is dark [image_dark] (look at one of them)
        >>> finding.as_json()["code"]
        'image_dark'
    """

    code: Code
    subject: Subject
    name: str
    text: str
    remedy: str
    weight: Weight = Weight.METRES
    is_proven: bool = False

    def as_json(self) -> dict[str, str]:
        """Return it as ``--json`` and manifests have it."""
        return {"code": Code(self.code).value, self.subject: self.name, "text": self.text, "remedy": self.remedy}

    @classmethod
    def from_json(cls, record: Mapping[str, str]) -> Finding:
        """Return the finding that ``as_json`` wrote down; its weight is not in it."""
        subject: Subject = next((one for one in get_args(Subject) if one in record), "recording")
        return cls(Code(record["code"]), subject, record.get(subject, ""), record["text"], record["remedy"])

    def remedied(self, by: str = "") -> Finding:
        """Return it as a note: the configuration at hand has its remedy, or ``by`` says what was done."""
        return replace(self, weight=Weight.NOTE, remedy=by or self.remedy)

    def __str__(self) -> str:
        """Return it as a terminal shows it."""
        return f"warning: {self.text} [{Code(self.code).value}] ({self.remedy})"


def lose_parts(findings: Iterable[Finding]) -> bool:
    """Whether a configured sensor contributed nothing."""
    return any(finding.code.value in LOST_PARTS for finding in findings)


def is_incomplete(findings: Iterable[Finding]) -> bool:
    """Whether something that was recorded is missing in what was converted."""
    return any(says_incomplete(finding.as_json()) for finding in findings)


def says_incomplete(finding: Mapping[str, str]) -> bool:
    """Whether a warning, as ``--json`` has it, says so: that of a device that stands does where a topic proves it."""
    code = finding.get("code")
    return code in INCOMPLETE or (code == Code.NO_POSE.value and "topic" in finding)


def length_of_time(milliseconds: float) -> str:
    """Write a length of time in the unit that people would use."""
    size = abs(milliseconds)
    for least, unit, per in ((86_400_000, "days", 86_400_000), (7_200_000, "hours", 3_600_000), (1_000, "s", 1_000)):
        if size >= least:
            return f"{size / per:.1f} {unit}"
    return f"{size:.0f} ms" if size >= 10 else f"{size:.1f} ms"


# Transforms and poses


def tf_clock_ahead(child: str, ahead_ms: float, speed: float, remedy: str) -> Finding:
    """Transforms whose stamps are later than the time at which they were received."""
    return Finding(
        Code.TF_CLOCK,
        "frame",
        child,
        f"transforms of {child!r} are stamped {length_of_time(ahead_ms)} after they were recorded: their computer's "
        f"clock is ahead, which puts sensors {_off(speed, ahead_ms)}",
        remedy,
        is_proven=True,
    )


def tf_clock_behind(child: str, behind_ms: float, others_ms: float, speed: float, remedy: str) -> Finding:
    """Transforms that arrive long after their stamps, unlike the other topics."""
    return Finding(
        Code.TF_CLOCK,
        "frame",
        child,
        f"transforms of {child!r} are recorded {length_of_time(behind_ms)} after their stamps, other topics "
        f"{length_of_time(others_ms)}: either they are computed late, which is harmless, or their computer's clock is "
        f"behind, which puts sensors {_off(speed, behind_ms - others_ms)}",
        f"if it is the clock: {remedy}",
    )


def tf_conflict(child: str, detail: str, remedy: str) -> Finding:
    """Two answers for one transform."""
    return Finding(
        Code.TF_CONFLICT, "frame", child, f"there are two answers for the pose of {child!r}: {detail}", remedy
    )


def tf_sparse(child: str, rate_hz: float, speed: float, error_m: float, error_deg: float) -> Finding:
    """Transforms too far apart in time for how the device moves."""
    return Finding(
        Code.TF_SPARSE,
        "frame",
        child,
        f"transforms of {child!r} come {rate_hz:.1f} times a second while it moves at {speed:.1f} m/s: poses between "
        f"them may be off by {error_m:.2f} m and {error_deg:.1f} degrees",
        "record the transforms of an odometry at 20 Hz or more, or name its topic: pose_names: [ego], "
        "poses.ego.topic: /odometry",
    )


def tf_gap(child: str, gaps: int, longest_s: float, moved_m: float) -> Finding:
    """Gaps in the transforms in which the device may have been anywhere."""
    return Finding(
        Code.TF_GAP,
        "frame",
        child,
        f"transforms of {child!r} have {_count(gaps, 'gap')} of up to {longest_s:.1f} s, over which it moved up to "
        f"{moved_m:.1f} m; sweeps in them get no pose",
        "record without loss, or raise scene.max_gap_s if it moved evenly in between",
        Weight.LOSS,
    )


def tf_implausible(child: str, why: str) -> Finding:
    """An edge that moves as no vehicle can."""
    return Finding(
        Code.TF_IMPLAUSIBLE,
        "frame",
        child,
        f"transforms of {child!r} cannot be right: {why}",
        "convert a part of the recording, or take poses from elsewhere: pose_names, poses.<name>.topic or file",
    )


def static_changed(child: str, moved_m: float, turned_deg: float, after_s: float) -> Finding:
    """A static transform that changes within a recording."""
    return Finding(
        Code.STATIC_CHANGED,
        "frame",
        child,
        f"the static transform of {child!r} changes by {moved_m:.3f} m and {turned_deg:.2f} degrees {after_s:.1f} s "
        "after its first value; each value holds from its message on, the first one for all before",
        f"one mount for the whole recording: mount_names: [fixed], mounts.fixed.child_frame: {child}, with "
        "parent_frame, xyz and rpy",
    )


def no_pose(frame: str, text: str, remedy: str) -> Finding:
    """There is no pose over time."""
    return Finding(Code.NO_POSE, "frame", frame, text, remedy)


def device_never_moves(world_frame: str, device_frame: str) -> Finding:
    """A conversion in which nothing tells how the device moves."""
    apart = f"only static transforms lie between {world_frame!r} and {device_frame!r}"
    same = f"world_frame and device_frame are both {device_frame!r}"
    return no_pose(
        device_frame,
        f"no pose over time: {same if world_frame == device_frame else apart}; the clouds of a scene fit together only "
        "if it stood still",
        "name a trajectory: pose_names: [ego], poses.ego.file: FILE, or estimate one: nucleus-bridge odometry BAG "
        "--config FILE -o FILE.tum",
    )


def device_stands(topic: str, what: str, way_m: float, device_frame: str) -> Finding:
    """The device stands in the scenes, and a topic proves that it moved."""
    return Finding(
        Code.NO_POSE,
        "topic",
        topic,
        f"no pose over time: {what} move {way_m:.0f} m, the device of the scenes ({device_frame!r}) stands",
        "name a trajectory: world_frame: map, pose_names: [ego], poses.ego.file: FILE, or estimate one: nucleus-bridge "
        "odometry BAG --config FILE -o FILE.tum",
    )


def pose_inverse(name: str, parent: str, child: str, why: str) -> Finding:
    """Parent and child of a source of poses are swapped."""
    return Finding(
        Code.POSE_INVERSE,
        "frame",
        child,
        f"{name} seems to hold poses of {parent!r} in {child!r}, not of {child!r} in {parent!r}: {why}",
        f"{name}.parent_frame: {child}, {name}.child_frame: {parent}",
    )


def no_mount(frame: str, topic: str, device_frame: str, name: str) -> Finding:
    """A sensor's frame is in no transform although there are transforms."""
    return Finding(
        Code.NO_MOUNT,
        "frame",
        frame,
        f"nothing connects the frame {frame!r} of {topic} with {device_frame!r}: its mount was not recorded",
        f"mount_names: [{name}], mounts.{name}.parent_frame: {device_frame}, mounts.{name}.child_frame: {frame}, with "
        "xyz and rpy, or record /tf_static or /robot_description; where an earlier part of the drive has it, give both "
        "with --merge",
        Weight.LOSS,
    )


def pose_unused(topic: str, type_name: str, count: int, remedy: str) -> Finding:
    """A pose topic that nothing uses while there is no pose."""
    return Finding(
        Code.POSE_UNUSED,
        "topic",
        topic,
        f"{topic} has {_count(count, 'message')} of {type_name} that give a pose, and no transform does",
        remedy,
    )


def mount_unused(topic: str, frames: Sequence[str], remedy: str) -> Finding:
    """A robot description that knows frames which no transform has."""
    return Finding(
        Code.MOUNT_UNUSED,
        "topic",
        topic,
        f"{topic} knows where {', '.join(map(repr, frames))} is mounted, and nothing uses it",
        remedy,
        Weight.LOSS,
    )


def mount_overrides(child: str, difference: str, topic: str) -> Finding:
    """A mount of the configuration that a transform contradicts."""
    return Finding(
        Code.MOUNT_OVERRIDES,
        "frame",
        child,
        f"{difference} on {topic}",
        "leave the mount out if the recording knows better",
        Weight.NOTE,
    )


def unmounted_body(body: str, device_frame: str) -> Finding:
    """Poses of a body that nothing joins to the device."""
    return Finding(
        Code.NO_MOUNT,
        "frame",
        body,
        f"poses of {body!r} are known, and nothing joins it to {device_frame!r}",
        f"mount_names: [body], mounts.body.parent_frame: {device_frame}, mounts.body.child_frame: {body}, with xyz and "
        f"rpy; or device_frame: {body}",
        Weight.LOSS,
    )


# Clocks


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


# Clouds


def _in_field(field: str) -> str:
    return f"in field {field!r} " if field else ""


def point_time_span(topic: str, field: str, span: str, period_ms: float, remedy: str) -> Finding:
    """Point times of which no unit makes a sweep."""
    return Finding(
        Code.POINT_TIME_SPAN,
        "topic",
        topic,
        f"times {_in_field(field)}of {topic} run from {span} within a sweep, and sweeps come every {period_ms:.0f} "
        "ms: no unit makes one of the other, so points cannot be deskewed",
        remedy,
        Weight.LOSS,
    )


def point_times_equal(topic: str, field: str, period_ms: float, remedy: str) -> Finding:
    """Point times that say nothing, of a lidar that turns."""
    return Finding(
        Code.POINT_TIME_SPAN,
        "topic",
        topic,
        f"times {_in_field(field)}of {topic} are the same for all points of a sweep, and sweeps come every "
        f"{period_ms:.0f} ms: points cannot be deskewed",
        remedy,
        Weight.LOSS,
    )


def points_left_out(topic: str, name: str, count: int) -> Finding:
    """Points that were left out for their times."""
    return Finding(
        Code.POINT_TIME_OUTLIERS,
        "topic",
        topic,
        f"{_count(count, 'point')} of {topic} had impossible times and were left out (time_outlier_points)",
        f"fix the driver, or use no point times: lidars.{name}.time_field: none",
        Weight.LOSS,
    )


def point_time_outliers(topic: str, field: str, count: int, share: float, farthest_ms: float) -> Finding:
    """Some points whose time is impossible."""
    return Finding(
        Code.POINT_TIME_OUTLIERS,
        "topic",
        topic,
        f"{count} of the points looked at on {topic} ({share:.1%}) have times up to {length_of_time(farthest_ms)} "
        f"outside of their sweep in field {field!r}; they are left out and counted as time_outlier_points",
        "fix the driver, or use no point times: lidars.<name>.time_field: none",
        Weight.LOSS,
    )


def point_time_far(topic: str, field: str, apart_ms: float, remedy: str) -> Finding:
    """Absolute point times far from the stamp."""
    side = "before" if apart_ms < 0 else "after"
    return Finding(
        Code.POINT_TIME_FAR,
        "topic",
        topic,
        f"times {_in_field(field)}of {topic} lie {length_of_time(apart_ms)} {side} header.stamp: they "
        "belong to another clock, or to another moment",
        remedy,
        Weight.METRES,
    )


def point_time_suspect(topic: str, field: str, gap_m: float, change: str, changed_m: float, remedy: str) -> Finding:
    """Point times by which a turn of the lidar does not close; ``change`` is what would close it."""
    return Finding(
        Code.POINT_TIME_SUSPECT,
        "topic",
        topic,
        f"walls that {topic} sees at the beginning and at the end of a turn are {gap_m:.2f} m apart by its times in "
        f"field {field!r}, and {changed_m:.2f} m if those {change}",
        remedy,
    )


def stamp_end(topic: str, log_ms: float, sweep_ms: float, moment: str, remedy: str) -> Finding:
    """Stamps that cannot mark the start of the sweep."""
    return Finding(
        Code.STAMP_END,
        "topic",
        topic,
        f"{topic} is recorded {length_of_time(log_ms)} after its stamps, and a sweep takes "
        f"{length_of_time(sweep_ms)}: the stamp marks the {moment} of the sweep",
        remedy,
    )


def already_deskewed(topic: str, why: str, remedy: str) -> Finding:
    """A cloud that is corrected for motion already and has point times all the same."""
    return Finding(
        Code.ALREADY_DESKEWED,
        "topic",
        topic,
        f"{topic} is corrected for motion already ({why}); deskewing it again would displace its points",
        remedy,
    )


def sweep_in_parts(topic: str, parts: int, degrees: float, remedy: str) -> Finding:
    """A turn of the lidar in several messages."""
    return Finding(
        Code.SWEEP_IN_PARTS,
        "topic",
        topic,
        f"each message of {topic} covers {degrees:.0f} degrees, the next one goes on from there: {parts} messages "
        "make one turn of the lidar",
        remedy,
    )


def cloud_units(topic: str, unit: str, remedy: str) -> Finding:
    """A cloud whose coordinates are not metres."""
    return Finding(
        Code.CLOUD_UNITS,
        "topic",
        topic,
        f"coordinates of {topic} are not metres (REP 103): as {unit} its ranges are those of a lidar",
        remedy,
    )


def derived_cloud(topic: str, why: str) -> Finding:
    """A cloud that was computed from a lidar's."""
    return Finding(
        Code.DERIVED_CLOUD,
        "topic",
        topic,
        f"{topic} is not a lidar's own cloud: {why}",
        "leave it out of lidar_names",
        Weight.NOTE,
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


# Cameras


def camera_info_implausible(topic: str, why: str, name: str = "<name>") -> Finding:
    """A calibration that contradicts the image or itself."""
    return Finding(
        Code.CAMERA_INFO_IMPLAUSIBLE,
        "topic",
        topic,
        f"the calibration on {topic} is implausible: {why}",
        f"cameras.{name}.calibration_file: a camera_info YAML of this camera at this size",
    )


def camera_body_frame(frame: str, topic: str, remedy: str) -> Finding:
    """Images in a frame whose z axis points up."""
    return Finding(
        Code.CAMERA_BODY_FRAME,
        "frame",
        frame,
        f"{topic} is in {frame!r}, whose z axis points up: a body frame (x forward), not an optical one (z forward)",
        remedy,
    )


def camera_mount(topic: str, why: str) -> Finding:
    """A camera whose mount looks wrong."""
    return Finding(
        Code.CAMERA_MOUNT, "topic", topic, f"{topic}: {why}", "look at a scene: nucleus-bridge preview SCENE"
    )


def calibration_suspect(subject: Subject, name: str, about: str, why: str, remedy: str) -> Finding:
    """A camera whose images would fit the clouds better with another calibration."""
    return Finding(
        Code.CALIBRATION_SUSPECT,
        subject,
        name,
        f"the calibration of {about} is suspect: {why}",
        remedy or "look at a scene: nucleus-bridge preview SCENE",
    )


def calibration_not_measured(subject: Subject, name: str, about: str, why: str) -> Finding:
    """A camera of which nobody knows whether it fits the clouds."""
    return Finding(
        Code.CALIBRATION_NOT_MEASURED,
        subject,
        name,
        f"the calibration of {about} was not measured: {why}",
        "look at a scene: nucleus-bridge preview SCENE; or measure it on a recording that drives past poles and walls",
        Weight.NOTE,
    )


def stereo_one_frame(topic: str, frame: str, baseline_m: float, remedy: str) -> Finding:
    """Two cameras of a stereo pair in one frame."""
    return Finding(
        Code.STEREO_ONE_FRAME,
        "topic",
        topic,
        f"{topic} is in the frame {frame!r} of the other camera of its pair, and P of its CameraInfo says that it is "
        f"{baseline_m:.3f} m beside it",
        remedy,
    )


def image_mosaic(topic: str, text: str, remedy: str) -> Finding:
    """A Bayer mosaic in an image file."""
    return Finding(Code.IMAGE_MOSAIC, "topic", topic, f"{topic}: {text}", remedy)


def unsaid_mosaic(topic: str, patterns: Sequence[str], remedy: str) -> Finding:
    """A gray picture that may be a mosaic of two patterns, the two greens of which are alike."""
    text = f"its gray pictures look like a Bayer mosaic ({' or '.join(patterns)}), which their encoding does not say"
    return image_mosaic(topic, text, remedy)


def image_orientation(topic: str, value: int) -> Finding:
    """A JPEG that tells viewers to turn it."""
    return Finding(
        Code.IMAGE_ORIENTATION,
        "topic",
        topic,
        f"images of {topic} carry the EXIF orientation {value}, which would turn them away from their calibration; the "
        "tag is reset in what is written",
        "turn the tag off in the driver",
        Weight.NOTE,
    )


def image_damaged(topic: str, damaged: int, looked_at: int, why: str) -> Finding:
    """Images that decode in part only."""
    return Finding(
        Code.IMAGE_DAMAGED,
        "topic",
        topic,
        f"{damaged} of {looked_at} images of {topic} that were decoded are damaged: {why}",
        "nucleus-bridge convert --verify-images leaves damaged ones out",
        Weight.LOSS,
    )


def images_left_out(topic: str, count: int, why: str) -> Finding:
    """Images that are damaged and therefore in no scene."""
    return Finding(
        Code.IMAGE_DAMAGED,
        "topic",
        topic,
        f"{_count(count, 'image')} of {topic} cannot be decoded as a whole and {'is' if count == 1 else 'are'} left "
        f"out: {why}",
        f"look at the camera's driver or link; ros2 topic bw {topic} shows what arrives",
        Weight.LOSS,
    )


def image_dark(topic: str, largest: int, bits: int, name: str = "<name>") -> Finding:
    """16-bit images that use a part of their range."""
    return Finding(
        Code.IMAGE_DARK,
        "topic",
        topic,
        f"16-bit images of {topic} have no value above {largest}: they seem to have {bits} significant bits and would "
        "come out dark",
        f"cameras.{name}.bit_depth: {bits}",
        Weight.LOSS,
    )


def camera_unused(topic: str, why: str, remedy: str) -> Finding:
    """A camera of which no image reaches a frame."""
    return Finding(
        Code.CAMERA_UNUSED, "topic", topic, f"no image of {topic} reaches a frame: {why}", remedy, Weight.LOSS
    )


def image_black(topic: str, looked_at: int) -> Finding:
    """Pictures that show nothing."""
    return Finding(
        Code.IMAGE_DARK,
        "topic",
        topic,
        f"all of {looked_at} images of {topic} that were looked at are black: the lens is covered, the exposure is too "
        "short, or the driver sends empty pictures",
        "look at the camera, or leave it out of camera_names",
        Weight.LOSS,
    )


# Satellites and heading


def gps_implausible(topic: str, count: int, total: int, why: str) -> Finding:
    """Fixes that cannot be."""
    return Finding(
        Code.GPS_IMPLAUSIBLE,
        "topic",
        topic,
        f"{count} of {_count(total, 'fix', 'fixes')} on {topic} cannot be: {why}; they are not used",
        "gps.topic: '' leaves fixes out",
        Weight.LOSS,
    )


def gps_track_implausible(topic: str, total: int, why: str) -> Finding:
    """Fixes that all together contradict the transforms."""
    return Finding(
        Code.GPS_IMPLAUSIBLE,
        "topic",
        topic,
        f"all of {_count(total, 'fix', 'fixes')} on {topic} contradict the transforms: {why}",
        "gps.topic: '' leaves fixes out",
    )


def heading_invalid(topic: str, count: int, total: int) -> Finding:
    """An Imu whose orientation is marked as unknown."""
    return Finding(
        Code.HEADING_INVALID,
        "topic",
        topic,
        f"{count} of {_count(total, 'message')} on {topic} have no orientation (orientation_covariance begins with "
        "-1, or the quaternion is zero)",
        "gps.heading_topic: '' takes the bearing from the course over ground",
        Weight.NOTE if count < total else Weight.LOSS,
    )


def heading_disagrees(topic: str, off_deg: float, why: str) -> Finding:
    """A heading that the course over ground contradicts."""
    return Finding(
        Code.HEADING_DISAGREES,
        "topic",
        topic,
        f"the heading on {topic} is {off_deg:.0f} degrees away from where the device moves{why}",
        "gps.heading_topic: ''",
    )


def headings_left_out(topic: str, count: int, why: str) -> Finding:
    """Headings that were not taken, as fixes and transforms contradict them."""
    return Finding(
        Code.HEADING_DISAGREES,
        "topic",
        topic,
        f"{_count(count, 'heading')} of {topic} {'was' if count == 1 else 'were'} not taken: {why}",
        "gps.heading_topic: ''",
    )


# The device


def device_axes(frame: str, text: str, weight: Weight) -> Finding:
    """A device frame whose axes are not those of REP 103."""
    return Finding(
        Code.DEVICE_AXES, "frame", frame, text, "fix the transform of the device, or set device_frame", weight
    )


def axes_mirrored(topic: str, gap_m: float, mirrored_m: float) -> Finding:
    """A cloud and poses whose axes are not of the same hand."""
    return Finding(
        Code.AXES_MIRRORED,
        "topic",
        topic,
        f"walls that {topic} sees at the beginning and at the end of a turn are {gap_m:.2f} m apart, and "
        f"{mirrored_m:.2f} m if left and right are exchanged: the axes of the cloud are left-handed, or "
        "those of the poses have z down (north, east, down)",
        "publish both with z up (REP 103: x forward, y left; x east, y north)",
    )


# The recording


def unreadable_topic(topic: str, type_name: str, count: int, kind: str, why: str, remedy: str) -> Finding:
    """A topic that is a sensor or a pose by its type and cannot be read; ``why`` may be empty."""
    package = type_name.partition("/")[0]
    return Finding(
        Code.UNREADABLE_TOPIC,
        "topic",
        topic,
        f"{topic} is a {kind} by its type and cannot be read: {_count(count, 'message')} of {type_name} (package "
        f"{package}){f'; {why}' if why else ''}",
        remedy,
        Weight.LOSS,
    )


def unread_type(topic: str, type_name: str, kind: str, remedy: str) -> Finding:
    """A topic of a type that nobody listed, which may be a sensor."""
    text = f"{topic} is {type_name}, which is not read; it may be a {kind}"
    return Finding(Code.UNREADABLE_TOPIC, "topic", topic, text, remedy, Weight.LOSS)


def split_missing(path: str, text: str, *, loses_messages: bool) -> Finding:
    """A file of the recording that is not there, or is not in its list."""
    return Finding(
        Code.SPLIT_MISSING,
        "recording",
        path,
        text,
        f"bring the file, or run: ros2 bag reindex {path}",
        Weight.LOSS if loses_messages else Weight.NOTE,
    )


def recording_damaged(path: str, text: str, *, loses_messages: bool) -> Finding:
    """A part of the recording that cannot be read."""
    return Finding(
        Code.RECORDING_DAMAGED,
        "recording",
        path,
        text,
        "copy the recording again from where it was made; what can be read is read",
        Weight.LOSS if loses_messages else Weight.NOTE,
    )


def ros1_messages(path: str, topics: int, count: int) -> Finding:
    """ROS 1 messages in a file that holds ROS 2 recordings."""
    return Finding(
        Code.ROS1_MESSAGES,
        "recording",
        path,
        f"{_count(topics, 'topic')} with {_count(count, 'message')} hold ROS 1 messages, which cannot be read as "
        "they are",
        "convert the original ROS 1 bag: rosbags-convert --src drive.bag --dst "
        f"{path.rpartition('/')[2] or 'drive'}_ros2",
        Weight.LOSS,
    )


def scene_large(reference_id: str, points: int, advised_points: int, gigabytes: float, advised_gb: float) -> Finding:
    """A scene that is larger than those who take it advise; a figure of 0 is as advised."""
    texts, remedies = [], []
    if points:
        texts.append(f"{points:,} points a frame on average where at most {advised_points:,} are advised")
        remedies += ["sfs.voxel_m: 0.02", f"cloud.max_points: {advised_points}"]
    if gigabytes:
        texts.append(f"{gigabytes:.1f} GB in one file where {advised_gb:.0f} GB load badly")
        remedies += ["sfs.images: video", "scene.max_duration_s"]
    text = f"the annotation tool may be slow with {reference_id}: {', and '.join(texts)}"
    return Finding(Code.SCENE_LARGE, "scene", reference_id, text, " or ".join(remedies), Weight.NOTE)


def _off(speed: float, milliseconds: float) -> str:
    """Say where a clock error puts things at a speed in m/s."""
    return (
        f"up to {speed * abs(milliseconds) / 1e3:.1f} m from where they were"
        if speed > 0.1
        else "elsewhere when it moves"
    )


def _count(number: int, one: str, several: str = "") -> str:
    return f"{number} {one if number == 1 else several or one + 's'}"
