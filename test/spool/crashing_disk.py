# SPDX-License-Identifier: Apache-2.0
"""A disk that loses what was not synced: takes the place of ``os`` under the spool, records, and can be cut anywhere.

Everything is really done in a folder, so that reading code sees real files, and noted as well. From the notes the
disk after a power cut is built: what was synced is there; of everything else any part that a file system may keep.

- Entries of folders (make, rename, link, remove): those before a sync of their folder are kept. Of the others any may
  be kept as long as, within each folder, none is kept without those before it. A rename is one step, as journals
  guarantee.
- Content of files: what was written before the file's last sync is kept. The rest may be missing, zeros, cut short, or
  there in parts.
"""

from __future__ import annotations

import os
import random
import shutil
import stat
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nucleus_bridge.spool import durable

_PASSED_ON = {"getpid", "O_RDONLY", "O_RDWR", "O_CREAT", "close", "fspath"}
_REAL_WRITE = durable.write_file


class Killed(BaseException):
    """The process ends here; nothing it does on the way out reaches the disk."""


@dataclass
class Inode:
    """A file or a folder: ``entries`` are the base of a folder's, ``base`` the base of a file's content."""

    is_folder: bool
    entries: dict[str, Inode] = field(default_factory=dict)
    base: bytes = b""


@dataclass(frozen=True)
class Change:
    """Entries that change in one step: (folder, name, what is there afterwards)."""

    rows: tuple[tuple[Inode, str, Inode | None], ...]

    @property
    def folders(self) -> set[int]:
        return {id(folder) for folder, _, _ in self.rows}


@dataclass(frozen=True)
class Written:
    """A file's whole content."""

    file: Inode
    content: bytes


@dataclass(frozen=True)
class Synced:
    """A file or folder was forced to the disk."""

    inode: Inode


Note = Change | Written | Synced


class CrashingDisk:
    """The functions of ``os`` and ``shutil`` that the spool uses, over a real folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.notes: list[Note] = []
        self._base = _inode_of(root)
        self._now = {id(self._base): dict(self._base.entries)}
        self._keep: list[Inode] = []
        self._descriptors: dict[int, Inode] = {}
        self._lock = threading.RLock()
        self._kill_at: int | None = None
        self._remember(self._base)

    def __getattr__(self, name: str) -> Any:
        if name in _PASSED_ON:
            return getattr(os, name)
        raise AttributeError(f"the spool uses os.{name}, which this disk does not know")

    # --- dying -----------------------------------------------------------------------------------------------------

    def kill_after(self, notes: int) -> None:
        """End the process after so many more changes or syncs."""
        self._kill_at = len(self.notes) + notes

    def revive(self) -> None:
        """A new process begins: locks of the dead one are gone."""
        self._kill_at = None
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()

    def _note(self, note: Note, act: Callable[[], Any]) -> Any:
        with self._lock:
            if self._kill_at is not None and len(self.notes) >= self._kill_at:
                raise Killed
            result = act()
            self.notes.append(note)
            if isinstance(note, Change):
                for folder, name, inode in note.rows:
                    entries = self._now[id(folder)]
                    entries.pop(name, None)
                    if inode is not None:
                        entries[name] = inode
            return result

    # --- what takes the place of os and shutil ------------------------------------------------------------------------

    def mkdir(self, path: Path) -> None:
        if os.path.lexists(path):
            raise FileExistsError(path)
        inode = self._remember(Inode(is_folder=True))
        self._note(Change((self._row(path, inode),)), path.mkdir)

    def rename(self, source: Path, target: Path) -> None:
        moved = (self._row(target, self._find(source)), self._row(source, None))
        self._note(Change(moved[::-1]), lambda: source.rename(target))

    replace = rename

    def link(self, source: Path, target: Path) -> None:
        if os.path.lexists(target):
            raise FileExistsError(target)
        self._note(Change((self._row(target, self._find(source)),)), lambda: os.link(source, target))

    def unlink(self, path: Path) -> None:
        if not os.path.lexists(path):
            raise FileNotFoundError(path)
        self._note(Change((self._row(path, None),)), path.unlink)

    def rmtree(self, path: Path, ignore_errors: bool) -> None:
        assert ignore_errors
        if not path.is_dir():
            return
        for entry in sorted(path.iterdir()):
            if stat.S_ISDIR(entry.lstat().st_mode):
                self.rmtree(entry, ignore_errors=True)
            else:
                self.unlink(entry)
        self._note(Change((self._row(path, None),)), path.rmdir)

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT and not os.path.lexists(path):
            if not path.parent.is_dir():
                raise FileNotFoundError(path)
            inode = self._remember(Inode(is_folder=False))
            descriptor = self._note(Change((self._row(path, inode),)), lambda: os.open(path, flags, mode))
        else:
            descriptor = os.open(path, flags, mode)
        self._descriptors[descriptor] = self._find(path)
        return int(descriptor)

    def close(self, descriptor: int) -> None:
        self._descriptors.pop(descriptor, None)
        os.close(descriptor)

    def fsync(self, descriptor: int) -> None:
        self._note(Synced(self._descriptors[descriptor]), lambda: None)

    def write_file(self, path: Path, buffers: Iterable[durable.Buffer]) -> tuple[int, str]:
        """Stand for ``durable.write_file``, however that writes: a new entry, then content."""
        pieces = [bytes(buffer) for buffer in buffers]
        if os.path.lexists(path):
            raise FileExistsError(path)
        inode = self._remember(Inode(is_folder=False))
        self._note(Change((self._row(path, inode),)), path.touch)

        def write() -> tuple[int, str]:
            path.unlink()
            return _REAL_WRITE(path, pieces)

        result: tuple[int, str] = self._note(Written(inode, b"".join(pieces)), write)
        return result

    # --- the power cut ------------------------------------------------------------------------------------------------

    def after_power_cut(self, notes: int, chance: random.Random, folder: Path) -> None:
        """Build in ``folder`` what is on the disk when the power fails after so many notes."""
        done = self.notes[:notes]
        entries = {id(inode): dict(inode.entries) for inode in self._keep}
        for change in _kept(done, chance):
            for parent, name, inode in change.rows:
                entries[id(parent)].pop(name, None)
                if inode is not None:
                    entries[id(parent)][name] = inode
        contents = _contents(done, chance)

        def build(inode: Inode, path: Path) -> None:
            if not inode.is_folder:
                path.write_bytes(contents.get(id(inode), inode.base))
                return
            path.mkdir()
            for name, entry in entries[id(inode)].items():
                build(entry, path / name)

        shutil.rmtree(folder, ignore_errors=True)
        build(self._base, folder)

    # --- where things are -----------------------------------------------------------------------------------------

    def _remember(self, inode: Inode) -> Inode:
        self._keep.append(inode)
        self._now.setdefault(id(inode), dict(inode.entries))
        for entry in inode.entries.values():
            self._remember(entry)
        return inode

    def _find(self, path: Path) -> Inode:
        inode = self._base
        for name in path.relative_to(self.root).parts:
            inode = self._now[id(inode)][name]
        return inode

    def _row(self, path: Path, inode: Inode | None) -> tuple[Inode, str, Inode | None]:
        return self._find(path.parent), path.name, inode


def _inode_of(path: Path) -> Inode:
    if path.is_dir():
        return Inode(is_folder=True, entries={entry.name: _inode_of(entry) for entry in sorted(path.iterdir())})
    return Inode(is_folder=False, base=path.read_bytes())


def _kept(notes: list[Note], chance: random.Random) -> list[Change]:
    """Choose changes of entries that a file system may have kept."""
    share = chance.choice((0.0, 0.1, 0.5, 0.9, 1.0))
    until = chance.randrange(len(notes) + 1) if chance.random() < 0.5 else len(notes)  # half of them: in order
    kept: list[Change] = []
    needed: set[int] = set()
    for number, note in reversed(list(enumerate(notes))):
        if isinstance(note, Synced):
            needed.add(id(note.inode))
        elif isinstance(note, Change) and (needed & note.folders or (number < until and chance.random() < share)):
            needed |= note.folders
            kept.append(note)
    return kept[::-1]


def _contents(notes: list[Note], chance: random.Random) -> dict[int, bytes]:
    """Choose what of each file's content is there."""
    contents: dict[int, bytes] = {}
    synced: set[int] = set()
    for note in reversed(notes):
        if isinstance(note, Synced):
            synced.add(id(note.inode))
        elif isinstance(note, Written):
            whole = id(note.file) in synced
            contents[id(note.file)] = note.content if whole else _torn(note.content, chance)
    return contents


def _torn(content: bytes, chance: random.Random) -> bytes:
    how = chance.randrange(5)
    if how == 0:
        return content
    if how == 1:
        return b""
    if how == 2:
        return bytes(len(content))
    if how == 3:
        return content[: chance.randrange(len(content) + 1)]
    blocks = [content[start : start + 8] for start in range(0, len(content), 8)]
    return b"".join(block if chance.random() < 0.5 else bytes(len(block)) for block in blocks)
