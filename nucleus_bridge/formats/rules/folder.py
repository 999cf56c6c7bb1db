# SPDX-License-Identifier: Apache-2.0
"""The files of a scene's folder, each read once."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from nucleus_bridge.errors import SceneError

LARGEST_FILE = 0x1FFFFFE8
"""Largest body that the service's client uploads, in bytes; no single file of a scene comes near it."""

_CHUNK = 1 << 20


class SceneFolder:
    """What is in a scene's folder; symbolic links are neither followed nor taken for files.

    Attributes:
        path: The folder.
        files: Size of every regular file, by path relative to the folder.
        others: Everything else that is not a folder.
        folders: Why a folder cannot be listed, or None, by path.
    """

    def __init__(self, path: Path) -> None:
        """List the folder."""
        self.path = path
        self.files: dict[str, int] = {}
        self.others: list[str] = []
        self.folders: dict[str, str | None] = {}
        self._digests: dict[str, str] = {}
        pending = [""]
        while pending:
            self._list(pending.pop(), pending)

    def _list(self, below: str, pending: list[str]) -> None:
        self.folders[below or "."] = None
        try:
            with os.scandir(self.path / below) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    name = f"{below}{entry.name}"
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode):
                        pending.append(f"{name}/")
                    elif stat.S_ISREG(status.st_mode):
                        self.files[name] = status.st_size
                    else:
                        self.others.append(name)
        except OSError as error:
            self.folders[below or "."] = error.strerror or "unknown error"

    def read(self, name: str) -> bytes:
        """Return a file's content.

        Raises:
            SceneError: It is missing, too large or cannot be read.
        """
        if name not in self.files:
            raise SceneError("is missing")
        if self.files[name] > LARGEST_FILE:
            raise SceneError(f"has {self.files[name]} bytes, more than the {LARGEST_FILE} that can be uploaded")
        try:
            data = (self.path / name).read_bytes()
        except OSError as error:
            raise SceneError(f"cannot be read: {error.strerror}") from None
        self._digests[name] = hashlib.sha256(data).hexdigest()
        return data

    def digest(self, name: str) -> str:
        """Return the sha256 of a file that is there.

        Raises:
            SceneError: It cannot be read.
        """
        if name not in self._digests:
            digest = hashlib.sha256()
            try:
                with (self.path / name).open("rb") as file:
                    while chunk := file.read(_CHUNK):
                        digest.update(chunk)
            except OSError as error:
                raise SceneError(f"cannot be read: {error.strerror}") from None
            self._digests[name] = digest.hexdigest()
        return self._digests[name]
