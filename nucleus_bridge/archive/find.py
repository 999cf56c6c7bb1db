# SPDX-License-Identifier: Apache-2.0
"""Find the recordings that folders, patterns and object-store URLs stand for."""

from __future__ import annotations

import glob
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import takewhile
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from nucleus_bridge.errors import BagError, ConfigError
from nucleus_bridge.recordings import Merged, Place
from nucleus_bridge.recordings.folder import METADATA, SUFFIXES, is_recorded

if TYPE_CHECKING:
    from nucleus_bridge.upload.store.objects import StoredObject

_NUMBERED = re.compile(r"(.+)_[0-9]+\.(mcap|db3|bag)")
_WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Found:
    """What was found.

    Attributes:
        bags: Recordings, each once, in the order of the arguments and then of names.
        problems: Argument and reason, where one stands for no recording.
    """

    bags: tuple[Place, ...]
    problems: tuple[tuple[str, str], ...]


def find_bags(arguments: Iterable[str]) -> Found:
    """Find recordings.

    An argument is a recording, a folder of recordings, a pattern of either (``*``, ``**``), or a URL of an object store
    with a folder, an object or a pattern. A folder with a metadata.yaml is one recording; so is one whose files differ
    in a number at the end only, as ``ros2 bag record`` names the parts of one. Other files are recordings of their own.

    Raises:
        ConfigError: A URL cannot be used.
        UploadError: An object store does not answer.
    """
    bags: dict[str, Place] = {}
    problems = []
    for argument in arguments:
        folder = local_path(argument)
        found = list(_in_store(argument) if folder is None else _on_disk(str(folder)))
        for bag in found:
            bags.setdefault(str(bag.resolve()), bag)
        if not found:
            problems.append((argument, "no recording was found there (.mcap, .db3, either with .zstd, or .bag)"))
    return Found(tuple(bags.values()), tuple(problems))


def merged(arguments: Iterable[str], found: Found) -> Merged:
    """Return what was found as one recording.

    Raises:
        BagError: There are not several, or an argument stands for none.
    """
    for argument, reason in found.problems:
        raise BagError(f"{argument}: {reason}")
    if len(found.bags) < 2:
        raise BagError(f"--merge needs several recordings; {', '.join(arguments)} is one")
    return Merged.of(found.bags)


def merged_by(pattern: str, found: Found) -> Found:
    """Put the recordings together whose paths have the same text where a pattern matches.

    Args:
        pattern: A regular expression, searched in the recording's full path. What its groups match is compared, else
            the whole match. Of several matches the last one counts, which is nearest to the recording's own name.
        found: Recordings; those of one drive become one, in the place of the first of them.

    Raises:
        ConfigError: It is not a regular expression.
        BagError: It matches no recording, or not every one.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"--merge-by {pattern!r} is not a regular expression: {error}") from None
    drives: dict[tuple[str | None, ...], list[Place]] = {}
    strangers: list[Place] = []
    for bag in found.bags:
        matches = list(expression.finditer(str(bag.resolve())))
        if matches:
            drives.setdefault(matches[-1].groups() or (matches[-1][0],), []).append(bag)
        else:
            strangers.append(bag)
    if strangers:
        few = ", ".join(str(bag) for bag in strangers[:3]) + (", ..." if len(strangers) > 3 else "")
        raise BagError(
            f"--merge-by {pattern!r} matches nothing in {few}: {len(strangers)} of {len(found.bags)} recordings"
        )
    return replace(found, bags=tuple(bags[0] if len(bags) == 1 else Merged.of(bags) for bags in drives.values()))


def is_url(argument: str) -> bool:
    """Whether an argument names something in an object store."""
    return "://" in argument


def is_pattern(argument: str) -> bool:
    """Whether an argument has wildcards; those of a URL stand in its path."""
    return _WILD.search(argument.partition("?")[0] if is_url(argument) else argument) is not None


def local_path(argument: str) -> Path | None:
    """Return the folder that a ``file://`` URL or a plain argument stands for; None for an object store."""
    if not is_url(argument):
        return Path(argument)
    parts = urlsplit(argument)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def _in_store(argument: str) -> Iterator[Place]:
    """Yield the recordings, by folder and name.

    Raises:
        ConfigError: The URL cannot be used.
        UploadError: The object store does not answer.
    """
    # Most recordings are on a disk, and what reads from object stores takes long to load.
    from nucleus_bridge.archive.stored_path import StoredPath, shared_store, with_prefix  # noqa: PLC0415
    from nucleus_bridge.upload.store.url import parse_store_url  # noqa: PLC0415

    url = parse_store_url(argument, name="recording")
    pattern = PurePosixPath(url.prefix).parts
    root = with_prefix(url, "")
    objects = shared_store(root, "recording").objects("/".join(takewhile(_is_plain, pattern)))
    by_folder: dict[str, list[StoredObject]] = defaultdict(list)
    for stored in sorted(objects, key=attrgetter("key")):
        by_folder[stored.key.rpartition("/")[0]].append(stored)
    for folder_key, inside in sorted(by_folder.items()):
        names = {stored.key.rpartition("/")[2]: stored for stored in inside if is_recorded(stored.key)}
        for name in group(names):
            key = f"{folder_key}/{name}".strip("/")
            bag = StoredPath(root, key, tuple(stored for other, stored in names.items() if other.startswith(name)))
            if any(_matches(pattern, PurePosixPath(key).parts) for key in (bag.key, *(x.key for x in bag.objects))):
                yield bag


def _is_plain(part: str) -> bool:
    return not _WILD.search(part)


def _matches(pattern: Sequence[str], key: Sequence[str]) -> bool:
    """Whether a key, or a folder that it is in, matches a pattern, both taken apart at the slashes."""
    if not pattern:
        return True
    if pattern[0] == "**":
        return _matches(pattern[1:], key) or (bool(key) and _matches(pattern, key[1:]))
    return bool(key) and fnmatchcase(key[0], pattern[0]) and _matches(pattern[1:], key[1:])


def _on_disk(argument: str) -> Iterator[Place]:
    path = Path(argument)
    if path.is_dir():
        yield from list(_in_folder(path)) or [path]
    elif _WILD.search(argument) and not path.exists():
        for match in sorted(glob.glob(argument, recursive=True)):  # noqa: PTH207 - the pattern may be absolute
            if (inside := Path(match)).is_dir():
                yield from _in_folder(inside)
            elif inside.name.endswith(SUFFIXES):
                of_one = group(path.name for path in inside.parent.iterdir()) == [""]
                yield inside.parent if of_one else inside
    else:
        yield path  # says itself what is wrong with it


def _in_folder(top: Path) -> Iterator[Path]:
    """Yield the recordings in a folder and below it, by name."""
    for folder, folders, names in os.walk(top, followlinks=True):
        folders.sort()
        found = _of_files(Path(folder), names)
        yield from found
        if found == [Path(folder)]:
            folders.clear()


def _of_files(folder: Path, names: Iterable[str]) -> list[Path]:
    return [folder / name if name else folder for name in group(names)]


def group(names: Iterable[str]) -> list[str]:
    """Return which of a folder's files are recordings; one empty name where the folder as a whole is one."""
    present = sorted(name for name in names if is_recorded(name))
    storage = [name for name in present if name.endswith(SUFFIXES)]
    if METADATA in present:
        return [""]
    numbered = [_NUMBERED.match(name) for name in storage]
    is_one = len({match[1] if match else "" for match in numbered}) == 1 and all(numbered)
    return [""] if len(storage) > 1 and is_one else storage
