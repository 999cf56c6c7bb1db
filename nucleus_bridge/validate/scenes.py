# SPDX-License-Identifier: Apache-2.0
"""Check sealed scenes against the format rules and their checksums, from the files on disk alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nucleus_bridge.errors import InputError
from nucleus_bridge.formats.sensor_fusion import FRAME_SUFFIX
from nucleus_bridge.spool.manifest import MANIFEST_NAME, SCENE_NAME, FileRecord
from nucleus_bridge.spool.spool import SCENES
from nucleus_bridge.validate.files import FILE_RULES, SceneFolder, check_files, check_readable
from nucleus_bridge.validate.fusion import FUSION_RULES, check_fusion
from nucleus_bridge.validate.json import JSON_RULES, text_or_none
from nucleus_bridge.validate.manifest import MANIFEST_RULES, PLACE, check_manifest, read_manifest
from nucleus_bridge.validate.nucleus import NUCLEUS_RULES, check_nucleus
from nucleus_bridge.validate.report import Failure, Findings, RuleResult, SceneReport, printable, shown

__all__ = ["FORMATS", "Failure", "RuleResult", "SceneReport", "validate_path"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class FormatRules:
    """The rules of one output format, and what checks them: folder, manifest, listed files, findings."""

    rules: Mapping[str, str]
    check: Callable[[SceneFolder, Mapping[str, object], Mapping[str, FileRecord], Findings], None]


FORMATS: Mapping[str, FormatRules] = {
    "nucleus": FormatRules(NUCLEUS_RULES, check_nucleus),
    **dict.fromkeys(FRAME_SUFFIX, FormatRules(FUSION_RULES, check_fusion)),
}
"""Rules by the manifest's ``format``."""

_COMMON_RULES = {
    **MANIFEST_RULES,
    "format-known": f"the scene's format is one of {', '.join(FORMATS)}",
    **FILE_RULES,
    **JSON_RULES,
}


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
            raise InputError(f"{path}: is no folder; name a scene, a spool or a folder of scenes")
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
    findings = Findings(_COMMON_RULES)
    check_readable(folder, findings)
    manifest = read_manifest(folder, findings)
    if manifest is None:
        return SceneReport(path, printable(path.name), findings.results())
    scene_id = text_or_none(manifest.get("reference_id")) or path.name
    listed = check_manifest(folder, manifest, findings)
    name = manifest.get("format")
    known = FORMATS.get(name) if isinstance(name, str) else None
    text = f"format is {shown(name)}, expected {' or '.join(FORMATS)}"
    findings.expect("format-known", PLACE, holds=known is not None, text=text)
    if known is not None:
        findings.add(known.rules)
        known.check(folder, manifest, listed, findings)
    check_files(folder, listed, findings)
    return SceneReport(path, printable(scene_id), findings.results())
