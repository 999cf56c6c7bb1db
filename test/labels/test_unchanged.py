# SPDX-License-Identifier: Apache-2.0
"""What has not changed is neither fetched nor written again, and nothing counts as unchanged that has changed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from drives import Drive
from label_cases import KEY, Held

from nucleus_bridge.cli.labels import tasks_of
from nucleus_bridge.cli.main import main
from nucleus_bridge.convert import ConversionReport
from nucleus_bridge.labels.unchanged import Answers, known_of
from nucleus_bridge.testing.receiver import Receiver, SceneRules, resolvers_from_mappings
from nucleus_bridge.testing.receiver.ground_truth import (
    TrueBox,
    annotate_spool,
    boxes_of_drive,
    lidar_annotations,
)

TIMEOUT_S = 60.0


class Tasks:
    """A spool whose scenes have tasks at a receiver."""

    def __init__(self, receiver: Receiver, spool: Path, options: list[str], boxes: list[TrueBox]) -> None:
        self.receiver, self.spool, self.options, self.boxes = receiver, spool, options, boxes
        self.names = sorted(path.name for path in (spool / "scenes").iterdir())

    def finish(self, boxes: list[TrueBox]) -> None:
        """Complete every task with boxes in each frame."""
        for name in self.names:
            manifest = json.loads((self.spool / "scenes" / name / "manifest.json").read_bytes())
            here = [box.moved(*(-manifest["world_offset"][axis] for axis in "xyz")) for box in boxes]
            self.receiver.finish_task(name, annotations=lidar_annotations([here] * manifest["frames"]))

    def fetched(self) -> int:
        """Count the answers that were fetched so far."""
        return sum(record.path.startswith("/results/") for record in self.receiver.requests)

    def kept(self, out: Path) -> list[Path]:
        """Return the files of answers that are kept."""
        return list((known_of(self.spool, out) / "answers").iterdir())

    def labels(self, out: Path, *more: str) -> int:
        """Run the command."""
        return main(["labels", str(self.spool), "-o", str(out), *self.options, *more])


@pytest.fixture
def tasks(
    drive: Drive, converted: ConversionReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Tasks]:
    spool, store = tmp_path / "spool", tmp_path / "store"
    store.mkdir()
    sources = [str(scene.folder) for scene in converted.scenes]
    assert main(["export", *sources, "--format", "sensor_fusion_json", "--output", str(spool)]) == 0
    template = tmp_path / "cuboids.yaml"
    template.write_text("labels: [car]\nproject: streets\n")
    rules = SceneRules(extra_url_schemes=("file",))
    resolvers = resolvers_from_mappings([f"file://{store}={store}"])
    with Receiver(tmp_path / "received", resolvers=resolvers, rules=rules) as receiver:
        monkeypatch.setenv("SCALE_API_KEY", KEY)
        monkeypatch.setenv("SCALE_ENDPOINT", f"{receiver.origin}/v1")
        options = ["--task", str(template), "--store", f"file://{store}"]
        assert main(["upload", str(spool), *options]) == 0
        yield Tasks(receiver, spool, options, boxes_of_drive(drive.truth))


def test_answers_of_tasks_are_fetched_once_for_each_update(
    tasks: Tasks, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, count = tmp_path / "out", len(tasks.names)
    tasks.finish(tasks.boxes)
    assert tasks.labels(out) == 0
    assert tasks.fetched() == count
    first = (out / "labels.jsonl").read_bytes()
    capsys.readouterr()
    assert tasks.labels(out) == 0
    said = capsys.readouterr()
    assert tasks.fetched() == count
    assert (", unchanged;" in said.out, "not fetched again" in said.err) == (True, True)
    assert (out / "labels.jsonl").read_bytes() == first
    tasks.finish(tasks.boxes[1:])
    assert tasks.labels(out) == 0
    assert tasks.fetched() == 2 * count
    assert ", 0 unchanged;" in capsys.readouterr().out
    tracks = {json.loads(line)["track"] for line in (out / "labels.jsonl").read_text().splitlines()}
    assert len(tracks) == len(tasks.boxes) - 1
    assert len(tasks.kept(out)) == count  # those of before are gone


@pytest.mark.parametrize(
    ("tasks", "chosen"),
    [
        ([("a", "streets", "mine"), ("b", "streets", "other"), ("c", "highways", "x")], ["a"]),
        ([("a", "streets", "before"), ("b", "highways", "x")], ["a"]),
        ([("a", "highways", "x"), ("b", "", "")], ["a", "b"]),
    ],
)
def test_of_several_tasks_of_a_scene_those_of_the_template_count(
    tasks: list[tuple[str, str, str]], chosen: list[str]
) -> None:
    here = "https://there/v1"
    records = [SimpleNamespace(task_id=a, project=b, template=c, endpoint=here) for a, b, c in tasks]
    records += [SimpleNamespace(task_id="z", project="streets", template="mine", endpoint="https://elsewhere/v1")]
    book: Any = SimpleNamespace(references=lambda: ["s"], everywhere=lambda _name: records)
    template: Any = SimpleNamespace(digest="mine", project="streets")
    assert [record.task_id for record in tasks_of(book, here, template)] == chosen


def test_a_damaged_answer_is_fetched_again(tasks: Tasks, tmp_path: Path) -> None:
    out = tmp_path / "out"
    tasks.finish(tasks.boxes)
    assert tasks.labels(out) == 0
    first, before = (out / "labels.jsonl").read_bytes(), tasks.fetched()
    for kept in tasks.kept(out):
        kept.write_bytes(kept.read_bytes()[:-5])
    assert tasks.labels(out) == 0
    assert (tasks.fetched() - before, (out / "labels.jsonl").read_bytes()) == (len(tasks.names), first)


def test_a_task_that_does_not_say_when_it_was_updated_is_asked_every_time(tmp_path: Path) -> None:
    class Service:
        asked = 0

        def result(self, _url: str) -> bytes:
            self.asked += 1
            return b"[]"

    service = Service()
    for task, expected in (({"task_id": "a"}, 2), ({"task_id": "a", "updated_at": "2026-01-01T00:00:00Z"}, 3)):
        for _ in range(2):
            assert Answers(tmp_path, service).result(task, "https://there/1") == b"[]"
        assert service.asked == expected


@pytest.mark.parametrize(
    ("form", "file"),
    [
        ("json", "labels.jsonl"),
        ("csv", "labels.csv"),
        ("mcap", "labels/metadata.yaml"),
        ("nuscenes", "v1.0-mini/sample.json"),
        ("kitti", "training/label_2/000000.txt"),
    ],
)
def test_files_that_are_the_same_are_left_as_they_are(
    form: str, file: str, held: Held, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["labels", str(held.spool), "-o", str(tmp_path), "--format", form, *held.options]
    assert main(command) == 0
    first, content = (tmp_path / file).stat().st_mtime_ns, (tmp_path / file).read_bytes()
    assert "unchanged" not in capsys.readouterr().out
    assert main(command) == 0
    assert ", unchanged;" in capsys.readouterr().out
    assert (tmp_path / file).stat().st_mtime_ns == first
    (tmp_path / file).write_text("somebody was here\n")
    assert main(command) == 0
    assert ", unchanged;" not in capsys.readouterr().out
    if form != "mcap":  # whose metadata has the moment of its writing
        assert (tmp_path / file).read_bytes() == content


def test_what_was_deleted_at_the_service_does_not_stay_at_home(
    held: Held, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--dataset", "changing", *held.options[2:]]
    assert main(["upload", str(held.spool), *options]) == 0
    url, auth = held.receiver.url, (KEY, "")
    details = requests.get(f"{url}/dataset/details", auth=auth, timeout=TIMEOUT_S).json()
    dataset = next(entry["id"] for entry in details if entry["name"] == "changing")
    annotate_spool(url, KEY, "changing", held.spool, held.boxes[:3])
    manifest = held.manifests[0]
    camera = next(name for name, sensor in manifest["sensors"].items() if sensor["kind"] == "camera")
    lidar = next(name for name, sensor in manifest["sensors"].items() if sensor["kind"] == "lidar")
    image, cloud = (f"{manifest['reference_id']}-{sensor}-000000" for sensor in (camera, lidar))
    sides = {"x": 1, "y": 2, "width": 3, "height": 4}
    box = {"label": "sign", "type": "box", "geometry": sides, "reference_id": image, "annotation_id": "b"}
    line = {"label": "lane", "type": "line", "geometry": {"vertices": [{"x": 1, "y": 2}, {"x": 3, "y": 4}]}}
    line |= {"reference_id": image, "annotation_id": "l"}
    document = {"update": False, "annotations": [box, line]}
    answer = requests.post(f"{url}/dataset/{dataset}/annotate", json=document, auth=auth, timeout=TIMEOUT_S)
    assert answer.json()["annotations_processed"] == 2, answer.text
    capsys.readouterr()
    command = ["labels", str(held.spool), "-o", str(tmp_path), *options]
    assert main(command) == 0
    count = 3 * sum(manifest["frames"] for manifest in held.manifests)
    said = capsys.readouterr()
    assert said.out.startswith(f"{count} labels of ")
    assert "1 annotations of kind line are not read" in said.err
    assert len((tmp_path / "boxes.jsonl").read_text().splitlines()) == 1
    answer = requests.delete(
        f"{url}/annotation/{dataset}",
        json={"keep_history": False, "reference_ids": [image, cloud]},
        auth=auth,
        timeout=TIMEOUT_S,
    )
    answer.raise_for_status()
    job = answer.json()["job_id"]
    deadline = time.monotonic() + TIMEOUT_S
    while requests.get(f"{url}/job/{job}", auth=auth, timeout=TIMEOUT_S).json()["status"] in ("Queued", "Running"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert main(command) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{count - 3} labels of ")
    assert f"{len(held.manifests) - 1} unchanged;" in out
    assert not (tmp_path / "boxes.jsonl").exists()


@pytest.mark.slow
def test_a_run_that_is_killed_at_any_moment_is_repeated_and_complete(tasks: Tasks, tmp_path: Path) -> None:
    """Thirty times, in every format in turn; what a run leaves is gone after the one that follows."""
    tasks.finish(tasks.boxes)
    whole: dict[str, dict[str, bytes]] = {}
    chance = random.Random(7)
    forms = ("json", "csv", "mcap")
    for form in forms:
        began = time.monotonic()
        assert _run(tasks, tmp_path / f"whole-{form}", form).wait(timeout=TIMEOUT_S * 5) == 0
        span_s = time.monotonic() - began
        whole[form] = _content(tmp_path / f"whole-{form}")
    killed = 0
    for turn in range(30):
        form, out = forms[turn % len(forms)], tmp_path / f"out-{forms[turn % len(forms)]}"
        child = _run(tasks, out, form)
        try:
            child.wait(timeout=chance.uniform(0.3, 1.0) * span_s)
        except subprocess.TimeoutExpired:
            os.kill(child.pid, signal.SIGKILL)
            killed += 1
        child.wait()
        if turn % 5 == 4:
            for every in forms:
                assert _run(tasks, tmp_path / f"out-{every}", every).wait(timeout=TIMEOUT_S * 5) == 0
                assert _content(tmp_path / f"out-{every}") == whole[every]
    assert killed > 10


def _run(tasks: Tasks, out: Path, form: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "nucleus_bridge", "labels", str(tasks.spool), "-o", str(out), "--format", form]
    return subprocess.Popen([*command, *tasks.options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _content(folder: Path) -> dict[str, bytes]:
    """Return what is in a folder, but for what names the moment of writing."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.suffix != ".yaml" else b""
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
