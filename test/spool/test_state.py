# SPDX-License-Identifier: Apache-2.0
"""The state machine on disk: legal steps only, each whole or absent, and leases that hold between processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "upload"))

from upload_scenes import scene_name, seal_scene

from nucleus_bridge.errors import SceneError
from nucleus_bridge.spool import Spool
from nucleus_bridge.spool.destination import DestinationKey
from nucleus_bridge.spool.leases import Lease, Leases
from nucleus_bridge.spool.state import SceneState, StateBook


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


@pytest.fixture
def book(spool: Spool) -> StateBook:
    seal_scene(spool.path, 1)
    return StateBook(spool)


def test_a_scene_goes_from_state_to_state_and_another_book_reads_it(book: StateBook) -> None:
    record = book.get(scene_name(1))
    assert (record.state, record.frames, record.items) == (SceneState.SEALED, 2, 4)
    assert (
        record.bytes
        == sum(path.stat().st_size for path in book.spool.scenes()[0].rglob("*.j*"))
        - (book.spool.scenes()[0] / "manifest.json").stat().st_size
    )
    for state in (SceneState.STORING, SceneState.STORED, SceneState.SUBMITTED, SceneState.DONE):
        record = book.write(record, state, job_id="job_1" if state is SceneState.SUBMITTED else record.job_id)
        assert StateBook(Spool(book.spool.path)).get(scene_name(1)) == record
    assert record.job_id == "job_1"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], SceneState.STORED),
        ([], SceneState.DONE),
        ([SceneState.STORING], SceneState.SUBMITTED),
        ([SceneState.STORING], SceneState.DONE),
        ([SceneState.STORING, SceneState.STORED, SceneState.SUBMITTED, SceneState.DONE], SceneState.STORING),
    ],
)
def test_a_step_that_is_not_in_the_machine_is_refused(
    book: StateBook, before: list[SceneState], after: SceneState
) -> None:
    record = book.get(scene_name(1))
    for state in before:
        record = book.write(record, state)
    with pytest.raises(ValueError, match="no step leads"):
        book.write(record, after)
    assert book.get(scene_name(1)) == record


def test_a_scene_that_was_replaced_is_sealed_again(book: StateBook) -> None:
    record = book.get(scene_name(1))
    for state in (SceneState.STORING, SceneState.STORED, SceneState.DONE):
        record = book.write(record, state)
    seal_scene(book.spool.path, 1, salt=5, replace=True)
    again = book.get(scene_name(1))
    assert again.state is SceneState.SEALED
    assert again.content != record.content


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"null", b'{"state": "nowhere"}', b"\xff\xfe"])
def test_a_damaged_state_file_counts_as_absent(book: StateBook, damage: bytes) -> None:
    book.write(book.get(scene_name(1)), SceneState.STORING)
    (book.folder / f"{scene_name(1)}.json").write_bytes(damage)
    assert book.get(scene_name(1)).state is SceneState.SEALED


def test_a_note_from_before_the_dataset_was_there_hides_none_of_the_dataset(book: StateBook) -> None:
    before = DestinationKey("https://api.example/v1", "s3://b/p", dataset_name="drives")
    there = replace(before, dataset_id="ds_1")
    for key, states in (
        (there, (SceneState.STORING, SceneState.STORED, SceneState.DONE)),
        (before, (SceneState.STORING,)),
    ):
        noted = StateBook(book.spool, key)
        record = noted.get(scene_name(1))
        for state in states:
            record = noted.write(record, state)
    assert book.get(scene_name(1)).state is SceneState.DONE
    assert StateBook(book.spool, there).get(scene_name(1)).state is SceneState.DONE


def test_a_state_file_is_beside_the_sealed_scene_and_never_in_it(book: StateBook) -> None:
    before = sorted(book.spool.scenes()[0].rglob("*"))
    book.write(book.get(scene_name(1)), SceneState.STORING)
    assert sorted(book.spool.scenes()[0].rglob("*")) == before


def test_open_and_set_aside_scenes_are_listed(book: StateBook) -> None:
    unfinished = book.spool.open_scene(scene_name(3))
    seal_scene(book.spool.path, 2)
    book.quarantine(book.get(scene_name(2)), "bad")
    assert {record.reference_id: record.state.value for record in book.all()} == {
        scene_name(1): "sealed",
        scene_name(2): "quarantined",
        scene_name(3): "open",
    }
    assert (book.spool.quarantine_dir / scene_name(2) / "reason.txt").read_text() == "bad\n"
    unfinished.discard()


def test_an_unknown_scene_is_an_error(book: StateBook) -> None:
    with pytest.raises(SceneError, match="no such scene"):
        book.get("nothing")


def test_a_lease_is_for_one_and_can_be_given_back(book: StateBook) -> None:
    first, second = Leases(book.spool), Leases(book.spool)
    first.start()
    second.start()
    assert first.take("a") is Lease.TAKEN
    assert second.take("a") is Lease.HELD
    assert first.keeps("a")
    assert not second.keeps("a")
    first.release("a")
    assert second.take("a") is Lease.TAKEN
    second.close()
    assert first.take("a") is Lease.TAKEN
    first.close()
    assert [path.name for path in first.folder.iterdir() if path.name != ".guard"] == []


def _hold(path: str, ready: multiprocessing.synchronize.Event) -> None:  # type: ignore[name-defined]
    leases = Leases(Spool(Path(path)))
    leases.start()
    leases.take("a")
    ready.set()
    signal.pause()


def test_the_lease_of_a_killed_process_on_this_machine_is_free_at_once(book: StateBook) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    holder = context.Process(target=_hold, args=(str(book.spool.path), ready))
    holder.start()
    assert ready.wait(30)
    ours = Leases(book.spool)
    ours.start()
    assert ours.take("a") is Lease.HELD
    os.kill(holder.pid or 0, signal.SIGKILL)
    holder.join()
    assert ours.take("a") is Lease.TAKEN
    ours.close()


def test_elsewhere_an_owner_is_gone_when_it_stood_still_for_the_lease_time(book: StateBook) -> None:
    now = [0.0]
    ours = Leases(book.spool, lease_s=60, clock=lambda: now[0])
    ours.start()
    owner = ours.folder / "far.owner"

    def beat(number: int) -> None:
        owner.write_text(json.dumps({"machine": "far away", "pid": 1, "beat": number}))

    beat(1)
    (ours.folder / "a.lease").write_text("far")
    assert ours.take("a") is Lease.UNSURE
    now[0] = 59.0
    assert ours.take("a") is Lease.UNSURE
    beat(2)
    now[0] = 61.0
    assert ours.take("a") is Lease.HELD
    now[0] = 120.0
    assert ours.take("a") is Lease.UNSURE
    now[0] = 122.0
    assert ours.take("a") is Lease.TAKEN
    ours.close()


def test_of_many_that_find_a_dead_owner_one_takes_over(book: StateBook) -> None:
    from threading import Barrier, Thread

    everyone = [Leases(book.spool, lease_s=0.0) for _ in range(8)]
    for leases in everyone:
        leases.start()
    (everyone[0].folder / "a.lease").write_text("dead")
    barrier = Barrier(len(everyone))
    taken = []

    def try_it(leases: Leases) -> None:
        leases.take("a")
        barrier.wait()
        if leases.take("a") is Lease.TAKEN:
            taken.append(leases)

    threads = [Thread(target=try_it, args=(leases,)) for leases in everyone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([leases for leases in everyone if leases.keeps("a")]) == 1
    assert len(taken) == 1
    for leases in everyone:
        leases.close()
