# SPDX-License-Identifier: Apache-2.0
"""``metadata_builtin``: what the frames of a scene say of it; a pure function of their stamps, poses and fixes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timezone

from nucleus_bridge.config.schema import Scalar
from nucleus_bridge.model import Frame, GpsPose
from nucleus_bridge.pipeline.sun import is_day, sun_elevation_deg

METRE_DECIMALS = 3
DEGREE_DECIMALS = 3
PLACE_DECIMALS = 9
_NS_PER_S = 1_000_000_000


@dataclass(frozen=True)
class Passage:
    """What counts of one frame.

    Attributes:
        stamp_ns: Of the frame.
        posed_ns: When the device was at ``position``.
        position: In the world frame, metres.
        gps: Pose on the globe, or None.
    """

    stamp_ns: int
    posed_ns: int
    position: tuple[float, float, float]
    gps: GpsPose | None

    @classmethod
    def of(cls, frame: Frame) -> Passage:
        """Take from a frame what counts."""
        x, y, z = frame.world_from_device.translation.tolist()
        return cls(frame.stamp_ns, frame.timestamp_ns, (x, y, z), frame.gps)


class ToldByFrames:
    """Takes the frames of a scene in order; keeps sums alone."""

    def __init__(self) -> None:
        self._first: Passage | None = None
        self._last: Passage | None = None
        self._placed: Passage | None = None
        self._distance_m = 0.0
        self._most_mps = 0.0

    def add(self, passage: Passage) -> None:
        """Take the next frame."""
        if self._last is not None:
            step_m = math.dist(self._last.position, passage.position)
            step_s = (passage.posed_ns - self._last.posed_ns) / _NS_PER_S
            self._distance_m += step_m
            if step_s > 0.0:
                self._most_mps = max(self._most_mps, step_m / step_s)
        self._first = self._first or passage
        self._last = passage
        if self._placed is None and passage.gps is not None:
            self._placed = passage

    def metadata(self) -> dict[str, Scalar]:
        """Return start, duration, distance and speeds; of the first frame with a fix also place, heading and sun."""
        if self._first is None or self._last is None:
            return {}
        duration_s = (self._last.stamp_ns - self._first.stamp_ns) / _NS_PER_S
        posed_s = (self._last.posed_ns - self._first.posed_ns) / _NS_PER_S
        told: dict[str, Scalar] = {
            "start": _utc(self._first.stamp_ns),
            "start_unix_s": self._first.stamp_ns / _NS_PER_S,
            "duration_s": duration_s,
            "distance_m": round(self._distance_m, METRE_DECIMALS),
        }
        if posed_s > 0.0:
            told["mean_speed_mps"] = round(self._distance_m / posed_s, METRE_DECIMALS)
            told["max_speed_mps"] = round(self._most_mps, METRE_DECIMALS)
        return {**told, **_of_place(self._placed)}


def _of_place(placed: Passage | None) -> dict[str, Scalar]:
    """Return where a frame was taken, where the device headed and how high the sun stood."""
    if placed is None or placed.gps is None:
        return {}
    gps = placed.gps
    elevation = sun_elevation_deg(gps.latitude, gps.longitude, placed.posed_ns)
    return {
        "lat": round(gps.latitude, PLACE_DECIMALS) + 0.0,
        "lon": round(gps.longitude, PLACE_DECIMALS) + 0.0,
        "heading_deg": round(gps.bearing, DEGREE_DECIMALS) % 360.0,
        "sun_elevation_deg": round(elevation, DEGREE_DECIMALS) + 0.0,
        "day_night": "day" if is_day(elevation) else "night",
    }


def _utc(stamp_ns: int) -> str:
    """Return a stamp in UTC, to the nanosecond."""
    seconds, nanoseconds = divmod(stamp_ns, _NS_PER_S)
    return f"{datetime.fromtimestamp(seconds, tz=timezone.utc):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"
