# SPDX-License-Identifier: Apache-2.0
"""Annotated .sfs scenes come home: written by Scale's own classes from the true boxes, through a task or as files."""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drives import Drive
from label_cases import KEY

from nucleus_bridge.cli.main import main
from nucleus_bridge.convert import convert_bag
from nucleus_bridge.errors import LabelError
from nucleus_bridge.formats.reading import open_scene
from nucleus_bridge.formats.sfs.container import open_tree, write_tree
from nucleus_bridge.labels.label import SceneStamps
from nucleus_bridge.labels.other_labels import OtherLabels
from nucleus_bridge.labels.sfs_labels import labels_of_tree, tree_of
from nucleus_bridge.labels.sfs_other import take_other_labels
from nucleus_bridge.testing.receiver import Receiver, SceneRules, resolvers_from_mappings
from nucleus_bridge.testing.receiver.ground_truth import TrueBox, boxes_of_drive

PROGRAM = Path(__file__).with_name("sfs_label_program.py")
VECTORS = Path(__file__).parents[1] / "vectors" / "sfs"
TILT = (0.05, -0.08)
SEEN = 6


def matrix(box: TrueBox, offset: np.ndarray, roll: float = 0.0, pitch: float = 0.0) -> np.ndarray:
    """Return rotation Rz Ry Rx times size, and the centre in scene coordinates."""
    (sr, cr), (sp, cp), (sy, cy) = ((math.sin(a), math.cos(a)) for a in (roll, pitch, box.heading))
    about_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    about_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    made = np.eye(4)
    made[:3, :3] = about_z @ about_y @ about_x @ np.diag(box.size)
    made[:3, 3] = np.array(box.center) - offset
    return made


@pytest.fixture(scope="module")
def scene(drive: Drive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drive as a .sfs scene."""
    report = convert_bag(drive.bag, drive.config, tmp_path_factory.mktemp("sfs") / "spool", format="sfs")
    return report.scenes[0].folder


def annotated(
    scene: Path, boxes: list[TrueBox], out: Path, *options: str, others: Sequence[dict[str, Any]] = ()
) -> tuple[bytes, dict[str, np.ndarray]]:
    """Have Scale's packages annotate the scene; every other box is tilted. Other annotations are as they are."""
    python = os.environ.get("NUCLEUS_BRIDGE_SFS_PYTHON")
    if not python:
        pytest.skip("set NUCLEUS_BRIDGE_SFS_PYTHON to a Python that has scale-sensor-fusion-io")
    offset = np.array(list(json.loads((scene / "manifest.json").read_bytes())["world_offset"].values()))
    tree = open_tree(scene / "scene.sfs")
    timestamps = [frame["timestamp"] for frame in tree["sensors"][0]["frames"]]
    matrices = {
        box.track: matrix(box, offset, *(TILT if number % 2 else (0.0, 0.0))) for number, box in enumerate(boxes)
    }
    rows = [
        {
            "id": box.track,
            "label": box.label,
            "timestamps": timestamps,
            "matrices": [matrices[box.track].tolist()] * len(timestamps),
        }
        for box in boxes
    ]
    given = out.with_suffix(".json")
    given.write_text(json.dumps([*rows, *others]))
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    subprocess.run(
        [python, str(PROGRAM), "annotate", str(scene / "scene.sfs"), str(given), str(out), *options],
        env=clean,
        check=True,
        timeout=300,
    )
    for made in matrices.values():
        made[:3, 3] += offset
    return out.read_bytes(), matrices


def check(rows: list[dict[str, Any]], scene: Path, boxes: list[TrueBox], truth: dict[str, np.ndarray]) -> None:
    manifest = json.loads((scene / "manifest.json").read_bytes())
    stamps = [row["stamp_ns"] for row in manifest["stamps"]]
    assert len(rows) == len(boxes) * len(stamps)
    labels = {box.track: box.label for box in boxes}
    for row in rows:
        assert row["stamp_ns"] == stamps[row["frame"]]
        assert (row["label"], row["frame_id"]) == (labels[row["track"]], "map")
        assert row["attributes"] == {"occluded": "no"}
        expected = truth[row["track"]]
        assert np.abs(np.array(list(row["position"].values())) - expected[:3, 3]).max() < 1e-3
        x, y, z, w = row["rotation"].values()
        turn = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
        )
        size = np.linalg.norm(expected[:3, :3], axis=0)
        assert np.abs(np.array(list(row["size"].values())) - size).max() < 1e-3
        angle = math.acos(min(1.0, (np.trace(turn.T @ (expected[:3, :3] / size)) - 1) / 2))
        assert math.degrees(angle) < 0.01


def home(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "labels.jsonl").read_text().splitlines()]


def test_what_a_sensor_fusion_task_answers_comes_home(
    scene: Path, drive: Drive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool, store = scene.parent.parent, tmp_path / "store"
    store.mkdir()
    template = tmp_path / "scene.yaml"
    template.write_text("type: multistage\nproject: streets\n")
    boxes = boxes_of_drive(drive.truth)[:SEEN]
    content, truth = annotated(scene, boxes, tmp_path / "annotated.sfs")
    resolvers = resolvers_from_mappings([f"file://{store}={store}"])
    rules = SceneRules(extra_url_schemes=("file",))
    with Receiver(tmp_path / "received", resolvers=resolvers, rules=rules) as receiver:
        monkeypatch.setenv("SCALE_API_KEY", KEY)
        monkeypatch.setenv("SCALE_ENDPOINT", f"{receiver.origin}/v1")
        options = ["--task", str(template), "--store", f"file://{store}"]
        assert main(["upload", str(spool), *options]) == 0
        receiver.finish_task(scene.name, annotations=content)
        assert main(["labels", str(spool), "-o", str(tmp_path / "out"), *options]) == 0
    rows = home(tmp_path / "out")
    check(rows, scene, boxes, truth)
    assert all(row["source"].startswith("task:") for row in rows)


@pytest.mark.parametrize("options", [(), ("--bare",)], ids=["with our metadata", "without it"])
def test_annotated_files_come_home(options: tuple[str, ...], scene: Path, drive: Drive, tmp_path: Path) -> None:
    boxes = boxes_of_drive(drive.truth)[:SEEN]
    out = tmp_path / f"{scene.name}.sfs"
    _, truth = annotated(scene, boxes, out, *options)
    assert main(["labels", str(scene.parent.parent), "-o", str(tmp_path / "out"), "--sfs", str(out)]) == 0
    rows = home(tmp_path / "out")
    check(rows, scene, boxes, truth)
    assert {row["source"] for row in rows} == {"sfs"}


@pytest.mark.parametrize("options", [(), ("--bare",)], ids=["with our metadata", "without it"])
def test_boxes_on_images_and_classes_of_points_come_home(
    options: tuple[str, ...], scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scale's package writes them; where they belong is worked out from the file's own stamps and arrays."""
    tree = open_tree(scene / "scene.sfs")
    camera = next(sensor for sensor in tree["sensors"] if sensor["type"] == "camera")
    (lidar,) = (sensor for sensor in tree["sensors"] if sensor["type"] == "lidar")
    shots = [shot["timestamp"] for shot in camera["images"]]
    first, last = shots[2], shots[6]
    path = {"timestamps": [first, last], "values": [[10.0, 20.0, 30.0, 40.0], [50.0, 60.0, 70.0, 80.0]]}
    chosen = {
        place: np.arange(place, len(frame["points"]["positions"]), 7) for place, frame in enumerate(lidar["frames"])
    }
    car = chosen[3][:5]
    others: list[dict[str, Any]] = [
        {"id": "b1", "type": "box_2d", "sensor_id": camera["id"], "label": "sign", "path": path, "parent_id": "c9"}
        | {"attributes": [{"name": "lit", "timestamps": [0], "values": ["yes"]}]},
        {"id": "s1", "type": "point_segmentation", "label": "road", "is_instance": False}
        | {
            "labeled_points": [
                {"sensor_id": lidar["id"], "sensor_frame": place, "point_ids": ids.tolist()}
                for place, ids in chosen.items()
            ]
        },
        {"id": "s2", "type": "point_segmentation", "label": "car", "is_instance": True}
        | {"labeled_points": [{"sensor_id": lidar["id"], "sensor_frame": 3, "point_ids": car.tolist()}]},
        {"id": "e1", "type": "event", "start": 5, "label": "turn"},
    ]
    source = tmp_path / f"{scene.name}.sfs"
    annotated(scene, [], source, *options, others=others)
    out = tmp_path / "out"
    command = ["labels", str(scene.parent.parent), "-o", str(out), "--sfs", str(source), "--format", "csv"]
    assert main(command) == 0
    said = capsys.readouterr()
    stamps = [row["stamp_ns"] for row in json.loads((scene / "manifest.json").read_bytes())["stamps"]]
    assert f"5 boxes on images, classes of the points of {len(stamps)} clouds" in said.out
    assert f"csv has no place for 5 boxes on images: they are in {out / 'boxes.jsonl'}" in said.err
    assert "1 annotations of kind event are not read" in said.err
    boxes = [json.loads(line) for line in (out / "boxes.jsonl").read_text().splitlines()]
    own = tree["metadata"]["nucleus_bridge"]["sensors"][camera["id"]]["frames"]
    assert [box["frame"] for box in boxes] == own[2:7]
    for box, shot in zip(boxes, shots[2:7], strict=True):
        share = (shot - first) / (last - first)
        expected = [side + 40.0 * share for side in (10.0, 20.0, 30.0, 40.0)]
        assert [box[side] for side in ("left", "top", "width", "height")] == pytest.approx(expected)
        assert (box["camera"], box["label"], box["track"], box["attributes"]) == (
            *(camera["id"], "sign", "c9"),
            {"lit": "yes"},
        )
        assert box["stamp_ns"] == stamps[box["frame"]]
    folder = out / "points" / scene.name
    objects = json.loads((folder / "objects.json").read_text())["objects"]
    assert [(one["label"], one["index"], one.get("instance", False)) for one in objects] == [
        ("road", 1, False),
        ("car", 2, True),
    ]
    with_points = open_scene(scene)
    for number in range(len(stamps)):
        classes, xyz = np.load(folder / f"{number:06d}.npy"), with_points.frame(number).points.xyz
        assert len(classes) == len(xyz)
        wanted = lidar["frames"][number]["points"]["positions"][chosen[number]]
        np.testing.assert_array_equal(xyz[classes > 0], wanted)
        assert np.flatnonzero(classes == 2).tolist() == (car.tolist() if number == 3 else [])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            {"type": "box_2d", "sensor_id": "rear", "path": {"timestamps": [0], "values": [[1, 2, 3, 4]]}},
            "no camera rear",
        ),
        ({"type": "box_2d", "sensor_id": "front", "path": {"timestamps": [0], "values": [[1, 2, 3]]}}, "b1"),
        (
            {"type": "box_2d", "sensor_id": "top", "path": {"timestamps": [0], "values": [[1, 2, 3, 4]]}},
            "no camera top",
        ),
        (
            {"type": "labeled_points", "labeled_points": [{"sensor_id": "top", "point_ids": [0]}]},
            "which of the 2 frames",
        ),
        (
            {
                "type": "labeled_points",
                "labeled_points": [{"sensor_id": "top", "sensor_frame": 1, "point_ids": [0, 4]}],
            },
            "point 4 of frame 1 of top, which has 4",
        ),
        ({"type": "labeled_points", "labeled_points": [{"sensor_id": "x", "sensor_frame": 0, "point_ids": []}]}, "'x'"),
    ],
)
def test_other_labels_that_cannot_be_placed_are_named(change: dict[str, Any], named: str, tmp_path: Path) -> None:
    frames = [{"timestamp": time_us, "points": {"positions": np.zeros((4, 3))}} for time_us in (0, 100_000)]
    sensors = [
        {"id": "top", "type": "lidar", "frames": frames},
        {"id": "front", "type": "camera", "images": [{"timestamp": 0}, {"timestamp": 100_000}]},
        {"id": "odom", "type": "odometry", "poses": {}},
    ]
    stamps = SceneStamps("s", "odom", (0.0, 0.0, 0.0), (5, 6), (10**9, 10**9 + 10**8), "top", ("front",))
    tree = {"time_offset": 10**6, "sensors": sensors, "annotations": [{"id": "b1", "label": "a", **change}]}
    with OtherLabels(tmp_path / "out") as other, pytest.raises(LabelError, match=named):
        take_other_labels(tree, stamps, tmp_path, "sfs", 8, other)


def test_a_file_of_no_scene_of_the_spool_is_named(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.sfs"
    other.write_bytes(b"".join(bytes(part) for part in write_tree({"version": "1.0", "sensors": []})))
    assert main(["labels", str(scene.parent.parent), "-o", str(tmp_path / "out"), "--sfs", str(other)]) == 1
    assert "the spool has no scene other" in capsys.readouterr().err


STAMPS = SceneStamps("s", "odom", (10.0, 20.0, 30.0), (5, 6, 7), (10**9, 10**9 + 10**8, 10**9 + 2 * 10**8), "top")


def test_scales_own_example_of_labels_is_read(tmp_path: Path) -> None:
    tree = tree_of((VECTORS / "labels_ego.sfs").read_bytes(), "labels_ego")
    offset = tree["time_offset"] * 1000
    times = tuple(offset + late for late in (0, 50_000_000, 100_000_000, 200_000_000))
    stamps = SceneStamps("s", "odom", (10.0, 20.0, 30.0), (5, 6, 7, 8), times, "top")
    labels = list(labels_of_tree(tree, stamps, tmp_path, "sfs"))
    assert [label.frame for label in labels] == [0, 1, 2]
    assert [label.position[0] for label in labels] == pytest.approx([20.0, 20.25, 20.5])  # as Scale's tool interpolates
    assert labels[0].size == (4.5, 1.9, 1.6)
    assert labels[0].rotation == pytest.approx((0.0, 0.0, math.sqrt(0.5), math.sqrt(0.5)))
    assert [label.attributes["occluded"] for label in labels] == ["no", "no", "yes"]
    assert labels[0].attributes["colour"] == ["red", "white"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"path": {"timestamps": [0], "values": [[1.0] * 8]}}, "c1"),
        ({"path": {"timestamps": [0, 0], "values": [[1.0] * 9] * 2}}, "order"),
        ({"path": {"timestamps": [], "values": []}}, "empty"),
        ({"label": None, "path": None}, "c1"),
    ],
)
def test_a_cuboid_that_cannot_be_read_is_named(change: dict[str, Any], named: str, tmp_path: Path) -> None:
    cuboid = {"id": "c1", "type": "cuboid", "label": "car", **change}
    tree = {"time_offset": 10**6, "annotations": [cuboid]}
    with pytest.raises(LabelError, match=named):
        list(labels_of_tree(tree, STAMPS, tmp_path, "sfs"))


def test_without_any_stamps_nothing_is_guessed(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="time_offset"):
        list(labels_of_tree({"annotations": []}, STAMPS, tmp_path, "sfs"))


@pytest.mark.parametrize("content", [b"", b"[1]", b"{\0", b'{"annotations": 5}'])
def test_an_answer_that_is_no_scene_is_named(content: bytes) -> None:
    with pytest.raises(LabelError, match="task of s"):
        tree_of(content, "task of s")
