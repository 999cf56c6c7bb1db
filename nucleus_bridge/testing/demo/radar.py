# SPDX-License-Identifier: Apache-2.0
"""The front radar: the poles ahead and a moving ghost that only it sees, with exact velocities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.testing.demo.course import map_from_base_at
from nucleus_bridge.testing.demo.options import DriveOptions
from nucleus_bridge.testing.demo.rigid import FloatArray, Pose, mounted
from nucleus_bridge.testing.demo.world import build_world

PERIOD_NS = 100_000_000
PHASE_NS = 13_100_000
TOPIC = "/radar/front/points"
FRAME_ID = "radar_front"
BASE_FROM_RADAR: Pose = mounted(3.4, 0.1, 0.25, pitch_deg=0.5, yaw_deg=2.0)
POLE_RCS, GHOST_RCS = -5.0, 12.0  # dBsm

_RANGE_M = 70.0
_HALF_VIEW = np.radians(60.0)
_HALF_STEP_S = 5e-4
_FIELDS = ("x", "y", "z", "vx", "vy", "vz", "vx_comp", "vy_comp", "vz_comp", "rcs")


@dataclass(frozen=True, eq=False)
class Detections:
    """What the radar truly sees, the ghost first: positions and velocities (k, 3) in the map, strengths (k,) in dB."""

    positions: FloatArray
    velocities: FloatArray
    rcs: FloatArray


def stamps_ns(options: DriveOptions) -> NDArray[np.int64]:
    """Return when the radar scans."""
    return options.start_ns + PHASE_NS + np.arange(options.ticks, dtype=np.int64) * PERIOD_NS


def map_from_radar(options: DriveOptions, seconds: float) -> Pose:
    """Return the radar's pose ``seconds`` after the start."""
    poses = map_from_base_at(np.array([seconds]), options) @ BASE_FROM_RADAR
    return Pose(poses.translation[0], poses.rotation_xyzw[0])


def detections(options: DriveOptions, index: int) -> Detections:
    """Return what scan ``index`` sees; the ghost is always 20 m ahead and moves at 5 m/s, its direction turning."""
    seconds = (PHASE_NS + index * PERIOD_NS) * 1e-9
    pose = map_from_radar(options, seconds)
    places = np.array([[pole.x, pole.y, 0.6] for pole in build_world(options.course).poles])
    local = pose.inverse().apply(places)
    away, bearing = np.hypot(local[:, 0], local[:, 1]), np.arctan2(local[:, 1], local[:, 0])
    seen = places[(away < _RANGE_M) & (np.abs(bearing) < _HALF_VIEW)]
    ghost = pose.apply(np.array([[20.0, 2.0, 0.3]]))
    velocity = np.array([[5.0 * np.cos(seconds), 5.0 * np.sin(seconds), 0.0]])
    return Detections(
        np.concatenate([ghost, seen]),
        np.concatenate([velocity, np.zeros_like(seen)]),
        np.concatenate([[GHOST_RCS], np.full(len(seen), POLE_RCS)]),
    )


def scan(options: DriveOptions, index: int) -> NDArray[np.void]:
    """Return scan ``index`` as (1, k) points in the radar's frame: velocities relative to it and over ground."""
    seconds = (PHASE_NS + index * PERIOD_NS) * 1e-9
    pose, found = map_from_radar(options, seconds), detections(options, index)
    ends = [map_from_radar(options, seconds + step).translation for step in (-_HALF_STEP_S, _HALF_STEP_S)]
    own = (ends[1] - ends[0]) / (2 * _HALF_STEP_S)
    turn = Pose(np.zeros(3), pose.inverse().rotation_xyzw)
    columns = np.column_stack(
        [
            pose.inverse().apply(found.positions),
            turn.apply(found.velocities - own),
            turn.apply(found.velocities),
            found.rcs,
        ]
    )
    dtype = np.dtype([(name, "<f4") for name in _FIELDS])
    points = np.empty((1, len(columns)), dtype)
    for number, name in enumerate(_FIELDS):
        points[name][0] = columns[:, number]
    return points
