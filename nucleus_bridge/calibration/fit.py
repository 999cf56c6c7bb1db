# SPDX-License-Identifier: Apache-2.0
"""How well a camera's images fit the clouds as a function of a small correction, and which correction fits best.

A correction has seven numbers: rotation vector (3, radians), shift (3, metres), both in the camera's frame as they move
the points, and how much later the camera was (s).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.calibration.image_edges import DIRECTIONS, NOTHING, SCALE, EdgeMaps, edge_maps
from nucleus_bridge.calibration.lens import is_ahead, pixel_angle_deg
from nucleus_bridge.calibration.looks import Look, picture_places, rotation_of
from nucleus_bridge.geometry import quaternion
from nucleus_bridge.model import FloatArray

Array = NDArray[Any]

NUMBERS = 7
ROTATION, SHIFT, TIME = (0, 1, 2), (3, 4, 5), (6,)
COARSE_DEG, FINE_DEG = 0.35, 0.2
"""How wide edges of images are made."""
BANDS = 5
"""Of an image, from left to right: what is in one of them is taken to be right or wrong together."""
MOST_EDGES = 250
"""Of an image, on average."""
LEAST_EDGES = 3_000
"""Of a camera: fewer are not left out."""
_NOWHERE = -1e6
_STRAIGHT = 1.5  # first steps of a search: so far edges are taken to move in straight lines


@dataclass(frozen=True, eq=False)
class Motion:
    """How a camera moved at an image: velocity and turn, both in its own frame, a second."""

    velocity: FloatArray
    turn: FloatArray


class Fit:
    """The images of one camera, ready to be scored."""

    def __init__(self, looks: Sequence[Look], motions: Sequence[Motion]) -> None:
        """Take the images, all of one size and lens, and how the camera moved at each of them."""
        counts = [len(look.points) for look in looks]
        frames = np.repeat(np.arange(len(counts)), counts)
        groups = frames * DIRECTIONS + np.concatenate([look.directions for look in looks])
        order = np.argsort(groups, kind="stable")
        most = max(LEAST_EDGES, MOST_EDGES * len(looks))
        if len(order) > most:
            kept = np.random.default_rng(0).choice(len(order), most, replace=False)
            order = order[np.sort(kept)]
        frames, self.count = frames[order], len(order)
        numbers, first = np.unique(groups[order], return_index=True)
        ends = [*first[1:].tolist(), self.count]
        self._groups = list(zip(numbers.tolist(), first.tolist(), ends, strict=True))
        self._looks = looks
        self._points = np.concatenate([look.points for look in looks])[order]
        self._turns = np.array([motion.turn for motion in motions])[frames]
        self._velocities = np.array([motion.velocity for motion in motions])[frames]
        columns = np.concatenate([look.columns for look in looks])[order]
        half = (frames * 2 // len(counts)).astype(np.int64)
        self.blocks = half * BANDS + np.minimum((columns * BANDS).astype(np.int64), BANDS - 1)
        self.pixel_deg = pixel_angle_deg(looks[0].model) / looks[0].scale
        self._maps: dict[float, list[EdgeMaps]] = {}
        self._drift = np.ascontiguousarray(np.moveaxis(np.stack([self._turns, self._velocities]), 2, 1), np.float32)
        self._known: tuple[bytes, Array] = (b"", np.empty(0))

    def scores(self, width_deg: float, at: FloatArray, steps: FloatArray) -> FloatArray:
        """Score corrections: the sum over all edges over its spread if they fell anywhere.

        Args:
            width_deg: How wide edges of images are made.
            at: Shape (7,), about where.
            steps: Shape (g, 7), what is added to it; small, since they are taken to move edges in straight lines.

        Returns:
            Shape (g,).
        """
        sums = np.zeros(len(steps), np.int64)
        for _, values in self._values(width_deg, at, steps):
            sums += cv2.reduce(values, 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[0]
        scores: FloatArray = (sums - NOTHING * self.count) / (SCALE * math.sqrt(max(self.count, 1)))
        return scores

    def block_scores(self, width_deg: float, at: FloatArray) -> FloatArray:
        """Score a correction block by block: shape (2 * BANDS,); its score is the sum over blocks."""
        found = [values[:, 0] for _, values in self._values(width_deg, at, np.zeros((1, NUMBERS)))]
        values = np.concatenate(found).astype(np.float64) - NOTHING
        scores: FloatArray = np.bincount(self.blocks, values, 2 * BANDS) / (SCALE * math.sqrt(max(self.count, 1)))
        return scores

    def moved(self, at: FloatArray) -> FloatArray:
        """Return the edges in the frame of a camera that is corrected; shape (k, 3)."""
        points = self._points
        if at[6]:
            turn = self._turns * at[6]
            points = points - self._velocities * at[6]
            points = points - np.cross(turn, points) + np.cross(turn, np.cross(turn, points)) / 2
        if at[:3].any():
            points = points @ quaternion.to_matrix(rotation_of(at[:3])).T
        result: FloatArray = points + at[3:6]
        return result

    def _values(self, width_deg: float, at: FloatArray, steps: FloatArray) -> Iterator[tuple[int, Array]]:
        """Look up edges in the maps: for each image and direction its number, and shape (its edges, g)."""
        maps, rows = self._map(width_deg), self._places(at)
        scale = maps[0].scale
        factors = np.empty((NUMBERS + 2, len(steps)), np.float32)
        factors[:NUMBERS] = steps.T * scale
        factors[NUMBERS:] = [[scale], [0.5 * scale - 0.5]]
        for number, begin, end in self._groups:
            column, row = rows[0, begin:end] @ factors, rows[1, begin:end] @ factors
            image, direction = divmod(number, DIRECTIONS)
            yield (
                number,
                cv2.remap(
                    maps[image].by_direction[direction],
                    column,
                    row,
                    cv2.INTER_NEAREST,
                    borderMode=cv2.BORDER_CONSTANT,
                    borderValue=float(NOTHING),
                ),
            )

    def _map(self, width_deg: float) -> list[EdgeMaps]:
        """Return the maps of all images."""
        if not self._maps:
            widths = (COARSE_DEG, FINE_DEG)
            made = [
                edge_maps(look.gray, [max(1.0, width / self.pixel_deg) for width in widths]) for look in self._looks
            ]
            self._maps = {width: list(maps) for width, maps in zip(widths, zip(*made, strict=True), strict=True)}
        return self._maps[width_deg]

    def _places(self, at: FloatArray) -> Array:
        """Return where edges fall and how that changes.

        Shape (2, k, 9), columns and rows: change with each number, place, and 1.
        """
        known = at.tobytes()
        if self._known[0] == known:
            return self._known[1]
        x, y, z = points = np.ascontiguousarray(self.moved(at).T, np.float32)
        look = self._looks[0]
        step = np.float32(0.005) * np.sqrt(x * x + y * y + z * z)
        there = np.repeat(points[:, None], 7, axis=1)
        for axis in range(3):
            there[axis, 1 + 2 * axis] += step
            there[axis, 2 + 2 * axis] -= step
        places = picture_places(np.moveaxis(there, 0, 2), look.model, look.scale)
        along_x, along_y, along_z = self._drifts(x, y, z)
        rows = np.ones((2, len(x), NUMBERS + 2), np.float32)
        for out, place in zip(rows, np.moveaxis(places, 2, 0), strict=True):
            dx, dy, dz = (place[1::2] - place[2::2]) / (2 * step)
            out[:, 0], out[:, 1], out[:, 2] = dz * y - dy * z, dx * z - dz * x, dy * x - dx * y
            out[:, 3], out[:, 4], out[:, 5] = dx, dy, dz
            out[:, 6] = dx * along_x + dy * along_y + dz * along_z
            out[:, 7] = place[0]
        rows[:, ~is_ahead(x, y, z), 7] = _NOWHERE
        self._known = (known, rows)
        return rows

    def _drifts(self, x: Array, y: Array, z: Array) -> tuple[Array, Array, Array]:
        """Return how fast edges move along each axis of the camera."""
        (a, b, c), (u, v, w) = self._drift
        return c * y - b * z - u, a * z - c * x - v, b * x - a * y - w


def grid(axes: Mapping[int, Sequence[float] | FloatArray]) -> FloatArray:
    """Return all combinations of some numbers of a correction, the others 0; shape (g, 7)."""
    columns = np.meshgrid(*(np.asarray(values, np.float64) for values in axes.values()), indexing="ij")
    steps = np.zeros((columns[0].size, NUMBERS))
    for number, column in zip(axes, columns, strict=True):
        steps[:, number] = column.ravel()
    return steps


_FIRST_STEP = np.array([*[np.radians(0.6)] * 3, *[0.16] * 3, 0.024])
_MOST_ROUNDS = 40


def climb(
    fit: Fit, width_deg: float, start: FloatArray, free: Sequence[int], first: float = 1.0, least: float = 0.08
) -> tuple[FloatArray, float]:
    """Find the correction near ``start`` that scores best, changing some of its numbers.

    Tries steps along each of them and each pair, takes the best, and halves the steps when none is better.
    """
    patterns = _patterns(free)
    base, moved, size = start, np.zeros(NUMBERS), first
    best = float(fit.scores(width_deg, base, moved[None])[0])
    for _ in range(_MOST_ROUNDS):
        steps = moved + patterns * (_FIRST_STEP * size)
        scores = fit.scores(width_deg, base, steps)
        top = int(scores.argmax())
        if scores[top] > best + 1e-9:
            moved = steps[top]
            best = float(scores[top])
            if (np.abs(moved) > _STRAIGHT * _FIRST_STEP).any():
                base, moved = base + moved, np.zeros(NUMBERS)
                best = float(fit.scores(width_deg, base, moved[None])[0])
        else:
            size /= 2
            if size < least:
                break
    at = base + moved
    return at, float(fit.scores(width_deg, at, np.zeros((1, NUMBERS)))[0])


def _patterns(free: Sequence[int]) -> FloatArray:
    rows = []
    for number in free:
        for sign in (-1.0, 1.0):
            row = np.zeros(NUMBERS)
            row[number] = sign
            rows.append(row)
    for one, other in itertools.combinations(free, 2):
        for sign, other_sign in itertools.product((-1.0, 1.0), repeat=2):
            row = np.zeros(NUMBERS)
            row[one], row[other] = sign, other_sign
            rows.append(row)
    return np.array(rows)
