# SPDX-License-Identifier: Apache-2.0
"""Robots that have a laser scanner or a depth camera and no lidar: scenes of a room whose walls are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from bags import MS, OPTICAL, START_NS, TYPES, UNIT, Recording, header, info, transforms

from nucleus_bridge.config import load_config
from nucleus_bridge.convert import convert_bag
from nucleus_bridge.inspect.report import study

SPEED = 5.0
LOW, HIGH = np.array([-20.0, -8.0]), np.array([40.0, 8.0])
RAYS, PERIOD_S, STEPS = 360, 0.1, 8
CONFIG = """
/**:
  ros__parameters:
    world_frame: map
    device_frame: base_link
    lidar_names: [front]
    lidars: {front: {topic: %s}}
    scene: {origin: none}
    spool: {min_free_bytes: 0}
"""


def driving() -> Recording:
    """A robot that drives along x, its scanner at 0.3 m, its depth camera at 0.5 m looking ahead."""
    made = Recording()
    mounts = (
        ("base_link", "laser", START_NS, (0.2, 0, 0.3), UNIT),
        ("base_link", "depth", START_NS, (0, 0, 0.5), OPTICAL),
    )
    made.add("/tf_static", transforms(*mounts), START_NS - 500 * MS)
    for at_ns in range(START_NS - 20 * MS, START_NS + (STEPS + 2) * 100 * MS, 10 * MS):
        x = SPEED * (at_ns - START_NS) / 1e9
        made.add("/tf", transforms(("map", "base_link", at_ns, (x, 0, 0), UNIT)), at_ns + MS)
    return made


def ranges(stamp_ns: int, angles: np.ndarray) -> np.ndarray:
    """How far each ray goes from where the scanner is at its time, to the nearest wall."""
    times_s = (stamp_ns - START_NS) / 1e9 + np.arange(RAYS) * PERIOD_S / RAYS
    start = np.stack([SPEED * times_s + 0.2, np.zeros(RAYS)], axis=1)
    way = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    with np.errstate(divide="ignore"):
        reach = np.where(way > 0, (HIGH - start) / way, (LOW - start) / way)
    return np.asarray(np.where(way == 0, np.inf, reach).min(axis=1))


def scan(stamp_ns: int, echoes: int = 0) -> object:
    angles = -np.pi + np.arange(RAYS) * 2 * np.pi / RAYS
    seen = ranges(stamp_ns, angles).astype(np.float32)
    values = {
        "header": header(stamp_ns, "laser"),
        "angle_min": -np.pi,
        "angle_max": float(angles[-1]),
        "angle_increment": 2 * np.pi / RAYS,
        "time_increment": PERIOD_S / RAYS,
        "scan_time": PERIOD_S,
        "range_min": 0.1,
        "range_max": 100.0,
    }
    if not echoes:
        return TYPES.types["sensor_msgs/msg/LaserScan"](
            **values, ranges=seen, intensities=np.full(RAYS, 50, np.float32)
        )
    echo = TYPES.types["sensor_msgs/msg/LaserEcho"]
    rays = [echo(np.full(echoes, distance, np.float32)) for distance in seen]
    return TYPES.types["sensor_msgs/msg/MultiEchoLaserScan"](**values, ranges=rays, intensities=rays)


def depth(stamp_ns: int) -> object:
    """The wall ahead, in millimetres: the same depth at every pixel."""
    ahead_mm = np.full((48, 64), 1000 * (HIGH[0] - SPEED * (stamp_ns - START_NS) / 1e9), np.uint16)
    return TYPES.types["sensor_msgs/msg/Image"](
        header(stamp_ns, "depth"), 48, 64, "16UC1", 0, 128, ahead_mm.view(np.uint8).reshape(-1)
    )


def points_of(bag: Path, folder: Path, topic: str) -> list[np.ndarray]:
    (folder / "config.yaml").write_text(CONFIG % topic)
    report = convert_bag(bag, load_config(folder / "config.yaml"), folder / "spool")
    assert report.losses == {}
    (scene,) = report.scenes
    clouds = [json.loads(path.read_text())["points"] for path in sorted(scene.folder.glob("front/*.json"))]
    assert len(clouds) == STEPS
    return [np.array([[point[axis] for axis in "xyz"] for point in cloud]) for cloud in clouds]


@pytest.mark.parametrize(("echoes", "count"), [(0, RAYS), (2, 2 * RAYS)])
def test_each_ray_of_a_scanner_ends_at_the_wall_it_hit_while_it_moved(tmp_path: Path, echoes: int, count: int) -> None:
    """The robot drives half a metre during a scan: without the times of the rays the walls would be as thick."""
    made = driving()
    for number in range(STEPS):
        stamp_ns = START_NS + number * 100 * MS
        made.add("/scan", scan(stamp_ns, echoes), stamp_ns + 101 * MS)
    bag = made.write(tmp_path / "bag")
    for points in points_of(bag, tmp_path, "/scan"):
        assert points.shape == (count, 3)
        assert np.abs(points[:, 2] - 0.3).max() < 1e-6
        from_walls = np.minimum(np.abs(points[:, :2] - LOW), np.abs(points[:, :2] - HIGH)).min(axis=1)
        assert from_walls.max() < 1e-3
    _, suggestion = study(bag)
    assert list(suggestion.lidar_names) == ["/scan"]


def test_a_depth_camera_is_a_lidar_where_a_configuration_says_so(tmp_path: Path) -> None:
    made = driving()
    for number in range(STEPS):
        stamp_ns = START_NS + number * 100 * MS
        made.add("/depth/camera_info", info(stamp_ns, "depth"), stamp_ns + 20 * MS)
        made.add("/depth/image_raw", depth(stamp_ns), stamp_ns + 30 * MS)
    bag = made.write(tmp_path / "bag")
    for points in points_of(bag, tmp_path, "/depth/image_raw"):
        assert len(points) == 48 * 64
        assert np.abs(points[:, 0] - HIGH[0]).max() < 0.0011  # whole millimetres
        assert points[:, 1].max() > 20
        assert points[:, 1].min() < -20
        assert abs(points[:, 2].mean() - 0.5) < 1
    for name in ("sensor_fusion_json", "sensor_fusion_protobuf", "sfs"):
        config = load_config(tmp_path / "config.yaml", [f"scene.format={name}", "lidars.front.intensity_scale=auto"])
        report = convert_bag(bag, config, tmp_path / name)
        assert report.losses == {}
        assert [scene.manifest.frames for scene in report.scenes] == [STEPS]
    _, suggestion = study(bag)
    assert not suggestion.lidar_names
    (told,) = (text for text in suggestion.missing if text.startswith("a lidar"))
    assert "lidar_names: [depth], lidars.depth.topic: /depth/image_raw" in told
