# SPDX-License-Identifier: Apache-2.0
"""A spool as the catalogue reads it: on disk, or in an object store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nucleus_bridge.archive.find import is_pattern, local_path
from nucleus_bridge.archive.stored_path import StoredPath, shared_store, with_prefix
from nucleus_bridge.recordings import Place
from nucleus_bridge.spool import Spool, conversions
from nucleus_bridge.spool.conversions import FOLDER as CONVERSIONS
from nucleus_bridge.spool.conversions import Conversion
from nucleus_bridge.spool.manifest import MANIFEST_NAME
from nucleus_bridge.spool.spool import SCENES
from nucleus_bridge.spool.state import SceneState, StateBook, StateRecord
from nucleus_bridge.upload.store.objects import StoredObject
from nucleus_bridge.upload.store.url import parse_store_url


@dataclass(frozen=True)
class Entry:
    """A scene, and what changes when its manifest does."""

    reference_id: str
    folder: Place
    mark: str


class Library(Protocol):
    """Scenes and what is known about them."""

    def entries(self) -> Iterable[Entry]:
        """List the sealed scenes."""

    def conversions(self) -> Iterable[Conversion]:
        """List what recordings were converted, the older first."""

    def state(self, reference_id: str) -> StateRecord | None:
        """Return where a scene stands; None where nothing is known."""


def find_library(target: str) -> Library | None:
    """Open a spool by its folder or URL; None where that is no spool.

    Raises:
        ConfigError: A URL cannot be used.
        UploadError: An object store does not answer.
    """
    folder = local_path(target)
    if folder is not None:
        return LocalLibrary(folder) if (folder / SCENES).is_dir() else None
    if is_pattern(target):
        return None
    library = StoredLibrary(target)
    return library if library.is_there else None


class LocalLibrary:
    """A spool on disk."""

    def __init__(self, folder: Path) -> None:
        self._spool = Spool(folder)
        self._book = StateBook(self._spool)

    def entries(self) -> Iterator[Entry]:
        """List the sealed scenes; one that is removed meanwhile is left out."""
        for folder in self._spool.scenes():
            try:
                status = (folder / MANIFEST_NAME).stat()
            except OSError:
                continue
            yield Entry(folder.name, folder, f"{status.st_size} {status.st_mtime_ns}")

    def conversions(self) -> Iterable[Conversion]:
        """List what recordings were converted."""
        return conversions.notes(self._spool)

    def state(self, reference_id: str) -> StateRecord | None:
        """Return where a scene stands."""
        return self._book.known(reference_id)


class StoredLibrary:
    """A spool in an object store."""

    def __init__(self, target: str) -> None:
        url = parse_store_url(target, name="SPOOL")
        self._prefix = url.prefix
        self._root = with_prefix(url, "")
        self._store = shared_store(self._root, "SPOOL")

    @property
    def is_there(self) -> bool:
        """Whether a conversion put something there."""
        starts = (f"{self._prefix}/{name}".strip("/") for name in (CONVERSIONS, SCENES))
        return any(next(iter(self._store.objects(start)), None) is not None for start in starts)

    def entries(self) -> Iterator[Entry]:
        """List the scenes whose files are all there; those on their way are left out."""
        start = f"{self._prefix}/{SCENES}".strip("/")
        scenes: dict[str, list[StoredObject]] = defaultdict(list)
        for stored in self._store.objects(start):
            scenes[stored.key[len(start) + 1 :].partition("/")[0]].append(stored)
        for reference_id, objects in sorted(scenes.items()):
            folder = StoredPath(self._root, f"{start}/{reference_id}", tuple(objects))
            manifest = folder / MANIFEST_NAME
            if manifest.is_file():
                yield Entry(reference_id, folder, f"{manifest.stat().st_size} {manifest.stat().st_mtime_ns}")

    def conversions(self) -> Iterator[Conversion]:
        """List what recordings were converted."""
        start = f"{self._prefix}/{CONVERSIONS}".strip("/")
        for stored in sorted(self._store.objects(start), key=lambda stored: stored.changed_ns):
            content = self._store.get_bytes(stored.key)
            if content and (found := Conversion.from_json(content)) is not None:
                yield found

    def state(self, _reference_id: str) -> StateRecord | None:
        """Know nothing: a spool in a store is not uploaded from there."""
        return None


def is_done(state: StateRecord | None) -> bool:
    """Whether a scene arrived, so that it may be gone from the spool."""
    return state is not None and state.state is SceneState.DONE
