# SPDX-License-Identifier: Apache-2.0
"""Notes of which recordings were converted and what came of it, so that doing it again is quick and harmless."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nucleus_bridge.spool.durable import make_folder, replace_file
from nucleus_bridge.spool.manifest import MANIFEST_NAME, Manifest
from nucleus_bridge.spool.spool import SCENES, Spool
from nucleus_bridge.spool.state import StateBook
from nucleus_bridge.version import __version__

FOLDER = "conversions"


@dataclass(frozen=True)
class SceneSummary:
    """What one line says about a scene."""

    reference_id: str
    frames: int
    items: int
    points: int
    bytes: int
    first_stamp_ns: int
    last_stamp_ns: int
    end_reason: str

    @classmethod
    def of(cls, manifest: Manifest) -> SceneSummary:
        """Sum a manifest up."""
        return cls(
            manifest.reference_id,
            manifest.frames,
            manifest.items,
            manifest.points,
            sum(record.bytes for record in manifest.files),
            manifest.first_stamp_ns,
            manifest.last_stamp_ns,
            manifest.end_reason,
        )


@dataclass(frozen=True)
class DamageNote:
    """A part of a recording that could not be read: in which file, what, at which byte."""

    file: str
    what: str
    offset: int | None
    loses_messages: bool


@dataclass(frozen=True)
class Conversion:
    """What a finished conversion left behind.

    Attributes:
        bag: The recording.
        scenes: Its scenes, in order.
        losses: What did not reach them, by topic and cause.
        reasons: For each cause, the text of its first occurrence.
        damage: What could not be read of it.
        warnings: What is unlikely about its sensors.
        findings: Warnings with codes, as ``--json`` has them.
        recording: Name of the recording, without its place; empty in notes of older releases.
        digest: Of the recording; see ``recordings.digest_of``.
    """

    bag: str
    scenes: tuple[SceneSummary, ...]
    losses: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    damage: tuple[DamageNote, ...] = ()
    warnings: tuple[str, ...] = ()
    findings: tuple[Mapping[str, str], ...] = ()
    recording: str = ""
    digest: str = ""

    @property
    def lacks_room(self) -> bool:
        """Whether scenes found no room in the spool: the same command makes them once there is some."""
        return any("spool_full" in causes for causes in self.losses.values())

    def to_json(self) -> bytes:
        """Serialise."""
        return (json.dumps(asdict(self), indent=1) + "\n").encode()

    @classmethod
    def from_json(cls, content: bytes) -> Conversion | None:
        """Read a note; None when it is none, or one of another release."""
        try:
            record: dict[str, Any] = json.loads(content)
            scenes = tuple(SceneSummary(**scene) for scene in record["scenes"])
            damage = tuple(DamageNote(**entry) for entry in record["damage"])
            warnings = tuple(str(text) for text in record["warnings"])
            losses = {topic: {cause: int(n) for cause, n in each.items()} for topic, each in record["losses"].items()}
            reasons = {cause: str(text) for cause, text in record["reasons"].items()}
            findings = tuple({str(k): str(v) for k, v in found.items()} for found in record.get("findings", ()))
            named = str(record.get("recording", "")), str(record.get("digest", ""))
            return cls(str(record["bag"]), scenes, losses, reasons, damage, warnings, findings, *named)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return None


def warnings_of(manifests: Iterable[Manifest]) -> tuple[str, ...]:
    """Return what manifests say is unlikely about sensors, each once."""
    sensors = [(name, record) for manifest in manifests for name, record in manifest.sensors.items()]
    return tuple(dict.fromkeys(f"{name}: {record['warning']}" for name, record in sensors if record.get("warning")))


def each_once(warnings: Iterable[Mapping[str, str]]) -> tuple[Mapping[str, str], ...]:
    """Return warnings, each once."""
    return tuple({json.dumps(warning, sort_keys=True): warning for warning in warnings}.values())


def key(marks: Iterable[tuple[str, int, int]], config_digest: str, scene_format: str) -> str:
    """Name a conversion by its input files (name, size, time of change), configuration, version and format."""
    text = json.dumps([[list(mark) for mark in marks], config_digest, __version__, scene_format])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def find(spool: Spool, name: str) -> Conversion | None:
    """Return what an earlier conversion made, if all of it is still in the spool or was uploaded from there."""
    try:
        found = Conversion.from_json((spool.path / FOLDER / f"{name}.json").read_bytes())
    except OSError:
        return None
    return found if found and all(_was_kept(spool, scene.reference_id) for scene in found.scenes) else None


def note(spool: Spool, name: str, conversion: Conversion) -> None:
    """Write down that a conversion is complete."""
    folder = spool.path / FOLDER
    make_folder(folder)
    replace_file(folder / f"{name}.json", conversion.to_json())


def notes(spool: Spool) -> Iterable[Conversion]:
    """Yield every note, the older ones first."""
    paths = [path for path in (spool.path / FOLDER).glob("*.json") if not path.name.startswith(".")]
    for path in sorted(paths, key=_age):
        if (found := Conversion.from_json(path.read_bytes())) is not None:
            yield found


def findings_about(scene_folder: Path) -> tuple[Mapping[str, str], ...]:
    """Return the warnings of the conversion, the newest one, that made a scene; of its whole recording, with codes."""
    if scene_folder.parent.name != SCENES:
        return ()
    made = [
        conversion
        for conversion in notes(Spool(scene_folder.parent.parent))
        if any(scene.reference_id == scene_folder.name for scene in conversion.scenes)
    ]
    return made[-1].findings if made else ()


def _age(path: Path) -> tuple[int, str]:
    return path.stat().st_mtime_ns, path.name


def _was_kept(spool: Spool, reference_id: str) -> bool:
    """Whether a scene is in the spool, or was removed from it because it arrived."""
    if (spool.scene_folder(reference_id) / MANIFEST_NAME).is_file():
        return True
    return StateBook(spool).was_done(reference_id)
