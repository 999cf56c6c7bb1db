# SPDX-License-Identifier: Apache-2.0
"""Sources of poses that are only compared: the scenes stay as they are, and the manifest has where they say it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compared_drives import DRIFT_M_S, with_drifting_odometry, write_slam_file
from drives import Drive
from pose_drives import config_with, scene_files

from nucleus_bridge.cli.main import main
from nucleus_bridge.config import load_config
from nucleus_bridge.convert import ConversionReport, convert_bag
from nucleus_bridge.pipeline.compared import MOST_SAMPLES, _Thinned

ODOMETRY = ["pose_names: [slam]", "poses: {slam: {topic: /slam/odom, compare_only: true}}"]


def poses_of(report: ConversionReport) -> dict[str, Any]:
    poses = json.loads((report.scenes[0].folder / "manifest.json").read_text())["poses"]
    assert isinstance(poses, dict)
    return poses


def samples_of(track: dict[str, Any]) -> np.ndarray:
    return np.array([[float(value) for value in row.split()] for row in track["samples"]])


def true_places(drive: Drive, report: ConversionReport, ms: np.ndarray) -> np.ndarray:
    """Where the device was by the truth of the drive, in scene coordinates, interpolated between sweeps."""
    manifest = report.scenes[0].manifest
    sweeps = drive.truth["lidars"]["top"]["sweeps"]
    times = [(sweep["stamp_ns"] - manifest.first_stamp_ns) / 1e6 for sweep in sweeps]
    places = np.array([sweep["map_from_base_link"]["translation"] for sweep in sweeps])
    offset = np.array([manifest.world_offset[axis] for axis in "xyz"])
    return np.stack([np.interp(ms, times, axis) for axis in (places - offset).T], axis=1)


@pytest.fixture(scope="module")
def drifting(drive: Drive, tmp_path_factory: pytest.TempPathFactory) -> ConversionReport:
    folder = tmp_path_factory.mktemp("drifting")
    with_drifting_odometry(drive.bag, folder / "bag")
    return convert_bag(folder / "bag", config_with(drive.config_path, folder / "c.yaml", ODOMETRY), folder / "spool")


def test_the_scenes_are_those_without_it(drifting: ConversionReport, converted: ConversionReport) -> None:
    assert scene_files(drifting) == scene_files(converted)
    assert not drifting.losses


def test_its_track_is_in_the_manifest_and_drifts_as_it_was_made_to(drive: Drive, drifting: ConversionReport) -> None:
    poses = poses_of(drifting)
    (track,) = poses["compared"]
    assert poses["used"] == ["tf"]
    assert "sources" not in poses
    assert {key: track[key] for key in ("source", "topic", "parent", "child", "laid_on")} == {
        "source": "poses.slam",
        "topic": "/slam/odom",
        "parent": "odom",
        "child": "base_link",
        "laid_on": False,
    }
    samples = samples_of(track)
    ms, places = samples[:, 0], samples[:, 1:]
    away = np.linalg.norm(places - true_places(drive, drifting, ms), axis=1)
    began_ms = (drive.truth["start_ns"] - 497_900_000 - drifting.scenes[0].manifest.first_stamp_ns) / 1e6
    assert away == pytest.approx(DRIFT_M_S * (ms - began_ms) / 1e3, abs=0.03)
    assert 300 < len(samples) <= MOST_SAMPLES
    assert (np.diff(ms) > 0).all()
    assert ms[0] >= 0
    assert ms[-1] > 3800


def test_it_does_not_matter_when_within_the_wait_its_messages_arrive(
    drive: Drive, drifting: ConversionReport, tmp_path: Path
) -> None:
    with_drifting_odometry(drive.bag, tmp_path / "bag", late_ns=1_500_000_000)
    config = load_config(config_with(drive.config_path, tmp_path / "c.yaml", ODOMETRY))
    late = convert_bag(tmp_path / "bag", config, tmp_path / "spool")
    assert poses_of(late) == poses_of(drifting)
    assert scene_files(late) == scene_files(drifting)


@pytest.mark.parametrize("form", ["a frame of its own", "estimated"])
def test_a_trajectory_that_nothing_joins_to_the_world_begins_where_the_scene_does(
    drive: Drive, tmp_path: Path, form: str
) -> None:
    from nucleus_bridge.poses.trajectory import ESTIMATED

    path = tmp_path / "slam.tum"
    write_slam_file(with_drifting_odometry(drive.bag, tmp_path / "bag"), path)
    parent = ", parent_frame: slam_map"
    if form == "estimated":
        path.write_text(f"{ESTIMATED}\n{path.read_text()}")
        parent = ""
    lines = ["pose_names: [slam]", f"poses: {{slam: {{file: slam.tum, compare_only: true{parent}}}}}"]
    report = convert_bag(drive.bag, config_with(drive.config_path, tmp_path / "c.yaml", lines), tmp_path / "spool")
    poses = poses_of(report)
    assert "estimated" not in poses
    (track,) = poses["compared"]
    assert track["laid_on"] is True
    assert track.get("estimated", False) is (form == "estimated")
    samples = samples_of(track)
    away = np.linalg.norm(samples[:, 1:] - true_places(drive, report, samples[:, 0]), axis=1)
    assert away.max() < 0.25  # map to odom wanders by that much, which the file does not know
    assert away[samples[:, 0] < 300].max() < 0.02


def test_a_body_that_nothing_joins_to_the_device_is_named(drive: Drive, tmp_path: Path) -> None:
    with_drifting_odometry(drive.bag, tmp_path / "bag")
    lines = ["pose_names: [slam]", "poses: {slam: {topic: /slam/odom, child_frame: imu_link, compare_only: true}}"]
    config = config_with(drive.config_path, tmp_path / "c.yaml", lines)
    (track,) = poses_of(convert_bag(tmp_path / "bag", config, tmp_path / "spool"))["compared"]
    assert track["samples"] == []
    assert track["problem"] == "nothing joins 'imu_link' to 'base_link'"


def test_a_recording_without_the_topic_is_converted_and_says_so(
    drive: Drive, converted: ConversionReport, tmp_path: Path
) -> None:
    report = convert_bag(drive.bag, config_with(drive.config_path, tmp_path / "c.yaml", ODOMETRY), tmp_path / "spool")
    assert poses_of(report)["compared"][0]["samples"] == []
    assert scene_files(report) == scene_files(converted)


@pytest.mark.parametrize("count", [1, MOST_SAMPLES, MOST_SAMPLES + 1, 3210])
def test_a_track_is_thinned_evenly_and_begins_with_its_first_place(count: int) -> None:
    thinned = _Thinned()
    for number in range(count):
        thinned.add(number, (float(number), 0.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    stamps = np.array([row[0] for row in thinned.rows])
    assert stamps[0] == 0
    assert min(count, MOST_SAMPLES // 2) <= len(stamps) <= MOST_SAMPLES
    assert len(set(np.diff(stamps).tolist())) <= 1
    assert count - stamps[-1] <= thinned.every


def test_init_lets_the_page_draw_pose_topics_that_scenes_do_not_use(drive: Drive, tmp_path: Path) -> None:
    with_drifting_odometry(drive.bag, tmp_path / "bag")
    assert main(["init", str(tmp_path / "bag"), "-o", str(tmp_path / "made.yaml")]) == 0
    (pose,) = load_config(tmp_path / "made.yaml").poses
    assert (pose.topic, pose.compare_only) == ("/slam/odom", True)
