# SPDX-License-Identifier: Apache-2.0
"""What is known of the spool's disk; looked at in threads of their own, since a disk may not answer for minutes."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from nucleus_bridge.spool import Spool
from nucleus_bridge.spool.quota import read_drops

LOOK_EVERY_S = 5.0
"""Sealed scenes are seen at once, since the look after one is not put off."""
FIRST_WITHIN_S = 0.1


@dataclass(frozen=True)
class DiskState:
    """A spool and its disk.

    Attributes:
        free_bytes: Room on the disk; None where that is not known.
        drops: Scenes dropped for lack of room, by cause.
        scenes: Sealed scenes in the spool.
        error: Why the disk cannot be looked at, or "".
        late_s: For how long the disk has not answered, beyond what is usual.
    """

    free_bytes: int | None = None
    drops: Mapping[str, int] = field(default_factory=dict)
    scenes: int = 0
    error: str = ""
    late_s: float = 0.0


class Disk:
    """Knows how the disk of one spool was a few seconds ago; for one thread."""

    def __init__(self, path: str) -> None:
        """Look for the first time.

        Args:
            path: The spool's folder.
        """
        self.path = path
        self._state = DiskState()
        self._made = -1
        self._begun_s = 0.0
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._begin(0)
        self._thread.join(FIRST_WITHIN_S)

    def state(self, made: int) -> DiskState:
        """Return the latest state, and have it looked at again when that is due; waits for nothing.

        Args:
            made: How many scenes the recorder has made so far; a new one is looked for at once.
        """
        waited_s = time.monotonic() - self._begun_s
        if self._thread.is_alive():
            return replace(self._state, late_s=max(0.0, waited_s - LOOK_EVERY_S))
        if made != self._made or waited_s >= LOOK_EVERY_S:
            self._thread = threading.Thread(target=self._look, name="disk", daemon=True)
            self._begin(made)
        return self._state

    def _begin(self, made: int) -> None:
        self._made, self._begun_s = made, time.monotonic()
        self._thread.start()

    def _look(self) -> None:
        try:
            free = shutil.disk_usage(self.path).free
        except OSError as error:
            self._state = DiskState(error=f"{self.path}: {error.strerror}")
            return
        self._state = DiskState(free, read_drops(Spool(Path(self.path))), _folders(Path(self.path) / "scenes"))


def _folders(path: Path) -> int:
    """Count the folders in a folder, 0 where there is none."""
    with suppress(OSError), os.scandir(path) as entries:
        return sum(entry.is_dir() for entry in entries)
    return 0
