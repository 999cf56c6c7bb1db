# SPDX-License-Identifier: Apache-2.0
"""Transforms that no vehicle can make are named; vehicles that stop, corrections of an odometry and repeats are not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from bags import MS, START_NS

from nucleus_bridge.geometry import TransformTree
from nucleus_bridge.inspect.scan import Track
from nucleus_bridge.inspect.transforms import Transforms, transform_findings
from nucleus_bridge.warnings import Code

PERIOD = 25 * MS
SECONDS = np.arange(160) * PERIOD / 1e9


def named(xyz: np.ndarray, yaw: np.ndarray) -> str:
    """What is said of an edge with these poses."""
    track = Track("/tf", "odom", "base_link", static=False)
    for number, (place, angle) in enumerate(zip(xyz.tolist(), yaw.tolist(), strict=True)):
        at_ns = START_NS + number * PERIOD
        track.add(at_ns, at_ns + 3 * MS, tuple(place), (0.0, 0.0, math.sin(angle / 2), math.cos(angle / 2)))
    found = transform_findings(Transforms(TransformTree(), (track,), ("/tf",), ()), ["base_link"])
    return next((finding.text for finding in found if finding.code is Code.TF_IMPLAUSIBLE), "")


def named_after_a_step(xyz: np.ndarray, yaw: np.ndarray, back_s: float, without: slice = slice(0)) -> dict[Code, str]:
    """What is said of an edge whose clock is set back after 1 s; some samples do not come."""
    track = Track("/tf", "odom", "base_link", static=False)
    for number in np.delete(np.arange(len(xyz)), without).tolist():
        true_ns = START_NS + number * PERIOD
        at_ns = true_ns - (round(back_s * 1e9) if number * PERIOD > 1e9 else 0)
        half = float(yaw[number]) / 2
        place = tuple(xyz[number].tolist())
        track.add(at_ns, true_ns + 3 * MS, place, (0.0, 0.0, math.sin(half), math.cos(half)))
    found = transform_findings(Transforms(TransformTree(), (track,), ("/tf",), ()), ["base_link"])
    return {finding.code: finding.text for finding in found}


def drive(way: np.ndarray, radius: float = 45.0) -> tuple[np.ndarray, np.ndarray]:
    """Poses on a circle, this far along it."""
    yaw = way / radius
    return np.stack([radius * np.sin(yaw), radius * (1 - np.cos(yaw)), np.zeros_like(yaw)], axis=1), yaw


@pytest.mark.parametrize("speed", [0.4, 7.0, 38.0])
def test_a_vehicle_that_drives_is_not_named(speed: float) -> None:
    assert named(*drive(speed * SECONDS)) == ""


@pytest.mark.parametrize("speed", [3.0, 16.0])
def test_a_localisation_that_died_is_named(speed: float) -> None:
    text = named(*drive(speed * np.minimum(SECONDS, 1.7)))
    assert f"after {speed:.1f} m/s" in text
    assert "from 1.7 s on" in text


def test_a_vehicle_that_brakes_and_stands_is_not_named() -> None:
    way = np.where(SECONDS < 1.0, 8.0 * SECONDS, 8.0 + 4.0 * (1 - (1 - np.minimum(SECONDS - 1.0, 1.0)) ** 2))
    assert named(*drive(way)) == ""


def test_an_odometry_that_is_corrected_now_and_then_is_not_named() -> None:
    """As map -> odom of a localisation, sent again and again in between."""
    assert named(*drive(0.3 * np.floor(SECONDS / 1.1), radius=1e5)) == ""


def test_poses_that_are_sent_several_times_are_not_named() -> None:
    assert named(*drive(9.0 * np.floor(SECONDS * 4) / 4)) == ""


def test_positions_in_millimetres_are_named() -> None:
    xyz, yaw = drive(5.0 * SECONDS)
    assert "are its positions in metres?" in named(1000 * xyz, yaw)


def test_what_comes_after_a_step_of_the_clock_is_judged_too() -> None:
    xyz, yaw = drive(11.0 * SECONDS)
    assert named_after_a_step(xyz, yaw, 0.6) == {}
    died = named_after_a_step(*drive(11.0 * np.minimum(SECONDS, 2.5)), back_s=0.6)
    assert "after 11.0 m/s" in died[Code.TF_IMPLAUSIBLE]
    gap = named_after_a_step(xyz, yaw, 2.3, slice(70, 125))
    assert list(gap) == [Code.TF_GAP]
    assert "1 gap of up to 1.4 s" in gap[Code.TF_GAP]
    beside = xyz + np.where(np.arange(len(xyz)) % 2, 0.8, 0.0)[:, None] * [0.0, 1.0, 0.0]
    assert list(named_after_a_step(beside, yaw, 0.7)) == [Code.TF_CONFLICT]
