# SPDX-License-Identifier: Apache-2.0
"""Rigid transforms of the synthetic drive, kept apart from the geometry room so that each can test the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Pose:
    """One rigid transform, or k of them: ``a_from_b`` maps coordinates in frame b to frame a.

    Attributes:
        translation: Shape (..., 3), metres.
        rotation_xyzw: Shape (..., 4), unit quaternion.
    """

    translation: FloatArray
    rotation_xyzw: FloatArray

    @property
    def matrix(self) -> FloatArray:
        """Return the rotation as matrices, shape (..., 3, 3)."""
        return rotation_matrix(self.rotation_xyzw)

    def __matmul__(self, other: Pose) -> Pose:
        """Chain two transforms: ``a_from_b @ b_from_c`` is ``a_from_c``."""
        return Pose(self.apply(other.translation), quaternion_product(self.rotation_xyzw, other.rotation_xyzw))

    def apply(self, points: FloatArray) -> FloatArray:
        """Return ``points`` (..., 3) of frame b in frame a."""
        moved: FloatArray = np.einsum("...ij,...j->...i", self.matrix, points) + self.translation
        return moved

    def inverse(self) -> Pose:
        """Return ``b_from_a``."""
        conjugate = self.rotation_xyzw * np.array([-1.0, -1.0, -1.0, 1.0])
        back = -np.einsum("...ij,...j->...i", rotation_matrix(conjugate), self.translation)
        return Pose(back, conjugate)


def quaternion_product(left: FloatArray, right: FloatArray) -> FloatArray:
    """Return the Hamilton product of quaternions x y z w, shape (..., 4)."""
    lx, ly, lz, lw = np.moveaxis(np.asarray(left), -1, 0)
    rx, ry, rz, rw = np.moveaxis(np.asarray(right), -1, 0)
    return np.stack(
        [
            lw * rx + lx * rw + ly * rz - lz * ry,
            lw * ry - lx * rz + ly * rw + lz * rx,
            lw * rz + lx * ry - ly * rx + lz * rw,
            lw * rw - lx * rx - ly * ry - lz * rz,
        ],
        axis=-1,
    )


def rotation_matrix(rotation_xyzw: FloatArray) -> FloatArray:
    """Return the matrices of unit quaternions, shape (..., 3, 3)."""
    x, y, z, w = np.moveaxis(np.asarray(rotation_xyzw), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def from_roll_pitch_yaw(roll: FloatArray | float, pitch: FloatArray | float, yaw: FloatArray | float) -> FloatArray:
    """Return unit quaternions for yaw about z, then pitch about the new y, then roll about the new x (radians)."""
    half_roll, half_pitch, half_yaw = (np.asarray(angle, dtype=float) / 2 for angle in (roll, pitch, yaw))
    zero = np.zeros(np.broadcast(half_roll, half_pitch, half_yaw).shape)
    about_x = np.stack([np.sin(half_roll) + zero, zero, zero, np.cos(half_roll) + zero], axis=-1)
    about_y = np.stack([zero, np.sin(half_pitch) + zero, zero, np.cos(half_pitch) + zero], axis=-1)
    about_z = np.stack([zero, zero, np.sin(half_yaw) + zero, np.cos(half_yaw) + zero], axis=-1)
    return quaternion_product(quaternion_product(about_z, about_y), about_x)


def mounted(x: float, y: float, z: float, *, roll_deg: float = 0, pitch_deg: float = 0, yaw_deg: float = 0) -> Pose:
    """Return base_from_sensor of a sensor with x forward, y left, z up before it is turned."""
    angles = np.radians([roll_deg, pitch_deg, yaw_deg])
    return Pose(np.array([x, y, z], dtype=float), from_roll_pitch_yaw(*angles))


# Optical frames have z forward, x right, y down (REP 103).
BODY_FROM_OPTICAL = Pose(np.zeros(3), np.array([-0.5, 0.5, -0.5, 0.5]))
