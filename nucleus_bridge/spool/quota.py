# SPDX-License-Identifier: Apache-2.0
"""Room for scenes: a quota in bytes, a least free space on the disk, and what happens when either is reached."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Literal, Protocol

from nucleus_bridge.errors import OutputError, SceneError
from nucleus_bridge.spool import durable
from nucleus_bridge.spool.leases import Lease, Leases
from nucleus_bridge.spool.manifest import MANIFEST_NAME, Manifest
from nucleus_bridge.spool.spool import Spool
from nucleus_bridge.spool.state import SceneState, StateBook, StateRecord

DROPS_NAME = "drops.json"
DropCause = Literal["dropped_oldest", "dropped_newest", "removed_uploaded"]
_COUNT_WAIT_S = 0.01


class Room(Enum):
    """Answer to a wish for room."""

    ADMITTED = "admitted"
    BLOCKED = "blocked"
    DROPPED = "dropped"


@dataclass(frozen=True)
class Admission:
    """What a recorder may do.

    Attributes:
        room: ADMITTED: write. BLOCKED: keep what there is and ask again later. DROPPED: leave this out; it is counted.
        removed: Scenes that were removed to make room.
        reason: Why there is no room; empty when admitted.
    """

    room: Room
    removed: tuple[str, ...] = ()
    reason: str = ""


class Limits(Protocol):
    """How much room there is, as ``spool.*`` of the configuration says it."""

    @property
    def max_bytes(self) -> int:
        """Quota in bytes; 0: none."""

    @property
    def min_free_bytes(self) -> int:
        """Least free space of the disk."""

    @property
    def when_full(self) -> str:
        """Policy: ``block``, ``drop_oldest`` or ``drop_newest``."""


class Quota:
    """The room of one spool, asked for before something is written.

    Args:
        spool: The spool.
        limits: Quota, least free space and policy.
        is_uploaded: Whether a record says that a scene arrived where it is to go; by default anywhere. A rehearsal on
            this machine counts for nothing anyway.
        free_bytes: Free space of the disk that holds a folder; for tests.
    """

    def __init__(
        self,
        spool: Spool,
        limits: Limits,
        *,
        is_uploaded: Callable[[StateRecord], bool] = lambda _: True,
        free_bytes: Callable[[Path], int] | None = None,
    ) -> None:
        self._spool = spool
        self._limits = limits
        self._is_uploaded = is_uploaded
        self._free_bytes = free_bytes or _free_bytes
        self._book = StateBook(spool)
        self._sizes: dict[tuple[str, int], int] = {}

    def used_bytes(self) -> int:
        """Return what all scenes take: sealed, unfinished and set aside."""
        used = 0
        sizes: dict[tuple[str, int], int] = {}
        for folder in self._spool.scenes():
            identity = (folder.name, _inode(folder))
            sizes[identity] = self._sizes.get(identity) or _sealed_bytes(folder)
            used += sizes[identity]
        self._sizes = sizes
        return used + _tree_bytes(self._spool.open_dir) + _tree_bytes(self._spool.quarantine_dir)

    def admit(self, bytes_needed: int) -> Admission:
        """Ask for room, and make it where the policy allows.

        Raises:
            OutputError: What was dropped cannot be counted.
        """
        reason = self._shortage(bytes_needed)
        if not reason:
            return Admission(Room.ADMITTED)
        if self._limits.when_full == "block":
            return Admission(Room.BLOCKED, reason=reason)
        if self._limits.when_full == "drop_newest":
            self._count("dropped_newest")
            return Admission(Room.DROPPED, reason=reason)
        removed: list[str] = []
        for reference_id, state in self._droppable():
            if not self._drop(reference_id, state):
                continue
            removed.append(reference_id)
            reason = self._shortage(bytes_needed)
            if not reason:
                return Admission(Room.ADMITTED, tuple(removed))
        self._count("dropped_newest")
        return Admission(Room.DROPPED, tuple(removed), f"{reason}, and no scene is left that may be dropped")

    def _shortage(self, bytes_needed: int) -> str:
        """Say what there is too little of; empty when there is room."""
        limits = self._limits
        if limits.max_bytes and (used := self.used_bytes()) + bytes_needed > limits.max_bytes:
            return f"spool {self._spool.path}: {used} bytes are used of spool.max_bytes {limits.max_bytes}"
        free = self._free_bytes(self._spool.path)
        if free - bytes_needed < limits.min_free_bytes:
            return f"spool {self._spool.path}: {free} bytes are free, spool.min_free_bytes is {limits.min_free_bytes}"
        return ""

    def _droppable(self) -> list[tuple[str, SceneState]]:
        """Return uploaded scenes, then those whose upload has not begun; the oldest first in both."""
        found: list[tuple[bool, int, str, SceneState]] = []
        for folder in self._spool.scenes():
            try:
                stamp_ns = Manifest.read(folder).first_stamp_ns
            except SceneError:
                continue
            state = self._standing(folder.name)
            if state in (SceneState.DONE, SceneState.SEALED):
                found.append((state is not SceneState.DONE, stamp_ns, folder.name, state))
        return [(name, state) for _, _, name, state in sorted(found)]

    def _standing(self, reference_id: str) -> SceneState:
        """Return DONE for a scene that arrived where it is to go, SEALED for one whose upload has not begun.

        A rehearsal on this machine counts for nothing.
        """
        records = [record for record in self._book.everywhere(reference_id) if not record.destination.is_loopback]
        if any(record.state is SceneState.DONE and self._is_uploaded(record) for record in records):
            return SceneState.DONE
        begun = [record.state for record in records if record.state not in (SceneState.SEALED, SceneState.DONE)]
        return begun[0] if begun else SceneState.SEALED

    def _drop(self, reference_id: str, state: SceneState) -> bool:
        """Remove a scene, unless an uploader has taken it up meanwhile."""
        leases = Leases(self._spool)
        leases.start()
        try:
            if leases.take(reference_id) is not Lease.TAKEN or self._standing(reference_id) is not state:
                return False
            self._count("removed_uploaded" if state is SceneState.DONE else "dropped_oldest")
            self._spool.remove_scene(reference_id)
        except (OSError, SceneError):
            return False
        finally:
            leases.close()
        return True

    def _count(self, cause: DropCause) -> None:
        """Count a loss where it survives this process."""
        try:
            counted = False
            while not counted:
                with durable.try_lock(self._spool.path / f".{DROPS_NAME}.lock") as free:
                    if free:
                        drops = read_drops(self._spool)
                        drops[cause] = drops.get(cause, 0) + 1
                        durable.replace_file(self._spool.path / DROPS_NAME, (json.dumps(drops) + "\n").encode())
                    counted = free
                if not counted:
                    time.sleep(_COUNT_WAIT_S)
        except OSError as error:
            raise OutputError(f"spool {self._spool.path}: cannot be written to: {error.strerror}") from None


def read_drops(spool: Spool) -> dict[str, int]:
    """Return how many scenes were dropped for lack of room, by cause."""
    try:
        document = json.loads((spool.path / DROPS_NAME).read_bytes())
        return {str(cause): int(count) for cause, count in document.items()}
    except (OSError, ValueError, AttributeError, TypeError, OverflowError, RecursionError):
        return {}


def _sealed_bytes(folder: Path) -> int:
    try:
        manifest = Manifest.read(folder)
        return sum(record.bytes for record in manifest.files) + (folder / MANIFEST_NAME).stat().st_size
    except (SceneError, OSError):
        return _tree_bytes(folder)


def _tree_bytes(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(parent) / name).stat().st_size
            except OSError:
                continue  # finished or removed meanwhile
    return total


def _inode(folder: Path) -> int:
    try:
        return folder.stat().st_ino
    except OSError:
        return 0


def _free_bytes(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize
