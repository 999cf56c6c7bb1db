# SPDX-License-Identifier: Apache-2.0
"""Predictions go up: detections made from the drive's truth, read back by the service's own client."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from bags import TYPES, Recording
from drives import SHORT, Drive
from label_cases import (
    KEY,
    Held,
    ask,
    corners,
    cube_markers,
    detection_array,
    poses_of,
    tracked_objects,
)

from nucleus_bridge.cli.main import main
from nucleus_bridge.config import UploadConfig
from nucleus_bridge.decode.detections import MARKERS, decode_cubes
from nucleus_bridge.errors import DecodeError, InputError, RejectedError
from nucleus_bridge.labels.frames import FrameIndex
from nucleus_bridge.labels.given import GivenDetections
from nucleus_bridge.labels.label import SceneStamps
from nucleus_bridge.labels.predictions import PredictionUpload
from nucleus_bridge.model import Message
from nucleus_bridge.testing.demo.course import true_pose
from nucleus_bridge.testing.receiver.ground_truth import TrueBox
from nucleus_bridge.upload.nucleus.client import JobStatus
from nucleus_bridge.upload.retry import Retry

TOPIC = "/detections"
LATER_NS = 33_000_000
SEEN = 4
Publish = Callable[[Any, list[TrueBox], int], Any]


def detector_bag(
    folder: Path, drive: Drive, held: Held, message: Publish = detection_array, later_ns: Sequence[int] = (LATER_NS,)
) -> tuple[Path, list[TrueBox]]:
    """Record a detector that stamps its messages later than the clouds and publishes them later still."""
    boxes = held.boxes[:SEEN]
    made = poses_of(drive.bag)
    for stamp_ns in held.stamps:
        for later in later_ns:
            made.add(TOPIC, message(SHORT, boxes, stamp_ns + later), stamp_ns + later + 20_000_000)
    return made.write(folder / "detector"), boxes


def predict(held: Held, *arguments: object) -> int:
    return main(["predict", str(held.spool), "--model", held.model, *map(str, arguments), *held.options])


def check(rows: list[dict[str, Any]], held: Held, boxes: list[TrueBox], label_of: Callable[[TrueBox], str]) -> None:
    """Compare every prediction with the truth, on every cloud: corners within 1 mm, the front in front."""
    frames = {
        f"{manifest['reference_id']}-top-{number:06d}": manifest
        for manifest in held.manifests
        for number in range(manifest["frames"])
    }
    assert len(rows) == len(frames) * len(boxes)
    assert len({row["id"] for row in rows}) == len(rows)
    by_item: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_item.setdefault(row["item"], []).append(row)
    assert by_item.keys() == frames.keys()
    for item, manifest in frames.items():
        offset = list(manifest["world_offset"].values())
        stamp_ns = manifest["stamps"][int(item[-6:])]["stamp_ns"]
        for box in boxes:
            expected = corners(box) - offset
            fits = [row for row in by_item[item] if np.abs(np.array(row["corners"]) - expected).max() < 1e-3]
            assert len(fits) == 1
            assert fits[0]["label"] == label_of(box)
            assert fits[0]["metadata"]["stamp_ns"] == str(stamp_ns)


@pytest.mark.parametrize(
    ("message", "label_of", "score"),
    [
        (detection_array, lambda box: box.label, 0.75),
        (tracked_objects, lambda _: "car", 0.75),
        (cube_markers, lambda box: box.label, 1.0),
    ],
    ids=["vision_msgs", "autoware", "markers"],
)
def test_the_real_client_reads_back_what_the_detector_saw_where_it_is(
    message: Publish,
    label_of: Callable[[TrueBox], str],
    score: float,
    uploaded: Held,
    drive: Drive,
    client_python: Path,
    tmp_path: Path,
) -> None:
    bag, boxes = detector_bag(tmp_path, drive, uploaded, message)
    assert predict(uploaded, "--from", TOPIC, "--recording", bag, "--config", drive.config_path) == 0
    rows = ask(client_python, "predictions", uploaded.receiver, dataset="town", model=uploaded.model)
    check(rows, uploaded, boxes, label_of)
    assert {row["confidence"] for row in rows} == {score}
    assert all(row["track"].startswith(row["item"].rpartition("-top-")[0]) for row in rows)
    assert len({row["track"] for row in rows}) == len(boxes) * len(uploaded.manifests)


@pytest.mark.parametrize("wrong", ["stamped as the cloud", "turned", "mirrored", "width and length swapped"])
def test_predictions_in_the_wrong_place_are_seen(
    wrong: str, uploaded: Held, drive: Drive, client_python: Path, tmp_path: Path
) -> None:
    """The check above must not pass for what is wrong: each box is spoilt before it is published."""

    def spoilt(options: Any, boxes: list[TrueBox], stamp_ns: int) -> Any:
        message = detection_array(options, boxes, stamp_ns)
        for found in message.detections:
            turn, size = found.bbox.center.orientation, found.bbox.size
            if wrong == "turned":
                turn.x, turn.y, turn.z, turn.w = -turn.y, turn.x, turn.w, -turn.z
            if wrong == "mirrored":
                found.bbox.center.position.y *= -1.0
            if wrong == "width and length swapped":
                size.x, size.y = size.y, size.x
        if wrong == "stamped as the cloud":
            message.header.stamp.nanosec -= LATER_NS
        return message

    bag, boxes = detector_bag(tmp_path, drive, uploaded, spoilt)
    assert predict(uploaded, "--from", TOPIC, "--recording", bag, "--config", drive.config_path) == 0
    rows = ask(client_python, "predictions", uploaded.receiver, dataset="town", model=uploaded.model)
    with pytest.raises(AssertionError):
        check(rows, uploaded, boxes, lambda box: box.label)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"stamp": 0}, "zero_stamp"),
        ({"frame_id": ""}, "empty_frame_id"),
        ({"size": 0.0}, "bad_detection"),
        ({"size": math.nan}, "bad_detection"),
    ],
)
def test_cubes_that_cannot_be_used_are_refused_with_their_cause(change: dict[str, Any], cause: str) -> None:
    box = TrueBox("t", "car", (1.0, 2.0, 3.0), (4.0, 2.0, 1.5), 0.0)
    message = cube_markers(SHORT, [box], 10**18)
    assert [found.boxes[0].label for found in decode_cubes(serialised(message))] == ["car"]
    head, cube = message.markers[1].header, message.markers[1]
    head.stamp.sec = change.get("stamp", head.stamp.sec)
    head.frame_id = change.get("frame_id", head.frame_id)
    cube.scale.x = change.get("size", cube.scale.x)
    with pytest.raises(DecodeError) as error:
        decode_cubes(serialised(message))
    assert error.value.cause == cause


def test_markers_without_cubes_are_no_detections() -> None:
    assert decode_cubes(serialised(cube_markers(SHORT, [], 10**18))) == []


def serialised(message: Any) -> Message:
    return Message(TOPIC, MARKERS, 10**18, bytes(TYPES.serialize_cdr(message, MARKERS)))


def test_a_frame_gets_the_nearest_detections_alone(
    uploaded: Held, drive: Drive, client_python: Path, tmp_path: Path
) -> None:
    bag, boxes = detector_bag(tmp_path, drive, uploaded, later_ns=(-21_000_000, 13_000_000, 40_000_000))
    assert predict(uploaded, "--from", TOPIC, "--recording", bag) == 0  # the transforms of tf need no configuration
    rows = ask(client_python, "predictions", uploaded.receiver, dataset="town", model=uploaded.model)
    check(rows, uploaded, boxes, lambda box: box.label)


def world_rows(held: Held, boxes: list[TrueBox], **more: Any) -> list[dict[str, Any]]:
    return [
        {
            "scene": manifest["reference_id"],
            "frame": number,
            "stamp_ns": stamps["stamp_ns"],
            "frame_id": "map",
            "label": box.label,
            "track": box.track,
            "position": dict(zip("xyz", box.center, strict=True)),
            "size": dict(zip(("length", "width", "height"), box.size, strict=True)),
            "rotation": {"x": 0.0, "y": 0.0, "z": math.sin(box.heading / 2), "w": math.cos(box.heading / 2)},
            "score": 0.5,
            **more,
        }
        for manifest in held.manifests
        for number, stamps in enumerate(manifest["stamps"])
        for box in boxes
    ]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_boxes_of_a_file_go_up_and_twice_is_once(
    uploaded: Held, client_python: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = uploaded.boxes[:SEEN]
    path = write_rows(tmp_path / "found.jsonl", world_rows(uploaded, boxes))
    before = len(uploaded.receiver.requests)
    assert predict(uploaded, "--from", path, "--dry-run") == 0
    said = capsys.readouterr().out
    assert f"{len(world_rows(uploaded, boxes))} new, 0 there, to model {uploaded.model} (does not exist" in said
    assert not any("models/add" in call.path for call in list(uploaded.receiver.requests)[before:])
    assert predict(uploaded, "--from", path) == 0
    first = ask(client_python, "predictions", uploaded.receiver, dataset="town", model=uploaded.model)
    check(first, uploaded, boxes, lambda box: box.label)
    capsys.readouterr()
    assert predict(uploaded, "--from", path) == 0
    assert f"{len(first)} were there" in capsys.readouterr().out
    assert ask(client_python, "predictions", uploaded.receiver, dataset="town", model=uploaded.model) == first
    changed = world_rows(uploaded, boxes)
    changed[0]["score"] = 0.25
    write_rows(path, [*changed[:-1], {**changed[-1], "track": "another"}])
    assert predict(uploaded, "--from", path, "--dry-run") == 0
    assert f"1 new, {len(first) - 2} there, 1 there with other content" in capsys.readouterr().out
    assert predict(uploaded, "--from", path, "--update") == 0
    now = ask(client_python, "predictions", uploaded.receiver, dataset="town", model=uploaded.model)
    assert sorted(row["confidence"] for row in now)[:2] == [0.25, 0.5]
    assert len(now) == len(first) + 1


def test_reconcile_names_what_differs_and_repairs_it(
    uploaded: Held, client_python: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = world_rows(uploaded, uploaded.boxes[:SEEN])
    path = write_rows(tmp_path / "found.jsonl", rows)
    where = ["--from", path, "--reconcile"]
    assert predict(uploaded, *where) == 1
    assert capsys.readouterr().out.splitlines()[-1] == f"{len(rows)} differences, 0 set right"
    assert predict(uploaded, *where, "--repair") == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{len(rows)} differences, {len(rows)} set right"
    assert len(ask(client_python, "predictions", uploaded.receiver, dataset="town", model=uploaded.model)) == len(rows)
    assert predict(uploaded, *where) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "0 differences, 0 set right"
    changed = [{**rows[0], "score": 0.25}, *rows[1:-1], {**rows[-1], "track": "another"}]
    write_rows(path, changed[1:2] + changed[:1] + changed[2:])  # in another order
    assert predict(uploaded, *where) == 1
    said = capsys.readouterr().out.splitlines()
    assert f"1 new, {len(rows) - 2} there, 1 there with other content, 1 there without a detection" in said[0]
    assert said[1:] == [
        f"{rows[-1]['scene']}: 1 prediction there without a detection; delete them there",
        "3 differences, 0 set right",
    ]
    assert predict(uploaded, *where, "--repair") == 0  # what nobody predicts now stays, and is named
    assert capsys.readouterr().out.splitlines()[-1] == "3 differences, 2 set right"
    now = ask(client_python, "predictions", uploaded.receiver, dataset="town", model=uploaded.model)
    assert (len(now), min(row["confidence"] for row in now)) == (len(rows) + 1, 0.25)
    assert predict(uploaded, *where) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 differences, 0 set right"


@pytest.mark.parametrize("wrong", [["--repair"], ["--reconcile", "--dry-run"]])
def test_options_that_contradict_are_refused(wrong: list[str], uploaded: Held, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "found.jsonl", world_rows(uploaded, uploaded.boxes[:1]))
    assert predict(uploaded, "--from", path, *wrong) == 2


def test_boxes_of_a_file_in_the_vehicles_frame_are_moved_by_the_recordings_poses(
    uploaded: Held, drive: Drive, client_python: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = uploaded.boxes[0]
    rows = world_rows(uploaded, [box], frame_id="base_link")
    for row in rows:  # stamped later than the cloud, without the name of its frame
        del row["scene"], row["frame"]
        row["stamp_ns"] += LATER_NS
        pose = true_pose(SHORT, row["stamp_ns"]).inverse()
        turn = np.array(list(row["rotation"].values()))
        row["position"] = dict(zip("xyz", pose.apply(np.array(box.center)).tolist(), strict=True))
        x, y, z, w = pose.rotation_xyzw
        bx, by, bz, bw = turn
        row["rotation"] = {
            "x": w * bx + x * bw + y * bz - z * by,
            "y": w * by - x * bz + y * bw + z * bx,
            "z": w * bz + x * by - y * bx + z * bw,
            "w": w * bw - x * bx - y * by - z * bz,
        }
    path = write_rows(tmp_path / "found.jsonl", rows)
    assert predict(uploaded, "--from", path) == 2
    assert "--recording" in capsys.readouterr().err
    assert predict(uploaded, "--from", path, "--recording", drive.bag) == 0
    rows = ask(client_python, "predictions", uploaded.receiver, dataset="town", model=uploaded.model)
    check(rows, uploaded, [box], lambda box: box.label)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"rotation": {"x": 0.0, "y": 0.0, "z": 0.0, "w": 0.0}}, "rotation"),
        ({"size": {"length": 0.0, "width": 1.0, "height": 1.0}}, "size"),
        ({"position": {"x": 1.0}}, "position"),
        ({"stamp_ns": "soon"}, "stamp_ns"),
        ({"frame": "first"}, "scene and frame"),
        ({"frame_id": "base_link"}, "the box is in 'base_link'"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_before_any_is_used(
    change: dict[str, Any], named: str, tmp_path: Path
) -> None:
    row = {"scene": "s", "frame": 0, "position": {"x": 1, "y": 2, "z": 3}, "rotation": {"x": 0, "y": 0, "z": 0, "w": 1}}
    row |= {"size": {"length": 4, "width": 2, "height": 1}}
    frames = FrameIndex([SceneStamps("s", "map", (0.0, 0.0, 0.0), (5,), (5,), "top")])
    path = write_rows(tmp_path / "found.jsonl", [row, row])
    assert len(list(GivenDetections(path, frames, None, None, 0.0).labels())) == 2
    write_rows(path, [row, {**row, **change}])
    with pytest.raises(InputError, match=rf"found\.jsonl:2: {named}"):
        GivenDetections(path, frames, None, None, 0.0)


@pytest.mark.parametrize("failpoint", ["predictions_put", "predictions_started", "predictions_done:2"])
def test_killed_and_run_again_all_is_there_and_nothing_twice(
    failpoint: str, uploaded: Held, client_python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = uploaded.boxes[:SEEN]
    path = write_rows(tmp_path / "found.jsonl", world_rows(uploaded, boxes))
    program = (
        "import sys; from nucleus_bridge.labels import predictions; predictions.PART_PREDICTIONS = 50; "
        "from nucleus_bridge.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    arguments = ["predict", str(uploaded.spool), "--model", uploaded.model, "--from", str(path), *uploaded.options]
    killed = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "NUCLEUS_BRIDGE_FAILPOINT": failpoint},
        check=False,
        timeout=120,
    )
    assert killed.returncode == -signal.SIGKILL
    monkeypatch.setattr("nucleus_bridge.labels.predictions.PART_PREDICTIONS", 70)
    assert main(arguments) == 0
    rows = ask(client_python, "predictions", uploaded.receiver, dataset="town", model=uploaded.model)
    check(rows, uploaded, boxes, lambda box: box.label)
    models = requests.get(f"{uploaded.receiver.url}/models", auth=(KEY, ""), timeout=60).json()["models"]
    assert [model["ref_id"] for model in models].count(uploaded.model) == 1


class Scripted:
    """A service whose jobs end as they are told to."""

    def __init__(self, *ends: JobStatus | RejectedError, errors: Sequence[str] = ()) -> None:
        self.retry = Retry()
        self.bodies: list[bytes] = []
        self._ends, self._errors = list(ends), list(errors)

    def put_scenes(self, _dataset: str, body: bytes) -> str:
        self.bodies.append(body)
        return "request"

    def start_predictions(self, _dataset: str, _model: str, _request: str, *, update: bool) -> str:
        assert not update
        return "job"

    def job_status(self, _job: str) -> JobStatus:
        end = self._ends.pop(0)
        if isinstance(end, RejectedError):
            raise end
        return end

    def job_errors(self, _job: str) -> list[str]:
        return self._errors


COMPLETED = JobStatus("job", "Completed", detail={"prediction_upload": {"processed": 1, "ignored": 1}})


@pytest.mark.parametrize(
    ("ends", "times", "failed"),
    [
        ([JobStatus("job", "Running"), COMPLETED], 1, 0),
        ([JobStatus("job", "Retried"), JobStatus("job", "Queued"), COMPLETED], 1, 0),
        ([JobStatus("job", "Errored_Server"), COMPLETED], 2, 0),
        ([RejectedError("no such job", status=404), COMPLETED], 2, 0),
        ([JobStatus("job", "Errored_Server")] * 3, 3, 2),
        ([JobStatus("job", "Errored_User")], 1, 2),
        ([JobStatus("job", "Errored_Partial", detail={"counts": {"processed": 1}})], 1, 1),
        ([JobStatus("job", "Cancelled")], 1, 2),
    ],
)
def test_each_job_is_followed_to_its_end(ends: list[Any], times: int, failed: int) -> None:
    service = Scripted(*ends, errors=["Item with id x does not exist."] if failed else [])
    settings = UploadConfig(poll_interval_s=0.01)
    upload = PredictionUpload(service, "ds", "prj", settings, lambda _: None)  # type: ignore[arg-type]
    outcome = upload.send([{"annotation_id": "a"}, {"annotation_id": "b"}])
    assert len(service.bodies) == times
    assert set(service.bodies) == {b'{"annotation_id": "a"}\n{"annotation_id": "b"}\n'}
    assert (outcome.sent, outcome.failed, len(outcome.errors)) == (2, failed, bool(failed))
    assert outcome.there == (1 if ends[-1] is COMPLETED else 0)


def test_messages_without_a_pose_are_lost_with_their_reason(
    uploaded: Held, drive: Drive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def nowhere(options: Any, boxes: list[TrueBox], stamp_ns: int) -> Any:
        return detection_array(options, boxes, stamp_ns, "nowhere")

    bag, boxes = detector_bag(tmp_path, drive, uploaded, nowhere)
    assert predict(uploaded, "--from", TOPIC, "--recording", bag) == 1
    said = capsys.readouterr().err
    frames = sum(manifest["frames"] for manifest in uploaded.manifests)
    assert f"{frames * len(boxes)} lost by no_pose" in said
    assert "nowhere" in said


def test_detections_of_a_bag_of_their_own_are_moved_by_the_poses_of_another(
    uploaded: Held, drive: Drive, client_python: Path, tmp_path: Path
) -> None:
    boxes = uploaded.boxes[:1]
    made = Recording()
    for stamp_ns in uploaded.stamps:
        made.add(TOPIC, detection_array(SHORT, boxes, stamp_ns + LATER_NS), stamp_ns + LATER_NS)
    bag = made.write(tmp_path / "found")
    assert predict(uploaded, "--from", TOPIC, "--recording", bag, "--recording", drive.bag) == 0
    rows = ask(client_python, "predictions", uploaded.receiver, dataset="town", model=uploaded.model)
    check(rows, uploaded, boxes, lambda box: box.label)


def test_rows_of_frames_that_the_dataset_has_not_are_counted(
    uploaded: Held, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = world_rows(uploaded, uploaded.boxes[:1])
    path = write_rows(tmp_path / "found.jsonl", [*rows, {**rows[0], "frame": 999}])
    assert predict(uploaded, "--from", path) == 1
    assert f"1 row of {len(rows) + 1} not within 60 ms of a frame" in capsys.readouterr().err


def test_a_topic_that_holds_no_detections_is_refused(
    uploaded: Held, drive: Drive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag, _ = detector_bag(tmp_path, drive, uploaded)
    assert predict(uploaded, "--from", "/tf", "--recording", bag) == 2
    assert f"topics of detections there: {TOPIC}" in capsys.readouterr().err
    assert predict(uploaded, "--from", TOPIC) == 2
    assert "--recording" in capsys.readouterr().err


def test_what_the_real_client_annotates_comes_home(uploaded: Held, client_python: Path, tmp_path: Path) -> None:
    rows, expected = [], {}
    for manifest in uploaded.manifests:
        offset = np.array(list(manifest["world_offset"].values()))
        for number in range(0, manifest["frames"], 5):
            for box in uploaded.boxes[:SEEN]:
                length, width, height = box.size
                own = f"{manifest['reference_id']}-{number}-{box.track}"
                expected[own] = (box, manifest["stamps"][number]["stamp_ns"])
                row = {"label": box.label, "position": (np.array(box.center) - offset).tolist(), "id": own}
                row |= {"wlh": [width, length, height], "yaw": box.heading - math.pi / 2, "track": box.track}
                rows.append({**row, "item": f"{manifest['reference_id']}-top-{number:06d}"})
    said = ask(client_python, "annotate", uploaded.receiver, dataset="town", rows=rows)
    assert said["status"] == "Completed"
    for row, shown in zip(rows, said["corners"], strict=True):  # the client's own metrics see the box where it is
        box, _ = expected[row["id"]]
        moved = np.array(shown) + np.array(box.center) - row["position"]
        np.testing.assert_allclose(moved, corners(box), atol=1e-6)
    assert main(["labels", str(uploaded.spool), "-o", str(tmp_path / "out"), *uploaded.options]) == 0
    home = [json.loads(line) for line in (tmp_path / "out" / "labels.jsonl").read_text().splitlines()]
    assert {label["id"] for label in home} == expected.keys()
    assert len(home) == len(expected)
    for label in home:
        box, stamp_ns = expected[label["id"]]
        assert label["stamp_ns"] == stamp_ns
        assert list(label["position"].values()) == pytest.approx(box.center, abs=1e-3)
        assert list(label["size"].values()) == pytest.approx(box.size, abs=1e-3)
        heading = 2.0 * math.atan2(label["rotation"]["z"], label["rotation"]["w"])
        assert abs(math.remainder(heading - box.heading, math.tau)) < math.radians(0.01)
