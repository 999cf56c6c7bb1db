# SPDX-License-Identifier: Apache-2.0
"""The rules of ``.sfs`` scenes: those of Scale's own validator, and what it does not look at.

A scene passes the rules of ``SCALE_RULES`` where Scale's validator accepts it (0.5.4 of scale-sensor-fusion-io), and
fails one where that refuses it or breaks off.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.errors import ImageError, SceneError
from nucleus_bridge.formats.rules.documents import PLACE
from nucleus_bridge.formats.rules.findings import Findings, Place, shown
from nucleus_bridge.formats.rules.folder import SceneFolder
from nucleus_bridge.formats.rules.frames import COORDINATE_LIMIT_M
from nucleus_bridge.formats.sfs.container import open_tree
from nucleus_bridge.formats.sfs.lenses import PARAMETERS
from nucleus_bridge.formats.sfs.scene_tree import MICROSECOND_NS, OWN, SCENE_FILE, TIME_UNIT, VERSION
from nucleus_bridge.formats.strict_json import count, finite, integer
from nucleus_bridge.image_header import read_file_header
from nucleus_bridge.spool.manifest import FileRecord

SCALE_RULES = {
    "sfs-scene": "version begins with 1.0 or 5.1, time_offset is a count, time_unit microseconds, sensors a list",
    "sfs-sensors": "every sensor has an id of its own and is a lidar, a radar or a camera",
    "sfs-poses": "every sensor has poses: lists of stamps and of x, y, z, qx, qy, qz, qw, equally long and not empty",
    "sfs-frames": "every lidar and radar has frames with an integer timestamp and points",
    "sfs-points": "arrays of points have the type and the length that the specification asks for",
    "sfs-stamps": "a sensor's stamps increase from at most 100 s after the scene's start, at most 100 a second",
    "sfs-point-times": "no point is earlier than its frame",
    "sfs-camera": "every camera has images or a video, with integer timestamps and bytes",
    "sfs-intrinsics": "every camera has fx, fy, cx, cy, width, height and a distortion model of the specification",
}
"""What Scale's validator refuses."""
OWN_RULES = {
    "sfs-readable": "the file is a container whose arrays lie in it",
    "sfs-loads": "the version is 1.0, metadata is an object, and so on: Scale's loader takes it",
    "sfs-values": "every number is finite, coordinates are below 100,000 m",
    "sfs-quaternions": "every quaternion has length one",
    "sfs-coverage": "a sensor's poses reach from its first frame or image to its last",
    "sfs-lenses": "focal lengths are above zero, and there are no more parameters than the model has",
    "sfs-images": "every image is a whole JPEG or PNG file of the size that the intrinsics say",
    "sfs-annotations": "every cuboid has an id, a label, a size, and a path of finite numbers in the order of time",
    "sfs-own": "the metadata of this package agrees with the sensors and the manifest",
}
"""What Scale's validator does not look at."""
SFS_RULES = {
    **OWN_RULES,
    **SCALE_RULES,
    "manifest-counts": "the manifest counts the frames, items and points that are there",
    "files-used": "the scene consists of one file",
}

_FIRST_STAMP = 100_000_000
_FEWEST_US = 10_000  # between the stamps of frames or images, on average
_LENGTH_TOLERANCE = 1e-6
_LATEST_NS = 2**63
_LARGEST = 2.0**127
_POSE_NUMBERS = 7  # x, y, z, qx, qy, qz, qw
_CUBOID_NUMBERS = 9  # dx, dy, dz, px, py, pz, roll, pitch, yaw

_NESTED = (dict, list, np.ndarray)
_HAVE_ARRAYS = ("points", "content", "point_ids")
_COLUMNS = {
    "lidar": {"colors": ("uint8", 3), "intensities": ("uint8", 1), "timestamps": ("uint32", 1)},
    "radar": {"directions": ("float32", 3), "timestamps": ("uint32", 1)},
}


def check_sfs(
    folder: SceneFolder, manifest: Mapping[str, object], listed: Mapping[str, FileRecord], findings: Findings
) -> None:
    """Check everything that is particular to a ``.sfs`` scene."""
    for path in listed:
        text = f"nothing but {SCENE_FILE} belongs to the scene"
        findings.expect("files-used", Place(path), holds=path == SCENE_FILE, text=text)
    place = Place(SCENE_FILE)
    if SCENE_FILE not in folder.files:
        findings.fail("sfs-readable", place, "is missing")
        return
    try:
        tree = open_tree(folder.path / SCENE_FILE)
    except SceneError as error:
        findings.fail("sfs-readable", place, str(error))
        return
    findings.expect("sfs-readable", place, holds=True, text="")
    settled = _settled(tree)
    _check_settled(settled, findings)
    _check_own(settled, manifest, findings)


def check_tree(tree: Mapping[str, Any], findings: Findings) -> None:
    """Check what a scene file says, whoever wrote it."""
    _check_settled(_settled(tree), findings)


def _check_settled(tree: Mapping[str, Any], findings: Findings) -> None:
    with np.errstate(all="ignore"):  # what is not finite is found
        _Check(findings).scene(tree)


@dataclass(frozen=True)
class _Misplaced:
    """An array where none belongs: unlike an array it can be compared with what is expected there."""

    text: str

    def __str__(self) -> str:
        return f"an array, {self.text}"

    __repr__ = __str__


def _settled(value: Any, *, in_arrays: bool = False) -> Any:  # noqa: ANN401 - a tree or a part of one
    """Return a tree whose arrays are where a scene has arrays, and nowhere else."""
    if isinstance(value, dict):
        return {
            key: _settled(entry, in_arrays=in_arrays or key in _HAVE_ARRAYS) if isinstance(entry, _NESTED) else entry
            for key, entry in value.items()
        }
    if isinstance(value, list):
        return [_settled(entry, in_arrays=in_arrays) if isinstance(entry, _NESTED) else entry for entry in value]
    return value if in_arrays else _Misplaced(_array(value))


class _Check:
    """Looks at a scene from the top down; what is not what it should be is not looked into."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._place = Place(SCENE_FILE)

    def expect(self, rule: str, holds: object, text: str) -> bool:
        return self._findings.expect(rule, self._place, holds=bool(holds), text=text)

    def scene(self, tree: Mapping[str, Any]) -> None:
        version = tree.get("version")
        is_version = isinstance(version, str) and version.startswith(("1.0", "5.1"))
        self.expect("sfs-scene", is_version, f"version is {shown(version)}")
        self.expect("sfs-loads", version == VERSION, f"version is {shown(version)}; Scale's loader takes {VERSION}")
        offset = tree.get("time_offset")
        holds = offset is None or count(offset) is not None
        self.expect("sfs-scene", holds, f"time_offset is {shown(offset)}, expected microseconds that are not negative")
        unit = tree.get("time_unit", TIME_UNIT)
        self.expect("sfs-scene", unit == TIME_UNIT, f"time_unit is {shown(unit)}, expected {TIME_UNIT}")
        metadata = tree.get("metadata")
        self.expect("sfs-loads", metadata is None or isinstance(metadata, dict), "metadata is not an object")
        sensors = tree.get("sensors")
        if sensors and self.expect("sfs-scene", isinstance(sensors, list), "sensors is not a list"):
            self._sensors(sensors)
        self._place = Place(SCENE_FILE)
        self._annotations(tree.get("annotations"))

    def _sensors(self, sensors: Sequence[Any]) -> None:
        seen: set[tuple[type, object]] = set()
        for number, sensor in enumerate(sensors):
            self._place = Place(SCENE_FILE, None, f"sensor {number}")
            if not self.expect("sfs-sensors", isinstance(sensor, dict), f"is {shown(sensor)}"):
                continue
            name = sensor.get("id")
            is_name = isinstance(name, str) or integer(name) is not None
            if self.expect("sfs-sensors", is_name, f"its id is {shown(name)}, expected text or an integer"):
                self._place = Place(SCENE_FILE, None, str(name))
                key = (type(name), name)
                self.expect("sfs-sensors", key not in seen, f"the id {shown(name)} is used twice")
                seen.add(key)
            kind = sensor.get("type")
            if not self.expect("sfs-sensors", kind in ("lidar", "radar", "camera"), f"its type is {shown(kind)}"):
                continue
            poses = self._poses(sensor.get("poses"))
            stamps = self._camera(sensor) if kind == "camera" else self._points_sensor(sensor, str(kind))
            if poses and stamps:
                text = f"its poses are of {poses[0]} to {poses[-1]} us, its data of {stamps[0]} to {stamps[-1]} us"
                holds = len(poses) == 1 or (poses[0] <= stamps[0] and poses[-1] >= stamps[-1])
                self.expect("sfs-coverage", holds, text)

    def _stamps(self, stamps: object, what: str, rule: str, *, rated: bool) -> list[int]:
        """Check stamps; returns them where they are integers, nothing otherwise."""
        if not self.expect(rule, isinstance(stamps, list) and stamps, f"{what} is {shown(stamps)}, expected stamps"):
            return []
        whole = [stamp for stamp in _list(stamps) if integer(stamp) is not None]
        wrong = next((stamp for stamp in _list(stamps) if integer(stamp) is None), None)
        text = f"{what} has {shown(wrong)}, expected integer microseconds"
        if not self.expect(rule, len(whole) == len(_list(stamps)), text):
            return []
        self.expect("sfs-stamps", min(whole) >= 0, f"{what}: {min(whole)} us is before the scene's start")
        falls = [(before, after) for before, after in pairwise(whole) if after <= before]
        text = f"{what}: {falls[0][1]} us follows {falls[0][0]} us" if falls else ""
        self.expect("sfs-stamps", not falls, text)
        text = f"{what} begins {whole[0] / 1e6:g} s after the scene's start, more than 100 s"
        self.expect("sfs-stamps", whole[0] <= _FIRST_STAMP, text)
        if rated and len(whole) > 1:
            mean = (whole[-1] - whole[0]) / (len(whole) - 1)
            self.expect("sfs-stamps", mean >= _FEWEST_US, f"{what} are {mean:g} us apart, more than 100 a second")
        return whole

    def _poses(self, poses: object) -> list[int]:
        if not self.expect("sfs-poses", isinstance(poses, dict), f"poses is {shown(poses)}"):
            return []
        record = _record(poses)
        stamps = self._stamps(record.get("timestamps"), "poses.timestamps", "sfs-poses", rated=False)
        rows = _list(record.get("values"))
        holds = all(isinstance(row, list) and len(row) == _POSE_NUMBERS and all(map(_is_number, row)) for row in rows)
        if not self.expect("sfs-poses", rows and holds, "poses.values is not a list of seven numbers each"):
            return []
        self.expect("sfs-poses", len(rows) == len(stamps), f"poses has {len(stamps)} stamps and {len(rows)} values")
        self._pose_values(np.array(rows, np.float64))
        return stamps

    def _pose_values(self, rows: NDArray[np.float64]) -> None:
        """Check positions and quaternions."""
        wrong = np.asarray(~(np.abs(rows[:, :3]) < COORDINATE_LIMIT_M).all(axis=1))
        wrong = wrong | np.asarray(~np.isfinite(rows).all(axis=1))
        self.expect("sfs-values", not wrong.any(), f"pose {_first(wrong)} is {_row(rows, wrong)}")
        wrong = np.asarray(~(np.abs(np.linalg.norm(rows[:, 3:], axis=1) - 1.0) <= _LENGTH_TOLERANCE))
        self.expect("sfs-quaternions", not wrong.any(), f"pose {_first(wrong)} is {_row(rows, wrong)}")

    def _points_sensor(self, sensor: Mapping[str, Any], kind: str) -> list[int]:
        coordinates = sensor.get("coordinates", "world")
        text = f"coordinates is {shown(coordinates)}, expected world or ego"
        self.expect("sfs-frames", coordinates in ("world", "ego"), text)
        frames = sensor.get("frames")
        if not self.expect("sfs-frames", isinstance(frames, list) and frames, f"frames is {shown(frames)}"):
            return []
        stamps: list[Any] = []
        for number, frame in enumerate(_list(frames)):
            self._place = Place(SCENE_FILE, number, self._place.item)
            points = frame.get("points") if isinstance(frame, dict) else None
            if self.expect("sfs-frames", isinstance(points, dict), f"its points are {shown(points)}"):
                stamps.append(frame.get("timestamp"))
                self._points(_record(points), integer(stamps[-1]), _COLUMNS[kind])
        self._place = Place(SCENE_FILE, None, self._place.item)
        return self._stamps(stamps, "frames", "sfs-frames", rated=True)

    def _points(self, points: Mapping[str, Any], stamp: int | None, columns: Mapping[str, tuple[str, int]]) -> None:
        positions: Any = points.get("positions")
        is_float = isinstance(positions, np.ndarray) and positions.dtype == np.float32
        holds = is_float and np.size(positions) % 3 == 0
        if not self.expect("sfs-points", holds, f"positions is {_array(positions)}, expected float32 (n, 3)"):
            return
        xyz: NDArray[Any] = positions.reshape(-1, 3)
        is_rows = np.ndim(positions) == 1 or np.shape(positions) == xyz.shape
        self.expect("sfs-values", is_rows, f"positions is {_array(positions)}, whose points would be taken apart")
        wrong = ~(np.abs(xyz) < COORDINATE_LIMIT_M).all(axis=1)
        self.expect("sfs-values", not wrong.any(), f"point {_first(wrong)} is at {_row(xyz, wrong)} m")
        for name, (dtype, width) in columns.items():
            column = points.get(name)
            if column is None:
                continue
            holds = isinstance(column, np.ndarray) and column.dtype == dtype and column.size == width * len(xyz)
            holds = holds and (width > 1 or column.ndim == 1)
            if not self.expect("sfs-points", holds, f"{name} is {_array(column)}, expected {dtype} of {len(xyz)}"):
                continue
            if dtype == "float32":
                wrong = ~np.isfinite(column.reshape(-1, width)).all(axis=1)
                self.expect("sfs-values", not wrong.any(), f"{name} of point {_first(wrong)} is not finite")
            if name == "timestamps" and stamp is not None:
                first = int(column.min()) if len(column) else 0
                text = f"a point is of {first} us, its frame begins at {stamp} us"
                self.expect("sfs-point-times", first >= stamp, text)

    def _camera(self, sensor: Mapping[str, Any]) -> list[int]:
        size = self._intrinsics(sensor.get("intrinsics"))
        video = sensor.get("video")
        if video is not None:
            return self._video(video)
        images = sensor.get("images")
        if not self.expect("sfs-camera", isinstance(images, list) and images, f"images is {shown(images)}"):
            return []
        stamps: list[Any] = []
        for number, image in enumerate(_list(images)):
            self._place = Place(SCENE_FILE, number, self._place.item)
            content = image.get("content") if isinstance(image, dict) else None
            if self.expect("sfs-camera", isinstance(content, np.ndarray), f"its content is {_array(content)}"):
                stamps.append(image.get("timestamp"))
                self._image(content, size)
        self._place = Place(SCENE_FILE, None, self._place.item)
        return self._stamps(stamps, "images", "sfs-camera", rated=True)

    def _video(self, video: object) -> list[int]:
        if not self.expect("sfs-camera", isinstance(video, dict), f"video is {shown(video)}"):
            return []
        record = _record(video)
        content, fps = record.get("content"), record.get("fps")
        self.expect("sfs-camera", isinstance(content, np.ndarray), f"the video's content is {_array(content)}")
        self.expect("sfs-camera", _is_number(fps), f"fps is {shown(fps)}")
        return self._stamps(record.get("timestamps"), "video.timestamps", "sfs-camera", rated=True)

    def _image(self, content: Any, size: tuple[int, int] | None) -> None:  # noqa: ANN401 - an array
        if not self.expect("sfs-images", content.dtype == np.uint8 and content.ndim == 1, f"is {_array(content)}"):
            return
        try:
            header = read_file_header(np.ascontiguousarray(content).data)
        except ImageError as error:
            self.expect("sfs-images", holds=False, text=str(error))
            return
        kind = header.kind if header else "no image"
        if self.expect("sfs-images", kind in ("jpeg", "png"), f"is {kind}") and header and size:
            text = f"is of {header.width} x {header.height} pixels, the intrinsics of {size[0]} x {size[1]}"
            self.expect("sfs-images", (header.width, header.height) == size, text)

    def _intrinsics(self, record: object) -> tuple[int, int] | None:
        if not self.expect("sfs-intrinsics", isinstance(record, dict), f"intrinsics is {shown(record)}"):
            return None
        lens = _record(record)
        for key in ("fx", "fy", "cx", "cy"):
            value = lens.get(key)
            if self.expect("sfs-intrinsics", _is_number(value), f"{key} is {shown(value)}"):
                number = finite(value)
                holds = number is not None and abs(number) < _LARGEST and (key in ("cx", "cy") or number > 0)
                self.expect("sfs-lenses", holds, f"{key} is {shown(value)}")
        size = integer(lens.get("width")), integer(lens.get("height"))
        self.expect("sfs-intrinsics", None not in size, "width and height are not integers")
        self._distortion(lens.get("distortion"))
        return None if size[0] is None or size[1] is None else (size[0], size[1])

    def _distortion(self, record: object) -> None:
        if record is None:
            return
        model = record.get("model") if isinstance(record, dict) else None
        params = record.get("params") if isinstance(record, dict) else None
        is_known = isinstance(model, str) and model in PARAMETERS
        self.expect("sfs-intrinsics", is_known, f"the distortion model is {shown(model)}")
        is_list = isinstance(params, list) and all(_is_number(value) for value in params)
        self.expect("sfs-intrinsics", is_list, f"its params are {shown(params)}, expected a list of numbers")
        if is_known and is_list and isinstance(params, list):
            most = len(PARAMETERS[str(model)])
            self.expect("sfs-lenses", len(params) <= most, f"{model} has {most} parameters, not {len(params)}")
            holds = all((number := finite(value)) is not None and abs(number) < _LARGEST for value in params)
            self.expect("sfs-lenses", holds, "a parameter is not finite, or too large for 32 bits")

    def _annotations(self, annotations: object) -> None:
        if annotations is None:
            return
        if not self.expect("sfs-annotations", isinstance(annotations, list), "annotations is not a list"):
            return
        for number, annotation in enumerate(_list(annotations)):
            self._place = Place(SCENE_FILE, None, f"annotation {number}")
            holds = isinstance(annotation, dict) and annotation.get("id") is not None
            if self.expect("sfs-annotations", holds, f"is {shown(annotation)} without an id"):
                self._cuboid(annotation)

    def _cuboid(self, annotation: Mapping[str, Any]) -> None:
        if annotation.get("type") != "cuboid":
            return
        label, path = annotation.get("label"), annotation.get("path")
        self.expect("sfs-annotations", isinstance(label, str) and label, f"its label is {shown(label)}")
        rows, stamps = _list(_record(path).get("values")), _list(_record(path).get("timestamps"))
        holds = len(rows) == len(stamps) > 0
        holds = holds and all(
            isinstance(row, list) and len(row) == _CUBOID_NUMBERS and all(finite(value) is not None for value in row)
            for row in rows
        )
        if not self.expect("sfs-annotations", holds, "its path has not nine finite numbers a stamp"):
            return
        whole = [stamp for one in stamps if (stamp := count(one)) is not None]
        holds = len(whole) == len(stamps) and all(after > before for before, after in pairwise(whole))
        self.expect("sfs-annotations", holds, "its stamps are not increasing integer microseconds")
        for row in rows:
            holds = min(row[:3]) > 0.0 and max(map(abs, row[:6])) < COORDINATE_LIMIT_M
            if not self.expect("sfs-annotations", holds, f"its size is {row[:3]} m, its position {row[3:6]}"):
                return


def _is_stamp(value: object) -> bool:
    return (stamp := count(value)) is not None and stamp < _LATEST_NS


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _first(wrong: NDArray[np.bool_]) -> int:
    return int(np.argmax(wrong)) if wrong.any() else 0


def _row(rows: NDArray[Any], wrong: NDArray[np.bool_]) -> list[float]:
    found: list[float] = rows[_first(wrong)].tolist() if wrong.any() else []
    return found


def _array(value: object) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else shown(value)


def _check_own(tree: Mapping[str, Any], manifest: Mapping[str, object], findings: Findings) -> None:
    """Check what this package adds, and what the manifest counts."""
    place = Place(SCENE_FILE, None, OWN)
    sensors = [sensor for sensor in _list(tree.get("sensors")) if isinstance(sensor, dict)]
    found = _record(tree.get("metadata")).get(OWN)
    if not findings.expect("sfs-own", place, holds=isinstance(found, dict), text=f"metadata.{OWN} is {shown(found)}"):
        return
    own = _record(found)
    start_ns = integer(own.get("start_ns"))
    text = f"start_ns is {shown(own.get('start_ns'))}, time_offset {shown(tree.get('time_offset'))}"
    holds = start_ns is not None and start_ns // MICROSECOND_NS == tree.get("time_offset")
    findings.expect("sfs-own", place, holds=holds, text=text)
    for key in ("reference_id", "world_frame", "device_frame", "world_offset"):
        text = f"{key} is {shown(own.get(key))}, the manifest has {shown(manifest.get(key))}"
        findings.expect("sfs-own", place, holds=own.get(key) == manifest.get(key), text=text)
    frames = _list(own.get("frames"))
    device = _record(own.get("device"))
    stamps_ns, rows = _list(device.get("stamps_ns")), _list(device.get("poses"))
    holds = len(frames) == len(stamps_ns) == len(rows) and all(map(_is_stamp, stamps_ns))
    holds = holds and all(
        isinstance(row, list) and len(row) == _POSE_NUMBERS and all(finite(value) is not None for value in row)
        for row in rows
    )
    text = f"has {len(frames)} frames, and of the device {len(stamps_ns)} stamps and {len(rows)} poses"
    findings.expect("sfs-own", place, holds=holds, text=text)
    lengths = [_length(sensor) for sensor in sensors]
    described = _record(own.get("sensors"))
    for sensor, length in zip(sensors, lengths, strict=True):
        name = str(sensor.get("id"))
        places = _list(_record(described.get(name)).get("frames"))
        stamps_ns = _list(_record(described.get(name)).get("stamps_ns"))
        holds = len(places) == length and all(count(one) is not None and one < len(frames) for one in places)
        holds = holds and len(stamps_ns) == length and all(map(_is_stamp, stamps_ns))
        text = f"has {length} frames or images, of which metadata.{OWN} describes {len(places)}"
        findings.expect("sfs-own", Place(SCENE_FILE, None, name), holds=holds, text=text)
    points = [_points_of(sensor) for sensor in sensors if sensor.get("type") == "lidar"]
    images = sum(length for sensor, length in zip(sensors, lengths, strict=True) if sensor.get("type") == "camera")
    for key, there in {"frames": len(frames), "items": len(frames) + images, "points": sum(points)}.items():
        said = count(manifest.get(key))
        text = f"{key} is {said}, the scene has {there}"
        findings.expect("manifest-counts", PLACE, holds=said is None or said == there, text=text)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _record(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _length(sensor: Mapping[str, Any]) -> int:
    video = sensor.get("video")
    if isinstance(video, dict):
        return len(_list(video.get("timestamps")))
    return len(_list(sensor.get("images" if sensor.get("type") == "camera" else "frames")))


def _points_of(sensor: Mapping[str, Any]) -> int:
    frames: Iterable[Any] = _list(sensor.get("frames"))
    points = (frame.get("points") for frame in frames if isinstance(frame, dict))
    arrays = (record.get("positions") for record in points if isinstance(record, dict))
    return sum(array.size // 3 for array in arrays if isinstance(array, np.ndarray))
