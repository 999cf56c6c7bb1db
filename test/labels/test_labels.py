# SPDX-License-Identifier: Apache-2.0
"""Labels come home: the demo drive's true boxes, given to the receiver in the service's conventions."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from drives import Drive
from label_cases import KEY, Held
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from nucleus_bridge.cli.main import main
from nucleus_bridge.convert import ConversionReport
from nucleus_bridge.errors import LabelError
from nucleus_bridge.labels.files import _DETECTIONS
from nucleus_bridge.labels.label import SceneStamps, label_of_cuboid
from nucleus_bridge.testing.receiver import Receiver, SceneRules, resolvers_from_mappings
from nucleus_bridge.testing.receiver.ground_truth import boxes_of_drive, finish_tasks

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "cuboid_conventions.json").read_text())
STAMPS = SceneStamps("drive-1", "map", (100.0, -50.0, 2.0), (17, 18))


@pytest.mark.parametrize("case", VECTORS, ids=lambda case: case["case"])
def test_a_cuboid_of_a_task_is_the_box_that_others_say_it_is(case: dict) -> None:
    label = label_of_cuboid(
        {"label": "car", **case["scale_task_cuboid"]}, STAMPS, 1, source="nucleus", track="t", label_id="i"
    )
    expected = case["ros_pose_and_size"]
    assert label.position == pytest.approx([a + b for a, b in zip(expected["position"], STAMPS.offset, strict=True)])
    assert label.size == pytest.approx(expected["size_xyz"])
    dot = abs(float(np.dot(label.rotation, expected["orientation_xyzw"])))
    assert dot == pytest.approx(1.0, abs=1e-9)
    assert (label.stamp_ns, label.frame_id) == (18, "map")


@pytest.mark.parametrize(
    "wrong",
    [{"position": {"x": 1.0}}, {"yaw": math.nan}, {"dimensions": None}, {"position": {"x": "a", "y": 0, "z": 0}}],
)
def test_a_cuboid_that_cannot_be_read_is_named(wrong: dict) -> None:
    cuboid = {"label": "car", **VECTORS[0]["scale_task_cuboid"], **wrong}
    with pytest.raises(LabelError, match="drive-1, frame 0"):
        label_of_cuboid(cuboid, STAMPS, 0, source="nucleus", track="", label_id="")


def test_true_boxes_come_home_in_the_recordings_own_frame_and_stamps(held: Held, tmp_path: Path) -> None:
    assert main(["labels", str(held.spool), "-o", str(tmp_path / "out"), *held.options]) == 0
    rows = [json.loads(line) for line in (tmp_path / "out" / "labels.jsonl").read_text().splitlines()]
    truth = {box.track: box for box in held.boxes}
    assert len(rows) % len(truth) == 0
    assert {row["track"] for row in rows} == truth.keys()
    assert {row["stamp_ns"] for row in rows} <= set(held.stamps)
    for row in rows:
        box = truth[row["track"]]
        assert list(row["position"].values()) == pytest.approx(box.center, abs=1e-3)
        assert list(row["size"].values()) == pytest.approx(box.size, abs=1e-3)
        x, y, z, w = row["rotation"].values()
        heading = math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
        assert abs(math.remainder(heading - box.heading, math.tau)) < math.radians(0.01)
        assert (row["label"], row["frame_id"], row["source"]) == (box.label, "map", "nucleus")


def test_a_second_run_writes_the_same_and_nothing_twice(held: Held, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["labels", str(held.spool), "-o", str(out), *held.options]) == 0
    first = (out / "labels.jsonl").read_bytes()
    assert main(["labels", str(held.spool), "-o", str(out), *held.options]) == 0
    assert (out / "labels.jsonl").read_bytes() == first
    assert [path.name for path in out.iterdir()] == ["labels.jsonl"]


def test_the_recording_of_labels_plays_beside_the_drive(held: Held, tmp_path: Path) -> None:
    assert main(["labels", str(held.spool), "-o", str(tmp_path), "--format", "mcap", *held.options]) == 0
    types = get_typestore(Stores.ROS2_HUMBLE)
    types.register(get_types_from_msg(_DETECTIONS, "vision_msgs/msg/Detection3DArray"))
    truth = {box.track: box for box in held.boxes}
    seen = set()
    with AnyReader([tmp_path / "labels"], default_typestore=types) as reader:
        for connection, log_ns, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            if connection.topic != "/labels/detections":
                continue
            stamp = message.header.stamp
            assert log_ns == stamp.sec * 10**9 + stamp.nanosec
            assert log_ns in held.stamps
            for detection in message.detections:
                center, size = detection.bbox.center.position, detection.bbox.size
                box = truth[detection.id]
                assert (center.x, center.y, center.z) == pytest.approx(box.center, abs=1e-3)
                assert (size.x, size.y, size.z) == pytest.approx(box.size, abs=1e-3)
                assert detection.results[0].hypothesis.class_id == box.label
                seen.add(detection.id)
    assert seen == truth.keys()


def test_a_dataset_that_is_not_there_is_named(held: Held, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["labels", str(held.spool), "-o", str(tmp_path), "--dataset", "village"]) == 2
    assert "village" in capsys.readouterr().err


@pytest.mark.parametrize("is_finished", [True, False])
def test_the_answers_of_finished_tasks_come_home(
    is_finished: bool,
    drive: Drive,
    converted: ConversionReport,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spool, store, received = tmp_path / "spool", tmp_path / "store", tmp_path / "received"
    store.mkdir()
    sources = [str(scene.folder) for scene in converted.scenes]
    assert main(["export", *sources, "--format", "sensor_fusion_json", "--output", str(spool)]) == 0
    template = tmp_path / "cuboids.yaml"
    template.write_text("labels: [car, pedestrian]\nproject: streets\n")
    rules = SceneRules(extra_url_schemes=("file",))
    resolvers = resolvers_from_mappings([f"file://{store}={store}"])
    with Receiver(received, resolvers=resolvers, rules=rules) as receiver:
        monkeypatch.setenv("SCALE_API_KEY", KEY)
        monkeypatch.setenv("SCALE_ENDPOINT", f"{receiver.origin}/v1")
        options = ["--task", str(template), "--store", f"file://{store}"]
        assert main(["upload", str(spool), *options]) == 0
        boxes = boxes_of_drive(drive.truth)
        if is_finished:
            assert finish_tasks(received, spool, boxes) == len(converted.scenes)
        status = main(["labels", str(spool), "-o", str(tmp_path / "out"), *options])
    rows = [json.loads(line) for line in (tmp_path / "out" / "labels.jsonl").read_text().splitlines()]
    if not is_finished:
        assert (status, rows) == (1, [])
        assert "its task is pending" in capsys.readouterr().err
        return
    frames = sum(scene.manifest.frames for scene in converted.scenes)
    assert (status, len(rows)) == (0, frames * len(boxes))
    centers = {tuple(np.round(box.center, 3)) for box in boxes}
    assert {tuple(np.round(list(row["position"].values()), 3)) for row in rows} == centers
    assert all(row["source"].startswith("task:") for row in rows)
