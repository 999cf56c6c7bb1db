# SPDX-License-Identifier: Apache-2.0
"""The cameras: where they sit, when they look, through which lens, and the images they take along the drive."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.testing.demo.course import true_poses
from nucleus_bridge.testing.demo.lens import Lens
from nucleus_bridge.testing.demo.options import CAMERA_NAMES, DriveOptions
from nucleus_bridge.testing.demo.render import Renderer
from nucleus_bridge.testing.demo.rigid import BODY_FROM_OPTICAL, Pose, mounted

PERIOD_NS = 100_000_000
JPEG_QUALITY = 92

# Nominal focal length at 960 x 600, and D.
_LENSES: dict[str, tuple[float, tuple[float, ...]]] = {
    "plumb_bob": (560.0, (-0.28, 0.085, 0.0008, -0.0005, -0.011)),
    "rational_polynomial": (600.0, (0.12, -0.01, 0.0006, -0.0004, 0.0002, 0.34, 0.002, 0.001)),
    "equidistant": (420.0, (-0.018, 0.006, -0.0021, 0.0004)),
    "omnidirectional": (800.0, (0.9, -0.02, 0.004, 0.0004, -0.0003)),
}
_MOUNTS = {
    "front": (mounted(2.05, 0.02, 1.30, pitch_deg=2.0, yaw_deg=0.5), 4_200_000),
    "rear": (mounted(-0.60, -0.03, 1.35, pitch_deg=3.0, yaw_deg=179.3), 11_700_000),
    "left": (mounted(1.20, 0.90, 1.40, roll_deg=0.6, pitch_deg=2.5, yaw_deg=90.8), 19_300_000),
    "right": (mounted(1.20, -0.90, 1.40, roll_deg=-0.4, pitch_deg=2.5, yaw_deg=-89.5), 23_800_000),
    "front_left": (mounted(1.95, 0.55, 1.35, pitch_deg=2.0, yaw_deg=48.0), 31_100_000),
    "front_right": (mounted(1.95, -0.55, 1.35, pitch_deg=2.0, yaw_deg=-47.0), 38_600_000),
}


@dataclass(frozen=True, eq=False)
class Camera:
    """One camera of the drive.

    Attributes:
        name: As in its topics and its frame.
        base_from_camera: Pose of the optical frame (z forward, x right, y down).
        phase_ns: How long after the start of the drive it takes its first image.
        lens: Intrinsics and distortion.
        options: The drive it belongs to.
    """

    name: str
    base_from_camera: Pose
    phase_ns: int
    lens: Lens
    options: DriveOptions

    @property
    def frame_id(self) -> str:
        """Return the optical frame."""
        return f"camera_{self.name}_optical"

    @property
    def image_topic(self) -> str:
        """Return the topic its images are on."""
        kind = "/compressed" if self.options.image == "jpeg" else ""
        return f"/camera/{self.name}/image_raw" + (kind if self.options.camera == "images" else "/video")

    @property
    def info_topic(self) -> str:
        """Return the topic its calibration is on."""
        return f"/camera/{self.name}/camera_info"

    def stamps_ns(self) -> NDArray[np.int64]:
        """Return when its images are taken."""
        first = self.options.start_ns + self.phase_ns
        return first + np.arange(self.options.ticks, dtype=np.int64) * PERIOD_NS

    def map_from_camera(self, stamps_ns: NDArray[np.int64]) -> Pose:
        """Return the poses of the optical frame at ``stamps_ns`` (k,)."""
        return true_poses(self.options, stamps_ns) @ self.base_from_camera


def cameras_of(options: DriveOptions) -> tuple[Camera, ...]:
    """Return the cameras of a drive, each with its own intrinsics."""
    cameras = []
    for name, model in zip(options.camera_names, options.camera_models, strict=True):
        body, phase_ns = _MOUNTS[name]
        lens = _lens(CAMERA_NAMES.index(name), model, options.image_width, options.image_height)
        cameras.append(Camera(name, body @ BODY_FROM_OPTICAL, phase_ns, lens, options))
    return tuple(cameras)


class CameraImages:
    """Takes the images of one camera."""

    def __init__(self, camera: Camera) -> None:
        self._camera = camera
        self._renderer = Renderer(camera.lens, camera.options.course)

    def pixels(self, index: int) -> NDArray[np.uint8]:
        """Return image ``index`` as (height, width, 3), RGB."""
        stamp_ns = self._camera.stamps_ns()[index : index + 1]
        poses = self._camera.map_from_camera(stamp_ns)
        return self._renderer.render(Pose(poses.translation[0], poses.rotation_xyzw[0]))

    def jpeg(self, index: int) -> NDArray[np.uint8]:
        """Return image ``index`` as the bytes of a JPEG file."""
        flipped = cv2.cvtColor(self.pixels(index), cv2.COLOR_RGB2BGR)
        _, encoded = cv2.imencode(".jpg", flipped, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        return np.asarray(encoded, np.uint8).reshape(-1)


def _lens(index: int, model: str, width: int, height: int) -> Lens:
    """Return a lens that differs a little from camera to camera, as real ones do, and sees no more than its design."""
    focal, distortion = _LENSES[model]
    scale = max(width / 960, height / 600)
    return Lens(
        model=model,
        width=width,
        height=height,
        fx=focal * scale * (1 + 0.004 * index),
        fy=focal * scale * (1.002 + 0.004 * index),
        cx=(width - 1) / 2 + scale * (3.1 - 1.7 * index),
        cy=(height - 1) / 2 + scale * (2.3 * index - 4.2),
        distortion=tuple(round(value * (1 - 0.01 * index), 9) for value in distortion),
    )
