# SPDX-License-Identifier: Apache-2.0
"""Finds the messages of a db3 file page by page, where pages are lost that would have led SQLite to them.

A recording of more than some thousand messages has the upper pages of its tree in the middle of the file: cut behind
the middle, all of its messages may be there and none can be reached. Layout: https://www.sqlite.org/fileformat2.html.
"""

from __future__ import annotations

import mmap
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

TABLE_LEAF = 0x0D
_LEAF_HEADER_BYTES = 8
_INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
_COLUMNS = 4  # id, topic_id, timestamp, data
_FIRST_BLOB = 12

Gap = tuple[int, int]
"""The ids between which rows were not found, both exclusive."""


@dataclass(frozen=True)
class _Record:
    """A row of the table messages: where its columns are in its payload, and where that is."""

    row: int
    topic: int
    log_ns: int
    data: slice
    total: int
    here: slice
    next_page: int


class Pages:
    """The pages of one file that is not written to.

    A page belongs to one message: what a damaged or forged file says of it besides is not believed, so that reading
    all messages takes no longer than reading the file.
    """

    def __init__(self, path: Path) -> None:
        """Read the header.

        Raises:
            OSError: The file cannot be read.
        """
        self._path = path
        with path.open("rb") as file:
            header = file.read(100).ljust(100, b"\0")
            size = file.seek(0, 2)
        stated = int.from_bytes(header[16:18], "big")
        self._page_bytes = max(512, 65536 if stated == 1 else stated)
        self._usable = max(480, self._page_bytes - header[20])
        self._pages = size // self._page_bytes
        self._at: dict[int, tuple[int, int]] = {}
        self._owner: dict[int, int] = {}

    def rows(self, gaps: Sequence[Gap]) -> Iterator[tuple[int, int, int]]:
        """Yield log time, id and topic of the messages whose ids lie in gaps, each id once, as they lie in the file.

        Args:
            gaps: Ascending.
        """
        starts, seen = [after for after, _ in gaps], set()
        for page, content in self._leaves():
            for index in range(min(int.from_bytes(content[3:5], "big"), self._page_bytes // 2)):
                record = self._record(content, index)
                if record is None or record.row in seen:
                    continue
                gap = bisect_right(starts, record.row - 1) - 1
                if gap >= 0 and record.row < gaps[gap][1]:
                    seen.add(record.row)
                    self._at[record.row] = page, index
                    yield record.log_ns, record.row, record.topic

    def has(self, row: int) -> bool:
        """Whether a message was found here."""
        return row in self._at

    def payload(self, row: int) -> bytes | None:
        """Return the bytes of a message that was found here, or None where some of them are lost."""
        page, index = self._at[row]
        with self._path.open("rb") as file:
            content = self._page(file, page)
            record = self._record(content, index)
            if record is None:
                return None
            parts, length, number = [content[record.here]], record.here.stop - record.here.start, record.next_page
            while length < record.total:
                if not 1 < number <= self._pages or self._owner.setdefault(number, row) != row:
                    return None
                content = self._page(file, number - 1)
                part = content[4 : 4 + min(self._usable - 4, record.total - length)]
                parts.append(part)
                length += len(part)
                number = int.from_bytes(content[:4], "big")
        return b"".join(parts)[record.data]

    def _leaves(self) -> Iterator[tuple[int, bytes]]:
        """Yield the pages that begin as those with a table's rows do, but the first one, which has no messages."""
        if not self._pages:
            return
        with self._path.open("rb") as file:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                kinds = np.frombuffer(mapped, np.uint8)[: self._pages * self._page_bytes : self._page_bytes].copy()
            for page in np.flatnonzero(kinds == TABLE_LEAF).tolist():
                if page:
                    yield page, self._page(file, page)

    def _page(self, file: BinaryIO, page: int) -> bytes:
        file.seek(page * self._page_bytes)
        return file.read(self._page_bytes)

    def _record(self, page: bytes, index: int) -> _Record | None:
        """Read a cell of a page; None unless it looks like a message."""
        at = _LEAF_HEADER_BYTES + 2 * index
        start = int.from_bytes(page[at : at + 2], "big")
        try:
            total, start = _varint(page, start)
            row, start = _varint(page, start)
            here = slice(start, start + self._local_bytes(total))
            head_bytes, at = _varint(page, start)
            kinds = []
            while at < start + head_bytes:
                kind, at = _varint(page, at)
                kinds.append(kind)
            if len(kinds) != _COLUMNS or kinds[0] or kinds[3] < _FIRST_BLOB or kinds[3] % 2:
                return None
            topic, at = _integer(page, at, kinds[1])
            log_ns, at = _integer(page, at, kinds[2])
        except (IndexError, KeyError):
            return None
        data = slice(at - start, at - start + (kinds[3] - _FIRST_BLOB) // 2)
        next_page = int.from_bytes(page[here.stop : here.stop + 4], "big")
        is_whole = here.stop <= self._usable and data.stop == total <= self._pages * self._page_bytes
        return _Record(row, topic, log_ns, data, total, here, next_page) if is_whole else None

    def _local_bytes(self, total: int) -> int:
        """Return how much of a payload lies in the leaf itself."""
        if total <= self._usable - 35:
            return total
        least = (self._usable - 12) * 32 // 255 - 23
        wanted = least + (total - least) % (self._usable - 4)
        return wanted if wanted <= self._usable - 35 else least


def _varint(page: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(at, at + 8):
        byte = page[place]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place + 1
    return value << 8 | page[at + 8], at + 9


def _integer(page: bytes, at: int, kind: int) -> tuple[int, int]:
    """Read a column; 8 and 9 stand for 0 and 1."""
    if kind in (8, 9):
        return kind - 8, at
    end = at + _INTEGER_BYTES[kind]
    return int.from_bytes(page[at:end], "big", signed=True), end
