# SPDX-License-Identifier: Apache-2.0
"""The files of a scene's folder: what is there, what the manifest lists, and whether the two agree."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from nucleus_bridge.errors import SceneError
from nucleus_bridge.spool.manifest import MANIFEST_NAME, FileRecord
from nucleus_bridge.validate.report import Findings, Place, shown

FILE_RULES = {
    "files-readable": "every file and folder of the scene can be read",
    "files-present": "every listed file is there, as a regular file",
    "file-sizes": "every listed file has the listed size",
    "checksums": "every listed file has the listed sha256",
    "no-stray-files": "every file that is there is listed",
    "nothing-left-open": "no lock and no temporary file of a writer is left",
}

LARGEST_FILE = 0x1FFFFFE8
"""Largest body that the service's client uploads, in bytes; no single file of a scene comes near it."""

_CHUNK = 1 << 20


class SceneFolder:
    """What is in a scene's folder; symbolic links are neither followed nor taken for files.

    Attributes:
        path: The folder.
        files: Size of every regular file, by path relative to the folder.
        others: Everything else that is no folder.
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


def check_files(folder: SceneFolder, records: Mapping[str, FileRecord], findings: Findings) -> None:
    """Compare the files that are there with those that the manifest lists."""
    for record in records.values():
        _check_listed(folder, record, findings)
    for name in (*folder.files, *folder.others):
        place = Place(name)
        temporary = name.rpartition("/")[2].startswith(".")
        text = "is a lock or temporary file; the scene was not sealed"
        findings.expect("nothing-left-open", place, holds=not temporary, text=text)
        if not temporary:
            listed = name in records or name == MANIFEST_NAME
            findings.expect("no-stray-files", place, holds=listed, text="is not listed in the manifest")


def check_readable(folder: SceneFolder, findings: Findings) -> None:
    """Check that every folder could be listed."""
    for name, reason in folder.folders.items():
        findings.expect("files-readable", Place(name), holds=reason is None, text=f"cannot be listed: {reason}")


def _check_listed(folder: SceneFolder, record: FileRecord, findings: Findings) -> None:
    place = Place(record.path)
    there = record.path in folder.files
    text = "is no regular file" if record.path in folder.others else "is missing"
    if not findings.expect("files-present", place, holds=there, text=text):
        return
    size = folder.files[record.path]
    text = f"has {size} bytes, the manifest says {record.bytes}"
    if not findings.expect("file-sizes", place, holds=size == record.bytes, text=text):
        return
    try:
        digest = folder.digest(record.path)
    except SceneError as error:
        findings.fail("files-readable", place, str(error))
        return
    text = f"has sha256 {digest}, the manifest says {shown(record.sha256)}"
    findings.expect("checksums", place, holds=digest == record.sha256, text=text)
