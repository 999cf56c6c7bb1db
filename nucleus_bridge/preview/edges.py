# SPDX-License-Identifier: Apache-2.0
"""Whether edges of the clouds fall on edges of the images, and whether they would at another time.

Where a near thing ends before a far one, the lidar's range jumps and the image mostly has an edge. The share of such
points near an image edge is largest where pose, intrinsics and stamps are right. Moving the camera along its own track
by some milliseconds shows whether its stamps fit. It says nothing while the device stands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.decode.distortion import RATIONAL
from nucleus_bridge.formats.content import SceneFrame, SceneImage, some_of
from nucleus_bridge.geometry import quaternion, transforms
from nucleus_bridge.model import CameraModel, FloatArray, Trajectory, Transform
from nucleus_bridge.preview.pack import Pixels

SHIFTS_MS = (-150, -125, -100, -75, -50, -25, 0, 25, 50, 75, 100, 125, 150)
MAX_FRAMES = 12
TOLD_MS = 50
"""A smaller shift than this is within what the method can tell."""
_TOLD_GAIN = 0.1
_EYE_HEIGHT_M = 1.5
_GROUND_M = 0.4
_FARTHEST_M = 1e9  # what is farther is damage
_RING_DEG = 0.4
_MORE_THAN_A_TURN = 8.0  # radians
_COMPARED_EDGES = 1_000  # of one image; more of them change the score by less than a hundredth
_FARTHEST_M = 50.0
_NEAR_PIXELS = 3.0
_FEWEST = 50
_FULL_WIDTH = 960.0
_FARTHEST = 5.0  # times that distance: what is farther away counts as next to nothing
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
_SQUARE = cv2.getStructuringElement(cv2.MORPH_RECT, (3, 3))
_NEAREST_M, _WIDEST = 0.5, 1.5  # depth, and distance from the optical axis in depths, of what is compared
_MOVES_M, _WIDEST_MOVING = 6.0, 2.5  # the same for a camera that moves and turns within the largest shift

Curve = list[float | None]
Array = NDArray[Any]


class EdgeFit:
    """Compares clouds and images frame by frame: of each camera some images, evenly spread over the scene."""

    def __init__(self, expected: int) -> None:
        """Take how many images of a camera there will be, more or less."""
        self._stride = max(1, -(-expected // MAX_FRAMES))
        self._cameras: dict[str, _Camera] = {}

    def wants(self, camera: str) -> bool:
        """Whether the next image of a camera is one of those that are compared: not its first, then every n-th."""
        seen = len(self._cameras[camera].images) if camera in self._cameras else 0
        return seen > 0 and (seen - 1) % self._stride == 0

    def wants_next(self) -> bool:
        """Whether an image of the next frame may be wanted; then all of its points are."""
        return any(self.wants(camera) for camera in self._cameras)

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
                camera.looks.append(_Look(image, _in_sight(edges, image), _distances(pixels), scale))

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
    if not np.abs(xyz).max(initial=0) <= _FARTHEST_M:
        xyz = xyz[(np.abs(xyz) <= _FARTHEST_M).all(axis=1)]
    upright = quaternion.rotate(frame.heading_xyzw, np.array([0.0, 0.0, 1.0]))
    x, y, z = (xyz - (frame.position + _EYE_HEIGHT_M * upright)).astype(np.float32).T
    distance = np.maximum(np.sqrt(x * x + y * y + z * z), np.float32(1e-6))
    ring = np.rint(np.degrees(np.arcsin(np.clip(z / distance, -1, 1))) / _RING_DEG)
    order = np.argsort(ring * np.float32(_MORE_THAN_A_TURN) + np.arctan2(y, x))
    distance, ring = distance[order], ring[order]
    near = np.maximum(np.float32(0.5), np.float32(0.1) * distance)
    step = np.diff(distance)
    is_same_ring = np.diff(ring) == 0
    jump = np.zeros(len(order), np.bool_)
    jump[:-1] = is_same_ring & (step > near[:-1])
    jump[1:] |= is_same_ring & (-step > near[1:])
    found = xyz[order[jump & (distance < _FARTHEST_M)]]
    edges: FloatArray = found[(found - frame.position) @ upright > _GROUND_M]
    return edges


def project(points: FloatArray, scene_from_camera: Transform, model: CameraModel) -> FloatArray:
    """Project points in front of a camera with the parameters that will be uploaded; shape (k, 2), pixels."""
    x, y, z = transforms.apply(transforms.inverse(scene_from_camera), points).T
    seen = _is_ahead(x, y, z)
    return np.stack(pixels_of(x[seen], y[seen], z[seen], model), axis=1)


def _is_ahead(x: Array, y: Array, z: Array) -> NDArray[np.bool_]:
    return np.asarray((z > _NEAREST_M) & (x * x + y * y < (_WIDEST * z) ** 2))


def pixels_of(x: Array, y: Array, z: Array, model: CameraModel) -> tuple[Array, Array]:
    """Project what is ahead of a camera, given in its frame, arrays of any shape.

    The models are OpenCV's (calib3d, fisheye) and the unified one (C. Mei and P. Rives, ICRA 2007).
    """
    k1, k2, p1, p2, k3, k4, k5, k6 = (model.distortion.get(name, 0.0) for name in RATIONAL)
    if model.model == "fisheye":
        radius = np.maximum(np.hypot(x, y), 1e-9)
        angle = np.arctan2(radius, z)
        square = angle * angle
        bent = angle * (1.0 + square * (k1 + square * (k2 + square * (k3 + square * k4)))) / radius
        u, v = x * bent, y * bent
    else:
        # Seen from xi behind the centre of the unit sphere, the unified model is a plain lens.
        depth = z + model.distortion.get("xi", 0.0) * np.sqrt(x * x + y * y + z * z)
        x, y = x / depth, y / depth
        square = x * x + y * y
        radial = 1.0 + square * (k1 + square * (k2 + square * k3))
        if k4 or k5 or k6:
            radial = radial / (1.0 + square * (k4 + square * (k5 + square * k6)))
        both = 2.0 * x * y
        u = x * radial + p1 * both + p2 * (square + 2.0 * x * x)
        v = y * radial + p2 * both + p1 * (square + 2.0 * y * y)
    scale = model.scale_factor
    return (model.fx * u + model.skew * v + model.cx) / scale, (model.fy * v + model.cy) / scale


def _in_sight(points: FloatArray, image: SceneImage) -> FloatArray:
    """Leave out points that the camera cannot see, wherever it was within the largest shift, and thin out the rest."""
    x, y, z = ((points - image.position) @ quaternion.to_matrix(image.heading_xyzw)).T
    near: FloatArray = points[(z > -_MOVES_M) & (x * x + y * y < (_WIDEST_MOVING * (z + _MOVES_M)) ** 2)]
    return near[some_of(len(near), _COMPARED_EDGES)] if len(near) > _COMPARED_EDGES else near


@dataclass(frozen=True, eq=False)
class _Look:
    """An image that is compared: it, edges of its frame's cloud, and each pixel's distance to an edge of the image."""

    image: SceneImage
    edges: FloatArray
    distances: NDArray[np.uint8]
    scale: float

    def scores(self, poses: Trajectory) -> list[float | None]:
        """Score the edges with each of several poses of the camera; None with too few of them in the image."""
        turns = quaternion.to_matrix(poses.rotations_xyzw)
        local = np.matmul(self.edges - poses.translations[:, None], turns).astype(np.float32)
        x, y, z = np.moveaxis(local, -1, 0)
        seen = _is_ahead(x, y, z)
        u, v = pixels_of(np.where(seen, x, 0), np.where(seen, y, 0), np.where(seen, z, 1), self.image.model)
        height, width = self.distances.shape
        with np.errstate(invalid="ignore"):  # a lens far from any real one may send a point anywhere
            column, row = np.rint((u + 0.5) * self.scale - 0.5), np.rint((v + 0.5) * self.scale - 0.5)
            seen &= (column >= 0) & (column < width) & (row >= 0) & (row < height)
        places = np.where(seen, row, 0).astype(np.intp) * width + np.where(seen, column, 0).astype(np.intp)
        near = _near(width)
        close = np.where(seen, np.exp(self.distances.reshape(-1)[places] / np.float32(-near)), 0)
        counts = seen.sum(axis=1)
        sums = close.sum(axis=1, dtype=np.float64)
        pairs = zip(sums.tolist(), counts.tolist(), strict=True)
        return [total / count if count >= _FEWEST else None for total, count in pairs]


@dataclass
class _Camera:
    """What was seen of a camera."""

    images: list[SceneImage] = field(default_factory=list)
    looks: list[_Look] = field(default_factory=list)

    def curve(self) -> Curve:
        """Score each of ``SHIFTS_MS``; one for which less than half of the images could be compared is not known."""
        track = Trajectory(
            np.array([image.stamp_ns for image in self.images], np.int64),
            np.array([image.position for image in self.images]).reshape(-1, 3),
            np.array([image.heading_xyzw for image in self.images]).reshape(-1, 4),
        )
        scores: dict[int, list[float]] = {shift: [] for shift in SHIFTS_MS}
        for look in self.looks:
            wanted = {shift: look.image.stamp_ns + shift * 1_000_000 for shift in SHIFTS_MS}
            there = {shift: ns for shift, ns in wanted.items() if track.stamps_ns[0] <= ns <= track.stamps_ns[-1]}
            if not there:
                continue
            poses = transforms.interpolate(track, np.array(list(there.values()), np.int64))
            for shift, score in zip(there, look.scores(poses), strict=True):
                if score is not None:
                    scores[shift].append(score)
        whole = max(map(len, scores.values()))
        return [float(np.mean(some)) if len(some) > whole / 2 else None for some in scores.values()]


def _pose(image: SceneImage) -> Transform:
    return Transform(image.position, image.heading_xyzw)


def _distances(pixels: Pixels) -> NDArray[np.uint8]:
    """Return each pixel's distance to the nearest edge of a picture, up to where it counts as next to nothing.

    Growing the edges by a cross and by a square in turn measures in octagons, which is near enough to circles here and
    takes a third of the time of a distance transform.
    """
    gray = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY) if pixels.ndim == 3 else pixels
    edges = cv2.Canny(cv2.GaussianBlur(gray, (5, 5), 0), 40, 120)
    grown = np.asarray(edges, np.uint8) & np.uint8(1)
    farthest = math.ceil(_FARTHEST * _near(pixels.shape[1]))
    distances: NDArray[np.uint8] = np.uint8(farthest) - grown
    for step in range(1, farthest):
        grown = np.asarray(cv2.dilate(grown, _CROSS if step % 2 else _SQUARE), np.uint8)
        distances -= grown
    return distances


def _near(width: int) -> float:
    """Return how far from an edge a point still counts a third, in pixels of a picture so wide."""
    return _NEAR_PIXELS * width / _FULL_WIDTH
