# SPDX-License-Identifier: Apache-2.0
"""A sealed scene and its labels frame by frame, in the world and the device's frame, for writers of training sets."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nucleus_bridge.decode.pinhole import Kind, pinhole_file
from nucleus_bridge.errors import ImageError
from nucleus_bridge.formats.content import SceneFrame, SceneImage
from nucleus_bridge.formats.interface import SceneReader
from nucleus_bridge.formats.reading import open_scene
from nucleus_bridge.geometry import quaternion, transforms
from nucleus_bridge.image_header import read_file_header
from nucleus_bridge.labels.label import Label
from nucleus_bridge.model import CameraModel, FloatArray, Transform

SCALE_INTENSITY = 255.0
_BOX_SLACK_M = 0.05
"""Points so far outside of a box still count as its own: those on its surface are measured with an error."""


@dataclass(frozen=True, eq=False)
class TrainingImage:
    """An image and where it was taken.

    Attributes:
        camera: Name of the camera.
        time_ns: When it was taken.
        world_from_camera: Of the optical frame, then.
        model: The camera of the file.
        content: The file.
    """

    camera: str
    time_ns: int
    world_from_camera: Transform
    model: CameraModel
    content: bytes

    @property
    def matrix(self) -> FloatArray:
        """The matrix of the camera of the file without distortion."""
        return matrix_of(self.model)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the file's picture."""
        factor = self.model.scale_factor
        return round(self.model.width / factor), round(self.model.height / factor)

    def picture(self, kind: Kind | None = None) -> tuple[bytes, str]:
        """Return the file without distortion, and its suffix.

        Raises:
            ImageError: It cannot be decoded.
        """
        content, suffix, _ = pinhole_file(self.content, self.model, kind)
        return content, suffix


@dataclass(frozen=True, eq=False)
class TrainingFrame:
    """One frame.

    Attributes:
        number: Its number in the scene.
        stamp_ns: ``header.stamp`` of the sweep as recorded.
        time_ns: The frame's instant.
        world_from_device: At that instant.
        points: Shape (n, 3), in the device's frame, metres.
        intensity: Shape (n,), 0 to 1.
        lidars: Shape (n,), which lidar each point is of.
        images: By camera.
        labels: Of this frame.
    """

    number: int
    stamp_ns: int
    time_ns: int
    world_from_device: Transform
    points: FloatArray
    intensity: FloatArray
    lidars: FloatArray
    images: Mapping[str, TrainingImage]
    labels: Sequence[Label]


class TrainingScene:
    """A scene with its labels.

    Raises:
        InputError: There is no scene in the folder.
        SceneError: It is damaged.
    """

    def __init__(self, folder: Path, labels: Sequence[Label]) -> None:
        self._reader: SceneReader = open_scene(folder)
        self.manifest = self._reader.manifest
        self.cameras = tuple(self._reader.cameras)
        self._offset = np.array([self.manifest.world_offset[axis] for axis in "xyz"])
        self._labels: dict[int, list[Label]] = {}
        for label in labels:
            self._labels.setdefault(label.frame, []).append(label)

    def frames(self, cameras: Collection[str]) -> Iterator[TrainingFrame]:
        """Yield the frames in order, with the images of some cameras.

        Raises:
            SceneError: A file is missing or damaged.
            ImageError: An image is none.
        """
        for index in range(len(self._reader)):
            frame = self._reader.frame(index)
            device = self._in_world(frame.position, frame.heading_xyzw)
            xyz = frame.points.xyz.astype(np.float64) + self._offset
            count = len(xyz)
            own, lidars = frame.points.intensity, frame.points.device
            yield TrainingFrame(
                index,
                self._stamp(index, frame),
                frame.timestamp_ns,
                device,
                transforms.apply(transforms.inverse(device), xyz),
                np.zeros(count) if own is None else own.astype(np.float64),
                np.zeros(count) if lidars is None else lidars.astype(np.float64),
                {image.camera: self._image(image) for image in frame.images if image.camera in cameras},
                self._labels.get(index, []),
            )

    def _stamp(self, index: int, frame: SceneFrame) -> int:
        stamps = self.manifest.stamps
        return int(stamps[index]["stamp_ns"]) if index < len(stamps) else frame.timestamp_ns

    def _image(self, image: SceneImage) -> TrainingImage:
        content = self._reader.image(image)
        header = read_file_header(content)
        if header is None:
            raise ImageError(f"{image.path} is not an image file")
        factor = image.model.scale_factor
        model = replace(image.model, width=round(header.width * factor), height=round(header.height * factor))
        pose = self._in_world(image.position, image.heading_xyzw)
        return TrainingImage(image.camera, image.stamp_ns, pose, model, content)

    def _in_world(self, position: FloatArray, heading_xyzw: FloatArray) -> Transform:
        heading: FloatArray = heading_xyzw / np.linalg.norm(heading_xyzw)
        return Transform(position + self._offset, heading)


def matrix_of(model: CameraModel) -> FloatArray:
    """Return the 3 x 3 matrix of a camera's image once it is without distortion and skew."""
    shrink = 1.0 + model.distortion.get("xi", 0.0) if model.model == "omnidirectional" else 1.0
    factor = model.scale_factor
    fx, fy = model.fx / shrink / factor, model.fy / shrink / factor
    return np.array([[fx, 0.0, model.cx / factor], [0.0, fy, model.cy / factor], [0.0, 0.0, 1.0]])


def box_pose(label: Label) -> Transform:
    """Return world from box."""
    return Transform(np.array(label.position), np.array(label.rotation))


def points_inside(points: FloatArray, frame_from_box: Transform, size: tuple[float, float, float]) -> int:
    """Count the points, shape (n, 3), that are in a box."""
    half = np.array(size) / 2.0 + _BOX_SLACK_M
    away = points - frame_from_box.translation
    near = away[(np.abs(away) <= float(np.linalg.norm(half))).all(axis=1)]
    inside = np.abs(quaternion.rotate(quaternion.conjugate(frame_from_box.rotation_xyzw), near)) <= half
    return int(inside.all(axis=1).sum())
