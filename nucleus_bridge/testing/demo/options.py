# SPDX-License-Identifier: Apache-2.0
"""What can be chosen about a demo drive, checked once and for all when it is chosen."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from nucleus_bridge.errors import InputError

STORAGES = ("mcap", "sqlite3")
FORMATS = ("ros2", "ros1")
IMAGE_KINDS = ("jpeg", "raw")
CAMERA_KINDS = ("images", "h264", "h265")
CLOUD_KINDS = ("raw", "zlib", "zstd", "draco")
DRIVERS = ("velodyne", "ouster", "hesai", "robosense", "livox", "livox-custommsg", "velodyne-packets", "autoware")
CAMERA_MODELS = ("plumb_bob", "rational_polynomial", "equidistant", "omnidirectional")
CAMERA_NAMES = ("front", "rear", "left", "right", "front_left", "front_right")
LIDAR_NAMES = ("top", "left", "right")
COURSE_NAMES = ("town", "ring")
TICK_HZ = 10


@dataclass(frozen=True)
class DriveOptions:
    """Choices for one demo drive; equal options make equal drives.

    Attributes:
        seconds: Length of the drive; sweeps and images come ten times a second.
        points: Rays a sweep of each lidar; a VLP-16 (``velodyne-packets``) has 28,800.
        cameras: How many of front, rear, left, right, front_left, front_right.
        lidars: How many of top, left, right.
        radars: 1 for the radar ``front``.
        course: ``town``, bends of every kind; or ``ring``, at 15 m/s and 30 degrees a second all the time.
        image: ``jpeg`` (CompressedImage) or ``raw`` (Image, rgb8).
        storage: ``mcap`` or ``sqlite3``.
        driver: Whose PointCloud2 layout the lidars use.
        camera_model: Distortion model of all cameras, or one for each, separated by commas.
        image_width: Pixels.
        image_height: Pixels.
        standing_s: How long the vehicle stands before it drives off.
        start_ns: Stamp of the first sweep of the lidar ``top``.
        tf_rate_hz: Rate of odom -> base_link.
        late_static_s: Log /tf_static this long after the start instead of before it; 0 logs it first.
        range_noise_m: Standard deviation of the lidars' range noise.
        shuffle: Log clouds and images with so much delay that they change places within their topics.
        seed: Of transport delays and range noise.
        camera: ``images``, or the codec of a video (foxglove_msgs/CompressedVideo), which is never shuffled.
        cloud: ``raw``, or how the clouds are compressed (point_cloud_interfaces/CompressedPointCloud2).
        format: ``ros2``, a rosbag2 folder, or ``ros1``, a .bag file.
        events: Whether the vehicle brakes hard now and then, with a topic of its brake and one of an operator's marks.

    Raises:
        InputError: A value is out of range or not one of the names.
    """

    seconds: float = 6.0
    points: int = 30_000
    cameras: int = 2
    lidars: int = 1
    image: str = "jpeg"
    storage: str = "mcap"
    driver: str = "velodyne"
    camera_model: str = "plumb_bob"
    image_width: int = 960
    image_height: int = 600
    standing_s: float = 1.0
    start_ns: int = 1_700_000_000_000_000_000
    tf_rate_hz: int = 200
    late_static_s: float = 0.0
    range_noise_m: float = 0.0
    shuffle: bool = False
    seed: int = 0
    radars: int = 0
    course: str = "town"
    camera: str = "images"
    cloud: str = "raw"
    format: str = "ros2"
    events: bool = False

    def __post_init__(self) -> None:
        _check_range("seconds", self.seconds, 0.1, 36_000.0)
        _check_count("points", self.points, 100, 2_000_000)
        _check_count("cameras", self.cameras, 0, len(CAMERA_NAMES))
        _check_count("lidars", self.lidars, 1, len(LIDAR_NAMES))
        _check_count("radars", self.radars, 0, 1)
        _check_name("image", self.image, IMAGE_KINDS)
        _check_name("camera", self.camera, CAMERA_KINDS)
        _check_name("cloud", self.cloud, CLOUD_KINDS)
        _check_name("format", self.format, FORMATS)
        _check_name("storage", self.storage, STORAGES)
        _check_name("course", self.course, COURSE_NAMES)
        _check_name("driver", self.driver, DRIVERS)
        _check_count("image_width", self.image_width, 64, 8_192)
        _check_count("image_height", self.image_height, 64, 8_192)
        _check_range("standing_s", self.standing_s, 0.0, 36_000.0)
        _check_count("start_ns", self.start_ns, 1_000_000_000, 2_000_000_000_000_000_000)
        _check_count("tf_rate_hz", self.tf_rate_hz, TICK_HZ, 1_000)
        _check_range("late_static_s", self.late_static_s, 0.0, 36_000.0)
        _check_range("range_noise_m", self.range_noise_m, 0.0, 1.0)
        _check_count("seed", self.seed, 0, 2**63 - 1)
        if 1_000 % self.tf_rate_hz or self.tf_rate_hz % TICK_HZ:
            raise InputError(f"tf_rate_hz is {self.tf_rate_hz}; use a multiple of {TICK_HZ} that divides 1000")
        if self.cloud != "raw" and self.driver in ("livox-custommsg", "velodyne-packets"):
            raise InputError(f"cloud is {self.cloud!r}, but {self.driver} writes no PointCloud2 that could be packed")
        models = self.camera_model.split(",")
        for model in models:
            _check_name("camera_model", model, CAMERA_MODELS)
        if len(models) not in (1, self.cameras):
            raise InputError(f"camera_model names {len(models)} models for {self.cameras} cameras; name one, or all")

    @property
    def ticks(self) -> int:
        """Return how many sweeps each lidar makes and how many images each camera takes."""
        return max(1, round(self.seconds * TICK_HZ))

    @property
    def camera_names(self) -> tuple[str, ...]:
        """Return the cameras in the order in which they are numbered."""
        return CAMERA_NAMES[: self.cameras]

    @property
    def lidar_names(self) -> tuple[str, ...]:
        """Return the lidars in the order in which they are numbered."""
        return LIDAR_NAMES[: self.lidars]

    @property
    def camera_models(self) -> tuple[str, ...]:
        """Return the distortion model of each camera."""
        models = tuple(self.camera_model.split(","))
        return models * self.cameras if len(models) == 1 else models

    def as_dict(self) -> dict[str, object]:
        """Return the choices by name."""
        choices = asdict(self)
        if not self.events:
            del choices["events"]  # which drives of before do not have
        return choices


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InputError(f"{name} is {value!r}; it must be a number from {low:g} to {high:g}")
    if not low <= value <= high:
        raise InputError(f"{name} is {value:g}; it must lie between {low:g} and {high:g}")


def _check_count(name: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{name} is {value!r}; it must be a whole number from {low} to {high}")
    if not low <= value <= high:
        raise InputError(f"{name} is {value}; it must lie between {low} and {high}")


def _check_name(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f"{name} is {value!r}; choose one of {', '.join(known)}")
