# SPDX-License-Identifier: Apache-2.0
"""Poses estimated from the lidar follow the truth of the demo drive; what cannot be registered is a gap."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from drives import Drive, make_drive
from pose_drives import config_with, rewritten
from pose_messages import matrix_of
from scipy.spatial.transform import Rotation

from nucleus_bridge.cli.main import main
from nucleus_bridge.config import PoseConfig
from nucleus_bridge.convert import convert_bag
from nucleus_bridge.errors import ConfigError
from nucleus_bridge.formats.reading import open_scene
from nucleus_bridge.model import FloatArray, IntArray
from nucleus_bridge.poses.lidar_odometry import LidarOdometry, SweepPoints, SweepPose
from nucleus_bridge.poses.trajectory import FilePoses
from nucleus_bridge.preview.html_page import write_preview
from nucleus_bridge.testing.demo import DriveOptions, true_poses

pytest.importorskip("small_gicp")

RING = DriveOptions(seconds=9.0, points=9000, cameras=0, course="ring", range_noise_m=0.02, standing_s=0.0, seed=4)
TWO_LIDARS = DriveOptions(seconds=3.0, points=5000, cameras=0, lidars=2, range_noise_m=0.02, seed=4)


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Drive:
    """Nine seconds of a ring at 15 m/s and 30 degrees a second, with its noise, without cameras."""
    return make_drive(tmp_path_factory.mktemp("ring"), RING)


def estimated(drive: Drive, output: Path, *more: str) -> tuple[IntArray, FloatArray]:
    arguments = ["odometry", str(drive.bag), "--config", str(drive.config_path), "-o", str(output), *more]
    assert main(arguments) == 0
    settings = PoseConfig("ego", file=output.name)
    return FilePoses(settings, "map", "base_link", output.parent).trajectory


def errors(options: DriveOptions, stamps_ns: IntArray, poses: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    """Return the errors in metres and degrees of poses relative to the second, and the length of the way."""
    true = true_poses(options, stamps_ns)
    turns = Rotation.from_matrix(true.matrix)
    start = turns[1].inv()
    wanted = start.apply(true.translation - true.translation[1])
    off = np.linalg.norm(poses[:, :3] - wanted, axis=1)
    angle = np.degrees((Rotation.from_quat(poses[:, 3:]).inv() * (start * turns)).magnitude())
    return off, angle, float(np.linalg.norm(np.diff(true.translation, axis=0), axis=1).sum())


def test_the_estimate_follows_the_ring(ring: Drive, tmp_path: Path) -> None:
    stamps_ns, poses = estimated(ring, tmp_path / "ring.tum")
    off, angle, way_m = errors(RING, stamps_ns, poses)
    assert len(poses) == len(ring.truth["lidars"]["top"]["sweeps"]) + 1
    assert way_m > 100.0
    assert off.max() < 0.001 * way_m
    assert angle.max() < 0.5


def test_the_same_recording_gives_the_same_bytes(ring: Drive, tmp_path: Path) -> None:
    for name in ("one.tum", "other.tum"):
        estimated(ring, tmp_path / name)
    assert (tmp_path / "one.tum").read_bytes() == (tmp_path / "other.tum").read_bytes()


def test_several_lidars_are_merged_by_their_mounts(tmp_path: Path) -> None:
    drive = make_drive(tmp_path, TWO_LIDARS)
    stamps_ns, poses = estimated(drive, tmp_path / "two.tum")
    off, angle, way_m = errors(TWO_LIDARS, stamps_ns, poses)
    assert off.max() < max(0.001 * way_m, 0.03)
    assert angle.max() < 0.5


def test_a_recording_without_poses_becomes_scenes_by_its_own_odometry(
    ring: Drive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rewritten(ring.bag, tmp_path / "bag", lambda _edge: None, is_replaced=lambda edge: not edge.static)
    lines = ["pose_names: [ego]", "poses: {ego: {file: ego.tum}}"]
    config = config_with(ring.config_path, tmp_path / "config.yaml", lines)  # names the file before it is there
    bare = Drive(tmp_path / "bag", config, ring.truth)
    estimated(bare, tmp_path / "ego.tum")
    assert "1 % of the way" in capsys.readouterr().out
    report = convert_bag(bare.bag, config, tmp_path / "spool")
    assert report.complete
    assert sum(scene.manifest.frames for scene in report.scenes) == len(ring.truth["lidars"]["top"]["sweeps"])
    for scene in report.scenes:
        assert scene.manifest.poses == {"sources": ["poses.ego"], "estimated": True}
        assert json.loads((scene.folder / "scene.json").read_text())["metadata"]["poses"] == "estimated"
        write_preview(open_scene(scene.folder), tmp_path / "page.html", lambda _share: None)
        assert "its poses are estimated from the lidar" in (tmp_path / "page.html").read_text()


def test_estimated_poses_are_known_as_such_and_never_point_to_the_east(ring: Drive, tmp_path: Path) -> None:
    estimated(ring, tmp_path / "ego.tum")
    assert FilePoses(PoseConfig("ego", file="ego.tum"), "map", "base_link", tmp_path).is_estimated
    lines = ["pose_names: [ego]", "poses: {ego: {file: ego.tum}}"]
    config = config_with(ring.config_path, tmp_path / "config.yaml", lines)
    config.write_text(config.read_text().replace("heading_topic: /gnss/heading", "map_is_enu: true"))
    with pytest.raises(ConfigError, match="estimated from the lidar"):
        convert_bag(ring.bag, config, tmp_path / "spool")


def test_a_lidar_that_is_not_mounted_is_named_with_the_keys_that_help(
    ring: Drive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rewritten(ring.bag, tmp_path / "bag", lambda _edge: None, is_replaced=lambda _edge: True)
    arguments = ["odometry", str(tmp_path / "bag"), "--config", str(ring.config_path), "-o", str(tmp_path / "o.tum")]
    assert main(arguments) == 2
    assert "set mounts.top, or device_frame: lidar_top" in capsys.readouterr().err
    assert main([*arguments, "--set", "device_frame=lidar_top", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["failed"], report["gaps"]) == (0, 0)


def room(count: int = 4000, seed: int = 1) -> FloatArray:
    """Points on the floor and the walls of a room with pillars, 40 m by 30 m."""
    rng = np.random.default_rng(seed)
    u, v = rng.uniform(-1, 1, (2, count))
    faces = [
        np.stack((20 * u, 15 * v, np.full(count, -1.5)), 1),
        np.stack((np.full(count, 20.0), 15 * u, 2 + 3 * v), 1),
        np.stack((np.full(count, -20.0), 15 * u, 2 + 3 * v), 1),
        np.stack((20 * u, np.full(count, 15.0), 2 + 3 * v), 1),
        np.stack((20 * u, np.full(count, -15.0), 2 + 3 * v), 1),
    ]
    return np.concatenate(faces)


def seen(points: FloatArray, x: float, yaw: float) -> FloatArray:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = Rotation.from_euler("z", yaw).as_matrix(), (x, 0.0, 0.0)
    back = np.linalg.inv(matrix)
    return points @ back[:3, :3].T + back[:3, 3]


def registered(clouds: list[FloatArray], step_ns: int = 100_000_000) -> tuple[LidarOdometry, list[SweepPose]]:
    odometry, poses = LidarOdometry(1_000_000_000), []
    for number, cloud in enumerate(clouds):
        stamp_ns = 10**18 + number * step_ns
        poses += odometry.add(SweepPoints(cloud, None, stamp_ns, stamp_ns))
    return odometry, poses


def test_sweeps_without_times_are_registered_as_they_are() -> None:
    odometry, poses = registered([seen(room(seed=i), 0.1 * i, 0.01 * i) for i in range(20)])
    assert (len(poses), odometry.failed) == (20, 0)
    assert [pose.begins for pose in poses] == [True] + [False] * 19
    assert poses[-1].pose[:3] == pytest.approx([1.9, 0.0, 0.0], abs=0.02)
    matrix = matrix_of_pose(poses[-1])
    assert Rotation.from_matrix(matrix[:3, :3]).as_euler("xyz")[2] == pytest.approx(0.19, abs=0.002)


def matrix_of_pose(pose: SweepPose) -> FloatArray:
    from nucleus_bridge.model import Transform

    return matrix_of(Transform(pose.pose[:3], pose.pose[3:]))


@pytest.mark.parametrize("fault", ["noise", "empty", "leap", "pause"])
def test_what_cannot_be_registered_is_a_gap_over_which_nobody_interpolates(fault: str) -> None:
    clouds = [seen(room(seed=i), 0.1 * i, 0.0) for i in range(40)]
    stamps = [10**18 + 100_000_000 * i for i in range(40)]
    if fault == "noise":
        clouds[15] = np.random.default_rng(3).uniform(-60.0, 60.0, (20_000, 3))
    elif fault == "empty":
        for number in range(15, 28):
            clouds[number] = np.zeros((0, 3))
    elif fault == "leap":
        clouds[15:] = [seen(room(seed=i), 0.1 * i + 4.0, 1.0) for i in range(15, 40)]
    else:
        stamps[15:] = [stamp + 2_000_000_000 for stamp in stamps[15:]]
    odometry, poses = LidarOdometry(1_000_000_000), []
    for stamp_ns, cloud in zip(stamps, clouds, strict=True):
        poses += odometry.add(SweepPoints(cloud, None, stamp_ns, stamp_ns))
    told = [pose.stamp_ns for pose in poses]
    begins = [index for index, pose in enumerate(poses) if pose.begins]
    assert len(begins) == 2
    assert told[begins[1]] - told[begins[1] - 1] > 1_000_000_000
    assert told == sorted(set(told))
    assert told[-1] == stamps[-1]
    assert (odometry.failed > 0) == (fault != "pause")


def test_a_tunnel_is_told_from_a_room() -> None:
    rng = np.random.default_rng(2)
    angle, along = rng.uniform(-np.pi, np.pi, 30_000), rng.uniform(-60.0, 60.0, 30_000)
    tunnel = np.stack((along, 4.0 * np.cos(angle), 4.0 * np.sin(angle)), axis=1)
    _, in_tunnel = registered([tunnel[rng.permutation(30_000)[:20_000]] for _ in range(6)])
    _, in_room = registered([room(seed=i) for i in range(6)])
    assert all(pose.is_degenerate for pose in in_tunnel[2:])
    assert not any(pose.is_degenerate for pose in in_room)
