# SPDX-License-Identifier: Apache-2.0
"""How sharp the clouds of several sweeps are together: how thick walls and poles become in the world.

What stands still is as thick as it is, and as the noise of the ranges makes it, where point times and poses are right.
Else each sweep puts it elsewhere. As in the mean map variance of J. Razlaw et al. (ECMR 2015), cells of the world are
looked at; here a cell's walls and poles are recognised within single sweeps, which no pose can blur, and only then
measured over all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.geometry import quaternion, transforms
from nucleus_bridge.model import FloatArray, IntArray, Trajectory

CELL_M = 1.0
LEAST_SWEEPS = 3
_LEAST_POINTS = 6
_FLAT_M, _WIDE_M = 0.06, 0.12  # of a wall: across, and along
_SLIM_M, _TALL_M = 0.15, 0.2  # of a pole
_UPRIGHT, _LEVEL = 0.9, 0.4  # cosines with the vertical: of a pole at least, of a wall's normal at most
_FEWEST_CELLS = 5
_BLURS_M, _BLURS_SHARE = 0.005, 0.1
_FARTHEST_M = 1e5


@dataclass(frozen=True)
class Sharpness:
    """How thick things are, metres: the median over cells, one standard deviation; None where there are too few.

    Attributes:
        walls_m: Of walls.
        poles_m: Of poles.
        walls: Cells with a wall.
        poles: Cells with a pole.
    """

    walls_m: float | None
    poles_m: float | None
    walls: int
    poles: int


def sharpness(sweeps: Sequence[NDArray[np.floating]]) -> Sharpness:
    """Measure how sharp sweeps, each of shape (n, 3), are together in one frame whose z points up."""
    points = np.concatenate([*(np.asarray(sweep, np.float64) for sweep in sweeps), np.empty((0, 3))])
    numbers = np.repeat(np.arange(len(sweeps)), [len(sweep) for sweep in sweeps])
    usable = (np.abs(points) < _FARTHEST_M).all(axis=1)
    points, numbers = points[usable], numbers[usable]
    if not len(points):
        return Sharpness(None, None, 0, 0)
    cells = _Cells(points, numbers)
    values, vectors = np.linalg.eigh(cells.within)
    spreads = np.sqrt(np.maximum(values, 0.0))
    normal, axis = vectors[:, :, 0], vectors[:, :, 2]
    is_wall = (spreads[:, 0] < _FLAT_M) & (spreads[:, 1] > _WIDE_M) & (np.abs(normal[:, 2]) < _LEVEL)
    is_pole = (spreads[:, 1] < _SLIM_M) & (spreads[:, 2] > _TALL_M) & (np.abs(axis[:, 2]) > _UPRIGHT)
    across = np.einsum("ki,kij,kj->k", normal, cells.whole, normal)
    level = np.linalg.eigvalsh(cells.whole[:, :2, :2])[:, -1] if len(cells.whole) else across
    return Sharpness(
        _median(across[is_wall]), _median(level[is_pole]), int(is_wall.sum()), int((is_pole & ~is_wall).sum())
    )


def _median(squares: FloatArray) -> float | None:
    return float(np.sqrt(np.median(np.maximum(squares, 0.0)))) if len(squares) >= _FEWEST_CELLS else None


class _Cells:
    """Scatter of the points in each cell that several sweeps hit.

    Attributes:
        within: Shape (k, 3, 3), about the mean of each sweep.
        whole: Shape (k, 3, 3), about the mean of all.
    """

    def __init__(self, points: FloatArray, numbers: IntArray) -> None:
        self.within: FloatArray = np.zeros((0, 3, 3))
        self.whole: FloatArray = np.zeros((0, 3, 3))
        places = np.floor(points / CELL_M).astype(np.int64)
        places -= places.min(axis=0)
        size = places.max(axis=0) + 1
        key = ((places[:, 0] * size[1] + places[:, 1]) * size[2] + places[:, 2]) * (int(numbers.max()) + 1) + numbers
        order = np.argsort(key, kind="stable")
        key, points = key[order], points[order]
        first = np.flatnonzero(np.append(True, key[1:] != key[:-1]))
        counts = np.diff(np.append(first, len(key)))
        local = points - (np.floor(points / CELL_M) + 0.5) * CELL_M
        sums = np.add.reduceat(local, first)
        squares = np.add.reduceat(local[:, :, None] * local[:, None, :], first)
        enough = counts >= _LEAST_POINTS
        cell, counts, sums, squares = (
            key[first[enough]] // (int(numbers.max()) + 1),
            counts[enough],
            sums[enough],
            squares[enough],
        )
        starts = np.flatnonzero(np.append(True, cell[1:] != cell[:-1])) if len(cell) else np.zeros(0, np.int64)
        sweeps = np.diff(np.append(starts, len(cell)))
        means = sums / counts[:, None]
        if not len(starts):
            return
        scatter = squares - counts[:, None, None] * means[:, :, None] * means[:, None, :]
        total = np.add.reduceat(counts, starts)[:, None, None]
        middle = np.add.reduceat(sums, starts) / total[:, :, 0]
        whole = np.add.reduceat(squares, starts) / total - middle[:, :, None] * middle[:, None, :]
        several = sweeps >= LEAST_SWEEPS
        self.within = (np.add.reduceat(scatter, starts) / total)[several]
        self.whole = whole[several]


def moved_to_own_time(
    points: FloatArray, time_ns: IntArray, stamp_ns: int, poses: Trajectory, *, back: bool
) -> FloatArray:
    """Deskew points that were placed with one pose, or with ``back`` undo it.

    Args:
        points: Shape (n, 3), in the frame of the poses.
        time_ns: Shape (n,), when each was measured; within the poses.
        stamp_ns: Of the one pose.
        poses: Of what carries the lidar.
        back: Take points that were moved by the pose at their own time to where the one pose puts them.

    Raises:
        ExtrapolationError: A time lies outside of the poses.
    """
    there = transforms.interpolate(poses, np.append(time_ns, stamp_ns))
    own_at, own_turn = there.translations[:-1], there.rotations_xyzw[:-1]
    one_at, one_turn = there.translations[-1], there.rotations_xyzw[-1]
    from_at, from_turn, to_at, to_turn = (
        (own_at, own_turn, one_at, one_turn) if back else (one_at, one_turn, own_at, own_turn)
    )
    local = quaternion.rotate(quaternion.conjugate(from_turn), points - from_at)
    return quaternion.rotate(to_turn, local) + to_at


def blurs(deskewed: Sharpness, as_measured: Sharpness) -> bool:
    """Whether deskewing makes things thicker instead of thinner: point times or poses are wrong."""
    pairs = ((deskewed.walls_m, as_measured.walls_m), (deskewed.poles_m, as_measured.poles_m))
    known = [(one, other) for one, other in pairs if one is not None and other is not None]
    return any(one > other + _BLURS_M + _BLURS_SHARE * other for one, other in known)


@dataclass(frozen=True)
class DeskewEffect:
    """What deskewing does to the sharpness of several sweeps together.

    Attributes:
        frames: Sweeps that were measured.
        deskewed: With each point moved by the pose at its own time; None where that is not known.
        as_measured: With one pose a sweep; None where that is not known.
        blurs: Whether deskewing makes things thicker.
        why: Why something is not known, or ''.
    """

    frames: int
    deskewed: Sharpness | None
    as_measured: Sharpness | None
    blurs: bool
    why: str

    @property
    def words(self) -> str:
        """Describe it in words."""
        parts = []
        for one, name in ((self.deskewed, "deskewed"), (self.as_measured, "as measured")):
            thick = [] if one is None else [("walls", one.walls_m), ("poles", one.poles_m)]
            said = ", ".join(f"{what} {1000 * metres:.1f} mm" for what, metres in thick if metres is not None)
            parts += [f"{name}: {said}"] if said else []
        worse = ["deskewing makes things thicker: point times or poses are wrong"] if self.blurs else []
        return "; ".join([*parts, *worse, *([self.why] if self.why else [])]) or "no walls or poles"


def deskew_effect(
    deskewed: Sequence[NDArray[np.floating]], as_measured: Sequence[NDArray[np.floating]], why: str
) -> DeskewEffect:
    """Measure sweeps both ways; what is not known is empty, and ``why`` says why a comparison means nothing."""
    frames = max(len(deskewed), len(as_measured))
    if frames < LEAST_SWEEPS:
        few = "is 1 sweep to compare" if frames == 1 else f"are {frames} sweeps to compare"
        return DeskewEffect(frames, None, None, blurs=False, why=why or f"there {few}, which is too few")
    one, other = (sharpness(sweeps) if sweeps else None for sweeps in (deskewed, as_measured))
    worse = not why and one is not None and other is not None and blurs(one, other)
    return DeskewEffect(frames, one, other, blurs=worse, why=why)
