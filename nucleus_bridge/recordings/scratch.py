# SPDX-License-Identifier: Apache-2.0
"""A temporary folder for unpacked or repaired copies of a recording's files."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from nucleus_bridge.errors import BagError
from nucleus_bridge.recordings.place import Place

_KEEP_FREE_BYTES = 256 << 20
_PIECE_BYTES = 8 << 20


class NoRoomError(BagError):
    """The disk of the temporary folder is full, which says nothing against the recording."""


class Scratch:
    """A temporary folder that exists from its first use until ``close``.

    Args:
        parent: Where it is made; None for the system's folder of temporary files.
        max_bytes: The most that may be in it; 0 for what the disk takes.
    """

    def __init__(self, parent: Path | None = None, *, max_bytes: int = 0) -> None:
        self._folder: TemporaryDirectory[str] | None = None
        self._parent = parent
        self._max_bytes = max_bytes

    def folder(self, part: str = "") -> Path:
        """Give the folder, or a part of it."""
        if self._folder is None:
            self._folder = TemporaryDirectory(prefix="nucleus-bridge-", dir=self._parent)
        folder = Path(self._folder.name, part)
        folder.mkdir(exist_ok=True)
        return folder

    def fetch(self, source: Place) -> Path:
        """Copy a file of a recording here from wherever it is.

        Raises:
            NoRoomError: It does not fit.
        """
        self.require(source.stat().st_size, source)
        target = self.folder("fetched") / source.name
        with source.open("rb") as file, target.open("wb") as copy:
            shutil.copyfileobj(file, copy, _PIECE_BYTES)
        return target

    def require(self, size: int, source: Place) -> None:
        """Check that this many more bytes fit.

        Raises:
            NoRoomError: They do not.
        """
        if self._max_bytes:
            used = sum(path.stat().st_size for path in self.folder().rglob("*") if path.is_file())
            if used + size > self._max_bytes:
                raise NoRoomError(
                    f"{source}: a temporary copy needs {used + size} bytes, more than the limit of {self._max_bytes}; "
                    "raise --scratch-limit, or store it as mcap with an index, which is read in place"
                )
        free = shutil.disk_usage(self.folder()).free
        if free < size + _KEEP_FREE_BYTES:
            raise NoRoomError(
                f"{source}: no room in {self.folder()} for a temporary copy ({size} bytes wanted, {free} free); "
                "set TMPDIR (or --scratch) to a folder on a larger disk"
            )

    def close(self) -> None:
        """Remove the folder and all in it."""
        folder, self._folder = self._folder, None
        if folder is not None:
            folder.cleanup()
