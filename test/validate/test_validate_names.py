# SPDX-License-Identifier: Apache-2.0
"""Rules about names, lists and order, each broken in a way of its own."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from good_scene import CLOUDS, FIRST_NS, SCENE_ID, Recording, broken, check, cloud


def test_a_key_written_twice_breaks_the_rule_of_unambiguous_json(recording: Recording, tmp_path: Path) -> None:
    text = json.dumps(recording.scene)
    recording.files["scene.json"] = text.replace(
        '{"reference_id"', '{"reference_id": "first", "reference_id"', 1
    ).encode()
    assert broken(check(recording.write(tmp_path))) == {"json-unambiguous"}


@pytest.mark.parametrize(
    ("number", "record"),
    [
        (0, {"path": "../front/000000.jpg"}),
        (0, {"path": "/etc/passwd"}),
        (0, {"path": "front//000000.jpg"}),
        (0, {"path": "manifest.json"}),
        (0, {"bytes": "7"}),
        (0, {"sha256": "x" * 64}),
        (0, {"sha256": None}),
    ],
)
def test_an_unusable_entry_in_the_list_of_files_is_a_failure(
    recording: Recording, tmp_path: Path, number: int, record: dict[str, object]
) -> None:
    folder = recording.write(tmp_path)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["files"][number].update(record)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert broken(check(folder)) == {"manifest-files", "no-stray-files", "urls-relative-exist"}


def test_a_list_of_files_must_be_sorted_and_free_of_repetitions(recording: Recording, tmp_path: Path) -> None:
    folder = recording.write(tmp_path)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["files"].append(manifest["files"][0])
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert broken(check(folder)) == {"manifest-files"}


@pytest.mark.parametrize(
    ("scene_id", "rules"),
    [
        ("drive 20231114T221320.100000000Z", {"reference-id-characters", "reference-id-form"}),
        ("-20231114T221320.100000000Z", {"reference-id-form"}),
        ("drive-20231314T221320.100000000Z", {"reference-id-form"}),
        ("drive-20231114T221320.100Z", {"reference-id-form"}),
        ("drive-20231114T221320.100000001Z", {"reference-id-form"}),
        ("dri/ve-20231114T221320.100000000Z", {"reference-id-characters", "folder-name"}),
    ],
)
def test_a_scene_id_must_name_its_first_stamp(
    recording: Recording, tmp_path: Path, scene_id: str, rules: set[str]
) -> None:
    text = json.dumps([recording.scene, recording.manifest]).replace(SCENE_ID, scene_id)
    recording.scene, recording.manifest = json.loads(text)
    folder = recording.write(tmp_path)
    if "/" in scene_id:
        assert "reference-id-characters" in broken(check(folder))
        return
    folder = folder.rename(tmp_path / scene_id)
    assert broken(check(folder)) - {"item-id-form"} == rules


def test_a_folder_of_another_name_is_a_failure(recording: Recording, tmp_path: Path) -> None:
    folder = recording.write(tmp_path).rename(tmp_path / "copy")
    assert broken(check(folder)) == {"folder-name"}


@pytest.mark.parametrize("name", ["las", "pcd", 7, None])
def test_a_format_without_rules_is_a_failure(recording: Recording, tmp_path: Path, name: object) -> None:
    recording.manifest["format"] = name
    assert "format-known" in broken(check(recording.write(tmp_path)))


def test_two_clouds_in_a_frame_are_too_many(recording: Recording, tmp_path: Path) -> None:
    second = {**cloud(1), "reference_id": f"{SCENE_ID}-left-000001", "url": "left/000001.json"}
    recording.scene["frames"][1]["left"] = second
    recording.files["left/000001.json"] = CLOUDS[1].encode()
    rules = broken(check(recording.write(tmp_path)))
    assert rules == {"one-cloud-per-frame", "same-cloud-sensor", "manifest-sensors", "manifest-counts", "timestamps"}


@pytest.mark.parametrize("sensor", ["self", "front left", "..", ""])
def test_some_names_cannot_be_sensors(recording: Recording, tmp_path: Path, sensor: str) -> None:
    recording.scene["frames"][0][sensor] = recording.scene["frames"][0].pop("rear")
    assert "sensor-names" in broken(check(recording.write(tmp_path)))


def test_several_lidars_make_one_cloud_named_lidar(recording: Recording, tmp_path: Path) -> None:
    text = json.dumps(recording.scene).replace("-top-", "-lidar-").replace("top/", "lidar/").replace('"top"', '"lidar"')
    recording.scene = json.loads(text)
    recording.files = {name.replace("top/", "lidar/"): content for name, content in recording.files.items()}
    recording.manifest["sensors"]["left"] = {"kind": "lidar"}
    assert check(recording.write(tmp_path)).ok
    del recording.manifest["sensors"]["left"], recording.manifest["sensors"]["top"]
    assert broken(check(recording.write(tmp_path))) == {"manifest-sensors"}


def test_frames_stand_in_the_order_of_time(recording: Recording, tmp_path: Path) -> None:
    recording.scene["frames"].reverse()
    rules = broken(check(recording.write(tmp_path)))
    assert rules == {"frame-numbers", "timestamps", "camera-timestamps", "world-offset"}


def test_a_scene_may_have_300_items_and_no_more(recording: Recording, tmp_path: Path) -> None:
    def fill(frames: int) -> set[str]:
        recording.scene["frames"] = [{"top": cloud(number)} for number in range(frames)]
        recording.files = {}
        for number in range(frames):
            timestamp = str(FIRST_NS + number)
            text = (
                CLOUDS[1]
                .replace("1700000000200000000", timestamp)
                .replace('"x":1.5,"y":-0.25,"z":0.01', '"x":0,"y":0,"z":0')
            )
            recording.files[f"top/{number:06d}.json"] = text.encode()
        recording.manifest |= {"frames": frames, "items": frames, "points": frames, "missing": {}}
        return broken(check(recording.write(tmp_path / str(frames))))

    assert fill(300) == set()
    assert fill(301) == {"item-count"}


def test_a_subfolder_that_cannot_be_listed_is_a_failure(recording: Recording, tmp_path: Path) -> None:
    folder = recording.write(tmp_path)
    opened = [os.open(folder, os.O_RDONLY)]
    for _ in range(20):  # longer than any path may be, so that nobody, not even root, can list it by its path
        os.mkdir("d" * 250, dir_fd=opened[-1])
        opened.append(os.open("d" * 250, os.O_RDONLY, dir_fd=opened[-1]))
    for descriptor in opened:
        os.close(descriptor)
    report = check(folder)
    shutil.rmtree(folder)
    assert broken(report) == {"files-readable"}
