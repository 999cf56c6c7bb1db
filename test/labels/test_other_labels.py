# SPDX-License-Identifier: Apache-2.0
"""Boxes on images and classes of points come home: annotated by the service's own client, or as tasks answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_cases import KEY, Held, ask

from nucleus_bridge.cli.main import main
from nucleus_bridge.convert import ConversionReport
from nucleus_bridge.errors import LabelError
from nucleus_bridge.labels.label import SceneStamps
from nucleus_bridge.labels.other_labels import OtherLabels, task_box
from nucleus_bridge.testing.receiver import Receiver, SceneRules, resolvers_from_mappings

STAMPS = SceneStamps("s", "map", (0.0, 0.0, 0.0), (17, 18), (17, 18), "top", ("front",))
OBJECTS = [{"label": "road", "index": 1}, {"label": "car", "index": 2, "instance": True}]


def test_boxes_that_the_real_client_drew_on_images_come_home(
    uploaded: Held, client_python: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = uploaded.manifests[0]
    cameras = [name for name, sensor in manifest["sensors"].items() if sensor["kind"] == "camera"]
    rows = [
        {"label": "sign", "box": [10.5, 20.0, 30.0, 15.25 + frame], "id": f"{camera}-{frame}", "track": "t1"}
        | {"item": f"{manifest['reference_id']}-{camera}-{frame:06d}"}
        for camera in cameras
        for frame in (0, 3)
    ]
    assert ask(client_python, "draw", uploaded.receiver, dataset="town", rows=rows)["processed"] == len(rows)
    assert main(["labels", str(uploaded.spool), "-o", str(tmp_path), *uploaded.options]) == 0
    assert f"{len(rows)} boxes on images" in capsys.readouterr().out
    home = [json.loads(line) for line in (tmp_path / "boxes.jsonl").read_text().splitlines()]
    assert {(box["camera"], box["frame"]) for box in home} == {
        (camera, frame) for camera in cameras for frame in (0, 3)
    }
    for box in home:
        assert (box["scene"], box["label"], box["track"]) == (manifest["reference_id"], "sign", "t1")
        assert [box[side] for side in ("left", "top", "width", "height")] == [10.5, 20.0, 30.0, 15.25 + box["frame"]]
        assert box["stamp_ns"] == manifest["stamps"][box["frame"]]["stamp_ns"]
        assert box["source"] == "nucleus"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_classes_of_points_and_linked_boxes_come_home(
    converted: ConversionReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool, store, received = tmp_path / "spool", tmp_path / "store", tmp_path / "received"
    store.mkdir()
    sources = [str(scene.folder) for scene in converted.scenes]
    assert main(["export", *sources, "--format", "sensor_fusion_json", "--output", str(spool)]) == 0
    template = tmp_path / "cuboids.yaml"
    template.write_text("labels: [car]\nproject: streets\n")
    scene = next((spool / "scenes").iterdir())
    counts = [len(json.loads(path.read_bytes())["points"]) for path in sorted((scene / "frames").glob("*.json"))]
    classes = [np.arange(count) % 3 for count in counts]
    points = {"objects": OBJECTS, "point_objects": [row.tolist() for row in classes]}
    linked = [
        {
            "cuboids": [],
            "camera_responses": [
                {
                    "camera_used": 1,
                    "annotations": [
                        {
                            "cuboid_uuid": "u",
                            "label": "car",
                            "type": "box",
                            "left": 1,
                            "top": 2,
                            "width": 3,
                            "height": 4,
                        }
                    ],
                }
            ],
        }
        for _ in counts
    ]
    resolvers = resolvers_from_mappings([f"file://{store}={store}"])
    rules = SceneRules(extra_url_schemes=("file",))
    with Receiver(received, resolvers=resolvers, rules=rules) as receiver:
        monkeypatch.setenv("SCALE_API_KEY", KEY)
        monkeypatch.setenv("SCALE_ENDPOINT", f"{receiver.origin}/v1")
        options = ["--task", str(template), "--store", f"file://{store}"]
        assert main(["upload", str(spool), *options]) == 0
        receiver.finish_task(scene.name, annotations=linked, point_segmentations=points)
        assert main(["labels", str(spool), "-o", str(tmp_path / "out"), *options]) == 0
    folder = tmp_path / "out" / "points" / scene.name
    about = json.loads((folder / "objects.json").read_text())
    assert about["objects"] == OBJECTS
    assert about["source"].startswith("task:")
    for number, row in enumerate(classes):
        np.testing.assert_array_equal(np.load(folder / f"{number:06d}.npy"), row)
    home = [json.loads(line) for line in (tmp_path / "out" / "boxes.jsonl").read_text().splitlines()]
    assert len(home) == len(counts)
    manifest = json.loads((scene / "manifest.json").read_bytes())
    second = next(name for name, sensor in manifest["sensors"].items() if sensor.get("camera_index") == 1)
    assert {(box["camera"], box["track"], box["left"], box["height"]) for box in home} == {(second, "u", 1.0, 4.0)}


def test_the_services_older_names_of_point_classes_are_read(tmp_path: Path) -> None:
    other = OtherLabels(tmp_path)
    other.add_points(STAMPS, 5, {"labels": OBJECTS, "point_labels": [[0, 1, 2], [2, 2]]}, "task:1")
    assert np.load(tmp_path / "points" / "s" / "000001.npy").tolist() == [2, 2]
    assert other.clouds == 2


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ([], "not a list for each of its frames"),
        ({"objects": OBJECTS, "point_objects": [[1]]}, "not a list for each of its frames"),
        ({"objects": OBJECTS, "point_objects": [[1], [1]]}, "its clouds have 5"),
        ({"objects": OBJECTS, "point_objects": [[1, 1, 1], [1, 7]]}, "object 7"),
        ({"objects": OBJECTS, "point_objects": [[1, 1, "a"], [1, 1]]}, "cannot be read"),
        ({"objects": [{}], "point_objects": [[1, 1, 1], [1, 1]]}, "cannot be read"),
    ],
)
def test_classes_of_other_points_are_refused(answer: object, named: str, tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=named):
        OtherLabels(tmp_path).add_points(STAMPS, 5, answer, "task:1")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "box", [{"left": 1, "top": 2, "width": 3}, {"left": float("nan"), "top": 2, "width": 3, "height": 4}]
)
def test_a_box_that_cannot_be_read_is_named(box: dict[str, Any]) -> None:
    with pytest.raises(LabelError, match="s, frame 1"):
        task_box(box, "task:1", "s, frame 1")


def test_an_interrupted_run_leaves_the_boxes_of_before(tmp_path: Path) -> None:
    (tmp_path / "boxes.jsonl").write_text("before\n")
    box = task_box({"label": "car", "left": 1, "top": 2, "width": 3, "height": 4}, "task:1", "")

    def interrupted() -> None:
        with OtherLabels(tmp_path) as other:
            other.add_box(STAMPS, 1, "front", box)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.name for path in tmp_path.iterdir()] == ["boxes.jsonl"]
    assert (tmp_path / "boxes.jsonl").read_text() == "before\n"
