# SPDX-License-Identifier: Apache-2.0
"""Sensor-fusion frames beside Scale's own package: read by its descriptor, equal to what its writer makes."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drives import make_drive
from lidar_frame_messages import rounded_to_32_bits
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from nucleus_bridge.cli.main import main
from nucleus_bridge.convert import convert_bag
from nucleus_bridge.testing.demo import DriveOptions

TYPES = get_typestore(Stores.ROS2_JAZZY)
PROGRAM = Path(__file__).with_name("lidar_io_program.py")
FRAMES = (0, 4)


@pytest.fixture(scope="module")
def scales_python() -> str:
    python = os.environ.get("NUCLEUS_BRIDGE_LIDAR_IO_PYTHON")
    if not python:
        pytest.skip("set NUCLEUS_BRIDGE_LIDAR_IO_PYTHON to a Python that has scale-lidar-io")
    return python


def run(python: str, *arguments: str | Path) -> list[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [python, str(PROGRAM), *map(str, arguments)]
    return subprocess.run(command, env=clean, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()


def as_json(frame: dict[str, Any]) -> dict[str, Any]:
    """Give a message's fields the names and places that JSON has for them."""
    images = []
    for image in frame.pop("images"):
        (model,) = {"brown_conrady", "fisheye", "omnidirectional"} & set(image)
        images.append({**image, "camera_model": model, **image.pop(model)})
        del images[-1][model]
    pose = frame.get("device_gps_pose")
    renamed = {"device_gps_pose": {"lat": pose["lat"], "lon": pose["long"], "bearing": pose["bearing"]}} if pose else {}
    return {**frame, **renamed, "images": images}


def test_scales_own_descriptor_reads_every_field(scales_python: str, tmp_path: Path) -> None:
    options = DriveOptions(
        seconds=0.2,
        points=200,
        cameras=3,
        lidars=2,
        radars=1,
        image_width=64,
        image_height=64,
        camera_model="plumb_bob,equidistant,omnidirectional",
    )
    drive = make_drive(tmp_path, options)
    text = drive.config_path.read_text().replace("point_fields: [intensity]", "point_fields: [intensity, device, time]")
    drive.config_path.write_text(text)
    frames: dict[str, list[Path]] = {}
    for name in ("sensor_fusion_json", "sensor_fusion_protobuf"):
        (scene,) = convert_bag(drive.bag, drive.config_path, tmp_path / name, format=name).scenes
        frames[name] = sorted((scene.folder / "frames").iterdir())
    read = [json.loads(line) for line in run(scales_python, "read", *frames["sensor_fusion_protobuf"])]
    assert len(read) == 2
    for line, path in zip(read, frames["sensor_fusion_json"], strict=True):
        assert line["initialized"]
        assert line["unknown_bytes"] == 0
        assert as_json(line["message"]) == rounded_to_32_bits(json.loads(path.read_bytes()))


def pose(transform: Any) -> dict[str, list[float]]:
    t, q = transform.translation, transform.rotation
    return {"translation": [t.x, t.y, t.z], "rotation_xyzw": [q.x, q.y, q.z, q.w]}


def describe(bag: Path, cameras: list[str], folder: Path) -> None:
    """Take a recording apart without this package: raw points, poses, calibrations."""
    static: dict[str, Any] = {}
    frames: dict[int, dict[str, Any]] = {}
    infos: dict[str, Any] = {}
    with AnyReader([bag], default_typestore=TYPES) as reader:
        for connection, _, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            if connection.topic == "/tf_static":
                static |= {entry.child_frame_id: pose(entry.transform) for entry in message.transforms}
            elif connection.topic == "/tf":
                for entry in message.transforms:
                    stamp = entry.header.stamp.sec * 10**9 + entry.header.stamp.nanosec
                    frames.setdefault(stamp, {})["map_from_base"] = pose(entry.transform)
            elif connection.topic == "/lidar/points":
                stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
                points = message.data.reshape(-1, message.point_step)[:, :16].copy().view("<f4").astype(np.float64)
                points[:, 3] /= 255.0
                frames.setdefault(stamp, {})["points"] = f"{stamp}.npy"
                np.save(folder / f"{stamp}.npy", points)
            elif connection.topic.endswith("camera_info"):
                infos[connection.topic.split("/")[2]] = message
    chosen = [frames[stamp] for stamp in sorted(frames)]
    drive = {
        "base_from_lidar": static["lidar"],
        "cameras": [
            {
                "k": infos[name].k.tolist(),
                "d": infos[name].d.tolist(),
                "base_from_camera": static[f"camera_{name}_optical"],
            }
            for name in cameras
        ],
        "frames": [chosen[number] for number in FRAMES],
    }
    (folder / "drive.json").write_text(json.dumps(drive))


def test_scales_own_writer_gives_the_same_numbers(scales_python: str, real_data: Path, tmp_path: Path) -> None:
    bag, config = real_data / "scale_sample", tmp_path / "config.yaml"
    assert main(["init", str(bag), "-o", str(config)]) == 0
    choices = ["--set", "scene.origin=none", "--set", "scene.frame_stride=4"]
    spool = tmp_path / "spool"
    wanted = ["--config", str(config), "--output", str(spool), "--format", "sensor_fusion_json"]
    assert main(["convert", str(bag), *wanted, *choices]) == 0
    ours = [json.loads(path.read_bytes()) for path in sorted(spool.glob("scenes/*/frames/*.json"))]
    describe(bag, [image["image_url"].split("/")[0] for image in ours[0]["images"]], tmp_path)
    run(scales_python, "write", tmp_path)
    assert len(ours) == len(FRAMES)
    for number, frame in enumerate(ours):
        theirs = json.loads((tmp_path / f"frame-{number}.json").read_text())
        assert_same(frame, theirs)


def assert_same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Hold a frame against theirs; ours has 3 decimals of points and theirs 4, poses 6 and 9 and theirs 10 and more."""
    assert len(ours["points"]) == len(theirs["points"]) > 150_000
    for key, tolerance in (("x", 0.00056), ("y", 0.00056), ("z", 0.00056), ("i", 0.00056)):
        one, other = (np.array([point[key] for point in frame["points"]]) for frame in (ours, theirs))
        assert np.abs(one - other).max() <= tolerance
    assert_near(ours["device_position"], theirs["device_position"], 1e-6)
    assert_same_turn(ours["device_heading"], theirs["device_heading"])
    assert len(ours["images"]) == len(theirs["images"]) == 3
    for one, other in zip(ours["images"], theirs["images"], strict=True):
        assert_near(one["position"], other["position"], 1e-6)
        assert_same_turn(one["heading"], other["heading"])
        keys = ("fx", "fy", "cx", "cy", "skew", "k1", "k2", "k3", "p1", "p2")
        assert_near({key: one[key] for key in keys}, {key: other[key] for key in keys}, 1e-9)
        assert one["camera_model"] == other["camera_model"]


def assert_near(one: dict[str, float], other: dict[str, float], tolerance: float) -> None:
    assert set(one) == set(other)
    assert max(abs(one[key] - other[key]) for key in one) <= tolerance


def assert_same_turn(one: dict[str, float], other: dict[str, float]) -> None:
    """Compare rotations; q and -q are the same one."""
    sign = np.sign(sum(one[axis] * other[axis] for axis in "xyzw"))
    assert_near(one, {axis: sign * other[axis] for axis in "wxyz"}, 1e-8)
