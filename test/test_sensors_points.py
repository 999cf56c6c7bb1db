# SPDX-License-Identifier: Apache-2.0
"""What becomes of points on the way: scale of intensity, ground, the vehicle's own box, thinning; all counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bags import MS, START_NS, TYPES, UNIT, Recording, header, transforms

from nucleus_bridge.causes import is_expected
from nucleus_bridge.config import config_from_values
from nucleus_bridge.convert import ConversionReport, convert_bag
from nucleus_bridge.errors import ConfigError

BASE = {"lidar_names": ["top"], "lidars.top.topic": "/points", "scene.origin": "none"}
KINDS = {"u1": 2, "<u2": 4, "<u4": 6, "<f4": 7, "<f8": 8}
YAWED = (0.0, 0.0, np.sin(np.pi / 4), np.cos(np.pi / 4))


def cloud(columns: dict[str, tuple[str, Any]], stamp_ns: int = START_NS, frame_id: str = "lidar") -> Any:
    """A PointCloud2 with fields of any types."""
    dtype = np.dtype([(name, kind) for name, (kind, _) in columns.items()])
    points = np.zeros(len(next(iter(columns.values()))[1]), dtype)
    for name, (_, values) in columns.items():
        points[name] = values
    field = TYPES.types["sensor_msgs/msg/PointField"]
    fields = [field(name, dtype.fields[name][1], KINDS[kind], 1) for name, (kind, _) in columns.items()]
    size = dtype.itemsize * len(points)
    data = np.frombuffer(points.tobytes(), np.uint8)
    stamp = header(stamp_ns, frame_id)
    return TYPES.types["sensor_msgs/msg/PointCloud2"](
        stamp, 1, len(points), fields, False, dtype.itemsize, size, data, True
    )


def xyz(points: Any) -> dict[str, tuple[str, Any]]:
    return {name: ("<f4", column) for name, column in zip("xyz", np.array(points, float).T, strict=True)}


def convert(folder: Path, clouds: dict[str, Any], **changes: Any) -> ConversionReport:
    """Convert one sweep a topic, seen from lidars 2 m above a device at (10, 20, 0) that faces north."""
    made = Recording()
    mounts = [("base_link", frame, START_NS, (0.0, 0.0, 2.0), UNIT) for frame in ("lidar", "second")]
    made.add("/tf_static", transforms(*mounts), START_NS - 500 * MS)
    for ms in (-500, 500):
        pose = ("map", "base_link", START_NS + ms * MS, (10.0, 20.0, 0.0), YAWED)
        made.add("/tf", transforms(pose), START_NS + ms * MS)
    for topic, message in clouds.items():
        made.add(topic, message, START_NS + 10 * MS)
    folder.mkdir(exist_ok=True)
    values = {**BASE, **{name.replace("__", "."): value for name, value in changes.items()}}
    return convert_bag(made.write(folder / "bag"), config_from_values(values), folder / "spool")


def points_of(report: ConversionReport) -> list[dict[str, Any]]:
    (scene,) = report.scenes
    frame = json.loads((scene.folder / "scene.json").read_text())["frames"][0]
    (item,) = (item for item in frame.values() if item["type"] == "pointcloud")
    return json.loads((scene.folder / item["url"]).read_text())["points"]


PLACES = [[5.0, 0.0, 0.0], [6.0, 1.0, 0.0], [7.0, 2.0, 1.0]]


@pytest.mark.parametrize(
    ("fields", "intensity_field", "full_scale", "source"),
    [
        ({"intensity": "u1"}, "intensity", 255.0, "fields"),
        ({"intensity": "<u2"}, "intensity", 65535.0, "fields"),
        ({"reflectivity": "<u2"}, "reflectivity", 255.0, "fields"),
        ({"reflectivity": "<f4"}, "reflectivity", 255.0, "fields"),
        ({"intensity": "<f4", "t": "<u4", "reflectivity": "<u2", "ring": "<u2"}, "intensity", 65535.0, "fields"),
        ({"intensity": "<f4", "ring": "<u2", "time": "<f4"}, "intensity", 255.0, "fields"),
        ({"intensity": "<f4", "tag": "u1", "line": "u1"}, "intensity", 50.0, "intensity_max"),
        ({"intensity": "<f4"}, "intensity", 50.0, "intensity_max"),
        ({"intensity": "<f4", "ring": "<f4"}, "intensity", 50.0, "intensity_max"),
        ({"intensity": "<u4"}, "intensity", 50.0, "intensity_max"),
    ],
)
def test_full_scale_follows_from_the_fields_or_stays_what_was_configured_and_the_manifest_says_which(
    tmp_path: Path, fields: dict[str, str], intensity_field: str, full_scale: float, source: str
) -> None:
    values = {name: (kind, [0, 0, 0]) for name, kind in fields.items()}
    values[intensity_field] = (fields[intensity_field], [0, 10, 25])
    report = convert(
        tmp_path,
        {"/points": cloud({**xyz(PLACES), **values})},
        lidars__top__intensity_field=intensity_field,
        lidars__top__intensity_max=50.0,
        lidars__top__intensity_scale="auto",
    )
    record = report.scenes[0].manifest.sensors["top"]
    assert (record["intensity_max"], record["intensity_max_from"]) == (full_scale, source)
    wanted = [round(value / full_scale, 3) for value in (0, 10, 25)]
    assert [point["i"] for point in points_of(report)] == wanted


@pytest.mark.parametrize(
    ("driver", "full_scale"),
    [("velodyne", 255), ("ouster", 255), ("hesai", 255), ("robosense", 255), ("livox", 255), ("autoware", 255)],
)
def test_full_scale_of_every_drivers_layout_is_told_by_its_fields(driver: str, full_scale: float) -> None:
    from nucleus_bridge.config import LidarConfig
    from nucleus_bridge.decode.intensity import intensity_scale
    from nucleus_bridge.model import Sweep
    from nucleus_bridge.testing.demo.layouts import LAYOUTS

    layout = LAYOUTS[driver]
    sweep = Sweep(1, "lidar", np.zeros(1, layout.dtype), None, 1, 1, 1.0, True)
    auto = LidarConfig("top", "/points", intensity_field=layout.intensity_field, intensity_scale="auto")
    assert intensity_scale(sweep, auto) == (full_scale, "fields")
    assert intensity_scale(sweep, LidarConfig("top", "/points", intensity_max=7.0)) == (7.0, "intensity_max")


def test_intensities_beyond_full_scale_are_clipped_and_counted(tmp_path: Path) -> None:
    columns = {**xyz(PLACES), "intensity": ("<f4", [-3.0, 12.5, 80.0])}
    report = convert(tmp_path, {"/points": cloud(columns)}, lidars__top__intensity_max=50.0)
    assert [point["i"] for point in points_of(report)] == [0.0, 0.25, 1.0]
    assert report.losses == {"/points": {"clipped_intensities": 2}}
    assert report.complete
    assert "intensity_max" not in report.scenes[0].manifest.sensors["top"]


@pytest.mark.parametrize("kind", ["u1", "<u2", "<f4"])
def test_ground_is_told_by_a_flag_or_by_classes(tmp_path: Path, kind: str) -> None:
    columns = {**xyz(PLACES), "intensity": ("<f4", [0, 0, 0]), "label": (kind, [0, 40, 48])}
    fields = {"point_fields": ["is_ground"], "lidars.top.ground_field": "label"}
    flagged = convert(tmp_path / "flag", {"/points": cloud(columns)}, **fields)
    assert [point["is_ground"] for point in points_of(flagged)] == [False, True, True]
    classes = convert(
        tmp_path / "class", {"/points": cloud(columns)}, **fields, **{"lidars.top.ground_classes": ["48", "0"]}
    )
    assert [point["is_ground"] for point in points_of(classes)] == [True, False, True]


def test_time_and_device_of_each_point_are_written(tmp_path: Path) -> None:
    one = {**xyz(PLACES), "intensity": ("<f4", [0, 0, 0]), "t": ("<u4", [0, 1_000, 99_000_000])}
    other = {**xyz(PLACES[:2]), "intensity": ("<f4", [0, 0]), "t": ("<u4", [5, 6])}
    report = convert(
        tmp_path,
        {"/points": cloud(one), "/second": cloud(other, START_NS + 7, "second")},
        lidar_names=["top", "second"],
        lidars__second__topic="/second",
        point_fields=["time", "device"],
    )
    points = points_of(report)
    assert [point["d"] for point in points] == [0, 0, 0, 1, 1]
    assert [point["t"] - START_NS for point in points] == [0, 1_000, 99_000_000, 12, 13]


def test_a_box_around_the_vehicle_is_cut_out_in_the_device_frame(tmp_path: Path) -> None:
    """The lidar is 2 m above the device's origin: the box is not the lidar's."""
    inside = [[0.5, 0.5, -1.0], [-0.9, -0.4, -2.0], [1.0, 0.5, 0.0]]
    outside = [[1.1, 0.0, -1.0], [0.0, 0.6, -1.0], [0.0, 0.1, 0.1], [0.5, 0.5, -2.1]]
    columns = {**xyz(inside + outside), "intensity": ("<f4", np.arange(7))}
    report = convert(tmp_path, {"/points": cloud(columns)}, lidars__top__crop_box=[-1.0, -0.5, 0.0, 1.0, 0.5, 2.0])
    assert report.losses == {"/points": {"box_points": 3}}
    assert report.complete
    kept = np.array([[point[axis] for axis in "xyz"] for point in points_of(report)])
    wanted = [[10.0 - y, 20.0 + x, z + 2.0] for x, y, z in outside]
    assert np.abs(kept - wanted).max() < 1e-3
    assert [round(point["i"] * 255) for point in points_of(report)] == [3, 4, 5, 6]


def test_one_point_in_each_voxel_is_kept_the_first_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    first, second = rng.uniform(-4, 4, (2, 400, 3)) + 0.05
    columns = [{**xyz(points), "intensity": ("<f4", np.arange(400) % 255)} for points in (first, second)]
    report = convert(
        tmp_path,
        {"/points": cloud(columns[0]), "/second": cloud(columns[1], START_NS, "second")},
        lidar_names=["top", "second"],
        lidars__second__topic="/second",
        cloud__voxel_m=1.0,
        point_fields=["intensity", "device"],
    )
    seen: dict[tuple[int, ...], tuple[int, int]] = {}
    for device, points in enumerate((first.astype(np.float32), second.astype(np.float32))):
        for number, (x, y, z) in enumerate(points.astype(float)):
            cell = tuple(int(np.floor(value)) for value in (10.0 - y, 20.0 + x, z + 2.0))
            seen.setdefault(cell, (device, number % 255))
    assert [(point["d"], round(point["i"] * 255)) for point in points_of(report)] == sorted(
        seen.values(), key=lambda found: found[0]
    )
    kept = [sum(device == number for device, _ in seen.values()) for number in (0, 1)]
    gone = {topic: {"voxel_points": 400 - count} for topic, count in zip(("/points", "/second"), kept, strict=True)}
    assert report.losses == gone
    assert report.complete


@pytest.mark.parametrize("limit", [1, 3, 7, 10])
def test_a_limit_of_points_keeps_them_evenly_spread(tmp_path: Path, limit: int) -> None:
    places = np.column_stack([np.arange(1, 11), np.zeros(10), np.zeros(10)])
    columns = {**xyz(places), "intensity": ("<f4", np.arange(10))}
    report = convert(tmp_path, {"/points": cloud(columns)}, cloud__max_points=limit)
    kept = [round(point["i"] * 255) for point in points_of(report)]
    assert len(kept) == limit
    assert kept == sorted(set(kept))
    steps = np.diff([*kept, 10])
    assert steps.max() - steps.min() <= 1
    assert report.losses == ({"/points": {"limit_points": 10 - limit}} if limit < 10 else {})


def test_filters_follow_one_another_and_every_point_is_kept_or_counted(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    points = rng.uniform(-6, 6, (1000, 3))
    points[:20] = np.nan
    points[20:50] = 0.0
    columns = {**xyz(points), "intensity": ("<f4", np.zeros(1000))}
    filters = {
        "lidars.top.max_range_m": 7.0,
        "lidars.top.crop_box": [-2.0, -1.0, 0.0, 2.0, 1.0, 2.0],
        "cloud.voxel_m": 0.8,
        "cloud.max_points": 300,
    }
    reports = [convert(tmp_path / name, {"/points": cloud(columns)}, **filters) for name in ("once", "again")]
    counts = reports[0].losses["/points"]
    assert set(counts) == {"nan_points", "zero_points", "range_points", "box_points", "voxel_points", "limit_points"}
    assert len(points_of(reports[0])) + sum(counts.values()) == 1000
    assert len(points_of(reports[0])) == 300
    assert all(is_expected(cause) for cause in counts)
    assert points_of(reports[0]) == points_of(reports[1])


def test_points_beyond_a_hundred_kilometres_are_left_out_and_counted_as_a_fault(tmp_path: Path) -> None:
    columns = {**xyz([[5.0, 0.0, 0.0], [2e5, 0.0, 0.0]]), "intensity": ("<f4", [0, 0])}
    report = convert(tmp_path, {"/points": cloud(columns)})
    assert len(points_of(report)) == 1
    assert report.losses == {"/points": {"coordinate_range": 1}}
    assert not report.complete


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"lidars.top.crop_box": [1.0, 2.0]}, r"lidars.top.crop_box: must be \[x_min"),
        ({"lidars.top.crop_box": [1.0, 0.0, 0.0, -1.0, 1.0, 1.0]}, "each minimum must be less"),
        ({"lidars.top.crop_box": ["a"]}, "a list of numbers"),
        ({"lidars.top.crop_box": [float("nan")] * 6}, "a list of numbers"),
        ({"lidars.top.ground_field": "label", "lidars.top.ground_classes": ["road"]}, "whole numbers"),
        ({"lidars.top.ground_classes": ["4"]}, "set lidars.top.ground_field"),
        ({"lidars.top.intensity_scale": "guess"}, "one of fixed, auto"),
        ({"cloud.voxel_m": -1.0}, "at least 0"),
    ],
)
def test_filters_that_cannot_be_meant_are_refused_by_name(values: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        config_from_values({**BASE, **values})


def test_an_empty_box_may_be_written_as_ros_writes_empty_lists() -> None:
    for empty in ([], [""], ()):
        assert config_from_values({**BASE, "lidars.top.crop_box": empty}).lidars[0].crop_box == ()


def test_parameters_that_joined_later_leave_the_digest_until_they_are_used() -> None:
    plain = config_from_values(BASE).digest
    assert config_from_values({**BASE, "cloud.voxel_m": 0.0, "lidars.top.crop_box": []}).digest == plain
    assert config_from_values({**BASE, "lidars.top.intensity_scale": "fixed"}).digest == plain
    for change in ({"cloud.voxel_m": 0.1}, {"lidars.top.crop_box": [0, 0, 0, 1, 1, 1]}, {"gps.map_is_enu": True}):
        assert config_from_values({**BASE, **change}).digest != plain
