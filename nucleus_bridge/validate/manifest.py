# SPDX-License-Identifier: Apache-2.0
"""The rules of ``manifest.json`` that hold for every output format."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import datetime, timezone

from nucleus_bridge.formats.rules.documents import PLACE, check_id_characters, is_inside, read_object
from nucleus_bridge.formats.rules.findings import Findings, Place, shown
from nucleus_bridge.formats.rules.folder import SceneFolder
from nucleus_bridge.formats.strict_json import components, count, integer, table, text_or_none
from nucleus_bridge.spool.manifest import FORMAT_VERSION, MANIFEST_NAME, FileRecord

MANIFEST_RULES = {
    "manifest-readable": "manifest.json is there and is a JSON object",
    "manifest-fields": "manifest.json has every field, each of the right type",
    "manifest-files": "files are listed sorted, once each, with relative path, size and sha256",
    "folder-name": "the scene's folder has the name of the scene",
    "reference-id-characters": "reference ids consist of A-Z a-z 0-9 . _ - only",
    "reference-id-form": "a scene is named <prefix>-<UTC time of its first frame to the nanosecond>",
}

_SCENE_ID = re.compile(r".+-([0-9]{8}T[0-9]{6})\.([0-9]{9})Z")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def read_manifest(folder: SceneFolder, findings: Findings) -> dict[str, object] | None:
    """Read the manifest; None, and a failure, when it cannot be read at all."""
    return read_object(folder, "manifest-readable", PLACE, findings)


def check_manifest(folder: SceneFolder, manifest: dict[str, object], findings: Findings) -> dict[str, FileRecord]:
    """Check the manifest's own form; returns the listed files that can be checked further, by path."""
    for name, (is_right, expected) in _FIELDS.items():
        value = manifest.get(name)
        text = f"{name} is {shown(value)}, expected {expected}"
        findings.expect("manifest-fields", PLACE, holds=is_right(value), text=text)
    _check_order(manifest, findings)
    _check_id(folder, manifest, findings)
    return _check_list(manifest.get("files"), findings)


def _check_order(manifest: dict[str, object], findings: Findings) -> None:
    first, last = integer(manifest.get("first_stamp_ns")), integer(manifest.get("last_stamp_ns"))
    if first is not None and last is not None:
        text = f"last_stamp_ns {last} is before first_stamp_ns {first}"
        findings.expect("manifest-fields", PLACE, holds=first <= last, text=text)


def _check_id(folder: SceneFolder, manifest: dict[str, object], findings: Findings) -> None:
    reference_id = text_or_none(manifest.get("reference_id"))
    if reference_id is None:
        return
    name = os.path.basename(os.path.abspath(folder.path))  # noqa: PTH100, PTH119 - a linked folder keeps its name
    text = f"the folder is named {shown(name)}, the scene {shown(reference_id)}"
    findings.expect("folder-name", PLACE, holds=name == reference_id, text=text)
    check_id_characters(reference_id, PLACE, findings)
    stamp_ns, first_ns = _stamp_in(reference_id), integer(manifest.get("first_stamp_ns"))
    text = f"reference_id {shown(reference_id)} has not the form <prefix>-<yyyymmddThhmmss.nnnnnnnnnZ>"
    if findings.expect("reference-id-form", PLACE, holds=stamp_ns is not None, text=text):
        text = f"the time in {shown(reference_id)} is {stamp_ns} ns, first_stamp_ns is {first_ns}"
        findings.expect("reference-id-form", PLACE, holds=stamp_ns == first_ns, text=text)


def _stamp_in(reference_id: str) -> int | None:
    match = _SCENE_ID.fullmatch(reference_id)
    if match is None:
        return None
    try:
        moment = datetime.strptime(f"{match[1]}+0000", "%Y%m%dT%H%M%S%z")
    except ValueError:
        return None
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + int(match[2])


def _check_list(value: object, findings: Findings) -> dict[str, FileRecord]:
    records: dict[str, FileRecord] = {}
    previous = ""
    for number, entry in enumerate(value if isinstance(value, list) else []):
        record = _record(entry)
        text = f"files[{number}] is {shown(entry)} without a relative path, a size and a sha256 in hexadecimal"
        findings.expect("manifest-files", PLACE, holds=record is not None, text=text)
        if record is None:
            continue
        place = Place(record.path)
        in_order = not records or previous < record.path
        text = f"files[{number}] is listed after {shown(previous)}; the list must be sorted and free of repetitions"
        findings.expect("manifest-files", place, holds=in_order, text=text)
        records[record.path] = record
        previous = record.path
    return records


def _record(entry: object) -> FileRecord | None:
    if not isinstance(entry, dict):
        return None
    path, size, digest = text_or_none(entry.get("path")), count(entry.get("bytes")), text_or_none(entry.get("sha256"))
    if path is None or size is None or digest is None:
        return None
    if not is_inside(path) or path == MANIFEST_NAME or not _SHA256.fullmatch(digest):
        return None
    return FileRecord(path, size, digest)


def _residual(value: object) -> bool | None:
    numbers = components(value, ("mean_ms", "max_ms"))
    return True if numbers is not None and 0.0 <= numbers[0] <= numbers[1] else None


def _is_version(value: object) -> bool:
    return integer(value) == FORMAT_VERSION


def _is_count(value: object) -> bool:
    return count(value) is not None


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def _is_table(value: object) -> bool:
    return table(value, lambda entry: entry if isinstance(entry, dict) else None) is not None


def _is_list_of_events(value: object) -> bool:
    """Whether events have a name each and do not end before they begin; a scene need not have any."""
    if value is None:
        return True
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(entry, dict) and _is_event(entry) for entry in value)


def _is_event(entry: dict[str, object]) -> bool:
    begin_ns, end_ns = integer(entry.get("begin_ns")), integer(entry.get("end_ns"))
    return (
        set(entry) == {"name", "begin_ns", "end_ns"}
        and _is_text(entry["name"])
        and begin_ns is not None
        and end_ns is not None
        and begin_ns <= end_ns
    )


def _is_text(value: object) -> bool:
    return text_or_none(value) is not None


_FIELDS: dict[str, tuple[Callable[[object], bool], str]] = {
    "format_version": (_is_version, f"{FORMAT_VERSION}; validate with a matching release"),
    "reference_id": (_is_text, "a string"),
    "format": (_is_text, "the name of an output format"),
    "frames": (_is_count, "a count"),
    "items": (_is_count, "a count"),
    "points": (_is_count, "a count"),
    "first_stamp_ns": (_is_count, "nanoseconds as an integer"),
    "last_stamp_ns": (_is_count, "nanoseconds as an integer"),
    "world_frame": (_is_text, "the name of a frame"),
    "device_frame": (_is_text, "the name of a frame"),
    "world_offset": (lambda value: components(value, "xyz") is not None, "numbers x, y and z"),
    "sensors": (_is_table, "an object by sensor"),
    "sync": (lambda value: table(value, _residual) is not None, "mean_ms and max_ms, mean <= max, by sensor"),
    "missing": (lambda value: table(value, count) is not None, "counts by sensor"),
    "losses": (lambda value: table(value, lambda row: table(row, count)) is not None, "counts by topic and cause"),
    "end_reason": (_is_text, "a word"),
    "config_digest": (_is_digest, "a sha256 in hexadecimal"),
    "software": (_is_text, "name and version of the writer"),
    "events": (_is_list_of_events, "a list of name, begin_ns and end_ns, or absent"),
    "files": (lambda value: isinstance(value, list) and bool(value), "a list of files"),
}
