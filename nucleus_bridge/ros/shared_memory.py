# SPDX-License-Identifier: Apache-2.0
"""The files that Fast DDS has in shared memory, and what processes that were killed leave of them.

Each participant has a segment of its own, for what it sends, and ports, by which it is sent to; whoever sends first
makes the port. A process that is killed leaves its segment, which takes room. In the worst case it leaves a port whose
file has no size yet: whoever opens it, to send or as a new participant, waits without an end (Fast DDS 3.2; of the same
kind: eProsima/Fast-DDS#5469).
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

FOLDER = Path("/dev/shm")  # noqa: S108 - where Fast DDS has it
HALF_MADE_S = 1.0
"""To give a port its size takes microseconds: one without a size for so long will never get any."""
LOOK_COUNTS_S = 0.5
_LOOK_S = 0.05
MOST_LOOKS = 3 * round(HALF_MADE_S / _LOOK_S)
_PROCESSES = Path("/proc")
_SEGMENTS = (f"{FOLDER}/fastdds_", f"{FOLDER}/fastrtps_")  # of Fast DDS 3, and 2
_PORT = re.compile(r"(?:fastdds|fastrtps)_port\d+")
_LOCK = "_el"


class HalfMadePorts:
    """Frees whoever waits for ports that will never be made.

    A port's file of one byte is damaged for Fast DDS: a new participant uses another port, and nothing is sent to this
    one. At the look after that the file is removed, so that the port can be made again.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        """Set up.

        Args:
            folder: Where the files are.
        """
        self._folder = folder
        self._ages_s: dict[tuple[Path, int], float] = {}
        self._damaged: list[tuple[Path, int]] = []
        self._looked_s: float | None = None

    def free(self, now: float) -> list[Path]:
        """Damage what has been half made for too long; to be called again and again.

        Args:
            now: The time on the monotonic clock; a long time between two calls, in which perhaps the machine stood
                still, counts as a short one.

        Returns:
            The files that were damaged.
        """
        step_s = 0.0 if self._looked_s is None else min(now - self._looked_s, LOOK_COUNTS_S)
        self._looked_s = now
        for path, inode in self._damaged:
            _remove_damaged(path, inode)
        self._ages_s = {port: self._ages_s[port] + step_s if port in self._ages_s else 0.0 for port in self._there()}
        old = [port for port, age_s in self._ages_s.items() if age_s >= HALF_MADE_S]
        self._damaged = [port for port in old if _damage(*port)]
        return [path for path, _ in self._damaged]

    @property
    def is_done(self) -> bool:
        """Whether the last look found nothing, and nothing is left to be removed."""
        return not self._ages_s

    def _there(self) -> list[tuple[Path, int]]:
        """Return the ports without a size that are this user's, and their inodes."""
        found = []
        with suppress(OSError), os.scandir(self._folder) as entries:
            for entry in entries:
                if _PORT.fullmatch(entry.name):
                    with suppress(OSError):  # it is gone again
                        status = entry.stat(follow_symlinks=False)
                        if stat.S_ISREG(status.st_mode) and status.st_size == 0 and status.st_uid == os.getuid():
                            found.append((Path(entry.path), status.st_ino))
        return found


def free_half_made_ports(folder: Path = FOLDER) -> list[Path]:
    """Free the way for a participant of this process; returns the files that were damaged.

    Takes no time where there is nothing half made.
    """
    ports, freed = HalfMadePorts(folder), list[Path]()
    for _ in range(MOST_LOOKS):
        freed += ports.free(time.monotonic())
        if ports.is_done:
            break
        time.sleep(_LOOK_S)
    return freed


def half_made_text(path: Path) -> str:
    """Say what a half-made port is, and that nobody waits for it any more."""
    return f"{path}: a port of Fast DDS that a killed process left half made; whoever waits for it goes on without it"


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
    """Give a file one byte if it still is the one that was seen, without a size; returns whether.

    Should its maker go on in this moment, nothing is taken away from it: a file never gets smaller by this.
    """
    with suppress(OSError):
        file = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            status = os.fstat(file)
            if status.st_ino == inode and not status.st_size:
                os.posix_fallocate(file, 0, 1)
                return True
        finally:
            os.close(file)
    return False


def _remove_damaged(path: Path, inode: int) -> None:
    with suppress(OSError):
        status = path.lstat()
        if (status.st_ino, status.st_size) == (inode, 1):
            path.unlink()
