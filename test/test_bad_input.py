# SPDX-License-Identifier: Apache-2.0
"""Bad input ends with one clear line and status 1 or 2, never a traceback, and leaves no half scene."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bags import (
    CONFIG,
    MS,
    START_NS,
    UNIT,
    Recording,
    cloud,
    compressed,
    info,
    jpeg,
    raw_image,
    recording,
    transforms,
    write_config,
)

from nucleus_bridge.cli.main import main


class Outcome:
    """What one run of ``convert`` said and left behind."""

    def __init__(self, status: int, out: str, err: str, spool: Path) -> None:
        self.status, self.out, self.err, self.spool = status, out, err, spool

    @property
    def scenes(self) -> list[Path]:
        folder = self.spool / "scenes"
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def manifest(self) -> dict:
        return json.loads((self.scenes[0] / "manifest.json").read_text())

    def losses(self) -> dict[str, dict[str, int]]:
        return self.manifest()["losses"]


@pytest.fixture
def convert(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    def run(bag: Path | Recording, *arguments: str, config: str = CONFIG) -> Outcome:
        if isinstance(bag, Recording):
            bag = bag.write(tmp_path / "bag")
        spool = tmp_path / "spool"
        capfd.readouterr()
        command = ["convert", str(bag), "--config", str(write_config(tmp_path, config)), "--output", str(spool)]
        status = main([*command, *arguments])
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        assert len([line for line in err.splitlines() if not line.startswith("warning: ")]) <= 1, err
        if (spool / "open").is_dir():
            assert list((spool / "open").iterdir()) == []
        return Outcome(status, out, err, spool)

    return run


def test_the_good_recording_is_good(convert) -> None:
    outcome = convert(recording())
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.manifest()["frames"] == 5
    assert outcome.manifest()["items"] == 10
    assert outcome.losses() == {}


# --- the file ---------------------------------------------------------------------------------------------------


def test_missing_file(convert, tmp_path: Path) -> None:
    outcome = convert(tmp_path / "nothing.mcap")
    assert outcome.status == 2
    assert "nothing.mcap" in outcome.err


@pytest.mark.parametrize("name", ["text.mcap", "text.db3", "text.txt"])
def test_not_a_bag(convert, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("hello, I am a letter to my aunt" * 100)
    outcome = convert(tmp_path / name)
    assert outcome.status == 2
    assert name in outcome.err


def test_empty_folder_and_empty_file(convert, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.db3").touch()
    assert convert(tmp_path / "empty").status == 2
    assert convert(tmp_path / "empty.db3").status == 2


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_truncated_recording_keeps_whole_frames_and_says_what_is_gone(convert, tmp_path: Path, storage: str) -> None:
    folder = recording(frames=40).write(tmp_path / "whole", storage)
    whole = next(path for path in folder.iterdir() if path.suffix in (".mcap", ".db3"))
    cut = tmp_path / f"cut{whole.suffix}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    outcome = convert(cut)
    assert outcome.status in (1, 2)
    if outcome.status == 1:
        assert outcome.scenes
        assert "damaged" in outcome.out
        assert main(["validate", str(outcome.spool)]) == 0


# --- messages ---------------------------------------------------------------------------------------------------


def swapped(made: Recording, topic: str, number: int, change: Callable[[bytes], bytes]) -> Recording:
    """Change the bytes of one message of a topic."""
    rows, seen = [], 0
    for log_ns, name, type_name, data in made.rows:
        if name == topic:
            rows.append((log_ns, name, type_name, change(data) if seen == number else data))
            seen += 1
        else:
            rows.append((log_ns, name, type_name, data))
    return Recording(rows)


@pytest.mark.parametrize("topic", ["/points", "/image"])
def test_a_damaged_message_is_counted_and_the_rest_goes_on(convert, topic: str) -> None:
    outcome = convert(swapped(recording(), topic, 2, lambda data: data[: len(data) // 2]))
    assert outcome.status == 1
    assert outcome.losses().pop(topic) == {"damaged": 1}
    assert topic in outcome.out
    assert outcome.manifest()["frames"] == (4 if topic == "/points" else 5)


def test_a_cloud_shorter_than_it_says(convert) -> None:
    made = recording()
    made.add("/points", cloud(START_NS + 500 * MS, width=4_000_000_000, row_step=4_000_000_000), START_NS + 503 * MS)
    outcome = convert(made)
    assert outcome.status == 1
    assert sum(outcome.losses()["/points"].values()) == 1
    assert "/points" in outcome.out


def test_an_unknown_encoding(convert) -> None:
    made = recording().without("/image")
    for number in range(5):
        stamp = START_NS + 100 * number * MS
        made.add("/image", raw_image(stamp, "hologram32"), stamp + 5 * MS)
    outcome = convert(made)
    assert outcome.status == 1
    assert outcome.losses() == {"/image": {"unknown_encoding": 5}}
    assert "hologram32" in outcome.out
    assert outcome.manifest()["items"] == 5


@pytest.mark.parametrize("rotation", [(0.0, 0.0, 0.0, 0.0), (float("nan"), 0.0, 0.0, 1.0)])
def test_a_zero_or_nan_quaternion_is_left_out_and_counted(convert, rotation: tuple[float, ...]) -> None:
    made = recording()
    made.add("/tf", transforms(("map", "base_link", START_NS + 55 * MS, (0, 0, 0), rotation)), START_NS + 56 * MS)
    outcome = convert(made)
    assert outcome.status == 1
    assert outcome.losses() == {"/tf": {"bad_transform": 1}}
    assert outcome.manifest()["frames"] == 5


def test_a_bad_static_transform_is_counted_once(convert) -> None:
    made = recording()
    made.add("/tf_static", transforms(("base_link", "mirror", 1, (0, 0, 0), (0.0, 0.0, 0.0, 0.0))), START_NS)
    assert convert(made).losses() == {"/tf_static": {"bad_transform": 1}}


def test_an_uncalibrated_camera_is_never_sent(convert) -> None:
    made = recording().without("/info")
    made.add("/info", info(START_NS, k=np.zeros(9)), START_NS)
    outcome = convert(made)
    assert outcome.status == 1
    assert outcome.losses() == {"/image": {"uncalibrated": 5}}
    assert "front" in outcome.out
    assert outcome.manifest()["items"] == 5


def test_a_camera_info_of_another_size_than_the_image(convert) -> None:
    made = recording().without("/info")
    made.add("/info", info(START_NS, width=100, height=48), START_NS)
    outcome = convert(made)
    assert outcome.status == 1
    assert outcome.losses() == {"/image": {"size_mismatch": 5}}


def test_a_transform_loop_ends(convert) -> None:
    made = recording().without("/tf")
    made.add(
        "/tf", transforms(("a", "map", START_NS, (0, 0, 0), UNIT), ("map", "a", START_NS, (0, 0, 0), UNIT)), START_NS
    )
    made.add("/tf_static", transforms(("a", "base_link", 1, (0, 0, 0), UNIT)), START_NS)
    outcome = convert(made)
    assert outcome.status == 2
    assert "loop" in outcome.err
    assert outcome.scenes == []


def test_missing_transforms_name_the_frames_that_exist(convert) -> None:
    outcome = convert(recording().without("/tf"))
    assert outcome.status == 2
    for text in ("map", "base_link", "camera", "lidar", "world_frame", "device_frame"):
        assert text in outcome.err


def test_frame_ids_with_a_leading_slash_are_the_same_frames(convert) -> None:
    made = recording().without("/points")
    for number in range(5):
        stamp = START_NS + 100 * number * MS
        made.add("/points", cloud(stamp, frame_id="/lidar"), stamp + 3 * MS)
    assert convert(made).status == 0


def test_an_empty_frame_id_of_a_lidar_is_named(convert) -> None:
    made = recording().without("/points")
    made.add("/points", cloud(START_NS, frame_id=""), START_NS)
    outcome = convert(made)
    assert outcome.status == 2
    assert "frame_id" in outcome.err


def test_an_empty_frame_id_of_a_camera_needs_the_optical_frame(convert) -> None:
    made = recording().without("/image")
    for number in range(5):
        stamp = START_NS + 100 * number * MS
        made.add("/image", compressed(stamp, frame_id=""), stamp + 5 * MS)
    outcome = convert(made)
    assert outcome.status == 1
    assert outcome.losses() == {"/image": {"empty_frame_id": 5}}
    assert "cameras.front.optical_frame" in outcome.out
    assert convert_again(outcome, "--set", "cameras.front.optical_frame=camera") == 0


def convert_again(outcome: Outcome, *arguments: str) -> int:
    folder = outcome.spool.parent
    command = ["convert", str(folder / "bag"), "--config", str(folder / "config.yaml")]
    return main([*command, "--output", str(folder / "spool2"), *arguments])


def test_stamps_of_zero_are_refused(convert) -> None:
    made = recording().without("/points")
    for number in range(5):
        made.add("/points", cloud(0), START_NS + 100 * number * MS)
    outcome = convert(made)
    assert outcome.status == 2
    assert "zero_stamp" in outcome.err


def test_a_cloud_without_the_configured_intensity_names_the_fields_there_are(convert) -> None:
    outcome = convert(recording(), "--set", "lidars.top.intensity_field=reflectivity")
    assert outcome.status == 2
    for text in ("reflectivity", "intensity", "x"):
        assert text in outcome.err


def test_a_truncated_jpeg_is_not_sent(convert) -> None:
    made = recording().without("/image")
    for number in range(5):
        stamp = START_NS + 100 * number * MS
        made.add("/image", compressed(stamp, jpeg()[: 300 if number == 2 else None]), stamp + 5 * MS)
    outcome = convert(made)
    assert outcome.status == 1
    assert outcome.losses() == {"/image": {"damaged": 1}}


def test_a_required_camera_takes_the_frame_with_it(convert) -> None:
    made = swapped(recording(), "/image", 2, lambda data: data[:100])
    outcome = convert(made, "--set", "cameras.front.required=true")
    assert outcome.status == 1
    assert outcome.manifest()["frames"] == 4
    assert outcome.losses() == {"/image": {"damaged": 1}, "/points": {"required_missing": 1}}


# --- configuration and output -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (CONFIG.replace("/points", "/point"), "/point is not in"),
        (CONFIG.replace("/points", "/image"), "format 'jpeg' is not a compressed depth image"),
        (CONFIG.replace("info_topic", "inf_topic"), "the nearest name is 'cameras.front.info_topic'"),
        (CONFIG.replace("world_frame: map", "world_frame: 3"), "world_frame: must be text, not 3"),
        ("nothing", "expected a ROS 2 parameter file"),
    ],
)
def test_configuration_errors(convert, config: str, told: str) -> None:
    outcome = convert(recording(), config=config)
    assert outcome.status == 2
    assert told in outcome.err
    assert outcome.scenes == []


def test_an_output_folder_that_is_a_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bag, config = recording().write(tmp_path / "bag"), write_config(tmp_path)
    (tmp_path / "file").touch()
    assert main(["convert", str(bag), "--config", str(config), "--output", str(tmp_path / "file")]) == 2
    assert "cannot be written to" in capfd.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_folder_that_is_read_only(tmp_path: Path) -> None:
    bag, config = recording().write(tmp_path / "bag"), write_config(tmp_path)
    (tmp_path / "spool").mkdir(mode=0o500)
    assert main(["convert", str(bag), "--config", str(config), "--output", str(tmp_path / "spool")]) == 2


def test_a_scene_that_exists_with_other_content_needs_force(convert, tmp_path: Path) -> None:
    assert convert(recording()).status == 0
    outcome = convert(tmp_path / "bag", "--set", "deskew=false")
    assert outcome.status == 2
    assert "--force" in outcome.err
    assert convert(tmp_path / "bag", "--set", "deskew=false", "--force").status == 0
    assert convert(tmp_path / "bag", "--set", "deskew=false").out.count("was there") == 1


def test_bad_usage_is_status_two() -> None:
    for arguments in ([], ["convert"], ["nonsense"], ["convert", "x", "--workers", "0"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2


def test_an_interrupted_run_leaves_no_half_scene(tmp_path: Path) -> None:
    """SIGTERM in the middle of a scene: the status says so, sealed scenes stay, nothing is left open."""
    bag = recording(frames=1500).write(tmp_path / "bag")
    command = [sys.executable, "-m", "nucleus_bridge", "convert", str(bag), "--config", str(write_config(tmp_path))]
    spool = tmp_path / "spool"
    with subprocess.Popen([*command, "--output", str(spool)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stdout is not None
        first = run.stdout.readline()
        run.terminate()
        _, err = run.communicate(timeout=60)
    assert first.startswith(b"drive-")
    assert run.returncode in (0, 1)
    assert b"Traceback" not in err
    if run.returncode == 1:
        assert b"interrupted" in err
    assert list((spool / "open").iterdir()) == []
    assert main(["validate", str(spool)]) == 0


def test_several_bags_one_of_them_bad(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    good, config = recording().write(tmp_path / "good"), write_config(tmp_path)
    status = main(
        ["convert", str(tmp_path / "bad"), str(good), "--config", str(config), "--output", str(tmp_path / "spool")]
    )
    out, err = capfd.readouterr()
    assert status == 1
    assert "5 frames" in out
    assert "bad" in err
