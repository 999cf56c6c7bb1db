# SPDX-License-Identifier: Apache-2.0
"""Damaged mcap files give what is left of them, say that something is lost, and never anything else."""

from __future__ import annotations

import struct
import tempfile
import tracemalloc
from collections import Counter
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from recordings import (
    CLOUDS,
    MCAP,
    START_NS,
    TF,
    TYPES,
    Logged,
    cdr,
    drive,
    everything,
    mcap_messages,
    real_data,
    storage_file,
    write_bag,
    write_mcap,
)
from rosbags.rosbag2 import CompressionMode

from nucleus_bridge.errors import BagError
from nucleus_bridge.recordings import Recording, mcap_file, open_recording

LAYOUTS = ["NONE", "LZ4", "ZSTD", "no chunks", "no index"]


@lru_cache
def whole_file(layout: str) -> bytes:
    """Give a file of 60 messages in about ten chunks, with checksums."""
    kinds = pytest.importorskip("mcap.writer", reason="the mcap package is not installed")
    options = {
        "no chunks": {"use_chunking": False},
        "no index": {"index_types": kinds.IndexType.NONE, "compression": kinds.CompressionType.NONE},
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "drive.mcap")
        compression = {"compression": kinds.CompressionType[layout]} if layout.isupper() else {}
        write_mcap(path, drive(), chunk_size=1500, **(options.get(layout) or compression))
        return path.read_bytes()


def read(data: bytes) -> tuple[list[Logged], Recording] | None:
    """Read a file's bytes; None where it is refused."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "drive.mcap")
        path.write_bytes(data)
        try:
            with open_recording(path) as bag:
                return everything(bag), bag
        except BagError:
            return None


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_cut_file_gives_every_whole_message_before_the_cut(layout: str, data: st.DataObject) -> None:
    whole = whole_file(layout)
    cut = data.draw(st.integers(0, len(whole) - 1))
    expected = mcap_messages(whole[:cut])
    outcome = read(whole[:cut])
    if outcome is None:
        assert expected == []
        return
    found, bag = outcome
    assert Counter(expected) <= Counter(found) <= Counter(drive())
    assert bag.damage
    assert len(found) == 60 or any(damage.loses_messages for damage in bag.damage)
    assert bag.message_count == len(found)
    assert found == sorted(found, key=lambda message: message.log_ns)


def test_file_cut_after_its_data_loses_nothing() -> None:
    whole = whole_file("ZSTD")
    for missing in (1, 8, 37, 100):
        found, bag = read(whole[:-missing]) or pytest.fail("refused")
        assert found == drive()
        assert [damage.loses_messages for damage in bag.damage] == [False]


def test_cut_says_where_and_when(tmp_path: Path) -> None:
    path = tmp_path / "drive.mcap"
    data = whole_file("NONE")
    path.write_bytes(data[: len(data) // 3])
    with open_recording(path) as bag:
        found = everything(bag)
        (damage,) = bag.damage
    assert damage.path == path
    assert damage.offset is not None
    assert len(data) // 3 - 2000 < damage.offset <= len(data) // 3
    assert "ends in the middle" in damage.what
    assert damage.log_ns is not None
    assert START_NS < damage.log_ns <= found[-1].log_ns
    assert str(path) in str(damage)


def test_cut_inside_a_chunk_keeps_the_whole_messages_of_that_chunk(tmp_path: Path) -> None:
    """A recorder with large chunks loses little: one chunk holds everything here."""
    messages = drive(60, payload=5000)
    for compression in ("NONE", "ZSTD"):
        kinds = pytest.importorskip("mcap.writer", reason="the mcap package is not installed")
        path = write_mcap(
            tmp_path / "drive.mcap",
            [m._replace(data=m.data[:12] + bytes((n * i) % 251 for i in range(5000))) for n, m in enumerate(messages)],
            compression=kinds.CompressionType[compression],
            enable_crcs=False,
        )
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        with open_recording(path) as bag:
            assert len(everything(bag)) >= (25 if compression == "NONE" else 1)
            assert bag.damage[0].loses_messages


@pytest.mark.parametrize("layout", ["NONE", "LZ4", "ZSTD"])
@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_flipped_byte_never_passes_unnoticed_in_a_file_with_checksums(layout: str, data: st.DataObject) -> None:
    whole = bytearray(whole_file(layout))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    outcome = read(bytes(whole))
    if outcome is None:
        assert place < 8
        return
    found, bag = outcome
    assert Counter(found) <= Counter(drive())
    assert len(found) == 60 or any(damage.loses_messages for damage in bag.damage)
    assert len(found) >= 45


@settings(max_examples=200, deadline=None)
@given(
    layout=st.sampled_from(LAYOUTS),
    edits=st.lists(st.tuples(st.integers(0, 1 << 20), st.binary(min_size=1, max_size=40)), max_size=6),
    keep=st.floats(0.1, 1.0),
)
@example(layout="no chunks", edits=[(100, b"\xff" * 40)], keep=0.9)
@example(layout="ZSTD", edits=[(300, bytes(40)), (2000, b"\xff" * 20)], keep=0.5)
def test_any_damage_ends_in_messages_or_a_refusal(layout: str, edits: list[tuple[int, bytes]], keep: float) -> None:
    whole = bytearray(whole_file(layout))
    for place, patch in edits:
        start = 8 + place % (len(whole) - 8)
        whole[start : start + len(patch)] = patch
    read(bytes(whole[: int(len(whole) * keep)]))


def test_damaged_chunk_costs_only_its_own_messages(tmp_path: Path) -> None:
    data = bytearray(whole_file("ZSTD"))
    middle = data.find(b"\x28\xb5\x2f\xfd", len(data) // 3)
    data[middle + 30 : middle + 40] = bytes(10)
    path = tmp_path / "drive.mcap"
    path.write_bytes(data)
    with open_recording(path) as bag:
        assert bag.damage == []
        found = everything(bag)
        assert everything(bag) == found
        (damage,) = bag.damage
    lost = [message for message in drive() if message not in found]
    assert 0 < len(lost) < 10
    assert damage.log_ns == lost[0].log_ns
    assert "its messages are lost" in damage.what


def test_tail_of_zeros_after_a_power_cut_is_no_data(tmp_path: Path) -> None:
    whole = whole_file("NONE")
    path = tmp_path / "drive.mcap"
    path.write_bytes(whole[: len(whole) // 2] + bytes(50_000))
    with open_recording(path) as bag:
        assert 20 < len(everything(bag)) < 40
        assert bag.damage[0].loses_messages


def test_recording_of_a_killed_recorder_in_a_folder_without_metadata(tmp_path: Path) -> None:
    (tmp_path / "drive_0.mcap").write_bytes(whole_file("ZSTD"))
    later = [message._replace(log_ns=message.log_ns + 10**9) for message in drive()]
    write_mcap(tmp_path / "drive_1.mcap", later, chunk_size=1500)
    data = (tmp_path / "drive_1.mcap").read_bytes()
    (tmp_path / "drive_1.mcap").write_bytes(data[: data.rfind(b"\x28\xb5\x2f\xfd")])
    with open_recording(tmp_path) as bag:
        found = everything(bag)
        assert set(drive()) < set(found)
        assert [damage.path.name for damage in bag.damage] == ["drive_1.mcap"]


def test_chunk_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / "drive.mcap", drive(), enable_crcs=False)
    data = bytearray(path.read_bytes())
    chunk = data.find(b"\x04\x00\x00\x00zstd") - 28
    data[chunk + 16 : chunk + 24] = struct.pack("<Q", 3 << 30)
    path.write_bytes(data)
    with open_recording(path) as bag:
        assert everything(bag) == []
        assert "more than the limit of 536870912" in bag.damage[0].what


def test_chunk_that_unpacks_to_more_than_it_claims_is_not_unpacked(tmp_path: Path) -> None:
    """300 MB of zeros in a chunk that claims 1000 bytes must not take 300 MB."""
    bomb = [Logged(CLOUDS, START_NS, cdr(START_NS, bytes(300_000_000)))]
    path = write_mcap(tmp_path / "drive.mcap", bomb, enable_crcs=False)
    data = bytearray(path.read_bytes())
    chunk = data.find(b"\x04\x00\x00\x00zstd") - 28
    data[chunk + 16 : chunk + 24] = struct.pack("<Q", 1000)
    path.write_bytes(data)
    tracemalloc.start()
    with open_recording(path) as bag:
        assert everything(bag) == []
        assert "unpacks to 1001 or more" in bag.damage[0].what
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


def test_damaged_compressed_message_is_left_out(tmp_path: Path) -> None:
    bag_path = write_bag(tmp_path / "drive", drive(), MCAP, CompressionMode.MESSAGE)
    file = storage_file(bag_path)
    data = bytearray(file.read_bytes())
    place = data.find(b"\x28\xb5\x2f\xfd", len(data) // 2)
    data[place + 4] ^= 0xFF
    file.write_bytes(data)
    with open_recording(bag_path) as bag:
        assert len(everything(bag)) == 59
        assert "compressed message" in bag.damage[0].what


def test_index_that_denies_chunks_is_not_believed(tmp_path: Path) -> None:
    """Statistics that count more messages than the chunk indexes mean that something is missing in the index."""
    path = write_mcap(tmp_path / "drive.mcap", drive(), chunk_size=1500, enable_crcs=False)
    data = bytearray(path.read_bytes())
    summary_start = struct.unpack_from("<Q", data, len(data) - 28)[0]
    place = summary_start
    while data[place] != 0x08:
        place += 9 + struct.unpack_from("<Q", data, place + 1)[0]
    data[place] = 0x80  # a private record: readers skip it
    path.write_bytes(data)
    with open_recording(path) as bag:
        assert everything(bag) == drive()


def test_real_recording_cut_anywhere_keeps_what_was_before() -> None:
    data = real_data("scale_sample", "scale_sample.mcap").read_bytes()
    sizes = []
    for cut in (0.2, 0.5, 0.9, 0.999):
        part = data[: int(len(data) * cut)]
        found, bag = read(part) or pytest.fail("refused")
        assert Counter(mcap_messages(part)) <= Counter(found)
        assert bag.damage
        sizes.append(len(found))
    assert sizes == sorted(sizes)
    assert sizes[-1] > 30


def test_messages_whose_topic_is_nowhere_named_are_counted(tmp_path: Path) -> None:
    messages = [*drive(), *(Logged(CLOUDS, START_NS + 10**10 + n, cdr(0)) for n in range(500))]
    path = write_mcap(tmp_path / "drive.mcap", messages, use_chunking=False)
    whole = bytearray(path.read_bytes())
    whole[whole.find(CLOUDS.encode()) - 17] = 0x80  # a private record now: readers skip it
    path.write_bytes(whole[:-400])
    with open_recording(path) as bag:
        found = everything(bag)
        assert {message.topic for message in found} == set(TYPES) - {CLOUDS}
        assert any("520 messages are lost" in damage.what for damage in bag.damage)


def test_overlap_beyond_the_memory_limit_is_given_out_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every chunk holds a message of the very start, so that all of them overlap."""
    messages = [Logged(TF, START_NS + (n if n % 7 else 0), cdr(0, b"%04d" % n + bytes(300))) for n in range(100)]
    path = write_mcap(tmp_path / "drive.mcap", messages, chunk_size=2000)
    with open_recording(path) as bag:
        assert everything(bag) == sorted(messages, key=lambda message: message.log_ns)
        monkeypatch.setattr(mcap_file, "_MAX_HELD_BYTES", 5000)
        assert sorted(everything(bag)) == sorted(messages)
        assert everything(bag) != sorted(messages, key=lambda message: message.log_ns)


def test_topics_are_known_before_the_first_whole_chunk(tmp_path: Path) -> None:
    """A file that is cut in its first chunk still opens when a channel can be read from it."""
    path = write_bag(tmp_path / "drive", [m for m in drive(3000) if m.topic != TF])
    data = storage_file(path).read_bytes()
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(data[:100_000])
    with open_recording(cut) as bag:
        assert {topic.name for topic in bag.topics} == set(TYPES)
        assert len(everything(bag)) > 300
