# SPDX-License-Identifier: Apache-2.0
"""A conversion obeys the limits of the spool like the recorder, and says what it leaves out."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from drives import Drive

from nucleus_bridge.config import Config
from nucleus_bridge.convert import convert_bag
from nucleus_bridge.errors import BridgeError, InputError
from nucleus_bridge.render import room
from nucleus_bridge.spool import Spool
from nucleus_bridge.spool.leases import Leases
from nucleus_bridge.spool.quota import read_drops


def limited(drive: Drive, max_bytes: int, when_full: str) -> Config:
    config = drive.config
    limits = replace(config.spool, max_bytes=max_bytes, min_free_bytes=0, when_full=when_full)
    return replace(config, scene=replace(config.scene, max_frames=10), spool=limits)


@pytest.fixture(scope="module")
def scene_bytes(drive: Drive, tmp_path_factory: pytest.TempPathFactory) -> int:
    """Size of the largest scene."""
    report = convert_bag(drive.bag, limited(drive, 0, "block"), tmp_path_factory.mktemp("free") / "spool")
    assert len(report.scenes) >= 3
    return max(scene.bytes for scene in report.scenes) + 100_000


def test_block_ends_with_an_error_where_nobody_makes_room_and_goes_on_later(
    drive: Drive, tmp_path: Path, scene_bytes: int
) -> None:
    with pytest.raises(BridgeError, match=r"spool.max_bytes.*upload.delete_after") as caught:
        convert_bag(drive.bag, limited(drive, scene_bytes, "block"), tmp_path / "spool")
    assert not isinstance(caught.value, InputError)
    first = Spool(tmp_path / "spool").scenes()
    assert len(first) == 1
    report = convert_bag(drive.bag, limited(drive, 0, "block"), tmp_path / "spool")
    assert report.complete
    assert [scene.existed for scene in report.scenes][:2] == [True, False]


def test_block_waits_while_an_upload_makes_room(
    drive: Drive, tmp_path: Path, scene_bytes: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(room, "ASK_AGAIN_S", 0.02)
    spool = Spool(tmp_path / "spool")
    spool.create()
    uploader = Leases(spool)
    uploader.start()
    seen: set[str] = set()
    rounds: list[int] = []
    over = threading.Event()

    def make_room() -> None:
        while not over.wait(0.02):
            if caplog.text.count("waiting for the upload") > len(rounds):  # nobody reads the spool then
                rounds.append(len(rounds))
                for folder in spool.scenes():
                    seen.add(folder.name)
                    spool.remove_scene(folder.name)

    thread = threading.Thread(target=make_room)
    thread.start()
    try:
        with caplog.at_level(logging.WARNING):
            report = convert_bag(drive.bag, limited(drive, scene_bytes, "block"), tmp_path / "spool")
    finally:
        over.set()
        thread.join()
        uploader.close()
    assert report.complete
    assert seen == {scene.manifest.reference_id for scene in report.scenes[:-1]}
    assert rounds


def test_drop_newest_counts_what_finds_no_room(drive: Drive, tmp_path: Path, scene_bytes: int) -> None:
    config = limited(drive, scene_bytes, "drop_newest")
    report = convert_bag(drive.bag, config, tmp_path / "spool")
    assert len(report.scenes) == 1
    assert not report.complete
    whole = convert_bag(drive.bag, limited(drive, 0, "block"), tmp_path / "whole")
    lost = report.losses[config.lidars[0].topic]["spool_full"]
    assert lost == sum(scene.manifest.frames for scene in whole.scenes[1:])
    assert read_drops(Spool(tmp_path / "spool"))["dropped_newest"] >= 2
    again = convert_bag(drive.bag, limited(drive, 0, "drop_newest"), tmp_path / "spool")
    assert again.complete
    assert not again.skipped


def test_drop_oldest_keeps_the_newest(drive: Drive, tmp_path: Path, scene_bytes: int) -> None:
    report = convert_bag(drive.bag, limited(drive, scene_bytes, "drop_oldest"), tmp_path / "spool")
    there = [folder.name for folder in Spool(tmp_path / "spool").scenes()]
    assert there == [report.scenes[-1].manifest.reference_id]
    assert read_drops(Spool(tmp_path / "spool")) == {"dropped_oldest": len(report.scenes) - 1}
