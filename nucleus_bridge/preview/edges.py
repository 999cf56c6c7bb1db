# SPDX-License-Identifier: Apache-2.0
"""Whether edges of the clouds fall on edges of the images, and whether they would at another time.

Where a near thing ends before a far one, the lidar's range jumps and the image mostly has an edge. The share of such
points near an image edge is largest where pose, intrinsics and stamps are right. Moving the camera along its own track
by some milliseconds shows whether its stamps fit. It says nothing while the device stands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.decode.distortion import RATIONAL
from nucleus_bridge.formats.content import SceneFrame, SceneImage
from nucleus_bridge.geometry import quaternion, transforms
from nucleus_bridge.model import CameraModel, FloatArray, Transform
from nucleus_bridge.preview.pack import Pixels

SHIFTS_MS = (-150, -125, -100, -75, -50, -25, 0, 25, 50, 75, 100, 125, 150)
MAX_FRAMES = 12
TOLD_MS = 50
"""A smaller shift than this is within what the method can tell."""
_TOLD_GAIN = 0.1
_EYE_HEIGHT_M = 1.5
_GROUND_M = 0.4
_RING_DEG = 0.4
_FARTHEST_M = 50.0
_NEAR_PIXELS = 3.0
_FEWEST = 50
_FULL_WIDTH = 960.0

Curve = list[float | None]


class EdgeFit:
    """Compares clouds and images frame by frame: of each camera some images, evenly spread over the scene."""

    def __init__(self, expected: int) -> None:
        """Take how many images of a camera there will be, more or less."""
        self._stride = max(1, expected // MAX_FRAMES)
        self._cameras: dict[str, _Camera] = {}

    def wants(self, camera: str) -> bool:
        """Whether the next image of a camera is one of those that are compared: not its first, then every n-th."""
        seen = len(self._cameras[camera].images) if camera in self._cameras else 0
        return seen > 0 and (seen - 1) % self._stride == 0

    def add(self, frame: SceneFrame, pictures: Mapping[str, Pixels], widths: Mapping[str, int]) -> None:
        """Take a frame.

        Args:
            frame: The frame.
            pictures: Those of its pictures that are wanted, by camera, perhaps smaller than their files have them.
            widths: Their width in their files.
        """
        edges: FloatArray | None = None
        for image in frame.images:
            camera = self._cameras.setdefault(image.camera, _Camera())
            camera.images.append(image)
            if image.camera in pictures:
                edges = range_edges(frame) if edges is None else edges
                pixels = pictures[image.camera]
                scale = pixels.shape[1] / widths[image.camera]
                camera.looks.append(_Look(image, edges, _distances(pixels), scale))

    def curves(self, progress: Callable[[float], None]) -> dict[str, Curve]:
        """Score each camera at each of ``SHIFTS_MS``: 0..1, or None where nothing could be compared."""
        curves: dict[str, Curve] = {}
        for name, camera in self._cameras.items():
            curves[name] = camera.curve()
            progress(len(curves) / len(self._cameras))
        return curves


def shift_warning(curve: Curve) -> str:
    """Say by how much a camera's stamps seem to be off; '' when they fit or nothing can be told."""
    known = {shift: score for shift, score in zip(SHIFTS_MS, curve, strict=True) if score is not None}
    if 0 not in known or known[0] <= 0:
        return ""
    best = max(known, key=lambda shift: known[shift])
    if abs(best) < TOLD_MS or known[best] < known[0] * (1 + _TOLD_GAIN):
        return ""
    return (
        f"edges of the cloud fit the images better when its stamps are moved by {best:+d} ms "
        f"({known[best]:.2f} against {known[0]:.2f}): check its clock"
    )


def range_edges(frame: SceneFrame) -> FloatArray:
    """Return the points next to which, on the same ring, the range jumps away, above the ground; shape (k, 3)."""
    xyz = np.asarray(frame.points.xyz, np.float64)
    up = quaternion.rotate(frame.heading_xyzw, np.array([0.0, 0.0, _EYE_HEIGHT_M]))
    ray = xyz - (frame.position + up)
    distance = np.maximum(np.linalg.norm(ray, axis=1), 1e-6)
    azimuth = np.arctan2(ray[:, 1], ray[:, 0])
    ring = np.rint(np.degrees(np.arcsin(np.clip(ray[:, 2] / distance, -1, 1))) / _RING_DEG)
    order = np.lexsort((azimuth, ring))
    distance, ring = distance[order], ring[order]
    jump = np.zeros(len(order), dtype=bool)
    for step in (-1, 1):
        beside = np.roll(np.arange(len(order)), step)
        jump |= (ring[beside] == ring) & (distance[beside] - distance > np.maximum(0.5, 0.1 * distance))
    upright = quaternion.rotate(frame.heading_xyzw, np.array([0.0, 0.0, 1.0]))
    raised = ((xyz - frame.position) @ upright)[order] > _GROUND_M
    edges: FloatArray = xyz[order][jump & raised & (distance < _FARTHEST_M)]
    return edges


def project(points: FloatArray, scene_from_camera: Transform, model: CameraModel) -> FloatArray:
    """Project points in front of a camera with the parameters that will be uploaded; shape (k, 2), pixels."""
    scale = model.scale_factor
    seen = transforms.apply(transforms.inverse(scene_from_camera), points)
    seen = seen[seen[:, 2] > 0.5]
    seen = seen[np.hypot(seen[:, 0], seen[:, 1]) < 1.5 * seen[:, 2]]
    matrix = np.array(
        [
            [model.fx / scale, model.skew / scale, model.cx / scale],
            [0.0, model.fy / scale, model.cy / scale],
            [0.0, 0.0, 1.0],
        ]
    )
    if not len(seen):
        return np.zeros((0, 2))
    k1, k2, p1, p2, k3, k4, k5, k6 = (model.distortion.get(name, 0.0) for name in RATIONAL)
    if model.model == "fisheye":
        flat = (seen[:, :2] / seen[:, 2:])[:, None]
        found = cv2.fisheye.distortPoints(flat, matrix, np.array([k1, k2, k3, k4]))
    else:
        # Seen from xi behind the centre of the unit sphere, the unified model is a plain lens.
        seen[:, 2] += model.distortion.get("xi", 0.0) * np.sqrt((seen * seen).sum(axis=1))
        bent = np.array([k1, k2, p1, p2, k3, k4, k5, k6])
        found = cv2.projectPoints(seen, np.zeros(3), np.zeros(3), matrix, bent)[0]
    pixels: FloatArray = np.asarray(found, dtype=np.float64).reshape(-1, 2)
    return pixels


@dataclass(frozen=True, eq=False)
class _Look:
    """An image that is compared: it, edges of its frame's cloud, and each pixel's distance to an edge of the image."""

    image: SceneImage
    edges: FloatArray
    distances: NDArray[np.float32]
    scale: float

    def score(self, pose: Transform) -> float | None:
        """Score the edges with a pose of the camera; None with too few of them in the image."""
        pixels = project(self.edges, pose, self.image.model)
        pixels = np.rint((pixels + 0.5) * self.scale - 0.5).astype(np.int64)
        height, width = self.distances.shape
        pixels = pixels[((pixels >= 0) & (pixels < (width, height))).all(axis=1)]
        if len(pixels) < _FEWEST:
            return None
        near = _NEAR_PIXELS * width / _FULL_WIDTH
        return float(np.exp(-self.distances[pixels[:, 1], pixels[:, 0]] / near).mean())


@dataclass
class _Camera:
    """What was seen of a camera."""

    images: list[SceneImage] = field(default_factory=list)
    looks: list[_Look] = field(default_factory=list)

    def curve(self) -> Curve:
        """Score each of ``SHIFTS_MS``; one for which less than half of the images could be compared is not known."""
        stamps = [image.stamp_ns for image in self.images]
        scores: dict[int, list[float]] = {}
        for look in self.looks:
            for shift in SHIFTS_MS:
                pose = self._at(stamps, look.image.stamp_ns + shift * 1_000_000)
                score = None if pose is None else look.score(pose)
                if score is not None:
                    scores.setdefault(shift, []).append(score)
        whole = max((len(found) for found in scores.values()), default=0)
        return [
            float(np.mean(scores[shift])) if len(scores.get(shift, [])) > whole / 2 else None for shift in SHIFTS_MS
        ]

    def _at(self, stamps: list[int], stamp_ns: int) -> Transform | None:
        """Interpolate the camera's pose; None outside of its track."""
        after = int(np.searchsorted(stamps, stamp_ns))
        if after < len(stamps) and stamps[after] == stamp_ns:
            return _pose(self.images[after])
        if not 0 < after < len(stamps):
            return None
        start, end = (
            Transform(image.position[None], image.heading_xyzw[None]) for image in self.images[after - 1 : after + 1]
        )
        first, last = stamps[after - 1 : after + 1]
        if not first < stamp_ns < last:
            return None  # the stamps do not ascend
        pose = transforms.between(start, end, np.array([(stamp_ns - first) / (last - first)]))
        return Transform(pose.translation[0], pose.rotation_xyzw[0])


def _pose(image: SceneImage) -> Transform:
    return Transform(image.position, image.heading_xyzw)


def _distances(pixels: Pixels) -> NDArray[np.float32]:
    """Return each pixel's distance to the nearest edge of a picture, pixels."""
    gray = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY) if pixels.ndim == 3 else pixels
    edges = cv2.Canny(cv2.GaussianBlur(gray, (5, 5), 0), 40, 120)
    return np.asarray(cv2.distanceTransform(255 - edges, cv2.DIST_L2, 3), np.float32)
