# SPDX-License-Identifier: Apache-2.0
"""Pictures of the world: every pixel's own ray, through the lens model, meets the scene exactly.

Nothing is drawn by projecting shapes: a pixel shows what the ray through its centre hits, and along outlines the
signed distance to the outline, in pixels, says how much of the pixel is covered.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.testing.demo.ground import CELL_M, GRASS, HORIZON, SUN, build_ground, sky_gradient
from nucleus_bridge.testing.demo.lens import Lens
from nucleus_bridge.testing.demo.paint import brightness
from nucleus_bridge.testing.demo.rigid import FloatArray, Pose
from nucleus_bridge.testing.demo.world import Box, Pole, build_world

Float32Array = NDArray[np.float32]
Window = tuple[slice, slice]

_MARGIN_PX = 3
_PIECE_PX = 30_000
_ARC_STEPS = 16
_SKY_STEPS = 512
_COARSE = 8
_COARSE_FROM_M = 28.0
_HAZE_FROM = 0.012  # downward slope of a ray above which the far ground fades into the horizon
_AMBIENT, _SUNLIGHT = 0.70, 0.38
_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (0, 1)], dtype=float)
_EDGES = np.array([(a, b) for a in range(8) for b in range(a) if a ^ b in (1, 2, 4)])


@dataclass(frozen=True, eq=False)
class _Hits:
    """What the rays of a window meet on one primitive: all of the window's shape, ``color`` (..., 3) or (3,)."""

    coverage: Float32Array
    depth: Float32Array
    color: Float32Array


class Renderer:
    """Renders the world along a course through one lens."""

    def __init__(self, lens: Lens, course: str) -> None:
        self._lens = lens
        rays = lens.rays()
        self._rays = rays.astype(np.float32)
        self._shape = (lens.height, lens.width)
        self._widest = float(np.arctan(np.hypot(rays[0], rays[1]).max())) + 0.01
        world = build_world(course)
        self._primitives: tuple[Pole | Box, ...] = (*world.boxes, *world.poles)
        self._corners = np.stack([_corners(primitive) for primitive in self._primitives])
        self._backdrop = _build_backdrop(course)

    def render(self, map_from_camera: Pose) -> NDArray[np.uint8]:
        """Return what the camera sees from a pose of its optical frame: (height, width, 3), RGB."""
        eye = map_from_camera.translation
        turn = map_from_camera.matrix.astype(np.float32)
        rays = np.empty_like(self._rays)
        image = np.empty((*self._shape, 3), np.uint8)
        for rows, _ in _pieces((slice(0, self._shape[0]), slice(0, self._shape[1]))):
            rays[:, rows] = np.tensordot(turn, self._rays[:, rows], axes=1)
            image[rows] = self._backdrop.render(eye, rays[:, rows])
        nearest = np.full(self._shape, np.inf, np.float32)
        drawn: list[tuple[Window, _Hits]] = []
        for primitive, window, closest in self._visible(map_from_camera):
            if float(nearest[window].max()) < closest:
                continue
            part = rays[:, window[0], window[1]]
            hits = _pole_hits(primitive, eye, part) if isinstance(primitive, Pole) else _box_hits(primitive, eye, part)
            hides = (hits.coverage >= 1.0) & (hits.depth < nearest[window])
            np.copyto(nearest[window], hits.depth, where=hides)
            np.copyto(image[window], np.rint(hits.color).astype(np.uint8), where=hides[..., None])
            drawn.append((window, hits))
        for window, hits in reversed(drawn):
            edge = (hits.coverage > 0.0) & (hits.coverage < 1.0) & (hits.depth < nearest[window])
            below = image[window][edge].astype(np.float32)
            color = hits.color if hits.color.ndim == 1 else hits.color[edge]
            image[window][edge] = np.rint(below + hits.coverage[edge][:, None] * (color - below)).astype(np.uint8)
        return image

    def _visible(self, map_from_camera: Pose) -> list[tuple[Pole | Box, Window, float]]:
        """Return the primitives that may be in view, nearest first.

        With each comes the part of the image it can touch and a depth (along the optical axis) it lies beyond.

        Outlines are arcs on the sphere of viewing directions. What is outside the widest angle of view is moved
        straight inwards to just outside the image: that keeps outlines closed around what they enclose.
        """
        corners = map_from_camera.inverse().apply(self._corners)
        ahead = np.flatnonzero((corners[..., 2] > 0.0).any(axis=1))
        directions = corners[ahead] / np.linalg.norm(corners[ahead], axis=-1, keepdims=True)
        arcs = _arcs(directions[:, _EDGES[:, 0]], directions[:, _EDGES[:, 1]]).reshape(len(ahead), -1, 3)
        sideways = np.hypot(arcs[..., 0], arcs[..., 1])
        reach = np.tan(np.minimum(np.arctan2(sideways, arcs[..., 2]), self._widest))
        scale = reach / np.where(sideways > 0.0, sideways, 1.0)
        flat = np.stack([arcs[..., 0] * scale, arcs[..., 1] * scale, np.ones_like(scale)], axis=-1)
        pixels = self._lens.pixels(flat)
        low = np.maximum(np.floor(pixels.min(axis=1)).astype(int) - _MARGIN_PX, 0)
        high = np.minimum(np.ceil(pixels.max(axis=1)).astype(int) + _MARGIN_PX + 1, self._shape[::-1])
        distance = np.linalg.norm(corners[ahead], axis=-1).min(axis=1)
        closest = corners[ahead, :, 2].min(axis=1)
        found: list[tuple[Pole | Box, Window, float]] = []
        for position in np.argsort(distance, kind="stable"):
            (left, top), (right, bottom) = low[position], high[position]
            if right - left > 1 and bottom - top > 1:
                whole = (slice(int(top), int(bottom)), slice(int(left), int(right)))
                primitive, depth = self._primitives[ahead[position]], float(closest[position])
                found += [(primitive, window, depth) for window in _pieces(whole)]
        return found


class _Backdrop:
    """Ground and sky as one atlas of textures, so that a single look-up a pixel draws both."""

    def __init__(self, course: str) -> None:
        ground = build_ground(course)
        fine = ground.color
        rows, columns = fine.shape[0] // _COARSE, fine.shape[1] // _COARSE
        coarse = cv2.resize(fine[: rows * _COARSE, : columns * _COARSE], (columns, rows), interpolation=cv2.INTER_AREA)
        haze = np.linspace(np.array(HORIZON), np.array(GRASS), _SKY_STEPS)
        strip = np.concatenate([haze[::-1], sky_gradient(_SKY_STEPS).astype(float)])
        height = max(fine.shape[0], len(strip))
        self._coarse_column = fine.shape[1] + 1
        self._strip_column = self._coarse_column + columns + 3
        self._atlas = np.empty((height, self._strip_column + 3, 3), np.uint8)
        self._atlas[:] = GRASS
        self._atlas[: fine.shape[0], : fine.shape[1]] = fine
        self._atlas[:rows, self._coarse_column : self._coarse_column + columns] = coarse
        self._atlas[: len(strip), self._strip_column - 1 :] = np.rint(strip)[:, None]
        self._origin = ground.origin
        self._limits = (fine.shape[1] - 1, fine.shape[0] - 1)

    def render(self, eye: FloatArray, rays: Float32Array) -> NDArray[np.uint8]:
        """Return the image (height, width, 3) without anything that stands in it."""
        east, north, up = rays
        slope = up / np.sqrt(east * east + north * north + up * up)
        is_ground = slope < -_HAZE_FROM
        flight = np.float32(eye[2]) / np.where(is_ground, -up, np.float32(1.0))
        column = np.float32((eye[0] - self._origin[0]) / CELL_M) + flight * east * np.float32(1 / CELL_M)
        row = np.float32((eye[1] - self._origin[1]) / CELL_M) + flight * north * np.float32(1 / CELL_M)
        np.clip(column, 0, self._limits[0], out=column)
        np.clip(row, 0, self._limits[1], out=row)
        is_coarse = flight > _COARSE_FROM_M
        half = np.float32((_COARSE - 1) / 2)
        column = np.where(is_coarse, (column - half) / _COARSE + self._coarse_column, column)
        row = np.where(is_coarse, (row - half) / _COARSE, row)
        above = np.minimum(slope * (_SKY_STEPS - 1), _SKY_STEPS - 1) + _SKY_STEPS
        beneath = slope * ((_SKY_STEPS - 1) / _HAZE_FROM) + (_SKY_STEPS - 1)
        sky = np.where(slope > 0.0, above, np.maximum(beneath, 0.0)).astype(np.float32)
        column = np.where(is_ground, column, np.float32(self._strip_column)).astype(np.float32)
        row = np.where(is_ground, row, sky).astype(np.float32)
        picture = cv2.remap(self._atlas, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(picture, np.uint8)


@lru_cache(maxsize=2)
def _build_backdrop(course: str) -> _Backdrop:
    """Return the one backdrop that all cameras on a course share."""
    return _Backdrop(course)


def _pieces(window: Window) -> list[Window]:
    """Cut a window into bands of rows that fit a processor's cache, none of them a single row."""
    rows, columns = window
    count = max(1, (rows.stop - rows.start) * (columns.stop - columns.start) // _PIECE_PX)
    edges = np.linspace(rows.start, rows.stop, min(count, (rows.stop - rows.start) // 2) + 1).astype(int)
    return [(slice(int(top), int(bottom)), columns) for top, bottom in pairwise(edges)]


def _corners(primitive: Pole | Box) -> FloatArray:
    """Return the corners of an upright box around the primitive, shape (8, 3), map frame."""
    if isinstance(primitive, Pole):
        half, yaw = (primitive.radius, primitive.radius), 0.0
    else:
        half, yaw = (primitive.length / 2, primitive.width / 2), primitive.yaw
    local = _CORNERS * [*half, primitive.height]
    cos, sin = np.cos(yaw), np.sin(yaw)
    corners: FloatArray = local @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]) + [primitive.x, primitive.y, 0]
    return corners


def _arcs(first: FloatArray, last: FloatArray) -> FloatArray:
    """Return places along the great circles between unit vectors (..., 3), shape (..., steps, 3)."""
    angle = np.arccos(np.clip(np.sum(first * last, axis=-1), -1.0, 1.0))[..., None]
    angle = np.clip(angle, 1e-6, np.pi - 1e-6)
    along = np.linspace(0.0, 1.0, _ARC_STEPS)
    weights = np.sin((1.0 - along) * angle), np.sin(along * angle)
    blended = weights[0][..., None] * first[..., None, :] + weights[1][..., None] * last[..., None, :]
    arcs: FloatArray = blended / np.sin(angle)[..., None]
    return arcs


def _pole_hits(pole: Pole, eye: FloatArray, rays: Float32Array) -> _Hits:
    x, y = np.float32(eye[0] - pole.x), np.float32(eye[1] - pole.y)
    square = rays[0] * rays[0] + rays[1] * rays[1]
    length = np.sqrt(square)
    beside = (x * rays[1] - y * rays[0]) / length
    deep = np.sqrt(np.maximum(np.float32(pole.radius**2) - beside * beside, 0.0))
    depth = (-(x * rays[0] + y * rays[1]) / length - deep) / length
    height = np.float32(eye[2]) + depth * rays[2]
    radius, step = np.float32(pole.radius), _step(beside)
    sides = np.minimum(_covered(radius - np.abs(beside), step), 2 * radius / step)
    ends = [_covered(inside, _step(height)) for inside in (np.float32(pole.height) - height, height)]
    coverage = np.minimum.reduce([sides, *ends])
    coverage[depth <= 0.0] = 0.0
    return _Hits(coverage, depth, np.array(pole.color, np.float32))


def _box_hits(box: Box, eye: FloatArray, rays: Float32Array) -> _Hits:
    cos, sin = np.float32(np.cos(box.yaw)), np.float32(np.sin(box.yaw))
    east, north = eye[0] - box.x, eye[1] - box.y
    starts = (cos * east + sin * north, cos * north - sin * east, eye[2] - box.height / 2)
    halves = (box.length / 2, box.width / 2, box.height / 2)
    along = (cos * rays[0] + sin * rays[1], cos * rays[1] - sin * rays[0], rays[2])
    enters, leave = [], np.full(rays.shape[1:], np.inf, np.float32)
    for start, direction, half in zip(starts, along, halves, strict=True):
        inverse = np.float32(1.0) / np.where(np.abs(direction) < 1e-9, np.float32(1e-9), direction)
        reach, middle = np.float32(half) * np.abs(inverse), np.float32(-start) * inverse
        enters.append(middle - reach)
        np.minimum(leave, middle + reach, out=leave)
    depth = np.maximum.reduce(enters)
    coverage = _covered(leave - depth, _step(leave - depth))
    coverage[depth <= 0.0] = 0.0
    by_end, by_side = depth == enters[0], depth == enters[1]
    across = np.where(by_end, np.float32(starts[1]) + depth * along[1], np.float32(starts[0]) + depth * along[0])
    height = np.float32(eye[2]) + depth * rays[2]
    end, side, top = (np.float32(_light(box, starts, axis)) for axis in range(3))
    shade = np.where(by_end, end, np.where(by_side, side, top))
    shade = shade * brightness(box, by_end, by_side, across, height)
    color = np.minimum(shade[..., None] * np.array(box.color, np.float32), np.float32(255.0))
    return _Hits(coverage, depth, color)


def _step(values: Float32Array) -> Float32Array:
    """Return by how much a function of the pixel changes to the next one, on its smoother side where it has a pole."""
    steps = []
    for axis in (0, 1):
        change = np.abs(np.diff(values, axis=axis))
        before = np.concatenate([change.take([0], axis), change], axis)
        after = np.concatenate([change, change.take([-1], axis)], axis)
        steps.append(np.minimum(before, after))
    step: Float32Array = np.maximum(np.sqrt(steps[0] * steps[0] + steps[1] * steps[1]), np.float32(1e-12))
    return step


def _covered(inside: Float32Array, step: Float32Array) -> Float32Array:
    """Return how much of each pixel lies within an outline, where ``inside`` is zero and grows by ``step`` a pixel."""
    covered: Float32Array = np.clip(np.float32(0.5) + inside / step, 0.0, 1.0)
    return covered


def _light(box: Box, starts: tuple[float, ...], axis: int) -> float:
    """Return how bright the face towards the eye across one of the box's own axes is."""
    sign = 1.0 if starts[axis] > 0.0 else -1.0
    cos, sin = np.cos(box.yaw), np.sin(box.yaw)
    normal = ((cos, sin, 0.0), (-sin, cos, 0.0), (0.0, 0.0, 1.0))[axis]
    return _AMBIENT + _SUNLIGHT * max(0.0, sign * float(np.dot(normal, SUN)))
