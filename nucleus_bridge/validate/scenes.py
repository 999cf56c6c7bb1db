# SPDX-License-Identifier: Apache-2.0
"""Check sealed scenes against the format rules and their checksums, from the files on disk alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nucleus_bridge.errors import InputError, SceneError
from nucleus_bridge.formats import registry
from nucleus_bridge.formats.rules.documents import JSON_RULES, PLACE
from nucleus_bridge.formats.rules.findings import Failure, Findings, Place, RuleResult, shown
from nucleus_bridge.formats.rules.folder import SceneFolder
from nucleus_bridge.formats.strict_json import text_or_none
from nucleus_bridge.spool.manifest import MANIFEST_NAME, SCENE_NAME, FileRecord
from nucleus_bridge.spool.spool import SCENES
from nucleus_bridge.text import printable
from nucleus_bridge.validate.manifest import MANIFEST_RULES, check_manifest, read_manifest

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
    text = "is not a regular file" if record.path in folder.others else "is missing"
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


__all__ = ["Failure", "RuleResult", "SceneReport", "validate_path"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class SceneReport:
    """All rules of one scene, in the order in which they are documented."""

    path: Path
    reference_id: str
    rules: tuple[RuleResult, ...]

    @property
    def ok(self) -> bool:
        """Whether every rule holds."""
        return all(rule.ok for rule in self.rules)


def validate_path(path: Path, progress: Progress | None = None) -> list[SceneReport]:
    """Check one scene, every scene of a spool, or every scene in a folder.

    Whatever is wrong with a scene's files is a failure in its report.

    Args:
        path: A scene's folder, a spool, or a folder of scenes.
        progress: Called after each scene with the number of scenes done and in all.

    Returns:
        One report a scene, by name.

    Raises:
        InputError: The path is none of these or cannot be read.
    """
    folders = _scene_folders(path)
    reports: list[SceneReport] = []
    for folder in folders:
        reports.append(_validate_scene(folder))
        if progress is not None:
            progress(len(reports), len(folders))
    return reports


def _scene_folders(path: Path) -> list[Path]:
    try:
        if not path.is_dir():
            raise InputError(f"{path}: is not a folder; name a scene, a spool or a folder of scenes")
        if _looks_like_scene(path):
            return [path]
        if (path / SCENES).is_dir():
            return _subfolders(path / SCENES)
        folders = _subfolders(path)
        if any(_looks_like_scene(folder) for folder in folders):
            return folders
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    raise InputError(f"{path}: holds no scene; name a scene, a spool or a folder of scenes")


def _looks_like_scene(folder: Path) -> bool:
    return (folder / MANIFEST_NAME).exists() or (folder / SCENE_NAME).exists()


def _subfolders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _validate_scene(path: Path) -> SceneReport:
    folder = SceneFolder(path)
    known = registry.names()
    findings = Findings({
        **MANIFEST_RULES,
        "format-known": f"the scene's format is one of {', '.join(known)}",
        **FILE_RULES,
        **JSON_RULES,
    })  # fmt: skip
    check_readable(folder, findings)
    manifest = read_manifest(folder, findings)
    if manifest is None:
        return SceneReport(path, printable(path.name), findings.results())
    scene_id = text_or_none(manifest.get("reference_id")) or path.name
    listed = check_manifest(folder, manifest, findings)
    name = manifest.get("format")
    text = f"format is {shown(name)}, expected {' or '.join(known)}"
    if findings.expect("format-known", PLACE, holds=name in known, text=text):
        scene_format = registry.of(str(name))
        findings.add(scene_format.rules)
        scene_format.check(folder, manifest, listed, findings)
    check_files(folder, listed, findings)
    return SceneReport(path, printable(scene_id), findings.results())
