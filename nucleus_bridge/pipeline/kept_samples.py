# SPDX-License-Identifier: Apache-2.0
"""A few sweeps and pictures kept on their way, thinned out, to be looked at for warnings; they decide nothing."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

import numpy as np

from nucleus_bridge.decode.calibration_check import Versions
from nucleus_bridge.decode.camera_info import CameraInfo
from nucleus_bridge.decode.image import SUFFIXES, is_sixteen_bit_png
from nucleus_bridge.decode.image_checks import DIRECT_8_BIT, emptiness_of, some_pixels
from nucleus_bridge.decode.navsat import Fix
from nucleus_bridge.decode.point_time import signed
from nucleus_bridge.model import Frame, Image, PosedSweep, Sweep, Trajectory, Transform
from nucleus_bridge.pipeline.ground_motion import GroundMotion
from nucleus_bridge.warnings import Finding

Item = TypeVar("Item")

FIRST_SWEEPS, SWEEPS, FILES, FIXES, POSES = 8, 5, 5, 24, 64
"""At most so many of each are kept: first sweeps, sweeps over the drive, files of pictures, fixes, poses of frames."""
JPEGS = 1
"""So many files of a camera, and its smallest one, are decoded to see whether they are whole."""
_MOST_POINTS, _MOMENTS = 3_000, 2_048
_LEAST_WAY_M = 0.15
_SMALL_BYTES, _EMPTY_BYTES_A_PIXEL = 4_000, 0.05  # a picture with anything in it takes more
_MANY_PICTURES = 12
_RECENT_FIXES, _NEAR_NS = 64, 60_000_000
_SIXTEEN = frozenset(("mono16", "rgb16", "bgr16", "rgba16", "bgra16"))


class Spread(Generic[Item]):
    """A few of many, evenly spread without knowing how many will come: where it is full every other one is dropped."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._every = 1
        self._count = 0
        self.items: list[Item] = []
        self.taken = 0
        """How many were taken so far: where it has changed, ``items`` have."""
        self.judged_at = 0
        """``taken`` when ``finding`` was made."""
        self.finding: Finding | None = None

    def wants(self) -> bool:
        """Count one more; say whether it should be given."""
        self._count += 1
        return (self._count - 1) % self._every == 0

    def give(self, item: Item) -> None:
        """Take what is wanted."""
        self.items.append(item)
        self.taken += 1
        if len(self.items) > self._most:
            self.items = self.items[::2]
            self._every *= 2


@dataclass(frozen=True)
class MovedSweep:
    """Some points of a sweep as they were measured, and the lidar's poses by which they are moved."""

    sweep: Sweep
    poses: Trajectory


@dataclass
class SeenPictures:
    """What was noted of the pictures of one camera that have 16 bits, and of those that may show nothing.

    Attributes:
        looked_at: Pictures whose largest value is known.
        largest: The largest value of those.
        files: Compressed ones, not decoded yet.
        judged_at: ``files.taken`` when those were decoded.
        in_files: How many of them could be decoded, and the largest value in them.
        shows: Whether a picture is known to show something; the others are not looked at then.
        empty: How many raw ones of each kind show nothing.
        small: Compressed ones that may be empty, not decoded yet.
        empty_in_small: The same of those; None where one shows something.
        small_judged_at: ``small.taken`` when those were decoded.
        jpegs: JPEG files that may be damaged, not decoded yet.
        damage: How many of those are, of how many, and what is missing in the first one.
        jpeg_damages: What is missing in each of those that were decoded, '' where nothing is.
        jpegs_judged_at: ``jpegs.taken`` when those were decoded.
        smallest: The smallest JPEG file: what was cut is small.
    """

    looked_at: int = 0
    largest: int = 0
    files: Spread[bytes] = field(default_factory=lambda: Spread(FILES))
    judged_at: int = 0
    in_files: tuple[int, int] = (0, 0)
    shows: bool = False
    empty: Counter[str] = field(default_factory=Counter)
    small: Spread[bytes] = field(default_factory=lambda: Spread(FILES))
    empty_in_small: Counter[str] | None = field(default_factory=Counter)
    small_judged_at: int = 0
    jpegs: Spread[bytes] = field(default_factory=lambda: Spread(JPEGS))
    damage: tuple[int, int, str] = (0, 0, "")
    jpeg_damages: dict[bytes, str] = field(default_factory=dict)
    jpegs_judged_at: int = 0
    smallest: bytes = b""
    _raw: Spread[None] = field(default_factory=lambda: Spread(_MANY_PICTURES))

    def note(self, image: Image) -> None:
        """Take note of a picture, if it has 16 bits, may show nothing, or is one of a few that may be damaged."""
        if image.encoding == "jpeg":
            self._note_jpeg(image)
        if is_sixteen_bit_png(image):
            if self.files.wants():
                self.files.give(image.data.tobytes())
        elif (image.encoding in _SIXTEEN or _is_wide_mosaic(image.encoding)) and self._raw.wants():
            self._raw.give(None)
            values = image.data[: len(image.data) // 2 * 2].view(">u2" if image.is_bigendian else "<u2")
            self.looked_at += 1
            self.largest = max(self.largest, int(values.max(initial=0)))
            if not self.shows:
                self._note_emptiness(emptiness_of(values))
        elif not self.shows:
            self._note_eight_bits(image)

    def _note_eight_bits(self, image: Image) -> None:
        if image.encoding in DIRECT_8_BIT and self._raw.wants():
            self._raw.give(None)
            sample = some_pixels(image.data, image.encoding, image.width, image.height, image.step)
            self._note_emptiness(emptiness_of(sample))
        elif image.encoding in SUFFIXES:
            self.shows = len(image.data) > max(_SMALL_BYTES, _EMPTY_BYTES_A_PIXEL * image.width * image.height)
            if not self.shows and self.small.wants():
                self.small.give(image.data.tobytes())

    def _note_jpeg(self, image: Image) -> None:
        if self.jpegs.wants():
            self.jpegs.give(image.data.tobytes())
        if not self.smallest or len(image.data) < len(self.smallest):
            self.smallest = image.data.tobytes()
            self.jpegs.taken += 1

    def _note_emptiness(self, what: str) -> None:
        self.shows = not what
        self.empty[what] += 1


def _is_wide_mosaic(encoding: str) -> bool:
    return encoding.startswith("bayer") and encoding.endswith("16")


@dataclass(frozen=True)
class FixAtPlace:
    """A fix, and where the transforms have the device about that time: x and y in metres."""

    fix: Fix
    place: tuple[float, float]


class KeptSamples:
    """Keeps some sweeps by topic and by lidar, and what pictures by camera show.

    Attributes:
        first: The first sweeps of a topic, one after the other.
        moved: Sweeps of a lidar that were moved by the vehicle's motion.
        pictures: Pictures of a camera.
        calibrations: Versions of the calibration of a camera.
        fixes: Fixes near the stamps of frames.
        motion: Whether the device stands in frames while fixes move.
        poses: Poses of the device in frames.
    """

    def __init__(self) -> None:
        self.first: dict[str, list[Sweep]] = {}
        self.moved: defaultdict[str, Spread[MovedSweep]] = defaultdict(_spread_sweeps)
        self.pictures: defaultdict[str, SeenPictures] = defaultdict(SeenPictures)
        self.calibrations: defaultdict[str, Versions] = defaultdict(Versions)
        self.fixes: Spread[FixAtPlace] = Spread(FIXES)
        self.motion = GroundMotion()
        self.poses: Spread[Transform] = Spread(POSES)
        self._recent: deque[Fix] = deque(maxlen=_RECENT_FIXES)

    def note_first(self, topic: str, sweep: Sweep) -> None:
        """Keep some points of the first sweeps of a topic."""
        kept = self.first.setdefault(topic, [])
        if len(kept) < FIRST_SWEEPS:
            every = (len(sweep.points) // _MOST_POINTS) | 1  # odd, so that no column of a grid is left out
            kept.append(replace(sweep, points=sweep.points[::every].copy()))

    def note_posed(self, sweeps: Iterable[PosedSweep]) -> None:
        """Keep some points of the sweeps of a frame over which the vehicle moved."""
        for posed in sweeps:
            poses, sweep = posed.world_from_lidar, posed.sweep
            if not isinstance(poses, Trajectory) or sweep.time_field is None:
                continue
            way_m = float(np.linalg.norm(poses.translations[-1] - poses.translations[0]))
            kept = self.moved[posed.lidar]
            if way_m >= _LEAST_WAY_M and kept.wants():
                kept.give(MovedSweep(_some_moments(sweep), poses))

    def note_calibration(self, camera: str, info: CameraInfo) -> None:
        """Take note of a calibration of a camera."""
        self.calibrations[camera].add(info)

    def note_fix(self, fix: Fix) -> None:
        """Keep a fix until the frame of its time is made."""
        self._recent.append(fix)

    def note_place(self, frame: Frame) -> None:
        """Keep the device's pose in a frame, and the fix that is nearest to it."""
        if self.poses.wants():
            self.poses.give(frame.world_from_device)
        if not self._recent:
            return
        fix = min(self._recent, key=lambda known: abs(known.stamp_ns - frame.timestamp_ns))
        if abs(fix.stamp_ns - frame.timestamp_ns) > _NEAR_NS:
            return
        x, y, z = frame.world_from_device.translation.tolist()
        self.motion.add(fix, (x, y, z))
        if self.fixes.wants():
            self.fixes.give(FixAtPlace(fix, (x, y)))

    def note_picture(self, camera: str, image: Image) -> None:
        """Take note of a picture of a camera."""
        self.pictures[camera].note(image)


def _spread_sweeps() -> Spread[MovedSweep]:
    return Spread(SWEEPS)


def _some_moments(sweep: Sweep) -> Sweep:
    """Return a sweep with the points of some moments: those that were measured together stay together."""
    points = sweep.points
    every = len(points) // _MOST_POINTS
    if every < 2 or sweep.last_ns <= sweep.first_ns:
        return replace(sweep, points=points.copy())
    part = signed(np.ascontiguousarray(points[sweep.time_field])).astype(np.float64)
    part -= (sweep.first_ns - sweep.base_ns) / sweep.time_unit_ns
    part *= _MOMENTS * sweep.time_unit_ns / (sweep.last_ns - sweep.first_ns) / every
    with np.errstate(invalid="ignore"):
        part -= np.floor(part)  # of the way from one chosen moment to the next
        chosen = np.flatnonzero(part < 1 / every)
    return replace(sweep, points=points[chosen])
