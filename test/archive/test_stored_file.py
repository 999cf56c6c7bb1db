# SPDX-License-Identifier: Apache-2.0
"""A file that is read in ranges gives the bytes of one that is read whole, and reads none of them needlessly."""

from __future__ import annotations

import io
import threading

from hypothesis import given
from hypothesis import strategies as st

from nucleus_bridge.archive.stored_file import GAP_BYTES, STEP_BYTES, RecentPieces, StoredFile

CONTENT = bytes((n * 37 + n // 251) % 256 for n in range(5000))


class Remote:
    """Content far away, with a record of what was read of it."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.reads: list[tuple[int, int]] = []
        self._lock = threading.Lock()

    def fetch(self, start: int, length: int) -> bytes:
        assert 0 <= start < start + length <= len(self.content)
        with self._lock:
            self.reads.append((start, length))
        return self.content[start : start + length]

    def open(self, recent: RecentPieces | None = None) -> StoredFile:
        return StoredFile("content", len(self.content), self.fetch, recent or RecentPieces())


POSITIONS = st.integers(0, len(CONTENT) + 10)
SPANS = st.tuples(st.integers(0, len(CONTENT) - 1), st.integers(1, 900)).map(
    lambda span: (span[0], min(span[1], len(CONTENT) - span[0]))
)


@given(st.lists(st.tuples(POSITIONS, st.integers(-1, 1200))), st.lists(SPANS, max_size=8), st.booleans())
def test_any_reads_give_the_bytes_of_the_file(
    reads: list[tuple[int, int]], spans: list[tuple[int, int]], ahead: bool
) -> None:
    plain = io.BytesIO(CONTENT)
    with Remote(CONTENT).open() as file:
        if ahead:
            file.expect(spans)
        for position, size in [*(spans if ahead else []), *reads]:
            assert file.seek(position) == plain.seek(position)
            assert file.read(size) == plain.read(size)
            assert file.tell() == plain.tell()
        assert file.seek(-7, io.SEEK_END) == len(CONTENT) - 7
        assert file.read() == CONTENT[-7:]


def test_expected_parts_are_read_once_in_few_requests_and_not_what_lies_far_between() -> None:
    part = 1 << 20
    remote = Remote(bytes(40 * part))
    spans = [(n * part, part - 1000) for n in range(20)] + [(n * part, part) for n in range(30, 40)]
    with remote.open() as file:
        file.expect(spans)
        for start, length in spans:
            file.seek(start)
            assert len(file.read(length)) == length
    total = sum(length for _, length in remote.reads)
    assert total - sum(length for _, length in spans) <= 1000 * 20 < GAP_BYTES
    assert len(remote.reads) < 8
    assert max(length for _, length in remote.reads) <= STEP_BYTES


def test_only_the_first_expected_part_is_read_when_only_that_is_wanted() -> None:
    remote = Remote(bytes(1 << 20))
    with remote.open() as file:
        file.expect([(n * 1000, 1000) for n in range(1000)])
        file.read(1000)
    assert remote.reads == [(0, 1000)]


def test_parts_that_several_readers_want_are_read_once() -> None:
    remote, recent = Remote(CONTENT), RecentPieces()
    for _ in range(3):
        with remote.open(recent) as file:
            file.expect([(100, 400), (500, 300)])
            file.seek(100)
            file.read(400)
    assert remote.reads == [(100, 400)]


def test_what_was_read_lately_is_kept_within_a_limit() -> None:
    remote, recent = Remote(CONTENT), RecentPieces(max_bytes=1000)
    for start in (0, 2000, 4000, 0):
        with remote.open(recent) as file:
            file.seek(start)
            file.read(600)
    assert len(remote.reads) == 4
