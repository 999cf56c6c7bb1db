# SPDX-License-Identifier: Apache-2.0
"""The sample recordings and files that no other test reads, each against what is true of it; and that none is left."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from sample_config import CONFIG

from nucleus_bridge.config import PoseConfig, load_config
from nucleus_bridge.convert import ConversionReport, convert_bag
from nucleus_bridge.decode.camera_info import load_calibration
from nucleus_bridge.errors import ConfigError
from nucleus_bridge.inspect.report import study
from nucleus_bridge.poses.trajectory import FilePoses
from nucleus_bridge.poses.urdf import UrdfError, load_urdf
from nucleus_bridge.recordings import Merged, open_recording

TESTS = Path(__file__).parent


def converted(bag: Path | Merged, folder: Path, *changes: str) -> ConversionReport:
    folder.mkdir()
    (folder / "config.yaml").write_text(CONFIG, encoding="utf-8")
    return convert_bag(bag, load_config(folder / "config.yaml", changes), folder / "spool")


def files(report: ConversionReport, *patterns: str) -> dict[str, bytes]:
    (scene,) = (scene.folder for scene in report.scenes)
    found = (path for pattern in patterns for path in scene.glob(pattern))
    return {str(path.relative_to(scene)): path.read_bytes() for path in found}


@pytest.fixture
def made(real_data: Path) -> Path:
    return real_data / "inputs" / "made"


@pytest.fixture
def real(real_data: Path) -> Path:
    return real_data / "inputs" / "real"


def test_clouds_that_are_only_there_compressed_are_those_of_the_plain_recording(made: Path, tmp_path: Path) -> None:
    changes = ("lidars.top.topic=/lidar/top/points/zstd", "camera_names=[]")
    report = converted(made / "clouds_compressed_only", tmp_path / "packed", *changes)
    assert report.losses == {}
    packed, plain = (
        files(one, "top/*.json") for one in (report, converted(made / "base", tmp_path / "plain", "camera_names=[]"))
    )
    assert len(packed) == 22
    assert packed == plain


def test_two_recorders_give_the_scene_of_one_but_for_what_the_later_one_missed(made: Path, tmp_path: Path) -> None:
    folder = made / "side_by_side"
    both = converted(Merged.of([folder / "lidar_pc", folder / "camera_pc"]), tmp_path / "both")
    whole = converted(made / "base", tmp_path / "whole")
    assert both.losses == whole.losses == {}
    assert files(both, "top/*.json") == files(whole, "top/*.json")
    pictures, all_pictures = (files(report, "front/*.jpg", "rear/*.jpg") for report in (both, whole))
    assert (len(pictures), len(all_pictures)) == (42, 44)
    assert pictures.items() <= all_pictures.items()


def test_a_recorded_robot_without_a_lidar_is_read_and_says_what_is_missing(real: Path) -> None:
    report, suggestion = study(real / "ros1" / "husky_odom_imu_fix.bag")
    counts = Counter({topic.type.rpartition("/")[2]: topic.count for topic in report.topics})
    assert counts == {"Imu": 11_865, "Odometry": 3_952, "NavSatFix": 989}
    assert not suggestion.lidar_names
    with open_recording(real / "ros1" / "husky_odom_imu_fix.bag") as recording:
        assert (recording.end_ns - recording.start_ns) / 1e9 == pytest.approx(395, abs=1)


def test_a_real_calibration_file_holds_the_numbers_of_the_file(real: Path) -> None:
    path = real / "calibration" / "camera_info_ost.yaml"
    true = yaml.safe_load(path.read_text())
    info = load_calibration(path)
    assert (info.width, info.height, info.distortion_model) == (964, 724, "plumb_bob")
    for values, key in ((info.k, "camera_matrix"), (info.d, "distortion_coefficients"), (info.p, "projection_matrix")):
        assert list(values) == true[key]["data"]


@pytest.mark.parametrize("camera", ["front", "rear"])
def test_calibration_files_hold_the_cameras_of_the_drive(made: Path, camera: str) -> None:
    true = json.loads((made / "base.truth.json").read_text())["cameras"][camera]
    info = load_calibration(made / "calibration" / f"camera_info_{camera}.yaml")
    assert (info.width, info.height) == (true["width"], true["height"])
    assert list(info.k) == pytest.approx(true["k"], rel=1e-15)
    assert list(info.d) == pytest.approx(true["d"], rel=1e-15)


def test_poses_of_a_sensor_maker_need_their_times(real: Path, tmp_path: Path) -> None:
    name = "ouster_poses_kitti.txt"
    (tmp_path / name).write_bytes((real / "calibration" / name).read_bytes())
    with pytest.raises(ConfigError, match="times_file"):
        FilePoses(PoseConfig("k", file=name), "map", "base_link", tmp_path).trajectory  # noqa: B018 - it reads the file
    (tmp_path / "times.txt").write_text("1000.0\n1000.1\n1000.2\n")
    stamps_ns, poses = FilePoses(
        PoseConfig("k", file=name, times_file="times.txt"), "map", "base_link", tmp_path
    ).trajectory
    matrices = np.loadtxt(tmp_path / name).reshape(3, 3, 4)
    assert stamps_ns.tolist() == [1_000_000_000_000, 1_000_100_000_000, 1_000_200_000_000]
    assert np.abs(poses[0] - [0, 0, 0, 0, 0, 0, 1]).max() < 1e-9
    assert np.abs(poses[:, :3] - matrices[:, :, 3]).max() < 1e-12


def test_a_xacro_is_refused_with_the_command_that_expands_it(real: Path) -> None:
    with pytest.raises((UrdfError, ConfigError), match="ros2 run xacro xacro"):
        load_urdf(real / "calibration" / "autoware_sensors.xacro", "transforms.urdf")


def test_every_sample_is_read_by_a_test(real_data: Path) -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in TESTS.glob("**/*.py"))
    folders = ("real", "real/ouster", "real/ros1", "real/calibration", "made", "made/trajectories", "made/calibration")
    names = {path.name for folder in folders for path in (real_data / "inputs" / folder).iterdir()}
    containers = {Path(folder).name for folder in folders}
    described = {"facts.json"}  # what was made, for people
    of_each_camera = {f"{kind}_{camera}.yaml" for kind in ("opencv", "camera_info") for camera in ("front", "rear")}
    names -= containers | described | of_each_camera
    unread = {name for name in names if name.removesuffix(".expected.npz") not in sources}
    assert len(names) > 35
    assert unread == set()
