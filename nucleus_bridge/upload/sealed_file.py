# SPDX-License-Identifier: Apache-2.0
"""Reads the files of a sealed scene so that no byte leaves that is not the one that was sealed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from nucleus_bridge.errors import SceneError
from nucleus_bridge.spool.manifest import FileRecord
from nucleus_bridge.spool.regular_file import open_regular, unreadable

PART_BYTES = 8 << 20


def checked_content(path: Path, record: FileRecord) -> bytes:
    """Return a file's content.

    Raises:
        SceneUnreadableError: The disk cannot read it now.
        SceneError: It is missing or not what its record says.
    """
    try:
        with _opened(path, record) as file:
            content = file.read(record.bytes + 1)
    except OSError as error:
        raise unreadable(path, error) from None
    if len(content) != record.bytes or hashlib.sha256(content).hexdigest() != record.sha256:
        raise _changed(path)
    return content


def checked_parts(path: Path, record: FileRecord, check: Callable[[], None]) -> Iterator[bytes]:
    """Yield a file's content in parts; the last one only once the checksum is known to be right.

    Args:
        path: The file.
        record: What it should be.
        check: Called before each part; may raise.

    Raises:
        SceneUnreadableError: The disk cannot read it now.
        SceneError: It is missing or not what its record says.
    """
    digest, left, held = hashlib.sha256(), record.bytes + 1, b""
    try:
        with _opened(path, record) as file:
            while block := file.read(min(PART_BYTES, left)):
                check()
                digest.update(block)
                left -= len(block)
                if held:
                    yield held
                held = block
    except OSError as error:
        raise unreadable(path, error) from None
    if (left, digest.hexdigest()) != (1, record.sha256):
        raise _changed(path)
    yield held


def _opened(path: Path, record: FileRecord) -> BinaryIO:
    """Open the file through no link below the scene's folder."""
    below = PurePosixPath(record.path).parts
    return open_regular(path, len(below) if path.parts[-len(below) :] == below else 1)


def _changed(path: Path) -> SceneError:
    return SceneError(f"{path}: the file is not the one that was sealed (size or sha256 differs from the manifest)")
