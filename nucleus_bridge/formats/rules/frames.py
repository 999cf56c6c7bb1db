# SPDX-License-Identifier: Apache-2.0
"""The rules of frames: points, poses and stamps, each alone and one after another."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.formats.point_reading import POINT_RULES, PointTable
from nucleus_bridge.formats.rules.findings import Findings, Place, shown
from nucleus_bridge.formats.strict_json import components, integer

POSE_RULES = {
    "position-keys": "every position has numbers x, y and z and nothing else",
    "heading-keys": "every heading has numbers x, y, z and w and nothing else",
    "unit-quaternions": "every heading has length one",
    "coordinate-range": "every coordinate is below 100,000 m, where 32-bit floats still resolve a centimetre",
}
CLOUD_RULES = {
    "cloud-readable": "every point cloud file is a JSON object with a list of points",
    "cloud-keys": "a cloud has points, device_position, device_heading, device_gps_pose if known, timestamp, in order",
    "cloud-not-empty": "every cloud has points",
    **POINT_RULES,
    "intensity-range": "intensities are in 0..1",
    "point-times": "point times are integer nanoseconds within a minute of the cloud's timestamp",
    "gps-range": "a GPS pose has lat in -90..90, lon in -180..180 and bearing in 0..360, and nothing else",
    "timestamps": "clouds have integer timestamps, increasing, within a minute before the stamps in the manifest",
    "world-offset": "the first frame's device is where world_offset puts the origin",
}

COORDINATE_LIMIT_M = 1e5

_LENGTH_TOLERANCE = 1e-6
_GPS_RANGES = {"lat": (-90.0, 90.0), "lon": (-180.0, 180.0), "bearing": (0.0, 360.0)}
_MINUTE_NS = 60_000_000_000
_ORIGIN_TOLERANCE_M = 1e-5


@dataclass(frozen=True)
class Cloud:
    """What is compared between clouds; None where it is unusable."""

    place: Place
    points: int
    timestamp_ns: int | None
    device_position: Sequence[float] | None


def check_sequence(
    clouds: Sequence[Cloud], last_frame: int, manifest: Mapping[str, object], findings: Findings, step_ns: int = 1
) -> None:
    """Check stamps one after another, and the first and the last frame against the manifest.

    Args:
        clouds: What could be read, in the scene's order.
        last_frame: Index of the scene's last frame.
        manifest: The scene's manifest.
        findings: Where the outcome goes.
        step_ns: How coarse the clouds' stamps are.
    """
    _check_order(clouds, findings)
    for cloud in clouds:
        if cloud.place.frame == 0:
            _check_stamp(cloud, "first_stamp_ns", manifest, findings, step_ns)
            _check_origin(cloud, manifest, findings)
        if cloud.place.frame == last_frame:
            _check_stamp(cloud, "last_stamp_ns", manifest, findings, step_ns)


def check_points(
    points: PointTable,
    timestamp_ns: int | None,
    place: Place,
    findings: Findings,
    form_rules: Iterable[str] = tuple(POINT_RULES),
) -> None:
    """Check the points of a frame: their form by ``form_rules``, their values by the rules of clouds."""
    findings.expect("cloud-not-empty", place, holds=points.total > 0, text="there are no points")
    for rule in form_rules:
        fault = points.faults.get(rule)
        text = f"point {fault.point} {fault.text}{_and_more(fault.points)}" if fault else ""
        findings.expect(rule, place, holds=fault is None, text=text)
    columns = points.columns
    for key in "xyz":
        bad = ~(np.abs(columns[key]) < COORDINATE_LIMIT_M)
        _check_column("coordinate-range", points, key, bad, place, findings)
    if "i" in columns:
        bad = ~((columns["i"] >= 0.0) & (columns["i"] <= 1.0))
        _check_column("intensity-range", points, "i", bad, place, findings)
    if "t" in columns and timestamp_ns is not None:
        bad = ~(np.abs(columns["t"] - float(timestamp_ns)) <= _MINUTE_NS)
        _check_column("point-times", points, "t", bad, place, findings)


def _check_column(
    rule: str, points: PointTable, key: str, bad: NDArray[np.bool_], place: Place, findings: Findings
) -> None:
    rows = np.flatnonzero(bad)
    text = ""
    if len(rows):
        number, value = points.numbers[rows[0]], float(points.columns[key][rows[0]])
        text = f"point {number} has {key} = {value:.17g}{_and_more(len(rows))}"
    findings.expect(rule, place, holds=not len(rows), text=text)


def _and_more(points: int) -> str:
    return f", and so on in {points} points" if points > 1 else ""


def check_gps(value: object, place: Place, findings: Findings) -> None:
    """Check a GPSPose."""
    numbers = components(value, tuple(_GPS_RANGES))
    text = f"device_gps_pose is {shown(value)} without exactly the numbers lat, lon and bearing"
    findings.expect("gps-range", place, holds=numbers is not None, text=text)
    if numbers is None:
        return
    for (key, (lowest, highest)), number in zip(_GPS_RANGES.items(), numbers, strict=True):
        text = f"device_gps_pose.{key} is {number:g}, expected {lowest:g}..{highest:g}"
        findings.expect("gps-range", place, holds=lowest <= number <= highest, text=text)


def _check_order(clouds: Sequence[Cloud], findings: Findings) -> None:
    stamped = [(cloud.timestamp_ns, cloud.place) for cloud in clouds if cloud.timestamp_ns is not None]
    for (before_ns, _), (timestamp_ns, place) in pairwise(stamped):
        text = f"timestamp is {timestamp_ns}, the cloud before it has {before_ns}"
        findings.expect("timestamps", place, holds=timestamp_ns > before_ns, text=text)


def _check_stamp(cloud: Cloud, key: str, manifest: Mapping[str, object], findings: Findings, step_ns: int) -> None:
    """Compare with a frame's stamp: the cloud starts there, or before it where the stamp marks the sweep's end."""
    stamp_ns = integer(manifest.get(key))
    if stamp_ns is not None and cloud.timestamp_ns is not None:
        text = f"timestamp is {cloud.timestamp_ns}, {key} is {stamp_ns}"
        holds = -step_ns < stamp_ns - cloud.timestamp_ns <= _MINUTE_NS
        findings.expect("timestamps", cloud.place, holds=holds, text=text)


def _check_origin(cloud: Cloud, manifest: Mapping[str, object], findings: Findings) -> None:
    """Check the first frame; an offset of zero says that the world's own origin was kept."""
    offset = components(manifest.get("world_offset"), "xyz")
    position = cloud.device_position
    if offset is not None and any(offset) and position is not None:
        holds = all(abs(number) <= _ORIGIN_TOLERANCE_M for number in position)
        text = f"device_position is ({', '.join(f'{number:g}' for number in position)}) m, expected the origin"
        findings.expect("world-offset", cloud.place, holds=holds, text=text)


def check_position(name: str, value: object, place: Place, findings: Findings) -> list[float] | None:
    """Check a position, metres; returns x, y and z if they are numbers."""
    xyz = components(value, "xyz")
    text = f"{name} is {shown(value)} without exactly the numbers x, y and z"
    findings.expect("position-keys", place, holds=xyz is not None, text=text)
    if xyz is None:
        return None
    holds = all(abs(number) < COORDINATE_LIMIT_M for number in xyz)
    text = f"{name} is ({', '.join(f'{number:g}' for number in xyz)}) m"
    findings.expect("coordinate-range", place, holds=holds, text=text)
    return xyz


def check_heading(name: str, value: object, place: Place, findings: Findings) -> None:
    """Check a heading: a Hamilton quaternion of unit length."""
    xyzw = components(value, "xyzw")
    text = f"{name} is {shown(value)} without exactly the numbers x, y, z and w"
    findings.expect("heading-keys", place, holds=xyzw is not None, text=text)
    if xyzw is None:
        return
    length = math.hypot(*xyzw)
    text = f"{name} has length {length:.9g}"
    findings.expect("unit-quaternions", place, holds=abs(length - 1.0) <= _LENGTH_TOLERANCE, text=text)
