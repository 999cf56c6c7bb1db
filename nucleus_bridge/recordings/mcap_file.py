# SPDX-License-Identifier: Apache-2.0
"""Read one mcap file: by its index where that is sound, else by what a walk over its records finds."""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nucleus_bridge.errors import BagError
from nucleus_bridge.model import IntArray, Message
from nucleus_bridge.recordings.compression import ZSTD_MAGIC, unpack_message
from nucleus_bridge.recordings.contents import (
    ALWAYS,
    EVERYWHERE,
    HEAD_BYTES,
    PLACE_BITS,
    Channel,
    DamageLog,
    PassesOver,
    log_steps,
)
from nucleus_bridge.recordings.mcap_records import (
    FOOTER,
    MAGIC,
    MESSAGE_HEADER,
    RECORD_HEADER,
    Block,
    Contents,
    Fields,
    Op,
    PlainChunk,
    Schema,
    add_channel,
    add_schema,
    read_chunk_index,
    read_exactly,
    read_index_entries,
    records,
    unpack_chunk_record,
)
from nucleus_bridge.recordings.mcap_recovery import scan
from nucleus_bridge.recordings.place import Place, ReadsAhead

_MAX_HELD_BYTES = 512 << 20
_FOOTER_CRC_BYTES = 25
_MAX_NS = (1 << 63) - 1
_LARGE_BYTES = 32 * HEAD_BYTES  # smaller messages are read whole at once

# Log time, topic, offset of the block, byte in the block, channel, the message's bytes as stored.
Entry = tuple[int, str, int, int, Channel, bytes]

Take = Callable[[int, int], bytes]
"""Gives the bytes of a block from one place to another."""

_START_BITS = 40  # of the place of a message: where it stands within its block


class _Head(bytes):
    """The first bytes of a message of which nothing is wanted."""


class McapFile:
    """One mcap file; see ``StorageFile``.

    Blocks whose log times overlap are merged in memory. Should the messages of more than 512 MB overlap, the oldest
    are given out before all of the overlap was seen.
    """

    def __init__(self, path: Place, source: Place | None = None) -> None:
        """Read what the file holds; ``source`` is where its bytes are when they were unpacked elsewhere.

        Raises:
            BagError: Nothing in the file can be read.
            OSError: The file cannot be opened.
        """
        self.path = path
        self.number = 0
        self._source = source or path
        self.damage = DamageLog(path)
        self._found_before: dict[frozenset[int], int] = {}  # of these channels, in the stretches that were read
        with self._source.open("rb") as file:
            self._contents = self._read_contents(file)
        channels, blocks = self._contents.channels, self._contents.blocks
        if not channels and (damage := self.damage.entries()):
            raise BagError(f"{path}: nothing in this mcap file can be read: {damage[0].what}")
        self.topics = tuple(channel.info(self._contents.counts.get(key, 0)) for key, channel in channels.items())
        self.start_ns = min((block.start_ns for block in blocks), default=0)
        self.end_ns = max((max(block.start_ns, block.end_ns) for block in blocks), default=0)

    @cached_property
    def log_steps(self) -> list[int]:
        """The places at which the recorder's clock was set back, by the message indexes of the chunks."""
        blocks = sorted(self._contents.blocks, key=attrgetter("offset"))
        if not isinstance(self._source, Path) and not _overlap(blocks):
            return []  # the indexes lie all over a file that is far away
        logs: dict[int, list[IntArray]] = {}
        places: dict[int, list[int]] = {}
        try:
            with self._source.open("rb") as file:
                for block in blocks:
                    for channel, times, starts in _index_entries(file, block):
                        logs.setdefault(channel, []).append(times)
                        places.setdefault(channel, []).extend(
                            block.offset << _START_BITS | start for start in starts.tolist()
                        )
        except (OSError, BagError, ValueError):
            return []  # what cannot be read is reported when it is needed
        return log_steps([(np.concatenate(times), places[channel]) for channel, times in logs.items()])

    def messages(
        self,
        topics: Collection[str],
        span: tuple[int, int] = ALWAYS,
        stretch: tuple[int, int] = EVERYWHERE,
        *,
        trusts_index: bool = False,
        passes_over: PassesOver | None = None,
    ) -> Iterator[Message]:
        """Yield the messages of these topics; only blocks that hold one of them are read and unpacked.

        Where the index is trusted, only the wanted messages of a chunk that is not compressed are read; of such a chunk
        without a checksum what is passed over is not read.
        """
        first_ns, last_ns = span
        is_whole = stretch == EVERYWHERE
        channels = {key: channel for key, channel in self._contents.channels.items() if channel.topic in topics}
        blocks = sorted(
            block
            for block in self._contents.blocks
            if block.start_ns <= last_ns and block.end_ns >= first_ns and not block.channels.isdisjoint(channels)
            if is_whole or _reaches(block, stretch)
        )
        entries: list[Entry] = []
        found = 0
        try:
            with self._source.open("rb") as file:
                if isinstance(file, ReadsAhead):
                    file.expect([(block.offset, block.length) for block in blocks])
                for block in blocks:
                    yield from self._release(entries, bisect_left(entries, (block.start_ns,)))
                    before = len(entries)
                    if not (trusts_index and self._pick_from_block(file, block, channels, entries, span)):
                        self._read_block(file, block, channels, entries, span, passes_over)
                    if not is_whole:
                        entries[before:] = [x for x in entries[before:] if stretch[0] <= _place(x) < stretch[1]]
                    found += len(entries) - before
                    entries.sort(key=_file_order)
                    yield from self._release(entries, _excess(entries))
        except OSError as error:
            self.damage.add(f"cannot be read: {error.strerror or error}")
        yield from self._release(entries, len(entries))
        if first_ns <= self.start_ns and self.end_ns <= last_ns:
            if stretch[0] != EVERYWHERE[0]:
                found += self._found_before.pop(frozenset(channels), 0)
            if stretch[1] == EVERYWHERE[1]:
                self._compare(found, sum(self._contents.counts.get(key, 0) for key in channels))
            else:
                self._found_before[frozenset(channels)] = found

    def _compare(self, found: int, counted: int) -> None:
        """Say that messages are lost where nothing else tells it: a flipped bit may make a message another record."""
        if found < counted and not any(damage.loses_messages for damage in self.damage.entries()):
            self.damage.add(f"{counted - found} messages are lost: the index counts {counted}, {found} are there")

    def _read_contents(self, file: BinaryIO) -> Contents:
        try:
            contents, problem = read_index(file), None
        except BagError as error:
            contents, problem = None, str(error)
        if contents is None:
            contents = scan(file, file.seek(0, 2), self.damage)
        if problem and not self.damage.entries():
            self.damage.add(f"{problem}; all messages were found without the index", loses_messages=False)
        return contents

    def _read_block(
        self,
        file: BinaryIO,
        block: Block,
        channels: Mapping[int, Channel],
        entries: list[Entry],
        span: tuple[int, int],
        passes_over: PassesOver | None,
    ) -> None:
        """Add the wanted messages of a block; those before a damage are kept."""
        first_ns, last_ns = span
        known_ns = block.start_ns
        try:
            found, take = self._records_of(file, block)
            for op, start, end in found:
                if op != Op.MESSAGE:
                    continue
                if end - start < MESSAGE_HEADER.size:
                    self.damage.add("a message is shorter than its header", block.offset, known_ns)
                    continue
                number, _, log_ns, _ = MESSAGE_HEADER.unpack(take(start, start + MESSAGE_HEADER.size))
                known_ns = log_ns
                channel = channels.get(number)
                if channel and first_ns <= log_ns <= last_ns:
                    first = start + MESSAGE_HEADER.size
                    if passes_over is not None and end - first > _LARGE_BYTES:
                        head = take(first, first + HEAD_BYTES)
                        asked = Message(channel.topic, channel.type_name, log_ns, head, is_cut=True)
                        if head[:4] != ZSTD_MAGIC and passes_over(asked):
                            entries.append((log_ns, channel.topic, block.offset, start, channel, _Head(head)))
                            continue
                    payload = take(first, end)  # its own, so that the block can go
                    entries.append((log_ns, channel.topic, block.offset, start, channel, payload))
        except BagError as error:
            if block.whole:
                self.damage.add(f"{error}; its messages are lost", block.offset, known_ns)

    def _records_of(self, file: BinaryIO, block: Block) -> tuple[Iterator[tuple[int, int, int]], Take]:
        """Return the records of a block and what gives their bytes; they are not copied twice where that can be.

        Raises:
            BagError: The block is damaged.
        """
        chunk = PlainChunk.at(file, block) if isinstance(self._source, Path) else None
        if chunk is not None and not chunk.checksum:
            return chunk.records(), chunk.take
        data = _block_records(file, block)
        return records(data), lambda start, end: bytes(data[start:end])

    def _pick_from_block(
        self,
        file: BinaryIO,
        block: Block,
        channels: Mapping[int, Channel],
        entries: list[Entry],
        span: tuple[int, int],
    ) -> bool:
        """Add the wanted messages of a block that its index points to; False, and nothing added, where that fails."""
        is_listed = bool(block.index_bytes) and isinstance(self._source, Path)
        chunk = PlainChunk.at(file, block) if is_listed else None
        if chunk is None:
            return False
        found: list[Entry] = []
        try:
            for number, _, places in _index_entries(file, block):
                channel = channels.get(number)
                for place in places.tolist() if channel else ():
                    log_ns, payload = chunk.message(place, number)
                    if channel and span[0] <= log_ns <= span[1]:
                        found.append((log_ns, channel.topic, block.offset, place, channel, payload))
        except (BagError, ValueError):
            return False
        entries += found
        return True

    def _release(self, entries: list[Entry], count: int) -> Iterator[Message]:
        """Yield the first entries as messages and remove them."""
        base = self.number << PLACE_BITS
        for entry in entries[:count]:
            log_ns, topic, offset, _, channel, payload = entry
            data = payload
            if payload[:4] == ZSTD_MAGIC:
                try:
                    data = unpack_message(payload)
                except BagError as error:
                    self.damage.add(str(error), offset, log_ns)
                    continue
            yield Message(topic, channel.type_name, log_ns, data, base | _place(entry), isinstance(payload, _Head))
        del entries[:count]


def has_index(file: BinaryIO) -> bool:
    """Say whether each message of an mcap file can be found without reading all of it."""
    try:
        return read_index(file) is not None
    except BagError:
        return False


def read_index(file: BinaryIO) -> Contents | None:
    """Read the summary section at the end of an mcap file.

    Gives None where the writer left out what is needed to find each message.

    Raises:
        BagError: It is cut off or damaged.
    """
    size = file.seek(0, 2)
    if size < len(MAGIC) + FOOTER.size:
        raise BagError("the closing records are missing")
    footer = read_exactly(file, size - FOOTER.size, FOOTER.size)
    op, length, summary_start, _, checksum, magic = FOOTER.unpack(footer)
    if (op, length, magic) != (Op.FOOTER, 20, MAGIC):
        raise BagError("the closing records are missing or damaged")
    if summary_start == 0:
        return None
    summary = read_exactly(file, summary_start, max(0, size - FOOTER.size - summary_start))
    if checksum and zlib.crc32(footer[:_FOOTER_CRC_BYTES], zlib.crc32(summary)) != checksum:
        raise BagError("the index does not match its checksum")
    return _parse_summary(summary)


def _parse_summary(summary: bytes) -> Contents | None:
    contents = Contents({}, {}, [])
    schemas: dict[int, Schema] = {}
    interned: dict[frozenset[int], frozenset[int]] = {}
    message_count = -1
    for op, start, end in records(summary):
        fields = Fields(summary, start, end)
        if op == Op.SCHEMA:
            add_schema(fields, schemas)
        elif op == Op.CHANNEL:
            add_channel(fields, schemas, contents.channels)
        elif op == Op.CHUNK_INDEX:
            block, counts = read_chunk_index(fields, interned)
            if block.channels:
                contents.blocks.append(block)
            for channel, count in counts.items():
                contents.counts[channel] = contents.counts.get(channel, 0) + count
        elif op == Op.STATISTICS:
            message_count = fields.integer(8)
    is_whole = sum(contents.counts.values()) == message_count and contents.counts.keys() <= contents.channels.keys()
    return contents if is_whole else None


def _block_records(file: BinaryIO, block: Block) -> bytes | memoryview:
    record = read_exactly(file, block.offset, block.length)
    if not block.is_chunk:
        return record
    op, length = RECORD_HEADER.unpack_from(record) if len(record) >= RECORD_HEADER.size else (0, 0)
    stored = block.length - RECORD_HEADER.size
    if op != Op.CHUNK or (block.whole and length != stored):
        raise BagError("there is no chunk where the index says one is")
    return unpack_chunk_record(record, RECORD_HEADER.size, whole=block.whole)


def _index_entries(file: BinaryIO, block: Block) -> Iterable[tuple[int, IntArray, IntArray]]:
    """Give channel, log times and places in the block of its messages; by the block itself where it has no index."""
    if block.index_bytes:
        return read_index_entries(read_exactly(file, block.offset + block.length, block.index_bytes))
    found: dict[int, tuple[list[int], list[int]]] = {}
    data = _block_records(file, block)
    for op, start, end in records(data):
        if op == Op.MESSAGE and end - start >= MESSAGE_HEADER.size:
            channel, _, log_ns, _ = MESSAGE_HEADER.unpack_from(data, start)
            times, starts = found.setdefault(channel, ([], []))
            times.append(min(log_ns, _MAX_NS))
            starts.append(start)
    return [(channel, np.array(times, np.int64), np.array(starts)) for channel, (times, starts) in found.items()]


def _overlap(blocks: Sequence[Block]) -> bool:
    """Whether a block begins before the end of one before it with a channel of its own."""
    return any(
        later.start_ns < earlier.end_ns and not later.channels.isdisjoint(earlier.channels)
        for earlier, later in pairwise(blocks)
    )


def _reaches(block: Block, stretch: tuple[int, int]) -> bool:
    return block.offset << _START_BITS < stretch[1] and (block.offset + 1) << _START_BITS > stretch[0]


def _place(entry: Entry) -> int:
    return entry[2] << _START_BITS | entry[3]


def _file_order(entry: Entry) -> tuple[int, str, int, int]:
    return entry[:4]


def _excess(entries: list[Entry]) -> int:
    """Give how many of the first entries must go for the others to fit the memory limit."""
    spare = sum(len(entry[5]) for entry in entries) - _MAX_HELD_BYTES
    count = 0
    while spare > 0:
        spare -= len(entries[count][5])
        count += 1
    return count
