# SPDX-License-Identifier: Apache-2.0
"""An object in a store as a file: only the ranges that are asked for are read, the expected ones ahead of time."""

from __future__ import annotations

import io
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

Fetch = Callable[[int, int], bytes]
"""Reads that many bytes from an offset."""

STEP_BYTES = 8 << 20
"""Read at once where a file is read from start to end, and at most where parts of it are expected."""
GAP_BYTES = 64 << 10
"""Expected parts that lie no further apart are read in one go."""
READ_AHEAD = 3
RECENT_BYTES = 64 << 20


@dataclass(frozen=True)
class _Piece:
    """Bytes of a file that were read or are being read."""

    start: int
    length: int
    data: Future[bytes]

    def holds(self, start: int, length: int) -> bool:
        return self.start <= start and start + length <= self.start + self.length

    def cut(self, start: int, length: int) -> bytes:
        begin = start - self.start
        return self.data.result()[begin : begin + length]


class RecentPieces:
    """Pieces that were read a moment ago: the first chunks of a recording are asked for several times."""

    def __init__(self, max_bytes: int = RECENT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._pieces: OrderedDict[tuple[str, int], _Piece] = OrderedDict()
        self._lock = Lock()

    def add(self, name: str, piece: _Piece) -> None:
        """Keep a piece, and forget the oldest ones beyond the limit."""
        with self._lock:
            self._pieces[name, piece.start] = piece
            while sum(kept.length for kept in self._pieces.values()) > self._max_bytes:
                self._pieces.popitem(last=False)

    def find(self, name: str, start: int, length: int) -> _Piece | None:
        """Return a piece that holds these bytes."""
        with self._lock:
            pieces = [piece for (owner, _), piece in self._pieces.items() if owner == name]
        return next((piece for piece in pieces if piece.holds(start, length)), None)


_recent = RecentPieces()


class StoredFile(io.RawIOBase):
    """Reads one object.

    Args:
        name: What tells this content from any other.
        size: Its bytes.
        fetch: Reads a range; may be called from other threads.
    """

    def __init__(self, name: str, size: int, fetch: Fetch, recent: RecentPieces = _recent) -> None:
        self._name = name
        self._size = size
        self._fetch = fetch
        self._recent = recent
        self._position = 0
        self._piece: _Piece | None = None
        self._expected: deque[tuple[int, int]] = deque()
        self._coming: deque[_Piece] = deque()
        self._groups = 0
        self._threads: ThreadPoolExecutor | None = None

    def expect(self, spans: Sequence[tuple[int, int]]) -> None:
        """Take the first bytes and lengths of what will be read, in that order."""
        self._expected = deque(spans)
        self._coming.clear()
        self._groups = 0

    def readable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position; nothing is read."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Read from the position on."""
        left = max(0, self._size - self._position)
        length = left if size is None or size < 0 else min(size, left)
        data = self._bytes(self._position, length) if length else b""
        self._position += length
        return data

    def close(self) -> None:
        """Stop reading ahead."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None
        super().close()

    def _bytes(self, start: int, length: int) -> bytes:
        if self._piece is None or not self._piece.holds(start, length):
            self._piece = self._find(start, length)
        return self._piece.cut(start, length)

    def _find(self, start: int, length: int) -> _Piece:
        if self._is_expected(start, length):
            return self._next_expected(start, length)
        kept = self._recent.find(self._name, start, length)
        if kept is not None:
            return kept
        sequential = self._piece is not None and start == self._piece.start + self._piece.length
        if sequential:
            return self._load(start, min(max(length, STEP_BYTES), self._size - start))
        piece = self._load(start, length)
        if length <= STEP_BYTES:
            self._recent.add(self._name, piece)
        return piece

    def _load(self, start: int, length: int) -> _Piece:
        data: Future[bytes] = Future()
        data.set_result(self._fetch(start, length))
        return _Piece(start, length, data)

    def _is_expected(self, start: int, length: int) -> bool:
        return (start, length) in self._expected or any(piece.holds(start, length) for piece in self._coming)

    def _next_expected(self, start: int, length: int) -> _Piece:
        """Return the piece that holds an expected part, and ask for those behind it."""
        while self._coming and not self._coming[0].holds(start, length):
            self._coming.popleft()
        if not self._coming:
            while self._expected[0] != (start, length):
                self._expected.popleft()
            self._coming.append(self._next_group())
        piece = self._coming[0]
        while self._groups > 1 and self._expected and len(self._coming) < READ_AHEAD:
            self._coming.append(self._next_group())
        return piece

    def _next_group(self) -> _Piece:
        """Ask for the next expected part; once a few were read, for those in a row with it as well.

        Only one part is read at first, since it may be the only one that is wanted.
        """
        start, length = self._expected.popleft()
        self._groups += 1
        kept = self._recent.find(self._name, start, length)
        if kept is not None:
            return kept
        limit = 0 if self._groups == 1 else STEP_BYTES
        end = start + length
        while self._expected:
            next_start, next_length = self._expected[0]
            if not (0 <= next_start - end <= GAP_BYTES and next_start + next_length - start <= limit):
                break
            if self._recent.find(self._name, next_start, next_length) is not None:
                break
            end = next_start + next_length
            self._expected.popleft()
        if self._groups == 1:
            piece = self._load(start, end - start)
            if end - start <= STEP_BYTES:
                self._recent.add(self._name, piece)
            return piece
        if self._threads is None:
            self._threads = ThreadPoolExecutor(READ_AHEAD, thread_name_prefix="read-ahead")
        return _Piece(start, end - start, self._threads.submit(self._fetch, start, end - start))
