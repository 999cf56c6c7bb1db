# SPDX-License-Identifier: Apache-2.0
"""What a drive with events says of itself: the pressure of its brake, an operator's marks, a place on its way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.testing.demo import gnss
from nucleus_bridge.testing.demo.course import BRAKE_S, brakes_s, true_poses
from nucleus_bridge.testing.demo.options import DriveOptions

BRAKE_TOPIC, MARK_TOPIC = "/vehicle/brake", "/operator/marks"
BRAKE_HZ = 50
PRESSED_PA, RELEASED_PA = 4.0e6, 2.0e4
MARK_TEXT = "near miss"
PLACE_RADIUS_M = 12.0
_STEP_NS = 1_000_000


@dataclass(frozen=True)
class Span:
    """First and last stamp of something, ns."""

    begin_ns: int
    end_ns: int


def brake_stamps(options: DriveOptions) -> NDArray[np.int64]:
    """Return the stamps of the brake's messages."""
    count = round(options.seconds * BRAKE_HZ)
    return options.start_ns + np.arange(count, dtype=np.int64) * (1_000_000_000 // BRAKE_HZ)


def brakes(options: DriveOptions) -> list[Span]:
    """Return when the brake is pressed: from ``begin_ns`` to just before ``end_ns``."""
    begins = [options.start_ns + round(seconds * 1e9) for seconds in brakes_s(options)]
    return [Span(begin_ns, begin_ns + round(BRAKE_S * 1e9)) for begin_ns in begins]


def pressure_pa(options: DriveOptions, stamp_ns: int) -> float:
    """Return the pressure of the brake at a stamp."""
    is_pressed = any(span.begin_ns <= stamp_ns < span.end_ns for span in brakes(options))
    return PRESSED_PA if is_pressed else RELEASED_PA


def mark_stamps(options: DriveOptions) -> NDArray[np.int64]:
    """Return when the operator marks something: in the middle of the drive, and half a second before its end."""
    seconds = {round(options.seconds / 2, 3), round(max(0.0, options.seconds - 0.5), 3)}
    return options.start_ns + np.array([round(one * 1e9) for one in sorted(seconds)], dtype=np.int64)


def place(options: DriveOptions) -> tuple[float, float]:
    """Return latitude and longitude of a place that the antenna passes over, at two thirds of the drive."""
    moment = np.array([options.start_ns + round(options.seconds * 2e9 / 3)], dtype=np.int64)
    latitude, longitude, _ = gnss.geodetic((true_poses(options, moment) @ gnss.BASE_FROM_ANTENNA).translation)[0]
    return float(latitude), float(longitude)


def visits(options: DriveOptions) -> list[Span]:
    """Return when the antenna is within ``PLACE_RADIUS_M`` of the place, to a millisecond."""
    stamps = options.start_ns + np.arange(0, round(options.seconds * 1e9), _STEP_NS, dtype=np.int64)
    antenna = (true_poses(options, stamps) @ gnss.BASE_FROM_ANTENNA).translation
    moment = np.array([options.start_ns + round(options.seconds * 2e9 / 3)], dtype=np.int64)
    middle = (true_poses(options, moment) @ gnss.BASE_FROM_ANTENNA).translation[0]
    inside = np.hypot(antenna[:, 0] - middle[0], antenna[:, 1] - middle[1]) <= PLACE_RADIUS_M
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(np.int8)))
    return [
        Span(int(stamps[begin]), int(stamps[min(end, len(stamps) - 1)]))
        for begin, end in zip(edges[::2], edges[1::2], strict=True)
    ]
