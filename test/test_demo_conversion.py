# SPDX-License-Identifier: Apache-2.0
"""The demo drive through the whole converter, against its ground truth."""

from __future__ import annotations

import filecmp
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from drives import SHORT, Drive, make_drive
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore

from nucleus_bridge.config import load_config
from nucleus_bridge.convert import ConversionReport, convert_bag

TYPES = get_typestore(Stores.ROS2_JAZZY)


def scene_of(report: ConversionReport, index: int = 0) -> tuple[Path, dict[str, Any], np.ndarray]:
    folder = report.scenes[index].folder
    offset = report.scenes[index].manifest.world_offset
    return folder, json.loads((folder / "scene.json").read_text()), np.array([offset[axis] for axis in "xyz"])


def xyz(record: dict[str, float]) -> np.ndarray:
    return np.array([record[axis] for axis in "xyz"])


def angle_between(q: dict[str, float], truth_xyzw: list[float]) -> float:
    """Rotation angle between two quaternions, by the vector part of their quotient (exact for small angles)."""
    a, b = np.array([q[axis] for axis in "xyzw"]), np.array(truth_xyzw)
    vector = a[3] * b[:3] - b[3] * a[:3] + np.cross(a[:3], b[:3])
    return float(2 * np.arcsin(min(1.0, float(np.sqrt(vector @ vector)))))


def rotate(xyzw: list[float], points: np.ndarray) -> np.ndarray:
    u, w = np.array(xyzw[:3]), xyzw[3]
    return points + 2 * np.cross(u, np.cross(u, points) + w * points)


def clouds(report: ConversionReport) -> list[tuple[dict[str, Any], np.ndarray]]:
    folder, scene, _ = scene_of(report)
    result = []
    for frame in scene["frames"]:
        document = json.loads((folder / frame["top"]["url"]).read_text())
        result.append((document, np.array([[p["x"], p["y"], p["z"]] for p in document["points"]])))
    return result


def same_tree(one: Path, other: Path) -> bool:
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(other) for path in other.rglob("*") if path.is_file())
    return all(filecmp.cmp(one / path, other / path, shallow=False) for path in files)


def test_every_frame_of_the_drive_comes_out_and_nothing_is_lost(drive: Drive, converted: ConversionReport) -> None:
    assert converted.complete
    sweeps = drive.truth["lidars"]["top"]["sweeps"]
    assert [scene.manifest.frames for scene in converted.scenes] == [len(sweeps)]
    assert converted.scenes[0].manifest.items == 3 * len(sweeps)
    assert converted.scenes[0].manifest.end_reason == "end_of_data"


def test_device_poses_are_the_truth(drive: Drive, converted: ConversionReport) -> None:
    _, _, offset = scene_of(converted)
    for (document, _), sweep in zip(clouds(converted), drive.truth["lidars"]["top"]["sweeps"], strict=False):
        truth = sweep["map_from_base_link"]
        assert document["timestamp"] == sweep["stamp_ns"]
        assert np.abs(xyz(document["device_position"]) + offset - truth["translation"]).max() < 1e-3
        assert angle_between(document["device_heading"], truth["rotation_xyzw"]) < 1e-6


@pytest.mark.parametrize("camera", ["front", "rear"])
def test_camera_poses_are_the_truth_at_each_images_own_stamp(
    drive: Drive, converted: ConversionReport, camera: str
) -> None:
    _, scene, offset = scene_of(converted)
    truth = {image["stamp_ns"]: image["map_from_camera"] for image in drive.truth["cameras"][camera]["images"]}
    for frame in scene["frames"]:
        params = frame[camera]["metadata"]["camera_params"]
        pose = truth[params["timestamp"]]
        assert np.abs(xyz(params["position"]) + offset - pose["translation"]).max() < 1e-3
        assert angle_between(params["heading"], pose["rotation_xyzw"]) < 1e-6


def test_points_of_a_standing_vehicle_are_the_drivers_points_moved_by_the_true_pose(
    drive: Drive, tmp_path: Path
) -> None:
    report = convert_bag(drive.bag, load_config(drive.config_path, ["deskew=false"]), tmp_path / "spool")
    _, _, offset = scene_of(report)
    base_from_lidar = drive.truth["lidars"]["top"]["base_from_lidar"]
    standing = [
        s for s in drive.truth["lidars"]["top"]["sweeps"] if s["stamp_ns"] < drive.truth["start_ns"] + 800_000_000
    ]
    raw = raw_points(drive, "/lidar/top/points")
    assert len(standing) >= 5
    for (_, points), sweep in zip(clouds(report), standing, strict=False):
        pose = sweep["map_from_base_link"]
        in_base = rotate(base_from_lidar["rotation_xyzw"], raw[sweep["stamp_ns"]]) + base_from_lidar["translation"]
        world = rotate(pose["rotation_xyzw"], in_base) + pose["translation"] - offset
        assert np.abs(points - world).max() < 1e-3


def raw_points(drive: Drive, topic: str) -> dict[int, np.ndarray]:
    """Read x, y, z (the first twelve bytes of each point) straight from the bag."""
    found = {}
    with Reader(drive.bag) as reader:
        for connection, _, data in reader.messages([c for c in reader.connections if c.topic == topic]):
            cloud = TYPES.deserialize_cdr(data, connection.msgtype)
            rows = cloud.data.reshape(-1, cloud.point_step)[:, :12].copy().view("<f4").astype(float)
            found[cloud.header.stamp.sec * 10**9 + cloud.header.stamp.nanosec] = rows
    return found


def pole_distances(drive: Drive, points: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Distance from the surface of the pole it belongs to, for each point near one and well above the ground."""
    world = points + offset
    distances = []
    for pole in drive.truth["poles"]:
        high = world[(world[:, 2] > 0.3) & (world[:, 2] < pole["height"] - 0.1)]
        away = np.hypot(high[:, 0] - pole["x"], high[:, 1] - pole["y"]) - pole["radius"]
        distances.append(away[np.abs(away) < 0.5])
    return np.concatenate(distances)


def test_deskewed_poles_stand_where_they_stand_and_without_deskew_they_do_not(
    drive: Drive, converted: ConversionReport, tmp_path: Path
) -> None:
    skewed = convert_bag(drive.bag, load_config(drive.config_path, ["deskew=false"]), tmp_path / "spool")
    offset = scene_of(converted)[2]
    moving = slice(25, None)
    errors = {}
    for name, report in (("deskewed", converted), ("skewed", skewed)):
        distances = [pole_distances(drive, points, offset) for _, points in clouds(report)[moving]]
        errors[name] = float(np.percentile(np.abs(np.concatenate(distances)), 99))
    assert errors["deskewed"] < 0.02
    assert errors["skewed"] > 0.1


@pytest.mark.parametrize("camera", ["front", "rear"])
def test_images_are_the_bags_bytes(drive: Drive, converted: ConversionReport, camera: str) -> None:
    folder, scene, _ = scene_of(converted)
    topic = drive.truth["cameras"][camera]["image_topic"]
    originals = {}
    with Reader(drive.bag) as reader:
        for connection, _, data in reader.messages([c for c in reader.connections if c.topic == topic]):
            image = TYPES.deserialize_cdr(data, connection.msgtype)
            originals[image.header.stamp.sec * 10**9 + image.header.stamp.nanosec] = image.data.tobytes()
    for frame in scene["frames"]:
        stamp = frame[camera]["metadata"]["camera_params"]["timestamp"]
        assert (folder / frame[camera]["url"]).read_bytes() == originals[stamp]


@pytest.mark.parametrize("camera", ["front", "rear"])
def test_poles_project_onto_their_pixels_with_what_is_uploaded(
    drive: Drive, converted: ConversionReport, camera: str
) -> None:
    """OpenCV projects each pole's axis with the uploaded parameters; its colour must be there."""
    folder, scene, offset = scene_of(converted)
    seen = 0
    for frame in scene["frames"][::6]:
        params = frame[camera]["metadata"]["camera_params"]
        picture = cv2.imread(str(folder / frame[camera]["url"]))
        for pole in drive.truth["poles"]:
            axis = np.array([pole["x"], pole["y"], 0.5 * pole["height"]]) - offset
            pixel, depth, half_width = project(params, axis, pole["radius"])
            inside = 20 < pixel[0] < picture.shape[1] - 20 and 20 < pixel[1] < picture.shape[0] - 20
            if not inside or not 3.0 < depth < 15.0 or half_width < 2.0:
                continue
            column, row = np.rint(pixel).astype(int)
            if hidden(drive, params, offset, axis, pole):
                continue
            colour = picture[row, column].astype(int)[::-1]
            assert np.abs(colour - pole["color"]).max() < 90, (frame[camera]["url"], pole, colour)
            seen += 1
    assert seen >= 5


def project(params: dict[str, Any], point: np.ndarray, radius: float) -> tuple[np.ndarray, float, float]:
    q = [params["heading"][axis] for axis in "xyzw"]
    in_camera = rotate([-q[0], -q[1], -q[2], q[3]], (point - xyz(params["position"]))[None])[0]
    k = np.array([[params["fx"], params["skew"], params["cx"]], [0, params["fy"], params["cy"]], [0, 0, 1]])
    d = np.array([params[name] for name in ("k1", "k2", "p1", "p2", "k3")])
    if in_camera[2] < 1.0 or np.hypot(*in_camera[:2]) > in_camera[2]:
        return np.array([-1.0, -1.0]), float(in_camera[2]), 0.0
    pixel, _ = cv2.projectPoints(in_camera[None], np.zeros(3), np.zeros(3), k, d)
    return pixel.reshape(2), float(in_camera[2]), params["fx"] * radius / float(in_camera[2])


def hidden(drive: Drive, params: dict[str, Any], offset: np.ndarray, target: np.ndarray, pole: dict[str, Any]) -> bool:
    """Whether anything stands on the line of sight, seen from above with a margin."""
    eye, end = (xyz(params["position"]) + offset)[:2], (target + offset)[:2]
    steps = eye + np.linspace(0, 0.97, 200)[:, None] * (end - eye)
    for other in drive.truth["poles"]:
        if other is not pole and np.hypot(*(steps - [other["x"], other["y"]]).T).min() < 0.5:
            return True
    for box in [*drive.truth["boxes"], *drive.truth["walls"]]:
        turned = steps - [box["x"], box["y"]]
        c, s = np.cos(box["yaw"]), np.sin(box["yaw"])
        along, across = turned @ [c, s], turned @ [-s, c]
        if ((np.abs(along) < box["length"] / 2 + 0.3) & (np.abs(across) < box["width"] / 2 + 0.3)).any():
            return True
    return False


def test_gps_pose_is_there_and_follows_the_truth(drive: Drive, converted: ConversionReport) -> None:
    poses = [document.get("device_gps_pose") for document, _ in clouds(converted)]
    assert sum(pose is not None for pose in poses) >= len(poses) - 4  # no extrapolation past the last fix
    for pose, sweep in zip(poses, drive.truth["lidars"]["top"]["sweeps"], strict=False):
        if pose is None:
            continue
        assert abs((pose["bearing"] - sweep["bearing"] + 180) % 360 - 180) < 0.1
        assert abs(pose["lat"] - sweep["antenna"]["latitude"]) * 111_200 < 0.05
        assert abs(pose["lon"] - sweep["antenna"]["longitude"]) * 111_320 * np.cos(np.radians(pose["lat"])) < 0.05


def test_same_bytes_from_sqlite3_from_two_workers_and_again(
    drive: Drive, converted: ConversionReport, tmp_path: Path
) -> None:
    other = make_drive(tmp_path, replace(SHORT, storage="sqlite3"))
    reference = converted.scenes[0].folder
    for name, bag, workers in (("again", drive.bag, 1), ("sqlite3", other.bag, 1), ("two", drive.bag, 2)):
        report = convert_bag(bag, drive.config, tmp_path / name, workers=workers)
        assert len(report.scenes) == 1
        assert same_tree(reference, report.scenes[0].folder), name


def test_doing_it_again_is_harmless_and_another_configuration_needs_force(
    drive: Drive, converted: ConversionReport, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    first = convert_bag(drive.bag, drive.config, spool)
    again = convert_bag(drive.bag, drive.config, spool)
    assert again.skipped
    assert [scene.manifest for scene in again.scenes] == [scene.manifest for scene in first.scenes]
    assert again.losses == first.losses
    forced = convert_bag(drive.bag, load_config(drive.config_path, ["deskew=false"]), spool, force=True)
    assert not forced.skipped
    assert forced.scenes[0].manifest != first.scenes[0].manifest
    assert sorted(path.name for path in (spool / "open").iterdir()) == []


def test_scenes_split_at_three_hundred_items(drive: Drive, tmp_path: Path) -> None:
    report = convert_bag(drive.bag, load_config(drive.config_path, ["scene.max_items=30"]), tmp_path / "spool")
    assert [scene.manifest.items for scene in report.scenes] == [30, 30, 30, 30]
    assert {scene.manifest.end_reason for scene in report.scenes} == {"max_items", "end_of_data"}
    total = [stamp for scene in report.scenes for stamp in stamps(scene.folder)]
    assert total == [sweep["stamp_ns"] for sweep in drive.truth["lidars"]["top"]["sweeps"]]


def stamps(folder: Path) -> list[int]:
    scene = json.loads((folder / "scene.json").read_text())
    return [json.loads((folder / frame["top"]["url"]).read_text())["timestamp"] for frame in scene["frames"]]
