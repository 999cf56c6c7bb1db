# SPDX-License-Identifier: Apache-2.0
"""The road the demo vehicle drives: its pose as a smooth closed-form function of time.

A course is a closed curve z(u) = sum of c_k e^(iku) in the complex plane (east + i north). The vehicle stands at
``START_PHASE``, then u(t) speeds up along a smoothstep and goes on at an even rate: everything is at least three times
continuously differentiable. On no course it exceeds 15 m/s or 30 degrees a second; the town has each in another bend,
with little angular acceleration, so that transforms published at 200 Hz interpolate to the truth, the ring has both
all the time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.testing.demo.options import DriveOptions
from nucleus_bridge.testing.demo.rigid import FloatArray, Pose, from_roll_pitch_yaw

SPEED_UP_S = 3.5
BRAKE_EVERY_S, BRAKE_S, CRAWL_S, BRAKE_SHARE = 20.0, 1.5, 1.0, 0.7
"""With ``events``: it brakes every so many seconds over so many, to this share less, and goes on after so many."""
START_PHASE = np.radians(200.0)
BASE_HEIGHT_M = 0.35  # base_link is the middle of the rear axle


@dataclass(frozen=True)
class Course:
    """A closed road: a lap takes ``lap_s`` at full speed; ``coefficients`` by order, in units of ``size_m``."""

    lap_s: float
    size_m: float
    coefficients: dict[int, complex]


COURSES = {
    "town": Course(
        36.1,
        53.1,
        {
            1: 1.0,
            -1: -0.1965 + 0.3106j,
            2: 0.0590 + 0.0225j,
            -2: 0.0880 - 0.0329j,
            3: -0.1204 - 0.0592j,
            -3: 0.0213 + 0.0127j,
        },
    ),
    "ring": Course(12.0, 15.0 / np.radians(30.0), {1: 1.0}),
}


def centre(phase: FloatArray, course: str) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """Return position and derivative by phase of the driven line (east + i north, metres) at ``phase`` (k,)."""
    road = COURSES[course]
    position = np.zeros(phase.shape, np.complex128)
    derivative = np.zeros(phase.shape, np.complex128)
    for order, coefficient in road.coefficients.items():
        wave = road.size_m * coefficient * np.exp(1j * order * phase)
        position += wave
        derivative += 1j * order * wave
    return position, derivative


def phase_at(seconds: FloatArray, options: DriveOptions) -> FloatArray:
    """Return the phase on the course after ``seconds`` (k,)."""
    moving = seconds - options.standing_s
    driven = _ramp_integral(moving, SPEED_UP_S)
    for begin_s in brakes_s(options):
        released = begin_s + BRAKE_S + CRAWL_S
        slower = _ramp_integral(seconds - begin_s, BRAKE_S) - _ramp_integral(seconds - released, SPEED_UP_S)
        driven = driven - BRAKE_SHARE * slower
    phase: FloatArray = START_PHASE + 2 * np.pi / COURSES[options.course].lap_s * driven
    return phase


def brakes_s(options: DriveOptions) -> list[float]:
    """Return when the vehicle begins to brake, in seconds after the start of the drive; it does so for ``BRAKE_S``."""
    if not options.events:
        return []
    first_s = options.standing_s + SPEED_UP_S + 1.0
    return [float(begin_s) for begin_s in np.arange(first_s, options.seconds - BRAKE_S, BRAKE_EVERY_S)]


def _ramp_integral(seconds: FloatArray, length_s: float) -> FloatArray:
    """Return the integral of a smoothstep from 0 to 1 over ``length_s`` that begins at 0 and goes on at 1."""
    ramp = np.clip(seconds / length_s, 0.0, 1.0)
    integral: FloatArray = length_s * ramp**4 * (2.5 + ramp * (ramp - 3.0)) + np.maximum(seconds - length_s, 0.0)
    return integral


def true_pose(options: DriveOptions, stamp_ns: int) -> Pose:
    """Return map_from_base_link at any stamp: translation (3,) and rotation_xyzw (4,)."""
    poses = true_poses(options, np.array([stamp_ns], dtype=np.int64))
    return Pose(poses.translation[0], poses.rotation_xyzw[0])


def true_poses(options: DriveOptions, stamps_ns: NDArray[np.int64]) -> Pose:
    """Return map_from_base_link at ``stamps_ns`` (k,): translation (k, 3) and rotation_xyzw (k, 4)."""
    since_start_ns = np.asarray(stamps_ns, dtype=np.int64) - options.start_ns
    return map_from_base_at(since_start_ns.astype(np.float64) * 1e-9, options)


def map_from_base_at(seconds: FloatArray, options: DriveOptions) -> Pose:
    """Return the vehicle's poses ``seconds`` (k,) after the start of the drive: x forward, y left, z up."""
    phase = phase_at(seconds, options)
    position, tangent = centre(phase, options.course)
    height = BASE_HEIGHT_M + 0.02 * np.sin(9 * phase)
    roll = np.radians(1.2) * np.sin(7 * phase + 0.4)
    pitch = np.radians(0.8) * np.sin(11 * phase + 1.1)
    translation = np.stack([position.real, position.imag, height], axis=-1)
    return Pose(translation, from_roll_pitch_yaw(roll, pitch, np.arctan2(tangent.imag, tangent.real)))
