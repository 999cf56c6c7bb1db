# SPDX-License-Identifier: Apache-2.0
"""Whole recordings give what was written, whatever their storage, compression and splits."""

from __future__ import annotations

import tempfile
import tracemalloc
from itertools import pairwise
from operator import itemgetter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import (
    CLOUDS,
    IMAGES,
    MCAP,
    MS,
    SQLITE,
    START_NS,
    STORAGE_IDS,
    STORAGES,
    TF,
    TYPES,
    Logged,
    cdr,
    drive,
    logged,
    out_of_order,
    read_all,
    real_data,
    storage_file,
    write_bag,
    write_mcap,
    write_splits,
)
from rosbags.rosbag2 import CompressionMode, Reader, StoragePlugin

from nucleus_bridge.errors import BagError
from nucleus_bridge.recordings import open_recording

REAL_BAGS = [
    "scale_sample",
    "ouster_os1",
    "rosbag2_storage/all_types/test_bag_mcap",
    "rosbag2_storage/all_types/test_bag_sqlite3",
    "rosbag2_storage/file_compression",
    "rosbag2_storage/message_compression",
    "rosbag2_storage/multiple_files",
]


@pytest.mark.parametrize(("plugin", "mode"), STORAGES, ids=STORAGE_IDS)
def test_what_was_written_is_read(tmp_path: Path, plugin: StoragePlugin, mode: CompressionMode) -> None:
    messages = drive()
    bag_path = write_bag(tmp_path / "drive", messages, plugin, mode)
    assert read_all(bag_path) == messages
    assert read_all(storage_file(bag_path)) == messages
    with open_recording(bag_path) as bag:
        assert (bag.name, bag.path, bag.files) == ("drive", bag_path, (storage_file(bag_path),))
        assert (bag.start_ns, bag.end_ns) == (messages[0].log_ns, messages[-1].log_ns)
        assert bag.message_count == 60
        assert {topic.name: (topic.type_name, topic.count) for topic in bag.topics} == {
            name: (kind, 20) for name, kind in TYPES.items()
        }
        assert all(message.type_name == TYPES[message.topic] for message in bag.messages(TYPES))
    with open_recording(storage_file(bag_path)) as bag:
        assert bag.name == "drive"


@pytest.mark.parametrize(("plugin", "mode"), STORAGES, ids=STORAGE_IDS)
def test_only_wanted_topics_are_read(tmp_path: Path, plugin: StoragePlugin, mode: CompressionMode) -> None:
    messages = drive()
    with open_recording(write_bag(tmp_path / "drive", messages, plugin, mode)) as bag:
        assert logged(list(bag.messages([IMAGES]))) == [message for message in messages if message.topic == IMAGES]
        assert list(bag.messages(["/not/there"])) == []
        assert list(bag.messages([])) == []


@pytest.mark.parametrize("name", REAL_BAGS)
def test_real_recordings_are_read_as_rosbags_reads_them(name: str) -> None:
    path = real_data(name)
    with open_recording(path) as bag, Reader(path) as reader:
        ours = sorted((m.topic, m.log_ns, m.type_name, m.data) for m in bag.messages([t.name for t in bag.topics]))
        theirs = sorted((c.topic, log_ns, c.msgtype, bytes(data)) for c, log_ns, data in reader.messages())
        assert ours == theirs
        assert bag.damage == []
        assert bag.message_count == reader.message_count
        for topic in bag.topics:
            known = reader.topics[topic.name]
            assert (topic.type_name, topic.count, topic.definition) == (
                known.msgtype,
                known.msgcount,
                known.msgdef.data,
            )
            profiles = [qos for connection in known.connections for qos in connection.ext.offered_qos_profiles]
            assert set(topic.offered_qos) == set(profiles)


@pytest.mark.parametrize("name", REAL_BAGS)
def test_real_recordings_need_no_metadata(name: str, tmp_path: Path) -> None:
    path = real_data(name)
    for file in path.iterdir():
        if file.name != "metadata.yaml":
            (tmp_path / file.name).symlink_to(file)
    assert read_all(tmp_path) == read_all(path)


messages_in_recording_order = st.lists(
    st.tuples(st.sampled_from(list(TYPES)), st.integers(0, 40), st.integers(0, 40)), max_size=40
).map(
    lambda rows: [
        Logged(topic, START_NS + log * 100 * MS, cdr(START_NS + stamp * 100 * MS, b"%04d" % number))
        for number, (topic, log, stamp) in enumerate(sorted(rows, key=itemgetter(1)))
    ]
)


@settings(max_examples=25, deadline=None)
@given(messages=messages_in_recording_order, cuts=st.lists(st.integers(0, 40), max_size=3), data=st.data())
def test_order_is_the_same_for_every_storage_and_split(
    messages: list[Logged], cuts: list[int], data: st.DataObject
) -> None:
    plugin, mode = data.draw(st.sampled_from(STORAGES))
    edges = [0, *sorted(min(cut, len(messages)) for cut in cuts), len(messages)]
    splits = [messages[start:end] for start, end in pairwise(edges)]
    with tempfile.TemporaryDirectory() as folder:
        reference = read_all(write_bag(Path(folder, "whole"), messages, MCAP))
        assert sorted(reference) == sorted(messages)
        assert read_all(write_bag(Path(folder, "other"), messages, plugin, mode)) == reference
        assert read_all(write_splits(Path(folder, "split"), splits, plugin, mode)) == reference


@settings(max_examples=25, deadline=None)
@given(messages=messages_in_recording_order, data=st.data())
def test_order_ignores_how_messages_are_spread_over_the_files_of_several_recorders(
    messages: list[Logged], data: st.DataObject
) -> None:
    messages = [message._replace(log_ns=message.log_ns + number) for number, message in enumerate(messages)]
    homes = data.draw(st.lists(st.integers(0, 2), min_size=len(messages), max_size=len(messages)))
    splits = [[m for m, home in zip(messages, homes, strict=True) if home == split] for split in range(3)]
    with tempfile.TemporaryDirectory() as folder:
        reference = read_all(write_bag(Path(folder, "whole"), messages))
        assert (
            read_all(
                write_splits(
                    Path(folder, "split"), splits, data.draw(st.sampled_from([MCAP, SQLITE])), one_recorder=False
                )
            )
            == reference
        )


def test_log_ties_between_topics_follow_the_topic_name(tmp_path: Path) -> None:
    tied = [Logged(topic, START_NS, cdr(START_NS)) for topic in (TF, IMAGES, CLOUDS)]
    for plugin in (MCAP, SQLITE):
        assert [m.topic for m in read_all(write_bag(tmp_path / plugin.name, tied, plugin))] == [IMAGES, CLOUDS, TF]


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "NONE"},
        {"compression": "LZ4"},
        {"compression": "ZSTD"},
        {"use_chunking": False},
        {"index_types": "NONE"},
        {"index_types": "NONE", "use_statistics": False},
        {"repeat_channels": False, "repeat_schemas": False},
        {"use_statistics": False},
        {"use_summary_offsets": False},
        {"enable_crcs": False},
    ],
    ids=str,
)
def test_mcap_of_every_layout_is_read(tmp_path: Path, options: dict[str, object]) -> None:
    kinds = pytest.importorskip("mcap.writer", reason="the mcap package is not installed")
    if "compression" in options:
        options = {"compression": kinds.CompressionType[str(options["compression"])]}
    if "index_types" in options:
        options = options | {"index_types": kinds.IndexType.NONE}
    messages = drive()
    path = write_mcap(tmp_path / "drive.mcap", messages, chunk_size=2000, **options)
    assert read_all(path) == messages
    with open_recording(path) as bag:
        assert {topic.name: topic.count for topic in bag.topics} == dict.fromkeys(TYPES, 20)
        assert all("std_msgs/Header header" in topic.definition for topic in bag.topics if topic.name != TF)


def test_mcap_without_chunks_is_put_in_log_order(tmp_path: Path) -> None:
    messages = drive()
    mixed = out_of_order(messages)
    path = write_mcap(tmp_path / "drive.mcap", mixed, use_chunking=False)
    assert read_all(path, window_ns=0) == messages


def test_topic_that_is_not_cdr_is_listed_and_refused(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / "drive.mcap", drive(), encoding="json")
    with open_recording(path) as bag:
        assert {topic.encoding for topic in bag.topics} == {"json"}
        with pytest.raises(BagError, match=r"/tf is serialised as 'json'"):
            bag.messages([TF])
        with pytest.raises(BagError, match="json"):
            bag.first_messages([TF])


@pytest.mark.parametrize(("plugin", "mode"), STORAGES, ids=STORAGE_IDS)
def test_first_messages_are_the_first_by_log_time(tmp_path: Path, plugin: StoragePlugin, mode: CompressionMode) -> None:
    messages = drive()
    splits = [messages[30:50], messages[50:], out_of_order(messages[:30])]
    bag_path = write_splits(tmp_path / "drive", splits, plugin, mode, one_recorder=False)
    with open_recording(bag_path) as bag:
        first = bag.first_messages([CLOUDS, TF, "/not/there"])
    assert logged(list(first.values())) == [messages[0], messages[2]]
    assert list(first) == [CLOUDS, TF]


def test_topic_without_messages_has_no_first_message(tmp_path: Path) -> None:
    for plugin in (MCAP, SQLITE):
        with open_recording(write_bag(tmp_path / plugin.name, [], plugin)) as bag:
            assert bag.first_messages([TF]) == {}
            assert (bag.start_ns, bag.end_ns, bag.message_count) == (0, 0, 0)
            assert [topic.name for topic in bag.topics] == sorted(TYPES)


def test_rare_topic_costs_only_the_chunks_that_hold_it(tmp_path: Path) -> None:
    """Every other chunk is made unreadable: reading one would show up as damage."""
    messages = [m for m in drive(300, payload=3000) if m.topic != TF]
    rare = Logged(TF, messages[0].log_ns + 1, cdr(0, b"first")), Logged(TF, messages[-1].log_ns + 1, cdr(0, b"last"))
    path = write_mcap(tmp_path / "drive.mcap", [messages[0], rare[0], *messages[1:], rare[1]], chunk_size=10_000)
    data = bytearray(path.read_bytes())
    with Reader(path) as reader:
        (tf,) = (connection.id for connection in reader.connections if connection.topic == TF)
        chunks = [chunk for chunk in reader.storage.chunks if not chunk.channel_count.get(tf)]
    for chunk in chunks:
        middle = chunk.chunk_start_offset + chunk.chunk_length // 2
        data[middle : middle + 50] = bytes(50)
    path.write_bytes(data)
    with open_recording(path) as bag:
        assert logged(list(bag.messages([TF]))) == list(rare)
        assert logged(list(bag.first_messages([TF]).values())) == [rare[0]]
        assert bag.damage == []
        assert len(list(bag.messages([CLOUDS]))) < 100
        assert len(bag.damage) == len(chunks) > 10


@pytest.mark.parametrize("plugin", [MCAP, SQLITE])
def test_memory_is_bounded_by_the_window(tmp_path: Path, plugin: StoragePlugin) -> None:
    """80 MB in 8 overlapping splits are read with little more than the window, a chunk and a message a split."""
    size, splits = 500_000, 8
    rows = [Logged(CLOUDS, START_NS + n * MS, cdr(START_NS + n * MS, bytes(size))) for n in range(160)]
    path = write_splits(tmp_path / "drive", [rows[n::splits] for n in range(splits)], plugin)
    with open_recording(path) as bag:
        tracemalloc.start()
        count = sum(1 for _ in bag.messages([CLOUDS], window_ns=10_000_000_000, max_window_bytes=4_000_000))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert count == 160
    assert peak < 4_000_000 + splits * 3 * 1_500_000


def test_temporary_files_go_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bag_path = write_bag(tmp_path / "drive", drive(), SQLITE, CompressionMode.FILE)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    with open_recording(bag_path) as bag:
        assert any(scratch.iterdir())
        assert len(list(bag.messages(TYPES))) == 60
    assert list(scratch.iterdir()) == []
