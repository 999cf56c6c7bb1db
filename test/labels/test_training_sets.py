# SPDX-License-Identifier: Apache-2.0
"""Training sets: nuscenes-devkit and a reader of KITTI's files place the true boxes on the points that are theirs."""

from __future__ import annotations

import csv
import json
import math
import os
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from drives import Drive
from label_cases import Held, corners

from nucleus_bridge.cli.main import main
from nucleus_bridge.testing.receiver.ground_truth import TrueBox

SLACK_M = 0.05
MM = 1e-3


def own_points(box: TrueBox, points: np.ndarray, slack: float = SLACK_M) -> np.ndarray:
    """Return which points of the world, shape (n, 3), are on or in a true box."""
    sine, cosine = math.sin(box.heading), math.cos(box.heading)
    away = points - np.array(box.center)
    own = np.stack([cosine * away[:, 0] + sine * away[:, 1], -sine * away[:, 0] + cosine * away[:, 1], away[:, 2]], 1)
    inside: np.ndarray = (np.abs(own) <= np.array(box.size) / 2 + slack).all(axis=1)
    return inside


def world_cloud(held: Held, frame: int) -> np.ndarray:
    """Return the points of a frame of the first scene in the world, straight from the sealed JSON."""
    manifest = held.manifests[0]
    cloud = json.loads((held.spool / "scenes" / manifest["reference_id"] / f"top/{frame:06d}.json").read_bytes())
    xyz = np.array([[point["x"], point["y"], point["z"]] for point in cloud["points"]])
    return np.asarray(xyz + np.array(list(manifest["world_offset"].values())))


@pytest.fixture(scope="session")
def nuscenes_python() -> Path:
    python = os.environ.get("NUCLEUS_BRIDGE_NUSCENES_PYTHON", "")
    if not python:
        pytest.skip("NUCLEUS_BRIDGE_NUSCENES_PYTHON is not set: no nuscenes-devkit to test with")
    return Path(python)


def test_nuscenes_devkit_loads_it_and_the_boxes_are_where_they_belong(
    held: Held, drive: Drive, nuscenes_python: Path, tmp_path: Path
) -> None:
    assert main(["labels", str(held.spool), "-o", str(tmp_path), "--format", "nuscenes", *held.options]) == 0
    program = Path(__file__).with_name("nuscenes_program.py")
    run = subprocess.run(
        [str(nuscenes_python), str(program), str(tmp_path)], capture_output=True, text=True, check=False, timeout=600
    )
    assert run.returncode == 0, run.stderr
    said: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    check_pictures(said["pictures"], held, drive)
    frames = {stamps["stamp_ns"] // 1000: number for number, stamps in enumerate(held.manifests[0]["stamps"])}
    assert said["scenes"] == [[held.manifests[0]["reference_id"], len(frames)]]
    assert len(said["boxes"]) == len(frames) * len(held.boxes)
    assert said["categories"] == sorted({box.label for box in held.boxes})
    assert said["instances"] == [[len(frames), len(frames)]] * len(held.boxes)
    on_points = 0
    clouds = {number: world_cloud(held, number) for number in (0, len(frames) - 1)}
    for seen in said["boxes"]:
        assert seen["timestamp"] in frames
        box = next(box for box in held.boxes if np.abs(np.array(box.center) - seen["center"]).max() < MM)
        assert (seen["name"], seen["wlh"]) == (box.label, pytest.approx([box.size[1], box.size[0], box.size[2]]))
        front = [math.cos(box.heading), math.sin(box.heading), 0.0]
        assert np.degrees(np.arccos(np.clip(np.dot(seen["front"], front), -1, 1))) < 0.01
        assert seen["counted"] == pytest.approx(seen["inside"], abs=2)  # float32 points on the very edge
        cloud = clouds.get(frames[seen["timestamp"]])
        if cloud is not None:
            own = int(own_points(box, cloud).sum())
            on_points += own
            assert seen["inside"] >= 0.95 * own - 1
    assert on_points > 100
    for cloud in said["clouds"]:
        world = clouds.get(frames[cloud["timestamp"]])
        if world is not None:
            assert np.abs(np.array(cloud["points"]) - world[::20]).max() < MM


def check_pictures(pictures: list[dict[str, Any]], held: Held, drive: Drive) -> None:
    """The devkit projects the boxes onto the pixels that the true camera sees them at."""
    poses = {
        (f"CAM_{name.upper()}", image["stamp_ns"] // 1000): (camera, image["map_from_camera"])
        for name, camera in drive.truth["cameras"].items()
        for image in camera["images"]
    }
    compared = 0
    assert len({picture["channel"] for picture in pictures}) == len(drive.truth["cameras"])
    for picture in pictures:
        assert picture["size"] == picture["said"]
        camera, pose = poses[picture["channel"], picture["timestamp"]]
        for seen in picture["boxes"]:
            if min(seen["depths"]) < 1.0:
                continue
            shown = np.array(seen["corners"])
            expected = [
                np.array(pixels) for box in held.boxes if (pixels := projected(corners(box), camera, pose)) is not None
            ]
            assert min(np.abs(pixels - shown).max() for pixels in expected) < 1.0
            compared += 1
    assert compared > 20


def projected(points: np.ndarray, camera: dict[str, Any], pose: dict[str, Any]) -> np.ndarray | None:
    """Return where a pinhole camera sees points of the world, in the devkit's order of corners, without distortion."""
    x, y, z, w = pose["rotation_xyzw"]
    turn = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    local = (points - np.array(pose["translation"])) @ turn
    if local[:, 2].min() <= 0.0:
        return None
    pixels = local @ np.array(camera["k"]).reshape(3, 3).T
    flat: np.ndarray = pixels[:, :2] / pixels[:, 2:]
    return flat


class KittiFrame:
    """A frame as a reader of KITTI's files understands it (readme of the object development kit), by its own means."""

    def __init__(self, root: Path, number: int) -> None:
        name = f"{number:06d}"
        rows = (line.split(":") for line in (root / "calib" / f"{name}.txt").read_text().splitlines() if line)
        values = {key: np.array([float(value) for value in text.split()]) for key, text in rows}
        self.p2 = values["P2"].reshape(3, 4)
        self.rect = values["R0_rect"].reshape(3, 3)
        self.camera_from_velo = values["Tr_velo_to_cam"].reshape(3, 4)
        self.points = np.fromfile(root / "velodyne" / f"{name}.bin", np.float32).reshape(-1, 4).astype(float)
        self.labels = [line.split() for line in (root / "label_2" / f"{name}.txt").read_text().splitlines()]
        self.image = cv2.imread(str(root / "image_2" / f"{name}.png"))

    def in_camera(self) -> np.ndarray:
        points = np.hstack([self.points[:, :3], np.ones((len(self.points), 1))])
        moved: np.ndarray = points @ (self.rect @ self.camera_from_velo).T
        return moved

    @staticmethod
    def box(label: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the corners of a label in the rectified camera, shape (8, 3), and its front direction."""
        height, width, length, x, y, z, turn = (float(value) for value in label[8:15])
        turned = np.array([[math.cos(turn), 0, math.sin(turn)], [0, 1, 0], [-math.sin(turn), 0, math.cos(turn)]])
        xs = length / 2 * np.array([1, 1, -1, -1, 1, 1, -1, -1])
        ys = -height * np.array([0, 0, 0, 0, 1, 1, 1, 1])
        zs = width / 2 * np.array([1, -1, -1, 1, 1, -1, -1, 1])
        return np.stack([xs, ys, zs], 1) @ turned.T + [x, y, z], turned @ [1.0, 0.0, 0.0]

    def inside(self, label: list[str]) -> np.ndarray:
        height, width, length, x, y, z, turn = (float(value) for value in label[8:15])
        away = self.in_camera() - [x, y - height / 2, z]
        own = np.stack(
            [
                math.cos(turn) * away[:, 0] - math.sin(turn) * away[:, 2],
                away[:, 1],
                math.sin(turn) * away[:, 0] + math.cos(turn) * away[:, 2],
            ],
            1,
        )
        half = np.array([length, height, width]) / 2 + SLACK_M
        within: np.ndarray = (np.abs(own) <= half).all(axis=1)
        return within


def test_a_reader_of_kitti_places_the_boxes_on_their_points_and_pixels(
    held: Held, drive: Drive, tmp_path: Path
) -> None:
    assert main(["labels", str(held.spool), "-o", str(tmp_path), "--format", "kitti", *held.options]) == 0
    frames = list(csv.DictReader((tmp_path / "frames.csv").read_text().splitlines()))
    stamps = [stamps["stamp_ns"] for stamps in held.manifests[0]["stamps"]]
    assert [int(row["stamp_ns"]) for row in frames] == stamps
    name = next(iter(drive.truth["cameras"]))
    camera = drive.truth["cameras"][name]
    seen_in_image = total = 0
    for number in (0, len(frames) // 2, len(frames) - 1):
        frame = KittiFrame(tmp_path / "training", number)
        assert frame.image.shape[:2] == (camera["height"], camera["width"])
        world = world_cloud(held, number)
        assert len(frame.points) == len(world)
        assert len(frame.labels) == len(held.boxes)
        places = frame.in_camera()
        for box, label in zip(sorted(held.boxes, key=lambda box: box.track), frame.labels, strict=True):
            assert label[0] == box.label
            own = own_points(box, world)
            total += int(own.sum())
            assert (frame.inside(label) & own).sum() >= 0.95 * own.sum()
            assert frame.inside(label).sum() <= own.sum() + 1
            assert [float(value) for value in label[8:11]] == pytest.approx(
                [box.size[2], box.size[1], box.size[0]], abs=MM
            )
            rigid, front = frame.box(label)
            heading = [math.cos(box.heading), math.sin(box.heading), 0.0]
            assert distances(rigid, front, places) == pytest.approx(
                distances(corners(box), np.array(heading), world), abs=3 * MM
            )
            if label[4:8] != ["0.0000"] * 4 and float(label[1]) < 0.5 and rigid[:, 2].min() > 1.0:
                pixels = np.hstack([rigid, np.ones((8, 1))]) @ frame.p2.T
                flat = pixels[:, :2] / pixels[:, 2:]
                image = min(camera["images"], key=lambda image: abs(image["stamp_ns"] - stamps[number]))
                true = projected(corners(box), camera, image["map_from_camera"])
                assert true is not None
                assert np.abs(flat.min(axis=0) - true.min(axis=0)).max() < 1.0
                assert np.abs(flat.max(axis=0) - true.max(axis=0)).max() < 1.0
                limits = np.array([camera["width"] - 1, camera["height"] - 1])
                bounds = [*np.clip(true.min(axis=0), 0, limits), *np.clip(true.max(axis=0), 0, limits)]
                assert [float(value) for value in label[4:8]] == pytest.approx(bounds, abs=1.0)
                seen_in_image += 1
            alpha = float(label[14]) - math.atan2(float(label[11]), float(label[13]))
            assert math.remainder(float(label[3]) - alpha, math.tau) == pytest.approx(0.0, abs=1e-4)
    assert total > 100
    assert seen_in_image > 3


def distances(box: np.ndarray, front: np.ndarray, points: np.ndarray) -> list[float]:
    """Return how far some points are from the middle of a box and its front: the same in every frame of coordinates."""
    middle = box.mean(axis=0)
    some = points[:: max(1, len(points) // 7)]
    ahead = middle + 3.0 * front
    return [float(np.linalg.norm(point - place)) for point in some for place in (middle, ahead)]


def test_a_scene_without_its_files_is_named(held: Held, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The manifest of a scene that was deleted after its upload is still there, its clouds are not."""
    from nucleus_bridge.labels.kitti import write_kitti
    from nucleus_bridge.labels.label import Label
    from nucleus_bridge.labels.nuscenes import write_nuscenes
    from nucleus_bridge.spool import Spool

    label = Label("gone", 0, 1, "map", "car", "t", "i", (0.0,) * 3, (1.0,) * 3, (0.0, 0.0, 0.0, 1.0), "nucleus")
    for write in (write_kitti, write_nuscenes):
        written = write([[label]], tmp_path, Spool(held.spool))
        assert "gone" in written.left_out["gone"]
        assert written.labels == 0
