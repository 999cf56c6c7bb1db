# SPDX-License-Identifier: Apache-2.0
"""Chunks whose records are read from the file one by one give what those that are read as a whole give."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import CLOUDS, IMAGES, START_NS, TF, Logged, drive, everything, write_mcap

from nucleus_bridge.errors import BagError
from nucleus_bridge.recordings import open_recording
from nucleus_bridge.recordings.contents import Damage
from nucleus_bridge.recordings.mcap_file import McapFile
from nucleus_bridge.recordings.mcap_records import PlainChunk

SPAN = START_NS + 50_000_000, START_NS + 400_000_000
writer = pytest.importorskip("mcap.writer", reason="the mcap package is not installed")


@lru_cache
def recording(compression: str = "NONE", *, has_checksums: bool = False) -> bytes:
    """Give a file of 60 messages in about ten chunks."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "drive.mcap")
        how = {"compression": writer.CompressionType[compression], "enable_crcs": has_checksums}
        write_mcap(path, drive(), chunk_size=1500, **how)
        return path.read_bytes()


def read(data: bytes) -> tuple[list[Logged], list[Damage], list[str]] | None:
    """Give messages, damage but for the file's name, and the topics; None where the file is refused."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "drive.mcap")
        path.write_bytes(data)
        try:
            with open_recording(path) as bag:
                found = everything(bag)
                damage = [Damage(Path(), part.what, part.offset, part.log_ns) for part in bag.damage]
                return found, damage, [topic.name for topic in bag.topics]
        except BagError:
            return None


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damage_is_met_in_the_same_way(data: st.DataObject) -> None:
    """Bytes are changed or cut off anywhere; without checksums only lengths and kinds of records tell."""
    content = bytearray(recording())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    in_place = read(bytes(content))
    with patch.object(PlainChunk, "at", return_value=None):
        assert read(bytes(content)) == in_place


def test_records_are_read_in_place_where_there_is_no_checksum() -> None:
    """Else the test above would compare the same thing with itself."""
    for has_checksums, times in ((False, 1), (True, 0)):
        with patch.object(PlainChunk, "records", autospec=True, side_effect=PlainChunk.records) as walked:
            assert read(recording(has_checksums=has_checksums)) == (drive(), [], [IMAGES, CLOUDS, TF])
        assert bool(walked.call_count) is bool(times)


@pytest.mark.parametrize("has_checksums", [True, False])
@pytest.mark.parametrize("compression", ["NONE", "ZSTD"])
@pytest.mark.parametrize("span", [None, SPAN])
def test_a_trusted_index_gives_the_same_messages(
    span: tuple[int, int] | None, compression: str, has_checksums: bool, tmp_path: Path
) -> None:
    path = tmp_path / "drive.mcap"
    path.write_bytes(recording(compression, has_checksums=has_checksums))
    options = {} if span is None else {"span": span}
    with open_recording(path) as bag:
        for topics in ([TF], [CLOUDS, TF]):
            wanted = list(bag.messages(topics, **options))
            with patch.object(McapFile, "_read_block", side_effect=McapFile._read_block, autospec=True) as whole:
                assert list(bag.messages(topics, **options, trusts_index=True)) == wanted
            assert bool(whole.call_count) is (compression == "ZSTD")  # nothing but what the index points to
        assert not bag.damage
        assert len(wanted) == (40 if span is None else sum(span[0] <= one.log_ns <= span[1] for one in wanted))


@settings(max_examples=100, deadline=None)
@given(place=st.integers(0, len(recording()) - 1), value=st.integers(0, 255))
def test_a_damaged_index_is_not_trusted(place: int, value: int) -> None:
    """What an index points to must be a message of its channel, else the chunk is read as a whole: nothing raises."""
    content = bytearray(recording())
    content[place] = value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "drive.mcap")
        path.write_bytes(content)
        try:
            with open_recording(path) as bag:
                found = list(bag.messages([TF], trusts_index=True))
        except BagError:
            return
    assert len(found) <= 20
