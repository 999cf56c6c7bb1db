# SPDX-License-Identifier: Apache-2.0
"""What users get wrong with ``labels`` and ``predict`` is named with what to do, and costs nothing that is there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drives import Drive
from label_cases import KEY, Held
from test_predict import world_rows, write_rows

from nucleus_bridge.cli.main import main
from nucleus_bridge.config import load_config
from nucleus_bridge.convert import convert_bag

TEMPLATE = "labels: [car]\n"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command: its status, what it printed, what it said besides."""

    def command(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    return command


Run = Callable[..., tuple[int, str, str]]


def rows_of(held: Held, folder: Path, **more: Any) -> Path:
    return write_rows(folder / "mine.jsonl", world_rows(held, held.boxes[:1], **more))


@pytest.mark.parametrize("command", ["labels", "predict"])
@pytest.mark.parametrize("named", [True, False])
def test_a_spool_that_was_never_uploaded_is_named_with_the_command_that_uploads_it(
    command: str, named: bool, uploaded: Held, drive: Drive, tmp_path: Path, run: Run
) -> None:
    spool = tmp_path / "spool"
    convert_bag(drive.bag, load_config(drive.config_path, ["scene.max_frames=1", "scene.frame_stride=40"]), spool)
    more = ["-o", tmp_path / "out"] if command == "labels" else ["--from", rows_of(uploaded, tmp_path), "--model", "m"]
    dataset = ["--dataset", "nowhere"] if named else []
    status, out, err = run(command, spool, *more, *dataset)
    assert (status, out) == (2, "")
    assert f"{spool} was never uploaded there: nucleus-bridge upload {spool} --dataset NAME does it" in err
    assert ("there is no dataset 'nowhere' at http://127.0.0.1" in err) is named


def test_a_dataset_that_is_not_there_is_named_with_those_that_the_spool_went_to(
    held: Held, tmp_path: Path, run: Run
) -> None:
    status, _, err = run("labels", held.spool, "-o", tmp_path / "out", "--dataset", "village")
    assert status == 2
    assert "there is no dataset 'village' at http://127.0.0.1" in err
    assert f"{held.spool} was uploaded there to ds_" in err


def test_a_destination_without_the_scenes_is_refused_and_the_labels_at_home_stay(
    held: Held, drive: Drive, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, the file was emptied, and the status was 0."""
    out = tmp_path / "out"
    assert run("labels", held.spool, "-o", out, *held.options)[0] == 0
    kept = (out / "labels.jsonl").read_bytes()
    assert kept
    other = tmp_path / "other"
    convert_bag(drive.bag, load_config(drive.config_path, ["scene.max_frames=1", "scene.frame_stride=40"]), other)
    shutil.copytree(next(other.glob("scenes/*")), tmp_path / "renamed/scenes/another")
    manifest = tmp_path / "renamed/scenes/another/manifest.json"
    manifest.write_text(manifest.read_text().replace("demo-20231114T221320.000000000Z", "another"))
    status, said, err = run("labels", tmp_path / "renamed", "-o", out, *held.options)
    assert (status, said) == (2, "")
    assert "holds none of its 1 scene; upload them first" in err
    (tmp_path / "task.yaml").write_text(TEMPLATE)
    monkeypatch.setenv("SCALE_ENDPOINT", held.receiver.url.removesuffix("/nucleus"))
    monkeypatch.setenv("SCALE_API_KEY", KEY)
    status, said, err = run("labels", held.spool, "-o", out, "--task", tmp_path / "task.yaml")
    assert (status, said) == (2, "")
    assert f"none of its 1 scene has a task at {held.receiver.url.removesuffix('/nucleus')}" in err
    assert f"nucleus-bridge upload {held.spool} --task" in err
    assert (out / "labels.jsonl").read_bytes() == kept


def test_a_damaged_manifest_does_not_hide_the_labels_of_other_scenes(
    held: Held, drive: Drive, tmp_path: Path, run: Run
) -> None:
    spool = tmp_path / "spool"
    convert_bag(
        drive.bag,
        load_config(drive.config_path, ["scene.prefix=hurt", "scene.max_frames=1", "scene.frame_stride=20"]),
        spool,
    )
    options = [f"hurt-{tmp_path.name}" if one == "labelled" else one for one in held.options]
    assert run("upload", spool, *options)[0] == 0
    first, second = sorted(path.name for path in spool.glob("scenes/*"))
    row = world_rows(held, held.boxes[:1])[0]
    rows = [{**row, "scene": scene, "frame": 0} for scene in (first, second)]
    path = write_rows(tmp_path / "mine.jsonl", rows)
    assert run("predict", spool, "--as-labels", "--from", path, *options)[0] == 0
    (spool / "scenes" / first / "manifest.json").write_text("{")
    status, out, err = run("labels", spool, "-o", tmp_path / "out", *options)
    assert (status, out) == (1, f"1 label of 1 scene, 1 scene refused; {tmp_path / 'out'}\n")
    assert f"{first}/manifest.json: is not a manifest" in err
    home = [json.loads(line) for line in (tmp_path / "out" / "labels.jsonl").read_text().splitlines()]
    assert [label["scene"] for label in home] == [second]


def test_scenes_that_are_not_in_the_dataset_are_counted(held: Held, drive: Drive, tmp_path: Path, run: Run) -> None:
    spool, aside = tmp_path / "spool", tmp_path / "aside"
    convert_bag(
        drive.bag,
        load_config(drive.config_path, ["scene.prefix=part", "scene.max_frames=1", "scene.frame_stride=20"]),
        spool,
    )
    _, second = sorted(spool.glob("scenes/*"))
    second.rename(aside)
    options = [f"partly-{tmp_path.name}" if one == "labelled" else one for one in held.options]
    assert run("upload", spool, *options)[0] == 0
    aside.rename(second)
    status, out, _ = run("labels", spool, "-o", tmp_path / "out", *options)
    assert (status, out) == (0, f"0 labels of 1 scene, 1 scene not in the dataset; {tmp_path / 'out'}\n")


@pytest.mark.parametrize("command", ["labels", "predict", "upload", "status", "reconcile"])
def test_a_folder_that_is_not_a_spool_is_refused(
    command: str, held: Held, drive: Drive, tmp_path: Path, run: Run
) -> None:
    more: dict[str, list[object]] = {
        "labels": ["-o", tmp_path / "out", *held.options],
        "predict": ["--from", rows_of(held, tmp_path), "--model", "m", *held.options],
        "status": [],
    }
    status, _, err = run(command, drive.bag, *more.get(command, held.options))
    assert status == 2
    assert f"spool {drive.bag}: is a recording; give the folder that its scenes were written into" in err
    assert not (drive.bag / "state").exists()


@pytest.mark.parametrize(
    ("place", "text"),
    [("scenes", "is the folder of a spool's scenes; give the one above"), ("scenes/*", "is a scene; give its spool")],
)
def test_a_folder_inside_a_spool_is_named_for_what_it_is(place: str, text: str, held: Held, run: Run) -> None:
    (folder,) = held.spool.glob(place)
    status, _, err = run("status", folder)
    assert status == 2
    assert f"spool {folder}: {text}" in err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--compare"], "--compare: there is no {out}/labels.jsonl yet; run it once without --compare, or name a file"),
        (["--compare", "{tmp}/none.jsonl"], "{tmp}/none.jsonl cannot be read: No such file"),
        (["--compare", "{tmp}/odd.jsonl"], "odd.jsonl:1: is not a label as labels --format json writes it: it has no "),
        (["--format", "kitti", "--camera", "nose"], "--camera: no scene of {spool} has a camera 'nose'; there: front"),
        (["--camera", "front"], "--camera: goes with --format kitti, not with json"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(
    arguments: list[str], text: str, held: Held, tmp_path: Path, run: Run
) -> None:
    names = {"tmp": tmp_path, "out": tmp_path / "out", "spool": held.spool}
    (tmp_path / "odd.jsonl").write_text('{"scene": "a"}\n')
    given = [argument.format(**names) for argument in arguments]
    status, out, err = run("labels", held.spool, "-o", tmp_path / "out", *given, *held.options)
    assert (status, out) == (2, "")
    assert text.format(**names) in err


def test_comparing_with_nothing_says_that_all_is_new(held: Held, tmp_path: Path, run: Run) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    arguments = ["-o", tmp_path / "out", "--compare", tmp_path / "empty.jsonl", *held.options]
    status, out, _ = run("labels", held.spool, *arguments)
    count = len((tmp_path / "out" / "labels.jsonl").read_text().splitlines())
    assert status == 0
    assert out.startswith(f"{count} added, 0 removed, 0 moved, 0 the same; ")
    changes = [json.loads(line) for line in (tmp_path / "out" / "changes.jsonl").read_text().splitlines()]
    assert len(changes) == count > 0


def test_a_file_that_is_not_sfs_is_refused_and_does_not_hide_the_others(held: Held, tmp_path: Path, run: Run) -> None:
    wrong, unknown = tmp_path / "wrong.sfs", tmp_path / "unknown.sfs"
    wrong.write_text("labels: [car]")
    unknown.write_text('{"annotations": []}')
    status, out, err = run("labels", held.spool, "-o", tmp_path / "out", "--sfs", wrong, "--sfs", unknown)
    assert status == 1
    assert f"{wrong}: cannot be read: " in err
    assert "expected an annotated .sfs file or its JSON form" in err
    assert f"{unknown}: the spool has no scene unknown" in err
    assert "2 scenes refused" in out


def test_without_detections_no_model_is_made(uploaded: Held, tmp_path: Path, run: Run) -> None:
    empty = write_rows(tmp_path / "empty.jsonl", [])
    status, out, err = run("predict", uploaded.spool, "--from", empty, "--model", uploaded.model, *uploaded.options)
    assert (status, out) == (1, "0 predictions on 0 frames of 0 scenes; nothing sent\n")
    assert "there are no detections" in err
    _, out, _ = run(
        "predict", uploaded.spool, "--from", empty, "--model", uploaded.model, "--dry-run", *uploaded.options
    )
    assert "(does not exist; will be created)" in out


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"frame": 999},
            "mine.jsonl:2: frame 999 of 'demo-20231114T221320.000000000Z', which has 40 frames, counted from",
        ),
        ({"scene": "elsewhere"}, "mine.jsonl:2: frame 1 of 'elsewhere', which is not in the dataset"),
        ({"scene": None, "frame": None, "stamp_ns": 5}, "mine.jsonl:2: no sweep is near stamp_ns 5"),
    ],
)
def test_the_first_row_that_is_on_no_frame_is_named(
    change: dict[str, Any], text: str, uploaded: Held, tmp_path: Path, run: Run
) -> None:
    rows = world_rows(uploaded, uploaded.boxes[:1])
    rows[1] = {key: value for key, value in {**rows[1], **change}.items() if value is not None}
    path = write_rows(tmp_path / "mine.jsonl", rows)
    status, _, err = run("predict", uploaded.spool, "--from", path, "--model", uploaded.model, *uploaded.options)
    assert status == 1
    assert f"1 row of {len(rows)} not within 60 ms of a frame of the scenes; the first: " in err
    assert text in err


def test_scores_that_are_no_confidence_are_counted(uploaded: Held, tmp_path: Path, run: Run) -> None:
    path = rows_of(uploaded, tmp_path, score=87.0)
    status, _, err = run("predict", uploaded.spool, "--from", path, "--model", uploaded.model, *uploaded.options)
    assert status == 1
    assert (
        f"{len(path.read_text().splitlines())} scores not within 0 and 1: those predictions have no confidence" in err
    )


def test_a_model_without_a_name_is_refused(uploaded: Held, tmp_path: Path, run: Run) -> None:
    path = rows_of(uploaded, tmp_path)
    status, _, err = run("predict", uploaded.spool, "--from", path, "--model", " ", *uploaded.options)
    assert status == 2
    assert "--model: is empty" in err


@pytest.mark.parametrize("command", ["labels", "predict"])
def test_an_endpoint_that_does_not_answer_is_named_by_its_address(
    command: str, uploaded: Held, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUCLEUS_ENDPOINT", "http://127.0.0.1:9/v1/nucleus")
    more = ["-o", tmp_path] if command == "labels" else ["--from", rows_of(uploaded, tmp_path), "--model", "m"]
    status, _, err = run(command, uploaded.spool, *more, "--dataset", "town", "--set", "upload.timeout_s=1")
    assert status == 1
    assert "the connection to 127.0.0.1:9 failed or broke" in err


@pytest.mark.parametrize("command", ["labels", "predict"])
def test_one_that_waits_for_an_answer_is_interrupted_in_one_line(command: str, uploaded: Held, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(120)
        more = ["-o", tmp_path] if command == "labels" else ["--from", rows_of(uploaded, tmp_path), "--model", "m"]
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/v1/nucleus"
        arguments = [command, uploaded.spool, *more, "--dataset", "town"]
        run = subprocess.Popen(
            [sys.executable, "-m", "nucleus_bridge", *map(str, arguments)],
            env={**os.environ, "NUCLEUS_ENDPOINT": address, "NUCLEUS_API_KEY": KEY},
            stderr=subprocess.PIPE,
            text=True,
        )
        connection, _ = silent.accept()
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=120)
        connection.close()
    assert run.returncode == 1
    (line,) = err.splitlines()
    assert line.startswith("nucleus-bridge: error: interrupted; ")
    assert "run it again" in line
