# SPDX-License-Identifier: Apache-2.0
"""Points in front of a camera to pixels, for every camera model, with the parameters that will be uploaded."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.geometry import transforms
from nucleus_bridge.model import CameraModel, FloatArray, Transform

Array = NDArray[Any]

_NEAREST_M, _WIDEST = 0.5, 1.5  # depth, and distance from the optical axis in depths, of what is compared
_FINEST_DEG, _COARSEST_DEG = 0.005, 2.0
_POLYNOMIAL = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")


def project(points: FloatArray, scene_from_camera: Transform, model: CameraModel) -> FloatArray:
    """Project points in front of a camera; shape (k, 2), pixels of the image at hand."""
    x, y, z = transforms.apply(transforms.inverse(scene_from_camera), points).T
    seen = is_ahead(x, y, z)
    return np.stack(to_pixels(x[seen], y[seen], z[seen], model), axis=1)


def is_ahead(x: Array, y: Array, z: Array) -> NDArray[np.bool_]:
    """Tell which points, in the camera's frame, lie where every lens model is at home."""
    return np.asarray((z > _NEAREST_M) & (x * x + y * y < (_WIDEST * z) ** 2))


def to_pixels(x: Array, y: Array, z: Array, model: CameraModel) -> tuple[Array, Array]:
    """Project what is ahead of a camera, given in its frame, arrays of any shape.

    The models are OpenCV's (calib3d, fisheye) and the unified one (C. Mei and P. Rives, ICRA 2007).
    """
    d = model.distortion
    k1, k2, p1, p2, k3, k4, k5, k6 = (d.get(name, 0.0) for name in _POLYNOMIAL)
    if model.model == "fisheye":
        radius = np.maximum(np.hypot(x, y), 1e-9)
        angle = np.arctan2(radius, z)
        square = angle * angle
        bent = angle * (1.0 + square * (k1 + square * (k2 + square * (k3 + square * k4)))) / radius
        u, v = x * bent, y * bent
    else:
        # Seen from xi behind the centre of the unit sphere, the unified model is a plain lens.
        depth = z + d.get("xi", 0.0) * np.sqrt(x * x + y * y + z * z)
        x, y = x / depth, y / depth
        square = x * x + y * y
        radial = 1.0 + square * (k1 + square * (k2 + square * k3))
        if k4 or k5 or k6:
            radial = radial / (1.0 + square * (k4 + square * (k5 + square * k6)))
        both = 2.0 * x * y
        u = x * radial + p1 * both + p2 * (square + 2.0 * x * x)
        v = y * radial + p2 * both + p1 * (square + 2.0 * y * y)
        if model.model == "thin_prism":
            u = u + square * (d.get("s1", 0.0) + square * d.get("s2", 0.0))
            v = v + square * (d.get("s3", 0.0) + square * d.get("s4", 0.0))
            u, v = _tilted(u, v, d.get("tau_x", 0.0), d.get("tau_y", 0.0))
    scale = model.scale_factor
    return (model.fx * u + model.skew * v + model.cx) / scale, (model.fy * v + model.cy) / scale


def pixel_angle_deg(model: CameraModel) -> float:
    """Return the angle that a pixel of the image at hand sees in the middle of the image, as far as lenses are real."""
    angle = math.degrees((1.0 + model.distortion.get("xi", 0.0)) * model.scale_factor / max(abs(model.fx), 1e-6))
    return min(max(angle, _FINEST_DEG), _COARSEST_DEG)


def _tilted(u: Array, v: Array, tau_x: float, tau_y: float) -> tuple[Array, Array]:
    """Project onto a sensor that is tilted by two angles, as OpenCV's tilted model does (calib3d)."""
    if not tau_x and not tau_y:
        return u, v
    cos_x, sin_x, cos_y, sin_y = math.cos(tau_x), math.sin(tau_x), math.cos(tau_y), math.sin(tau_y)
    about_x = np.array([[1, 0, 0], [0, cos_x, sin_x], [0, -sin_x, cos_x]])
    about_y = np.array([[cos_y, 0, -sin_y], [0, 1, 0], [sin_y, 0, cos_y]])
    turn = about_y @ about_x
    onto = np.array([[turn[2, 2], 0, -turn[0, 2]], [0, turn[2, 2], -turn[1, 2]], [0, 0, 1]]) @ turn
    below = onto[2, 0] * u + onto[2, 1] * v + onto[2, 2]
    return (
        (onto[0, 0] * u + onto[0, 1] * v + onto[0, 2]) / below,
        (onto[1, 0] * u + onto[1, 1] * v + onto[1, 2]) / below,
    )
