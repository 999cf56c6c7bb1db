# SPDX-License-Identifier: Apache-2.0
"""Room in the spool: what each policy does at the quota and at the least free space, and that it is counted."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "upload"))

from upload_scenes import scene_name, seal_scenes, states

from nucleus_bridge.config import SpoolConfig
from nucleus_bridge.spool import Spool
from nucleus_bridge.spool.leases import Lease, Leases
from nucleus_bridge.spool.quota import Quota, Room, read_drops
from nucleus_bridge.spool.state import SceneState, StateBook


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    seal_scenes(tmp_path / "spool", 4)
    return Spool(tmp_path / "spool")


def tree_bytes(spool: Spool) -> int:
    folders = (spool.scenes_dir, spool.open_dir, spool.quarantine_dir)
    return sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())


def quota(spool: Spool, when_full: str, *, spare: int = 0, free: int = 10**12) -> Quota:
    limits = SpoolConfig(max_bytes=tree_bytes(spool) + spare, min_free_bytes=1000, when_full=when_full)
    return Quota(spool, limits, free_bytes=lambda _: free)


def move_to(spool: Spool, name: str, *path: SceneState) -> None:
    book = StateBook(spool)
    record = book.get(name)
    for state in path:
        record = book.write(record, state)


def test_used_bytes_are_those_of_the_files(spool: Spool) -> None:
    scene = spool.open_scene("x")
    scene.write("a/b", [b"12345"])
    assert quota(spool, "block").used_bytes() == tree_bytes(spool)
    scene.discard()


@pytest.mark.parametrize("when_full", ["block", "drop_oldest", "drop_newest"])
def test_with_room_everything_is_admitted(spool: Spool, when_full: str) -> None:
    assert quota(spool, when_full, spare=100).admit(100).room is Room.ADMITTED
    assert read_drops(spool) == {}


def test_block_keeps_everything_and_drops_nothing(spool: Spool) -> None:
    admission = quota(spool, "block").admit(1)
    assert admission.room is Room.BLOCKED
    assert "spool.max_bytes" in admission.reason
    assert len(spool.scenes()) == 4
    assert read_drops(spool) == {}


def test_drop_newest_refuses_what_comes_and_counts_it(spool: Spool) -> None:
    limited = quota(spool, "drop_newest")
    assert [limited.admit(1).room for _ in range(3)] == [Room.DROPPED] * 3
    assert len(spool.scenes()) == 4
    assert read_drops(spool) == {"dropped_newest": 3}


def test_drop_oldest_removes_uploaded_scenes_first_and_then_the_oldest(spool: Spool) -> None:
    move_to(spool, scene_name(2), SceneState.STORING, SceneState.STORED, SceneState.DONE)
    limited = quota(spool, "drop_oldest")
    admission = limited.admit(1)
    assert (admission.room, admission.removed) == (Room.ADMITTED, (scene_name(2),))
    assert read_drops(spool) == {"removed_uploaded": 1}
    limited = quota(spool, "drop_oldest")
    admission = limited.admit(1)
    assert (admission.room, admission.removed) == (Room.ADMITTED, (scene_name(0),))
    assert read_drops(spool) == {"removed_uploaded": 1, "dropped_oldest": 1}
    assert states(spool.path) == {scene_name(1): "sealed", scene_name(2): "done", scene_name(3): "sealed"}


@pytest.mark.parametrize(
    "started",
    [
        (SceneState.STORING,),
        (SceneState.STORING, SceneState.STORED),
        (SceneState.STORING, SceneState.STORED, SceneState.SUBMITTED),
        (SceneState.STORING, SceneState.FAILED),
    ],
)
def test_drop_oldest_never_drops_a_scene_whose_upload_has_begun(spool: Spool, started: tuple[SceneState, ...]) -> None:
    for number in range(4):
        move_to(spool, scene_name(number), *started)
    admission = quota(spool, "drop_oldest").admit(1)
    assert admission.room is Room.DROPPED
    assert "no scene is left" in admission.reason
    assert len(spool.scenes()) == 4
    assert read_drops(spool) == {"dropped_newest": 1}


def test_drop_oldest_passes_by_a_scene_that_an_uploader_has_just_taken(spool: Spool) -> None:
    uploader = Leases(spool)
    uploader.start()
    assert uploader.take(scene_name(0)) is Lease.TAKEN
    assert quota(spool, "drop_oldest").admit(1).removed == (scene_name(1),)
    uploader.close()


def test_the_least_free_space_counts_too(spool: Spool) -> None:
    admission = quota(spool, "block", spare=10**9, free=1500).admit(501)
    assert admission.room is Room.BLOCKED
    assert "spool.min_free_bytes" in admission.reason
    assert quota(spool, "block", spare=10**9, free=1500).admit(500).room is Room.ADMITTED
