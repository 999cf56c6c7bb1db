# SPDX-License-Identifier: Apache-2.0
"""Settings of what measures: lidars, cameras, radars and the receiver of satellite fixes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

from nucleus_bridge.config.schema import NOT_A_PARAMETER, required, setting
from nucleus_bridge.kinds import Kind

StampSource = Literal["header", "log"]

_OFFSET: dict[str, Any] = {"minimum": -10_000.0, "maximum": 10_000.0}
_TOLERANCE: dict[str, Any] = {"minimum": 0.0, "maximum": 10_000.0}
CLOCK: dict[str, Any] = {"minimum": -4e12, "maximum": 4e12, "is_later": True}
"""A clock offset in ms: more than a century, and far from what 64 bits of nanoseconds hold."""
_STAMP_SOURCE = (
    "Where stamps come from: `header`, or `log`, the time at which the recorder received the message, for sensors "
    "without a clock."
)


class NamedTopic(NamedTuple):
    """A topic that the configuration names.

    Attributes:
        name: The topic.
        parameter: The parameter that names it, for error messages.
        kind: What its type must hold.
    """

    name: str
    parameter: str
    kind: Kind


class Sensor(Protocol):
    """What all configured sensors have in common; one settings class a kind of sensor."""

    kind: ClassVar[Kind]
    """What the messages of ``topic`` must hold."""

    @property
    def name(self) -> str:
        """The configured name."""
        ...

    @property
    def topic(self) -> str:
        """The topic of its samples."""
        ...

    @property
    def topics(self) -> tuple[NamedTopic, ...]:
        """``topic``, and behind it those that its samples need besides."""
        ...

    @property
    def clock_offset_ms(self) -> float:
        """What is added to each stamp."""
        ...

    @property
    def tolerance_ms(self) -> float:
        """Largest distance from the wanted stamp."""
        ...

    @property
    def offset_ms(self) -> float:
        """Wanted stamp minus reference stamp."""
        ...

    @property
    def required(self) -> bool:
        """Whether a frame without it is dropped."""
        ...


@dataclass(frozen=True)
class LidarConfig:
    """``lidars.<name>``."""

    kind: ClassVar[Kind] = "cloud"

    name: str = field(metadata=NOT_A_PARAMETER)
    topic: str = field(
        metadata=required(
            "Topic of the clouds: `sensor_msgs/msg/PointCloud2` or any other type of clouds that is read; the topic's "
            "type decides.",
            is_topic=True,
        )
    )
    frame_id: str = setting("", "Frame of the points; empty: the message's `header.frame_id`.", is_later=True)
    clock_offset_ms: float = setting(
        0.0,
        "Added to each `header.stamp` and to absolute point times; a lidar on TAI has -37000.0.",
        **CLOCK,
    )
    stamp_source: StampSource = setting("header", _STAMP_SOURCE, is_later=True)
    intensity_field: str = setting("intensity", "Field that holds the intensity; empty: none.")
    intensity_max: float = setting(
        255.0, "Intensity that becomes 1.0; larger ones are clipped and counted.", minimum=1e-9
    )
    intensity_scale: Literal["fixed", "auto"] = setting(
        "fixed",
        "`fixed`: `intensity_max` is full scale. `auto`: full scale follows from the driver's fields where they tell, "
        "else from `intensity_max`; the manifest says what was used.",
        is_later=True,
    )
    scale: float = setting(
        1.0, "Makes metres of the coordinates: 0.001 for clouds in millimetres.", minimum=1e-9, is_later=True
    )
    time_field: str = setting(
        "auto", "Field that holds each point's time: `auto` finds it by name and type, `none` says there is none."
    )
    time_unit: Literal["auto", "s", "ms", "us", "ns"] = setting(
        "auto", "Unit of the point times; `auto` decides by type and span.", is_later=True
    )
    time_reference: Literal["auto", "stamp", "absolute"] = setting(
        "auto", "What point times count from: `header.stamp`, or the epoch of the stamps (`absolute`).", is_later=True
    )
    stamp: Literal["start", "middle", "end"] = setting("start", "Which instant of the sweep `header.stamp` marks.")
    deskew: bool = setting(
        True, "False for clouds that are corrected already; counts together with the global `deskew`.", is_later=True
    )
    accumulate_ms: float = setting(
        0.0,
        "Above 0: messages whose stamps fall into the same span of this length make one sweep, whose stamp is that of "
        "its first part. A sweep that lacks parts is kept and counted.",
        minimum=0.0,
        maximum=10_000.0,
        is_later=True,
    )
    min_range_m: float = setting(0.0, "Points nearer to the lidar are left out and counted.", minimum=0.0)
    max_range_m: float = setting(float("inf"), "Points farther from the lidar are left out and counted.", minimum=0.0)
    ground_field: str = setting("", "Field that is nonzero for points of the ground; empty: none.")
    ground_classes: tuple[str, ...] = setting(
        (),
        "Values of `ground_field` that mean ground, such as `['40', '44']`; empty: all but zero.",
        is_later=True,
    )
    crop_box: tuple[float, ...] = setting(
        (),
        "Box of the device frame whose points are left out and counted, such as the vehicle itself: "
        "`[x_min, y_min, z_min, x_max, y_max, z_max]` in metres; empty: none.",
        is_later=True,
    )
    tolerance_ms: float = setting(
        50.0, "Largest distance between a further lidar's sweep and the wanted stamp.", minimum=0.0
    )
    offset_ms: float = setting(0.0, "Wanted stamp of a further lidar = reference stamp + this.")
    required: bool = setting(False, "Whether a frame without this further lidar is dropped and counted.")
    model: str = setting(
        "", "Model of a lidar that is read from packets, such as `VLP16`; empty: found in the packets.", is_later=True
    )
    calibration_file: str = setting(
        "",
        "The manufacturer's calibration of a lidar that is read from packets; empty: that of its model.",
        is_file=True,
        is_later=True,
    )
    metadata_topic: str = setting(
        "",
        "Topic of the sensor's metadata, which Ouster packets need; empty: `metadata` beside the topic of the packets.",
        is_topic=True,
        is_later=True,
    )
    metadata_file: str = setting(
        "", "A file with the sensor's metadata that replaces `metadata_topic`.", is_file=True, is_later=True
    )

    @property
    def topics(self) -> tuple[NamedTopic, ...]:
        """The topic of the clouds, and that of the metadata unless a file replaces it."""
        clouds = NamedTopic(self.topic, f"lidars.{self.name}.topic", self.kind)
        metadata = NamedTopic(self.metadata_topic, f"lidars.{self.name}.metadata_topic", "calibration")
        return (clouds, metadata) if metadata.name and not self.metadata_file else (clouds,)


@dataclass(frozen=True)
class CameraConfig:
    """``cameras.<name>``."""

    kind: ClassVar[Kind] = "image"

    name: str = field(metadata=NOT_A_PARAMETER)
    image_topic: str = field(
        metadata=required(
            "Topic of the `sensor_msgs/msg/Image` or `CompressedImage` messages, or of any other type of images that "
            "is read; the topic's type decides.",
            is_topic=True,
        )
    )
    info_topic: str = setting("", "Topic of the `sensor_msgs/msg/CameraInfo` messages.", is_topic=True)
    optical_frame: str = setting("", "Optical frame of the camera; empty: the image's `header.frame_id`.")
    frame_convention: Literal["optical", "body"] = setting(
        "optical",
        "Axes of the camera's frame: `optical` (z to the front), or `body` (x to the front, as REP 103), which is "
        "turned into optical axes.",
        is_later=True,
    )
    calibration_file: str = setting(
        "", "A camera_info YAML file, or Kalibr's camchain, that replaces `info_topic`.", is_file=True
    )
    clock_offset_ms: float = setting(
        0.0, "Added to each image's stamp; moves pairing and pose (`offset_ms` moves the pairing alone).", **CLOCK
    )
    stamp_source: StampSource = setting("header", _STAMP_SOURCE, is_later=True)
    tolerance_ms: float = setting(50.0, "Largest distance between an image's stamp and the wanted stamp.", **_TOLERANCE)
    offset_ms: float = setting(0.0, "Wanted stamp = lidar reference stamp + this.", **_OFFSET)
    required: bool = setting(False, "Whether a frame without an image of this camera is dropped and counted.")
    rectify: Literal["auto", "always", "never"] = setting(
        "auto", "`auto` rectifies images only when their distortion cannot be expressed in the output."
    )
    bit_depth: int = setting(
        0, "Significant bits of 16-bit pictures, such as 12 or 14; 0: all.", minimum=0, maximum=16, is_later=True
    )
    bayer: Literal["", "rggb", "bggr", "gbrg", "grbg"] = setting(
        "",
        "Order of the colours of a Bayer mosaic in pictures whose format does not say so; empty: none.",
        is_later=True,
    )
    priority: int = setting(
        0,
        "Which camera takes precedence where an object is in several images: the highest.",
        minimum=0,
        maximum=1_000,
        is_later=True,
    )

    @property
    def topic(self) -> str:
        """The topic of its images."""
        return self.image_topic

    @property
    def topics(self) -> tuple[NamedTopic, ...]:
        """The topic of the images, and that of the calibrations unless a file replaces it."""
        images = NamedTopic(self.image_topic, f"cameras.{self.name}.image_topic", self.kind)
        info = NamedTopic(self.info_topic, f"cameras.{self.name}.info_topic", "calibration")
        return (images, info) if info.name and not self.calibration_file else (images,)


@dataclass(frozen=True)
class RadarConfig:
    """``radars.<name>``."""

    kind: ClassVar[Kind] = "radar"

    name: str = field(metadata=NOT_A_PARAMETER)
    topic: str = field(
        metadata=required(
            "Topic of the `sensor_msgs/msg/PointCloud2` or `radar_msgs/msg/RadarScan` messages.", is_topic=True
        )
    )
    clock_offset_ms: float = setting(0.0, "Added to each `header.stamp`.", **CLOCK)
    tolerance_ms: float = setting(
        50.0, "Largest distance between a radar's stamp and the wanted stamp.", is_later=True, **_TOLERANCE
    )
    offset_ms: float = setting(0.0, "Wanted stamp = lidar reference stamp + this.", is_later=True, **_OFFSET)
    required: bool = setting(False, "Whether a frame without this radar is dropped and counted.", is_later=True)
    strength_min: float = setting(-20.0, "Strength (RCS or amplitude, dB) that becomes size 0.", is_later=True)
    strength_max: float = setting(40.0, "Strength (RCS or amplitude, dB) that becomes size 1.", is_later=True)

    @property
    def topics(self) -> tuple[NamedTopic, ...]:
        """The topic of the scans."""
        return (NamedTopic(self.topic, f"radars.{self.name}.topic", self.kind),)


@dataclass(frozen=True)
class GpsConfig:
    """``gps``."""

    topic: str = setting("", "Topic of the `sensor_msgs/msg/NavSatFix` messages; empty: none.", is_topic=True)
    heading_topic: str = setting(
        "", "Topic of `sensor_msgs/msg/Imu` messages whose orientation is in ENU.", is_topic=True
    )
    clock_offset_ms: float = setting(0.0, "Added to the stamp of each fix and heading.", **CLOCK)
    heading_clock_offset_ms: float = setting(0.0, "Added to the stamp of each heading besides.", **CLOCK)
    map_is_enu: bool = setting(
        False,
        "Whether the x axis of `world_frame` points east: without a heading topic the bearing then comes from the "
        "device's own pose.",
        is_later=True,
    )

    @property
    def topics(self) -> tuple[NamedTopic, ...]:
        """The topics that are configured."""
        fix = NamedTopic(self.topic, "gps.topic", "fix")
        heading = NamedTopic(self.heading_topic, "gps.heading_topic", "heading")
        return tuple(topic for topic in (fix, heading) if topic.name)
