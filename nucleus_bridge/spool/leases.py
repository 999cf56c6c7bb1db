# SPDX-License-Identifier: Apache-2.0
"""Who works on which scene: leases that hold between processes, machines and after crashes.

Each process has an owner file that it keeps locked and whose number it counts up; a lease is a file, created
exclusively, that names its owner. On one machine the lock tells at once whether an owner lives. Elsewhere, where
locks may not reach, an owner is gone when its number stood still for a whole lease time *by the watcher's own
steady clock*; clocks that differ or are set do no harm.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import Any

from nucleus_bridge.errors import OutputError
from nucleus_bridge.spool import durable
from nucleus_bridge.spool.spool import Spool

FOLDER = "leases"
LEASE_S = 60.0
_GUARD_WAIT_S = 0.02
_GUARD_TRIES = 250


class Lease(Enum):
    """Answer to a wish for a lease."""

    TAKEN = "taken"
    HELD = "held by a living process"
    UNSURE = "held by a process of which it is not known yet whether it lives"


def _machine() -> str:
    """Name this boot of this machine: process locks mean something only there."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        boot = "unknown"
    return f"{socket.gethostname()} {boot}"


class Leases:
    """The leases of one process on the scenes of a spool."""

    def __init__(self, spool: Spool, *, lease_s: float = LEASE_S, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder = spool.path / FOLDER
        self.owner = uuid.uuid4().hex
        self._lease_s = lease_s
        self._clock = clock
        self._held: set[str] = set()
        self._seen: dict[str, tuple[str, float]] = {}
        self._beats = 0
        self._progress: Callable[[], Mapping[str, Any]] = dict
        self._lock: int | None = None
        self._closing = threading.Event()

    def start(self, progress: Callable[[], Mapping[str, Any]] = dict) -> None:
        """Announce this process and keep the announcement fresh; ``progress`` is what others are shown.

        Raises:
            OutputError: The spool cannot be written to.
        """
        self._progress = progress
        try:
            durable.make_folder(self.folder)
            self._lock = durable.lock_file(self._owner_path(self.owner, ".lock"))
            self.beat()
            self._clear_away_the_dead()
        except OSError as error:
            raise OutputError(f"{self.folder}: cannot be written to: {error.strerror}") from None
        threading.Thread(target=self._keep_beating, name="lease-beat", daemon=True).start()

    def beat(self) -> None:
        """Show that this process lives."""
        self._beats += 1
        document = {"machine": _machine(), "pid": os.getpid(), "beat": self._beats, "progress": self._progress()}
        content = json.dumps(document).encode()
        durable.replace_file(self._owner_path(self.owner, ".owner"), content, is_durable=False)

    def take(self, reference_id: str) -> Lease:
        """Try to get the lease of a scene."""
        path = self._path(reference_id)
        if self._create(path):
            self._held.add(reference_id)
            return Lease.TAKEN
        owner = _read_text(path)
        if owner == self.owner:
            return Lease.TAKEN if reference_id in self._held else Lease.HELD
        if owner is not None and (life := self._life(owner)) is not Lease.TAKEN:
            return life
        with self._guard() as guarded:  # the owner is dead: only one may take over from it
            if not guarded:
                return Lease.UNSURE
            if _read_text(path) == owner:
                durable.remove_file(path)
            if not self._create(path):
                return Lease.UNSURE
        self._held.add(reference_id)
        return Lease.TAKEN

    def keeps(self, reference_id: str) -> bool:
        """Whether the lease is still this process's own."""
        return reference_id in self._held and _read_text(self._path(reference_id)) == self.owner

    def release(self, reference_id: str) -> None:
        """Give a lease back."""
        if self.keeps(reference_id):
            durable.remove_file(self._path(reference_id))
        self._held.discard(reference_id)

    def close(self) -> None:
        """Give everything back and take the announcement down."""
        self._closing.set()
        for reference_id in list(self._held):
            with suppress(OSError):
                self.release(reference_id)
        with suppress(OSError):
            self._bury(self.owner)
        if self._lock is not None:
            durable.unlock_file(self._lock)
            self._lock = None

    def others(self) -> Iterator[Mapping[str, Any]]:
        """Yield what the living processes on this machine, and those of unknown fate elsewhere, announce."""
        for path in sorted(self.folder.glob("*.owner")) if self.folder.is_dir() else []:
            if path.stem != self.owner and self._life(path.stem) is not Lease.TAKEN:
                document = _read_json(path)
                if document is not None:
                    yield document

    def _life(self, owner: str) -> Lease:
        """Return HELD or UNSURE for an owner that lives or may live; TAKEN when it is surely gone."""
        document = _read_json(self._owner_path(owner, ".owner"))
        if document is not None and document.get("machine") == _machine():
            try:
                with durable.try_lock(self._owner_path(owner, ".lock")) as free:
                    return Lease.TAKEN if free else Lease.HELD
            except OSError:
                return Lease.UNSURE  # read-only
        sign = "" if document is None else f"{document.get('machine')} {document.get('beat')}"
        now = self._clock()
        last, since = self._seen.get(owner, (None, now))
        if last is None:
            self._seen[owner] = (sign, now)
            return Lease.UNSURE
        if last != sign:
            self._seen[owner] = (sign, now)
            return Lease.HELD
        return Lease.TAKEN if now - since >= self._lease_s else Lease.UNSURE

    def _create(self, path: Path) -> bool:
        """Create a lease file whole, or not at all."""
        temporary = self.folder / f".{self.owner}.{threading.get_ident()}"
        try:
            return durable.create_file(path, self.owner.encode("ascii"), temporary)
        except OSError as error:
            raise OutputError(f"{self.folder}: cannot be written to: {error.strerror}") from None

    @contextmanager
    def _guard(self) -> Iterator[bool]:
        for _ in range(_GUARD_TRIES):
            with durable.try_lock(self.folder / ".guard") as free:
                if free:
                    yield True
                    return
            time.sleep(_GUARD_WAIT_S)
        yield False

    def _clear_away_the_dead(self) -> None:
        """Remove what processes of this machine left that ended without closing."""
        with self._guard() as guarded:
            dead = {path.stem for path in self.folder.glob("*.owner") if self._life(path.stem) is Lease.TAKEN}
            if not guarded or not dead:
                return
            for path in self.folder.glob("*.lease"):
                if _read_text(path) in dead:
                    durable.remove_file(path)
            for owner in dead:
                self._bury(owner)

    def _bury(self, owner: str) -> None:
        for path in (*self.folder.glob(f"{owner}.*"), *self.folder.glob(f".{owner}.*")):
            durable.remove_file(path)

    def _keep_beating(self) -> None:
        while not self._closing.wait(min(5.0, self._lease_s / 4)):
            with suppress(OSError):  # a full disk does not end a lease: what is there still names us
                self.beat()

    def _path(self, reference_id: str) -> Path:
        return self.folder / f"{reference_id}.lease"

    def _owner_path(self, owner: str, suffix: str) -> Path:
        return self.folder / f"{owner}{suffix}"


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return None


def _read_json(path: Path) -> Mapping[str, Any] | None:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
