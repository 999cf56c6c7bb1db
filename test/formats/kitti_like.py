# SPDX-License-Identifier: Apache-2.0
"""A scene format that is known to a test alone: like KITTI's odometry data set, a binary cloud and images a frame.

velodyne/000000.bin     float32 x, y, z, intensity
image_<camera>/000000.jpg
poses.txt               a line a frame: number, stamp in ns, position, heading
calib.txt               a line an image: number, camera, path, stamp, index, position, heading, fx fy cx cy
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nucleus_bridge.errors import SceneError
from nucleus_bridge.formats.content import Points, SceneFrame, SceneImage, Track
from nucleus_bridge.formats.interface import FramePart, OpenFolder, Place, SceneStart, Upload, WholeScene
from nucleus_bridge.formats.reading import SealedFiles
from nucleus_bridge.formats.rules.findings import Findings
from nucleus_bridge.formats.rules.findings import Place as Spot
from nucleus_bridge.formats.rules.folder import SceneFolder
from nucleus_bridge.model import CameraModel
from nucleus_bridge.spool import FileRecord, Manifest

NO_DISTORTION = dict.fromkeys(("k1", "k2", "p1", "p2", "k3"), 0.0)


@dataclass(frozen=True)
class KittiLike:
    """Reads, writes and checks such scenes; ``loses`` is what another format would miss."""

    name: str = "kitti_like"
    loses: str = ""
    title: str = "KITTI-like scene"
    upload: Upload | None = None
    holds_radar: bool = False
    holds_metadata: bool = False
    holds_annotations: bool = False

    @property
    def rules(self) -> Mapping[str, str]:
        return {
            "velodyne-whole": "every cloud has four numbers a point, all finite",
            "poses-counted": "there is a pose for every frame that the manifest counts",
        }

    def expresses(self, model: CameraModel) -> bool:
        return model.model == "brown_conrady" and not any(model.distortion.values()) and not model.skew

    def image_path(self, camera: str, number: int, suffix: str) -> str:
        return f"image_{camera}/{number:06d}{suffix}"

    def write_frame(self, start: SceneStart, frame: SceneFrame, folder: OpenFolder) -> FramePart:
        cloud = np.zeros((len(frame.points), 4), "<f4")
        cloud[:, :3] = frame.points.xyz
        cloud[:, 3] = 0.0 if frame.points.intensity is None else frame.points.intensity
        record = folder.write(f"velodyne/{frame.number:06d}.bin", [cloud.tobytes()])
        pose = line(frame.number, frame.timestamp_ns, *frame.position, *frame.heading_xyzw)
        images = [
            line(
                frame.number, image.camera, image.path, image.stamp_ns, image.camera_index,
                *image.position, *image.heading_xyzw, image.model.fx, image.model.fy, image.model.cx, image.model.cy,
            )
            for image in frame.images
        ]  # fmt: skip
        return FramePart((record,), (pose, images))

    def close(self, whole: WholeScene, folder: OpenFolder) -> Sequence[FileRecord]:
        poses = "".join(pose for pose, _ in whole.entries)
        calibrations = "".join(text for _, images in whole.entries for text in images)
        texts = (("poses.txt", poses), ("calib.txt", calibrations))
        return [*whole.files, *(folder.write(path, [text.encode()]) for path, text in texts)]

    def read(self, folder: Path, manifest: Manifest) -> Reader:
        return Reader(folder, manifest)

    def track(self, folder: Place, manifest: Manifest) -> Track:
        with (folder / "poses.txt").open("rb") as file:
            rows = [row.split() for row in file.read().decode().splitlines()]
        return Track(tuple((float(row[2]), float(row[3]), float(row[4])) for row in rows), ())

    def check(
        self,
        folder: SceneFolder,
        manifest: Mapping[str, object],
        listed: Mapping[str, FileRecord],
        findings: Findings,
    ) -> None:
        for path in sorted(path for path in listed if path.startswith("velodyne/")):
            numbers = np.frombuffer(folder.read(path)[: folder.files[path] // 4 * 4], "<f4")
            holds = folder.files[path] % 16 == 0 and bool(np.isfinite(numbers).all())
            findings.expect("velodyne-whole", Spot(path), holds=holds, text="is cut off, or has a NaN")
        poses = len(folder.read("poses.txt").splitlines())
        text = f"has {poses} poses"
        findings.expect("poses-counted", Spot("poses.txt"), holds=poses == manifest["frames"], text=text)


class Reader(SealedFiles):
    """A sealed scene of this kind."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        super().__init__(folder, manifest)
        self._poses = [row.split() for row in self.read("poses.txt").decode().splitlines()]
        self._images = [row.split() for row in self.read("calib.txt").decode().splitlines()]
        self.lidar = self.cloud_sensor
        self.cameras = self.in_order({row[1] for row in self._images})
        self.metadata = manifest.metadata

    def __len__(self) -> int:
        return len(self._poses)

    def frame(self, index: int, most_points: int | None = None) -> SceneFrame:
        number, stamp, *pose = self._poses[index]
        data = self.read(f"velodyne/{int(number):06d}.bin")
        if len(data) % 16:
            raise SceneError(f"{self.folder}: velodyne/{int(number):06d}.bin is cut off")
        cloud = np.frombuffer(data, "<f4").reshape(-1, 4)
        numbers = np.array(pose, float)
        return SceneFrame(
            int(number), int(stamp), numbers[:3], numbers[3:], None,
            Points(cloud[:, :3].astype(np.float64), cloud[:, 3].copy()),
            [image(row) for row in self._images if row[0] == number],
        )  # fmt: skip


def image(row: list[str]) -> SceneImage:
    _, camera, path, stamp, index, *rest = row
    numbers = np.array(rest, float)
    fx, fy, cx, cy = numbers[7:].tolist()
    model = CameraModel("brown_conrady", 0, 0, fx, fy, cx, cy, distortion=NO_DISTORTION)
    return SceneImage(camera, path, int(stamp), numbers[:3], numbers[3:7], model, int(index))


def line(*values: object) -> str:
    return " ".join(repr(float(value)) if isinstance(value, float) else str(value) for value in values) + "\n"
