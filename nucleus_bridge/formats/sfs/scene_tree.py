# SPDX-License-Identifier: Apache-2.0
"""The frames of a scene as the tree of its ``.sfs`` file, whose arrays are read as they are written.

Stamps in the file are microseconds from its smallest one. What it has no place for stands in its metadata under
``nucleus_bridge``: the nanoseconds, the world's offset, the device's path, and what belongs to which frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from nucleus_bridge.errors import InputError
from nucleus_bridge.formats.content import Buffer, SceneImage
from nucleus_bridge.formats.interface import WholeScene
from nucleus_bridge.formats.rounding import POSITION_DECIMALS, QUATERNION_DECIMALS, gps_pose
from nucleus_bridge.formats.sfs.container import Blob
from nucleus_bridge.formats.sfs.cuboids import cuboids
from nucleus_bridge.formats.sfs.lenses import intrinsics
from nucleus_bridge.formats.sfs.parts import Column, FrameEntry, Share
from nucleus_bridge.image_header import FileHeader
from nucleus_bridge.model import FloatArray, Trajectory

SCENE_FILE = "scene.sfs"
VERSION = "1.0"
TIME_UNIT = "microseconds"
OWN = "nucleus_bridge"
"""Key of the metadata that holds what the specification has no place for."""
MICROSECOND_NS = 1000

LONGEST_NS = 600 * 10**9
"""A scene ends after ten minutes at the latest: its header names every array, and is read as a whole."""
_POINT_TIMES_NS = 2**32 * MICROSECOND_NS
"""Point times are 32-bit microseconds."""


@dataclass(frozen=True, eq=False)
class Shot:
    """An image of a frame, with the kind and size in pixels of its file, and its size in bytes."""

    frame: FrameEntry
    image: SceneImage
    header: FileHeader
    nbytes: int


class SceneTree:
    """A scene on its way into a tree.

    Attributes:
        start_ns: The smallest stamp of the file.
        shares: Of every lidar and radar, in the order of frames.
        shots: Of every camera, likewise.
    """

    def __init__(self, whole: WholeScene, folder: Path) -> None:
        """Take a scene whose entries ``write_part`` made, and where their files are.

        Raises:
            InputError: The scene is too long, or its metadata has the key that is needed here.
        """
        if OWN in whole.metadata:
            raise InputError(f"metadata.{OWN}: a .sfs file has its own content under that name; choose another one")
        self._whole = whole
        self._folder = folder
        self.shares = _shares(whole.entries)
        self.shots = _shots(whole.entries)
        self._paths = {name: _joined([share.poses for _, share in own]) for name, own in self.shares.items()}
        self._paths |= {name: _camera_path(own) for name, own in self.shots.items()}
        begins = (share.begin_ns for own in self.shares.values() for _, share in own)
        found = (found.stamp_ns for entry in whole.entries for found in entry.detections)
        self.start_ns = min(*begins, *found, *(int(path.stamps_ns[0]) for path in self._paths.values()))
        length_ns = max(share.last_ns for own in self.shares.values() for _, share in own) - self.start_ns
        if length_ns >= _POINT_TIMES_NS:
            raise InputError(
                f"the scene is {length_ns / 1e9:.0f} s long; point times in a .sfs file end at "
                f"{_POINT_TIMES_NS / 1e9:.0f} s; set scene.max_duration_s"
            )

    def tree(self, videos: dict[str, dict[str, Any]] | None = None) -> dict[str, Any]:
        """Return the tree.

        Args:
            videos: What stands under ``video`` of each camera, where images became videos.

        Raises:
            InputError: Stamps of a sensor collide, or a camera's intrinsics changed.
        """
        sensors = [self._points_sensor(name) for name in self.shares]
        sensors += [self._camera(name, videos) for name in self.shots]
        return {
            "version": VERSION,
            "sensors": sensors,
            **({"annotations": found} if (found := cuboids(self._whole.entries, self._from_start)) else {}),
            "time_offset": self.start_ns // MICROSECOND_NS,
            "time_unit": TIME_UNIT,
            "metadata": {**self._whole.metadata, OWN: self._own()},
        }

    def stamps(self, sensor: str) -> list[int]:
        """Return the stamps of a sensor's frames or images, which must increase.

        Raises:
            InputError: They do not.
        """
        if sensor in self.shares:
            stamps = self._from_start(share.begin_ns for _, share in self.shares[sensor])
        else:
            stamps = self._from_start(shot.image.stamp_ns for shot in self.shots[sensor])
        for number, (before, after) in enumerate(pairwise(stamps), 1):
            if after <= before:
                raise InputError(
                    f"{sensor}: number {number} begins {after} us after the scene's start, the one before it {before} "
                    "us; a .sfs file needs increasing stamps; check its stamps and the times of its points"
                )
        return stamps

    def _from_start(self, stamps_ns: Iterable[int]) -> list[int]:
        return [(int(stamp_ns) - self.start_ns) // MICROSECOND_NS for stamp_ns in stamps_ns]

    def _poses(self, sensor: str) -> dict[str, Any]:
        """Return a pose path; of several poses at one microsecond the first."""
        path = self._paths[sensor]
        stamps = np.array(self._from_start(path.stamps_ns), np.int64)
        kept = np.ones(len(stamps), np.bool_)
        kept[1:] = stamps[1:] != stamps[:-1]
        rows = pose_rows(path.translations[kept], path.rotations_xyzw[kept])
        return {"timestamps": stamps[kept].tolist(), "values": rows}

    def _points_sensor(self, name: str) -> dict[str, Any]:
        shares = self.shares[name]
        frames = [
            {
                "timestamp": stamp,
                "points": {column.name: self._blob(column, entry.path) for column in share.columns},
            }
            for stamp, (entry, share) in zip(self.stamps(name), shares, strict=True)
        ]
        kind = shares[0][1].kind
        return {"id": name, "type": kind, "coordinates": "world", "poses": self._poses(name), "frames": frames}

    def _blob(self, column: Column, path: str) -> Blob:
        start_ns = self.start_ns if column.name == "timestamps" else None
        dtype = column.dtype if start_ns is None else "uint32"
        return Blob(dtype, column.shape, partial(_column_bytes, column, self._folder / path, start_ns))

    def _camera(self, name: str, videos: dict[str, dict[str, Any]] | None) -> dict[str, Any]:
        shots = self.shots[name]
        lenses = [intrinsics(shot.image.model, shot.header) for shot in shots]
        for shot, lens in zip(shots, lenses, strict=True):
            if lens != lenses[0]:
                raise InputError(
                    f"{name}: its intrinsics or the size of its images change at {shot.image.path}; a .sfs file has "
                    "room for one calibration of a camera"
                )
        stamps = self.stamps(name)
        content: dict[str, Any] = {
            "images": [
                {
                    "timestamp": stamp,
                    "content": Blob("uint8", (shot.nbytes,), partial(_file_bytes, self._folder / shot.image.path)),
                }
                for stamp, shot in zip(stamps, shots, strict=True)
            ]
        }
        if videos is not None:
            content = {"video": videos[name]}
        return {"id": name, "type": "camera", "poses": self._poses(name), "intrinsics": lenses[0], **content}

    def _own(self) -> dict[str, Any]:
        """Return what the specification has no place for."""
        entries: Sequence[FrameEntry] = self._whole.entries
        scene = self._whole.start.scene
        numbers = {entry.number: index for index, entry in enumerate(entries)}
        xyz = np.array([entry.device.translation for entry in entries])
        xyzw = np.array([entry.device.rotation_xyzw for entry in entries])
        device: dict[str, Any] = {
            "stamps_ns": [entry.timestamp_ns for entry in entries],
            "poses": pose_rows(xyz, xyzw),
        }
        if any(entry.gps is not None for entry in entries):
            device["gps"] = [None if entry.gps is None else gps_pose(entry.gps) for entry in entries]
        sensors: dict[str, dict[str, Any]] = {}
        for name, shares in self.shares.items():
            sensors[name] = {
                "frames": [numbers[entry.number] for entry, _ in shares],
                "stamps_ns": [share.stamp_ns for _, share in shares],
            }
        for name, shots in self.shots.items():
            recorded, written = self._whole.sensors.get(name, {}).get("model"), shots[0].image.model.model
            sensors[name] = {
                "frames": [numbers[shot.frame.number] for shot in shots],
                "stamps_ns": [shot.image.stamp_ns for shot in shots],
                "camera_index": shots[0].image.camera_index,
                **({"priority": priority} if (priority := shots[0].image.priority) else {}),
                **({"rectified_from": recorded} if recorded not in (None, written) else {}),
            }
        return {
            "reference_id": scene.reference_id,
            "start_ns": self.start_ns,
            "world_frame": scene.world_frame,
            "device_frame": scene.device_frame,
            "world_offset": dict(zip("xyz", scene.world_offset, strict=True)),
            "frames": [entry.number for entry in entries],
            "device": device,
            "sensors": sensors,
        }


def pose_rows(xyz: FloatArray, xyzw: FloatArray) -> list[list[float]]:
    """Return poses as x, y, z, qx, qy, qz, qw, rounded as in the other formats."""
    rounded = np.hstack([np.round(xyz, POSITION_DECIMALS), np.round(xyzw, QUATERNION_DECIMALS)])
    rows: list[list[float]] = (rounded + 0.0).tolist()  # + 0.0 turns -0.0 into 0.0
    return rows


def _shares(entries: Sequence[FrameEntry]) -> dict[str, list[tuple[FrameEntry, Share]]]:
    """Return every sensor's shares, lidars before radars, each in the order in which they are first met."""
    pairs = [(entry, share) for entry in entries for share in entry.shares]
    found: dict[str, list[tuple[FrameEntry, Share]]] = {}
    for entry, share in sorted(pairs, key=lambda pair: pair[1].kind):  # stable
        found.setdefault(share.sensor, []).append((entry, share))
    return found


def _shots(entries: Sequence[FrameEntry]) -> dict[str, list[Shot]]:
    """Return every camera's images, cameras as they are numbered."""
    found: dict[str, list[Shot]] = {}
    shots = chain.from_iterable(
        (Shot(entry, *shot) for shot in zip(entry.images, entry.headers, entry.sizes, strict=True)) for entry in entries
    )
    for shot in sorted(shots, key=lambda shot: shot.image.camera_index):  # stable
        found.setdefault(shot.image.camera, []).append(shot)
    return found


def _joined(parts: Sequence[Trajectory]) -> Trajectory:
    """Put poses into the order of time."""
    stamps = np.concatenate([part.stamps_ns for part in parts])
    order = np.argsort(stamps, kind="stable")
    xyz = np.concatenate([part.translations for part in parts])
    xyzw = np.concatenate([part.rotations_xyzw for part in parts])
    return Trajectory(stamps[order], xyz[order], xyzw[order])


def _camera_path(shots: Sequence[Shot]) -> Trajectory:
    return Trajectory(
        np.array([shot.image.stamp_ns for shot in shots], np.int64),
        np.array([shot.image.position for shot in shots]),
        np.array([shot.image.heading_xyzw for shot in shots]),
    )


def _column_bytes(column: Column, path: Path, start_ns: int | None) -> Iterator[Buffer]:
    """Read an array; stamps of points become microseconds from the start."""
    with path.open("rb") as file:
        file.seek(column.offset)
        content = file.read(column.nbytes)
    if start_ns is None:
        yield content
        return
    stamps_ns = np.frombuffer(content, "<i8")
    yield ((stamps_ns - start_ns) // MICROSECOND_NS).astype("<u4").tobytes()


def _file_bytes(path: Path) -> Iterator[Buffer]:
    yield path.read_bytes()
