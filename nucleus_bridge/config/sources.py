# SPDX-License-Identifier: Apache-2.0
"""Settings of what is known besides the sensors: poses, mounts, detections, signals of the vehicle and events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from nucleus_bridge.config.schema import NOT_A_PARAMETER, required, setting
from nucleus_bridge.config.sensors import CLOCK

_URDF_SUFFIX = ".urdf"
_DESCRIPTION_TOPIC = "/robot_description"
_TOPIC = r"/?[A-Za-z_]\w*(/[A-Za-z_]\w*)*"
_FIELD = r"[A-Za-z_]\w*(\[\d+\])?(\.[A-Za-z_]\w*(\[\d+\])?)*"
_FIELD_WORDS = "a path such as pose.pose.position.x or status[0].level"
_NUMBER = r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?"
_LONGEST_S = 1e6
_LONGEST_M = 1e9
_CONDITION = rf"changes|(>=|<=|==|!=|>|<)\s*\S.*|(abs|norm)\s*(>=|<=|==|!=|>|<)\s*{_NUMBER}"

COLUMNS = (
    *("stamp", "week", "x", "y", "z", "qx", "qy", "qz", "qw"),
    *("lat", "lon", "alt", "roll", "pitch", "heading", "yaw"),
)
"""What a column of a trajectory in CSV may hold; behind a colon its unit may follow: ``roll:rad``."""

MARK = "mark"
"""The event that the recorder's service ``~/mark`` makes; it needs no topic."""


BUILTIN_METADATA = (
    *("start", "start_unix_s", "duration_s", "distance_m", "mean_speed_mps", "max_speed_mps"),
    *("lat", "lon", "heading_deg", "sun_elevation_deg", "day_night"),
)
"""What ``metadata_builtin`` makes."""

ITEMS_OWN = "camera_params"
"""The key that metadata of items have already."""


@dataclass(frozen=True)
class TransformsConfig:
    """``transforms``."""

    topics: tuple[str, ...] = setting(
        ("/tf",), "Topics of the moving transforms, offline as well.", is_topic=True, is_later=True
    )
    static_topics: tuple[str, ...] = setting(
        ("/tf_static",), "Topics of the static transforms, offline as well.", is_topic=True, is_later=True
    )
    clock_offset_ms: float = setting(0.0, "Added to every stamp of the moving transforms.", **CLOCK)
    urdf: str = setting(
        "auto",
        "Robot description whose fixed joints fill in what no transform says: `auto` takes a recorded "
        "`/robot_description`, `none` none; else a topic, or a `.urdf` file.",
        pattern=rf"none|{_TOPIC}|(?i:.+\.urdf)",
        expected="auto, none, a topic or a .urdf file",
        is_file=True,
        file_suffix=_URDF_SUFFIX,
        is_later=True,
    )

    @property
    def urdf_file(self) -> str:
        """The file of the robot description, or ""."""
        return self.urdf if self.urdf.lower().endswith(_URDF_SUFFIX) else ""

    @property
    def urdf_topic(self) -> str:
        """The topic of the robot description, or ""."""
        if self.urdf == "none" or self.urdf_file:
            return ""
        return _DESCRIPTION_TOPIC if self.urdf == "auto" else f"/{self.urdf.lstrip('/')}"


@dataclass(frozen=True)
class PoseConfig:
    """``poses.<name>``: one moving edge of the transform tree, from a topic or a file."""

    name: str = field(metadata=NOT_A_PARAMETER)
    topic: str = setting(
        "",
        "Topic of `nav_msgs/msg/Odometry` or of `geometry_msgs/msg/PoseStamped`, `PoseWithCovarianceStamped` or "
        "`TransformStamped`.",
        is_topic=True,
        is_later=True,
    )
    file: str = setting("", "A trajectory that replaces `topic`.", is_file=True, is_later=True)
    format: Literal["auto", "tum", "kitti", "csv"] = setting("auto", "Format of `file`.", is_later=True)
    times_file: str = setting(
        "", "The time of each pose in seconds, which KITTI's format needs.", is_file=True, is_later=True
    )
    columns: tuple[str, ...] = setting(
        (),
        "Which column of a CSV file holds what, such as `['stamp=t_s', 'x=east', 'y=north']`: stamp, x, y, z, qx, qy, "
        "qz, qw, or lat, lon, alt, roll, pitch, heading (degrees, clockwise from north; `roll:rad` for radians) or yaw "
        "(counterclockwise from east), and week beside a stamp in seconds of a GPS week; names or numbers of columns; "
        "empty: the columns have these names.",
        pattern=rf"({'|'.join(COLUMNS)})(:[a-z]+)?=.+",
        expected="what=column with one of " + ", ".join(COLUMNS),
        is_later=True,
    )
    parent_frame: str = setting(
        "", "Parent frame; empty: the message's `header.frame_id`, for files `world_frame`.", is_later=True
    )
    child_frame: str = setting(
        "", "Child frame; empty: the message's `child_frame_id`, else `device_frame`.", is_later=True
    )
    clock_offset_ms: float = setting(0.0, "Added to every stamp of these poses.", **CLOCK)
    compare_only: bool = setting(
        False,
        "Take no pose from it: scenes note its track, and the review page draws it beside that of the poses they use.",
        is_later=True,
    )


@dataclass(frozen=True)
class MountConfig:
    """``mounts.<name>``: one fixed edge of the transform tree, given here or taken from a file."""

    name: str = field(metadata=NOT_A_PARAMETER)
    parent_frame: str = setting(
        "", "Frame that the mount is in, such as `base_link`; a file may say it itself.", is_later=True
    )
    child_frame: str = setting("", "Frame that is mounted; a file may say it itself.", is_later=True)
    xyz: tuple[float, ...] = setting((), "Position in the parent frame in metres; empty: its origin.", is_later=True)
    rpy: tuple[float, ...] = setting(
        (),
        "Roll, pitch and yaw in radians, as `static_transform_publisher` takes them; empty: not turned.",
        is_later=True,
    )
    quaternion_xyzw: tuple[float, ...] = setting((), "The rotation as quaternion instead of `rpy`.", is_later=True)
    file: str = setting(
        "",
        "A file that holds the mount instead: Kalibr's camchain, Autoware's `sensor_kit_calibration` or "
        "`sensors_calibration`, a URDF, or plain YAML.",
        is_file=True,
        is_later=True,
    )
    key: str = setting("", "Which entry of the file, below the parent frame where the file has one.", is_later=True)


@dataclass(frozen=True)
class AnnotationConfig:
    """``annotations.<name>``: recorded detections that become pre-labels."""

    name: str = field(metadata=NOT_A_PARAMETER)
    topic: str = field(metadata=required("Topic of the detections.", is_topic=True, is_later=True))
    min_score: float = setting(0.0, "Detections with a lower score are left out.", minimum=0.0, is_later=True)


@dataclass(frozen=True)
class SignalConfig:
    """``metadata_from.<name>``: a signal of the vehicle that becomes ``metadata.<name>`` of each scene."""

    name: str = field(metadata=NOT_A_PARAMETER)
    topic: str = field(metadata=required("Topic of the messages, of any type.", is_topic=True, is_later=True))
    field: str = setting(
        "data",
        "Path of the value in the message, such as `twist.linear.x` or `status[0].level`.",
        pattern=_FIELD,
        expected=_FIELD_WORDS,
        is_later=True,
    )
    reduce: Literal["last", "first", "mean", "min", "max"] = setting(
        "last",
        "What becomes of the values from the first to the last frame of a scene; without any, the last one before.",
        is_later=True,
    )
    per_item: bool = setting(
        False,
        "Whether the items of each frame get the value as well, of the messages since the frame before.",
        is_later=True,
    )


@dataclass(frozen=True)
class EventConfig:
    """``events.<name>``: a condition on messages; the stretches of the drive around it are worth keeping."""

    name: str = field(metadata=NOT_A_PARAMETER)
    topic: str = setting(
        "",
        "Topic of the messages, of any type; `gps` or `device` for what fixes and poses say. Only the event `mark` "
        "can do without.",
        is_topic=True,
        words=("gps", "device"),
        is_later=True,
    )
    field: str = setting(
        "data",
        "Path of the value in the message, such as `pose.pose.position.x` or `status[0].level`; `rate` is messages a "
        "second. Of `gps` also `inside(lat, lon, radius_m)`, of `device` `speed` (m/s), `yaw_rate` (rad/s), "
        "`acceleration` (m/s^2, negative while braking) or `distance` (m driven).",
        pattern=rf"{_FIELD}|inside\(\s*{_NUMBER}\s*,\s*{_NUMBER}\s*,\s*{_NUMBER}\s*\)",
        expected=f"{_FIELD_WORDS}, or inside(lat, lon, radius_m)",
        is_later=True,
    )
    when: str = setting(
        "",
        "What the value must be: `>`, `>=`, `<`, `<=`, `==` or `!=` and a value, `abs` or `norm` before it for the "
        "magnitude of a number or vector, or `changes`. `inside(...)` needs none.",
        pattern=_CONDITION,
        expected="a condition such as '> 0.5', '== true', 'abs > 3.0', 'norm > 3.0' or 'changes'",
        is_later=True,
    )
    before_s: float = setting(
        10.0, "The window begins this long before the event.", minimum=0.0, maximum=_LONGEST_S, is_later=True
    )
    after_s: float = setting(
        10.0, "The window ends this long after the event.", minimum=0.0, maximum=_LONGEST_S, is_later=True
    )
    hold_s: float = setting(0.0, "An event lasts at least this long.", minimum=0.0, maximum=_LONGEST_S, is_later=True)
    min_distance_m: float = setting(
        0.0,
        "An event begins only where the device drove this far since the last one began.",
        minimum=0.0,
        maximum=_LONGEST_M,
        is_later=True,
    )
    min_interval_s: float = setting(
        0.0,
        "An event begins only this long after the last one began.",
        minimum=0.0,
        maximum=_LONGEST_S,
        is_later=True,
    )

    @property
    def missing(self) -> tuple[str, ...]:
        """The keys that this event cannot do without and does not have."""
        if self.name == MARK and not self.topic:
            return ()
        needs_condition = not self.field.startswith("inside(")
        return (*(("topic",) if not self.topic else ()), *(("when",) if needs_condition and not self.when else ()))


@dataclass(frozen=True)
class GivenEvent:
    """An event that is known from the start, such as one of a list of times; stamps and lengths in ns."""

    name: str
    begin_ns: int
    end_ns: int
    before_ns: int
    after_ns: int
