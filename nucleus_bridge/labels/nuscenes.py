# SPDX-License-Identifier: Apache-2.0
"""Scenes and their labels as a data set in the form of nuScenes (nuscenes-devkit, docs/schema_nuscenes.md).

``samples/LIDAR_TOP`` holds the clouds in the device's frame, ``samples/CAM_<NAME>`` the images without distortion. The
tables are written scene by scene and appear last, whole: what they speak of is then there.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from nucleus_bridge.errors import BridgeError, OutputError
from nucleus_bridge.geometry import transforms
from nucleus_bridge.labels.label import Label
from nucleus_bridge.labels.training import (
    SCALE_INTENSITY,
    TrainingFrame,
    TrainingImage,
    TrainingScene,
    box_pose,
    points_inside,
)
from nucleus_bridge.labels.written import Written
from nucleus_bridge.model import Transform
from nucleus_bridge.spool.durable import replace_file
from nucleus_bridge.spool.spool import Spool

VERSION = "v1.0-mini"
"""The version that the devkit loads when it is not told which."""
LIDAR = "LIDAR_TOP"
_TABLES = (
    "category",
    "attribute",
    "visibility",
    "instance",
    "sensor",
    "calibrated_sensor",
    "ego_pose",
    "log",
    "scene",
    "sample",
    "sample_data",
    "sample_annotation",
    "map",
)
_VISIBILITY = ("v0-40", "v40-60", "v60-80", "v80-100")
_STILL = Transform(np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]))
Row = dict[str, Any]


def write_nuscenes(scenes: Iterable[list[Label]], folder: Path, spool: Spool) -> Written:
    """Write the data set into a folder; a scene whose files are not in the spool is left out and named.

    Raises:
        OutputError: It cannot be written.
    """
    written = Written()
    temporary = folder / f".{VERSION}.tmp"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        with _Tables(temporary) as tables:
            for labels in scenes:
                try:
                    source = TrainingScene(spool.scene_folder(labels[0].scene), labels)
                    rows = _SceneRows(source, folder, labels[0].scene).rows()
                except BridgeError as error:
                    written.leave_out(labels[0].scene, str(error), len(labels))
                    continue
                tables.add(rows)
                written.labels += len(labels)
        shutil.rmtree(folder / VERSION, ignore_errors=True)
        temporary.replace(folder / VERSION)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return written


class _Tables:
    """The thirteen lists, each written as it grows; what several scenes share is there once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._files: dict[str, TextIO] = {}
        self._known: set[tuple[str, str]] = set()
        self._logs: list[str] = []

    def __enter__(self) -> _Tables:  # noqa: PYI034 - Self came with Python 3.11
        for name in _TABLES:
            file = (self._folder / f"{name}.json").open("w", encoding="utf-8")
            self._files[name] = self._stack.enter_context(file)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            levels = [_row(str(number), level=level) for number, level in enumerate(_VISIBILITY, 1)]
            self._write("visibility", [{**row, "description": "not measured"} for row in levels])
            self._write("map", [_row("map", log_tokens=self._logs, category="semantic_prior", filename="")])
            for file in self._files.values():
                file.write("\n]\n" if file.tell() else "[]\n")
        self._stack.close()

    def add(self, rows: Iterable[tuple[str, Row]]) -> None:
        """Add the rows of one scene."""
        for table, row in rows:
            if table in ("category", "attribute", "sensor"):
                if (table, row["token"]) in self._known:
                    continue
                self._known.add((table, row["token"]))
            if table == "log":
                self._logs.append(row["token"])
            self._write(table, [row])

    def _write(self, table: str, rows: Sequence[Row]) -> None:
        file = self._files[table]
        for row in rows:
            file.write((",\n" if file.tell() else "[\n") + json.dumps(row, allow_nan=False))


class _SceneRows:
    """Makes the rows of one scene, and writes its clouds and images."""

    def __init__(self, source: TrainingScene, folder: Path, name: str) -> None:
        self._source, self._folder, self._name = source, folder, name
        self._rows: list[tuple[str, Row]] = []
        self._data: dict[str, list[Row]] = {}
        self._samples: list[Row] = []
        self._tracks: dict[str, list[Row]] = {}
        self._labels: dict[str, str] = {}
        self._mounts: dict[str, Transform] = {}

    def rows(self) -> list[tuple[str, Row]]:
        """Return them, after the files they speak of are written."""
        scene, log = _token("scene", self._name), _token("log", self._name)
        self._sensor(LIDAR, "lidar", _STILL, [])
        for frame, after in _pairs(self._source.frames(self._source.cameras)):
            self._sample(frame, after, scene)
        date = dt.datetime.fromtimestamp(self._samples[0]["timestamp"] / 1e6, dt.timezone.utc).date().isoformat()
        self._add("log", _row(log, logfile=self._name, vehicle="", date_captured=date, location=""))
        first, last = self._samples[0]["token"], self._samples[-1]["token"]
        self._add(
            "scene",
            _row(
                scene,
                log_token=log,
                nbr_samples=len(self._samples),
                first_sample_token=first,
                last_sample_token=last,
                name=self._name,
                description="",
            ),
        )
        self._linked("sample", self._samples)
        for rows in self._data.values():
            self._linked("sample_data", rows)
        for track, rows in self._tracks.items():
            self._linked("sample_annotation", rows)
            self._instance(track, rows)
        return self._rows

    def _sample(self, frame: TrainingFrame, after: TrainingFrame | None, scene: str) -> None:
        sample = _row(_token("sample", self._name, frame.number), timestamp=frame.time_ns // 1000, scene_token=scene)
        self._samples.append(sample)
        stem = f"{self._name}-{frame.number:06d}"
        cloud = f"samples/{LIDAR}/{stem}.pcd.bin"
        columns = [frame.points, frame.intensity[:, None] * SCALE_INTENSITY, frame.lidars[:, None]]
        self._write(cloud, np.hstack(columns).astype("<f4").tobytes())
        self._sample_data(sample, LIDAR, frame.time_ns, frame.world_from_device, _file(cloud, "pcd", (0, 0)))
        for image in frame.images.values():
            self._image(sample, image, frame, after, stem)
        device_from_world = transforms.inverse(frame.world_from_device)
        for label in frame.labels:
            self._annotation(sample, label, frame, device_from_world)

    def _image(
        self, sample: Row, image: TrainingImage, frame: TrainingFrame, after: TrainingFrame | None, stem: str
    ) -> None:
        channel = f"CAM_{image.camera.upper()}"
        mount = self._mounts.get(channel)
        if mount is None:
            mount = self._mounts[channel] = _mount(image, frame, after)
            self._sensor(channel, "camera", mount, image.matrix.tolist())
        content, suffix = image.picture()
        path = f"samples/{channel}/{stem}{suffix}"
        self._write(path, content)
        ego = transforms.compose(image.world_from_camera, transforms.inverse(mount))
        described = _file(path, suffix.removeprefix("."), image.size)
        self._sample_data(sample, channel, image.time_ns, ego, described)

    def _sample_data(self, sample: Row, channel: str, time_ns: int, ego: Transform, described: Row) -> None:
        token = _token("sample_data", self._name, channel, sample["token"])
        self._add("ego_pose", _row(token, timestamp=time_ns // 1000, **_pose(ego)))
        row = _row(
            token,
            sample_token=sample["token"],
            ego_pose_token=token,
            calibrated_sensor_token=_token("calibrated_sensor", self._name, channel),
            timestamp=time_ns // 1000,
            is_key_frame=True,
            **described,
        )
        self._data.setdefault(channel, []).append(row)

    def _sensor(self, channel: str, modality: str, mount: Transform, matrix: list[list[float]]) -> None:
        sensor = _token("sensor", channel)
        self._add("sensor", _row(sensor, channel=channel, modality=modality))
        token = _token("calibrated_sensor", self._name, channel)
        calibrated = _row(token, sensor_token=sensor, **_pose(mount), camera_intrinsic=matrix)
        self._add("calibrated_sensor", calibrated)

    def _annotation(self, sample: Row, label: Label, frame: TrainingFrame, device_from_world: Transform) -> None:
        own = label.track or label.id or f"{frame.number}"
        track, number = own, 1
        while self._tracks.get(track) and self._tracks[track][-1]["sample_token"] == sample["token"]:
            number += 1
            track = f"{own}#{number}"
        self._labels.setdefault(track, label.label)
        length, width, height = label.size
        inside = points_inside(frame.points, transforms.compose(device_from_world, box_pose(label)), label.size)
        row = _row(
            _token("sample_annotation", self._name, track, frame.number),
            sample_token=sample["token"],
            instance_token=_token("instance", self._name, track),
            visibility_token="",
            attribute_tokens=[self._attribute(name, value) for name, value in sorted(label.attributes.items())],
            translation=list(label.position),
            size=[width, length, height],
            rotation=_wxyz(label.rotation),
            num_lidar_pts=inside,
            num_radar_pts=0,
        )
        self._tracks.setdefault(track, []).append(row)

    def _attribute(self, name: str, value: object) -> str:
        text = f"{name}.{value if isinstance(value, str) else json.dumps(value)}"
        self._add("attribute", _row(_token("attribute", text), name=text, description=""))
        return _token("attribute", text)

    def _instance(self, track: str, rows: Sequence[Row]) -> None:
        label = self._labels[track]
        self._add("category", _row(_token("category", label), name=label, description=""))
        self._add(
            "instance",
            _row(
                _token("instance", self._name, track),
                category_token=_token("category", label),
                nbr_annotations=len(rows),
                first_annotation_token=rows[0]["token"],
                last_annotation_token=rows[-1]["token"],
            ),
        )

    def _linked(self, table: str, rows: Sequence[Row]) -> None:
        """Add rows that know the one before and after."""
        tokens = ["", *(row["token"] for row in rows), ""]
        for number, row in enumerate(rows):
            self._add(table, {**row, "prev": tokens[number], "next": tokens[number + 2]})

    def _add(self, table: str, row: Row) -> None:
        self._rows.append((table, row))

    def _write(self, path: str, content: bytes) -> None:
        target = self._folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_file(target, content, is_durable=False)


def _mount(image: TrainingImage, frame: TrainingFrame, after: TrainingFrame | None) -> Transform:
    """Return device from camera, with the device where it was when the image was taken, as far as that is known."""
    device = frame.world_from_device
    if after is not None and frame.time_ns < image.time_ns <= after.time_ns:
        share = (image.time_ns - frame.time_ns) / (after.time_ns - frame.time_ns)
        both = [
            Transform(pose.translation[None], pose.rotation_xyzw[None]) for pose in (device, after.world_from_device)
        ]
        found = transforms.between(both[0], both[1], np.array([share]))
        device = Transform(found.translation[0], found.rotation_xyzw[0])
    return transforms.compose(transforms.inverse(device), image.world_from_camera)


def _pairs(frames: Iterator[TrainingFrame]) -> Iterator[tuple[TrainingFrame, TrainingFrame | None]]:
    """Yield each frame with the one after it."""
    before = next(frames, None)
    for frame in frames:
        if before is not None:
            yield before, frame
        before = frame
    if before is not None:
        yield before, None


def _file(path: str, kind: str, size: tuple[int, int]) -> Row:
    return {"filename": path, "fileformat": kind, "width": size[0], "height": size[1]}


def _row(token: str, **columns: Any) -> Row:  # noqa: ANN401 - JSON
    return {"token": token, **columns}


def _token(*parts: object) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:32]


def _pose(pose: Transform) -> Row:
    return {"translation": pose.translation.tolist(), "rotation": _wxyz(pose.rotation_xyzw.tolist())}


def _wxyz(xyzw: Sequence[float]) -> list[float]:
    x, y, z, w = xyzw
    return [w, x, y, z]
