# SPDX-License-Identifier: Apache-2.0
"""What a folder's metadata.yaml says is a hint; what cannot be a recording is refused with the reason."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, NoReturn

import pytest
from recordings import MCAP, SQLITE, drive, edit_metadata, everything, read_all, storage_file, write_bag, write_splits
from rosbags.rosbag2 import CompressionMode

from nucleus_bridge.errors import BagError
from nucleus_bridge.recordings import open_recording, scratch
from nucleus_bridge.recordings.compression import unpack_message

MESSAGES = drive()


@pytest.mark.parametrize(
    "changes",
    [
        {"storage_identifier": ""},
        {"message_count": 5, "topics_with_message_count": []},
        {"relative_file_paths": ["drive/drive.mcap"]},
        {"relative_file_paths": ["/somewhere/else/drive.mcap"]},
        {"relative_file_paths": ["drive.mcap.zstd"], "compression_mode": "FILE", "compression_format": "zstd"},
        {"relative_file_paths": []},
        {"duration": {"nanoseconds": -5}, "starting_time": {"nanoseconds_since_epoch": 0}},
        {"compression_mode": "MESSAGE", "compression_format": "zstd"},
        {"files": None},
        {"version": 1},
    ],
    ids=str,
)
def test_wrong_metadata_changes_nothing(tmp_path: Path, changes: dict[str, object]) -> None:
    bag_path = write_bag(tmp_path / "drive", MESSAGES)
    edit_metadata(bag_path, **changes)
    assert read_all(bag_path) == MESSAGES
    with open_recording(bag_path) as bag:
        assert (bag.start_ns, bag.end_ns, bag.message_count) == (MESSAGES[0].log_ns, MESSAGES[-1].log_ns, 60)


@pytest.mark.parametrize(
    "text", ["", "{", "a: [1", "- 1", "rosbag2_bagfile_information: {}", "\0", "x: !!python/object:os.x"]
)
def test_metadata_that_is_none_is_reported_and_not_needed(tmp_path: Path, text: str) -> None:
    bag_path = write_bag(tmp_path / "drive", MESSAGES)
    (bag_path / "metadata.yaml").write_text(text)
    with open_recording(bag_path) as bag:
        assert everything(bag) == MESSAGES
        (damage,) = bag.damage
    assert damage.path.name == "metadata.yaml"
    assert not damage.loses_messages


def test_splits_without_metadata_come_in_their_natural_order(tmp_path: Path) -> None:
    bag_path = write_splits(tmp_path / "drive", [[message] for message in MESSAGES[:12]], SQLITE)
    (bag_path / "metadata.yaml").unlink()
    assert read_all(bag_path) == MESSAGES[:12]
    with open_recording(bag_path) as bag:
        assert [file.name for file in bag.files] == [f"drive_{number}.db3" for number in range(12)]


def test_missing_split_is_reported_with_what_it_held(tmp_path: Path) -> None:
    bag_path = write_splits(tmp_path / "drive", [MESSAGES[:20], MESSAGES[20:35], MESSAGES[35:]])
    (bag_path / "drive_1.mcap").unlink()
    with open_recording(bag_path) as bag:
        assert everything(bag) == MESSAGES[:20] + MESSAGES[35:]
        (damage,) = bag.damage
    assert damage.path == bag_path / "drive_1.mcap"
    assert damage.loses_messages
    assert "15 messages" in damage.what


@pytest.mark.parametrize("content", [b"", b"\x89MCAP0\r\n", b"nothing of the kind" * 10])
def test_unreadable_split_does_not_cost_the_others(tmp_path: Path, content: bytes) -> None:
    bag_path = write_splits(tmp_path / "drive", [MESSAGES[:20], MESSAGES[20:]])
    (bag_path / "drive_1.mcap").write_bytes(content)
    with open_recording(bag_path) as bag:
        assert everything(bag) == MESSAGES[:20]
        (damage,) = bag.damage
        assert str(damage).count("drive_1.mcap") == 1
    assert damage.loses_messages


def test_renamed_splits_are_read(tmp_path: Path) -> None:
    bag_path = write_splits(tmp_path / "drive", [MESSAGES[:20], MESSAGES[20:]])
    for number in range(2):
        (bag_path / f"drive_{number}.mcap").rename(bag_path / f"other_{number}.mcap")
    with open_recording(bag_path) as bag:
        assert everything(bag) == MESSAGES
        assert [damage.loses_messages for damage in bag.damage] == [False]


def test_file_that_is_not_listed_is_left_out_and_reported(tmp_path: Path) -> None:
    bag_path = write_bag(tmp_path / "drive", MESSAGES)
    shutil.copy(bag_path / "drive.mcap", bag_path / "copy.mcap")
    with open_recording(bag_path) as bag:
        assert everything(bag) == MESSAGES
        assert [damage.path.name for damage in bag.damage] == ["copy.mcap"]


def test_files_that_go_on_where_the_list_ends_are_read_and_reported(tmp_path: Path) -> None:
    bag_path = write_splits(tmp_path / "drive", [MESSAGES[:10], MESSAGES[10:20], MESSAGES[20:]])
    edit_metadata(bag_path, relative_file_paths=["drive_0.mcap"], files=[])
    with open_recording(bag_path) as bag:
        assert everything(bag) == MESSAGES
        assert [damage.path.name for damage in bag.damage] == ["drive_1.mcap", "drive_2.mcap"]
        assert {(damage.is_missing, damage.loses_messages) for damage in bag.damage} == {(True, False)}
        assert {damage.finding.code for damage in bag.damage} == {"split_missing"}


@pytest.mark.parametrize("is_listed", [True, False])
@pytest.mark.parametrize("gone", [(1,), (1, 2)])
def test_a_gap_in_the_numbers_of_the_files_is_a_loss(tmp_path: Path, gone: tuple[int, ...], is_listed: bool) -> None:
    parts = [MESSAGES[:10], MESSAGES[10:15], MESSAGES[15:20], MESSAGES[20:]]
    bag_path = write_splits(tmp_path / "drive", parts)
    for number in gone:
        (bag_path / f"drive_{number}.mcap").unlink()
    if is_listed:
        edit_metadata(bag_path, relative_file_paths=["drive_0.mcap"], files=[])
    else:
        (bag_path / "metadata.yaml").unlink()
    with open_recording(bag_path) as bag:
        there = [message for number, part in enumerate(parts) if number not in gone for message in part]
        assert everything(bag) == there
        (damage,) = [damage for damage in bag.damage if damage.loses_messages]
        assert damage.finding.code == "split_missing"
        assert str(damage).count("drive_1.mcap") == 1


@pytest.mark.parametrize("first", [1, 2])
def test_files_that_are_missing_at_the_start_are_a_loss(tmp_path: Path, first: int) -> None:
    parts = [MESSAGES[:8], MESSAGES[8:15], MESSAGES[15:22], MESSAGES[22:]]
    bag_path = write_splits(tmp_path / "drive", parts)
    for number in range(first):
        (bag_path / f"drive_{number}.mcap").unlink()
    (bag_path / "metadata.yaml").unlink()
    with open_recording(bag_path) as bag:
        assert everything(bag) == [message for part in parts[first:] for message in part]
        (damage,) = bag.damage
        assert damage.loses_messages
        assert damage.finding.code == "split_missing"
        assert damage.path.name == f"drive_{first}.mcap"


@pytest.mark.parametrize("has_metadata", [True, False])
def test_file_both_packed_and_unpacked_is_read_once(tmp_path: Path, has_metadata: bool) -> None:
    bag_path = write_bag(tmp_path / "drive", MESSAGES, SQLITE, CompressionMode.FILE)
    plain = storage_file(write_bag(tmp_path / "plain" / "drive", MESSAGES, SQLITE))
    plain.rename(bag_path / "drive.db3")
    if not has_metadata:
        (bag_path / "metadata.yaml").unlink()
    assert read_all(bag_path) == MESSAGES


def test_file_is_known_by_its_content_whatever_its_name(tmp_path: Path) -> None:
    storage_file(write_bag(tmp_path / "drive", MESSAGES, MCAP, CompressionMode.FILE)).rename(tmp_path / "odd name?.db3")
    assert read_all(tmp_path / "odd name?.db3") == MESSAGES


def no_bag(tmp_path: Path, case: str) -> Path:
    folder = tmp_path / "thing"
    folder.mkdir()
    if case == "missing":
        return folder / "nowhere"
    if case == "text":
        (folder / "notes.txt").write_text("hello")
    if case == "metadata only":
        write_bag(tmp_path / "drive", MESSAGES)
        (tmp_path / "drive" / "metadata.yaml").rename(folder / "metadata.yaml")
    if case == "other storage":
        write_bag(tmp_path / "drive", MESSAGES)
        edit_metadata(tmp_path / "drive", storage_identifier="my_storage", relative_file_paths=["drive.my"])
        (tmp_path / "drive" / "metadata.yaml").rename(folder / "metadata.yaml")
    if case == "newer version":
        edit_metadata(write_bag(tmp_path / "drive", MESSAGES), version=10)
        return tmp_path / "drive"
    contents = {"ros 1": b"#ROSBAG V2.0\n" + bytes(100), "empty file": b"", "other file": b"what else"}
    if case in contents:
        (folder / "thing.mcap").write_bytes(contents[case])
        return folder / "thing.mcap"
    if case == "metadata file":
        return write_bag(tmp_path / "drive", MESSAGES) / "metadata.yaml"
    return folder


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("missing", "no such file or folder; give a rosbag2 folder or a .mcap or .db3 file"),
        ("empty folder", "the folder is empty"),
        ("text", "no .mcap or .db3 file is in it"),
        ("metadata only", "all files that its metadata.yaml lists are missing: drive.mcap"),
        ("other storage", "storage 'my_storage' is not supported"),
        ("newer version", "version 10 is newer than 9"),
        ("ros 1", "this ROS 1 bag cannot be read"),
        ("empty file", "it is empty (0 bytes)"),
        ("other file", "it is neither mcap nor sqlite3"),
        ("metadata file", "give the folder of the recording"),
    ],
)
def test_what_is_no_recording_is_refused_with_the_reason(tmp_path: Path, case: str, reason: str) -> None:
    path = no_bag(tmp_path, case)
    with pytest.raises(BagError) as caught:
        open_recording(path)
    assert reason in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("what", ["folder", "file"])
def test_missing_permission_is_named(tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bag_path = write_bag(tmp_path / "drive", MESSAGES)

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(Path, "iterdir" if what == "folder" else "open", refuse)
    with pytest.raises(BagError, match="no permission to read it"):
        open_recording(bag_path if what == "folder" else storage_file_name(bag_path))


def storage_file_name(bag: Path) -> Path:
    return bag / "drive.mcap"


def test_full_disk_for_unpacking_is_an_error_and_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bag_path = write_bag(tmp_path / "drive", MESSAGES, SQLITE, CompressionMode.FILE)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(scratch.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(BagError, match="set TMPDIR"):
        open_recording(bag_path)


def test_compressed_message_has_a_limit() -> None:
    zstandard = pytest.importorskip("zstandard", reason="the zstandard package is not installed")
    packed = zstandard.ZstdCompressor().compress(bytes(1_000_000))
    assert unpack_message(packed) == bytes(1_000_000)
    with pytest.raises(BagError, match="more than the limit of 999999 bytes"):
        unpack_message(packed, limit=999_999)
    with pytest.raises(BagError, match="cut short"):
        unpack_message(packed[:-3])
