# SPDX-License-Identifier: Apache-2.0
"""How far each scene has come at each destination: a small file a scene under ``SPOOL/state/``, each change atomic.

::

    open ──> sealed ──> storing ──> stored ──> submitted ──> done
                           │           │            │
                           └───────────┴────────────┴──> failed (tried again), quarantined (needs a person),
                                                         differs, conflict (the destination holds another one)

A scene under ``open/`` is open, one under ``scenes/`` without a state file is sealed; both need no file of their own.
A state file belongs to one content of a scene: when the scene was replaced by another one, it is sealed again. It
holds a record for each destination that the scene was on its way to, the one that was written last in front. Records
of releases that did not note the whole destination are *unverified*: the next upload asks the destination.
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
from nucleus_bridge.spool.destination import DestinationKey
from nucleus_bridge.spool.failpoints import failpoint
from nucleus_bridge.spool.manifest import MANIFEST_NAME, Manifest
from nucleus_bridge.spool.spool import Spool

FOLDER = "state"
REASON_NAME = "reason.txt"
_EARLIER = "~"  # in no reference id: quarantine/<scene>~1 is what was set aside before quarantine/<scene>
_MANIFEST_KEY = "manifest"
_ELSEWHERE_KEY = "elsewhere"


class SceneState(str, Enum):
    """Where a scene stands."""

    OPEN = "open"
    SEALED = "sealed"
    UNVERIFIED = "unverified"
    STORING = "storing"
    STORED = "stored"
    SUBMITTED = "submitted"
    DONE = "done"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    CONFLICT = "conflict"
    DIFFERS = "differs"


_BROKEN_OFF = {SceneState.SEALED, SceneState.FAILED, SceneState.QUARANTINED, SceneState.CONFLICT}
_LOOKED_AT = {SceneState.DONE, SceneState.DIFFERS, SceneState.CONFLICT}
_BEGUN = {SceneState.STORING, SceneState.STORED, SceneState.FAILED, SceneState.QUARANTINED, SceneState.SEALED}
_NEXT = {
    SceneState.SEALED: {SceneState.STORING, SceneState.FAILED, SceneState.QUARANTINED},
    SceneState.UNVERIFIED: _BEGUN | _LOOKED_AT,
    SceneState.STORING: {SceneState.STORED} | _BROKEN_OFF,
    SceneState.STORED: {SceneState.STORED, SceneState.SUBMITTED} | _LOOKED_AT | _BROKEN_OFF,
    SceneState.SUBMITTED: {SceneState.STORED} | _LOOKED_AT | _BROKEN_OFF,
    SceneState.FAILED: _BEGUN | _LOOKED_AT,
    SceneState.DIFFERS: _BEGUN | _LOOKED_AT,
    SceneState.CONFLICT: _BEGUN | _LOOKED_AT,
    SceneState.DONE: {SceneState.SEALED, SceneState.FAILED, SceneState.DIFFERS, SceneState.CONFLICT},
    SceneState.QUARANTINED: {SceneState.SEALED},
}
ENDED = frozenset({SceneState.DONE, SceneState.QUARANTINED})
"""Nothing is left to do at this destination, or only a person can do it."""
LEFT = ENDED | {SceneState.FAILED, SceneState.DIFFERS, SceneState.CONFLICT}
"""An upload leaves a scene in one of these."""


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
        endpoint: The service; with store, dataset or project and template it is the destination.
        store: The object store it was sent to, without credentials.
        dataset_id: The dataset it was or is to be submitted to.
        dataset_name: The name under which that dataset was looked for, if it was.
        project: The project of its annotation task.
        template: Digest of the task template.
        request_id: The submission it was or is to be part of.
        job_id: The job that takes it in.
        task_id: The annotation task that it became.
        task_status: The service's own word for how that task stood when it was last looked at.
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
    endpoint: str = ""
    store: str = ""
    dataset_id: str = ""
    dataset_name: str = ""
    project: str = ""
    template: str = ""
    request_id: str = ""
    job_id: str = ""
    task_id: str = ""
    task_status: str = ""
    format: str = ""
    attempts: int = 0
    error: str = ""
    updated: str = ""

    @property
    def destination(self) -> DestinationKey:
        """Where this record is about."""
        return DestinationKey(
            self.endpoint, self.store, self.dataset_id, self.project, self.template, self.dataset_name
        )

    def at(self, destination: DestinationKey | None) -> StateRecord:
        """Return the record as one about another destination."""
        if destination is None:
            return self
        return replace(
            self,
            endpoint=destination.endpoint,
            store=destination.store,
            dataset_id=destination.dataset_id,
            project=destination.project,
            template=destination.template,
            dataset_name=destination.dataset_name,
        )


@dataclass(frozen=True)
class _Sheet:
    """A state file: a record a destination, the one written last first, and the manifest of a deleted scene."""

    records: tuple[StateRecord, ...] = ()
    manifest: str = ""


class StateBook:
    """The states of all scenes of a spool, at one destination or, without one, wherever each was written last."""

    def __init__(self, spool: Spool, destination: DestinationKey | None = None) -> None:
        self.spool = spool
        self.folder = spool.path / FOLDER
        self.destination = destination

    def create(self) -> None:
        """Make the folder.

        Raises:
            OutputError: The spool is none, or cannot be written to.
        """
        if not self.spool.path.is_dir():
            raise OutputError(f"spool {self.spool.path}: there is no such folder; convert or record into it first")
        try:
            durable.make_folder(self.folder)
            self._sweep()
            probe = self.folder / ".probe"
            durable.replace_file(probe, b"")
            durable.remove_file(probe)
        except OSError as error:
            raise OutputError(f"spool {self.spool.path}: cannot be written to: {error.strerror}") from None

    def _sweep(self) -> None:
        """Remove the temporary files of processes of this machine that were killed."""
        for path in self.folder.glob(".*.tmp"):
            process = path.name.split(".")[-3]
            if process.isdecimal() and not Path(f"/proc/{process}").exists():
                durable.remove_file(path)

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
        record = StateRecord(
            reference_id,
            SceneState.SEALED,
            content,
            manifest.frames,
            manifest.items,
            bytes=sum(record.bytes for record in manifest.files),
            format=manifest.format,
        )
        return record.at(self.destination)

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
        record = replace(record, **{"state": state, "error": "", **changes, "updated": now}).at(self.destination)
        failpoint(f"before_{state.value}")
        self._save(record)
        failpoint(f"after_{state.value}")
        return record

    def keep_manifest(self, record: StateRecord) -> None:
        """Keep the manifest of a scene that is about to be deleted in its state, where labels need it.

        Raises:
            OutputError: It cannot be written.
            SceneError: The manifest cannot be read.
        """
        path = self.spool.scene_folder(record.reference_id) / MANIFEST_NAME
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SceneError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
        self._save(record, manifest=text)

    def manifest(self, reference_id: str) -> Manifest:
        """Return a scene's manifest, also when the scene was deleted after its upload.

        Raises:
            SceneError: There is none, or it is damaged.
        """
        folder = self.spool.scene_folder(reference_id)
        kept = "" if folder.is_dir() else self._read(reference_id).manifest
        return Manifest.parse(kept.encode(), self._path(reference_id)) if kept else Manifest.read(folder)

    def _save(self, record: StateRecord, manifest: str = "") -> None:
        """Write a scene's file with a record in front; those of other contents and those it replaces are left out."""
        sheet = self._read(record.reference_id)
        others = [
            other for other in sheet.records if other.content == record.content and not _supersedes(record, other)
        ]
        document = {**_document(record), _ELSEWHERE_KEY: [_document(other) for other in others]}
        if kept := manifest or (sheet.manifest if sheet.records and sheet.records[0].content == record.content else ""):
            document[_MANIFEST_KEY] = kept
        try:
            if not self.folder.is_dir():
                durable.make_folder(self.folder)
            durable.replace_file(self._path(record.reference_id), (json.dumps(document, indent=1) + "\n").encode())
        except OSError as error:
            message = f"spool {self.spool.path}: the state of {record.reference_id} cannot be written: {error.strerror}"
            raise OutputError(message) from None

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
                    durable.move_folder(target, self._earlier(target))
                durable.move_folder(source, target)
                failpoint("quarantine_moved")
            if target.is_dir():
                durable.replace_file(target / REASON_NAME, (reason + "\n").encode())
        except OSError as error:
            message = f"spool {self.spool.path}: {record.reference_id} cannot be set aside: {error.strerror}"
            raise OutputError(message) from None
        return record

    @staticmethod
    def _earlier(target: Path) -> Path:
        """Return a free name for what was set aside before under the same id: nothing is overwritten."""
        number = 1
        while (path := target.with_name(f"{target.name}{_EARLIER}{number}")).exists():
            number += 1
        return path

    def take_up_again(self, reference_id: str) -> bool:
        """Put a quarantined scene back to the sealed ones; returns whether that was possible.

        Raises:
            OutputError: The spool cannot be written to.
        """
        aside, target = self.spool.quarantine_dir / reference_id, self.spool.scene_folder(reference_id)
        if not aside.is_dir() or target.exists():
            return False
        try:
            durable.remove_file(aside / REASON_NAME)
            durable.move_folder(aside, target)
        except OSError as error:
            message = f"spool {self.spool.path}: {reference_id} cannot be taken up again: {error.strerror}"
            raise OutputError(message) from None
        return True

    def quarantined(self) -> list[str]:
        """Return the ids of the scenes that are set aside, sorted."""
        return sorted(self._set_aside())

    def references(self) -> list[str]:
        """Return the ids of all scenes that are sealed or were once, sorted; not those that only went elsewhere."""
        here = {folder.name for folder in self.spool.scenes()} | self._set_aside()
        return sorted(here | {name for name in self._noted() - here if self.known(name) is not None})

    def all(self) -> Iterator[StateRecord]:
        """Yield every scene's record; of a damaged one what is known."""
        for reference_id in self.spool.open_references():
            yield StateRecord(reference_id, SceneState.OPEN, "")
        for reference_id in self.references():
            try:
                yield self.get(reference_id)
            except SceneError as error:
                yield StateRecord(reference_id, SceneState.SEALED, "", error=str(error))

    def everywhere(self, reference_id: str) -> tuple[StateRecord, ...]:
        """Return a scene's records at all destinations that are of the content it has now, the last one first."""
        records = self._read(reference_id).records
        folder = self.spool.scene_folder(reference_id)
        if not folder.is_dir():
            return records
        try:
            content = content_digest(Manifest.read(folder))
        except SceneError:
            return records
        return tuple(record for record in records if record.content == content)

    def was_done(self, reference_id: str) -> bool:
        """Whether a scene arrived at any destination, so that it may be gone from the spool."""
        records = self._read(reference_id).records
        return any(record.state in (SceneState.DONE, SceneState.UNVERIFIED) for record in records)

    def _noted(self) -> set[str]:
        if not self.folder.is_dir():
            return set()
        return {path.stem for path in self.folder.glob("*.json") if not path.name.startswith(".")}

    def _set_aside(self) -> set[str]:
        folder = self.spool.quarantine_dir
        if not folder.is_dir():
            return set()
        return {entry.name for entry in folder.iterdir() if entry.is_dir() and _EARLIER not in entry.name}

    def _reason(self, reference_id: str) -> str:
        try:
            return (self.spool.quarantine_dir / reference_id / REASON_NAME).read_text(encoding="utf-8").strip()
        except OSError:
            return ""

    def known(self, reference_id: str) -> StateRecord | None:
        """Return what was noted of a scene at this destination, or without one what was noted last.

        What a release noted that did not tell destinations apart is unverified here.
        """
        records = self._read(reference_id).records
        if self.destination is None:
            return records[0] if records else None
        for record in records:
            if record.destination.identity == self.destination.identity:
                return record
        for record in records:
            if _is_before_its_dataset(record, self.destination):
                return record.at(self.destination)
        for record in records:
            if not record.endpoint:
                is_aside = record.state is SceneState.QUARANTINED
                found = record if is_aside else replace(record, state=SceneState.UNVERIFIED)
                return found.at(self.destination)
        return None

    def _read(self, reference_id: str) -> _Sheet:
        """Read a state file; what is damaged counts as absent, since every step can be done again."""
        try:
            document = json.loads(self._path(reference_id).read_bytes())
            others, manifest = document.get(_ELSEWHERE_KEY, []), document.get(_MANIFEST_KEY, "")
            found = [_record(entry, reference_id) for entry in (document, *others)]
            records = [record for record in found if record]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return _Sheet()
        datasets = {(record.endpoint, record.store, record.dataset_name) for record in records if record.dataset_id}
        told = tuple(
            record
            for record in records
            if record.dataset_id
            or record.template
            or not record.endpoint
            or (record.endpoint, record.store, record.dataset_name) not in datasets  # else it is there by now
        )
        return _Sheet(told, manifest if isinstance(manifest, str) else "")

    def _path(self, reference_id: str) -> Path:
        return self.folder / f"{reference_id}.json"


def _document(record: StateRecord) -> dict[str, object]:
    return {**asdict(record), "state": record.state.value}


def _record(document: object, reference_id: str) -> StateRecord | None:
    """Return one record of a state file; None when it is damaged."""
    if not isinstance(document, dict):
        return None
    known = {item.name: document[item.name] for item in fields(StateRecord) if item.name in document}
    try:
        # All scenes once were of the format nucleus.
        record = StateRecord(**{"format": "nucleus", **known, "state": SceneState(known["state"])})
    except (ValueError, KeyError, TypeError):
        return None
    numbers = ("frames", "items", "bytes", "attempts")
    values = asdict(record)
    is_sound = all(type(value) is int if name in numbers else isinstance(value, str) for name, value in values.items())
    if not is_sound or record.reference_id != reference_id:
        return None
    if "endpoint" not in document and record.state is not SceneState.QUARANTINED:
        why = f"was {record.state.value} for a release that did not note where; the next upload asks the destination"
        return replace(record, state=SceneState.UNVERIFIED, error=record.error or why)
    return record


def _is_before_its_dataset(record: StateRecord, destination: DestinationKey) -> bool:
    """Whether a record is about a destination whose dataset was not there yet: its files are stored all the same."""
    before = replace(destination, dataset_id="")
    return bool(destination.dataset_id) and record.destination.identity == before.identity and not record.template


def _supersedes(new: StateRecord, old: StateRecord) -> bool:
    """Whether an older record says nothing more once the new one is there."""
    if old.destination.identity == new.destination.identity or _is_before_its_dataset(old, new.destination):
        return True
    return not old.endpoint and old.store in ("", new.store) and old.dataset_id in ("", new.dataset_id)


def content_digest(manifest: Manifest) -> str:
    """Return what identifies the content of a scene: a digest over the digests of its files."""
    lines = [f"{record.path}\0{record.bytes}\0{record.sha256}\n" for record in manifest.files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
