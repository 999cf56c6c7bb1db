# SPDX-License-Identifier: Apache-2.0
"""How well a camera's images fit the clouds as a function of a small correction, and which correction fits best.

A correction has seven numbers: rotation vector (3, radians), shift (3, metres), both in the camera's frame as they move
the points, and how much later the camera was (s).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.calibration.image_edges import DIRECTIONS, SCALE, edge_maps, edge_strengths
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
MOST_EDGES = 3_000
"""Of one camera."""
_AT_ONCE = 2_000_000
_NOWHERE = -1e6


@dataclass(frozen=True, eq=False)
class Motion:
    """How a camera moved at an image: velocity and turn, both in its own frame, a second."""

    velocity: FloatArray
    turn: FloatArray


@dataclass(eq=False)
class Fit:
    """The images of one camera, ready to be scored."""

    looks: Sequence[Look]
    motions: Sequence[Motion]
    _maps: dict[float, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        counts = [len(look.points) for look in self.looks]
        self.count = sum(counts)
        self.frames = np.repeat(np.arange(len(counts)), counts)
        kept = np.arange(self.count)
        if self.count > MOST_EDGES:
            kept = np.sort(np.random.default_rng(0).choice(self.count, MOST_EDGES, replace=False))
            self.count, self.frames = MOST_EDGES, self.frames[kept]
        self._points = np.concatenate([look.points for look in self.looks])[kept]
        self._turns = np.array([motion.turn for motion in self.motions])[self.frames]
        self._velocities = np.array([motion.velocity for motion in self.motions])[self.frames]
        self._height, self._width = self.looks[0].shape
        directions = np.concatenate([look.directions for look in self.looks])[kept]
        self._bases = (self.frames * DIRECTIONS + directions) * (self._height * self._width)
        columns = np.concatenate([look.columns for look in self.looks])[kept]
        half = (self.frames * 2 // len(counts)).astype(np.int64)
        self.blocks = half * BANDS + np.minimum((columns * BANDS).astype(np.int64), BANDS - 1)
        model = self.looks[0].model
        self.pixel_deg = pixel_angle_deg(model) / self.looks[0].scale

    def scores(self, width_deg: float, at: FloatArray, steps: FloatArray) -> FloatArray:
        """Score corrections: the sum over all edges over its spread if they fell anywhere.

        Args:
            width_deg: How wide edges of images are made.
            at: Shape (7,), about where.
            steps: Shape (g, 7), what is added to it; small, since they are taken to move edges in straight lines.

        Returns:
            Shape (g,).
        """
        sums = [values.sum(axis=0, dtype=np.int64) for values in self._values(width_deg, at, steps)]
        scores: FloatArray = np.concatenate(sums) / (SCALE * math.sqrt(max(self.count, 1)))
        return scores

    def block_scores(self, width_deg: float, at: FloatArray, steps: FloatArray) -> FloatArray:
        """Score corrections block by block: shape (g, 2 * BANDS); the scores are the sums over blocks."""
        order = np.argsort(self.blocks, kind="stable")
        there, first = np.unique(self.blocks[order], return_index=True)
        parts = []
        for values in self._values(width_deg, at, steps):
            sums = np.zeros((2 * BANDS, values.shape[1]))
            sums[there] = np.add.reduceat(values[order].astype(np.int64), first, axis=0)
            parts.append(sums.T)
        scores: FloatArray = np.concatenate(parts) / (SCALE * math.sqrt(max(self.count, 1)))
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

    def _values(self, width_deg: float, at: FloatArray, steps: FloatArray) -> Iterator[Array]:
        maps = self._map(width_deg)
        places, slopes = self._places(at)
        for some in np.array_split(steps, max(1, len(steps) * self.count // _AT_ONCE)):
            moved = np.tensordot(slopes, some.astype(np.float32), axes=(2, 1)) + places[:, :, None]
            column, row = np.rint(moved[:, 0]), np.rint(moved[:, 1])
            inside = (column >= 0) & (column < self._width) & (row >= 0) & (row < self._height)
            cells = np.where(inside, row * np.float32(self._width) + column, 0).astype(np.int64)
            cells += self._bases[:, None]
            yield np.where(inside, maps[cells], np.int8(0))

    def _map(self, width_deg: float) -> Array:
        """Return the maps of all images one after the other, each direction by itself."""
        if not self._maps:
            parts: dict[float, list[Array]] = {COARSE_DEG: [], FINE_DEG: []}
            for look in self.looks:
                strengths = edge_strengths(look.gray)
                for width, maps in parts.items():
                    maps.append(edge_maps(strengths, max(1.0, width / self.pixel_deg)))
            self._maps = {width: np.stack(maps).reshape(-1) for width, maps in parts.items()}
        return self._maps[width_deg]

    def _places(self, at: FloatArray) -> tuple[Array, Array]:
        """Return where edges fall, shape (k, 2), and how that changes with each number, shape (k, 2, 7)."""
        points = self.moved(at)
        look = self.looks[0]
        places = picture_places(points, look.model, look.scale)
        places[~is_ahead(*points.T)] = _NOWHERE
        step = 0.005 * np.sqrt((points * points).sum(axis=1, keepdims=True))
        by_axis = np.empty((len(points), 2, 3))
        for axis in range(3):
            there = np.zeros(3)
            there[axis] = 1.0
            there_and_back = (points + there * step, points - there * step)
            ahead, back = (picture_places(moved, look.model, look.scale) for moved in there_and_back)
            by_axis[:, :, axis] = (ahead - back) / (2 * step)
        moves = np.zeros((len(points), 3, NUMBERS))
        x, y, z = points.T
        moves[:, 0, 1], moves[:, 0, 2] = z, -y
        moves[:, 1, 0], moves[:, 1, 2] = -z, x
        moves[:, 2, 0], moves[:, 2, 1] = y, -x
        moves[:, 0, 3] = moves[:, 1, 4] = moves[:, 2, 5] = 1.0
        moves[:, :, 6] = -np.cross(self._turns, points) - self._velocities
        slopes = np.einsum("kij,kjl->kil", by_axis, moves)
        return places.astype(np.float32), slopes.astype(np.float32)


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
    at, size = start.copy(), first
    best = float(fit.scores(width_deg, at, np.zeros((1, NUMBERS)))[0])
    for _ in range(_MOST_ROUNDS):
        steps = patterns * (_FIRST_STEP * size)
        scores = fit.scores(width_deg, at, steps)
        top = int(scores.argmax())
        if scores[top] > best + 1e-9:
            at = at + steps[top]
            best = float(scores[top])
        else:
            size /= 2
            if size < least:
                break
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
