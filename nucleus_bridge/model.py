# SPDX-License-Identifier: Apache-2.0
"""The vocabulary that every room speaks: plain frozen data, integer nanoseconds, no behaviour.

Conventions: metres, radians, seconds only where a name says so; ``stamp_ns`` is nanoseconds since the Unix epoch;
quaternions are Hamilton, ordered x y z w, of unit length; ``a_from_b`` maps coordinates in frame b to frame a.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Message:
    """A serialised ROS message as it came from a bag or from a subscription.

    Attributes:
        topic: Fully resolved topic name.
        type_name: Interface name such as ``sensor_msgs/msg/PointCloud2``.
        log_ns: When it was received or logged; only for error texts and reports, never for decisions.
        data: The CDR bytes with their four byte encapsulation header.
        place: Where it stands in the recording: a later one was written later, whatever its log time. 0 from a
            subscription.
        is_cut: Whether ``data`` is its first bytes alone, as it was passed over.
    """

    topic: str
    type_name: str
    log_ns: int
    data: bytes
    place: int = field(default=0, compare=False, repr=False)
    is_cut: bool = field(default=False, repr=False)


@dataclass(frozen=True, eq=False)
class Transform:
    """A rigid transform.

    Attributes:
        translation: Shape (3,), float64, metres.
        rotation_xyzw: Shape (4,), float64, unit quaternion.
    """

    translation: FloatArray
    rotation_xyzw: FloatArray


@dataclass(frozen=True, eq=False)
class Trajectory:
    """The same transform at several stamps.

    Attributes:
        stamps_ns: Shape (k,), int64, ascending.
        translations: Shape (k, 3), float64, metres.
        rotations_xyzw: Shape (k, 4), float64, unit quaternions.
    """

    stamps_ns: IntArray
    translations: FloatArray
    rotations_xyzw: FloatArray


@dataclass(frozen=True, eq=False)
class Sweep:
    """One PointCloud2 whose layout was checked and whose points were not touched yet.

    Attributes:
        stamp_ns: ``header.stamp``.
        frame_id: ``header.frame_id`` without a leading slash.
        points: Shape (n,), structured view of the message's bytes, one named column a field.
        time_field: The column that holds each point's time, or None.
        first_ns: Time of the earliest usable point; the stamp where points have no time.
        last_ns: Time of the latest usable point.
        time_unit_ns: Nanoseconds a unit of ``time_field``.
        time_is_relative: Whether point times count from an instant of the sweep rather than from the epoch.
        time_base_ns: What is added to a point's time; None: the stamp for relative times, else nothing.
        time_window: Smallest and largest number in ``time_field`` that is a time of this sweep; None where all are.
        recorded_ns: ``header.stamp`` as recorded, where ``stamp_ns`` was corrected.
    """

    stamp_ns: int
    frame_id: str
    points: NDArray[np.void]
    time_field: str | None
    first_ns: int
    last_ns: int
    time_unit_ns: int
    time_is_relative: bool
    time_base_ns: int | None = None
    time_window: tuple[float, float] | None = None
    recorded_ns: int | None = None

    @property
    def nbytes(self) -> int:
        """Memory that it holds."""
        return self.points.nbytes

    @property
    def base_ns(self) -> int:
        """What is added to a point's time."""
        if self.time_base_ns is not None:
            return self.time_base_ns
        return self.stamp_ns if self.time_is_relative else 0

    def moved(self, shift_ns: int) -> Sweep:
        """Return the same sweep at another time, its points too."""
        return replace(
            self,
            stamp_ns=self.stamp_ns + shift_ns,
            first_ns=self.first_ns + shift_ns,
            last_ns=self.last_ns + shift_ns,
            time_base_ns=self.base_ns + shift_ns,
            recorded_ns=self.stamp_ns if self.recorded_ns is None else self.recorded_ns,
        )

    def scaled(self, factor: float) -> Sweep:
        """Return the same sweep with its coordinates multiplied."""
        points = self.points.copy()
        for axis in ("x", "y", "z"):
            points[axis] *= factor
        return replace(self, points=points)

    def anchored(self, stamp_ns: int, moment: Literal["start", "middle", "end"]) -> Sweep:
        """Return the same sweep with a moment of it at a stamp: its points are of a clock that no stamp is of."""
        known_ns = {"start": self.first_ns, "middle": (self.first_ns + self.last_ns) // 2, "end": self.last_ns}
        return replace(self.moved(stamp_ns - known_ns[moment]), stamp_ns=stamp_ns)


@dataclass(frozen=True, eq=False)
class PointCloud:
    """Points of one sweep that passed the filters, still in the lidar's frame.

    Attributes:
        xyz: Shape (n, 3), float32 or float64, metres.
        intensity: Shape (n,), float32 in 0..1, or None.
        time_ns: Shape (n,), int64, absolute, or None.
        is_ground: Shape (n,), bool, or None.
        dropped: Points left out, by cause.
        clipped: Points kept whose intensity was outside 0..1, or NaN, and was clipped.
    """

    xyz: NDArray[np.floating]
    intensity: NDArray[np.float32] | None
    time_ns: IntArray | None
    is_ground: NDArray[np.bool_] | None
    dropped: Mapping[str, int]
    clipped: int = 0


@dataclass(frozen=True)
class CameraModel:
    """Intrinsics of one camera as published (OpenCV's pixel convention: centre of the first pixel is (0, 0)).

    Attributes:
        model: ``brown_conrady``, ``fisheye``, ``rational``, ``thin_prism`` or ``omnidirectional``.
        width: Image width in pixels.
        height: Image height in pixels.
        fx: Focal length, pixels.
        fy: Focal length, pixels.
        cx: Principal point, pixels.
        cy: Principal point, pixels.
        skew: K[0, 1], pixels.
        distortion: Coefficients by name (k1, k2, p1, ...), zeros included.
        scale_factor: By how much the image at hand is smaller than the one these intrinsics are for.
    """

    model: str
    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    skew: float = 0.0
    distortion: Mapping[str, float] = field(default_factory=dict)
    scale_factor: float = 1.0


class Picture(Protocol):
    """A picture that is decoded but no pixels yet: few of a video's pictures are ever looked at."""

    @property
    def nbytes(self) -> int:
        """Memory that it holds."""
        ...

    def pixels(self) -> NDArray[np.uint8]:
        """Return shape (height, width, 3) in the order B, G, R."""
        ...


@dataclass(frozen=True, eq=False)
class Image:
    """One camera image, its payload untouched.

    Attributes:
        stamp_ns: ``header.stamp``.
        frame_id: ``header.frame_id`` without a leading slash.
        width: Pixels.
        height: Pixels.
        encoding: ``jpeg``, ``png``, an ``sensor_msgs/image_encodings`` name for raw pixels, or a video codec's name.
        data: Shape (n,), uint8, a view of the message: the file's bytes, or the raw rows.
        step: Bytes a row; 0 for compressed files.
        is_bigendian: Byte order of 16-bit pixels.
        picture: What stands for ``data``, which is empty then, where the image is of a video.
        recorded_ns: ``header.stamp`` as recorded, where ``stamp_ns`` was corrected.
        bayer: Order of the colours of a mosaic (``rggb``, ...) whose encoding does not say it; empty: none.
        bit_depth: Significant bits of 16-bit pixels; 0: all.
    """

    stamp_ns: int
    frame_id: str
    width: int
    height: int
    encoding: str
    data: NDArray[np.uint8]
    step: int = 0
    is_bigendian: bool = False
    picture: Picture | None = None
    recorded_ns: int | None = None
    bayer: str = ""
    bit_depth: int = 0

    @property
    def nbytes(self) -> int:
        """Memory that it holds."""
        return self.data.nbytes + (self.picture.nbytes if self.picture else 0)

    def moved(self, shift_ns: int) -> Image:
        """Return the same image at another time."""
        recorded_ns = self.stamp_ns if self.recorded_ns is None else self.recorded_ns
        return replace(self, stamp_ns=self.stamp_ns + shift_ns, recorded_ns=recorded_ns)


@dataclass(frozen=True)
class GpsPose:
    """Where on the globe the device is: degrees; bearing 0 is north, 90 east, in [0, 360)."""

    latitude: float
    longitude: float
    bearing: float


@dataclass(frozen=True, eq=False)
class PosedSweep:
    """A sweep with the lidar's poses over its duration: one pose, or knots to interpolate between."""

    lidar: str
    sweep: Sweep
    world_from_lidar: Transform | Trajectory
    device_from_lidar: Transform | None = None
    """Its mounting, where a ``crop_box`` or finding the ground needs it."""


@dataclass(frozen=True, eq=False)
class PosedImage:
    """An image with its camera's calibration and its pose at the image's own stamp."""

    camera: str
    camera_index: int
    image: Image
    model: CameraModel
    world_from_camera: Transform


@dataclass(frozen=True, eq=False)
class RadarScan:
    """What one radar message holds, in the radar's frame.

    Attributes:
        stamp_ns: ``header.stamp``.
        frame_id: ``header.frame_id`` without a leading slash.
        xyz: Shape (n, 3), metres.
        velocity: Shape (n, 3), m/s, or None where the radar does not say; along the ray where only that is measured.
        is_radial: Whether only the speed along the ray is measured.
        is_compensated: Whether the radar's own motion was taken out already.
        strength: Shape (n,), as published, or None.
        recorded_ns: ``header.stamp`` as recorded, where ``stamp_ns`` was corrected.
    """

    stamp_ns: int
    frame_id: str
    xyz: FloatArray
    velocity: FloatArray | None
    is_radial: bool
    is_compensated: bool
    strength: FloatArray | None
    recorded_ns: int | None = None

    @property
    def nbytes(self) -> int:
        """Memory that it holds."""
        return sum(array.nbytes for array in (self.xyz, self.velocity, self.strength) if array is not None)

    def moved(self, shift_ns: int) -> RadarScan:
        """Return the same scan at another time."""
        recorded_ns = self.stamp_ns if self.recorded_ns is None else self.recorded_ns
        return replace(self, stamp_ns=self.stamp_ns + shift_ns, recorded_ns=recorded_ns)


@dataclass(frozen=True, eq=False)
class Detection:
    """A box around something that was recognised.

    Attributes:
        label: What it is.
        score: How sure that is, as published.
        track: What is the same in several messages; empty where that is not told.
        center: Shape (3,), metres.
        rotation_xyzw: Shape (4,); x runs along the length, z up.
        size: Shape (3,), along its own axes, metres.
        attributes: What else is said of it.
    """

    label: str
    score: float
    track: str
    center: FloatArray
    rotation_xyzw: FloatArray
    size: FloatArray
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Detections:
    """What one message says was recognised.

    Attributes:
        stamp_ns: ``header.stamp``.
        frame_id: The frame of the boxes.
        boxes: What was recognised.
        source: Which configured source it is of; empty before that is known.
        recorded_ns: ``header.stamp`` as recorded, where ``stamp_ns`` was corrected.
    """

    stamp_ns: int
    frame_id: str
    boxes: tuple[Detection, ...]
    source: str = ""
    recorded_ns: int | None = None

    @property
    def nbytes(self) -> int:
        """Memory that it holds, about."""
        return 500 * len(self.boxes)


Payload = Sweep | Image | RadarScan | Detections
"""What one sensor saw at one stamp: the samples that are matched into frames."""


@dataclass(frozen=True, eq=False)
class RadarPoints:
    """One radar's detections in the world.

    Attributes:
        radar: Its name.
        stamp_ns: When they were measured.
        frame_id: The radar's frame.
        position: Shape (n, 3), metres in the world frame.
        direction: Shape (n, 3), velocity over ground in the world frame, m/s; None where it is not known.
        size: Shape (n,), strength in 0..1; None where it is not known.
        pose: Of the radar itself at the stamp; None where it is not known.
    """

    radar: str
    stamp_ns: int
    frame_id: str
    position: FloatArray
    direction: FloatArray | None
    size: FloatArray | None
    pose: Transform | None = None


@dataclass(frozen=True, eq=False)
class Frame:
    """One timestep: everything that goes into one Nucleus frame, nothing rendered yet.

    A ``Pipeline`` makes them; ``nucleus_bridge.formats.reading.open_scene`` reads what was written of them.

    Attributes:
        stamp_ns: Stamp of the reference lidar's sweep.
        world_from_device: Device pose at ``timestamp_ns``.
        gps: Pose on the globe at ``timestamp_ns``, or None.
        sweeps: Reference lidar first.
        images: In the order of ``camera_names``; a camera without an image is absent.
        radars: In the order of ``radar_names``; a radar without a scan is absent.
    """

    stamp_ns: int
    world_from_device: Transform
    gps: GpsPose | None
    sweeps: tuple[PosedSweep, ...]
    images: tuple[PosedImage, ...]
    radars: tuple[RadarPoints, ...] = ()
    detections: tuple[Detections, ...] = ()
    """Boxes in the world, in the order of ``annotation_names``."""
    start_ns: int | None = None
    """Where the rotation of the reference lidar began before the stamp."""

    @property
    def timestamp_ns(self) -> int:
        """Start of the rotation: the stamp, or the first point's time where the stamp marks a later instant."""
        return self.stamp_ns if self.start_ns is None else self.start_ns

    @property
    def samples(self) -> Iterator[tuple[str, int]]:
        """Sensor and stamp of everything in it, whatever its kind."""
        yield from ((posed.lidar, posed.sweep.stamp_ns) for posed in self.sweeps)
        yield from ((posed.camera, posed.image.stamp_ns) for posed in self.images)
        yield from ((points.radar, points.stamp_ns) for points in self.radars)


@dataclass(frozen=True)
class Scene:
    """A sequence of frames under one reference id; what is known when its first frame is.

    Attributes:
        reference_id: Unique id, ``[A-Za-z0-9._-]`` only.
        first_stamp_ns: Stamp of the first frame.
        world_frame: Frame that poses and points are expressed in.
        device_frame: Frame of the device (ego vehicle).
        world_offset: Subtracted from every position, metres.
        poses: Sources of poses besides transforms: ``sources`` (names), ``estimated`` (from the lidar), ``origin`` (of
            a local level frame); empty where there are none.
    """

    reference_id: str
    first_stamp_ns: int
    world_frame: str
    device_frame: str
    world_offset: tuple[float, float, float]
    poses: Mapping[str, Any] = field(default_factory=dict)
