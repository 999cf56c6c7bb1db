# SPDX-License-Identifier: Apache-2.0
"""What the clouds of a topic show: layout, points, times, intensity, and whether they are a radar's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.config import LidarConfig
from nucleus_bridge.decode import registry
from nucleus_bridge.decode.cdr import deserialise
from nucleus_bridge.decode.interface import Interface, Kind
from nucleus_bridge.decode.point_time import find_time_field
from nucleus_bridge.decode.pointcloud2 import POINTCLOUD2
from nucleus_bridge.decode.points import any_value, coordinates, usable
from nucleus_bridge.decode.radar import COMPENSATED, RADIAL, RELATIVE
from nucleus_bridge.errors import CloudError, DecodeError, MissingExtraError
from nucleus_bridge.inspect.point_times import NO_TIMES, UNITS_NS, Column, PointTimes, Times, judge_times
from nucleus_bridge.inspect.scan import Stream
from nucleus_bridge.inspect.turning import is_whole, turns_a_period
from nucleus_bridge.model import FloatArray, Message, RadarScan, Sweep

_INTENSITY_NAMES = ("intensity", "reflectivity", "intensities", "i")
_OUSTER = {"reflectivity", "range"}
_RANGES = (1.0, 255.0, 4095.0, 65535.0)
_LOOKED_AT, _TIMED, _TURNED = 5, 8, 3
_RADAR_STRENGTH = ("rcs", "RCS", "amplitude", "power", "snr", "SNR")
_VELOCITIES = {name for triple in (*COMPENSATED, *RELATIVE) for name in triple[:2]} | set(RADIAL)
_RINGS = ("ring", "channel", "line", "laser_id")
_NO_TIMES_IN = {"x", "y", "z", "rgb", "rgba", *_INTENSITY_NAMES, *_RINGS}
_NEAR_PERIODS = 2.5
_MOST_RADAR_POINTS = 5_000
_STAMP_BYTES = slice(4, 12)


class Cloud(NamedTuple):
    """One decoded cloud: the message's log time, its stamp as published, and its points."""

    log_ns: int
    stamp_ns: int
    sweep: Sweep

    @property
    def points(self) -> NDArray[np.void]:
        """The structured points, shape (n,)."""
        return self.sweep.points


@dataclass(frozen=True)
class CloudFacts:
    """What the clouds of a topic show.

    Attributes:
        fields: Columns as ``name type``.
        points: Points a cloud, of all kinds.
        nan_share: Points that are not finite, 0..1.
        zero_share: Points at exactly (0, 0, 0), 0..1.
        farthest_m: Largest distance of a usable point.
        times: How points carry their times.
        intensity_field: Column to take the intensity from, or ''.
        intensity_max: Value that stands for full intensity.
        intensity_seen: Smallest and largest value seen.
        intensity_reason: Why this field and maximum.
        problem: Why no cloud can be used; '' when they can.
        notes: What else a person should know.
        is_radar: Whether its columns are those of a radar.
        clouds: Decoded clouds, spread over the recording; most are followed by their neighbours.
        scale: What their coordinates were multiplied with, since they are not metres.
    """

    fields: tuple[str, ...] = ()
    points: int = 0
    nan_share: float = 0.0
    zero_share: float = 0.0
    farthest_m: float = 0.0
    times: PointTimes = NO_TIMES
    intensity_field: str = ""
    intensity_max: float = 255.0
    intensity_seen: tuple[float, float] | None = None
    intensity_reason: str = ""
    problem: str = ""
    notes: tuple[str, ...] = ()
    is_radar: bool = False
    clouds: tuple[Cloud, ...] = ()
    scale: float = 1.0

    def scaled(self, factor: float) -> CloudFacts:
        """Return what the clouds show once their coordinates are multiplied."""
        clouds = tuple(cloud._replace(sweep=cloud.sweep.scaled(factor)) for cloud in self.clouds)
        return replace(self, clouds=clouds, scale=factor, farthest_m=factor * self.farthest_m)

    @cached_property
    def names(self) -> frozenset[str]:
        """Names of the columns."""
        return frozenset(field.rpartition(" ")[0] for field in self.fields)


def cloud_facts(stream: Stream, companions: Mapping[str, Message]) -> CloudFacts:
    """Look at the clouds of a topic.

    Args:
        stream: The topic.
        companions: Messages of topics that its decoder may need, by topic.
    """
    clouds, problem = _decoded(stream, companions)
    if not clouds:
        return CloudFacts(problem=problem)
    # A layout that changes on the way is not a reason to fail: the first one speaks for the topic.
    clouds = [cloud for cloud in clouds if cloud.points.dtype == clouds[0].points.dtype]
    points = np.concatenate([cloud.points for cloud in clouds[:_LOOKED_AT]])
    with any_value():
        xyz = coordinates(points).astype(np.float64)
        finite = np.isfinite(xyz).all(axis=1)
        zero = (xyz == 0).all(axis=1)
        good = finite & ~zero
        farthest = float(np.sqrt((xyz[good] ** 2).sum(axis=1)).max()) if good.any() else 0.0
    intensity = _intensity(points, good)
    names = points.dtype.names or ()
    typical = int(np.median([len(cloud.points) for cloud in clouds]))
    return CloudFacts(
        fields=tuple(f"{name} {points.dtype[name].name}" for name in names),
        points=typical,
        nan_share=float(1 - finite.mean()),
        zero_share=float(zero.mean()),
        farthest_m=farthest,
        times=_times(clouds, stream.period_ns),
        problem="" if good.any() else "every point is NaN or at the origin",
        notes=tuple(_layout_notes(stream.first[:1])),
        intensity_field=intensity.field,
        intensity_max=intensity.full,
        intensity_seen=intensity.seen,
        intensity_reason=intensity.reason,
        is_radar=is_radar(stream.name, names, typical),
        clouds=tuple(clouds),
    )


def is_radar(topic: str, names: Iterable[str], points: int) -> bool:
    """Tell a radar's cloud by its columns: few points, each with a velocity and how strongly it reflects.

    Lidars that measure velocities have far more points and no radar cross section. Where the columns leave it open
    the name decides.
    """
    columns = set(names)
    named = any("radar" in part for part in topic.lower().split("/"))
    moving, strong = bool(columns & _VELOCITIES), bool(columns & set(_RADAR_STRENGTH))
    if not moving and not strong:
        return named and "ring" not in columns
    if points > _MOST_RADAR_POINTS and not named:
        return False
    return named or (moving and strong) or (moving and not columns & {"ring", *_INTENSITY_NAMES})


def radar_problem(stream: Stream) -> tuple[str, int]:
    """Return why a radar's messages cannot be used ('' when they can) and the detections in a typical one."""
    problem, counts = "no messages were read", []
    for message in stream.first:
        try:
            counts += [len(s.xyz) for s in decoded(message, "radar", None) if isinstance(s, RadarScan)]
        except DecodeError as error:
            problem = str(error)
    return ("", int(np.median(counts))) if counts else (problem, 0)


def decoded(message: Message, kind: Kind, settings: Any) -> list[Any]:  # noqa: ANN401 - any settings class
    """Decode one message by what the registry has for its type.

    Raises:
        DecodeError: It cannot be used, or what reads it is not installed.
    """
    interface = registry.interface_of(message.type_name, kind)
    if interface is None:
        raise DecodeError(f"{message.type_name} is not read as {kind}", cause="wrong_type")
    try:
        return list(interface.decoder(settings).decode(message))
    except MissingExtraError as error:
        raise DecodeError(str(error), cause="missing_extra") from error


def with_stamp(message: Message, stamp_ns: int) -> Message:
    """Return a message that begins with a header, its stamp replaced."""
    order: Literal["little", "big"] = "little" if message.data[1] & 1 else "big"
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    stamp = seconds.to_bytes(4, order, signed=True) + nanoseconds.to_bytes(4, order)
    data = message.data[: _STAMP_BYTES.start] + stamp + message.data[_STAMP_BYTES.stop :]
    return replace(message, data=data)


def _decoded(stream: Stream, companions: Mapping[str, Message]) -> tuple[list[Cloud], str]:
    """Decode what was kept of a topic, without regard to point times; the log time stands for stamps never set."""
    config = LidarConfig("inspect", stream.name, intensity_field="", time_field="none")
    interface = registry.interface_of(stream.info.type_name, "cloud")
    if interface is not None and not interface.is_stateless:
        return _assembled(stream, interface, companions)
    clouds, problem = [], "no messages were read"
    kept = {id(message): message for message in (*stream.first, *stream.samples.messages)}
    for message in sorted(kept.values(), key=lambda m: m.log_ns):
        try:
            try:
                sweeps = decoded(message, "cloud", config)
            except CloudError as error:
                if error.cause != "zero_stamp":
                    raise
                sweeps = decoded(with_stamp(message, message.log_ns), "cloud", config)
        except DecodeError as error:
            problem = str(error)
            continue
        clouds += [Cloud(message.log_ns, sweep.stamp_ns, sweep) for sweep in sweeps if isinstance(sweep, Sweep)]
    return clouds, problem


def _assembled(stream: Stream, interface: Interface, companions: Mapping[str, Message]) -> tuple[list[Cloud], str]:
    """Decode the first messages of a topic whose clouds need several, with what else their decoder needs."""
    clouds, problem = [], "no cloud is complete"
    config = LidarConfig("inspect", stream.name, intensity_field="")
    decoder = interface.decoder(config)
    beside = interface.companion.topic(config) if interface.companion is not None else ""
    for message in [*([companions[beside]] if beside in companions else []), *stream.first]:
        try:
            sweeps = list(decoder.decode(message))
        except DecodeError as error:
            problem = str(error)
            continue
        clouds += [Cloud(message.log_ns, sweep.stamp_ns, sweep) for sweep in sweeps if isinstance(sweep, Sweep)]
    if stream.first and len(stream.first) == stream.info.count:
        rest = [sweep for sweep in decoder.flush() if isinstance(sweep, Sweep)]
        clouds += [Cloud(stream.first[-1].log_ns, sweep.stamp_ns, sweep) for sweep in rest]
    if clouds and not stream.has_stamps:
        stream.frames[clouds[0].sweep.frame_id] = len(clouds)
        stream.made = (
            np.array([cloud.stamp_ns for cloud in clouds], np.int64),
            np.array([cloud.log_ns for cloud in clouds], np.int64),
        )
    return clouds, problem


def usable_points(cloud: Cloud) -> tuple[FloatArray, NDArray[np.int64]]:
    """Return the coordinates of the usable points, float64 shape (n, 3), and their rows."""
    with any_value():
        xyz = coordinates(cloud.points)
        rows = np.flatnonzero(usable(xyz))
        return xyz[rows].astype(np.float64), rows


def _times(clouds: list[Cloud], period_ns: float) -> PointTimes:
    names = clouds[0].points.dtype.names or ()
    picked = clouds[:: max(1, len(clouds) // _TIMED)]
    field = find_time_field(names, "auto")
    if field is None:
        others = [name for name in names if name not in _NO_TIMES_IN]
        found = (_times_in(name, picked, period_ns) for name in others)
        return next((times for times in found if times.is_good and _is_proven(times, picked, period_ns)), NO_TIMES)
    times = _times_in(field, picked, period_ns)
    turns = _turns(times, picked, period_ns) if times.is_good else None
    return times if turns is None or is_whole(turns) else replace(times, verdict=Times.NO_UNIT)


def _times_in(field: str, clouds: list[Cloud], period_ns: float) -> PointTimes:
    """Judge a column as times of points."""
    columns = []
    for cloud in clouds:
        _, rows = usable_points(cloud)
        with any_value():
            values = cloud.points[field][rows].astype(np.float64)
        columns.append(Column(cloud.stamp_ns, values[np.isfinite(values)]))
    return judge_times(field, clouds[0].points.dtype[field], columns, period_ns)


def _is_proven(times: PointTimes, clouds: list[Cloud], period_ns: float) -> bool:
    """Whether a column whose name tells nothing holds times: the lidar turns by them, or they lie at the stamps."""
    if times.is_absolute and abs(times.first_ms) + abs(times.last_ms) < _NEAR_PERIODS * period_ns / 1e6:
        return True
    turns = _turns(times, clouds, period_ns)
    return turns is not None and is_whole(turns)


def _turns(times: PointTimes, clouds: list[Cloud], period_ns: float) -> float | None:
    """Return how often the lidar turns in a period by the times of its points, the median of some clouds."""
    found = []
    for cloud in clouds[:_TURNED]:
        xyz, rows = usable_points(cloud)
        names = cloud.points.dtype.names or ()
        ring_field = next((name for name in _RINGS if name in names), None)
        ring = cloud.points[ring_field][rows].astype(np.int64) if ring_field else np.zeros(len(rows), np.int64)
        with any_value():
            seconds = cloud.points[times.field][rows].astype(np.float64) * UNITS_NS[times.unit] / 1e9
        finite = np.isfinite(seconds)
        if not finite.any():
            continue
        low, high = np.percentile(seconds[finite], (3, 97))
        good = finite & (seconds >= 2 * low - high) & (seconds <= 2 * high - low)
        azimuth = np.arctan2(xyz[good, 1], xyz[good, 0])
        found.append(turns_a_period(azimuth, seconds[good], ring[good], period_ns / 1e9))
    known = [turns for turns in found if turns is not None]
    return float(np.median(known)) if 2 * len(known) > len(found) else None


def _layout_notes(messages: Iterable[Message]) -> Iterable[str]:
    """Say where a PointCloud2's header contradicts data that can be read all the same."""
    for message in messages:
        if message.type_name != POINTCLOUD2:
            continue
        try:
            cloud = deserialise(message, POINTCLOUD2)
        except DecodeError:
            continue
        tight = cloud.width * cloud.point_step
        wanted = cloud.height * cloud.row_step
        if len(cloud.data) > wanted >= cloud.height * tight > 0:
            yield f"{len(cloud.data) - wanted} bytes after the last point are ignored"
        elif cloud.row_step < tight and len(cloud.data) >= cloud.height * tight > 0:
            yield f"row_step is {cloud.row_step}, but a row takes {tight} bytes; it is ignored"


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
