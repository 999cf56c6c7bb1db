# SPDX-License-Identifier: Apache-2.0
"""Whatever the spool did when the power failed, every scene that was sealed is whole, once, and no other is there.

Random work on a spool, by processes of which some are killed, is recorded on a disk that then loses what was not synced
(``crashing_disk``). The real code starts on what is left.
"""

from __future__ import annotations

import copy
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from crashing_disk import Change, CrashingDisk, Killed

from nucleus_bridge.config import SpoolConfig
from nucleus_bridge.errors import SceneError, SceneExistsError
from nucleus_bridge.spool import FileRecord, Manifest, OpenScene, Spool, durable, sync_scene_files
from nucleus_bridge.spool.manifest import MANIFEST_NAME
from nucleus_bridge.spool.quota import Quota, read_drops
from nucleus_bridge.spool.state import REASON_NAME, SceneState, StateBook, content_digest

EFFORT = int(os.environ.get("NUCLEUS_BRIDGE_TEST_EFFORT", "1"))
HISTORIES = 40 * EFFORT
NOTES = 350
CUTS = 50
FOUND = {127}  # histories of longer runs that were failures once
IDS = ("drive-a", "drive-b", "drive-c")
STEPS = {
    SceneState.SEALED: SceneState.STORING,
    SceneState.STORING: SceneState.STORED,
    SceneState.STORED: SceneState.SUBMITTED,
    SceneState.SUBMITTED: SceneState.DONE,
}

Place = tuple[str, str]
"""Content of a scene under ``scenes/`` and of the one of its id under ``quarantine/``; "" where there is none."""


@dataclass
class Expected:
    """What may be on the disk: by id the places and the states, and the number of scenes that were dropped."""

    places: dict[str, set[Place]] = field(default_factory=lambda: {name: {("", "")} for name in IDS})
    states: dict[str, set[str]] = field(default_factory=lambda: {name: {""} for name in IDS})
    drops: tuple[int, int] = (0, 0)


@contextmanager
def on_disk(disk: CrashingDisk, patch: pytest.MonkeyPatch) -> Iterator[None]:
    with patch.context() as patched:
        patched.setattr(durable, "os", disk)
        patched.setattr(durable, "shutil", disk)
        patched.setattr(durable, "write_file", disk.write_file)
        yield


def manifest(name: str, files: list[FileRecord], number: int) -> Manifest:
    return Manifest(
        reference_id=name,
        format="nucleus",
        frames=1,
        items=1,
        points=1,
        first_stamp_ns=number,
        last_stamp_ns=number,
        world_frame="map",
        device_frame="base_link",
        world_offset={"x": 0.0, "y": 0.0, "z": 0.0},
        sensors={},
        sync={},
        missing={},
        losses={},
        end_reason="end_of_data",
        config_digest="0" * 64,
        software="test",
        files=tuple(files),
    )


class Work:
    """Random work on one spool, and what may be found of it later."""

    def __init__(self, root: Path, disk: CrashingDisk, chance: random.Random) -> None:
        self.path = root / "data" / "spool"
        self.disk = disk
        self.chance = chance
        self.expected = Expected()
        self.timeline = [(0, copy.deepcopy(self.expected))]
        self._begin()

    def _begin(self) -> None:
        """A process starts."""
        self.spool = Spool(self.path)
        self.spool.create()
        self.book = StateBook(self.spool)
        self.book.create()
        self.open: list[OpenScene] = []

    def go_on(self) -> None:
        """Do something, and perhaps die doing it."""
        work = self.chance.choice(
            (*[self.seal] * 6, self.leave_open, *[self.step] * 3, self.set_aside, self.remove, self.drop)
        )
        if self.chance.random() < 0.15:
            self.disk.kill_after(self.chance.randrange(25))
        ends = self.chance.random() < 0.1
        try:
            work(self.chance.choice(IDS))
        except Killed:
            ends = True
        if ends:
            self.disk.revive()
            self._begin()

    def _may_become(self, name: str, *places: Place) -> None:
        self.expected.places[name] |= set(places)
        self._note()

    def _is(self, name: str, place: Place) -> None:
        self.expected.places[name] = {place}
        self._note()

    def _note(self) -> None:
        self.timeline.append((len(self.disk.notes), copy.deepcopy(self.expected)))

    def seal(self, name: str) -> None:
        variant = self.chance.choice("xy")
        scene = self.spool.open_scene(name)
        files = [scene.write(f"top/{n:06d}.json", [variant.encode() * 20, b"-", b"points"]) for n in range(2)]
        files.append(scene.write("scene.json", [f'{{"scene": "{variant}"}}\n'.encode()]))
        sealed = manifest(name, files, IDS.index(name))
        now, aside = place_of(self.spool, name)
        new = digest_of(sealed)
        self._may_become(name, (new, aside))
        is_synced_beside = self.chance.random() < 0.5  # by another process, as a conversion does
        if is_synced_beside:
            sync_scene_files(scene.folder, [record.path for record in files])
        replaces = self.chance.random() < 0.8
        try:
            self.spool.seal(scene, sealed, replace_existing=replaces, files_are_synced=is_synced_beside)
            self._is(name, (new, aside))
        except SceneExistsError:
            assert now != new

    def leave_open(self, name: str) -> None:
        scene = self.spool.open_scene(name)
        scene.write("top/000000.json", [b"unfinished"])
        if self.chance.random() < 0.5:
            scene.discard()
        else:
            self.open.append(scene)

    def step(self, name: str) -> None:
        try:
            record = self.book.get(name)
        except SceneError:
            return
        wanted = STEPS.get(record.state)
        if wanted is None:
            return
        mark = f"{wanted.value} {record.content}"
        self.expected.states[name].add(mark)
        self._note()
        self.book.write(record, wanted)
        self.expected.states[name] = {mark}
        self._note()

    def set_aside(self, name: str) -> None:
        now, aside = place_of(self.spool, name)
        if not now:
            return
        record = self.book.get(name)
        if record.state is SceneState.DONE:
            return
        mark = f"{SceneState.QUARANTINED.value} {record.content}"
        self.expected.states[name].add(mark)
        self._may_become(name, ("", now), *([(now, "damaged"), (now, "")] if aside else []))
        self.book.quarantine(record, "for a test")
        self.expected.states[name] = {mark}
        self._is(name, ("", now))

    def remove(self, name: str) -> None:
        now, aside = place_of(self.spool, name)
        if now:
            self._may_become(name, ("", aside))
            self.spool.remove_scene(name)
            self._is(name, ("", aside))

    def drop(self, _: str) -> None:
        before = {name: place_of(self.spool, name) for name in IDS}
        counted = sum(read_drops(self.spool).values())
        self.expected.drops = (self.expected.drops[0], counted + len(IDS) + 1)
        for name, (_, aside) in before.items():
            self._may_become(name, ("", aside))
        quota = Quota(self.spool, SpoolConfig(max_bytes=1500, min_free_bytes=0, when_full="drop_oldest"))
        admission = quota.admit(0)
        for name in admission.removed:
            self._is(name, ("", before[name][1]))
        counted = sum(read_drops(self.spool).values())
        self.expected.drops = (counted, counted)
        self._note()


def digest_of(sealed: Manifest) -> str:
    """Name a content as its manifest will."""
    files = tuple(sorted(sealed.files, key=lambda file: file.path))
    return content_digest(Manifest(**{**sealed.__dict__, "files": files}))


def place_of(spool: Spool, name: str) -> Place:
    return content_of(spool.scene_folder(name)), content_of(spool.quarantine_dir / name)


def content_of(folder: Path) -> str:
    """Return the content of a scene whose files are all there as its manifest says, and no others."""
    if not folder.is_dir():
        return ""
    try:
        found = Manifest.read(folder)
    except SceneError:
        return "damaged"
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(f".{REASON_NAME}.")]
    if {str(path.relative_to(folder)) for path in files} - {MANIFEST_NAME, REASON_NAME} != {
        record.path for record in found.files
    }:
        return "damaged"
    for record in found.files:
        if durable.file_digest(folder / record.path) != (record.bytes, record.sha256):
            return "damaged"
    return content_digest(found)


def recover(root: Path, chance: random.Random, spare: Path, patch: pytest.MonkeyPatch) -> Path:
    """Start the real code on what is left; sometimes the power fails again meanwhile. Returns where it ended well."""
    while True:
        disk = CrashingDisk(root)
        is_cut = chance.random() < 0.3
        with on_disk(disk, patch):
            if is_cut:
                disk.kill_after(chance.randrange(12))
            try:
                spool = Spool(root / "data" / "spool")
                spool.create()
                StateBook(spool).create()
            except Killed:
                pass
            disk.revive()
        if not is_cut:
            return root
        disk.after_power_cut(len(disk.notes), chance, spare)
        root, spare = spare, root


def check(root: Path, expected: Expected) -> None:
    spool = Spool(root / "data" / "spool")
    book = StateBook(spool)
    assert {folder.name for folder in spool.scenes()} <= set(IDS)
    for name in IDS:
        assert place_of(spool, name) in expected.places[name]
        record = book.known(name)
        mark = f"{record.state.value} {record.content}" if record else ""
        assert mark in expected.states[name]
        if record is not None:
            book.get(name)
    assert list(spool.open_dir.iterdir()) == []
    least, most = expected.drops
    assert least <= sum(read_drops(spool).values()) <= most


@pytest.mark.parametrize("seed", sorted({*range(HISTORIES), *FOUND}))
def test_after_a_power_cut_every_sealed_scene_is_whole_and_no_other_is_there(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    root = tmp_path / "disk"
    root.mkdir()
    disk = CrashingDisk(root)
    with on_disk(disk, monkeypatch):
        work = Work(root, disk, chance)
        while len(disk.notes) < NOTES:
            work.go_on()
    moves = [number for number, note in enumerate(disk.notes) if isinstance(note, Change) and len(note.rows) > 1]
    for _ in range(CUTS):
        near_move = min(chance.choice(moves) + chance.randrange(5), len(disk.notes))
        cut = chance.choice((near_move, chance.randrange(len(disk.notes) + 1)))
        expected = [expected for since, expected in work.timeline if since <= cut][-1]
        disk.after_power_cut(cut, chance, tmp_path / "left")
        check(recover(tmp_path / "left", chance, tmp_path / "spare", monkeypatch), expected)


@pytest.mark.parametrize("kill", range(0, 30, 2))
def test_a_scene_that_a_killed_process_began_is_safe_once_the_next_one_has_sealed_it(
    kill: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(kill)
    root = tmp_path / "disk"
    root.mkdir()
    disk = CrashingDisk(root)
    with on_disk(disk, monkeypatch):
        work = Work(root, disk, chance)
        chance.choice = lambda _: "x"
        for notes in (kill, kill + 1):
            disk.kill_after(notes)
            with suppress(Killed):
                work.seal("drive-a")
            disk.revive()
            work._begin()
        work.seal("drive-a")
    (expected,) = work.expected.places["drive-a"]
    for seed in range(10):
        disk.after_power_cut(len(disk.notes), random.Random(seed), tmp_path / "left")
        assert place_of(Spool(tmp_path / "left/data/spool"), "drive-a") == expected
