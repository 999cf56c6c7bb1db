# SPDX-License-Identifier: Apache-2.0
"""Find what an mcap file holds by walking over its records, for files without a usable index or without an end."""

from __future__ import annotations

from collections import Counter
from typing import BinaryIO

from nucleus_bridge.errors import BagError
from nucleus_bridge.recordings.contents import Channel, DamageLog
from nucleus_bridge.recordings.mcap_records import (
    MAGIC,
    MESSAGE_HEADER,
    RECORD_HEADER,
    Block,
    Contents,
    Fields,
    Op,
    Schema,
    add_channel,
    add_schema,
    chunk_times,
    read_exactly,
    read_message_index,
    records,
    unpack_chunk_record,
)

_RUN_BYTES = 1 << 20
_CHUNK_TIMES_BYTES = 28
_FIRST_PRIVATE_OP = 0x80


def scan(file: BinaryIO, size: int, damage: DamageLog) -> Contents:
    """Walk over the first ``size`` bytes of a file and index each whole message; note what is damaged.

    Chunks are only unpacked where their message indexes are missing or name a channel that was not seen before.
    The walk ends at the end of the data section, or where the bytes are cut short or are not records.
    """
    walk = _Walk(file, size, damage)
    walk.run()
    if nameless := sum(count for channel, count in walk.counts.items() if channel not in walk.channels):
        damage.add(f"{nameless} messages are lost: the records that name their topics are")
    return Contents(walk.channels, dict(walk.counts), walk.blocks)


class _Walk:
    def __init__(self, file: BinaryIO, size: int, damage: DamageLog) -> None:
        self._file = file
        self._size = size
        self._damage = damage
        self._schemas: dict[int, Schema] = {}
        self._interned: dict[frozenset[int], frozenset[int]] = {}
        self._chunk: tuple[int, int, Counter[int]] | None = None
        self._run: Block | None = None
        self._last_ns: int | None = None
        self.channels: dict[int, Channel] = {}
        self.counts: Counter[int] = Counter()
        self.blocks: list[Block] = []

    def run(self) -> None:
        position, op = len(MAGIC), 0
        ended = False
        try:
            while not ended:
                op, length = self._header(position)
                end = position + RECORD_HEADER.size + length
                if op != Op.MESSAGE_INDEX:
                    self._close_chunk()
                if op != Op.MESSAGE:
                    self._close_run()
                if end > self._size:
                    self._cut(op, position)
                    return
                ended = op in {Op.DATA_END, Op.FOOTER}
                self._record(op, position, end)
                position = end
        except BagError as error:
            self._close_chunk(trusted=False)
            self._close_run()
            self._damage.add(f"{error}; nothing after it can be read", position, self._last_ns)

    def _header(self, position: int) -> tuple[int, int]:
        if self._size - position < RECORD_HEADER.size:
            raise BagError("the recording ends here without its closing records (it was killed or cut)")
        op, length = RECORD_HEADER.unpack(read_exactly(self._file, position, RECORD_HEADER.size))
        if not Op.HEADER <= op <= Op.DATA_END and op < _FIRST_PRIVATE_OP:
            raise BagError(f"what is here is not an mcap record (kind {op})")
        return op, length

    def _record(self, op: int, position: int, end: int) -> None:
        start = position + RECORD_HEADER.size
        if op == Op.MESSAGE:
            self._message(position, end)
        elif op == Op.CHUNK:
            self._chunk = (position, end, Counter())
        elif op == Op.MESSAGE_INDEX and self._chunk:
            channel, count = read_message_index(Fields(read_exactly(self._file, start, min(6, end - start))))
            self._chunk[2][channel] += count
        elif op == Op.SCHEMA:
            add_schema(Fields(read_exactly(self._file, start, end - start)), self._schemas)
        elif op == Op.CHANNEL:
            add_channel(Fields(read_exactly(self._file, start, end - start)), self._schemas, self.channels)

    def _message(self, position: int, end: int) -> None:
        """Add a message outside of chunks to the run of messages it is part of."""
        start = position + RECORD_HEADER.size
        channel, _, log_ns, _ = Fields(read_exactly(self._file, start, min(22, end - start))).unpack(MESSAGE_HEADER)
        run = self._run
        if run is not None and end - run.offset > _RUN_BYTES:
            self._close_run()
            run = None
        if run is None:
            run = Block(log_ns, position, 0, log_ns, frozenset(), is_chunk=False)
        held = run.channels if channel in run.channels else self._intern(run.channels | {channel})
        times = min(run.start_ns, log_ns), max(run.end_ns, log_ns)
        self._run = Block(times[0], run.offset, end - run.offset, times[1], held, is_chunk=False)
        self.counts[channel] += 1

    def _close_run(self) -> None:
        if self._run is not None:
            self._add(self._run)
        self._run = None

    def _close_chunk(self, *, trusted: bool = True) -> None:
        """Index the chunk whose message indexes were just read; ``trusted`` says that they were all there."""
        if self._chunk is None:
            return
        position, end, counts = self._chunk
        self._chunk = None
        if trusted and counts and counts.keys() <= self.channels.keys():
            start = position + RECORD_HEADER.size
            start_ns, end_ns = chunk_times(read_exactly(self._file, start, min(_CHUNK_TIMES_BYTES, end - start)))
            held = self._intern(frozenset(channel for channel, count in counts.items() if count))
            self.counts.update(counts)
            self._add(Block(start_ns, position, end - position, end_ns, held))
        else:
            self._look_into_chunk(position, end)

    def _look_into_chunk(self, position: int, end: int, *, whole: bool = True) -> None:
        """Index a chunk by unpacking it."""
        start = position + RECORD_HEADER.size
        times: list[int] = []
        counts: Counter[int] = Counter()
        try:
            data = unpack_chunk_record(read_exactly(self._file, start, end - start), whole=whole)
            for op, first, last in records(data):
                fields = Fields(data, first, last)
                if op == Op.MESSAGE:
                    channel, _, log_ns, _ = fields.unpack(MESSAGE_HEADER)
                    counts[channel] += 1
                    times.append(log_ns)
                elif op == Op.SCHEMA:
                    add_schema(fields, self._schemas)
                elif op == Op.CHANNEL:
                    add_channel(fields, self._schemas, self.channels)
        except BagError as error:
            if whole:
                self._damage.add(f"{error}; messages in it are lost", position, self._last_ns)
        if times:
            self.counts.update(counts)
            held = self._intern(frozenset(counts))
            self._add(Block(min(times), position, end - position, max(times), held, whole=whole))

    def _cut(self, op: int, position: int) -> None:
        """Take what there is of a record that passes the end of the file."""
        self._close_chunk(trusted=False)
        self._close_run()
        before = self._last_ns
        if op == Op.CHUNK:
            self._look_into_chunk(position, self._size, whole=False)
        what = f"the recording ends in the middle of a record of kind {op}"
        self._damage.add(f"{what} (it was killed or cut); the rest is lost", position, before)

    def _add(self, block: Block) -> None:
        self.blocks.append(block)
        self._last_ns = block.end_ns if self._last_ns is None else max(self._last_ns, block.end_ns)

    def _intern(self, channels: frozenset[int]) -> frozenset[int]:
        return self._interned.setdefault(channels, channels)
