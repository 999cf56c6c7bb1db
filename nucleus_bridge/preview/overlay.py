# SPDX-License-Identifier: Apache-2.0
"""Lidar points drawn on a camera's image, as the review page does it, with numpy for a running recorder."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.calibration.lens import to_pixels
from nucleus_bridge.decode.distortion import RATIONAL
from nucleus_bridge.geometry import quaternion
from nucleus_bridge.model import CameraModel, FloatArray, Transform
from nucleus_bridge.preview.pack import Pixels

NEAR_M, FAR_M = 3.0, 60.0
"""The colours run from red at the first distance to blue at the second, as the page begins."""
_SIZE = 3.0  # of a point, in pixels of an image that is 960 wide
_FULL_WIDTH = 960.0
_NEAREST_M = 0.05
_STEPS = 2000
_WIDEST, _WIDEST_ANGLE = 20.0, math.pi

Array = NDArray[Any]


def project_cloud(
    points: Array, world_from_camera: Transform, model: CameraModel, width: int, height: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Project the points that fall into an image.

    Args:
        points: Shape (n, 3), metres in the world.
        world_from_camera: The camera's pose.
        model: Its intrinsics; what lies beyond the turning point of its distortion is not seen.
        width: Of the image, in pixels.
        height: Likewise.

    Returns:
        u, v and depth, each of shape (k,): pixels (the first one's centre is 0) and metres.
    """
    turn = quaternion.to_matrix(world_from_camera.rotation_xyzw)
    x, y, z = ((points - world_from_camera.translation) @ turn).T
    seen = _is_visible(x, y, z, model)
    x, y, z = x[seen], y[seen], z[seen]
    u, v = to_pixels(x, y, z, model)
    depth = np.sqrt(x * x + y * y + z * z) if model.model == "fisheye" else z
    inside = (u > -0.5) & (v > -0.5) & (u < width - 0.5) & (v < height - 0.5)
    return u[inside], v[inside], depth[inside]


def draw_points(picture: Pixels, width: int, u: FloatArray, v: FloatArray, depth: FloatArray) -> Pixels:
    """Draw projected points on a picture, the near ones over the far ones.

    Args:
        picture: Shape (h, w, 3) or (h, w), perhaps smaller than the image.
        width: Of the full image, to which ``u`` and ``v`` belong.
        u: Column of each point.
        v: Row of each point.
        depth: In metres.

    Returns:
        A new picture of shape (h, w, 3).
    """
    drawn = np.repeat(picture[:, :, None], 3, axis=2) if picture.ndim == 2 else picture.copy()
    rows, columns = drawn.shape[:2]
    scale = columns / width
    size = max(1, round(_SIZE * columns / _FULL_WIDTH))
    farthest_first = np.argsort(-depth)
    # Pixel centres are whole numbers; the first pixel of a point's square is half its size before its centre.
    left = np.rint((u[farthest_first] + 0.5) * scale - size / 2).astype(np.intp)
    top = np.rint((v[farthest_first] + 0.5) * scale - size / 2).astype(np.intp)
    colours = _rainbow(depth[farthest_first])
    step = np.arange(size)
    row = np.clip(top[:, None] + np.repeat(step, size), 0, rows - 1)
    column = np.clip(left[:, None] + np.tile(step, size), 0, columns - 1)
    drawn.reshape(-1, 3)[(row * columns + column).ravel()] = np.repeat(colours, size * size, axis=0)
    return np.asarray(drawn, np.uint8)


def _is_visible(x: Array, y: Array, z: Array, model: CameraModel) -> NDArray[np.bool_]:
    limit = _turning_point(model)
    if model.model == "fisheye":
        return np.asarray(np.arctan2(np.hypot(x, y), z) <= limit)
    if model.model == "omnidirectional":
        # Seen from xi behind the centre of the unit sphere; what is behind the horizon of that is not.
        xi = model.distortion.get("xi", 0.0)
        depth = z + xi * np.sqrt(x * x + y * y + z * z)
        ahead = (depth > 0) & (xi * z >= -depth)
    else:
        depth, ahead = z, z >= _NEAREST_M
    return np.asarray(ahead & (x * x + y * y <= (limit * depth) ** 2))


def _turning_point(model: CameraModel) -> float:
    """Return where a distortion turns back: an angle for a fisheye, else a distance from the axis in depths."""
    k1, k2, _, _, k3, k4, k5, k6 = (model.distortion.get(name, 0.0) for name in RATIONAL)
    most = _WIDEST_ANGLE if model.model == "fisheye" else _WIDEST
    value = np.arange(_STEPS) * (most / _STEPS)
    square = value * value
    if model.model == "fisheye":
        bent = value * (1 + square * (k1 + square * (k2 + square * (k3 + square * k4))))
    else:
        below = 1 + square * (k4 + square * (k5 + square * k6))
        with np.errstate(divide="ignore"):
            bent = value * (1 + square * (k1 + square * (k2 + square * k3))) / below
    turned = np.flatnonzero(~(np.diff(bent) > 0))
    return float(value[turned[0]]) if len(turned) else most


def _rainbow(depth: FloatArray) -> NDArray[np.uint8]:
    """Return blue, green, red: from red where it is near over green to blue."""
    near = 1 - np.clip(np.log(np.maximum(depth, 1e-6) / NEAR_M) / math.log(FAR_M / NEAR_M), 0, 1)
    parts = 1.5 - np.abs(3.2 * near[:, None] + 0.4 - np.array([1.0, 2.0, 3.0]))
    colours: NDArray[np.uint8] = np.rint(255 * np.clip(parts, 0.15, 1)).astype(np.uint8)
    return colours
