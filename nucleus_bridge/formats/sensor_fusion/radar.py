# SPDX-License-Identifier: Apache-2.0
"""Radar detections of a sensor-fusion frame: one list for all radars, each rounded."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from nucleus_bridge.formats.content import SceneFrame
from nucleus_bridge.model import RadarPoints

RADAR_DECIMALS = 3


@dataclass(frozen=True)
class RadarPoint:
    """A detection: position and velocity over ground in the scene, metres and m/s, and strength in 0..1.

    All are rounded to three decimals; velocity and strength are None where they are not known.
    """

    position: Sequence[float]
    direction: Sequence[float] | None
    size: float | None


def radar_points(frame: SceneFrame) -> list[RadarPoint] | None:
    """Return the detections of all radars, None where no radar saw the frame."""
    if not frame.radars:
        return None
    return [point for radar in frame.radars for point in _points(radar)]


def read_radars(records: Any, radar: str, stamp_ns: int) -> tuple[RadarPoints, ...]:  # noqa: ANN401 - as it was parsed
    """Read a frame's list of detections, None where there is none; those that tell the same go together.

    Raises:
        KeyError: A number is missing; TypeError, ValueError: or something else.
    """
    if records is None:
        return ()
    groups = [list(group) for _, group in groupby(records, key=lambda point: ("direction" in point, "size" in point))]
    return tuple(_group(group, radar, stamp_ns) for group in groups or [[]])


def _points(radar: RadarPoints) -> Iterator[RadarPoint]:
    for number, position in enumerate(radar.position):
        yield RadarPoint(
            _rounded(position),
            None if radar.direction is None else _rounded(radar.direction[number]),
            None if radar.size is None else _rounded([radar.size[number]])[0],
        )


def _rounded(values: Sequence[float]) -> list[float]:
    rounded = [round(float(value), RADAR_DECIMALS) if math.isfinite(value) else float(value) for value in values]
    return [value + 0.0 for value in rounded]  # + 0.0 turns -0.0 into 0.0


def _group(records: list[Any], radar: str, stamp_ns: int) -> RadarPoints:
    def vectors(key: str) -> Any:  # noqa: ANN401 - an array
        return np.array([[float(record[key][axis]) for axis in "xyz"] for record in records]).reshape(-1, 3)

    first = records[0] if records else {}
    return RadarPoints(
        radar,
        stamp_ns,
        "",
        vectors("position"),
        vectors("direction") if "direction" in first else None,
        np.array([float(record["size"]) for record in records]) if "size" in first else None,
    )
