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
