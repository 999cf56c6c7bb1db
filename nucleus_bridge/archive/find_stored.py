# SPDX-License-Identifier: Apache-2.0
"""Find the recordings that a URL of an object store stands for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import takewhile
from operator import attrgetter
from pathlib import PurePosixPath

from nucleus_bridge.archive.find import WILD, group
from nucleus_bridge.archive.stored_path import StoredPath, shared_store, with_prefix
from nucleus_bridge.recordings import Place
from nucleus_bridge.recordings.folder import is_recorded
from nucleus_bridge.upload.store.objects import StoredObject
from nucleus_bridge.upload.store.url import parse_store_url


def in_store(argument: str) -> Iterator[Place]:
    """Yield the recordings, by folder and name.

    Raises:
        ConfigError: The URL cannot be used.
        UploadError: The object store does not answer.
    """
    url = parse_store_url(argument, name="recording")
    pattern = PurePosixPath(url.prefix).parts
    root = with_prefix(url, "")
    objects = shared_store(root, "recording").objects("/".join(takewhile(_is_plain, pattern)))
    by_folder: dict[str, list[StoredObject]] = defaultdict(list)
    for stored in sorted(objects, key=attrgetter("key")):
        by_folder[stored.key.rpartition("/")[0]].append(stored)
    for folder_key, inside in sorted(by_folder.items()):
        for bag in _of_objects(root, folder_key, inside):
            if any(_matches(pattern, PurePosixPath(key).parts) for key in (bag.key, *(x.key for x in bag.objects))):
                yield bag


def _of_objects(root: str, folder_key: str, objects: Iterable[StoredObject]) -> Iterator[StoredPath]:
    names = {stored.key.rpartition("/")[2]: stored for stored in objects if is_recorded(stored.key)}
    for name in group(names):
        key = f"{folder_key}/{name}".strip("/")
        yield StoredPath(root, key, tuple(stored for other, stored in names.items() if other.startswith(name)))


def _is_plain(part: str) -> bool:
    return not WILD.search(part)


def _matches(pattern: Sequence[str], key: Sequence[str]) -> bool:
    """Whether a key, or a folder that it is in, matches a pattern, both taken apart at the slashes."""
    if not pattern:
        return True
    if pattern[0] == "**":
        return _matches(pattern[1:], key) or (bool(key) and _matches(pattern, key[1:]))
    return bool(key) and fnmatchcase(key[0], pattern[0]) and _matches(pattern[1:], key[1:])
