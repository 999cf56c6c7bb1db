# SPDX-License-Identifier: Apache-2.0
"""The files that Fast DDS has in shared memory, and what processes that were killed leave of them.

Each participant has a segment of its own, for what it sends, and ports, by which it is sent to; whoever sends first
makes the port. A process that is killed leaves its segment, which takes room. In the worst case it leaves a port whose
file has no size yet: whoever opens it, to send or as a new participant, waits without an end (Fast DDS 3.2; of the same
kind: eProsima/Fast-DDS#5469).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

FOLDER = Path("/dev/shm")  # noqa: S108 - where Fast DDS has it
HALF_MADE_S = 1.0
"""To give a port its size takes microseconds: one without a size for so long will never get any."""
_LOOK_S = 0.05
_PROCESSES = Path("/proc")
_SEGMENTS = (f"{FOLDER}/fastdds_", f"{FOLDER}/fastrtps_")  # of Fast DDS 3, and 2
_PORTS = ("fastdds_port", "fastrtps_port")
_LOCK = "_el"


class HalfMadePorts:
    """Frees who waits for ports that will never be made.

    A port's file of one byte is damaged for Fast DDS: it does not wait for it but uses another port.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        """Set up.

        Args:
            folder: Where the files are.
        """
        self._folder = folder
        self._seen: dict[tuple[Path, int], float] = {}

    def free(self, now: float) -> list[Path]:
        """Damage what has been half made for too long; to be called more than once.

        Args:
            now: The time on the monotonic clock.

        Returns:
            The files that were damaged.
        """
        self._seen = {port: self._seen.get(port, now) for port in self._there()}
        old = [port for port, since_s in self._seen.items() if now - since_s >= HALF_MADE_S]
        return [path for path, inode in old if _damage(path, inode)]

    @property
    def is_none(self) -> bool:
        """Whether the last look found none."""
        return not self._seen

    def _there(self) -> list[tuple[Path, int]]:
        """Return the ports without a size that are this user's, and their inodes."""
        found = []
        with suppress(OSError), os.scandir(self._folder) as entries:
            for entry in entries:
                if not entry.name.startswith(_PORTS) or entry.name.endswith(_LOCK):
                    continue
                with suppress(OSError):  # it is gone again
                    status = entry.stat(follow_symlinks=False)
                    if status.st_size == 0 and status.st_uid == os.getuid():
                        found.append((Path(entry.path), status.st_ino))
        return found


def free_half_made_ports(folder: Path = FOLDER) -> list[Path]:
    """Free the way for a participant of this process; returns the files that were damaged.

    Takes no time where there is nothing half made.
    """
    ports, freed = HalfMadePorts(folder), list[Path]()
    end_s = time.monotonic() + 2 * HALF_MADE_S
    while time.monotonic() < end_s:
        freed += ports.free(time.monotonic())
        if ports.is_none:
            break
        time.sleep(_LOOK_S)
    return freed


def half_made_text(path: Path) -> str:
    """Say what a half-made port is, and that nobody waits for it any more."""
    return f"{path}: a port of Fast DDS that a killed process left half made; who waited for it now uses another"


def segments_of(process: str) -> set[str]:
    """Return the segments that a process has mapped."""
    try:
        words = (line.split()[-1] for line in (_PROCESSES / process / "maps").read_text().splitlines() if line)
        return {word for word in words if is_segment(word)}
    except OSError:  # it has ended, or is another user's, who has no business with this one's segments
        return set()


def participants() -> frozenset[str]:
    """Return the segments on this machine, of which each participant has some of its own.

    Other middlewares have none, nor has Fast DDS over UDP alone.
    """
    with suppress(OSError):
        return frozenset(str(path) for path in FOLDER.iterdir() if is_segment(str(path)))
    return frozenset()


def is_segment(path: str) -> bool:
    """Whether a path is a segment of one participant; ports are shared, and are left alone."""
    return path.startswith(_SEGMENTS) and "port" not in path and not path.endswith(_LOCK)


def remove_unused(segments: Iterable[str]) -> None:
    """Remove segments that are this user's and that no process has mapped: nobody else would."""
    used: set[str] = set()
    for process in _PROCESSES.glob("[0-9]*"):
        used |= segments_of(process.name)
    for name in set(segments) - used:
        path = Path(name)
        with suppress(OSError):
            if path.parent == FOLDER and path.stat().st_uid == os.getuid():
                path.unlink()
                path.with_name(f"{path.name}{_LOCK}").unlink(missing_ok=True)


def _damage(path: Path, inode: int) -> bool:
    """Give a file one byte if it still is the one that was seen, without a size; returns whether."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        status = os.fstat(file)
        if status.st_ino != inode or status.st_size:
            return False
        os.ftruncate(file, 1)
    except OSError:
        return False
    finally:
        os.close(file)
    return True
