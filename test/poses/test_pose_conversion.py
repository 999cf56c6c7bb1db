# SPDX-License-Identifier: Apache-2.0
"""A drive whose poses are in other topics or in a file becomes the same scenes as with transforms, byte for byte."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drives import Drive
from pose_drives import assert_alike, config_with, converted_files, is_moving, rewritten, scene_files
from pose_messages import odometry, path, pose_stamped, pose_with_covariance_stamped, transform_stamped
from scipy.spatial.transform import Rotation

from nucleus_bridge.cli.main import main
from nucleus_bridge.convert import ConversionReport
from nucleus_bridge.poses.source import Edge

POSE = {
    "Odometry": lambda edge: odometry(edge.stamp_ns, edge.translation, edge.rotation_xyzw),
    "Odometry without a child": lambda edge: odometry(edge.stamp_ns, edge.translation, edge.rotation_xyzw, child=""),
    "PoseStamped": lambda edge: pose_stamped(edge.stamp_ns, edge.translation, edge.rotation_xyzw),
    "PoseWithCovarianceStamped": lambda edge: pose_with_covariance_stamped(
        edge.stamp_ns, edge.translation, edge.rotation_xyzw
    ),
    "TransformStamped": lambda edge: transform_stamped(edge.stamp_ns, edge.translation, edge.rotation_xyzw),
    "Path": lambda edge: path(edge.stamp_ns, pose_stamped(edge.stamp_ns, edge.translation, edge.rotation_xyzw)),
}


@pytest.fixture(scope="session")
def wanted(converted: ConversionReport) -> dict[str, bytes]:
    return scene_files(converted)


@pytest.mark.parametrize("form", POSE)
def test_pose_topics_give_the_scenes_of_transforms(
    drive: Drive, wanted: dict[str, bytes], tmp_path: Path, form: str
) -> None:
    message: Callable[[Edge], Any] = POSE[form]
    rewritten(drive.bag, tmp_path / "bag", lambda edge: ("/ego", message(edge)), is_replaced=is_moving)
    config = config_with(drive.config_path, tmp_path / "c.yaml", ["pose_names: [ego]", "poses: {ego: {topic: /ego}}"])
    assert converted_files(tmp_path / "bag", config, tmp_path / "spool") == wanted


def converted_by_command(bag: Path, config: Path, spool: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Return status and stderr of the command."""
    status = main(["convert", str(bag), "--config", str(config), "--output", str(spool)])
    return status, capsys.readouterr().err


@pytest.mark.parametrize(
    ("shift_s", "said"),
    [(7200, "poses.ego.clock_offset_ms: -7200000.0"), (-90_000, "another drive"), (None, "since 1970")],
    ids=["local time", "another drive", "from zero"],
)
def test_a_trajectory_of_another_time_is_refused_with_what_would_explain_it(
    drive: Drive, tmp_path: Path, capsys: pytest.CaptureFixture[str], shift_s: int | None, said: str
) -> None:
    edges = rewritten(drive.bag, tmp_path / "bag", lambda _edge: None, is_replaced=is_moving)
    shift_ns = -edges[0].stamp_ns if shift_s is None else shift_s * 10**9
    rows = [" ".join([seconds(edge.stamp_ns + shift_ns), *values(edge)]) for edge in edges]
    (tmp_path / "poses.txt").write_text("\n".join(rows))
    lines = ["pose_names: [ego]", "poses: {ego: {file: poses.txt, parent_frame: odom}}"]
    config = config_with(drive.config_path, tmp_path / "c.yaml", lines)
    status, err = converted_by_command(tmp_path / "bag", config, tmp_path / "spool", capsys)
    assert status == 2
    assert said in err
    assert not (tmp_path / "spool" / "scenes").exists() or not list((tmp_path / "spool" / "scenes").iterdir())


def test_a_mount_wins_and_says_by_how_much_it_differs(
    drive: Drive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mount = drive.truth["lidars"]["top"]["base_from_lidar"]
    x, y, z = mount["translation"]
    given = f"{{parent_frame: base_link, child_frame: lidar_top, xyz: [{x}, {y}, {z + 0.25}], quaternion_xyzw: "
    lines = ["mount_names: [roof]", f"mounts: {{roof: {given}{mount['rotation_xyzw']}}}}}"]
    config = config_with(drive.config_path, tmp_path / "c.yaml", lines)
    status, err = converted_by_command(drive.bag, config, tmp_path / "spool", capsys)
    assert status == 0
    assert "mounts.roof replaces the transform base_link -> lidar_top: 250.0 mm and 0.000 degrees" in err
    assert "[mount_overrides]" in err


def test_poses_of_a_body_that_nothing_mounts_are_named_when_no_scene_comes_of_them(
    drive: Drive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rewritten(drive.bag, tmp_path / "bag", lambda edge: ("/ego", POSE["Odometry"](edge)), is_replaced=is_moving)
    lines = ["pose_names: [ego]", "poses: {ego: {topic: /ego, child_frame: imu_link}}"]
    config = config_with(drive.config_path, tmp_path / "c.yaml", lines)
    status, err = converted_by_command(tmp_path / "bag", config, tmp_path / "spool", capsys)
    assert status == 2
    assert "poses of 'imu_link' are known, and nothing joins it to 'base_link' [no_mount]" in err


def seconds(ns: int) -> str:
    return f"{ns // 10**9}.{ns % 10**9:09d}"


def values(edge: Edge) -> list[str]:
    return [repr(value) for value in (*edge.translation, *edge.rotation_xyzw)]


@pytest.mark.parametrize("form", ["tum", "csv", "kitti", "tum of nanoseconds, not sorted"])
def test_trajectory_files_give_the_scenes_of_transforms(
    drive: Drive, wanted: dict[str, bytes], tmp_path: Path, form: str
) -> None:
    edges = rewritten(drive.bag, tmp_path / "bag", lambda _edge: None, is_replaced=is_moving)
    settings = "file: poses.txt, parent_frame: odom"
    if form == "csv":
        rows = ["time_s,x_m,y_m,z_m,qx,qy,qz,qw"] + [",".join([seconds(e.stamp_ns), *values(e)]) for e in edges]
    elif form == "tum":
        rows = ["# odometry"] + [" ".join([seconds(e.stamp_ns), *values(e)]) for e in edges]
    elif form == "kitti":
        matrices = [
            np.column_stack((Rotation.from_quat(e.rotation_xyzw).as_matrix(), e.translation)).ravel() for e in edges
        ]
        rows = [" ".join(map(repr, matrix.tolist())) for matrix in matrices]
        (tmp_path / "times.txt").write_text("".join(f"{seconds(e.stamp_ns)}\n" for e in edges))
        settings += ", times_file: times.txt"
    else:
        rows = [" ".join([str(e.stamp_ns), *values(e)]) for e in reversed(edges)]
    (tmp_path / "poses.txt").write_text("\n".join(rows) + "\n")
    config = config_with(
        drive.config_path, tmp_path / "c.yaml", ["pose_names: [ego]", f"poses: {{ego: {{{settings}}}}}"]
    )
    found = converted_files(tmp_path / "bag", config, tmp_path / "spool")
    if form == "kitti":  # a matrix and a quaternion are not the same digits
        assert_alike(found, wanted)
    else:
        assert found == wanted
