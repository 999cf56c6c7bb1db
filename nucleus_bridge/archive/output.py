# SPDX-License-Identifier: Apache-2.0
"""Where the scenes of an archive go: a spool on disks that all workers share, or one in an object store."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from nucleus_bridge.archive.find import local_path
from nucleus_bridge.archive.stored_path import shared_store, with_prefix
from nucleus_bridge.spool import SealedScene, Spool, conversions
from nucleus_bridge.spool.conversions import FOLDER as CONVERSIONS
from nucleus_bridge.spool.conversions import Conversion
from nucleus_bridge.spool.durable import replace_file
from nucleus_bridge.spool.spool import SCENES
from nucleus_bridge.upload.pool import DaemonPool
from nucleus_bridge.upload.scene_files import SceneSender
from nucleus_bridge.upload.store.objects import ObjectStore
from nucleus_bridge.upload.store.url import parse_store_url

PARTS = "parts"
SENDERS = 8


@dataclass(frozen=True)
class Workshop:
    """Where one worker builds scenes.

    Attributes:
        spool: A spool on this machine.
        sealed: To be called with each sealed scene.
    """

    spool: Spool
    sealed: Callable[[SealedScene], None]


class Output(Protocol):
    """A place for scenes, notes of finished conversions and the parts of unfinished ones."""

    def prepare(self) -> None:
        """Make sure that it can be written to."""

    def find(self, key: str) -> Conversion | None:
        """Return what an earlier conversion made, if all of it is still there."""

    def note(self, key: str, conversion: Conversion) -> None:
        """Write down that a conversion is complete."""

    def workshop(self, scratch: Path | None) -> AbstractContextManager[Workshop]:
        """Give a worker a place to build scenes in."""

    def keep_part(self, key: str, name: str, content: bytes) -> None:
        """Keep something about an unfinished conversion."""

    def part(self, key: str, name: str) -> bytes | None:
        """Return what was kept."""

    def drop_parts(self, key: str) -> None:
        """Forget all of it."""


def open_output(target: str) -> Output:
    """Open a folder or the URL of an object store.

    Raises:
        ConfigError: The URL cannot be used.
    """
    folder = local_path(target)
    return StoredOutput(target) if folder is None else LocalOutput(folder)


class LocalOutput:
    """A spool in a folder; workers on other machines must see it under the same path."""

    def __init__(self, folder: Path) -> None:
        self._spool = Spool(folder)

    def prepare(self) -> None:
        """Make the folders.

        Raises:
            OutputError: They cannot be written to.
        """
        self._spool.create()

    def find(self, key: str) -> Conversion | None:
        """Return what an earlier conversion made."""
        return conversions.find(self._spool, key)

    def note(self, key: str, conversion: Conversion) -> None:
        """Write down that a conversion is complete."""
        conversions.note(self._spool, key, conversion)

    @contextmanager
    def workshop(self, _scratch: Path | None) -> Iterator[Workshop]:
        """Build in the spool itself."""
        self._spool.create()
        yield Workshop(self._spool, lambda _: None)

    def keep_part(self, key: str, name: str, content: bytes) -> None:
        """Keep something about an unfinished conversion."""
        folder = self._folder(key)
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / name, zlib.compress(content, 1))

    def part(self, key: str, name: str) -> bytes | None:
        """Return what was kept."""
        try:
            return zlib.decompress((self._folder(key) / name).read_bytes())
        except (OSError, zlib.error):
            return None

    def drop_parts(self, key: str) -> None:
        """Forget all of it."""
        shutil.rmtree(self._folder(key), ignore_errors=True)

    def _folder(self, key: str) -> Path:
        return self._spool.path / PARTS / key


class StoredOutput:
    """A spool in an object store: the same folders, each scene's manifest its claim on the scene's keys."""

    def __init__(self, target: str) -> None:
        self._url = parse_store_url(target, name="--output")
        self._known: set[str] | None = None

    def prepare(self) -> None:
        """Look into the store.

        Raises:
            UploadError: It does not answer, or access is refused.
        """
        self._known = set(self._store(SCENES).scenes())

    def find(self, key: str) -> Conversion | None:
        """Return what an earlier conversion made."""
        content = self._store(CONVERSIONS).get_bytes(f"{key}.json")
        found = Conversion.from_json(content) if content else None
        if self._known is None:
            self.prepare()
        return found if found and {scene.reference_id for scene in found.scenes} <= (self._known or set()) else None

    def note(self, key: str, conversion: Conversion) -> None:
        """Write down that a conversion is complete."""
        self._store(CONVERSIONS).put_bytes(f"{key}.json", conversion.to_json())

    @contextmanager
    def workshop(self, scratch: Path | None) -> Iterator[Workshop]:
        """Build in a temporary spool, from which each scene moves to the store as soon as it is sealed."""
        pool = DaemonPool(SENDERS, "send")
        sender = SceneSender(self._store(SCENES), pool, lambda *_: None)

        def send(spool: Spool, scene: SealedScene) -> None:
            sender.send(scene.folder, scene.manifest)
            spool.remove_scene(scene.manifest.reference_id)

        try:
            with TemporaryDirectory(prefix="nucleus-bridge-", dir=scratch) as folder:
                spool = Spool(Path(folder))
                spool.create()
                yield Workshop(spool, partial(send, spool))
        finally:
            pool.close()

    def keep_part(self, key: str, name: str, content: bytes) -> None:
        """Keep something about an unfinished conversion; one of the same name is the same."""
        self._store(f"{PARTS}/{key}").put_bytes(name, zlib.compress(content, 1))

    def part(self, key: str, name: str) -> bytes | None:
        """Return what was kept."""
        content = self._store(f"{PARTS}/{key}").get_bytes(name)
        return None if content is None else zlib.decompress(content)

    def drop_parts(self, key: str) -> None:
        """Forget all of it."""
        store = self._store(f"{PARTS}/{key}")
        store.remove([stored.key for stored in store.objects("")])

    def _store(self, folder: str) -> ObjectStore:
        return shared_store(with_prefix(self._url, f"{self._url.prefix}/{folder}".strip("/")), "--output")
