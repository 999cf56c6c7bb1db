# SPDX-License-Identifier: Apache-2.0
"""A temporary folder for unpacked or repaired copies of a recording's files."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from nucleus_bridge.errors import BagError

_KEEP_FREE_BYTES = 256 << 20


class NoRoomError(BagError):
    """The disk of the temporary folder is full, which says nothing against the recording."""


class Scratch:
    """A temporary folder that exists from its first use until ``close``."""

    def __init__(self) -> None:
        self._folder: TemporaryDirectory[str] | None = None

    def folder(self, part: str = "") -> Path:
        """Give the folder, or a part of it."""
        if self._folder is None:
            self._folder = TemporaryDirectory(prefix="nucleus-bridge-")
        folder = Path(self._folder.name, part)
        folder.mkdir(exist_ok=True)
        return folder

    def require(self, size: int, source: Path) -> None:
        """Check that so many more bytes fit.

        Raises:
            NoRoomError: They do not.
        """
        free = shutil.disk_usage(self.folder()).free
        if free < size + _KEEP_FREE_BYTES:
            raise NoRoomError(
                f"{source}: no room in {self.folder()} for a temporary copy ({size} bytes wanted, {free} free); "
                "set TMPDIR to a folder on a larger disk"
            )

    def close(self) -> None:
        """Remove the folder and all in it."""
        folder, self._folder = self._folder, None
        if folder is not None:
            folder.cleanup()
