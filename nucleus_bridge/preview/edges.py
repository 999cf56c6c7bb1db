# SPDX-License-Identifier: Apache-2.0
"""Whether edges of the clouds fall on edges of the images, and whether they would at another time.

Where a near thing ends before a far one, the lidar's range jumps and the image mostly has an edge. The share of such
points near an image edge is largest where pose, intrinsics and stamps are right. Moving the camera along its own track
by some milliseconds shows whether its stamps fit. It says nothing while the device stands.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from nucleus_bridge.geometry import quaternion, transforms
from nucleus_bridge.model import FloatArray, Transform
from nucleus_bridge.preview.scene import Cloud, Picture, SceneFolder

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


def edge_curves(scene: SceneFolder, clouds: list[Cloud], progress: Callable[[float], None]) -> dict[str, Curve]:
    """Score each camera at each of ``SHIFTS_MS``: 0..1, or None where nothing could be compared."""
    frames = range(len(scene))
    pictures = [dict(scene.pictures(index)) for index in frames]
    edges: dict[int, FloatArray] = {}
    curves: dict[str, Curve] = {}
    for done, camera in enumerate(scene.cameras):
        there = [index for index in frames if camera in pictures[index]]
        picked = there[1:-1][:: max(1, len(there) // MAX_FRAMES)]
        track = _Track([pictures[index][camera] for index in there])
        scores: dict[int, list[float]] = {}
        for index in picked:
            if index not in edges:
                edges[index] = range_edges(clouds[index])
            distances = _distance_to_edges(pictures[index][camera])
            for shift in SHIFTS_MS:
                score = track.score(pictures[index][camera], shift, edges[index], distances)
                if score is not None:
                    scores.setdefault(shift, []).append(score)
        whole = max((len(found) for found in scores.values()), default=0)
        curves[camera] = [
            float(np.mean(scores[shift])) if len(scores.get(shift, [])) > whole / 2 else None for shift in SHIFTS_MS
        ]
        progress((done + 1) / len(scene.cameras))
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


def range_edges(cloud: Cloud) -> FloatArray:
    """Return the points next to which, on the same ring, the range jumps away, above the ground; shape (k, 3)."""
    up = quaternion.rotate(cloud.heading_xyzw, np.array([0.0, 0.0, _EYE_HEIGHT_M]))
    ray = cloud.xyz - (cloud.position + up)
    distance = np.maximum(np.linalg.norm(ray, axis=1), 1e-6)
    azimuth = np.arctan2(ray[:, 1], ray[:, 0])
    ring = np.rint(np.degrees(np.arcsin(np.clip(ray[:, 2] / distance, -1, 1))) / _RING_DEG)
    order = np.lexsort((azimuth, ring))
    distance, ring = distance[order], ring[order]
    jump = np.zeros(len(order), dtype=bool)
    for step in (-1, 1):
        beside = np.roll(np.arange(len(order)), step)
        jump |= (ring[beside] == ring) & (distance[beside] - distance > np.maximum(0.5, 0.1 * distance))
    upright = quaternion.rotate(cloud.heading_xyzw, np.array([0.0, 0.0, 1.0]))
    raised = ((cloud.xyz - cloud.position) @ upright)[order] > _GROUND_M
    edges: FloatArray = cloud.xyz[order][jump & raised & (distance < _FARTHEST_M)]
    return edges


def project(points: FloatArray, world_from_camera: Transform, picture: Picture) -> FloatArray:
    """Project points in front of a camera with the parameters that will be uploaded; shape (k, 2), pixels."""
    params = picture.params
    scale = float(params.get("scale_factor", 1.0))
    seen = transforms.apply(transforms.inverse(world_from_camera), points)
    seen = seen[seen[:, 2] > 0.5]
    seen = seen[np.hypot(seen[:, 0], seen[:, 1]) < 1.5 * seen[:, 2]]
    matrix = np.array(
        [
            [params["fx"] / scale, params.get("skew", 0.0) / scale, params["cx"] / scale],
            [0.0, params["fy"] / scale, params["cy"] / scale],
            [0.0, 0.0, 1.0],
        ]
    )
    if not len(seen):
        return np.zeros((0, 2))
    bent = np.array([float(params.get(name, 0.0)) for name in ("k1", "k2", "p1", "p2", "k3", "k4")])
    if params.get("camera_model") == "fisheye":
        flat = (seen[:, :2] / seen[:, 2:])[:, None]
        found = cv2.fisheye.distortPoints(flat, matrix, bent[[0, 1, 4, 5]])
    else:
        # Seen from xi behind the centre of the unit sphere, the unified model is a plain lens.
        seen[:, 2] += float(params.get("xi", 0.0)) * np.sqrt((seen * seen).sum(axis=1))
        found = cv2.projectPoints(seen, np.zeros(3), np.zeros(3), matrix, bent[:5])[0]
    pixels: FloatArray = np.asarray(found, dtype=np.float64).reshape(-1, 2)
    return pixels


class _Track:
    """A camera's poses over time."""

    def __init__(self, pictures: list[Picture]) -> None:
        self._stamps = [int(picture.params["timestamp"]) for picture in pictures]
        self._poses = [_pose(picture) for picture in pictures]

    def at(self, stamp_ns: int) -> Transform | None:
        """Interpolate; None outside of the track."""
        after = int(np.searchsorted(self._stamps, stamp_ns))
        if after < len(self._stamps) and self._stamps[after] == stamp_ns:
            return self._poses[after]
        if not 0 < after < len(self._stamps):
            return None
        start, end = (
            Transform(pose.translation[None], pose.rotation_xyzw[None]) for pose in self._poses[after - 1 : after + 1]
        )
        first, last = self._stamps[after - 1 : after + 1]
        pose = transforms.between(start, end, np.array([(stamp_ns - first) / (last - first)]))
        return Transform(pose.translation[0], pose.rotation_xyzw[0])

    def score(self, picture: Picture, shift_ms: int, edges: FloatArray, distances: FloatArray) -> float | None:
        """Score the edges with the pose of another time; None with too few of them in the image."""
        pose = self.at(int(picture.params["timestamp"]) + shift_ms * 1_000_000)
        if pose is None:
            return None
        pixels = np.rint(project(edges, pose, picture)).astype(np.int64)
        height, width = distances.shape
        pixels = pixels[((pixels >= 0) & (pixels < (width, height))).all(axis=1)]
        if len(pixels) < _FEWEST:
            return None
        near = _NEAR_PIXELS * width / _FULL_WIDTH
        return float(np.exp(-distances[pixels[:, 1], pixels[:, 0]] / near).mean())


def _pose(picture: Picture) -> Transform:
    position, heading = picture.params["position"], picture.params["heading"]
    return Transform(np.array([position[a] for a in "xyz"], float), np.array([heading[a] for a in "xyzw"], float))


def _distance_to_edges(picture: Picture) -> FloatArray:
    """Return each pixel's distance to the nearest edge of an image, pixels."""
    gray = cv2.imread(str(picture.path), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
    if gray is None:
        return np.full((1, 1), np.inf)
    edges = cv2.Canny(cv2.GaussianBlur(gray, (5, 5), 0), 40, 120)
    distances: FloatArray = cv2.distanceTransform(255 - edges, cv2.DIST_L2, 3).astype(np.float64)
    return distances
