# SPDX-License-Identifier: Apache-2.0
"""How far each scene has come: a small file a scene under ``SPOOL/state/``, each change atomic and on the disk.

::

    open ──> sealed ──> storing ──> stored ──> submitted ──> done
                           │           │            │
                           └───────────┴────────────┴──> failed (tried again), quarantined (needs a person)

A scene under ``open/`` is open, one under ``scenes/`` without a state file is sealed; both need no file of their own.
A state file belongs to one content of a scene: when the scene was replaced by another one, it is sealed again.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from enum import Enum
from pathlib import Path
from typing import Any

from nucleus_bridge.errors import OutputError, SceneError
from nucleus_bridge.spool import durable
from nucleus_bridge.spool.failpoints import failpoint
from nucleus_bridge.spool.manifest import Manifest
from nucleus_bridge.spool.spool import Spool

FOLDER = "state"
REASON_NAME = "reason.txt"


class SceneState(str, Enum):
    """Where a scene stands."""

    OPEN = "open"
    SEALED = "sealed"
    STORING = "storing"
    STORED = "stored"
    SUBMITTED = "submitted"
    DONE = "done"
    FAILED = "failed"
    QUARANTINED = "quarantined"


_NEXT = {
    SceneState.SEALED: {SceneState.STORING, SceneState.FAILED, SceneState.QUARANTINED},
    SceneState.STORING: {SceneState.STORED, SceneState.SEALED, SceneState.FAILED, SceneState.QUARANTINED},
    SceneState.STORED: {
        SceneState.STORED,
        SceneState.SUBMITTED,
        SceneState.DONE,
        SceneState.SEALED,
        SceneState.FAILED,
        SceneState.QUARANTINED,
    },
    SceneState.SUBMITTED: {
        SceneState.DONE,
        SceneState.STORED,
        SceneState.SEALED,
        SceneState.FAILED,
        SceneState.QUARANTINED,
    },
    SceneState.FAILED: {SceneState.STORING, SceneState.STORED, SceneState.DONE, SceneState.SEALED},
    SceneState.DONE: {SceneState.SEALED},
    SceneState.QUARANTINED: {SceneState.SEALED},
}
ENDED = frozenset({SceneState.DONE, SceneState.QUARANTINED})


@dataclass(frozen=True)
class StateRecord:
    """Content of a state file.

    Attributes:
        reference_id: Id of the scene.
        state: Where it stands.
        content: Digest of the scene's files, as its manifest lists them.
        frames: Number of frames.
        items: Number of clouds and images.
        bytes: Size of its files.
        store: The object store it was sent to, without credentials.
        dataset_id: The dataset it was or is to be submitted to.
        request_id: The submission it was or is to be part of.
        job_id: The job that takes it in.
        task_id: The annotation task that it became.
        format: What its manifest says; "" when that cannot be read.
        attempts: How often a job was started for it.
        error: The last error, one line.
        updated: When this was written, UTC; for people, nothing depends on it.
    """

    reference_id: str
    state: SceneState
    content: str
    frames: int = 0
    items: int = 0
    bytes: int = 0
    store: str = ""
    dataset_id: str = ""
    request_id: str = ""
    job_id: str = ""
    task_id: str = ""
    format: str = ""
    attempts: int = 0
    error: str = ""
    updated: str = ""


class StateBook:
    """The states of all scenes of a spool."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.folder = spool.path / FOLDER

    def create(self) -> None:
        """Make the folder.

        Raises:
            OutputError: The spool is none, or cannot be written to.
        """
        if not self.spool.path.is_dir():
            raise OutputError(f"spool {self.spool.path}: there is no such folder; convert or record into it first")
        try:
            durable.make_folder(self.folder)
            probe = self.folder / ".probe"
            durable.replace_file(probe, b"")
            durable.remove_file(probe)
        except OSError as error:
            raise OutputError(f"spool {self.spool.path}: cannot be written to: {error.strerror}") from None

    def get(self, reference_id: str) -> StateRecord:
        """Return where a scene stands.

        Raises:
            SceneError: There is no such scene, or its manifest is damaged and no state is known.
        """
        known = self.known(reference_id)
        folder = self.spool.scene_folder(reference_id)
        if not folder.is_dir():
            return self._without_folder(reference_id, known)
        if known is not None and known.state is SceneState.QUARANTINED:
            known = None  # a person put it back, or it was converted again
        try:
            manifest = Manifest.read(folder)
        except SceneError:
            if known is not None:
                return known
            raise
        content = content_digest(manifest)
        if known is not None and known.content == content:
            return replace(known, format=manifest.format)
        return StateRecord(
            reference_id,
            SceneState.SEALED,
            content,
            manifest.frames,
            manifest.items,
            bytes=sum(record.bytes for record in manifest.files),
            format=manifest.format,
        )

    def _without_folder(self, reference_id: str, known: StateRecord | None) -> StateRecord:
        if known is not None and (known.state in ENDED or not (self.spool.quarantine_dir / reference_id).is_dir()):
            return known
        if (self.spool.quarantine_dir / reference_id).is_dir():
            aside = known or StateRecord(reference_id, SceneState.QUARANTINED, "")
            return replace(aside, state=SceneState.QUARANTINED, error=self._reason(reference_id))
        raise SceneError(f"{self.spool.scene_folder(reference_id)}: there is no such scene")

    def write(self, record: StateRecord, state: SceneState, **changes: Any) -> StateRecord:  # noqa: ANN401 - any field
        """Move a scene on and return its new record, once that is on the disk.

        Raises:
            OutputError: It cannot be written.
            ValueError: There is no such step in the state machine.
        """
        if state not in _NEXT.get(record.state, set()):
            raise ValueError(f"{record.reference_id}: no step leads from {record.state.value} to {state.value}")
        now = dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")
        record = replace(record, **{"state": state, "error": "", **changes, "updated": now})
        failpoint(f"before_{state.value}")
        document = {**asdict(record), "state": state.value}
        try:
            if not self.folder.is_dir():
                durable.make_folder(self.folder)
            durable.replace_file(self._path(record.reference_id), (json.dumps(document, indent=1) + "\n").encode())
        except OSError as error:
            message = f"spool {self.spool.path}: the state of {record.reference_id} cannot be written: {error.strerror}"
            raise OutputError(message) from None
        failpoint(f"after_{state.value}")
        return record

    def quarantine(self, record: StateRecord, reason: str) -> StateRecord:
        """Set a scene aside under ``quarantine/`` with the reason beside it.

        Raises:
            OutputError: The spool cannot be written to.
        """
        record = self.write(record, SceneState.QUARANTINED, error=reason)
        source = self.spool.scene_folder(record.reference_id)
        target = self.spool.quarantine_dir / record.reference_id
        try:
            durable.make_folder(self.spool.quarantine_dir)
            if source.is_dir():
                if target.exists():
                    durable.remove_folder(target)
                durable.move_folder(source, target)
                failpoint("quarantine_moved")
            if target.is_dir():
                durable.replace_file(target / REASON_NAME, (reason + "\n").encode())
        except OSError as error:
            message = f"spool {self.spool.path}: {record.reference_id} cannot be set aside: {error.strerror}"
            raise OutputError(message) from None
        return record

    def references(self) -> list[str]:
        """Return the ids of all scenes that are sealed or were once, sorted."""
        return sorted({folder.name for folder in self.spool.scenes()} | set(self._known()) | self._set_aside())

    def all(self) -> Iterator[StateRecord]:
        """Yield every scene's record; of a damaged one what is known."""
        for reference_id in self.spool.open_references():
            yield StateRecord(reference_id, SceneState.OPEN, "")
        for reference_id in self.references():
            try:
                yield self.get(reference_id)
            except SceneError as error:
                yield StateRecord(reference_id, SceneState.SEALED, "", error=str(error))

    def _known(self) -> Iterator[str]:
        if self.folder.is_dir():
            for path in sorted(self.folder.glob("*.json")):
                if not path.name.startswith("."):
                    yield path.stem

    def _set_aside(self) -> set[str]:
        folder = self.spool.quarantine_dir
        return {entry.name for entry in folder.iterdir() if entry.is_dir()} if folder.is_dir() else set()

    def _reason(self, reference_id: str) -> str:
        try:
            return (self.spool.quarantine_dir / reference_id / REASON_NAME).read_text(encoding="utf-8").strip()
        except OSError:
            return ""

    def known(self, reference_id: str) -> StateRecord | None:
        """Read a state file; one that is damaged counts as absent, since every step can be done again."""
        try:
            document = json.loads(self._path(reference_id).read_bytes())
            known = {item.name: document[item.name] for item in fields(StateRecord) if item.name in document}
            # All scenes once were of the format nucleus.
            record = StateRecord(**{"format": "nucleus", **known, "state": SceneState(known["state"])})
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        numbers = (record.frames, record.items, record.bytes, record.attempts)
        texts = (
            value for name, value in asdict(record).items() if name not in ("frames", "items", "bytes", "attempts")
        )
        is_sound = all(type(number) is int for number in numbers) and all(isinstance(text, str) for text in texts)
        return record if is_sound and record.reference_id == reference_id else None

    def _path(self, reference_id: str) -> Path:
        return self.folder / f"{reference_id}.json"


def content_digest(manifest: Manifest) -> str:
    """Return what identifies the content of a scene: a digest over the digests of its files."""
    lines = [f"{record.path}\0{record.bytes}\0{record.sha256}\n" for record in manifest.files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
