# SPDX-License-Identifier: Apache-2.0
"""Steps of a position history that its motion does not explain: map corrections, resets, lost localisation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.model import FloatArray, IntArray


def unexplained_steps(stamps_ns: IntArray, positions: FloatArray, comparable: NDArray[np.bool_]) -> FloatArray:
    """Return for each pair of consecutive samples the part of its step that is no continued motion, in metres.

    The step of pair k is the least of: its length; its distance from what the velocity over pair k-1 predicts; and its
    distance from what the velocity over pair k-2 predicts, where that one counts only as far as pair k-2 was explained
    itself. The last keeps a jump during fast motion from being reported again on the pair after it, whose predecessor's
    velocity is the jump's. The first pair has nothing to be judged by and counts as explained.

    Args:
        stamps_ns: Shape (m,), ascending.
        positions: Shape (m, 3), metres.
        comparable: Shape (m - 1,), whether both samples of a pair are positions in the same frame.

    Returns:
        Shape (m - 1,), metres, never negative.
    """
    steps = np.diff(positions, axis=0)
    seconds = np.diff(stamps_ns) * 1e-9
    by_last = np.minimum(_length(steps), _distance_from_velocity(steps, seconds, lag=1))
    by_older = _distance_from_velocity(steps, seconds, lag=2)
    by_older[2:] = np.maximum(by_older[2:], by_last[:-2])
    unexplained: FloatArray = np.minimum(by_last, by_older)
    unexplained[~comparable] = 0.0
    has_predecessor = np.concatenate(([False], comparable[:-1]))
    unexplained[~has_predecessor] = 0.0
    return unexplained


def _distance_from_velocity(steps: FloatArray, seconds: FloatArray, *, lag: int) -> FloatArray:
    """Return how far each step is from the one predicted by the velocity ``lag`` pairs before; infinite without one."""
    distance = np.full(len(steps), np.inf)
    if len(steps) > lag:
        moving = seconds[:-lag] > 0.0
        ratio = seconds[lag:] / np.where(moving, seconds[:-lag], 1.0)
        distance[lag:] = np.where(moving, _length(steps[lag:] - steps[:-lag] * ratio[:, None]), np.inf)
    return distance


def _length(vectors: FloatArray) -> FloatArray:
    x, y, z = vectors[:, 0], vectors[:, 1], vectors[:, 2]
    length: FloatArray = np.sqrt(x * x + y * y + z * z)
    return length
