# SPDX-License-Identifier: Apache-2.0
"""One image and the edges of the clouds that its camera can see: what a fit is made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.calibration.image_edges import DIRECTIONS
from nucleus_bridge.calibration.lens import is_ahead, pixel_angle_deg, to_pixels
from nucleus_bridge.calibration.scans import Scan
from nucleus_bridge.geometry import quaternion
from nucleus_bridge.model import CameraModel, FloatArray, IntArray, Transform

Array = NDArray[Any]

MOST_EDGES = 700
"""Of one image: more of them say the same, since neighbours see the same thing."""
WANTED_PIXEL_DEG = 0.18
NARROWEST, WIDEST = 360, 800
"""Pixels: how wide the pictures are in which edges are looked for."""
_NEARLY = 0.85
_NEAREST_M = 4.0
_MARGIN = 0.1  # of the width: edges that a correction may bring into the image
_CELL_DEG = 1.0
_HIDDEN_M, _HIDDEN_SHARE = 0.5, 0.05
_ACROSS = 0.01


@dataclass(frozen=True, eq=False)
class Look:
    """An image with the edges that fall on it or near it.

    Attributes:
        stamp_ns: Of the image.
        scene_from_camera: Its pose.
        model: Of the image file.
        scale: Of the picture that was looked at, as a share of the file's size.
        gray: Shape (height, width), that picture.
        points: Shape (k, 3), edges in the camera's frame.
        directions: Shape (k,), in which direction of the image each edge is crossed.
        columns: Shape (k,), where they are from left to right, 0 to 1.
    """

    stamp_ns: int
    scene_from_camera: Transform
    model: CameraModel
    scale: float
    gray: Array
    points: FloatArray
    directions: IntArray
    columns: FloatArray

    @property
    def shape(self) -> tuple[int, int]:
        """Return height and width of the picture that was looked at."""
        return self.gray.shape[0], self.gray.shape[1]


def looked_at_width(model: CameraModel, width: int) -> int:
    """Return how wide a picture of ``width`` pixels is looked at: as small as still tells fine angles.

    A half, a quarter or an eighth of it is decoded much faster than anything in between.
    """
    wanted = width * pixel_angle_deg(model) / WANTED_PIXEL_DEG
    wanted = max(NARROWEST, min(WIDEST, math.ceil(wanted)))
    return next(
        (width // part for part in (8, 4, 2, 1) if wanted * _NEARLY <= width // part <= wanted), min(width, wanted)
    )


def look_at(
    gray: Array, width: int, stamp_ns: int, scene_from_camera: Transform, model: CameraModel, scans: Sequence[Scan]
) -> Look:
    """Look at an image.

    Args:
        gray: Shape (height, width), the picture, perhaps smaller than its file has it.
        width: Of the file.
        stamp_ns: When it was taken.
        scene_from_camera: Pose of the optical frame.
        model: Intrinsics that hold for the file.
        scans: What the lidars saw at about that time.
    """
    wanted = looked_at_width(model, width)
    if gray.shape[1] > wanted:
        size = (wanted, max(1, round(gray.shape[0] * wanted / gray.shape[1])))
        gray = np.asarray(cv2.resize(gray, size, interpolation=cv2.INTER_AREA))
    scale = gray.shape[1] / width
    turn = quaternion.to_matrix(scene_from_camera.rotation_xyzw)
    parts = [_in_sight(scan, scene_from_camera.translation, turn, model, scale, gray.shape) for scan in scans]
    points, pixels, across = (np.concatenate(column) for column in zip(*parts, strict=True))
    if len(points) > MOST_EDGES:
        some = np.random.default_rng(0).choice(len(points), MOST_EDGES, replace=False)
        points, pixels, across = points[some], pixels[some], across[some]
    distance = np.sqrt((points * points).sum(axis=1))
    ahead = picture_places(points + _ACROSS * distance[:, None] * across, model, scale) - pixels
    angle = np.arctan2(ahead[:, 1], ahead[:, 0])
    directions = np.rint(angle * (DIRECTIONS / np.pi)).astype(np.int64) % DIRECTIONS
    columns = np.clip(pixels[:, 0] / gray.shape[1], 0.0, 1.0)
    return Look(stamp_ns, scene_from_camera, model, scale, gray, points, directions, columns)


def picture_places(points: Array, model: CameraModel, scale: float) -> Array:
    """Project points of the camera's frame into the picture that is looked at; shape (k, 2)."""
    u, v = to_pixels(points[..., 0], points[..., 1], np.maximum(points[..., 2], 0.05), model)
    return (np.stack([u, v], axis=-1) + 0.5) * scale - 0.5


def _in_sight(
    scan: Scan, position: FloatArray, turn: FloatArray, model: CameraModel, scale: float, shape: tuple[int, ...]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the edges in or near an image that nothing hides: in the camera's frame, in the picture, the way across.

    What is not in the image, most of the edges, is left out before what hides them is looked for.
    """
    local = (scan.edges.points - position) @ turn
    distance = np.sqrt((local * local).sum(axis=1))
    rows = np.flatnonzero(is_ahead(*local.T) & (distance > _NEAREST_M))
    pixels = picture_places(local[rows], model, scale)
    height, width = shape[:2]
    margin = _MARGIN * width
    near = (pixels > -margin).all(axis=1) & (pixels[:, 0] < width + margin) & (pixels[:, 1] < height + margin)
    rows, pixels = rows[near], pixels[near]
    points = (scan.points - position).astype(np.float32) @ turn.astype(np.float32)
    shown = ~_hidden(local[rows], distance[rows], points)
    rows, pixels = rows[shown], pixels[shown]
    return local[rows], pixels, scan.edges.across[rows] @ turn


def _hidden(edges: FloatArray, distance: FloatArray, points: Array) -> Array:
    """Tell which edges lie behind nearer points of the cloud, as the camera sees them."""
    points = points[points[:, 2] > 0.5]
    size = round(180.0 / _CELL_DEG) + 1
    nearest = np.full(size * size, np.inf, np.float32)
    np.minimum.at(nearest, _cells(points, size), np.sqrt((points * points).sum(axis=1)))
    return np.asarray(nearest[_cells(edges, size)] < distance * (1 - _HIDDEN_SHARE) - _HIDDEN_M)


def _cells(points: Array, size: int) -> Array:
    x, y, z = points.T
    across, down = np.degrees(np.arctan2(x, z)), np.degrees(np.arctan2(y, np.hypot(x, z)))
    column, row = (np.clip((angle + 90.0) / _CELL_DEG, 0, size - 1).astype(np.int32) for angle in (across, down))
    cells: Array = column * size + row
    return cells


def rotation_of(vector: FloatArray) -> FloatArray:
    """Return the quaternion of a rotation vector, radians."""
    angle = float(np.linalg.norm(vector))
    share = 0.5 if angle < 1e-9 else math.sin(angle / 2) / angle
    return np.array([*(vector * share), math.cos(angle / 2)])


def vector_of(rotation_xyzw: FloatArray) -> FloatArray:
    """Return the rotation vector of a quaternion, radians."""
    x, y, z, w = rotation_xyzw if rotation_xyzw[3] >= 0 else -rotation_xyzw
    size = math.sqrt(x * x + y * y + z * z)
    share = 2.0 if size < 1e-9 else 2.0 * math.atan2(size, w) / size
    return np.array([x, y, z]) * share
