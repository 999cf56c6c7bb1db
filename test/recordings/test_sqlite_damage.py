# SPDX-License-Identifier: Apache-2.0
"""Damaged and unclosed db3 files give what is left of them and are never written to."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from recordings import (
    CLOUDS,
    SQLITE,
    START_NS,
    TYPES,
    Logged,
    cdr,
    drive,
    everything,
    out_of_order,
    read_all,
    storage_file,
    write_bag,
)
from rosbags.rosbag2 import CompressionMode

from nucleus_bridge.errors import BagError
from nucleus_bridge.recordings import Damage, open_recording

MESSAGES = drive(120, payload=2000)


@lru_cache
def whole_file(payload: int = 2000) -> bytes:
    """Give a db3 file of 120 messages; the larger ones need pages of their own."""
    with tempfile.TemporaryDirectory() as folder:
        return storage_file(write_bag(Path(folder, "drive"), drive(120, payload=payload), SQLITE)).read_bytes()


def read(data: bytes) -> tuple[list[Logged], list[Damage]] | None:
    """Read a file's bytes; None where it is refused."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "drive.db3")
        path.write_bytes(data)
        try:
            with open_recording(path) as bag:
                return everything(bag), bag.damage
        except BagError:
            return None


def insert(connection: sqlite3.Connection, messages: Sequence[Logged], first_id: int) -> None:
    topics = dict(connection.execute("SELECT name, id FROM topics"))
    rows = [(first_id + n, topics[m.topic], m.log_ns, m.data) for n, m in enumerate(messages)]
    connection.executemany("INSERT INTO messages (id, topic_id, timestamp, data) VALUES (?, ?, ?, ?)", rows)


@settings(max_examples=100, deadline=None)
@given(share=st.floats(0, 1), is_whole_page=st.booleans(), payload=st.sampled_from([50, 2000, 6000]))
@example(share=1.0, is_whole_page=False, payload=2000)
def test_cut_file_gives_rows_before_the_cut(share: float, is_whole_page: bool, payload: int) -> None:
    whole, messages = whole_file(payload), drive(120, payload=payload)
    cut = int(len(whole) * share)
    cut -= cut % 4096 if is_whole_page else 0
    outcome = read(whole[:cut])
    if cut == len(whole):
        assert outcome == (messages, [])
    elif outcome is None:
        assert cut < 45_000
    else:
        found, damage = outcome
        assert Counter(found) <= Counter(messages)
        assert any(each.loses_messages for each in damage)
        assert len(found) >= 120 * (cut - 7 * 4096) / len(whole) - 15  # tables and indexes begin on seven pages


@settings(max_examples=200, deadline=None)
@given(
    edits=st.lists(st.tuples(st.integers(0, 1 << 20), st.binary(min_size=1, max_size=60)), min_size=1, max_size=8),
    keep=st.floats(0.1, 1.0),
)
@example(edits=[(3139, b"_")], keep=0.5)  # the index gives a row without a number
def test_any_damage_ends_in_messages_or_a_refusal(edits: list[tuple[int, bytes]], keep: float) -> None:
    whole = bytearray(whole_file())
    for place, patch in edits:
        start = 16 + place % (len(whole) - 16)
        whole[start : start + len(patch)] = patch
    read(bytes(whole[: int(len(whole) * keep)]))


@pytest.mark.parametrize("payload", [2000, 6000])
@pytest.mark.parametrize("kind", [10, 13], ids=["index leaf", "table leaf"])
def test_lost_page_costs_only_its_rows(kind: int, payload: int) -> None:
    whole = bytearray(whole_file(payload))
    pages = [page for page in range(5 * 4096, len(whole), 4096) if whole[page] == kind]
    middle = pages[len(pages) // 2]
    whole[middle : middle + 4096] = bytes(4096)
    found, damage = read(bytes(whole)) or pytest.fail("refused")
    assert 105 <= len(found) <= 120
    assert Counter(found) <= Counter(drive(120, payload=payload))
    assert len(found) == 120 or any(each.loses_messages for each in damage)


@pytest.mark.parametrize("mode", [CompressionMode.NONE, CompressionMode.FILE])
def test_cut_compressed_file_gives_as_much_as_comes_out(tmp_path: Path, mode: CompressionMode) -> None:
    bag_path = write_bag(tmp_path / "drive", drive(3000, payload=2000), SQLITE, mode)
    file = storage_file(bag_path)
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    with open_recording(bag_path) as bag:
        found = everything(bag)
        assert 500 < len(found) < 3000
        assert set(found) <= set(drive(3000, payload=2000))
        assert bag.damage[0].loses_messages
        assert {damage.path for damage in bag.damage} == {file}


def test_compressed_file_cut_to_nothing_is_refused(tmp_path: Path) -> None:
    bag_path = write_bag(tmp_path / "drive", drive(), SQLITE, CompressionMode.FILE)
    file = storage_file(bag_path)
    file.write_bytes(file.read_bytes()[:10])
    with pytest.raises(BagError, match="zstd compression is damaged or cut short"):
        open_recording(bag_path)


def test_committed_rows_in_a_write_ahead_log_are_read_and_nothing_is_written(tmp_path: Path) -> None:
    """The files are copied while their writer has them open: what a killed recorder leaves."""
    written = write_bag(tmp_path / "written", MESSAGES[:60], SQLITE)
    database = storage_file(written)
    killed = tmp_path / "killed"
    killed.mkdir()
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        insert(connection, MESSAGES[60:], 1000)
        connection.commit()
        for file in (database, database.with_name(database.name + "-wal")):
            shutil.copy(file, killed / file.name)
    before = {file.name: file.read_bytes() for file in killed.iterdir()}
    assert len(before) == 2
    assert read_all(killed) == MESSAGES
    assert {file.name: file.read_bytes() for file in killed.iterdir()} == before


def test_half_written_transaction_is_rolled_back(tmp_path: Path) -> None:
    written = write_bag(tmp_path / "written", MESSAGES[:60], SQLITE)
    database = storage_file(written)
    killed = tmp_path / "killed"
    killed.mkdir()
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA cache_size = 5")
        insert(connection, MESSAGES[60:], 1000)
        for file in (database, database.with_name(database.name + "-journal")):
            shutil.copy(file, killed / file.name)
    assert read_all(killed) == MESSAGES[:60]


def test_order_is_by_log_time_without_an_index_on_it(tmp_path: Path) -> None:
    bag_path = write_bag(tmp_path / "drive", out_of_order(MESSAGES), SQLITE)
    with closing(sqlite3.connect(storage_file(bag_path))) as connection:
        connection.execute("DROP INDEX timestamp_idx")
        connection.commit()
    assert read_all(bag_path, window_ns=0) == MESSAGES


@pytest.mark.parametrize("version", [1, 2, 3])
def test_older_schemas_are_read(tmp_path: Path, version: int) -> None:
    """Version 1 has no QoS, 2 no definitions and no schema table, 3 a schema table but no definitions."""
    path = tmp_path / "drive.db3"
    with closing(sqlite3.connect(path)) as connection:
        qos = ", offered_qos_profiles TEXT NOT NULL DEFAULT ''" if version > 1 else ""
        connection.execute(
            f"CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT, type TEXT, serialization_format TEXT{qos})"
        )
        connection.execute("CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INT, timestamp INT, data BLOB)")
        if version == 3:
            connection.execute("CREATE TABLE schema(schema_version INTEGER PRIMARY KEY, ros_distro TEXT)")
            connection.execute("INSERT INTO schema VALUES (3, 'rolling')")
        connection.execute(
            "INSERT INTO topics (id, name, type, serialization_format) VALUES (7, ?, ?, 'cdr')", (CLOUDS, TYPES[CLOUDS])
        )
        messages = [Logged(CLOUDS, START_NS + n, cdr(START_NS + n)) for n in range(5)]
        insert(connection, messages, 1)
        connection.commit()
    assert read_all(path) == messages


def test_newer_schema_is_refused(tmp_path: Path) -> None:
    bag_path = write_bag(tmp_path / "drive", drive(), SQLITE)
    with closing(sqlite3.connect(storage_file(bag_path))) as connection:
        connection.execute("UPDATE schema SET schema_version = 5")
        connection.commit()
    with pytest.raises(BagError, match="schema version 5 is newer"):
        open_recording(bag_path)


def test_other_database_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db3")) as connection:
        connection.execute("CREATE TABLE things(id INTEGER)")
        connection.commit()
    with pytest.raises(BagError, match=r"other\.db3: an SQLite database but no rosbag2 recording"):
        open_recording(tmp_path / "other.db3")


def test_rows_that_the_index_does_not_list_are_reported(tmp_path: Path) -> None:
    """The index is made over the first half of the rows and then said to cover all of them."""
    bag_path = write_bag(tmp_path / "drive", MESSAGES, SQLITE)
    with closing(sqlite3.connect(storage_file(bag_path))) as connection:
        connection.execute("DROP INDEX timestamp_idx")
        connection.execute("CREATE INDEX timestamp_idx ON messages (timestamp ASC) WHERE id <= 60")
        connection.execute("PRAGMA writable_schema = ON")
        statement = "CREATE INDEX timestamp_idx ON messages (timestamp ASC)"
        connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'timestamp_idx'", (statement,))
        connection.commit()
    with open_recording(bag_path) as bag:
        assert everything(bag) == MESSAGES[:60]
        assert "60 messages are lost" in bag.damage[0].what


def test_rows_of_unknown_topics_and_unusable_payloads_are_reported(tmp_path: Path) -> None:
    bag_path = write_bag(tmp_path / "drive", MESSAGES, SQLITE)
    with closing(sqlite3.connect(storage_file(bag_path))) as connection:
        connection.execute("UPDATE messages SET topic_id = 99 WHERE id = 5")
        connection.execute("UPDATE messages SET data = 'text' WHERE id = 6")
        connection.execute("UPDATE messages SET data = x'28b52ffd00' WHERE id = 7")
        connection.commit()
    with open_recording(bag_path) as bag:
        assert everything(bag) == MESSAGES[:4] + MESSAGES[7:]
        assert len(bag.damage) == 3
        assert all(damage.loses_messages for damage in bag.damage)


@lru_cache
def grown_file(messages: int, payload: int) -> tuple[bytes, list[int]]:
    """Give a db3 file as a recorder grows it, and its size after each tenth message."""
    sizes = []
    with tempfile.TemporaryDirectory() as folder:
        path = storage_file(write_bag(Path(folder, "drive"), drive(10, payload=payload), SQLITE))
        wanted = drive(messages, payload=payload)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("DELETE FROM messages")
            for first in range(0, messages, 10):
                insert(connection, wanted[first : first + 10], first + 1)
                connection.commit()
                sizes.append(path.stat().st_size)
        return path.read_bytes(), sizes


@pytest.mark.parametrize(("messages", "payload"), [(6000, 600), (3000, 9000)])
def test_messages_of_a_tree_whose_upper_pages_are_lost_are_found(messages: int, payload: int) -> None:
    whole, sizes = grown_file(messages, payload)
    wanted = drive(messages, payload=payload)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "drive.db3")
        for share in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99):
            cut = int(len(whole) * share)
            path.write_bytes(whole[:cut])
            with open_recording(path) as bag:
                found = everything(bag)
                assert any(damage.loses_messages for damage in bag.damage)
            written = 10 * sum(size <= cut for size in sizes)
            assert found == wanted[: len(found)]
            assert len(found) >= written - 20
