# SPDX-License-Identifier: Apache-2.0
"""Whether a camera's calibration agrees with its images, is suspect, or cannot be judged, and by which figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from nucleus_bridge.calibration.fit import COARSE_DEG, FINE_DEG, NUMBERS, ROTATION, SHIFT, TIME, Fit, climb, grid
from nucleus_bridge.model import FloatArray

Kind = Literal["rotation", "shift", "time", "mount"]

NOTHING = np.zeros(NUMBERS)
_RANGE_DEG, _GRID_DEG = 4.9, 0.35
_RANGE_M, _GRID_M = 0.6, 0.2
_RANGE_S, _GRID_S = 0.2, 0.02
_FREE: dict[Kind, tuple[int, ...]] = {"rotation": ROTATION, "shift": SHIFT, "time": TIME, "mount": (*ROTATION, *SHIFT)}
_SINGLE: tuple[Kind, ...] = ("rotation", "shift", "time")
_PEAK_DEG, _ASIDE_DEG = 1.6, 1.2

_TOLERATED = np.array([*[math.radians(0.35)] * 3, *[0.12] * 3, 0.02])
"""A smaller correction is not worth a word."""
_SERIOUS = np.array([*[math.radians(0.6)] * 3, *[0.2] * 3, 0.035])
"""Nor is one of which no number is larger than this."""
_UNIT = np.array([*[math.radians(1.0)] * 3, *[0.15] * 3, 0.05])
_UNIT_COST = 0.02  # of the score, for a correction of one unit: of two that fit as well the smaller one is meant
_MUCH_MORE = 0.12  # of the score: what makes up for three numbers more
_FARTHEST = (*[math.radians(3.0)] * 3, *[0.75] * 3, 0.15)
_SHARES = np.linspace(0.0, 1.0, 16)[1:]
"""How far off each number is tried, to say how far it may be off unseen."""
_NO_LOSS, _NO_LOSS_OF_GAIN = 0.02, 0.15  # of score and gain: what a number may be worth and still be left out

_LEAST_CLEAR = 10.0  # the peak over its surroundings, in their spread, broad and narrow edges together
_LEAST_EVEN = 2.8  # the peak in its own spread over blocks of the images
MOST_RIVAL = 0.85  # of the peak: the best score elsewhere
_LEAST_GAIN, _LEAST_SURE, _LEAST_BOTH, _LEAST_NOISE = 0.05, 1.5, 0.12, 0.7
_DOUBTFUL_GAIN = 0.15  # so much more elsewhere is not an agreement, however unsure it is


@dataclass(frozen=True, eq=False)
class Candidate:
    """A correction: its kind, its numbers, its score, and how that comes from each block of the images."""

    kind: Kind
    at: FloatArray
    blocks: FloatArray

    @property
    def score(self) -> float:
        """Return its score."""
        return float(self.blocks.sum())


@dataclass(frozen=True, eq=False)
class Measurement:
    """What the images of a camera say.

    Attributes:
        edges: Edges of the clouds that were compared.
        score: How well they fit as they are calibrated.
        best_score: How well they would fit with ``best``.
        clearness: How far the best score stands out, in the spread of scores elsewhere; 10 is enough.
        is_clear: Whether it stands out, alone and evenly over the images.
        rivals: Best score elsewhere as a share of the best one, by pitch and by yaw.
        gain: By how much ``best`` fits better than any correction that is too small to matter, as a share.
        sureness: That gain in its own spread over blocks of the images.
        is_off: Whether that is enough, and ``best`` large enough, to call the calibration wrong.
        is_doubtful: Whether it is not, though ``best`` is large enough and fits much better in some of the images.
        best: The simplest correction that fits best.
        within: For each number of a correction, how far it may be off unseen; None where nothing is seen.
    """

    edges: int
    score: float
    best_score: float
    clearness: float
    is_clear: bool
    rivals: tuple[float, float]
    gain: float
    sureness: float
    is_off: bool
    is_doubtful: bool
    best: Candidate
    within: tuple[float | None, ...]


def measure(fit: Fit, start: FloatArray = NOTHING) -> Measurement:
    """Score corrections of every kind around ``start``, what the calibration says, and weigh them."""
    around = _surroundings(fit, start)
    found = _corrections(fit, start, around.turn)
    now = _candidate(fit, "rotation", start)
    near = max([now, *(_within_tolerance(fit, start, kind) for kind in _SINGLE)], key=_score)
    best = _simplest(start, found)
    is_serious = bool((np.abs(best.at - start) > _SERIOUS).any())
    if is_serious:  # a peak at the edge of what was looked at has other surroundings than one in the middle
        around = _surroundings(fit, best.at)
    elsewhere = around.elsewhere
    clearness = around.clearness + _stands_out(best.score, elsewhere)
    rivals = around.rivals
    is_clear = clearness >= _LEAST_CLEAR and _in_spread(best.blocks) >= _LEAST_EVEN and min(rivals) <= MOST_RIVAL
    more = best.blocks - near.blocks
    gain = float(more.sum()) / max(best.score, 1e-6)
    sureness = _in_spread(more)
    noise = float(more.sum()) / max(_spread(elsewhere), 1e-6)
    is_off = (
        is_serious
        and gain >= _LEAST_GAIN
        and sureness >= _LEAST_SURE
        and gain * sureness >= _LEAST_BOTH
        and noise >= _LEAST_NOISE
    )
    is_doubtful = is_serious and not is_off and gain >= _DOUBTFUL_GAIN
    if is_off:
        best = _plainest(fit, start, now, _whole(fit, start, best, found))
    within = _within(fit, near, _spread(elsewhere))
    return Measurement(
        edges=fit.count,
        score=now.score,
        best_score=best.score,
        clearness=clearness,
        is_clear=is_clear,
        rivals=rivals,
        gain=gain,
        sureness=sureness,
        is_off=is_off,
        is_doubtful=is_doubtful,
        best=best,
        within=within,
    )


@dataclass(frozen=True, eq=False)
class _Surroundings:
    """Scores of turns around a correction.

    Attributes:
        turn: The best turn.
        clearness: How far its score stands out from those that are not near it, in their spread.
        rivals: Best score at another pitch and at another yaw, as shares of it.
        elsewhere: Scores of finer edges at some turns that are not near it.
    """

    turn: FloatArray
    clearness: float
    rivals: tuple[float, float]
    elsewhere: FloatArray


def _surroundings(fit: Fit, at: FloatArray) -> _Surroundings:
    angles = np.radians(np.arange(-_RANGE_DEG, _RANGE_DEG + 1e-6, _GRID_DEG))
    turns = grid({0: angles, 1: angles})
    table = fit.scores(COARSE_DEG, at, turns)
    top = int(table.argmax())
    aside = np.hypot(*(turns[:, :2] - turns[top, :2]).T) > math.radians(_PEAK_DEG)
    elsewhere = fit.scores(FINE_DEG, at, turns[np.flatnonzero(aside)[::3]])
    rivals = _rivals(table.reshape(len(angles), len(angles)), top)
    return _Surroundings(turns[top], _stands_out(float(table[top]), table[aside]), rivals, elsewhere)


def _score(one: Candidate) -> float:
    return one.score


def _candidate(fit: Fit, kind: Kind, at: FloatArray) -> Candidate:
    return Candidate(kind, at, fit.block_scores(FINE_DEG, at))


def _corrections(fit: Fit, start: FloatArray, turn: FloatArray) -> dict[Kind, Candidate]:
    """Find the best correction of each kind, from where it is and from the best place on a coarse grid."""
    sideways = np.arange(-_RANGE_M, _RANGE_M + 1e-6, _GRID_M)
    shifts = grid({3: sideways, 4: sideways})
    times = grid({6: np.arange(-_RANGE_S, _RANGE_S + 1e-6, _GRID_S)})
    rolls = np.radians(np.arange(-4.2, 4.21, 0.7))
    about = np.radians([-0.7, -0.35, 0.0, 0.35, 0.7])
    places = (NOTHING, turn) if turn.any() else (NOTHING,)
    rolled = np.concatenate([grid({0: about + at[0], 1: about + at[1], 2: rolls}) for at in places])
    roll = rolled[int(fit.scores(COARSE_DEG, start, rolled).argmax())]
    best: dict[Kind, Candidate] = {"rotation": _climbed(fit, "rotation", start, [NOTHING, turn, roll])}
    others: tuple[tuple[Kind, FloatArray], ...] = (("shift", shifts), ("time", times))
    for kind, steps in others:
        top = steps[int(fit.scores(COARSE_DEG, start, steps).argmax())]
        best[kind] = _climbed(fit, kind, start, [NOTHING, top])
    return best


def _climbed(fit: Fit, kind: Kind, start: FloatArray, offsets: Sequence[FloatArray]) -> Candidate:
    found = []
    for offset in {tuple(offset): offset for offset in offsets}.values():
        rough, _ = climb(fit, COARSE_DEG, start + offset, _FREE[kind], least=0.4)
        found.append(climb(fit, FINE_DEG, rough, _FREE[kind], first=0.5))
    return _candidate(fit, kind, max(found, key=lambda one: one[1])[0])


def _within_tolerance(fit: Fit, start: FloatArray, kind: Kind) -> Candidate:
    """Return the best correction of one kind that is too small to matter."""
    free = _FREE[kind]
    shares = np.linspace(-1, 1, 5 if len(free) > 1 else 9)
    steps = grid(dict.fromkeys(free, shares))
    steps = steps[np.sqrt((steps * steps).sum(axis=1)) <= 1.0 + 1e-6] * _TOLERATED
    return _candidate(fit, kind, start + steps[int(fit.scores(FINE_DEG, start, steps).argmax())])


def _simplest(start: FloatArray, found: dict[Kind, Candidate]) -> Candidate:
    """Choose the kind of correction that explains most, a small one before a large one."""

    def worth(one: Candidate) -> float:
        size = float(np.sqrt((((one.at - start) / _UNIT) ** 2).sum()))
        return one.score * (1.0 - _UNIT_COST * size)

    return max((found["rotation"], found["shift"], found["time"]), key=worth)


def _whole(fit: Fit, start: FloatArray, best: Candidate, found: dict[Kind, Candidate]) -> Candidate:
    """Turn and move a camera where that explains clearly more than either alone."""
    first = max((found["rotation"], found["shift"]), key=_score)
    mount = _climbed(fit, "mount", start, [first.at - start])
    more = mount.blocks - best.blocks
    return mount if more.sum() > _MUCH_MORE * mount.score and _in_spread(more) > 2.0 else best


def _plainest(fit: Fit, start: FloatArray, now: Candidate, best: Candidate) -> Candidate:
    """Leave out the numbers of a correction that explain nothing."""
    least = best.score - max(_NO_LOSS * best.score, _NO_LOSS_OF_GAIN * (best.score - now.score))
    for number in sorted(_FREE[best.kind], key=lambda number: abs(best.at[number] - start[number]) / _UNIT[number]):
        plainer = best.at.copy()
        plainer[number] = start[number]
        rest = [other for other in _FREE[best.kind] if plainer[other] != start[other]]
        if rest and plainer[number] != best.at[number]:
            plainer, _ = climb(fit, FINE_DEG, plainer, rest, first=0.25)
            other = _candidate(fit, best.kind, plainer)
            if other.score > least:
                best = other
    return best


def _within(fit: Fit, near: Candidate, noise: float) -> tuple[float | None, ...]:
    """Say how far each number may be off, the others left, until the score falls by more than chance."""
    least = near.score - max(0.1 * near.score, noise)
    ways = [(number, reach * sign) for number, reach in enumerate(_FARTHEST) for sign in (1.0, -1.0)]
    steps = np.concatenate([grid({number: reach * _SHARES}) for number, reach in ways])
    below = fit.scores(FINE_DEG, near.at, steps).reshape(NUMBERS, 2, len(_SHARES)) < least
    return tuple(
        float(reach * _SHARES[sides.argmax(axis=1).max()]) if bool(np.all(sides.any(axis=1))) else None
        for reach, sides in zip(_FARTHEST, below, strict=True)
    )


def _rivals(table: FloatArray, top: int) -> tuple[float, float]:
    """Return the best score at another pitch and at another yaw as shares of the best one."""
    places = divmod(top, table.shape[1])
    far = [np.abs(np.arange(table.shape[1]) - place) * _GRID_DEG > _ASIDE_DEG for place in places]
    peak = max(float(table.max()), 1e-6)
    return float(table[far[0]].max()) / peak, float(table[:, far[1]].max()) / peak


def _spread(scores: FloatArray) -> float:
    return 1.4826 * float(np.median(np.abs(scores - np.median(scores))))


def _stands_out(score: float, elsewhere: FloatArray) -> float:
    return (score - float(np.median(elsewhere))) / max(_spread(elsewhere), 1e-6)


def _in_spread(blocks: FloatArray) -> float:
    """Return a sum over blocks in units of its error as leaving out one block after the other shows it."""
    without = blocks.sum() - blocks
    error = math.sqrt((len(blocks) - 1) / len(blocks) * float(((without - without.mean()) ** 2).sum()))
    return float(blocks.sum()) / max(error, 1e-9)
