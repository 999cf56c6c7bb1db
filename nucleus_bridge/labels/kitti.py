# SPDX-License-Identifier: Apache-2.0
"""Scenes and their labels in the form of KITTI's 3D object benchmark (the readme of its development kit).

KITTI's boxes can only turn about the vertical axis of the camera. So the rectified camera frame and the frame of the
points are level here: they have the camera's and the device's place and heading, and the tilt of the camera is in P2.
``training/`` numbers the frames of all scenes from 0; ``frames.csv`` has the scene and stamp of each.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nucleus_bridge.errors import BridgeError, OutputError
from nucleus_bridge.geometry import quaternion, transforms
from nucleus_bridge.geometry.optical import BODY_FROM_OPTICAL
from nucleus_bridge.labels.label import Label
from nucleus_bridge.labels.training import TrainingFrame, TrainingScene, box_pose, points_inside
from nucleus_bridge.labels.written import Written
from nucleus_bridge.model import FloatArray, Transform
from nucleus_bridge.spool.durable import replace_file
from nucleus_bridge.spool.spool import Spool

FRAMES = "frames.csv"
_NEAR_M = 0.1
_EDGES = ((0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7))
_SEEN, _UNKNOWN = 0, 3


def write_kitti(scenes: Iterable[list[Label]], folder: Path, spool: Spool, camera: str = "") -> Written:
    """Write the training set into a folder; a scene whose files are not in the spool is left out and named.

    Args:
        scenes: Labels, scene by scene.
        folder: The folder.
        spool: Has the clouds and images.
        camera: The camera that is KITTI's left colour camera; by default the first one.

    Raises:
        OutputError: It cannot be written.
    """
    written = Written()
    number = 0
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(("number", "scene", "frame", "stamp_ns"))
    try:
        for name in ("calib", "label_2", "velodyne"):
            (folder / "training" / name).mkdir(parents=True, exist_ok=True)
        for labels in scenes:
            blind = 0
            try:
                source = TrainingScene(folder=spool.scene_folder(labels[0].scene), labels=labels)
                chosen = camera or next(iter(source.cameras), "")
                for frame in source.frames({chosen}):
                    if chosen and chosen not in frame.images:
                        blind += 1
                        continue
                    _write_frame(folder / "training", number, frame, chosen)
                    rows.writerow((f"{number:06d}", labels[0].scene, frame.number, frame.stamp_ns))
                    written.labels += len(frame.labels)
                    number += 1
            except BridgeError as error:
                written.leave_out(labels[0].scene, str(error), len(labels))
                continue
            if blind:
                written.notes.append(f"{labels[0].scene}: {blind} frames have no image of {chosen} and are left out")
        _remove_rest(folder / "training", number)
        replace_file(folder / FRAMES, table.getvalue().encode())
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror}") from None
    return written


def _remove_rest(folder: Path, number: int) -> None:
    """Remove the frames that an earlier run wrote besides."""
    for path in folder.glob("*/*"):
        if path.stem.isdecimal() and int(path.stem) >= number:
            path.unlink()


def _write_frame(folder: Path, number: int, frame: TrainingFrame, camera: str) -> None:
    view = _View.of(frame, camera)
    if camera:
        (folder / "image_2").mkdir(exist_ok=True)
        content, _ = frame.images[camera].picture("png")
        _write(folder / "image_2" / f"{number:06d}.png", content)
    level_from_device = transforms.compose(transforms.inverse(view.world_from_level), frame.world_from_device)
    points = transforms.apply(level_from_device, frame.points)
    cloud = np.hstack([points, frame.intensity[:, None]]).astype("<f4")
    _write(folder / "velodyne" / f"{number:06d}.bin", cloud.tobytes())
    _write(folder / "calib" / f"{number:06d}.txt", view.calibration().encode())
    device_from_world = transforms.inverse(frame.world_from_device)
    lines = []
    for label in frame.labels:
        inside = points_inside(frame.points, transforms.compose(device_from_world, box_pose(label)), label.size)
        lines.append(view.line(label, inside))
    _write(folder / "label_2" / f"{number:06d}.txt", "".join(f"{line}\n" for line in lines).encode())


def _write(path: Path, content: bytes) -> None:
    replace_file(path, content, is_durable=False)


@dataclass(frozen=True, eq=False)
class _View:
    """The level frames of one frame's points and camera.

    Attributes:
        world_from_level: The device's place and heading, upright.
        world_from_camera: The camera's place and heading, its x axis and its view level.
        projection: Shape (3, 3), from the level camera to the image.
        size: Width and height of the image.
    """

    world_from_level: Transform
    world_from_camera: Transform
    projection: FloatArray
    size: tuple[int, int]

    @classmethod
    def of(cls, frame: TrainingFrame, camera: str) -> _View:
        """Return those of a frame; without a camera one at the device's place stands for it."""
        level = _upright(frame.world_from_device, quaternion.to_matrix(frame.world_from_device.rotation_xyzw)[:, 0])
        if not camera:
            return cls(level, transforms.compose(level, BODY_FROM_OPTICAL), np.eye(3), (0, 0))
        image = frame.images[camera]
        matrix = quaternion.to_matrix(image.world_from_camera.rotation_xyzw)
        view = transforms.compose(_upright(image.world_from_camera, matrix[:, 2]), BODY_FROM_OPTICAL)
        camera_from_level = matrix.T @ quaternion.to_matrix(view.rotation_xyzw)
        return cls(level, view, image.matrix @ camera_from_level, image.size)

    def calibration(self) -> str:
        """Return the calibration file."""
        p2 = np.hstack([self.projection, np.zeros((3, 1))])
        camera_from_level = transforms.compose(transforms.inverse(self.world_from_camera), self.world_from_level)
        rotation = quaternion.to_matrix(camera_from_level.rotation_xyzw)
        rigid = np.hstack([rotation, camera_from_level.translation[:, None]])
        still = np.hstack([np.eye(3), np.zeros((3, 1))])
        rows = {f"P{number}": p2 for number in range(4)}
        rows |= {"R0_rect": np.eye(3), "Tr_velo_to_cam": rigid, "Tr_imu_to_velo": still}
        return "".join(f"{name}: {' '.join(f'{value:.12e}' for value in row.ravel())}\n" for name, row in rows.items())

    def line(self, label: Label, inside: int) -> str:
        """Return a label as one line: type, truncation, occlusion, alpha, box in the image, size, place, turn."""
        camera_from_world = transforms.inverse(self.world_from_camera)
        x, y, z = transforms.apply(camera_from_world, np.array(label.position)[None])[0]
        heading = quaternion.rotate(np.array(label.rotation), np.array([[1.0, 0.0, 0.0]]))
        along = quaternion.rotate(camera_from_world.rotation_xyzw, heading)[0]
        turn = math.atan2(-along[2], along[0])
        alpha = math.remainder(turn - math.atan2(x, z), math.tau)
        length, width, height = label.size
        truncated, box = self._box(label)
        occluded = _SEEN if inside and truncated < 1.0 else _UNKNOWN
        numbers = (*box, height, width, length, x, y + height / 2.0, z)
        name = "_".join(label.label.split()) or "unknown"
        values = " ".join(f"{value:.4f}" for value in numbers)
        return f"{name} {truncated:.2f} {occluded} {alpha:.6f} {values} {turn:.6f}"

    def _box(self, label: Label) -> tuple[float, tuple[float, float, float, float]]:
        """Return how much of a box is outside of the image, and its bounds in it; all 0 where it is not in it."""
        corners = transforms.apply(transforms.inverse(self.world_from_camera), _corners(label))
        seen = corners @ self.projection.T
        rays = [seen[index] for index in range(8) if seen[index, 2] >= _NEAR_M]
        for first, second in _EDGES:
            start, end = seen[first], seen[second]
            if (start[2] < _NEAR_M) != (end[2] < _NEAR_M):
                rays.append(start + (end - start) * (_NEAR_M - start[2]) / (end[2] - start[2]))
        if not rays or not self.size[0]:
            return 1.0, (0.0, 0.0, 0.0, 0.0)
        pixels = np.array([ray[:2] / ray[2] for ray in rays])
        (left, top), (right, bottom) = pixels.min(axis=0), pixels.max(axis=0)
        width, height = self.size
        inside = (max(left, 0.0), max(top, 0.0), min(right, width - 1.0), min(bottom, height - 1.0))
        if inside[0] >= inside[2] or inside[1] >= inside[3]:
            return 1.0, (0.0, 0.0, 0.0, 0.0)
        area = (inside[2] - inside[0]) * (inside[3] - inside[1])
        return max(0.0, 1.0 - area / ((right - left) * (bottom - top))), inside


def _upright(pose: Transform, forward: FloatArray) -> Transform:
    """Return the pose of a body at the same place, x level along ``forward``, z up."""
    half = math.atan2(forward[1], forward[0]) / 2.0
    return Transform(pose.translation, np.array([0.0, 0.0, math.sin(half), math.cos(half)]))


def _corners(label: Label) -> FloatArray:
    length, width, height = label.size
    signs = np.array([[1, 1, 1], [1, -1, 1], [1, -1, -1], [1, 1, -1]], float)
    signs = np.vstack([signs, signs * [-1.0, 1.0, 1.0]])
    return transforms.apply(box_pose(label), signs * np.array([length, width, height]) / 2.0)
