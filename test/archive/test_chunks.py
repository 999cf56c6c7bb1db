# SPDX-License-Identifier: Apache-2.0
"""A drive in chunks equals the same drive in one piece, byte for byte."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from archives import Run, tree
from bags import MS, START_NS, cloud, info, recording, write_config
from compared_drives import with_drifting_odometry, write_slam_file
from drives import make_drive
from pose_drives import config_with

from nucleus_bridge.convert import convert_bag
from nucleus_bridge.testing.demo import DriveOptions

SMALL = {"points": 400, "image_width": 64, "image_height": 64}


def check_same(bag: Path, config: Path, folder: Path, convert: Callable[..., Run], *options: str, chunk: float) -> int:
    """Convert whole and in chunks; compare everything but the folder of parts, and return the number of scenes."""
    arguments = (bag, "--config", config, *options)
    whole = convert(*arguments, "--output", folder / "whole")
    parts = convert(*arguments, "--output", folder / "parts", "--chunk", chunk, "--workers", "2")
    assert (parts.status, parts.counts) == (whole.status, whole.counts), parts.err
    assert tree(folder / "parts" / "scenes") == tree(folder / "whole" / "scenes")
    assert tree(folder / "parts" / "conversions") == tree(folder / "whole" / "conversions")
    assert list((folder / "parts" / "parts").iterdir()) == []
    return len(list((folder / "whole" / "scenes").iterdir()))


@pytest.mark.parametrize(
    ("drive", "settings"),
    [
        (DriveOptions(seconds=4.0, cameras=1, lidars=2, radars=1, shuffle=True, **SMALL), ["scene.max_items=16"]),
        (
            DriveOptions(seconds=4.0, cameras=1, storage="sqlite3", late_static_s=1.0, **SMALL),
            ["scene.max_duration_s=0.5", "scene.frame_stride=2", "scene.min_distance_m=0.1", "point_fields=[time]"],
        ),
        (
            DriveOptions(seconds=4.0, cameras=1, lidars=2, radars=1, **SMALL),
            ["scene.format=sfs", "scene.max_frames=8", "point_fields=[intensity, time]"],
        ),
    ],
    ids=["mcap", "sqlite3", "sfs"],
)
def test_chunks_make_the_bytes_of_one_piece(
    tmp_path: Path, convert: Callable[..., Run], drive: DriveOptions, settings: list[str]
) -> None:
    made = make_drive(tmp_path, drive)
    options = [part for text in settings for part in ("--set", text)]
    assert check_same(made.bag, made.config_path, tmp_path, convert, *options, chunk=0.02) > 3


def test_chunks_note_the_tracks_of_one_piece(tmp_path: Path, convert: Callable[..., Run]) -> None:
    drive = make_drive(tmp_path, DriveOptions(seconds=4.0, cameras=1, **SMALL))
    write_slam_file(with_drifting_odometry(drive.bag, tmp_path / "bag"), tmp_path / "slam.tum")
    lines = [
        "pose_names: [odom, slam]",
        (
            "poses: {odom: {topic: /slam/odom, compare_only: true}, "
            "slam: {file: slam.tum, parent_frame: slam_map, compare_only: true}}"
        ),
    ]
    config = config_with(drive.config_path, tmp_path / "c.yaml", lines)
    assert check_same(tmp_path / "bag", config, tmp_path, convert, "--set", "scene.max_frames=9", chunk=0.02) > 3
    for folder in (tmp_path / "whole" / "scenes").iterdir():
        tracks = json.loads((folder / "manifest.json").read_text())["poses"]["compared"]
        assert all(len(track["samples"]) > 20 for track in tracks)


def test_chunks_end_scenes_where_a_calibration_changes(tmp_path: Path, convert: Callable[..., Run]) -> None:
    drive = recording(frames=40).without("/info")
    for number in range(40):
        stamp = START_NS + 100 * number * MS
        lens = np.array([60.0 + (number >= 17), 0, 32, 0, 60, 24, 0, 0, 1])
        drive.add("/info", info(stamp, k=lens), stamp + 4 * MS)
    bag, config = drive.write(tmp_path / "bag"), write_config(tmp_path)
    assert check_same(bag, config, tmp_path, convert, "--set", "scene.format=sfs", chunk=0.02) == 2


@pytest.mark.parametrize("archive", [("--chunk", "0.02", "--workers", "2"), ("--workers", "2")], ids=["chunks", "bags"])
def test_scenes_without_room_are_counted_and_made_by_the_next_run(
    tmp_path: Path, convert: Callable[..., Run], archive: tuple[str, ...]
) -> None:
    made = make_drive(tmp_path, DriveOptions(seconds=4.0, cameras=0, **SMALL))
    bags = [made.bag]
    if "--chunk" not in archive:
        made.bag.rename(tmp_path / "a")
        bags = [tmp_path / "a", recording(frames=2).write(tmp_path / "b")]
    common = ["--config", made.config_path, "--set", "scene.max_frames=10", "--set", "spool.min_free_bytes=0"]
    whole = convert(bags[0], *common, "--output", tmp_path / "whole")
    size = sum(path.stat().st_size for path in (tmp_path / "whole" / "scenes").rglob("*") if path.is_file())
    full = ["--set", f"spool.max_bytes={size // 2}", "--set", "spool.when_full=drop_newest"]
    first = convert(*bags, *common, *full, *archive, "--output", tmp_path / "spool")
    assert first.status == 1
    assert "spool_full" in first.out + first.err
    assert 0 < len(list((tmp_path / "spool" / "scenes").iterdir())) < 4
    again = convert(bags[0], *common, "--set", "spool.when_full=drop_newest", *archive, "--output", tmp_path / "spool")
    assert (whole.status, again.status) == (0, 0), again.err
    assert tree(tmp_path / "spool" / "scenes") == tree(tmp_path / "whole" / "scenes")


def test_two_messages_of_one_stamp_keep_a_recording_in_one_piece(tmp_path: Path, convert: Callable[..., Run]) -> None:
    made = recording(frames=20)
    made.add("/points", cloud(START_NS + 1000 * MS), START_NS + 1010 * MS)
    bag = made.write(tmp_path / "bag")
    count = check_same(bag, write_config(tmp_path), tmp_path, convert, "--set", "scene.max_frames=4", chunk=0.01)
    assert count == 5


def test_killed_between_chunks_it_goes_on_with_those_that_are_left(tmp_path: Path, convert: Callable[..., Run]) -> None:
    bag, config = recording(frames=60).write(tmp_path / "bag"), write_config(tmp_path)
    arguments = ["--config", config, "--output", tmp_path / "parts", "--chunk", "0.005", "--set", "scene.max_frames=3"]
    command = [str(part) for part in (sys.executable, "-m", "nucleus_bridge", "convert", bag, *arguments)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while not (done := list((tmp_path / "parts").glob("parts/*/*.done.json"))):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)
    kept = {path.name: path.stat().st_ino for path in done}
    assert not list((tmp_path / "parts").glob("conversions/*.json")), "it was killed too late to tell anything"
    scenes = {path: path.stat().st_ino for path in (tmp_path / "parts" / "scenes").iterdir()}
    assert kept
    assert convert(bag, *arguments).status == 0
    assert {path: path.stat().st_ino for path in scenes} == scenes
    convert(bag, "--config", config, "--output", tmp_path / "whole", "--set", "scene.max_frames=3")
    assert tree(tmp_path / "parts" / "scenes") == tree(tmp_path / "whole" / "scenes")
    assert tree(tmp_path / "parts" / "conversions") == tree(tmp_path / "whole" / "conversions")


def test_a_short_recording_and_one_of_a_single_scene_are_not_cut(tmp_path: Path, convert: Callable[..., Run]) -> None:
    bag, config = recording(frames=10).write(tmp_path / "bag"), write_config(tmp_path)
    for chunk in (60, 0.005):
        run = convert(bag, "--config", config, "--output", tmp_path / f"spool{chunk}", "--chunk", chunk)
        assert (run.status, run.counts) == (0, {"done": 1})
        assert not list((tmp_path / f"spool{chunk}").glob("parts/*"))
    convert_bag(bag, config, tmp_path / "whole")
    assert tree(tmp_path / "spool60" / "scenes") == tree(tmp_path / "whole" / "scenes")


@pytest.mark.slow
def test_a_drive_of_ten_minutes_in_chunks(tmp_path: Path, convert: Callable[..., Run]) -> None:
    bag = recording(frames=6000).write(tmp_path / "bag")
    assert check_same(bag, write_config(tmp_path), tmp_path, convert, chunk=2.0) == 40
