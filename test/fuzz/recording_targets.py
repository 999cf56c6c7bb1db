# SPDX-License-Identifier: Apache-2.0
"""Fuzzed: the files of a recording, in every storage, and the metadata.yaml beside them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from harness import Target, scratch_folder
from recordings import MCAP, SQLITE, TYPES, drive, everything, storage_file, write_bag, write_mcap
from rosbags.rosbag1 import Writer
from rosbags.rosbag2 import CompressionMode
from test_ros1 import custom_bag

from nucleus_bridge.errors import BagError
from nucleus_bridge.recordings import open_recording

SCRATCH = scratch_folder("fuzzed-recordings-")
MESSAGES = drive(40, payload=120)


def use_file(name: str, data: bytes) -> None:
    path = SCRATCH / name
    path.write_bytes(data)
    with open_recording(path) as bag:
        found = everything(bag)
        known = {topic.name for topic in bag.topics}
        assert {message.topic for message in found} <= known
        assert bag.start_ns <= bag.end_ns
        if not any(damage.loses_messages for damage in bag.damage):
            assert len(found) >= bag.message_count
        assert everything(bag) == found
        for damage in bag.damage:
            assert str(damage)


def use_metadata(data: bytes) -> None:
    folder = SCRATCH / "folder"
    if not folder.is_dir():
        write_bag(folder, MESSAGES)
    (folder / "metadata.yaml").write_bytes(data)
    with open_recording(folder) as bag:
        assert everything(bag) == MESSAGES
        for damage in bag.damage:
            assert len(str(damage)) < 10_000


def written(write: Callable[[Path], Path]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return write(Path(folder, "written")).read_bytes()


def mcap_files() -> list[bytes]:
    from mcap.writer import CompressionType, IndexType

    options = (
        {"compression": CompressionType.NONE},
        {"compression": CompressionType.ZSTD},
        {"compression": CompressionType.LZ4},
        {"use_chunking": False},
        {"compression": CompressionType.NONE, "enable_crcs": False},
        {"compression": CompressionType.ZSTD, "enable_crcs": False},
        {"compression": CompressionType.LZ4, "enable_crcs": False, "index_types": IndexType.NONE},
        {"use_chunking": False, "enable_crcs": False},
    )
    return [written(partial(_write_mcap, options=dict(each))) for each in options]


def _write_mcap(path: Path, options: dict[str, object]) -> Path:
    return write_mcap(path, MESSAGES, chunk_size=1500, **options)


def sqlite_files() -> list[bytes]:
    return [
        written(lambda path: storage_file(write_bag(path, MESSAGES, SQLITE))),
        written(lambda path: storage_file(write_bag(path, MESSAGES, SQLITE, CompressionMode.MESSAGE))),
        written(lambda path: storage_file(write_bag(path, drive(30, payload=6000), SQLITE))),
    ]


def ros1_files() -> list[bytes]:
    return [
        written(lambda path: custom_bag(path.with_suffix(".bag"))),
        written(lambda path: custom_bag(path.with_suffix(".bag"), Writer.CompressionFormat.LZ4)),
        written(lambda path: custom_bag(path.with_suffix(".bag"), Writer.CompressionFormat.BZ2)),
    ]


def packed_files() -> list[bytes]:
    return [
        written(lambda path: storage_file(write_bag(path, MESSAGES, MCAP, CompressionMode.FILE))),
        written(lambda path: storage_file(write_bag(path, MESSAGES, SQLITE, CompressionMode.FILE))),
        written(lambda path: storage_file(write_bag(path, MESSAGES, MCAP, CompressionMode.STORAGE))),
    ]


def metadata_files() -> Sequence[bytes]:
    text = written(lambda path: write_bag(path, MESSAGES) / "metadata.yaml")
    empty = b"rosbag2_bagfile_information: {version: 5, storage_identifier: '', relative_file_paths: [a/b.mcap]}\n"
    return text, empty


YAML = (b"&a ", b"*a", b"[", b"]", b"{", b"}", b": ", b"- ", b"\n", b"!!python/object/apply:os.system ['true']", b"~")
YAML += (b".inf", b".nan", b"-1", b"1e400", b"9" * 400, b"2001-99-99", b"<<: ", b"? ", b"| \n", b"!!binary x", b"0x")
TARGETS = [
    Target("mcap", partial(use_file, "drive.mcap"), mcap_files, (BagError,), cases=2_000),
    Target(
        "sqlite",
        partial(use_file, "drive.db3"),
        sqlite_files,
        (BagError,),
        tokens=[*(name.encode() for name in TYPES), b"CREATE TABLE", b"topics", b"messages", b"timestamp"],
        cases=1_000,
    ),
    Target("ros1_bag", partial(use_file, "drive.bag"), ros1_files, (BagError,), cases=2_000),
    Target("packed", partial(use_file, "drive.mcap.zstd"), packed_files, (BagError,), cases=1_000),
    Target("metadata", use_metadata, metadata_files, (BagError,), tokens=YAML, cases=1_000),
]
