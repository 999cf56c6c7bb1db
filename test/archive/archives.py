# SPDX-License-Identifier: Apache-2.0
"""Archives of short recordings for tests, and what a run of ``convert`` said about one."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bags import START_NS, recording, write_config

SECOND = 1_000_000_000


@dataclass(frozen=True)
class Archive:
    """Recordings in folders of a few each; of the damaged ones one is cut, one is not a recording at all."""

    folder: Path
    config: Path
    bags: tuple[Path, ...]
    cut: Path
    rubbish: Path


@dataclass(frozen=True)
class Run:
    """What one run left behind."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        assert self.out, self.err
        return json.loads(self.out)

    @property
    def counts(self) -> dict[str, int]:
        return self.document["counts"]


def make_archive(top: Path, recordings: int) -> Archive:
    bags = []
    for number in range(recordings):
        storage = "sqlite3" if number % 4 == 3 else "mcap"
        path = top / "drives" / f"vehicle_{number % 3}" / f"drive_{number:02d}"
        path.parent.mkdir(parents=True, exist_ok=True)
        bags.append(recording(frames=4, start_ns=START_NS + 100 * number * SECOND).write(path, storage))
    cut, rubbish = bags[recordings // 2], bags[recordings // 2 + 2]
    file = cut / f"{cut.name}.mcap"
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 3 // 4])
    (rubbish / f"{rubbish.name}.mcap").write_bytes(b"no recording" * 100)
    return Archive(top / "drives", write_config(top), tuple(bags), cut, rubbish)


def tree(folder: Path) -> dict[str, str]:
    """Return the digest of every file below a folder, but what a killed process had not put into its place yet."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".tmp"
    }


def identities(folder: Path) -> dict[str, tuple[int, int]]:
    """Return what changes when a file is written again."""
    return {
        str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
