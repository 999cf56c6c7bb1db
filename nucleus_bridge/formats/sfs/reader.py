# SPDX-License-Identifier: Apache-2.0
"""Sealed ``.sfs`` scenes, read frame by frame; points and images stay on the disk until they are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.errors import SceneError
from nucleus_bridge.formats.content import LidarSweep, Points, SceneFrame, SceneImage, Track
from nucleus_bridge.formats.interface import Place
from nucleus_bridge.formats.reading import SealedFiles, read_gps, read_pose, read_stamp
from nucleus_bridge.formats.sfs.container import open_tree, read_header
from nucleus_bridge.formats.sfs.lenses import camera_model
from nucleus_bridge.formats.sfs.parts import INTENSITY_STEPS
from nucleus_bridge.formats.sfs.scene_tree import MICROSECOND_NS, OWN, SCENE_FILE
from nucleus_bridge.model import FloatArray, RadarPoints, Trajectory, Transform
from nucleus_bridge.spool.manifest import Manifest

_SUFFIXES = ((b"\xff\xd8", ".jpg"), (b"\x89PNG", ".png"))


@dataclass(frozen=True, eq=False)
class _Sensor:
    """A sensor: what the file says of it, and for each of its frames or images its stamp, by the scene's frame."""

    record: Mapping[str, Any]
    own: Mapping[str, Any]
    places: Mapping[int, int]

    @property
    def kind(self) -> str:
        return str(self.record["type"])

    def stamp_ns(self, place: int) -> int:
        return read_stamp(self.own["stamps_ns"][place])


class SfsReader(SealedFiles):
    """A sealed ``.sfs`` scene as this package writes it."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        """Read its header.

        Raises:
            SceneError: The file is missing, damaged, or not written by this package.
        """
        super().__init__(folder, manifest)
        tree = open_tree(folder / SCENE_FILE)
        with self.reading(SCENE_FILE, "is not a scene as this package writes it"):
            metadata = dict(tree["metadata"])
            self._own: Mapping[str, Any] = metadata.pop(OWN)
            self.metadata = metadata
            self._start_ns = int(self._own["start_ns"])
            self._sensors = {str(record["id"]): self._sensor(record) for record in tree["sensors"]}
            self._numbers = [int(number) for number in self._own["frames"]]
            self.cameras = tuple(name for name, sensor in self._sensors.items() if sensor.kind == "camera")
        self.lidar = self.cloud_sensor
        self._images: dict[str, tuple[str, int]] = {}
        self._videos: dict[str, Any] = {}

    def __len__(self) -> int:
        """Count the frames."""
        return len(self._numbers)

    def frame(self, index: int, most_points: int | None = None) -> SceneFrame:
        """Read one frame with its points; all of them, which costs nothing."""
        del most_points
        with self.reading(SCENE_FILE, f"frame {index} is damaged"):
            device = self._own["device"]
            position, heading = _device_pose(device, index)
            here = {name: sensor for name, sensor in self._sensors.items() if index in sensor.places}
            sweeps = [self._sweep(name, sensor, index) for name, sensor in here.items() if sensor.kind == "lidar"]
            return SceneFrame(
                self._numbers[index],
                read_stamp(device["stamps_ns"][index]),
                position,
                heading,
                read_gps(device["gps"][index]) if "gps" in device else None,
                _joined([sweep.points for sweep in sweeps]),
                tuple(self._image(name, sensor, index) for name, sensor in here.items() if sensor.kind == "camera"),
                tuple(self._radar(name, sensor, index) for name, sensor in here.items() if sensor.kind == "radar"),
                sweeps,
            )

    def image(self, image: SceneImage) -> bytes:
        """Return an image's file; a picture of a video as PNG."""
        with self.reading(SCENE_FILE, f"{image.path} is damaged"):
            camera, place = self._images[image.path]
            record = self._sensors[camera].record
            if record.get("video") is None:
                return bytes(record["images"][place]["content"].data)
            from nucleus_bridge.formats.sfs.video import VideoPictures  # noqa: PLC0415 - an extra

            if camera not in self._videos:
                lens = record["intrinsics"]
                self._videos[camera] = VideoPictures(record["video"], (int(lens["width"]), int(lens["height"])))
            picture: bytes = self._videos[camera].png(place)
            return picture

    def _sensor(self, record: Mapping[str, Any]) -> _Sensor:
        own = self._own["sensors"][str(record["id"])]
        return _Sensor(record, own, {int(frame): place for place, frame in enumerate(own["frames"])})

    def _sweep(self, name: str, sensor: _Sensor, index: int) -> LidarSweep:
        place = sensor.places[index]
        arrays = sensor.record["frames"][place]["points"]
        xyz = _rows_of_three(arrays["positions"])
        times = arrays.get("timestamps")
        intensity, ground = arrays.get("intensities"), arrays.get("is_ground")
        device = int(self.manifest.sensors.get(name, {}).get("device", 0))
        numbers = arrays.get("device")
        points = Points(
            xyz,
            None if intensity is None else intensity.astype(np.float32) / np.float32(INTENSITY_STEPS),
            np.full(len(xyz), device, np.uint8) if numbers is None else numbers,
            None if times is None else times.astype(np.int64) * MICROSECOND_NS + self._start_ns,
            None if ground is None else ground.astype(np.bool_),
        )
        stamp_ns = sensor.stamp_ns(place)
        return LidarSweep(name, device, stamp_ns, self._poses(sensor, stamp_ns, points.time_ns), points)

    def _poses(self, sensor: _Sensor, stamp_ns: int, times_ns: NDArray[np.int64] | None) -> Transform | Trajectory:
        """Return the poses over a sweep, one where only one is there."""
        path = sensor.record["poses"]
        stamps = np.array(path["timestamps"], np.int64) * MICROSECOND_NS + self._start_ns
        last_ns = stamp_ns if times_ns is None or not len(times_ns) else max(stamp_ns, int(times_ns.max()))
        first = max(0, int(np.searchsorted(stamps, stamp_ns, "right")) - 1)
        last = max(first + 1, int(np.searchsorted(stamps, last_ns, "left")) + 1)
        rows = np.array(path["values"][first:last], np.float64)
        if len(rows) == 1:
            return Transform(rows[0, :3], rows[0, 3:])
        return Trajectory(stamps[first:last], rows[:, :3], rows[:, 3:])

    def _radar(self, name: str, sensor: _Sensor, index: int) -> RadarPoints:
        place = sensor.places[index]
        arrays = sensor.record["frames"][place]["points"]
        stamp_ns = sensor.stamp_ns(place)
        direction, size = arrays.get("directions"), arrays.get("sizes")
        pose = self._poses(sensor, stamp_ns, None)
        return RadarPoints(
            name,
            stamp_ns,
            str(self.manifest.sensors.get(name, {}).get("frame_id", "")),
            _rows_of_three(arrays["positions"]).astype(np.float64),
            None if direction is None else _rows_of_three(direction).astype(np.float64),
            None if size is None else size.astype(np.float64),
            pose if isinstance(pose, Transform) else None,
        )

    def _image(self, name: str, sensor: _Sensor, index: int) -> SceneImage:
        place = sensor.places[index]
        record = sensor.record
        if record.get("video") is None:
            start = bytes(record["images"][place]["content"][:4])
            suffix = next((suffix for magic, suffix in _SUFFIXES if start.startswith(magic)), "")
        else:
            suffix = ".png"
        path = f"{name}/{self._numbers[index]:06d}{suffix}"
        self._images[path] = (name, place)
        stamp_ns = sensor.stamp_ns(place)
        pose = self._poses(sensor, stamp_ns, None)
        if not isinstance(pose, Transform):
            raise SceneError(f"{name} has no pose of its own at image {place}")
        model, own = camera_model(record["intrinsics"]), sensor.own
        index_of, priority = int(own.get("camera_index", 0)), int(own.get("priority", 0))
        return SceneImage(name, path, stamp_ns, pose.translation, pose.rotation_xyzw, model, index_of, priority)


def _device_pose(device: Mapping[str, Any], index: int) -> tuple[FloatArray, FloatArray]:
    row = device["poses"][index]
    return read_pose(dict(zip("xyz", row[:3], strict=True)), dict(zip("xyzw", row[3:], strict=True)))


def _rows_of_three(array: NDArray[Any]) -> NDArray[Any]:
    return array.reshape(-1, 3)


def _joined(parts: Sequence[Points]) -> Points:
    """Put the points of a frame together, with the columns that all lidars have."""
    if not parts:
        return Points(np.zeros((0, 3), np.float32))
    columns = [part.columns() for part in parts]
    common = [name for name in columns[0] if all(name in other for other in columns)]
    return Points(**{name: np.concatenate([column[name] for column in columns]) for name in common})


def read_track(place: Place) -> Track:
    """Read where the device was.

    Raises:
        OSError: The file cannot be read.
        SceneError: It is not a scene as this package writes it.
    """
    with place.open("rb") as file:
        header = read_header(file, SCENE_FILE)
    try:
        device = header["metadata"][OWN]["device"]
        positions = tuple((float(row[0]), float(row[1]), float(row[2])) for row in device["poses"])
        fixes = tuple((float(fix["lat"]), float(fix["lon"])) for fix in device.get("gps", ()) if fix is not None)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise SceneError(f"{SCENE_FILE}: does not say where the device was ({type(error).__name__}: {error})") from None
    return Track(positions, fixes)
