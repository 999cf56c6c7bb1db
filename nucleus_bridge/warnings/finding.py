# SPDX-License-Identifier: Apache-2.0
"""What a warning is: its code, its weight, its text and the configuration line or command that remedies it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    CAMERA_INFO_CHANGES = "camera_info_changes"
    CAMERA_BODY_FRAME = "camera_body_frame"
    CAMERA_MOUNT = "camera_mount"
    STEREO_ONE_FRAME = "stereo_one_frame"
    IMAGE_MOSAIC = "image_mosaic"
    IMAGE_ORIENTATION = "image_orientation"
    IMAGE_DAMAGED = "image_damaged"
    IMAGE_DARK = "image_dark"
    IMAGE_BLANK = "image_blank"
    IMAGE_FROZEN = "image_frozen"
    CAMERA_UNUSED = "camera_unused"
    SENSOR_UNUSED = "sensor_unused"
    SENSOR_SILENT = "sensor_silent"
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


def off(speed: float, milliseconds: float) -> str:
    """Say where a clock error puts things at a speed in m/s."""
    return (
        f"up to {speed * abs(milliseconds) / 1e3:.1f} m from where they were"
        if speed > 0.1
        else "elsewhere when it moves"
    )


def number_of(number: int, one: str, several: str = "") -> str:
    """Write a number of things."""
    return f"{number} {one if number == 1 else several or one + 's'}"
