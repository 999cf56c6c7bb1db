# SPDX-License-Identifier: Apache-2.0
"""Compares what the spool, the object store and the service say of each scene, and repairs what differs.

Nothing is ever deleted or overwritten here: repairing means that a scene's state is set to what is true, so that the
next upload does what is missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nucleus_bridge.errors import SceneError
from nucleus_bridge.spool import Spool
from nucleus_bridge.spool.destination import DestinationKey
from nucleus_bridge.spool.leases import Lease, Leases
from nucleus_bridge.spool.manifest import SCENE_NAME, FileRecord
from nucleus_bridge.spool.state import SceneState, StateBook, StateRecord
from nucleus_bridge.upload.holdings import Holdings
from nucleus_bridge.upload.plan import is_foreign
from nucleus_bridge.upload.scene_files import claim_name
from nucleus_bridge.upload.store.objects import ObjectStore

MISSING_OBJECT = "missing object"
DIFFERENT_OBJECT = "different object"
ORPHANED_OBJECT = "orphaned object"
ORPHANED_SCENE = "orphaned scene"
DAMAGED = "damaged"
BUSY = "busy"

_CLAIM = re.compile(r"manifest(\.[a-z_]+)?\.json")
_SENT = frozenset({SceneState.STORED, SceneState.SUBMITTED, SceneState.DONE, SceneState.DIFFERS})


@dataclass(frozen=True)
class Finding:
    """One difference.

    Attributes:
        kind: What it is, in two words.
        reference_id: The scene.
        text: What differs, and what to do about it.
        repaired: Whether the spool's state was set right, so that the next upload repairs it.
    """

    kind: str
    reference_id: str
    text: str
    repaired: bool = False


def reconcile(
    spool: Path,
    store: ObjectStore,
    holdings: Holdings,
    *,
    destination: DestinationKey | None = None,
    repair: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[Finding]:
    """Compare all scenes and return every difference.

    Args:
        spool: Folder of the spool.
        store: The object store.
        holdings: The service's side.
        destination: Whose states are meant; None for the last ones.
        repair: Set the states right.
        progress: Is called with how many scenes of how many were compared.

    Raises:
        OutputError: The spool is none, or cannot be written to although it is to be repaired.
        UploadError: The store or the service gives no answer.
    """
    book = StateBook(Spool(spool), destination)
    return list(_Comparison(book, store, holdings, repair=repair).findings(progress))


class _Comparison:
    def __init__(self, book: StateBook, store: ObjectStore, holdings: Holdings, *, repair: bool) -> None:
        self._book = book
        self._store = store
        self._holdings = holdings
        self._repair = repair
        self._leases = Leases(self._book.spool)

    def findings(self, progress: Callable[[int, int], None]) -> Iterator[Finding]:
        if self._repair:
            self._book.create()
            self._leases.start()
        try:
            self._holdings.look()
            references = self._book.references()
            for number, reference_id in enumerate(references):
                progress(number, len(references))
                yield from self._guarded(reference_id)
            progress(len(references), len(references))
            yield from self._orphans(set(references))
        finally:
            if self._repair:
                self._leases.close()

    def _guarded(self, reference_id: str) -> Iterator[Finding]:
        """Compare one scene; while it is repaired no other process may work on it."""
        if self._repair and self._leases.take(reference_id) is not Lease.TAKEN:
            yield Finding(BUSY, reference_id, "another process is working on it; it is left alone")
            return
        try:
            yield from self._scene(reference_id)
        finally:
            if self._repair:
                self._leases.release(reference_id)

    def _scene(self, reference_id: str) -> Iterator[Finding]:
        try:
            record = self._book.get(reference_id)
        except SceneError as error:
            yield Finding(DAMAGED, reference_id, f"{error}; the next upload sets it aside")
            return
        if record.state is SceneState.QUARANTINED or is_foreign(record, self._holdings.kind):
            return
        problems = list(self._objects(record)) if record.state in _SENT else []
        kinds = {kind for kind, _ in problems}
        to_send = MISSING_OBJECT in kinds and DIFFERENT_OBJECT not in kinds
        repaired = to_send and self._set(record, SceneState.SEALED)
        for kind, text in problems:
            yield Finding(kind, reference_id, text, repaired=repaired and kind == MISSING_OBJECT)
        if repaired:
            return
        difference = self._holdings.compare(record, self._book.spool.scene_folder(reference_id))
        if difference is not None:
            state = difference.state
            repaired = state is not None and self._set(record, state, **difference.changes)
            yield Finding(difference.kind, reference_id, difference.text, repaired and not difference.remains)

    def _objects(self, record: StateRecord) -> Iterator[tuple[str, str]]:
        manifest = self._manifest(record)
        if manifest is None:
            yield MISSING_OBJECT, f"{self._store.url.text}: holds no manifest of the scene, and the spool none either"
            return
        sizes = self._store.sizes(record.reference_id)
        expected = self._holdings.expected(manifest, sizes)
        claim = claim_name(record.format)
        for path in (claim, *expected):
            url = self._store.url.native(self._store.url.key(record.reference_id, path))
            file = expected.get(path)
            if path not in sizes:
                yield MISSING_OBJECT, f"{url}: is not in the store; the scene has to be sent again"
            elif file is not None and not (
                sizes[path] == file.bytes and self._store.holds(self._store.url.key(record.reference_id, path), file)
            ):
                yield (
                    DIFFERENT_OBJECT,
                    f"{url}: is not what was sealed, never overwritten: remove it, then repair",
                )
        if any(_CLAIM.fullmatch(path) for path in sizes if path != claim):
            return  # what else is there is the scene in another format
        for path in sorted(set(sizes) - set(expected) - {claim, SCENE_NAME}):
            url = self._store.url.native(self._store.url.key(record.reference_id, path))
            yield ORPHANED_OBJECT, f"{url}: belongs to no file of the scene; it does no harm"

    def _manifest(self, record: StateRecord) -> list[FileRecord] | None:
        """Return the scene's files from the spool, or, when it was deleted after its upload, from state or store."""
        try:
            return list(self._book.manifest(record.reference_id).files)
        except SceneError:
            if self._book.spool.scene_folder(record.reference_id).is_dir():
                raise
        stored = self._store.get_bytes(self._store.url.key(record.reference_id, claim_name(record.format)))
        try:
            files = json.loads(stored or b"")["files"]
            return [FileRecord(entry["path"], entry["bytes"], entry["sha256"]) for entry in files]
        except (ValueError, KeyError, TypeError, RecursionError):
            return None

    def _set(self, record: StateRecord, state: SceneState, **changes: object) -> bool:
        """Set a scene's state if that is wanted and can help; a deleted scene cannot be sent again."""
        there = self._book.spool.scene_folder(record.reference_id).is_dir()
        if not self._repair or not (there or state is SceneState.DONE):
            return False
        if record.state is not state:
            self._book.write(record, state, **changes)
        return True

    def _orphans(self, ours: set[str]) -> Iterator[Finding]:
        """Yield scenes that only the store has: nobody will submit them from here."""
        for name in self._store.scenes():
            if name not in ours and not self._holdings.holds(name):
                text = f"{self._store.url.text}/{name}: neither this spool nor {self._holdings.name} has the scene"
                yield Finding(ORPHANED_SCENE, name, text)
