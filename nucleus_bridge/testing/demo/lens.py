# SPDX-License-Identifier: Apache-2.0
"""Lens models as ROS names them, in both directions: from rays to pixels and, per pixel, back to its ray."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nucleus_bridge.testing.demo.rigid import FloatArray

_NEWTON_STEPS = 50
_CONVERGED = 1e-13


@dataclass(frozen=True)
class Lens:
    """Intrinsics of one camera; the centre of the first pixel is (0, 0).

    Attributes:
        model: ``plumb_bob`` (D is k1 k2 p1 p2 k3), ``rational_polynomial`` (and k4 k5 k6, the denominator's),
            ``equidistant`` (k1 k2 k3 k4) or ``omnidirectional`` (xi k1 k2 p1 p2; less than 90 degrees off the axis).
        width: Pixels.
        height: Pixels.
        fx: Focal length, pixels.
        fy: Focal length, pixels.
        cx: Principal point, pixels.
        cy: Principal point, pixels.
        distortion: D in the order of ``model``.
    """

    model: str
    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...]

    @property
    def k(self) -> tuple[float, ...]:
        """Return the camera matrix, row by row."""
        return (self.fx, 0.0, self.cx, 0.0, self.fy, self.cy, 0.0, 0.0, 1.0)

    def pixels(self, directions: FloatArray) -> FloatArray:
        """Return where rays (..., 3) of the optical frame, z > 0, meet the image: (..., 2) as u, v."""
        depth = directions[..., 2]
        if self.model == "omnidirectional":
            depth = depth + self.distortion[0] * np.linalg.norm(directions, axis=-1)
        x, y = directions[..., 0] / depth, directions[..., 1] / depth
        if self.model == "equidistant":
            radius = np.hypot(x, y)
            angle = np.arctan(radius)
            scale = self._bent_angle(angle)[0] / np.where(radius > 0.0, radius, 1.0)
            x, y = x * np.where(radius > 0.0, scale, 1.0), y * np.where(radius > 0.0, scale, 1.0)
        else:
            x, y = self._bent(x, y)[:2]
        return np.stack([self.fx * x + self.cx, self.fy * y + self.cy], axis=-1)

    def rays(self) -> FloatArray:
        """Return the direction that every pixel's centre looks in, shape (3, height, width), with z = 1."""
        columns, rows = np.meshgrid(np.arange(self.width, dtype=float), np.arange(self.height, dtype=float))
        seen_x, seen_y = (columns - self.cx) / self.fx, (rows - self.cy) / self.fy
        x, y = self._straight_angle(seen_x, seen_y) if self.model == "equidistant" else self._straight(seen_x, seen_y)
        if self.model == "omnidirectional":
            scale = self._to_plane(x * x + y * y)
            x, y = x * scale, y * scale
        return np.stack([x, y, np.ones_like(x)])

    def _to_plane(self, square: FloatArray) -> FloatArray:
        """Return by what the unified model stretches its plane to z = 1, ``square`` of the distance from its middle."""
        xi = self.distortion[0]
        onto_sphere = (xi + np.sqrt(1 + (1 - xi * xi) * square)) / (1 + square)
        stretched: FloatArray = onto_sphere / (onto_sphere - xi)
        return stretched

    def _bent_angle(self, angle: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the distorted angle of the fisheye polynomial and its derivative."""
        k1, k2, k3, k4 = self.distortion
        square = angle * angle
        value = angle * (1 + square * (k1 + square * (k2 + square * (k3 + square * k4))))
        slope = 1 + square * (3 * k1 + square * (5 * k2 + square * (7 * k3 + square * 9 * k4)))
        return value, slope

    def _straight_angle(self, seen_x: FloatArray, seen_y: FloatArray) -> tuple[FloatArray, FloatArray]:
        bent = np.hypot(seen_x, seen_y)
        angle = bent.copy()
        for _ in range(_NEWTON_STEPS):
            value, slope = self._bent_angle(angle)
            step = (value - bent) / slope
            angle -= step
            if np.abs(step).max() < _CONVERGED:
                break
        scale = np.tan(angle) / np.where(bent > 0.0, bent, 1.0)
        return seen_x * scale, seen_y * scale

    def _bent(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, ...]:
        """Return distorted x, y and the (symmetric) derivatives xx, xy, yy of the Brown-Conrady model."""
        k1, k2, p1, p2, k3, k4, k5, k6 = (*self._polynomial, 0.0, 0.0, 0.0, 0.0)[:8]
        square = x * x + y * y
        above = 1 + square * (k1 + square * (k2 + square * k3))
        below = 1 + square * (k4 + square * (k5 + square * k6))
        above_slope = k1 + square * (2 * k2 + square * 3 * k3)
        below_slope = k4 + square * (2 * k5 + square * 3 * k6)
        radial = above / below
        slope = (above_slope - radial * below_slope) / below
        bent_x = x * radial + 2 * p1 * x * y + p2 * (square + 2 * x * x)
        bent_y = y * radial + p1 * (square + 2 * y * y) + 2 * p2 * x * y
        by_xx = radial + 2 * x * x * slope + 2 * p1 * y + 6 * p2 * x
        by_xy = 2 * x * y * slope + 2 * p1 * x + 2 * p2 * y
        by_yy = radial + 2 * y * y * slope + 6 * p1 * y + 2 * p2 * x
        return bent_x, bent_y, by_xx, by_xy, by_yy

    @property
    def _polynomial(self) -> tuple[float, ...]:
        """Return k1 k2 p1 p2 and what follows them."""
        return self.distortion[1:] if self.model == "omnidirectional" else self.distortion

    def _straight(self, seen_x: FloatArray, seen_y: FloatArray) -> tuple[FloatArray, FloatArray]:
        x, y = seen_x.copy(), seen_y.copy()
        for _ in range(_NEWTON_STEPS):
            bent_x, bent_y, by_xx, by_xy, by_yy = self._bent(x, y)
            off_x, off_y = bent_x - seen_x, bent_y - seen_y
            determinant = by_xx * by_yy - by_xy * by_xy
            step_x = (by_yy * off_x - by_xy * off_y) / determinant
            step_y = (by_xx * off_y - by_xy * off_x) / determinant
            x -= step_x
            y -= step_y
            if max(np.abs(step_x).max(), np.abs(step_y).max()) < _CONVERGED:
                break
        return x, y
