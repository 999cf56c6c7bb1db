# SPDX-License-Identifier: Apache-2.0
"""Mounts in numbers and in calibration files of every form are the mounts that an independent calculation gives."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pose_messages import matrix_of
from scipy.spatial.transform import Rotation

from nucleus_bridge.config import MountConfig
from nucleus_bridge.errors import ConfigError
from nucleus_bridge.model import FloatArray
from nucleus_bridge.poses.mounts import Mount
from nucleus_bridge.poses.source import Edge

XYZ = (1.8, -0.25, 1.4)
RPY = (-1.6, 0.02, -1.5)
QUATERNION = Rotation.from_euler("xyz", RPY).as_quat().tolist()
MATRIX = np.eye(4)
MATRIX[:3, :3], MATRIX[:3, 3] = Rotation.from_euler("xyz", RPY).as_matrix(), XYZ


def named(names: Any, values: Any) -> dict[str, float]:
    return dict(zip(names, values, strict=True))


def mounted(folder: Path, parent: str = "base_link", child: str = "camera", **settings: Any) -> Edge:
    (edge,) = Mount(MountConfig("front", parent, child, **settings), folder).initial()
    assert (edge.parent, edge.child, edge.static) == (parent, child, True)
    return edge


def is_mount(edge: Edge, wanted: FloatArray = MATRIX, within: float = 1e-12) -> bool:
    return bool(np.abs(matrix_of(edge) - wanted).max() < within)


def write(folder: Path, content: Any) -> str:
    (folder / "mounts.yaml").write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return "mounts.yaml"


def test_numbers_of_the_configuration(tmp_path: Path) -> None:
    assert is_mount(mounted(tmp_path, xyz=XYZ, rpy=RPY))
    assert is_mount(mounted(tmp_path, xyz=XYZ, quaternion_xyzw=tuple(QUATERNION)))
    assert mounted(tmp_path, xyz=XYZ).rotation_xyzw == (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    "entry",
    [
        named(("x", "y", "z", "roll", "pitch", "yaw"), (*XYZ, *RPY)),
        {"xyz": list(XYZ), "rpy": list(RPY)},
        {"translation": list(XYZ), "rotation": QUATERNION},
        {"translation": named("xyz", XYZ), "rotation": named("xyzw", QUATERNION)},
        {"position": list(XYZ), "rotation": MATRIX[:3, :3].tolist()},
        named(("x", "y", "z", "qx", "qy", "qz", "qw"), (*XYZ, *QUATERNION)),
        {"T": MATRIX.tolist()},
        {"matrix": MATRIX.ravel().tolist()},
        {"transform": {"translation": named("xyz", XYZ), "rpy": list(RPY)}},
        MATRIX.tolist(),
        MATRIX[:3].ravel().tolist(),
    ],
    ids=str,
)
def test_plain_yaml_in_the_forms_that_people_write(tmp_path: Path, entry: Any) -> None:
    for content, key in (
        ({"base_link": {"camera": entry}}, ""),
        ({"camera": entry, "lidar": {"x": 1}}, ""),
        ({"vehicle": {"front/optical": entry}}, "vehicle/front/optical"),
    ):
        assert is_mount(mounted(tmp_path, file=write(tmp_path, content), key=key))
    assert not isinstance(entry, dict) or is_mount(mounted(tmp_path, file=write(tmp_path, entry)))


def test_a_matrix_that_maps_the_other_way_is_turned_round(tmp_path: Path) -> None:
    name = write(tmp_path, {"T_camera_base": np.linalg.inv(MATRIX).tolist()})
    assert is_mount(mounted(tmp_path, file=name, key="T_camera_base^-1"))


def test_a_kalibr_chain_leads_from_camera_to_camera_to_the_imu(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    steps = np.tile(np.eye(4), (3, 1, 1))
    steps[:, :3, :3], steps[:, :3, 3] = Rotation.random(3, rng=rng).as_matrix(), rng.normal(size=(3, 3))
    chain: dict[str, Any] = {
        "cam0": {"camera_model": "pinhole", "T_cam_imu": steps[0].tolist()},
        "cam1": {"camera_model": "pinhole", "T_cn_cnm1": steps[1].tolist()},
        "cam2": {"camera_model": "pinhole", "T_cn_cnm1": steps[2].ravel().tolist()},
    }
    name = write(tmp_path, "%YAML:1.0\n" + yaml.safe_dump(chain))
    to_imu = np.linalg.inv(steps[2] @ steps[1] @ steps[0])
    assert is_mount(mounted(tmp_path, "imu_link", "camera", file=name, key="cam2"), to_imu)
    previous = mounted(tmp_path, "cam1_optical", "camera", file=name, key="cam2/T_cn_cnm1")
    assert is_mount(previous, np.linalg.inv(steps[2]))
    del chain["cam0"]["T_cam_imu"]
    name = write(tmp_path, chain)
    to_first = np.linalg.inv(steps[2] @ steps[1])
    assert is_mount(mounted(tmp_path, "cam0_optical", "camera", file=name, key="cam2"), to_first)
    with pytest.raises(ConfigError, match="cam0 has no T_cam_imu"):
        mounted(tmp_path, file=name, key="cam0")
    with pytest.raises(ConfigError, match="it has cam0, cam1, cam2"):
        mounted(tmp_path, file=name, key="cam7")


def truth_of(folder: Path, kind: str, name: str, mount: str) -> FloatArray:
    truth = json.loads((folder / "base.truth.json").read_text())[kind][name][mount]
    return matrix_of(Edge("", "", 0, truth["translation"], truth["rotation_xyzw"], static=True))


@pytest.mark.parametrize(("camera", "key"), [("front", "cam0"), ("rear", "cam1"), ("rear", "cam1/T_cam_imu")])
def test_kalibr_of_the_drive(real_data: Path, camera: str, key: str) -> None:
    folder = real_data / "inputs" / "made"
    edge = mounted(folder / "calibration", file="camchain-imucam.yaml", key=key)
    assert is_mount(edge, truth_of(folder, "cameras", camera, "base_from_camera"), 1e-9)


def test_autoware_of_the_drive_in_two_files(real_data: Path) -> None:
    folder = real_data / "inputs" / "made"
    kit = mounted(folder / "calibration", "base_link", "sensor_kit_base_link", file="sensors_calibration.yaml")
    lidar = mounted(folder / "calibration", "sensor_kit_base_link", "lidar_top", file="sensor_kit_calibration.yaml")
    product = matrix_of(kit) @ matrix_of(lidar)
    assert np.abs(product - truth_of(folder, "lidars", "top", "base_from_lidar")).max() < 2e-9  # of nine digits


def test_matrices_of_opencv_of_the_drive(real_data: Path) -> None:
    folder = real_data / "inputs" / "made"
    for camera in ("front", "rear"):
        edge = mounted(folder / "calibration", file=f"opencv_{camera}.yaml", key="T_base_camera")
        assert is_mount(edge, truth_of(folder, "cameras", camera, "base_from_camera"))


def test_real_files_of_autoware(real_data: Path) -> None:
    folder = real_data / "inputs" / "real" / "calibration"
    for file in ("autoware_sensor_kit_calibration.yaml", "autoware_sensors_calibration.yaml"):
        for parent, children in yaml.safe_load((folder / file).read_text()).items():
            for child, entry in children.items():
                edge = mounted(folder, parent, child.replace("/", "_"), file=file, key=child)
                wanted = np.eye(4)
                angles = [entry[name] for name in ("roll", "pitch", "yaw")]
                wanted[:3, :3] = Rotation.from_euler("xyz", angles).as_matrix()
                wanted[:3, 3] = [entry[name] for name in "xyz"]
                assert is_mount(edge, wanted)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, r"mounts\.front\.xyz: set it"),
        ({"xyz": (1.0, 2.0)}, "three finite numbers"),
        ({"xyz": (1.0, 2.0, math.nan)}, "three finite numbers"),
        ({"xyz": XYZ, "rpy": (-90.0, 0.0, -90.0)}, r"degrees\? In radians: \[-1\.5708, 0, -1\.5708\]"),
        ({"xyz": XYZ, "rpy": RPY, "quaternion_xyzw": (0.0, 0.0, 0.0, 1.0)}, "leave one of them out"),
        ({"xyz": XYZ, "quaternion_xyzw": (0.0, 0.0, 0.0, 0.0)}, "length 0"),
        ({"xyz": XYZ, "quaternion_xyzw": (0.5, 0.5, 0.5, 0.9)}, "not 1"),
        ({"xyz": XYZ, "file": "mounts.yaml"}, "leave one of them out"),
        ({"file": "none.yaml"}, "cannot be read"),
    ],
)
def test_what_is_wrong_with_a_mount_is_named(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        mounted(tmp_path, **settings)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("just text", "no mapping"),
        ("a: {b: [", "not valid YAML"),
        ({"base_link": {"lidar": {"x": 0, "y": 0, "z": 0}}}, "it has base_link/lidar"),
        ({"camera": {"x": 0, "y": 0, "z": 0, "euler": [0, 0, 1]}}, "no rotation is known among euler"),
        ({"camera": {"rpy": [0, 0, 1]}}, "neither xyz"),
        ({"camera": {"xyz": [0, 0, 1], "rpy": [0, 0, 90]}}, "degrees"),
        ({"camera": (2.0 * np.eye(4)).tolist()}, "last row"),
        ({"camera": np.diag([1.0, 1.0, -1.0, 1.0]).tolist()}, "is not a rotation matrix"),
        ({"camera": np.diag([1.1, 1.1, 1.1, 1.0]).tolist()}, "is not a rotation matrix"),
        ({"camera": [1, 2, 3]}, "not a 3x4 or 4x4 matrix"),
        ({"camera": {"xyz": [10**400, 0, 0], "rpy": [0, 0, 0]}}, "does not fit 64 bits"),
        ({"camera": {"xyz": ["a", "b", "c"]}}, "neither xyz"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path: Path, content: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        mounted(tmp_path, file=write(tmp_path, content))


def test_two_frames_are_needed(tmp_path: Path) -> None:
    for parent, child in (("", "camera"), ("base_link", ""), ("camera", "/camera")):
        with pytest.raises(ConfigError, match="two different frames"):
            Mount(MountConfig("front", parent, child, xyz=XYZ), tmp_path)


def test_a_mount_says_by_how_much_it_differs_from_a_transform(tmp_path: Path) -> None:
    mount = Mount(MountConfig("front", "base_link", "camera", xyz=XYZ, rpy=(0.0, 0.0, 0.0)), tmp_path)
    x, y, z = XYZ
    turned = tuple(Rotation.from_euler("z", 3.0, degrees=True).as_quat().tolist())
    moved = Edge("base_link", "camera", 0, (x + 0.3, y + 0.4, z), turned, static=True)
    assert mount.overrules(moved) == (
        "mounts.front replaces the transform base_link -> camera: 500.0 mm and 3.000 degrees from it"
    )
    assert mount.overrules(mount.edge._replace(rotation_xyzw=(0.0, 0.0, 0.0, -1.0))) == ""
    assert "base_link as parent" in mount.overrules(mount.edge._replace(parent="roof"))
    assert mount.overrules(mount.edge._replace(child="lidar")) == ""


def test_millimetres_for_metres_are_noticed(tmp_path: Path) -> None:
    (finding,) = Mount(MountConfig("front", "base_link", "camera", xyz=(1800.0, 0.0, 1400.0)), tmp_path).findings
    assert (finding.code, finding.name) == ("mount_far", "camera")
