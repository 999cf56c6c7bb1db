# SPDX-License-Identifier: Apache-2.0
"""The few file operations that durability rests on; everything the spool writes goes through here.

Changes are asked for by the functions of ``os`` alone, so that a test can record them and lose those that were not
synced, as a power cut may.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

Buffer = bytes | bytearray | memoryview

PIECE_BYTES = 256 << 10
"""Written at a time: still in the second-level cache from hashing, and small enough that the kernel finds memory for
its page cache at once; a single write of several megabytes takes up to five times as long."""


def write_file(path: Path, buffers: Iterable[Buffer]) -> tuple[int, str]:
    """Write a new file and return its length and sha256; it is on its way to the disk, but not synced yet."""
    digest = hashlib.sha256()
    length = 0
    with path.open("xb", buffering=0) as file:
        for buffer in buffers:
            view = memoryview(buffer).cast("B")
            length += len(view)
            while view:
                written = file.write(view[:PIECE_BYTES])
                digest.update(view[:written])
                view = view[written:]
        if length > PIECE_BYTES:
            _start_writeback(file.fileno())
    return length, digest.hexdigest()


def _start_writeback(descriptor: int) -> None:
    """Let the kernel write what it holds of a file to the disk meanwhile, so that a later sync need not wait for it.

    On Linux this is what the advice does with pages that are not on the disk yet; elsewhere it is a hint or missing.
    """
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


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


def make_folder(path: Path, *, is_durable: bool = True) -> None:
    """Make a folder and those above it; durably also when it is there already, since its maker may have died."""
    if not path.parent.is_dir():
        make_folder(path.parent, is_durable=is_durable)
    try:
        os.mkdir(path)
    except FileExistsError:
        if not path.is_dir():
            raise
    if is_durable:
        with suppress(PermissionError):  # a folder above may be hidden from us, as systemd does
            sync_folder(path.parent)


def make_new_folder(path: Path) -> None:
    """Make a folder that nobody has made before; it is not synced yet.

    Raises:
        FileExistsError: It is there.
    """
    os.mkdir(path)


def replace_file(path: Path, content: bytes, *, is_durable: bool = True) -> None:
    """Put a small file in place atomically and durably, or at least atomically."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    remove_file(temporary)
    write_file(temporary, [content])
    if is_durable:
        sync_file(temporary)
    os.replace(temporary, path)
    if is_durable:
        sync_folder(path.parent)


def create_file(path: Path, content: bytes, temporary: Path) -> bool:
    """Create a file whole, or not at all when there is one; it is not synced. Returns whether it was created."""
    try:
        remove_file(temporary)
        write_file(temporary, [content])
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError:  # a file system without links
            try:
                write_file(path, [content])
            except FileExistsError:
                return False
        return True
    finally:
        with suppress(OSError):
            remove_file(temporary)


def rename_folder(source: Path, target: Path) -> None:
    """Rename a folder; it is not synced yet."""
    os.rename(source, target)


def move_folder(source: Path, target: Path) -> None:
    """Rename a folder whose files are synced and make the rename durable."""
    rename_folder(source, target)
    sync_folder(target.parent)
    if source.parent != target.parent:
        sync_folder(source.parent)


def remove_file(path: Path) -> None:
    """Remove a file; one that is gone already is fine."""
    with suppress(FileNotFoundError):
        os.unlink(path)


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
            unlock_file(descriptor)


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file while the block runs, once nobody else has it.

    Raises:
        OSError: The file system has no locks.
    """
    import fcntl  # noqa: PLC0415 - not on every platform that can read scenes

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        unlock_file(descriptor)


def lock_file(path: Path) -> int | None:
    """Take an exclusive lock on a file; returns what ``unlock_file`` wants, or None when it is taken."""
    import fcntl  # noqa: PLC0415 - not on every platform that can read scenes

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def unlock_file(descriptor: int) -> None:
    """Give up a lock."""
    os.close(descriptor)
