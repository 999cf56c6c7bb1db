# SPDX-License-Identifier: Apache-2.0
"""The rules of a scene's files: whether what is there and what the manifest lists agree."""

from __future__ import annotations

from collections.abc import Mapping

from nucleus_bridge.errors import SceneError
from nucleus_bridge.formats.rules.findings import Findings, Place, shown
from nucleus_bridge.formats.rules.folder import SceneFolder
from nucleus_bridge.spool.manifest import MANIFEST_NAME, FileRecord

FILE_RULES = {
    "files-readable": "every file and folder of the scene can be read",
    "files-present": "every listed file is there, as a regular file",
    "file-sizes": "every listed file has the listed size",
    "checksums": "every listed file has the listed sha256",
    "no-stray-files": "every file that is there is listed",
    "nothing-left-open": "no lock and no temporary file of a writer is left",
}


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
