# SPDX-License-Identifier: Apache-2.0
"""Whether the device stands in the scenes while fixes say that it drives; a warning's evidence, it decides nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nucleus_bridge.decode.navsat import Fix
from nucleus_bridge.pipeline.globe import MIN_SPEED_M_S, ground_step

Place = tuple[float, float, float]

_APART_NS, _LONGEST_NS = 300_000_000, 60_000_000_000
_STEADY = math.cos(math.radians(45.0))
_LEAST_STEPS, _LEAST_WAY_M = 5, 5.0
"""Noise of a receiver at rest goes to and fro: so many steps that all lead on, over such a way, are a drive. White
noise of 2 m does so once in 200,000 steps; a drive takes a part of its time."""
_LEAST_SHARE = 0.01
_STANDS = 0.1
"""A device that goes less than this share of the way stands."""


@dataclass
class _Run:
    """Steps between fixes that lead on in one direction, or round a bend."""

    steps: int = 0
    way_m: float = 0.0
    moved_m: float = 0.0
    span_ns: int = 0
    direction: tuple[float, float] = (0.0, 0.0)


class GroundMotion:
    """Takes fixes, each with the place of the device in the scenes at about its stamp, in the order of frames.

    Attributes:
        way_m: How far fixes move in all.
        stood_m: How far of that while the device in the scenes stands.
    """

    def __init__(self) -> None:
        self.way_m = 0.0
        self.stood_m = 0.0
        self._stood_ns = self._seen_ns = 0
        self._last: tuple[Fix, Place] | None = None
        self._run = _Run()

    @property
    def stands(self) -> bool:
        """Whether the device of the scenes stands where fixes move."""
        is_most = 2.0 * self.stood_m > self.way_m
        return is_most and self.stood_m >= _LEAST_WAY_M and self._stood_ns >= _LEAST_SHARE * self._seen_ns

    def add(self, fix: Fix, place: Place) -> None:
        """Take a fix and where the device is at its time."""
        if self._last is None:
            self._last = fix, place
            return
        before, was_at = self._last
        since_ns = fix.stamp_ns - before.stamp_ns
        if 0 <= since_ns < _APART_NS:
            return
        self._last = fix, place
        if not 0 < since_ns <= _LONGEST_NS:
            self._run = _Run()
            return
        self._seen_ns += since_ns
        east, north = ground_step(before, fix)
        way_m = math.hypot(east, north)
        if way_m * 1e9 < MIN_SPEED_M_S * since_ns:
            self._run = _Run()
            return
        direction = east / way_m, north / way_m
        run = self._run
        if run.steps and direction[0] * run.direction[0] + direction[1] * run.direction[1] < _STEADY:
            run = _Run()
        longer = _Run(
            run.steps + 1,
            run.way_m + way_m,
            run.moved_m + math.dist(was_at, place),
            run.span_ns + since_ns,
            direction,
        )
        if _is_drive(longer):
            counted = run if _is_drive(run) else _Run()
            more_m = longer.way_m - counted.way_m
            self.way_m += more_m
            if longer.moved_m - counted.moved_m < _STANDS * more_m:
                self.stood_m += more_m
                self._stood_ns += longer.span_ns - counted.span_ns
        self._run = longer


def _is_drive(run: _Run) -> bool:
    return run.steps >= _LEAST_STEPS and run.way_m >= _LEAST_WAY_M
