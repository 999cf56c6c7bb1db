# SPDX-License-Identifier: Apache-2.0
"""The records of an mcap file (https://mcap.dev/spec), read from bytes that may be damaged."""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import BinaryIO, NamedTuple

import numpy as np

from nucleus_bridge.errors import BagError
from nucleus_bridge.model import IntArray
from nucleus_bridge.recordings.compression import MAX_UNPACKED_BYTES, unpack_chunk
from nucleus_bridge.recordings.contents import Channel

MAGIC = b"\x89MCAP0\r\n"
RECORD_HEADER = struct.Struct("<BQ")
MESSAGE_HEADER = struct.Struct("<HIQQ")
FOOTER = struct.Struct("<BQQQI8s")
_CHUNK_HEADER = struct.Struct("<QQQI")
_CHUNK_INDEX = struct.Struct("<QQQQ")
_CHANNEL_OFFSET = struct.Struct("<HQ")
_INDEX_ENTRY_BYTES = 16
_INDEX_HEADER_BYTES = 15
_LONGEST_COMPRESSION_BYTES = 32
"""Room for the name of a chunk's compression and the size behind it."""
_WINDOW_BYTES = 8192
"""Small records of a chunk, and the heads of large ones, are cut from a read of so many bytes."""


class Op(IntEnum):
    """Kinds of record."""

    HEADER = 0x01
    FOOTER = 0x02
    SCHEMA = 0x03
    CHANNEL = 0x04
    MESSAGE = 0x05
    CHUNK = 0x06
    MESSAGE_INDEX = 0x07
    CHUNK_INDEX = 0x08
    ATTACHMENT = 0x09
    ATTACHMENT_INDEX = 0x0A
    STATISTICS = 0x0B
    METADATA = 0x0C
    METADATA_INDEX = 0x0D
    SUMMARY_OFFSET = 0x0E
    DATA_END = 0x0F


class Block(NamedTuple):
    """A stretch of the file that holds messages: a chunk record, or message records in a row.

    Attributes:
        start_ns: Log time of the earliest message.
        offset: First byte.
        length: Bytes.
        end_ns: Log time of the latest message.
        channels: Ids of the channels that have messages in it.
        is_chunk: Whether it is one chunk record.
        whole: False where the file ends inside the chunk.
        index_bytes: Size of the message indexes that follow it; 0 where that is not known.
    """

    start_ns: int
    offset: int
    length: int
    end_ns: int
    channels: frozenset[int]
    is_chunk: bool = True
    whole: bool = True
    index_bytes: int = 0


@dataclass
class Contents:
    """What an mcap file holds and where."""

    channels: dict[int, Channel]
    counts: dict[int, int]
    blocks: list[Block]


class Fields:
    """Read the fields of one record in turn; asking past its end is a BagError."""

    def __init__(self, data: bytes | memoryview, position: int = 0, end: int | None = None) -> None:
        self._data = data
        self.position = position
        self.end = len(data) if end is None else end

    def take(self, size: int) -> bytes:
        """Give the next bytes."""
        start = self.position
        if size > self.end - start:
            raise BagError(f"a record's field of {size} bytes passes the end of its record")
        self.position = start + size
        return bytes(self._data[start : self.position])

    def unpack(self, layout: struct.Struct) -> tuple[int, ...]:
        """Give the next integers."""
        return layout.unpack(self.take(layout.size))

    def integer(self, size: int) -> int:
        """Give the next unsigned integer, of the given number of bytes."""
        return int.from_bytes(self.take(size), "little")

    def sized(self) -> bytes:
        """Give the next bytes that are preceded by their 32-bit length."""
        return self.take(self.integer(4))

    def text(self) -> str:
        """Give the next string."""
        return self.sized().decode(errors="replace")


class Schema(NamedTuple):
    """The type of a channel's messages."""

    name: str
    encoding: str
    text: str


def records(data: bytes | memoryview) -> Iterator[tuple[int, int, int]]:
    """Yield opcode, first byte and end of the content of each record in ``data``.

    Raises:
        BagError: The last record is not whole; those before were yielded.
    """
    position, size = 0, len(data)
    while position < size:
        op, start, position = _record(data, position, position, size)
        yield op, start, position


def _record(data: bytes | memoryview, at: int, position: int, size: int) -> tuple[int, int, int]:
    """Return opcode, first byte and end of the record at ``position`` of ``size`` bytes; ``data`` has its header."""
    if size - position < RECORD_HEADER.size:
        raise BagError(f"a record is cut short {size - position} bytes after its start")
    op, length = RECORD_HEADER.unpack_from(data, at)
    start = position + RECORD_HEADER.size
    end = start + length
    if end > size:
        raise BagError(f"a record of {length} bytes is cut short after {size - start}")
    return op, start, end


def add_schema(fields: Fields, schemas: dict[int, Schema]) -> None:
    """Read a schema record."""
    number = fields.integer(2)
    schemas[number] = Schema(fields.text(), fields.text(), fields.text())


def add_channel(fields: Fields, schemas: dict[int, Schema], channels: dict[int, Channel]) -> None:
    """Read a channel record; its schema was read before."""
    number = fields.integer(2)
    schema = schemas.get(fields.integer(2), Schema("", "", ""))
    topic, encoding = fields.text(), fields.text()
    metadata = Fields(fields.sized())
    qos = ""
    while metadata.position < metadata.end:
        key, value = metadata.text(), metadata.text()
        if key == "offered_qos_profiles":
            qos = value
    definition = schema.text if schema.encoding in {"ros1msg", "ros2msg", "ros2idl", "omgidl"} else ""
    channels[number] = Channel(topic, schema.name, encoding, definition, qos)


def read_chunk_index(fields: Fields, interned: dict[frozenset[int], frozenset[int]]) -> tuple[Block, dict[int, int]]:
    """Read a chunk index record; the messages of a channel follow from the size of its message index."""
    start_ns, end_ns, offset, length = fields.unpack(_CHUNK_INDEX)
    table = Fields(fields.sized())
    offsets = []
    while table.position < table.end:
        number, place = table.unpack(_CHANNEL_OFFSET)
        offsets.append((place, number))
    offsets.sort()
    bounds = [place for place, _ in offsets] + [offset + length + fields.integer(8)]
    counts = {
        number: (bounds[place + 1] - bounds[place] - _INDEX_HEADER_BYTES) // _INDEX_ENTRY_BYTES
        for place, (_, number) in enumerate(offsets)
    }
    held = frozenset(number for number, count in counts.items() if count)
    index_bytes = bounds[-1] - offset - length
    return Block(start_ns, offset, length, end_ns, interned.setdefault(held, held), index_bytes=index_bytes), counts


def read_message_index(fields: Fields) -> tuple[int, int]:
    """Give the channel of a message index record and how many messages it lists."""
    return fields.integer(2), fields.integer(4) // _INDEX_ENTRY_BYTES


def read_index_entries(data: bytes) -> Iterator[tuple[int, IntArray, IntArray]]:
    """Give channel, log times and places of the messages of each message index, in the order of their places."""
    for op, start, end in records(data):
        if op != Op.MESSAGE_INDEX:
            continue
        fields = Fields(data, start, end)
        channel, size = fields.integer(2), fields.integer(4)
        entries = np.frombuffer(data, "<u8", size // 8, fields.position).reshape(-1, 2).astype(np.int64)
        entries = entries[np.argsort(entries[:, 1], kind="stable")]
        yield channel, entries[:, 0], entries[:, 1] + RECORD_HEADER.size


def unpack_chunk_record(content: bytes, start: int = 0, *, whole: bool = True) -> bytes | memoryview:
    """Give the records inside a chunk record whose content begins at ``start``; a view of it where not compressed.

    Raises:
        BagError: It is damaged; with ``whole=False`` only what is left of it is unpacked, without its checksum.
    """
    fields = Fields(content, start)
    _, _, size, checksum = fields.unpack(_CHUNK_HEADER)
    compression = fields.text()
    packed_bytes = fields.integer(8)
    start, left = fields.position, fields.end - fields.position
    if whole and packed_bytes > left:
        raise BagError(f"a chunk of {packed_bytes} packed bytes passes the end of its record")
    packed = memoryview(content)[start : start + min(packed_bytes, left)]
    unpacked = unpack_chunk(packed, compression, size, whole=whole)
    if whole and checksum and zlib.crc32(unpacked) != checksum:
        raise BagError("a chunk does not match its checksum")
    return unpacked


class PlainChunk:
    """A chunk that is not compressed, whose records are read from the file one by one.

    Attributes:
        checksum: Of its records; 0 where it has none.
    """

    def __init__(self, file: BinaryIO, start: int, size: int, checksum: int) -> None:
        self._file, self._start, self._size = file, start, size
        self.checksum = checksum
        self._window = b""
        self._window_start = 0

    @classmethod
    def at(cls, file: BinaryIO, block: Block) -> PlainChunk | None:
        """Return the chunk of a block; None where there is no whole one that is not compressed."""
        end = block.offset + block.length
        if not (block.is_chunk and block.whole) or file.seek(0, 2) < end:
            return None
        try:
            size = min(block.length, RECORD_HEADER.size + _CHUNK_HEADER.size + _LONGEST_COMPRESSION_BYTES)
            fields = Fields(read_exactly(file, block.offset, size))
            op, length = fields.unpack(RECORD_HEADER)
            _, _, records_bytes, checksum = fields.unpack(_CHUNK_HEADER)
            compression, packed_bytes = fields.text(), fields.integer(8)
        except BagError:
            return None
        start = block.offset + fields.position
        is_plain = op == Op.CHUNK and length == block.length - RECORD_HEADER.size and not compression
        if not is_plain or not records_bytes == packed_bytes <= min(end - start, MAX_UNPACKED_BYTES):
            return None
        return cls(file, start, records_bytes, checksum)

    def records(self) -> Iterator[tuple[int, int, int]]:
        """Yield opcode, first byte and end of the content of each record, as ``records`` does.

        Raises:
            BagError: The last record is not whole; those before were yielded.
        """
        position = 0
        while position < self._size:
            head = self.take(position, min(self._size, position + RECORD_HEADER.size))
            op, start, position = _record(head, 0, position, self._size)
            yield op, start, position

    def take(self, start: int, end: int) -> bytes:
        """Return bytes of its records.

        Raises:
            BagError: The file ends before.
        """
        at, size = start - self._window_start, end - start
        if at >= 0 and at + size <= len(self._window):
            return self._window[at : at + size]
        if size >= _WINDOW_BYTES:
            return read_exactly(self._file, self._start + start, size)
        self._file.seek(self._start + start)
        self._window, self._window_start = self._file.read(min(_WINDOW_BYTES, self._size - start)), start
        if len(self._window) < size:
            return read_exactly(self._file, self._start + start, size)
        return self._window[:size]

    def message(self, place: int, channel: int) -> tuple[int, bytes]:
        """Return log time and bytes of the message whose record's content begins at a place.

        Raises:
            BagError: There is no such message of this channel.
        """
        head = self.take(place - RECORD_HEADER.size, place + MESSAGE_HEADER.size)
        op, length = RECORD_HEADER.unpack_from(head)
        number, _, log_ns, _ = MESSAGE_HEADER.unpack_from(head, RECORD_HEADER.size)
        if op != Op.MESSAGE or number != channel or not MESSAGE_HEADER.size <= length <= self._size - place:
            raise BagError("there is no message where the index says one is")
        return log_ns, self.take(place + MESSAGE_HEADER.size, place + length)


def chunk_times(content: bytes) -> tuple[int, int]:
    """Give the log times of the first and last message that a chunk record claims."""
    start_ns, end_ns, _, _ = Fields(content).unpack(_CHUNK_HEADER)
    return start_ns, end_ns


def read_exactly(file: BinaryIO, offset: int, size: int) -> bytes:
    """Read bytes that must be there.

    Raises:
        BagError: The file ends before, or it is more than one record may have.
    """
    if size > MAX_UNPACKED_BYTES:
        raise BagError(f"a record of {size} bytes is larger than the limit of {MAX_UNPACKED_BYTES}")
    data = b""
    if offset <= sys.maxsize:
        file.seek(offset)
        data = file.read(size)
    if len(data) != size:
        raise BagError(f"the file ends {size - len(data)} bytes before the end of what should be there")
    return data
