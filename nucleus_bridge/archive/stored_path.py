# SPDX-License-Identifier: Apache-2.0
"""Objects in a store as the places that recordings are read from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import PurePosixPath
from typing import BinaryIO, Literal, cast
from urllib.parse import urlencode

from nucleus_bridge.archive.stored_file import StoredFile
from nucleus_bridge.upload.retry import Retry
from nucleus_bridge.upload.store.objects import ObjectStore, StoredObject, open_store
from nucleus_bridge.upload.store.url import StoreUrl

GIVE_UP_AFTER_S = 300.0


@lru_cache(maxsize=16)
def shared_store(url: str, name: str) -> ObjectStore:
    """Open a store once a process; ``name`` is the argument that its URL was given as.

    Raises:
        ConfigError: The URL cannot be used.
    """
    return open_store(url, retry=Retry(give_up_after_s=GIVE_UP_AFTER_S), name=name)


def with_prefix(url: StoreUrl, prefix: str) -> str:
    """Return the URL of the same store with another prefix."""
    options = f"?{urlencode(url.options)}" if url.options else ""
    return f"{url.scheme}://{url.bucket}/{prefix}".rstrip("/") + options


@dataclass(frozen=True)
class StoredStatus:
    """Size and time of change, as ``os.stat_result`` has them."""

    st_size: int
    st_mtime_ns: int


@dataclass(frozen=True)
class StoredPath:
    """An object, or what its key makes look like a folder; see ``bag.Place``.

    Attributes:
        root: URL of the bucket, with its options.
        key: Key of the object or of the folder.
        objects: The objects of the recording that this is part of.
    """

    root: str
    key: str
    objects: tuple[StoredObject, ...] = ()

    def __str__(self) -> str:
        return f"{self.root.partition('?')[0]}/{self.key}"

    @property
    def name(self) -> str:
        """Last part of the key."""
        return PurePosixPath(self.key).name

    @property
    def parent(self) -> StoredPath:
        """The folder that it is in."""
        return StoredPath(self.root, self.key.rpartition("/")[0], self.objects)

    def resolve(self) -> StoredPath:
        """Return itself: there are no relative keys."""
        return self

    def __truediv__(self, name: str, /) -> StoredPath:
        """Return a place in this folder."""
        return StoredPath(self.root, f"{self.key}/{name}".lstrip("/"), self.objects)

    def exists(self) -> bool:
        """Whether something is there."""
        return self.is_file() or self.is_dir()

    def is_dir(self) -> bool:
        """Whether an object lies below this key."""
        return any(stored.key.startswith(f"{self.key}/") for stored in self.objects)

    def is_file(self) -> bool:
        """Whether it is an object."""
        return self._object() is not None

    def iterdir(self) -> Iterable[StoredPath]:
        """Return the objects and folders in this folder."""
        below = [stored.key[len(self.key) + 1 :] for stored in self.objects if stored.key.startswith(f"{self.key}/")]
        return [self / name for name in dict.fromkeys(rest.partition("/")[0] for rest in below)]

    def stat(self) -> StoredStatus:
        """Return size and time of change.

        Raises:
            FileNotFoundError: It is not an object.
        """
        found = self._found()
        return StoredStatus(found.size, found.changed_ns)

    def open(self, _mode: Literal["rb"], /) -> BinaryIO:
        """Open it to be read at any position.

        Raises:
            FileNotFoundError: It is not an object.
        """
        found = self._found()
        store = shared_store(self.root, "recording")
        identity = f"{self} {found.size} {found.changed_ns}"
        return cast("BinaryIO", StoredFile(identity, found.size, partial(store.get_range, self.key)))

    def _object(self) -> StoredObject | None:
        return next((stored for stored in self.objects if stored.key == self.key), None)

    def _found(self) -> StoredObject:
        found = self._object()
        if found is None:
            raise FileNotFoundError(2, "no such object", str(self))
        return found
