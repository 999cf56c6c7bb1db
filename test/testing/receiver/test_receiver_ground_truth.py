# SPDX-License-Identifier: Apache-2.0
"""True boxes become labels in the service's conventions, and a program gives them to a receiver."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from receiver_driver import Driver, make_scene

from nucleus_bridge.testing.demo.options import DriveOptions
from nucleus_bridge.testing.demo.truth import truth_of
from nucleus_bridge.testing.receiver.ground_truth import (
    TrueBox,
    boxes_of_drive,
    lidar_annotations,
    nucleus_cuboid,
    scale_geometry,
)

CASES = json.loads((Path(__file__).parents[2] / "vectors/cuboid_conventions.json").read_text())


def true_box(case: dict[str, Any], track: str = "t1") -> TrueBox:
    world = case["world"]
    size = (world["length"], world["width"], world["height"])
    return TrueBox(track, "car", tuple(world["center"]), size, world["heading_rad"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["case"]))
def test_a_box_is_written_in_the_services_conventions(case: dict[str, Any]) -> None:
    expected, geometry = case["scale_task_cuboid"], scale_geometry(true_box(case))
    for part in ("position", "dimensions"):
        assert geometry[part] == pytest.approx(expected[part])
    assert math.remainder(geometry["yaw"] - expected["yaw"], math.tau) == pytest.approx(0.0, abs=1e-9)
    assert abs(geometry["yaw"]) <= math.pi


def test_every_convention_has_a_case_that_a_turned_or_swapped_box_would_fail() -> None:
    assert any(case["world"]["length"] != case["world"]["width"] for case in CASES)
    assert len({round(case["world"]["heading_rad"], 6) for case in CASES}) > 2


def test_a_tasks_answer_has_the_objects_of_each_frame_with_their_tracks() -> None:
    still, moving = true_box(CASES[0], "still"), true_box(CASES[1], "moving")
    frames = lidar_annotations([[still, moving], [still.moved(0, 0, 0), moving.moved(1, 0, 0)], []])
    assert [len(frame["cuboids"]) for frame in frames] == [2, 2, 0]
    uuids = [[cuboid["uuid"] for cuboid in frame["cuboids"]] for frame in frames]
    assert uuids[0] == uuids[1]
    assert len(set(uuids[0])) == 2
    assert [cuboid["stationary"] for cuboid in frames[0]["cuboids"]] == [True, False]
    assert frames[1]["cuboids"][1]["position"]["x"] == moving.center[0] + 1


TRUTH = truth_of(DriveOptions(seconds=1.0, points=100, cameras=1))


def spool_of(folder: Path, offset: tuple[float, float, float]) -> Path:
    scene = folder / "scenes" / "s1"
    scene.mkdir(parents=True)
    (scene / "scene.json").write_text(json.dumps(make_scene("s1")))
    manifest = {"world_offset": dict(zip("xyz", offset, strict=True)), "frames": 2}
    (scene / "manifest.json").write_text(json.dumps(manifest))
    return folder


def run(driver: Driver, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "drive.truth.json").write_text(json.dumps(TRUTH))
    command = [sys.executable, "tools/label_demo.py", str(folder / "drive.truth.json")]
    return subprocess.run(
        [*command, *arguments],
        env={**os.environ, "NUCLEUS_ENDPOINT": driver.receiver.url, "NUCLEUS_API_KEY": "k"},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_true_boxes_of_a_drive_are_given_to_a_dataset_once(driver: Driver, tmp_path: Path) -> None:
    dataset = driver.create()
    driver.upload(dataset, make_scene("s1"))
    spool = spool_of(tmp_path / "spool", (100.0, -50.0, 0.5))
    boxes = boxes_of_drive(TRUTH)
    assert boxes
    for _ in range(2):
        finished = run(driver, tmp_path, str(spool), "--dataset", "drives")
        assert (finished.returncode, finished.stdout) == (
            0,
            f"{2 * len(boxes)} annotations of {len(boxes)} objects\n",
        ), finished.stderr
    found = driver.call("GET", f"dataset/{dataset}/refloc/s1-lidar-1").json()["annotations"]["cuboid"]
    assert found == [nucleus_cuboid(box.moved(-100.0, 50.0, -0.5), "s1-lidar-1") for box in boxes]
    truth = {f"{box['kind']}-{number}": box for number, box in enumerate(TRUTH["boxes"])}
    for cuboid in found:
        box, geometry = truth[cuboid["track_reference_id"]], cuboid["geometry"]
        assert geometry["position"]["x"] + 100.0 == pytest.approx(box["x"])
        assert geometry["position"]["z"] + 0.5 == pytest.approx(box["height"] / 2)
        assert (geometry["dimensions"]["x"], geometry["dimensions"]["y"]) == (box["width"], box["length"])


def test_the_true_boxes_of_a_drive_complete_its_tasks(
    serve: Callable[..., Driver], bucket: Path, tmp_path: Path
) -> None:
    driver = serve()
    request = {"attachments": ["s3://bucket/cloud.json"] * 2, "labels": ["van"], "unique_id": "s1"}
    url = f"{driver.receiver.origin}/v1/task/lidarannotation"
    task = requests.post(url, json=request, auth=("k", ""), timeout=60).json()
    spool = spool_of(tmp_path / "spool", (0.0, 0.0, 0.0))
    finished = run(driver, tmp_path, str(spool), "--tasks", str(driver.receiver.directory))
    assert finished.stdout == "1 task completed\n", finished.stderr
    done = requests.get(f"{driver.receiver.origin}/v1/task/{task['task_id']}", auth=("k", ""), timeout=60).json()
    frames = requests.get(done["response"]["annotations"]["url"], timeout=60).json()
    assert frames == lidar_annotations([boxes_of_drive(TRUTH)] * 2)
    assert bucket


def test_a_dataset_that_is_not_there_is_said(driver: Driver, tmp_path: Path) -> None:
    finished = run(driver, tmp_path, str(tmp_path), "--dataset", "none")
    assert (finished.returncode, finished.stderr) == (1, "0 datasets are named 'none'\n")
