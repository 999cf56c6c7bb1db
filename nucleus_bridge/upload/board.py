# SPDX-License-Identifier: Apache-2.0
"""What the threads of one upload know in common: which scenes are being worked on, how far, and what went wrong."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nucleus_bridge.spool.state import SceneState, StateRecord
from nucleus_bridge.upload.observer import UploadObserver

RETRY_FAILED_S = 60.0

Stamp = tuple[int, int]

_RESTING = (SceneState.DONE, SceneState.DIFFERS, SceneState.CONFLICT)
"""What is left so is left alone for the rest of the run, unless its folder changes."""


@dataclass
class Summary:
    """What an upload did.

    Attributes:
        ended: Number of scenes by the state that they were left in.
        held: Scenes that another process is working on.
        foreign: Scenes of a format that is not uploaded this way.
        kept: Scenes that were to be deleted and are not, since the destination was not seen to hold them complete.
        sent: Bytes that went to the object store.
        skipped: Bytes that were there already.
        stopped: Whether it was told to stop.
    """

    ended: Counter[SceneState] = field(default_factory=Counter)
    held: int = 0
    foreign: int = 0
    kept: int = 0
    sent: int = 0
    skipped: int = 0
    stopped: bool = False

    @property
    def complete(self) -> bool:
        """Whether nothing failed, was set aside or left undone."""
        return not self.stopped and set(self.ended) <= {SceneState.DONE}


class Board:
    """Shared notes of one upload; every method may be called from any thread."""

    def __init__(self, observer: UploadObserver, stop: threading.Event) -> None:
        self.changed = threading.Event()
        self.stop = stop
        self.fatal: BaseException | None = None
        self._observer = observer
        self._lock = threading.RLock()
        self._summary = Summary()
        self._storing: dict[str, list[int]] = {}
        self._active: set[str] = set()
        self._left: dict[str, SceneState] = {}
        self._done: dict[str, Stamp] = {}
        self._foreign: set[str] = set()
        self._kept: set[str] = set()
        self._try_after: dict[str, float] = {}

    @property
    def busy(self) -> bool:
        """Whether a scene is being worked on."""
        return bool(self._active)

    @property
    def storing(self) -> int:
        """How many scenes are being sent to the object store."""
        return len(self._storing)

    def end(self, error: BaseException) -> None:
        """Stop everything because of an error; the first one counts."""
        with self._lock:
            if self.fatal is None:
                self.fatal = error
        self.stop.set()
        self.changed.set()

    def summary(self, held: int) -> Summary:
        """Return what was done so far."""
        with self._lock:
            self._summary.ended = Counter(self._left.values())
            self._summary.held = held
            self._summary.foreign = len(self._foreign)
            self._summary.kept = len(self._kept)
            self._summary.stopped = self.stop.is_set()
            return self._summary

    def untouched(self, folders: list[Path]) -> Iterator[tuple[str, Stamp]]:
        """Yield the scenes that are not being worked on, were not seen done and are not to be left alone for now."""
        for folder in folders:
            stamp = folder_stamp(folder)
            with self._lock:
                rests = self._try_after.get(folder.name, 0.0) > time.monotonic()
                known = stamp is None or self._done.get(folder.name) == stamp
                if rests or known or folder.name in self._active:
                    continue
            if stamp is not None:
                yield folder.name, stamp

    def note_done(self, reference_id: str, stamp: Stamp) -> None:
        """Remember that a folder, as it is, needs no work."""
        with self._lock:
            self._done[reference_id] = stamp

    def note_foreign(self, reference_id: str, stamp: Stamp) -> None:
        """Remember that a folder, as it is, is to be left alone."""
        with self._lock:
            self._foreign.add(reference_id)
            self._done[reference_id] = stamp

    def begin(self, record: StateRecord, *, to_store: bool) -> None:
        """Take note that a scene is being worked on."""
        with self._lock:
            self._active.add(record.reference_id)
            if to_store:
                self._storing[record.reference_id] = [0, record.bytes]
                self._observer.planned(1, record.bytes)

    def stored(self, reference_id: str) -> None:
        """Take note that nothing more of a scene is being sent to the object store."""
        with self._lock:
            self._storing.pop(reference_id, None)
        self.changed.set()

    def leave(self, reference_id: str, state: SceneState | None, stamp: Stamp | None) -> None:
        """Take note that a scene is no longer worked on; ``state`` counts in the summary unless None."""
        with self._lock:
            self._active.discard(reference_id)
            if state is not None:
                self._left[reference_id] = state
            if state in _RESTING and stamp is not None:
                self._done[reference_id] = stamp
            else:
                self._try_after[reference_id] = time.monotonic() + RETRY_FAILED_S
        self.changed.set()

    def count(self, reference_id: str, size: int, skipped: bool) -> None:  # noqa: FBT001 - a callback
        """Count bytes of a scene that are in the object store now."""
        with self._lock:
            if skipped:
                self._summary.skipped += size
            else:
                self._summary.sent += size
            if reference_id in self._storing:
                self._storing[reference_id][0] += size
            self._observer.sent(size, skipped=skipped)

    def kept(self, reference_id: str) -> None:
        """Take note that a scene was not deleted although that was wanted."""
        with self._lock:
            self._kept.add(reference_id)

    def deleted(self, reference_id: str) -> None:
        """Take note that a scene was deleted from the spool."""
        with self._lock:
            self._kept.discard(reference_id)

    def note(self, text: str) -> None:
        """Tell the observer what a person should know."""
        with self._lock:
            self._observer.noted(text)

    def moved(self, record: StateRecord) -> None:
        """Tell the observer of a scene's new state."""
        with self._lock:
            self._observer.changed(record)

    def waiting(self, reason: str, seconds: float) -> None:
        """Tell the observer that something is tried again."""
        with self._lock:
            self._observer.waiting(reason, seconds)

    def progress(self) -> dict[str, list[int]]:
        """Return bytes sent and to be sent of each scene that is on its way."""
        with self._lock:
            return {name: list(numbers) for name, numbers in self._storing.items()}


def folder_stamp(folder: Path) -> Stamp | None:
    """Return what changes when a folder is replaced or its entries are; None when it is not there."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns
