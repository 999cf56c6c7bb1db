# SPDX-License-Identifier: Apache-2.0
"""A sweep to encode, and ways to encode it that take turns on one core: the least CPU time of each counts."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

KEYS = {"intensity": "i", "device": "d", "time_ns": "t", "is_ground": "is_ground"}

Columns = dict[str, NDArray[Any]]


def sweep(points: int) -> Columns:
    """Make one turn of a lidar with every column a point may have."""
    random = np.random.default_rng(7)
    azimuth = np.linspace(0, 2 * np.pi, points, endpoint=False)
    elevation = random.uniform(-0.25, 0.1, points)
    distance = np.minimum(3 + random.exponential(25, points), 180)
    level = distance * np.cos(elevation)
    return {
        "xyz": np.stack([level * np.cos(azimuth), level * np.sin(azimuth), distance * np.sin(elevation)], axis=1),
        "intensity": random.random(points).astype(np.float32),
        "device": random.integers(0, 2, points).astype(np.uint8),
        "time_ns": 1_700_000_000_100_000_000 + np.sort(random.integers(0, 10**8, points)),
        "is_ground": random.random(points) < 0.3,
    }


def few_and_all(columns: Columns) -> dict[str, Columns]:
    """Return the columns that every cloud has, and all of them, by the keys that they get."""
    return {
        "x y z i": {name: columns[name] for name in ("xyz", "intensity")},
        "x y z i d t is_ground": columns,
    }


def stay_on_one_core() -> None:
    """Keep this process on one core, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def least_cpu_s(ways: Mapping[str, Callable[[], Any]], rounds: int, runs: int = 1) -> dict[str, float]:
    """Return each way's CPU time, of its fastest run; with several runs a round, none starts cold."""
    best = dict.fromkeys(ways, float("inf"))
    gc.collect()
    gc.disable()  # else the objects of one way slow the others
    for _ in range(rounds):
        for name, way in ways.items():
            for _ in range(runs):
                start = time.process_time()
                way()
                best[name] = min(best[name], time.process_time() - start)
    gc.enable()
    return best
