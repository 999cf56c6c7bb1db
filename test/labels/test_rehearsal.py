# SPDX-License-Identifier: Apache-2.0
"""Labels of one's own go into the local receiver and come home: the circle is closed without an account."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drives import Drive
from label_cases import Held, ask, corners, detection_array
from test_predict import SEEN, TOPIC, detector_bag, world_rows, write_rows

from nucleus_bridge.cli.main import main

DATASETS = count()


@pytest.fixture
def rehearsal(uploaded: Held) -> tuple[Held, str]:
    """The drive in a dataset of the test's own."""
    name = f"rehearsal-{next(DATASETS)}"
    options = [name if given == "town" else given for given in uploaded.options]
    assert main(["upload", str(uploaded.spool), *options]) == 0
    return replace(uploaded, options=options), name


def give(held: Held, *arguments: object) -> int:
    return main(["predict", str(held.spool), "--as-labels", *map(str, arguments), *held.options])


def fetched(held: Held, folder: Path) -> list[dict[str, Any]]:
    assert main(["labels", str(held.spool), "-o", str(folder), *held.options]) == 0
    return [json.loads(line) for line in (folder / "labels.jsonl").read_text().splitlines()]


def key(row: dict[str, Any]) -> tuple[str, int, str]:
    return row["scene"], row["frame"], row["track"]


def test_labels_that_a_user_wrote_come_home_as_they_were_written(
    rehearsal: tuple[Held, str], client_python: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held, name = rehearsal
    boxes = held.boxes[:SEEN]
    rows = world_rows(held, boxes, attributes={"occlusion": "none", "sure": True})
    path = write_rows(tmp_path / "mine.jsonl", rows)
    capsys.readouterr()
    assert give(held, "--from", path) == 0
    frames = sum(manifest["frames"] for manifest in held.manifests)
    assert f"{len(rows)} labels on {frames} frames of {len(held.manifests)} scene" in capsys.readouterr().out
    home = sorted(fetched(held, tmp_path / "labels"), key=key)
    for row, mine in zip(home, sorted(rows, key=key), strict=True):
        assert {k: row[k] for k in ("scene", "frame", "stamp_ns", "frame_id", "label", "track", "attributes")} == {
            k: mine[k] for k in ("scene", "frame", "stamp_ns", "frame_id", "label", "track", "attributes")
        }
        assert row["source"] == "nucleus"
        for part in ("position", "size", "rotation"):
            assert row[part] == pytest.approx(mine[part], abs=2e-6)
    seen = ask(client_python, "annotations", held.receiver, dataset=name)
    assert len(seen) == len(rows)
    offsets = {manifest["reference_id"]: list(manifest["world_offset"].values()) for manifest in held.manifests}
    truth = {box.track: corners(box) for box in boxes}
    for row in seen:
        expected = truth[row["track"]] - offsets[row["item"].rpartition("-top-")[0]]
        assert np.abs(np.array(row["corners"]) - expected).max() < 1e-3
        assert row["metadata"] == {"occlusion": "none", "sure": True}


def test_given_twice_they_are_there_once_and_an_update_changes_them(
    rehearsal: tuple[Held, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held, _ = rehearsal
    rows = world_rows(held, held.boxes[:2])
    path = write_rows(tmp_path / "mine.jsonl", rows)
    assert give(held, "--from", path) == 0
    first = fetched(held, tmp_path / "labels")
    capsys.readouterr()
    assert give(held, "--from", path) == 0
    assert f", {len(rows)} were there; dataset ds_" in capsys.readouterr().out
    assert fetched(held, tmp_path / "labels") == first
    write_rows(path, [{**row, "label": "tram"} for row in rows])
    assert give(held, "--from", path, "--update") == 0
    assert {row["label"] for row in fetched(held, tmp_path / "labels")} == {"tram"}
    assert len(fetched(held, tmp_path / "labels")) == len(first)


def test_detections_of_a_recording_become_labels_where_they_are(
    rehearsal: tuple[Held, str], drive: Drive, tmp_path: Path
) -> None:
    held, _ = rehearsal
    bag, boxes = detector_bag(tmp_path, drive, held, detection_array)
    assert give(held, "--from", TOPIC, "--recording", bag, "--config", drive.config_path) == 0
    truth = {box.track: box for box in boxes}
    home = fetched(held, tmp_path / "labels")
    assert len(home) == len(boxes) * len(held.stamps)
    for row in home:
        box = truth[row["track"]]
        assert list(row["position"].values()) == pytest.approx(box.center, abs=1e-3)
        assert list(row["size"].values()) == pytest.approx(box.size, abs=1e-5)
        assert row["stamp_ns"] in held.stamps


def test_what_the_receiver_does_not_take_is_named(
    rehearsal: tuple[Held, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held, _ = rehearsal
    rows = world_rows(held, held.boxes[:1], attributes={"speed": 3.5})
    rows[-1]["attributes"] = {"speed": "fast"}  # a key's values are of one kind in a dataset
    path = write_rows(tmp_path / "mine.jsonl", rows)
    assert give(held, "--from", path) == 1
    said = capsys.readouterr()
    assert ", 1 not taken; dataset ds_" in said.out
    assert "speed" in said.err


@pytest.mark.parametrize(
    ("endpoint", "arguments", "text"),
    [
        ("https://api.scale.com/v1/nucleus", [], "is not the local receiver (nucleus-bridge serve)"),
        ("", ["--dry-run"], "--dry-run: goes with --model, not with --as-labels"),
        ("", ["--reconcile"], "--reconcile: goes with --model, not with --as-labels"),
    ],
)
def test_only_the_local_receiver_gets_labels_so(
    endpoint: str,
    arguments: list[str],
    text: str,
    uploaded: Held,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if endpoint:
        monkeypatch.setenv("NUCLEUS_ENDPOINT", endpoint)
    path = write_rows(tmp_path / "mine.jsonl", world_rows(uploaded, uploaded.boxes[:1]))
    before = len(uploaded.receiver.requests)
    assert give(uploaded, "--from", path, *arguments) == 2
    assert text in capsys.readouterr().err
    assert len(uploaded.receiver.requests) == before


@pytest.mark.parametrize("attributes", ["none", [1], 3])
def test_attributes_that_are_no_object_are_refused_with_their_line(
    attributes: object, uploaded: Held, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = world_rows(uploaded, uploaded.boxes[:1])
    path = write_rows(tmp_path / "mine.jsonl", [rows[0], {**rows[1], "attributes": attributes}])
    assert give(uploaded, "--from", path) == 2
    assert f"mine.jsonl:2: attributes is {attributes!r}; expected an object" in capsys.readouterr().err
