# SPDX-License-Identifier: Apache-2.0
"""Where frames wait for an event: in memory, and beyond a limit in files without a name, bounded in bytes.

A file is filled from its beginning, read through the pages that the system maps, and gone with the last frame in it.
It has no name from the start: nothing is left of it after a crash or a power cut.
"""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
import weakref
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.model import Frame
from nucleus_bridge.spool.durable import make_folder

Kind = TypeVar("Kind", bound=np.generic)

SEGMENT_BYTES = 64_000_000
_ALIGNMENT = 64


class LookBack:
    """Takes the points and pixels of frames; what a frame takes is free again once nobody has the frame.

    Args:
        folder: Where the files are; one that is not there is made when it is needed.
        max_bytes: The most that all frames may take.
        memory_bytes: Of that, what is left in memory.
        min_free_bytes: So much of the disk stays free.
        segment_bytes: Size of a file; a larger frame has one of its own.
    """

    def __init__(
        self,
        folder: Path,
        max_bytes: int,
        memory_bytes: int,
        *,
        min_free_bytes: int = 0,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self._folder = folder
        self._min_free_bytes = min_free_bytes
        self.max_bytes = max_bytes
        self._memory_bytes = min(memory_bytes, max_bytes)
        self._segment_bytes = segment_bytes
        self._segment: _Segment | None = None
        self.in_memory = _Count()
        self.on_disk = _Count()

    @property
    def bytes(self) -> int:
        """What all frames take, files that are not full counted whole."""
        return self.in_memory.bytes + self.on_disk.bytes

    def put(self, frame: Frame) -> Frame | None:
        """Return the frame as it waits; None where there is no room, on the disk or within the limit."""
        size = _size(frame)
        if self.in_memory.bytes + size <= self._memory_bytes:
            self.in_memory.take(frame, size)
            return frame
        try:
            segment = self._segment_for(size)
        except OSError:
            return None
        return None if segment is None else segment.copied(frame)

    def _segment_for(self, size: int) -> _Segment | None:
        if self._segment is not None and self._segment.left >= size:
            return self._segment
        self._segment = None  # what is full goes with its frames
        make_folder(self._folder, is_durable=False)
        left = min(self.max_bytes - self.bytes, shutil.disk_usage(self._folder).free - self._min_free_bytes)
        length = max(self._segment_bytes, size) if max(self._segment_bytes, size) <= left else size
        if length > left:
            return None
        made = _Segment(self._folder, length)
        self.on_disk.take(made, length)
        self._segment = made
        return made


class _Count:
    """Bytes of things that are there."""

    def __init__(self) -> None:
        self.bytes = 0

    def take(self, thing: object, size: int) -> None:
        """Count the bytes of a thing for as long as it is there."""
        self.bytes += size
        weakref.finalize(thing, self._give_back, size).atexit = False

    def _give_back(self, size: int) -> None:
        self.bytes -= size


class _Segment:
    """One file without a name, mapped; it lives as long as something that was copied to it."""

    def __init__(self, folder: Path, length: int) -> None:
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, length)  # a full disk is met here, and not when a page is written
            self._map = mmap.mmap(file.fileno(), length)
        self._length = length
        self._used = 0

    @property
    def left(self) -> int:
        """Bytes that are free."""
        return self._length - self._used

    def copied(self, frame: Frame) -> Frame:
        """Return a frame whose points and pixels are here."""
        sweeps = tuple(
            replace(posed, sweep=replace(posed.sweep, points=self._copy(posed.sweep.points))) for posed in frame.sweeps
        )
        images = tuple(
            replace(posed, image=replace(posed.image, data=self._copy(posed.image.data))) for posed in frame.images
        )
        copy = replace(frame, sweeps=sweeps, images=images)
        weakref.finalize(copy, _nothing, self).atexit = False  # the frame keeps the segment
        return copy

    def _copy(self, content: NDArray[Kind]) -> NDArray[Kind]:
        if not content.nbytes:
            return content
        plain = np.ascontiguousarray(content)  # it is already, but for what a decoder has cut out
        start, self._used = self._used, self._used + _rounded(content.nbytes)
        np.frombuffer(self._map, np.uint8, content.nbytes, start)[:] = plain.reshape(-1).view(np.uint8)
        copy: NDArray[Kind] = np.ndarray(plain.shape, plain.dtype, self._map, start)
        return copy


def _size(frame: Frame) -> int:
    arrays = [*(posed.sweep.points for posed in frame.sweeps), *(posed.image.data for posed in frame.images)]
    return sum(_rounded(array.nbytes) for array in arrays)


def _rounded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _nothing(_segment: _Segment) -> None:
    """Hold a segment for as long as a frame is there."""
