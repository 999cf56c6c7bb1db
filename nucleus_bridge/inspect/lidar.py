# SPDX-License-Identifier: Apache-2.0
"""What one lidar's clouds are like: layout, point times, intensity, points that are worth nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.config import LidarConfig
from nucleus_bridge.decode.pointcloud2 import decode_sweep
from nucleus_bridge.decode.points import any_value, coordinates
from nucleus_bridge.errors import CloudError, DecodeError
from nucleus_bridge.inspect.scan import Stream
from nucleus_bridge.model import Message, Sweep

_INTENSITY_NAMES = ("intensity", "reflectivity", "intensities", "i")
_OUSTER = {"reflectivity", "range"}
_RANGES = (1.0, 255.0, 4095.0, 65535.0)


@dataclass(frozen=True)
class LidarFacts:
    """What the first clouds of a topic show.

    Attributes:
        fields: Columns as ``name type``.
        points: Points a sweep, of all kinds.
        nan_share: Points that are not finite, 0..1.
        zero_share: Points at exactly (0, 0, 0), 0..1.
        farthest_m: Largest distance of a usable point.
        time_field: What ``time_field`` should be: ``auto`` or ``none``.
        timing: How points carry their times, in words.
        sweep_ms: Time between the first and the last point.
        after_stamp_ms: When the last point was taken, from the stamp.
        intensity_field: Column to take the intensity from, or ''.
        intensity_max: Value that stands for full intensity.
        intensity_seen: Smallest and largest value seen.
        intensity_reason: Why this field and maximum.
        problem: Why no cloud can be used; '' when they can.
        notes: What else a person should know.
    """

    fields: tuple[str, ...] = ()
    points: int = 0
    nan_share: float = 0.0
    zero_share: float = 0.0
    farthest_m: float = 0.0
    time_field: str = "auto"
    timing: str = "none"
    sweep_ms: float = 0.0
    after_stamp_ms: float = 0.0
    intensity_field: str = ""
    intensity_max: float = 255.0
    intensity_seen: tuple[float, float] | None = None
    intensity_reason: str = ""
    problem: str = ""
    notes: tuple[str, ...] = ()


def lidar_facts(stream: Stream) -> LidarFacts:
    """Look at the first clouds of a topic."""
    sweeps: list[Sweep] = []
    time_field, problem, note = "auto", "no messages were read", ""
    for message in stream.first:
        try:
            sweep, time_field, note = _decode(message, time_field, note)
            sweeps.append(sweep)
        except DecodeError as error:
            problem = str(error)
    if not sweeps:
        return LidarFacts(problem=problem)
    # A layout that changes on the way is no reason to fail: the first one speaks for the topic.
    sweeps = [sweep for sweep in sweeps if sweep.points.dtype == sweeps[0].points.dtype]
    points = np.concatenate([sweep.points for sweep in sweeps])
    with any_value():
        xyz = coordinates(points).astype(np.float64)
        finite = np.isfinite(xyz).all(axis=1)
        zero = (xyz == 0).all(axis=1)
        good = finite & ~zero
        farthest = float(np.sqrt((xyz[good] ** 2).sum(axis=1)).max()) if good.any() else 0.0
    intensity = _intensity(points, good)
    last = sweeps[-1]
    names = points.dtype.names or ()
    return LidarFacts(
        fields=tuple(f"{name} {points.dtype[name].name}" for name in names),
        points=len(points) // len(sweeps),
        nan_share=float(1 - finite.mean()),
        zero_share=float(zero.mean()),
        farthest_m=farthest,
        time_field=time_field,
        timing=_timing(last),
        sweep_ms=max((sweep.last_ns - sweep.first_ns) / 1e6 for sweep in sweeps),
        after_stamp_ms=(last.last_ns - last.stamp_ns) / 1e6,
        problem="" if good.any() else "every point is NaN or at the origin",
        notes=(note,) if note else (),
        intensity_field=intensity.field,
        intensity_max=intensity.full,
        intensity_seen=intensity.seen,
        intensity_reason=intensity.reason,
    )


def _decode(message: Message, time_field: str, note: str) -> tuple[Sweep, str, str]:
    """Decode with point times where they make sense, else without."""
    try:
        config = LidarConfig("inspect", message.topic, intensity_field="", time_field=time_field)
        return decode_sweep(message, config), time_field, note
    except CloudError as error:
        if error.cause != "point_time":
            raise
        config = LidarConfig("inspect", message.topic, intensity_field="", time_field="none")
        return decode_sweep(message, config), "none", f"point times cannot be used: {error}"


def _timing(sweep: Sweep) -> str:
    if sweep.time_field is None:
        return "none: points have no time of their own, so they cannot be deskewed"
    unit = {1.0: "ns", 1e9: "s"}.get(sweep.time_unit_ns, f"{sweep.time_unit_ns:g} ns")
    kind = "from the stamp" if sweep.time_is_relative else "absolute"
    first, last = ((ns - sweep.stamp_ns) / 1e6 for ns in (sweep.first_ns, sweep.last_ns))
    return f"{sweep.time_field}, {unit} {kind}; {first:+.1f} to {last:+.1f} ms around the stamp"


class _Intensity(NamedTuple):
    field: str
    full: float
    seen: tuple[float, float] | None
    reason: str


def _intensity(points: NDArray[np.void], good: NDArray[np.bool_]) -> _Intensity:
    names = points.dtype.names or ()
    there = [name for name in _INTENSITY_NAMES if name in names]
    if not there:
        return _Intensity("", 255.0, None, "no field looks like an intensity")
    chosen, why = there[0], "the usual name"
    if set(names) >= _OUSTER and "intensity" in names:
        chosen, why = "reflectivity", "an Ouster: reflectivity is calibrated, intensity is a photon count"
    values = points[chosen][good].astype(np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return _Intensity(chosen, 255.0, None, f"{why}; no finite value was seen")
    low, high = float(values.min()), float(values.max())
    kind = points.dtype[chosen]
    full = next((r for r in _RANGES if high <= r), high)
    if kind == np.uint8 or (kind.kind in "ui" and high <= 1.0):
        full = 255.0
    reason = f"{why}; {low:g} to {high:g} seen, so {full:g} is full"
    return _Intensity(chosen, full, (low, high), reason)
