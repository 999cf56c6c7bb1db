# SPDX-License-Identifier: Apache-2.0
"""A device that stands in the scenes while fixes drive is told from one whose receiver is only noisy."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nucleus_bridge.decode.navsat import Fix
from nucleus_bridge.pipeline.ground_motion import GroundMotion

METRES_A_DEGREE = 111_132.0
START_NS = 1_650_000_000_000_000_000


def fix_at(seconds: float, east: float, north: float, latitude: float = 1.0) -> Fix:
    """Near the equator, where a degree is as long either way, to a part in 100."""
    stamp_ns = START_NS + round(seconds * 1e9)
    return Fix(stamp_ns, latitude + north / METRES_A_DEGREE, 20.0 + east / METRES_A_DEGREE, 40.0)


def seen(places: np.ndarray, rate: float, share: float, noise_m: float = 0.0, seed: int = 5) -> GroundMotion:
    """Fixes at places, and a device in the scenes that goes a share of the way."""
    motion, random = GroundMotion(), np.random.default_rng(seed)
    for number, (east, north) in enumerate(places.tolist()):
        off_east, off_north = random.normal(0.0, noise_m, 2) if noise_m else (0.0, 0.0)
        motion.add(fix_at(number / rate, east + off_east, north + off_north), (share * east, share * north, 0.0))
    return motion


def bend(metres: float, count: int) -> np.ndarray:
    turn = np.linspace(0.0, 1.1, count)
    return metres / 1.1 * np.stack((np.sin(turn), 1.0 - np.cos(turn)), axis=1)


@pytest.mark.parametrize(("metres", "seconds", "rate"), [(9.0, 3.0, 10.0), (60.0, 9.0, 1.0), (400.0, 40.0, 5.0)])
def test_a_device_that_stands_while_fixes_drive_is_found_with_the_way(
    metres: float, seconds: float, rate: float
) -> None:
    motion = seen(bend(metres, round(seconds * rate) + 1), rate, share=0.0)
    assert motion.stands
    assert motion.stood_m == pytest.approx(metres, rel=0.15)


def test_noise_beside_the_drive_does_not_hide_it() -> None:
    assert seen(bend(90.0, 61), 5.0, share=0.0, noise_m=0.15).stands


@pytest.mark.parametrize("share", [0.97, 1.0, 0.3])
def test_a_device_that_moves_with_the_fixes_is_not(share: float) -> None:
    assert not seen(bend(80.0, 81), 8.0, share).stands


@pytest.mark.parametrize("noise_m", [0.3, 1.5, 4.0])
@pytest.mark.parametrize("rate", [1.0, 5.0])
def test_a_receiver_at_rest_is_no_drive_however_noisy(noise_m: float, rate: float) -> None:
    for seed in range(5):
        assert not seen(np.zeros((600, 2)), rate, 0.0, noise_m, seed).stands


def test_a_slow_drift_of_a_receiver_at_rest_is_no_drive() -> None:
    drift = np.stack((12.0 * np.sin(np.arange(900) * 0.01), np.zeros(900)), axis=1)
    assert not seen(drift, 2.0, 0.0).stands


def test_one_leap_is_no_drive() -> None:
    places = np.zeros((200, 2))
    places[90:120] = (35.0, 12.0)
    assert not seen(places, 5.0, 0.0).stands


def test_a_clock_that_steps_back_begins_anew() -> None:
    motion = seen(bend(30.0, 31), 5.0, share=0.0)
    way_m = motion.way_m
    for number in range(40):
        motion.add(fix_at(-500.0 + 0.2 * number, 0.0, 0.0), (0.0, 0.0, 0.0))
    assert motion.way_m == way_m
    assert math.isfinite(motion.stood_m)
