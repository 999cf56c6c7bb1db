# SPDX-License-Identifier: Apache-2.0
"""Recordings for tests, written by other implementations than the one under test."""

from __future__ import annotations

import io
import os
import shutil
import struct
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from nucleus_bridge.model import Message
from nucleus_bridge.recordings import Recording, open_recording

STORE = get_typestore(Stores.ROS2_HUMBLE)
START_NS = 1_700_000_000_000_000_000
MS = 1_000_000
CLOUDS, IMAGES, TF = "/lidar/points", "/camera/image", "/tf"
TYPES = {
    CLOUDS: "sensor_msgs/msg/PointCloud2",
    IMAGES: "sensor_msgs/msg/CompressedImage",
    TF: "tf2_msgs/msg/TFMessage",
}

MCAP, SQLITE = StoragePlugin.MCAP, StoragePlugin.SQLITE3
STORAGES = [
    (MCAP, CompressionMode.NONE),
    (MCAP, CompressionMode.STORAGE),
    (MCAP, CompressionMode.MESSAGE),
    (MCAP, CompressionMode.FILE),
    (SQLITE, CompressionMode.NONE),
    (SQLITE, CompressionMode.MESSAGE),
    (SQLITE, CompressionMode.FILE),
]
STORAGE_IDS = [f"{plugin.name}-{mode.name}".lower() for plugin, mode in STORAGES]


class Logged(NamedTuple):
    """A message to be recorded."""

    topic: str
    log_ns: int
    data: bytes


def cdr(stamp_ns: int, payload: bytes = b"", *, big_endian: bool = False) -> bytes:
    """Serialise a header stamp followed by anything."""
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    order = ">" if big_endian else "<"
    return bytes([0, 0 if big_endian else 1, 0, 0]) + struct.pack(f"{order}iI", seconds, nanoseconds) + payload


def drive(count: int = 60, *, payload: int = 200, seed: int = 1) -> list[Logged]:
    """Give clouds, images and transforms as they would be logged in turn."""
    topics = list(TYPES)
    filling = (b"%08d" % seed) * (payload // 8 + 1)
    return [
        Logged(
            topics[number % 3],
            START_NS + number * 10 * MS,
            cdr(START_NS + (number - 1) * 10 * MS, b"%06d" % number + filling[:payload]),
        )
        for number in range(count)
    ]


def out_of_order(messages: Sequence[Logged]) -> list[Logged]:
    """Exchange neighbours of each topic of ``drive``: single messages come late, no clock was set back."""
    blocks = [list(messages[start : start + 6]) for start in range(0, len(messages), 6)]
    return [message for block in blocks for message in (*block[3:], *block[:3])]


@lru_cache
def definition(kind: str) -> str:
    """Give the definition of a standard type."""
    return STORE.generate_msgdef(kind, ros_version=2)[0]


def write_bag(
    path: Path,
    messages: Sequence[Logged],
    plugin: StoragePlugin = MCAP,
    mode: CompressionMode = CompressionMode.NONE,
) -> Path:
    """Write a recording with rosbags."""
    writer = Writer(path, version=9, storage_plugin=plugin)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        connections = {
            topic: writer.add_connection(topic, kind, msgdef=definition(kind), rihs01=STORE.hash_rihs01(kind))
            for topic, kind in TYPES.items()
        }
        for topic, log_ns, data in messages:
            writer.write(connections[topic], log_ns, data)
    return path


def storage_file(bag: Path) -> Path:
    """Give the only storage file of a recording."""
    (file,) = (path for path in bag.iterdir() if path.name != "metadata.yaml")
    return file


def write_splits(
    path: Path,
    splits: Sequence[Sequence[Logged]],
    plugin: StoragePlugin = MCAP,
    mode: CompressionMode = CompressionMode.NONE,
    *,
    one_recorder: bool = True,
) -> Path:
    """Write a recording of several files, as a recorder does that starts a new file now and then; or several."""
    path.mkdir()
    parts: list[dict[str, Any]] = []
    for number, messages in enumerate(splits):
        part = write_bag(path / f"part{number}", messages, plugin, mode)
        file = storage_file(part)
        stem = f"{path.name}_{number}" if one_recorder else f"{path.name}_{'abcdef'[number]}_0"
        name = f"{stem}{''.join(file.suffixes)}"
        file.rename(path / name)
        parts.append(yaml.safe_load((part / "metadata.yaml").read_text())["rosbag2_bagfile_information"])
        parts[-1]["files"][0]["path"] = name
        shutil.rmtree(part)
    joined = dict(parts[0])
    joined["files"] = [part["files"][0] for part in parts]
    joined["relative_file_paths"] = [file["path"] for file in joined["files"]]
    joined["message_count"] = sum(part["message_count"] for part in parts)
    (path / "metadata.yaml").write_text(yaml.safe_dump({"rosbag2_bagfile_information": joined}))
    return path


def edit_metadata(bag: Path, **changes: object) -> None:
    """Change entries of metadata.yaml."""
    file = bag / "metadata.yaml"
    document = yaml.safe_load(file.read_text())
    document["rosbag2_bagfile_information"].update(changes)
    file.write_text(yaml.safe_dump(document))


def write_mcap(path: Path, messages: Sequence[Logged], *, encoding: str = "cdr", **options: Any) -> Path:
    """Write a file with the mcap project's own writer, which can leave out nearly every part."""
    writer_module = pytest.importorskip("mcap.writer", reason="the mcap package is not installed")
    with path.open("wb") as file:
        writer = writer_module.Writer(file, **options)
        writer.start(profile="ros2")
        channels: dict[str, int] = {}
        for topic, log_ns, data in messages:
            if topic not in channels:
                schema = writer.register_schema(TYPES[topic], "ros2msg", definition(TYPES[topic]).encode())
                channels[topic] = writer.register_channel(topic, encoding, schema)
            writer.add_message(channels[topic], log_ns, data, log_ns)
        writer.finish()
    return path


def mcap_messages(data: bytes) -> list[Logged]:
    """Read what the mcap project's own streaming reader gives before it meets an error."""
    reader = pytest.importorskip("mcap.reader", reason="the mcap package is not installed")
    found: list[Logged] = []
    stream = reader.NonSeekingReader(io.BytesIO(data))
    try:
        for _, channel, message in stream.iter_messages(log_time_order=False):
            found.append(Logged(channel.topic, message.log_time, message.data))
    except Exception:  # noqa: BLE001 - whatever that reader makes of a cut file
        pass
    return found


def logged(messages: Sequence[Message]) -> list[Logged]:
    """Give messages in the words of this module."""
    return [Logged(message.topic, message.log_ns, message.data) for message in messages]


def read_all(path: Path, **window: int) -> list[Logged]:
    """Read every topic of a recording that must be whole."""
    with open_recording(path) as bag:
        messages = logged(list(bag.messages([topic.name for topic in bag.topics], **window)))
        assert bag.damage == []
        return messages


def everything(bag: Recording, **window: int) -> list[Logged]:
    """Read every topic of an open recording."""
    return logged(list(bag.messages([topic.name for topic in bag.topics], **window)))


def real_data(*parts: str) -> Path:
    """Give a path in the optional real data."""
    root = os.environ.get("NUCLEUS_BRIDGE_TEST_DATA")
    if not root:
        pytest.skip("NUCLEUS_BRIDGE_TEST_DATA is not set")
    return Path(root, *parts)
