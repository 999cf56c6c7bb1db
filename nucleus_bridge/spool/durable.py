# SPDX-License-Identifier: Apache-2.0
"""The few file operations that durability rests on; everything the spool writes goes through here."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

Buffer = bytes | bytearray | memoryview


def write_file(path: Path, buffers: Iterable[Buffer]) -> tuple[int, str]:
    """Write a new file and return its length and sha256; it is not synced yet."""
    digest = hashlib.sha256()
    length = 0
    with path.open("xb", buffering=0) as file:
        for buffer in buffers:
            view = memoryview(buffer).cast("B")
            digest.update(view)
            length += len(view)
            while view:
                view = view[file.write(view) :]
    return length, digest.hexdigest()


def sync_file(path: Path) -> None:
    """Force a file's content to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Force a folder's entries to the disk."""
    sync_file(path)


def replace_file(path: Path, content: bytes) -> None:
    """Put a small file in place atomically and durably."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    write_file(temporary, [content])
    sync_file(temporary)
    temporary.replace(path)
    sync_folder(path.parent)


def move_folder(source: Path, target: Path) -> None:
    """Rename a folder whose files are synced and make the rename durable."""
    source.rename(target)
    sync_folder(target.parent)
    if source.parent != target.parent:
        sync_folder(source.parent)


def remove_folder(path: Path) -> None:
    """Remove a folder with all it holds; one that is gone already is fine."""
    shutil.rmtree(path, ignore_errors=True)


def file_digest(path: Path) -> tuple[int, str]:
    """Return length and sha256 of a file."""
    digest = hashlib.sha256()
    length = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            length += len(block)
    return length, digest.hexdigest()


@contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Hold an exclusive lock on a file while the block runs; yields False when another process has it.

    The lock ends with the process that holds it, however it ends.
    """
    descriptor = lock_file(path)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)


def lock_file(path: Path) -> int | None:
    """Take an exclusive lock on a file; returns its descriptor, to be closed, or None when it is taken."""
    import fcntl  # noqa: PLC0415 - not on every platform that can read scenes

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
