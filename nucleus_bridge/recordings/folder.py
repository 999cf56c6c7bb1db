# SPDX-License-Identifier: Apache-2.0
"""Find the files of a recording: a bare file, or a folder whose metadata.yaml is taken as a hint only."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from pathlib import PurePosixPath

import yaml

from nucleus_bridge.errors import BagError
from nucleus_bridge.recordings.contents import Damage
from nucleus_bridge.recordings.merged import Merged
from nucleus_bridge.recordings.place import Place
from nucleus_bridge.recordings.sqlite_file import LEFT_BEHIND

METADATA = "metadata.yaml"
_NEWEST_VERSION = 9
SUFFIXES = (".mcap", ".db3", ".mcap.zstd", ".db3.zstd", ".bag")
_PACKED = ".zstd"
_SPLIT = re.compile(r"(?P<stem>.+)_(?P<number>[0-9]{1,9})\.(?P<kind>mcap|db3|bag)(\.zstd)?$")
_LONGEST_PROBLEM = 200
_MOST_NAMED = 3
SAMPLE_BYTES = 64 << 10
DIGEST_DIGITS = 32


@dataclass(frozen=True)
class Found:
    """The files of a recording in their order, and what of it is missing.

    Attributes:
        path: What was looked for.
        name: Of the recording.
        files: Its files.
        damage: What is missing.
        parts: Where several recordings are one: how many of the files each has.
    """

    path: Place
    name: str
    files: tuple[Place, ...]
    damage: tuple[Damage, ...]
    parts: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Hints:
    """What metadata.yaml says: storage, and its files with how many messages each has where that is given."""

    storage: str = ""
    listed: tuple[str, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    damage: tuple[Damage, ...] = ()


def find_files(path: Place) -> Found:
    """Find the files of the recording at ``path``.

    Raises:
        BagError: There is none, it is of an unsupported version, or may not be read.
    """
    if isinstance(path, Merged):
        parts = [find_files(part) for part in path.parts]
        files = tuple(file for part in parts for file in part.files)
        damage = tuple(damage for part in parts for damage in part.damage)
        return Found(path, path.name, files, damage, tuple(len(part.files) for part in parts))
    try:
        if path.is_dir():
            return _find_in_folder(path)
        is_there = path.exists()
    except OSError as error:
        raise unreadable(path, error) from error
    if not is_there:
        raise BagError(f"{path}: no such file or folder; give a rosbag2 folder or a .mcap or .db3 file")
    if path.name == METADATA:
        raise BagError(f"{path}: give the folder of the recording ({path.resolve().parent}), not its metadata.yaml")
    name = _unpacked(path.name)
    return Found(path, PurePosixPath(name).stem if name.endswith(SUFFIXES) else name, (path,), ())


def files_of(path: Place) -> list[Place]:
    """List every file that the recording at ``path`` is made of, without opening one.

    Raises:
        BagError: There is none, or it may not be looked at.
    """
    if isinstance(path, Merged):
        return [file for part in path.parts for file in files_of(part)]
    try:
        entries = (
            list(path.iterdir()) if path.is_dir() else [path, *(path.parent / (path.name + x) for x in LEFT_BEHIND)]
        )
        files = [entry for entry in entries if is_recorded(entry.name) and entry.is_file()]
    except OSError as error:
        raise unreadable(path, error) from error
    return sorted(files or find_files(path).files, key=_natural)


def marks_of(path: Place) -> list[tuple[str, int, int]]:
    """Return name, size and time of change, ns, of each file of a recording: what changes when the recording does.

    Raises:
        BagError: There is none, or it may not be looked at.
    """
    if isinstance(path, Merged):
        return sorted(mark for part in path.parts for mark in marks_of(part))
    try:
        return [(file.name, (status := file.stat()).st_size, status.st_mtime_ns) for file in files_of(path)]
    except OSError as error:
        raise unreadable(path, error) from error


def digest_of(path: Place) -> str:
    """Return a digest of a recording that a copy of it has as well, without reading it whole.

    It is over the name, the size, the first and the last 64 KiB of each of its files.

    Raises:
        BagError: There is none, or it cannot be read.
    """
    digest = sha256()
    try:
        for file in sorted(files_of(path), key=_name):
            size = file.stat().st_size
            with file.open("rb") as content:
                start = content.read(SAMPLE_BYTES)
                content.seek(max(0, size - SAMPLE_BYTES))
                digest.update(f"{file.name} {size}\n".encode() + start + content.read(SAMPLE_BYTES))
    except OSError as error:
        raise unreadable(path, error) from error
    return digest.hexdigest()[:DIGEST_DIGITS]


def _name(place: Place) -> str:
    return place.name


def is_recorded(name: str) -> bool:
    """Whether a file of this name may be part of a recording."""
    return PurePosixPath(name).name == METADATA or name.endswith((*SUFFIXES, *(f".db3{end}" for end in LEFT_BEHIND)))


def unreadable(path: Place, error: OSError) -> BagError:
    """Give the error for a file or folder that the system does not let us read."""
    if isinstance(error, PermissionError):
        return BagError(f"{path}: no permission to read it; run as its owner or change its mode (chmod)")
    return BagError(f"{path}: cannot be read: {error.strerror or error}")


def _find_in_folder(folder: Place) -> Found:
    hints = _read_hints(folder / METADATA)
    named = [(name, _as_stored(folder, name)) for name in hints.listed]
    files = [path for _, path in named if path]
    present = sorted((path for path in folder.iterdir() if path.name.endswith(SUFFIXES)), key=_natural)
    damage = list(hints.damage)
    if files:
        damage += [_missing(folder / name, hints.counts.get(name)) for name, path in named if not path]
        taken = {_unpacked(path.name) for path in files}
        unlisted = [path for path in present if _unpacked(path.name) not in taken]
        later = _later_splits(files, unlisted)
        damage += [_not_listed(path, is_read=path in later) for path in unlisted]
        damage += _gaps([*files[-1:], *later])
        files += later
    elif present:
        plain = {path.name for path in present}
        files = [path for path in present if not path.name.endswith(_PACKED) or _unpacked(path.name) not in plain]
        damage += [*_missing_starts(files), *_gaps(files)]
        if hints.listed:
            what = f"none of the files it lists is there ({', '.join(hints.listed)}); those in the folder were read"
            damage.append(Damage(folder / METADATA, what, loses_messages=False))
    else:
        raise _nothing_found(folder, hints)
    return Found(folder, folder.resolve().name, tuple(files), tuple(damage))


def _nothing_found(folder: Place, hints: _Hints) -> BagError:
    if hints.storage not in {"", "mcap", "sqlite3"}:
        remedy = "convert it with `ros2 bag convert` to mcap or sqlite3"
        return BagError(f"{folder}: storage {hints.storage!r} is not supported (mcap, sqlite3); {remedy}")
    if hints.listed:
        return BagError(f"{folder}: all files that its metadata.yaml lists are missing: {', '.join(hints.listed)}")
    if not any(folder.iterdir()):
        return BagError(f"{folder}: the folder is empty; give a folder that `ros2 bag record` wrote")
    inside = [path.name for path in sorted(folder.iterdir(), key=str) if path.is_dir() and _holds_files(path)]
    if inside:
        names = ", ".join(inside[:_MOST_NAMED]) + (", ..." if len(inside) > _MOST_NAMED else "")
        how = "give one of them" + (", or add --merge if they are of one drive" if len(inside) > 1 else "")
        return BagError(f"{folder}: a folder of recordings ({names}); {how}")
    return BagError(f"{folder}: not a rosbag2 recording: no .mcap or .db3 file is in it")


def _holds_files(folder: Place) -> bool:
    return any(path.name.endswith(SUFFIXES) for path in folder.iterdir())


def _read_hints(path: Place) -> _Hints:
    try:
        with path.open("rb") as file:
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return _Hints()
    try:
        document = yaml.safe_load(text)
        information = document["rosbag2_bagfile_information"]
        version = information["version"]
        listed = [_base_name(name) for name in information.get("relative_file_paths") or []]
        per_file = information.get("files") or []
        counts = {_base_name(item["path"]): int(item["message_count"]) for item in per_file}
        storage = _text(information.get("storage_identifier") or "")
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        first_line = str(error).partition("\n")[0][:_LONGEST_PROBLEM]
        what = f"it cannot be understood ({type(error).__name__}: {first_line}); the files were read without it"
        return _Hints(damage=(Damage(path, what, loses_messages=False),))
    if isinstance(version, int) and version > _NEWEST_VERSION:
        raise BagError(
            f"{path}: version {version} is newer than {_NEWEST_VERSION}, the newest one known; update nucleus-bridge"
        )
    return _Hints(storage, tuple(dict.fromkeys(name for name in listed if name)), counts)


def _base_name(listed: object) -> str:
    """Give the last part of a listed path: old versions prefix the folder's name, which may have changed."""
    return PurePosixPath(_text(listed).replace("\\", "/")).name


def _text(value: object) -> str:
    """Give text or a number as text; anything else may be without end when it is written out."""
    if isinstance(value, (str, int, float)):
        return str(value)
    raise TypeError(f"expected text, not a {type(value).__name__}")


def _as_stored(folder: Place, name: str) -> Place | None:
    """Give the file of that name as it is there: packed or not, whatever metadata.yaml says."""
    for spelling in (name, _unpacked(name), name + _PACKED):
        if (folder / spelling).is_file():
            return folder / spelling
    return None


def _unpacked(name: str) -> str:
    return name.removesuffix(_PACKED)


def _missing(path: Place, count: int | None) -> Damage:
    lost = "its messages are lost" if count is None else f"its {count} messages are lost"
    what = f"listed in metadata.yaml but missing: {lost}"
    return Damage(path, what, loses_messages=count != 0, is_missing=True)


def _not_listed(path: Place, *, is_read: bool) -> Damage:
    if is_read:
        what = "not listed in metadata.yaml, which is older; it was read, since its name continues the recording's"
    else:
        what = "not listed in metadata.yaml, so it was not read; `ros2 bag reindex` the folder if it belongs to it"
    return Damage(path, what, loses_messages=False, is_missing=True)


def _later_splits(files: list[Place], unlisted: list[Place]) -> list[Place]:
    """Choose the files that go on where those of metadata.yaml end: named alike, and numbered higher."""
    series = [number for path in files if (number := _SPLIT.match(path.name))]
    if not series:
        return []
    last = max(series, key=lambda match: int(match["number"]))
    return [
        path
        for path in unlisted
        if (match := _SPLIT.match(path.name))
        and (match["stem"], match["kind"]) == (last["stem"], last["kind"])
        and int(match["number"]) > int(last["number"])
    ]


def is_next_split(earlier: Place, later: Place) -> bool:
    """Whether by their names a file was written when another one of the same recorder was full."""
    one, other = _SPLIT.match(earlier.name), _SPLIT.match(later.name)
    if one is None or other is None:
        return False
    return one["stem"] == other["stem"] and int(one["number"]) < int(other["number"])


def _series(files: list[Place]) -> dict[tuple[str, str], dict[int, Place]]:
    """Group the files that are numbered as the parts of one recording, by name and kind."""
    series: dict[tuple[str, str], dict[int, Place]] = {}
    for path in files:
        if match := _SPLIT.match(path.name):
            series.setdefault((match["stem"], match["kind"]), {})[int(match["number"])] = path
    return series


def _missing_starts(files: list[Place]) -> list[Damage]:
    """Name what is missing before the first file: recorders number them from 0, and fixed mounts are in that one."""
    damage = []
    for (stem, kind), parts in _series(files).items():
        first = min(parts)
        if first > 0 and (len(parts) > 1 or stem == parts[first].parent.name):
            names = f"{stem}_0.{kind}" + (f" to {stem}_{first - 1}.{kind}" if first > 1 else "")
            what = f"{names} {'are' if first > 1 else 'is'} missing before it, and what was in there is lost"
            damage.append(Damage(parts[first], what, is_missing=True))
    return damage


def _gaps(files: list[Place]) -> list[Damage]:
    """Name what is missing between files that are numbered as the parts of one recording."""
    damage = []
    for (stem, kind), parts in _series(files).items():
        numbers = sorted(parts)
        for before, after in pairwise(numbers):
            if after - before > 1:
                names = f"{stem}_{before + 1}.{kind}"
                names += f" to {stem}_{after - 1}.{kind}" if after - before > 2 else ""
                are = "are" if after - before > 2 else "is"
                what = f"{names} {are} missing before it, and what was in there is lost"
                damage.append(Damage(parts[after], what, is_missing=True))
    return damage


def _natural(path: Place) -> tuple[list[tuple[int, str]], str]:
    """Order names by the numbers in them, so that 10 comes after 9."""
    parts = re.split(r"([0-9]+)", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], path.name
