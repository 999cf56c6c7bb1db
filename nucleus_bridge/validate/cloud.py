# SPDX-License-Identifier: Apache-2.0
"""The rules of point cloud files: keys, ranges, poses and stamps, each alone and one after another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.errors import SceneError
from nucleus_bridge.validate.files import SceneFolder
from nucleus_bridge.validate.items import Item
from nucleus_bridge.validate.json import check_document, components, integer
from nucleus_bridge.validate.points import POINT_RULES, Points, read_cloud
from nucleus_bridge.validate.pose import COORDINATE_LIMIT_M, check_heading, check_position
from nucleus_bridge.validate.report import Findings, Place, shown

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

_KEYS = ("points", "device_position", "device_heading", "device_gps_pose", "timestamp")
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


def check_clouds(
    items: Sequence[Item], folder: SceneFolder, manifest: Mapping[str, object], findings: Findings
) -> int | None:
    """Check every point cloud of a scene; returns their number of points, None when one cannot be read."""
    total: int | None = 0
    clouds: list[Cloud] = []
    seen: set[str] = set()
    for item in items:
        if item.kind != "pointcloud" or item.url is None or item.url in seen:
            continue
        seen.add(item.url)
        cloud = _check_cloud(folder, item.file_place, findings) if item.url in folder.files else None
        total = None if cloud is None or total is None else total + cloud.points
        if cloud is not None:
            clouds.append(cloud)
    check_sequence(clouds, items[-1].frame if items else 0, manifest, findings)
    return total


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


def _check_cloud(folder: SceneFolder, place: Place, findings: Findings) -> Cloud | None:
    try:
        document, points = read_cloud(folder.read(place.file))
    except SceneError as error:
        findings.fail("cloud-readable", place, str(error))
        return None
    check_document(document, place, findings)
    record = document.value if isinstance(document.value, dict) else {}
    holds = isinstance(record.get("points"), list)
    text = "is not a JSON object with a list of points"
    if not findings.expect("cloud-readable", place, holds=holds, text=text):
        return None
    _check_keys(record, place, findings)
    timestamp_ns = integer(record.get("timestamp"))
    check_points(points, timestamp_ns, place, findings)
    check_heading("device_heading", record.get("device_heading"), place, findings)
    position = check_position("device_position", record.get("device_position"), place, findings)
    if "device_gps_pose" in record:
        check_gps(record["device_gps_pose"], place, findings)
    text = f"timestamp is {shown(record.get('timestamp'))}, expected integer nanoseconds"
    findings.expect("timestamps", place, holds=timestamp_ns is not None, text=text)
    return Cloud(place, points.total, timestamp_ns, position)


def _check_keys(record: Mapping[str, object], place: Place, findings: Findings) -> None:
    expected = [key for key in _KEYS if key != "device_gps_pose" or key in record]
    text = f"the keys are {', '.join(map(shown, list(record)[:8]))}, expected {', '.join(expected)}"
    findings.expect("cloud-keys", place, holds=list(record) == expected, text=text)


def check_points(
    points: Points,
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
    rule: str, points: Points, key: str, bad: NDArray[np.bool_], place: Place, findings: Findings
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
