# SPDX-License-Identifier: Apache-2.0
"""Labels come home: the demo drive's true boxes, given to the receiver in the service's conventions."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import mcap.reader
import numpy as np
import pytest
from drives import Drive
from label_cases import KEY, Held
from rosbags.highlevel import AnyReader

from nucleus_bridge.cli.main import main
from nucleus_bridge.convert import ConversionReport
from nucleus_bridge.errors import LabelError
from nucleus_bridge.labels.label import Label, SceneStamps, label_of_cuboid
from nucleus_bridge.labels.recording import write_recording
from nucleus_bridge.testing.receiver import Receiver, SceneRules, resolvers_from_mappings
from nucleus_bridge.testing.receiver.ground_truth import TrueBox, boxes_of_drive, finish_tasks

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
        assert_true(row, truth)
        assert (row["label"], row["frame_id"], row["source"]) == (box.label, "map", "nucleus")


def test_a_second_run_writes_the_same_and_nothing_twice(held: Held, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["labels", str(held.spool), "-o", str(out), *held.options]) == 0
    first = (out / "labels.jsonl").read_bytes()
    assert main(["labels", str(held.spool), "-o", str(out), *held.options]) == 0
    assert (out / "labels.jsonl").read_bytes() == first
    assert [path.name for path in out.iterdir()] == ["labels.jsonl"]


def test_the_recording_of_labels_plays_beside_the_drive(held: Held, tmp_path: Path) -> None:
    """Read by public readers alone, with the definitions that are inside."""
    assert main(["labels", str(held.spool), "-o", str(tmp_path), "--format", "mcap", *held.options]) == 0
    truth = {box.track: box for box in held.boxes}
    seen: dict[str, set[str]] = {"/labels/detections": set(), "/labels/markers": set(), "/labels/scene": set()}
    with AnyReader([tmp_path / "labels"]) as reader:
        assert {connection.topic for connection in reader.connections} == seen.keys()
        for connection, log_ns, data in reader.messages():
            assert log_ns in held.stamps
            message = reader.deserialize(data, connection.msgtype)
            for own, stamp, box_pose, size, label in READ[connection.topic](message):
                assert stamp.sec * 10**9 + stamp.nanosec == log_ns
                box = min(truth.values(), key=lambda box: math.dist(box.center, point(box_pose.position)))
                assert point(box_pose.position) == pytest.approx(box.center, abs=1e-3)
                assert point(size) == pytest.approx(box.size, abs=1e-3)
                turn = box_pose.orientation
                heading = 2.0 * math.atan2(turn.z, turn.w)
                assert abs(math.remainder(heading - box.heading, math.tau)) < math.radians(0.01)
                assert label == box.label
                seen[connection.topic].add(own)
    assert seen["/labels/detections"] == truth.keys()
    assert {name.rpartition("/")[2] for name in seen["/labels/scene"]} == truth.keys()
    assert len(seen["/labels/markers"]) == len(truth)
    with (tmp_path / "labels" / "labels.mcap").open("rb") as file:
        schemas = {schema.name for schema, _, _ in mcap.reader.make_reader(file).iter_messages()}
    assert schemas == {
        "vision_msgs/msg/Detection3DArray",
        "visualization_msgs/msg/MarkerArray",
        "foxglove_msgs/msg/SceneUpdate",
    }


def point(vector: Any) -> tuple[float, float, float]:
    return vector.x, vector.y, vector.z


READ: dict[str, Any] = {
    "/labels/detections": lambda message: [
        (each.id, each.header.stamp, each.bbox.center, each.bbox.size, each.results[0].hypothesis.class_id)
        for each in message.detections
    ],
    "/labels/markers": lambda message: [
        (str(each.id), each.header.stamp, each.pose, each.scale, each.ns)
        for each in message.markers
        if each.action == each.ADD
    ],
    "/labels/scene": lambda message: [
        (each.id, each.timestamp, each.cubes[0].pose, each.cubes[0].size, each.texts[0].text)
        for each in message.entities
    ],
}


def test_frames_without_labels_remove_the_boxes_of_the_one_before(tmp_path: Path) -> None:
    label = Label("s", 1, 17, "map", "car", "t", "", (1.0, 2.0, 3.0), (4.0, 2.0, 1.5), (0.0, 0.0, 0.0, 1.0), "nucleus")
    stamps = SceneStamps("s", "map", (0.0, 0.0, 0.0), (16, 17, 18), (16, 17, 18), "top")
    assert write_recording([[label]], tmp_path, lambda _: stamps).labels == 1
    counts: dict[str, list[int]] = {}
    with AnyReader([tmp_path / "labels"]) as reader:
        for connection, log_ns, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            counts.setdefault(connection.topic, []).append(len(READ[connection.topic](message)))
            assert log_ns in stamps.stamps_ns
            if connection.topic == "/labels/markers":
                assert message.markers[0].action == message.markers[0].DELETEALL
            if connection.topic == "/labels/scene":
                assert message.deletions[0].type == message.deletions[0].ALL
    assert counts == {topic: [0, 1, 0] for topic in list(READ)}


def test_a_table_has_a_row_a_label(held: Held, tmp_path: Path) -> None:
    assert main(["labels", str(held.spool), "-o", str(tmp_path), "--format", "csv", *held.options]) == 0
    rows = list(csv.DictReader((tmp_path / "labels.csv").read_text().splitlines()))
    truth = {box.track: box for box in held.boxes}
    assert len(rows) == len(truth) * sum(manifest["frames"] for manifest in held.manifests)
    for row in rows:
        box = truth[row["track"]]
        assert [float(row[axis]) for axis in "xyz"] == pytest.approx(box.center, abs=1e-3)
        assert abs(math.remainder(float(row["yaw"]) - box.heading, math.tau)) < math.radians(0.01)
        assert int(row["stamp_ns"]) in held.stamps


@pytest.mark.parametrize("wrong", ["turned", "mirrored", "width and length swapped", "offset twice"])
def test_labels_that_come_home_wrong_are_seen(wrong: str, held: Held, tmp_path: Path) -> None:
    """The comparison of the test above must not hold for what is wrong."""
    spoilt = {
        "turned": lambda box: replace(box, heading=box.heading + math.pi / 2),
        "mirrored": lambda box: replace(box, center=(box.center[0], -box.center[1], box.center[2])),
        "width and length swapped": lambda box: replace(box, size=(box.size[1], box.size[0], box.size[2])),
        "offset twice": lambda box: box.moved(*held.manifests[0]["world_offset"].values()),
    }[wrong]
    boxes = [box for box in held.boxes if box.size[0] != box.size[1]]
    rows = [
        {
            "track": box.track,
            "position": dict(zip("xyz", box.center, strict=True)),
            "size": dict(zip(("length", "width", "height"), box.size, strict=True)),
            "rotation": {"x": 0.0, "y": 0.0, "z": math.sin(box.heading / 2), "w": math.cos(box.heading / 2)},
        }
        for box in map(spoilt, boxes)
    ]
    truth = {box.track: box for box in boxes}
    for row in rows:
        with pytest.raises(AssertionError):
            assert_true(row, truth)


def assert_true(row: dict[str, Any], truth: dict[str, TrueBox]) -> None:
    box = truth[row["track"]]
    assert list(row["position"].values()) == pytest.approx(box.center, abs=1e-3)
    assert list(row["size"].values()) == pytest.approx(box.size, abs=1e-3)
    x, y, z, w = row["rotation"].values()
    heading = math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
    assert abs(math.remainder(heading - box.heading, math.tau)) < math.radians(0.01)


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
