# SPDX-License-Identifier: Apache-2.0
"""The rules of JSON files and of what stands in several of them: ids, paths, metadata."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from nucleus_bridge.errors import SceneError
from nucleus_bridge.formats.rules.findings import Findings, Place, shown
from nucleus_bridge.formats.rules.folder import SceneFolder
from nucleus_bridge.formats.strict_json import Document, parse
from nucleus_bridge.spool.manifest import MANIFEST_NAME
from nucleus_bridge.text import printable

JSON_RULES = {
    "json-unambiguous": "no JSON object has a key twice",
    "no-nan": "every number is finite and fits a 64-bit float",
}

PLACE = Place(MANIFEST_NAME)

_ID_CHARACTERS = re.compile(r"[A-Za-z0-9._-]+")


def check_document(document: Document, place: Place, findings: Findings) -> None:
    """Check what :func:`parse` noticed."""
    for rule, texts, what in (
        ("json-unambiguous", document.duplicate_keys, "key twice in one object"),
        ("no-nan", document.not_finite, "not a finite number"),
    ):
        named = ", ".join(printable(text, 40) for text in texts[:3])
        findings.expect(rule, place, holds=not texts, text=f"{what}: {named}{' ...' if len(texts) > 3 else ''}")


def read_object(folder: SceneFolder, rule: str, place: Place, findings: Findings) -> dict[str, object] | None:
    """Read a file that must be a JSON object; None, and a failure of ``rule``, when it is none."""
    try:
        document = parse(folder.read(place.file))
    except SceneError as error:
        findings.fail(rule, place, str(error))
        return None
    check_document(document, place, findings)
    record = document.value if isinstance(document.value, dict) else None
    findings.expect(rule, place, holds=record is not None, text="is not a JSON object")
    return record


def check_id_characters(reference_id: str, place: Place, findings: Findings) -> None:
    """Check that an id can stand in URLs and file names; the service's client does not quote it everywhere."""
    holds = _ID_CHARACTERS.fullmatch(reference_id) is not None
    text = f"reference_id {shown(reference_id)} has other characters than A-Z a-z 0-9 . _ -"
    findings.expect("reference-id-characters", place, holds=holds, text=text)


def check_metadata(metadata: object, place: Place, findings: Findings, structured: str = "") -> None:
    """Check that metadata is an object of strings, numbers and booleans; the key ``structured`` is left out."""
    if not isinstance(metadata, dict):
        findings.fail("metadata-scalars", place, f"metadata is {shown(metadata)}, expected an object")
        return
    wrong = [
        key for key, value in metadata.items() if key != structured and not isinstance(value, (str, bool, int, float))
    ]
    text = (
        f"metadata {shown(wrong[0])} is {shown(metadata[wrong[0]])}, expected a string, a number or a boolean"
        if wrong
        else ""
    )
    findings.expect("metadata-scalars", place, holds=not wrong, text=text)


def is_inside(path: str) -> bool:
    """Return whether a path is relative, in its shortest form, and stays in its folder."""
    pure = PurePosixPath(path)
    return str(pure) == path and path != "." and ".." not in pure.parts and not pure.is_absolute()
