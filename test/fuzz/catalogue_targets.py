# SPDX-License-Identifier: Apache-2.0
"""Fuzzed: the file of a catalogue of recordings, asked for what fits a condition and brought up to date."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from harness import Target, scratch_folder
from recordings import drive, write_bag

from nucleus_bridge.archive.catalogue_file import is_catalogue
from nucleus_bridge.archive.choice import choose
from nucleus_bridge.archive.drives import update_drives
from nucleus_bridge.archive.executors import Workplace
from nucleus_bridge.errors import InputError, OutputError
from nucleus_bridge.render.workers import InlineExecutor

PLACE = Workplace(InlineExecutor, 1)
SCRATCH = scratch_folder("fuzzed-catalogues-")
CONDITIONS = ("1", "duration_s > 0 AND messages < 100", "bag IN (SELECT bag FROM drive_topics WHERE rate_hz > 1)")


def bag() -> Path:
    path = SCRATCH / "bag"
    if not path.is_dir():
        write_bag(path, drive(6, payload=16))
    return path


def use(data: bytes) -> None:
    path = SCRATCH / "drives.sqlite"
    path.write_bytes(data)
    try:
        for condition in CONDITIONS:
            choice = choose(path, condition)
            assert len(choice.places) <= choice.of
            assert all(isinstance(place, str) for place in choice.places)
    finally:
        is_one = is_catalogue(path)
        update_drives([bag().resolve()], path, PLACE)
    assert is_one
    with closing(sqlite3.connect(path)) as database:
        ((error, messages),) = database.execute(
            "SELECT error, messages FROM drives WHERE bag = ?", (str(bag().resolve()),)
        )
    assert (error, messages) == (None, 6)


def catalogues() -> Sequence[bytes]:
    """Give one of the recording, one of that and one that cannot be read, and one whose recording is gone."""
    with tempfile.TemporaryDirectory() as folder:
        alone, two, gone = (Path(folder, name) for name in ("alone", "two", "gone"))
        (Path(folder) / "bad.mcap").write_bytes(b"\x89MCAP0\r\n")
        update_drives([bag().resolve()], alone, PLACE)
        update_drives([bag().resolve(), Path(folder, "bad.mcap")], two, PLACE)
        update_drives([write_bag(Path(folder, "other"), drive(9, payload=16))], gone, PLACE)
        return [path.read_bytes() for path in (alone, two, gone)]


TOKENS = (b"CREATE TABLE", b"drives", b"TEXT", b"PRIMARY KEY", b"NOT NULL", b"bag", b"place", b"mark", b"REFERENCES")
TARGETS = [Target("catalogue", use, catalogues, (InputError, OutputError), tokens=TOKENS, cases=150)]
