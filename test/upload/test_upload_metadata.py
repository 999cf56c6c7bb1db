# SPDX-License-Identifier: Apache-2.0
"""Metadata at the service: what the real client reads back, finds scenes by, and what is renewed in place."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from bags import START_NS, TYPES, recording, write_config
from test_destinations import held_scenes
from test_upload_real_client import ask
from upload_scenes import KEY, settings, states

from nucleus_bridge.config import Config, load_config
from nucleus_bridge.convert import convert_bag
from nucleus_bridge.recordings import digest_of
from nucleus_bridge.spool import Spool
from nucleus_bridge.testing.receiver import Receiver
from nucleus_bridge.upload.nucleus.provenance import PROVENANCE, Provenance
from nucleus_bridge.upload.uploader import Uploader
from nucleus_bridge.version import SOFTWARE

MS = 1_000_000
SIGNAL = ("metadata_from_names=['speed_mps']", "metadata_from.speed_mps.topic=/speed")
PER_ITEM = "metadata_from.speed_mps.per_item=true"
METADATA = ("metadata.vehicle=7", "metadata.is_raining=true", "metadata_builtin=true", *SIGNAL, PER_ITEM)


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    """Six frames whose speed is 0, 10, .. 50; with three frames a scene there are two scenes."""
    made = recording(frames=6, speed=2.0)
    for number in range(6):
        at_ns = START_NS + 100 * number * MS
        made.add("/speed", TYPES.types["std_msgs/msg/Float64"](10.0 * number), at_ns)
    return made.write(tmp_path / "drive_0412")


def configured(folder: Path, *overrides: str) -> Config:
    return load_config(write_config(folder), ["scene.max_frames=3", *overrides])


def upload(spool: Path, receiver: Receiver, objects: Path, **changes: Any) -> set[str]:
    """Upload; return the states that the scenes are in then."""
    Uploader(spool, settings(receiver, objects.as_uri(), **changes), key=KEY).run()
    return set(states(spool).values())


def test_the_real_client_reads_types_back_and_finds_scenes_by_them(
    client_python: Path, tmp_path: Path, bag: Path, receiver: Receiver, objects: Path
) -> None:
    report = convert_bag(bag, configured(tmp_path, *METADATA), tmp_path / "spool")
    first, second = (scene.manifest.reference_id for scene in report.scenes)
    assert upload(tmp_path / "spool", receiver, objects) == {"done"}
    read = ask(client_python, "read_back", receiver, dataset="drives")["payloads"]
    queries = {
        "metadata.speed_mps >= 30": [second],
        "metadata.distance_m > 0.3 AND metadata.duration_s < 1": [first, second],
        'metadata.recording = "drive_0412" AND metadata.speed_mps = 20': [first],
        f"metadata.start_unix_s > {START_NS // 10**9} + 0.2": [second],
        "metadata.losses > 0": [],
        "metadata.vehicle % 2 = 1": [first, second],
    }
    assert ask(client_python, "query", receiver, dataset="drives", queries=list(queries)) == queries
    told = {scene["reference_id"]: scene["metadata"] for scene in read}
    assert [(told[name]["speed_mps"], type(told[name]["speed_mps"])) for name in (first, second)] == [
        (20.0, float),
        (50.0, float),
    ]
    metadata = told[first]
    assert (metadata["vehicle"], metadata["is_raining"], metadata["start"]) == (
        7,
        True,
        "2023-11-14T22:13:20.000000000Z",
    )
    assert (metadata["mean_speed_mps"], metadata["duration_s"]) == (2.0, 0.2)
    assert metadata["recording_digest"] == digest_of(bag)
    assert (metadata["software"], metadata["losses"]) == (SOFTWARE, 0)
    assert "warnings" not in metadata
    frames = next(scene["frames"] for scene in read if scene["reference_id"] == second)
    values = [{sensor: item["metadata"]["speed_mps"] for sensor, item in frame.items()} for frame in frames]
    assert values == [{"top": speed, "front": speed} for speed in (30.0, 40.0, 50.0)]


def test_metadata_of_scenes_that_exist_are_renewed_in_place(
    tmp_path: Path, bag: Path, receiver: Receiver, objects: Path
) -> None:
    spool = tmp_path / "spool"
    convert_bag(bag, configured(tmp_path), spool)
    assert upload(spool, receiver, objects) == {"done"}
    before = {path: path.stat().st_mtime_ns for path in objects.rglob("*") if path.is_file()}
    convert_bag(bag, configured(tmp_path, *METADATA), spool, force=True)
    assert upload(spool, receiver, objects) == {"differs"}
    assert upload(spool, receiver, objects, update=True) == {"done"}
    assert {path: path.stat().st_mtime_ns for path in objects.rglob("*") if path.is_file()} == before
    shown = sorted(held_scenes(receiver), key=lambda scene: str(scene["reference_id"]))
    assert [scene["metadata"]["speed_mps"] for scene in shown] == [20.0, 50.0]
    for scene, speeds in zip(shown, ((0.0, 10.0, 20.0), (30.0, 40.0, 50.0)), strict=True):
        for frame, speed in zip(scene["frames"], speeds, strict=True):
            assert {item["metadata"]["speed_mps"] for item in frame.values()} == {speed}


def test_what_is_added_at_submission_is_no_part_of_the_scene_and_no_difference(
    tmp_path: Path, bag: Path, receiver: Receiver, objects: Path
) -> None:
    spool = Spool(tmp_path / "spool")
    report = convert_bag(bag, configured(tmp_path, "metadata.software=mine"), spool.path)
    for scene in report.scenes:
        assert json.loads((scene.folder / "scene.json").read_text())["metadata"] == {"software": "mine"}
        assert set(Provenance(spool).of(scene.manifest)) == set(PROVENANCE) - {"warnings"}
    upload(spool.path, receiver, objects)
    assert {scene["metadata"]["software"] for scene in held_scenes(receiver)} == {"mine"}
    again = Spool(tmp_path / "copy")  # as where another machine uploads what was copied to it
    again.create()
    shutil.copytree(spool.path / "scenes", again.path / "scenes", dirs_exist_ok=True)
    assert "recording" not in Provenance(again).of(report.scenes[0].manifest)
    assert upload(again.path, receiver, objects) == {"done"}
    assert {scene["metadata"]["recording"] for scene in held_scenes(receiver)} == {"drive_0412"}


def test_a_copy_of_a_recording_has_its_digest(tmp_path: Path, bag: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in bag.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert digest_of(copy) == digest_of(bag)
    (other,) = copy.glob("*.mcap")
    content = bytearray(other.read_bytes())
    content[-20] ^= 1
    other.write_bytes(content)
    assert digest_of(copy) != digest_of(bag)
