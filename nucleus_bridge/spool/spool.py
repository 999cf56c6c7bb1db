# SPDX-License-Identifier: Apache-2.0
"""The spool: unfinished scenes under ``open/``, sealed ones under ``scenes/``.

A scene becomes sealed in this order: its files are written and synced, then the manifest, then the folder is
renamed from ``open/`` to ``scenes/`` and both parents are synced. A crash at any point leaves either no scene or a
whole one. Each folder under ``open/`` is locked by its writer; one without a living writer is removed at the next
start, since its input still exists or is lost with the writer.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path

from nucleus_bridge.errors import OutputError, SceneError, SceneExistsError
from nucleus_bridge.spool import durable
from nucleus_bridge.spool.manifest import MANIFEST_NAME, FileRecord, Manifest

SCENES = "scenes"
OPEN = "open"
QUARANTINE = "quarantine"
_LOCK = ".lock"
_MOVES = ".moves.lock"  # held by whoever moves scenes about
_RECORDER = ".recorder.lock"  # held by the recorder that records here
_OPEN_TRIES = 10
_SYNCED_AT_ONCE = 8
_UNNAMED = ".unnamed-"  # a folder that is not locked yet
_PROBE = ".probe-"  # a file that was written to see whether one can be
_REMOVED = ".removed-"  # a scene that is being removed
_REPLACED = ".replaced-"  # a sealed scene that makes room for another one of its id


class SceneFiles:
    """The files of a scene that is being written, whoever holds its lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, path: str, buffers: Iterable[durable.Buffer]) -> FileRecord:
        """Write one file, piece by piece, and describe it; its folder is created when needed."""
        target = self.folder / path
        if not target.parent.is_dir():
            durable.make_folder(target.parent, is_durable=False)
        length, digest = durable.write_file(target, buffers)
        return FileRecord(path, length, digest)

    def remove(self, path: str) -> None:
        """Remove a file that was written."""
        durable.remove_file(self.folder / path)


class OpenScene(SceneFiles):
    """A scene that is being written, in a locked folder of its own."""

    def __init__(self, folder: Path, lock: int) -> None:
        super().__init__(folder)
        self._lock: int | None = lock

    def release(self) -> None:
        """Give up the lock, after the folder was moved or removed."""
        if self._lock is not None:
            durable.unlock_file(self._lock)
            self._lock = None

    def discard(self) -> None:
        """Remove everything that was written."""
        durable.remove_folder(self.folder)
        self.release()


def sync_scene_files(folder: Path, paths: Sequence[str]) -> None:
    """Force files below a scene's folder, and the entries of the folders they are in, to the disk.

    Another process than the one that wrote them may do it.

    Raises:
        OSError: The disk failed.
    """

    def sync_some(some: Sequence[str]) -> None:
        for path in some:
            durable.sync_file(folder / path)

    shares = [share for first in range(_SYNCED_AT_ONCE) if (share := paths[first::_SYNCED_AT_ONCE])]
    with ThreadPoolExecutor(_SYNCED_AT_ONCE) as pool:
        for _ in pool.map(sync_some, shares):
            pass
    for parent in {(folder / path).parent for path in paths}:
        durable.sync_folder(parent)


class Spool:
    """A folder of scenes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.scenes_dir = path / SCENES
        self.open_dir = path / OPEN
        self.quarantine_dir = path / QUARANTINE
        self._unsealed: dict[str, OpenScene | None] = {}  # scenes opened here, by what their folders end with

    def create(self) -> None:
        """Make the folders and clear away what dead writers left.

        Raises:
            OutputError: The place cannot be written to.
        """
        try:
            for folder in (self.path, self.scenes_dir, self.open_dir):
                durable.make_folder(folder)
            with self._moving():
                probe = self.open_dir / f"{_PROBE}{os.getpid()}"
                durable.remove_file(probe)
                durable.write_file(probe, [])
                durable.remove_file(probe)
                self._sweep()
        except OSError as error:
            message = f"spool {self.path}: cannot be written to: {error.strerror}"
            raise OutputError(message) from None

    def reserve(self) -> int:
        """Keep other recorders out for as long as this process holds what it returns (see ``durable.unlock_file``).

        Raises:
            OutputError: Another recorder records here.
        """
        try:
            lock = durable.lock_file(self.path / _RECORDER)
        except OSError as error:
            raise OutputError(f"spool {self.path}: cannot be written to: {error.strerror}") from None
        if lock is None:
            raise OutputError(
                f"spool {self.path}: another recorder is using it; give each recorder a spool.path of its own, or end "
                "the other one"
            )
        return lock

    def scene_folder(self, reference_id: str) -> Path:
        """Return where the sealed scene is or would be."""
        return self.scenes_dir / reference_id

    def scenes(self) -> list[Path]:
        """Return the folders of all sealed scenes, sorted by name."""
        if not self.scenes_dir.is_dir():
            return []
        return sorted(entry for entry in self.scenes_dir.iterdir() if entry.is_dir() and not entry.name.startswith("."))

    def open_references(self) -> list[str]:
        """Return the ids of the scenes that are being written, sorted."""
        if not self.open_dir.is_dir():
            return []
        folders = [entry for entry in self.open_dir.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
        return sorted(folder.name.rpartition(".")[0] for folder in folders)

    def open_scene(self, reference_id: str) -> OpenScene:
        """Start writing a scene, in a folder named after it and something unique behind a dot."""
        for _ in range(_OPEN_TRIES):  # a process that starts just now may take the folder for a dead writer's
            if (scene := self._try_to_open(reference_id)) is not None:
                return scene
        message = f"{self.open_dir}: no folder in it can be locked; choose a file system that has locks"
        raise OutputError(message)

    def _try_to_open(self, reference_id: str) -> OpenScene | None:
        token = secrets.token_hex(4)
        unnamed = self.open_dir / f"{_UNNAMED}{token}"
        lock: int | None = None
        self._unsealed[token] = None  # before there is a folder: an interruption may come at any point
        with suppress(FileNotFoundError):
            durable.make_new_folder(unnamed)
            lock = durable.lock_file(unnamed / _LOCK)
            if lock is not None:
                folder = unnamed.with_name(f"{reference_id}.{token}")
                durable.rename_folder(unnamed, folder)
                self._unsealed[token] = scene = OpenScene(folder, lock)
                return scene
        if lock is not None:
            durable.unlock_file(lock)
        durable.remove_folder(unnamed)
        del self._unsealed[token]
        return None

    def discard_open(self) -> None:
        """Remove every scene that was opened here and not sealed, however far an interruption let it get."""
        for token, scene in self._unsealed.items():
            for folder in self.open_dir.glob(f"*{token}"):
                durable.remove_folder(folder)
            if scene is not None:
                scene.release()
        self._unsealed.clear()

    def seal(
        self,
        scene: OpenScene,
        manifest: Manifest,
        *,
        replace_existing: bool,
        files_are_synced: bool = False,
    ) -> Path | None:
        """Make an open scene durable and visible; returns None when the very same scene is there already.

        ``files_are_synced`` says that ``sync_scene_files`` was called for the manifest's files.

        Raises:
            SceneExistsError: A scene of that id with other content is there and may not be replaced.
        """
        manifest = replace(manifest, files=tuple(sorted(manifest.files, key=lambda record: record.path)))
        if self._is_there(scene, manifest, replace_existing=replace_existing):
            return None
        if not files_are_synced:
            sync_scene_files(scene.folder, [record.path for record in manifest.files])
        scene.write(MANIFEST_NAME, [manifest.to_json()])
        sync_scene_files(scene.folder, [MANIFEST_NAME])
        with self._moving():
            if self._is_there(scene, manifest, replace_existing=replace_existing):  # by now
                return None
            sealed = self._move_in(scene, manifest.reference_id)
        self._forget(scene)
        return sealed

    def _is_there(self, scene: OpenScene, manifest: Manifest, *, replace_existing: bool) -> bool:
        """Whether the very same scene is sealed already; then the open one is discarded."""
        target = self.scene_folder(manifest.reference_id)
        if not target.exists():
            return False
        existing = _manifest_or_none(target)
        if existing is not None and replace(existing, software=manifest.software) == manifest:
            self._discard(scene)
            durable.sync_folder(self.scenes_dir)  # whoever sealed it may have died before this
            return True
        if not replace_existing:
            self._discard(scene)
            raise SceneExistsError(_conflict(target, existing, manifest))
        return False

    def _discard(self, scene: OpenScene) -> None:
        scene.discard()
        self._forget(scene)

    def _forget(self, scene: OpenScene) -> None:
        self._unsealed.pop(scene.folder.suffix.removeprefix("."), None)

    def _move_in(self, scene: OpenScene, reference_id: str) -> Path:
        target = self.scene_folder(reference_id)
        scene.remove(_LOCK)
        durable.sync_folder(scene.folder)
        if target.exists():
            doomed = self.open_dir / f"{_REPLACED}{reference_id}"
            if doomed.exists():
                self._remove(doomed, reference_id)
            durable.move_folder(target, doomed)
            durable.move_folder(scene.folder, target)
            self._remove(doomed, reference_id)
        else:
            durable.move_folder(scene.folder, target)
        scene.release()
        return target

    def _moving(self) -> AbstractContextManager[None]:
        """Keep other processes from moving scenes, and from taking one that is just being moved for abandoned."""
        return durable.hold_lock(self.path / _MOVES)

    def remove_scene(self, reference_id: str) -> None:
        """Remove a sealed scene, at once as far as others can see."""
        durable.make_folder(self.open_dir)
        self._remove(self.scene_folder(reference_id), reference_id)

    def _remove(self, folder: Path, reference_id: str) -> None:
        """Remove a whole scene's folder so that no crash brings it or a part of it back."""
        doomed = self.open_dir / f"{_REMOVED}{reference_id}.{os.getpid()}"
        durable.remove_folder(doomed)
        durable.move_folder(folder, doomed)
        durable.remove_folder(doomed)

    def _sweep(self) -> None:
        """Put back what a crash left while it was being replaced, and clear away what has no living writer."""
        durable.sync_folder(self.open_dir)  # a move that a crash takes back must not bring back what is emptied here
        for replaced in sorted(self.open_dir.glob(f"{_REPLACED}*")):
            reference_id = replaced.name.removeprefix(_REPLACED)
            if self.scene_folder(reference_id).exists():
                self._remove(replaced, reference_id)
            else:
                durable.move_folder(replaced, self.scene_folder(reference_id))
        for removed in self.open_dir.glob(f"{_REMOVED}*"):
            durable.remove_folder(removed)
        for probe in self.open_dir.glob(f"{_PROBE}*"):
            durable.remove_file(probe)
        for folder in self._abandoned():
            durable.remove_folder(folder)

    def _abandoned(self) -> Iterator[Path]:
        for folder in sorted(self.open_dir.iterdir()):
            is_scene = folder.name.startswith(_UNNAMED) or not folder.name.startswith(".")
            if not is_scene or not folder.is_dir():
                continue
            with suppress(FileNotFoundError), durable.try_lock(folder / _LOCK) as free:
                if free:
                    yield folder


def _manifest_or_none(folder: Path) -> Manifest | None:
    try:
        return Manifest.read(folder)
    except SceneError:
        return None


def _conflict(target: Path, existing: Manifest | None, manifest: Manifest) -> str:
    if existing is None:
        why = "has a damaged manifest"
    elif existing.format != manifest.format:
        return (
            f"{target}: a scene of this id exists in the format {existing.format}, and this one is {manifest.format}; "
            "give each format a spool of its own, or use --force to replace the scene"
        )
    elif existing.config_digest != manifest.config_digest:
        why = "was made with another configuration"
    elif existing.software != manifest.software:
        why = f"was made by {existing.software}"
    else:
        why = "was made from other input"
    return f"{target}: a scene of this id exists and {why}; use --force to replace it or another scene.prefix"
