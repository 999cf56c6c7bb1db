# SPDX-License-Identifier: Apache-2.0
"""Reads the files of a sealed scene so that no byte leaves that is not the one that was sealed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from nucleus_bridge.errors import SceneError
from nucleus_bridge.spool.manifest import FileRecord

PART_BYTES = 8 << 20


def checked_content(path: Path, record: FileRecord) -> bytes:
    """Return a file's content.

    Raises:
        SceneError: It is missing or not what its record says.
    """
    with _opened(path) as file:
        content = file.read(record.bytes + 1)
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
        SceneError: It is missing or not what its record says.
    """
    digest, length, held = hashlib.sha256(), 0, b""
    with _opened(path) as file:
        while block := file.read(PART_BYTES):
            check()
            digest.update(block)
            length += len(block)
            if held:
                yield held
            held = block
    if (length, digest.hexdigest()) != (record.bytes, record.sha256):
        raise _changed(path)
    yield held


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise SceneError(f"{path}: the file cannot be read: {error.strerror}") from None


def _changed(path: Path) -> SceneError:
    return SceneError(f"{path}: the file is not the one that was sealed (size or sha256 differs from the manifest)")
