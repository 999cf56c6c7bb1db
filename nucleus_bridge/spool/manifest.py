# SPDX-License-Identifier: Apache-2.0
"""The manifest: what a sealed scene holds, how it came about and what was lost on the way."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any

from nucleus_bridge.errors import SceneError
from nucleus_bridge.spool.regular_file import read_scene_file

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"
SCENE_NAME = "scene.json"
MAX_MANIFEST_BYTES = 256 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class FileRecord:
    """One file of a scene; ``path`` is relative to the scene's folder."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Content of ``manifest.json``.

    Attributes:
        reference_id: Id of the scene.
        format: Name of its format.
        frames: Number of frames.
        items: Number of clouds and images.
        points: Number of lidar points written.
        first_stamp_ns: Stamp of the first frame.
        last_stamp_ns: Stamp of the last frame.
        world_frame: Frame that positions are expressed in.
        device_frame: Frame of the device.
        world_offset: Subtracted from every position, metres.
        sensors: What is known of each sensor, by name.
        sync: Mean and largest |stamp - wanted stamp| by sensor.
        missing: Frames without an item of a sensor, by sensor.
        losses: What did not reach the scene, by topic and cause.
        end_reason: Why the scene ended.
        config_digest: sha256 over the parameters that shape the output.
        software: Name and version of the writer.
        files: Every other file of the scene, sorted by path.
        warnings: What contradicts itself in the scene's own messages: code, what it is about, text and remedy of each.
        metadata: Text, numbers and booleans of the scene, where no other file of the format has a place for it.
        poses: Sources of poses besides transforms; ``estimated`` where they come from the lidar, ``origin`` of a local
            level frame. Where sources are only compared: ``used``, the sources whose poses the scene has, and
            ``compared``, the track of each other one, thinned out, in the scene's coordinates. Absent where there are
            none.
        stamps: Of each frame: ``stamp_ns``, the ``header.stamp`` of the reference sweep as recorded, and ``time_ns``,
            the same with the configured clock corrections.
        events: Events of the drive that the scene holds something of: ``name``, ``begin_ns`` and ``end_ns``, the latter
            not after its last frame. Absent where frames are not selected by events.
    """

    reference_id: str
    format: str
    frames: int
    items: int
    points: int
    first_stamp_ns: int
    last_stamp_ns: int
    world_frame: str
    device_frame: str
    world_offset: Mapping[str, float]
    sensors: Mapping[str, Mapping[str, Any]]
    sync: Mapping[str, Mapping[str, float]]
    missing: Mapping[str, int]
    losses: Mapping[str, Mapping[str, int]]
    end_reason: str
    config_digest: str
    software: str
    files: tuple[FileRecord, ...] = field(default_factory=tuple)
    metadata: Mapping[str, str | bool | int | float] = field(default_factory=dict)
    poses: Mapping[str, Any] = field(default_factory=dict)
    stamps: tuple[Mapping[str, int], ...] = ()
    warnings: tuple[Mapping[str, str], ...] = ()
    events: tuple[Mapping[str, Any], ...] = ()
    format_version: int = FORMAT_VERSION

    def to_json(self) -> bytes:
        """Serialise, the same content always to the same bytes."""
        record = {"format_version": self.format_version, **asdict(self)}
        for name in ("metadata", "poses", "stamps", "warnings", "events"):
            if not record[name]:
                del record[name]
        return (json.dumps(record, indent=1, allow_nan=False) + "\n").encode()

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the manifest of a scene's folder.

        Raises:
            SceneUnreadableError: The disk cannot read it now.
            SceneError: There is none, or it is not one.
        """
        path = folder / MANIFEST_NAME
        return cls.parse(read_scene_file(path, MAX_MANIFEST_BYTES), path)

    @classmethod
    def parse(cls, content: bytes, path: object) -> Manifest:
        """Read the content of a manifest that is, or was, at ``path``.

        Raises:
            SceneError: It is not one.
        """
        try:
            record = json.loads(content)
            version = record.pop("format_version")
            if version != FORMAT_VERSION:
                message = f"{path}: format_version {version!r} is not {FORMAT_VERSION}; use a matching release"
                raise SceneError(message)
            files = tuple(_file_record(entry) for entry in record.pop("files"))
            stamps = tuple(_stamps(entry) for entry in record.pop("stamps", ()))
            record["warnings"] = tuple(record.get("warnings", ()))
            record["events"] = tuple(_event(entry) for entry in record.get("events", ()))
            known = {item.name for item in fields(cls)}
            manifest = cls(**{key: value for key, value in record.items() if key in known}, files=files, stamps=stamps)
            _check_kinds(manifest)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            message = f"{path}: is not a manifest ({type(error).__name__}: {error})"
            raise SceneError(message) from None
        return manifest


def _file_record(entry: Mapping[str, Any]) -> FileRecord:
    record = FileRecord(entry["path"], entry["bytes"], entry["sha256"])
    if not isinstance(record.path, str) or type(record.bytes) is not int or not _SHA256.fullmatch(record.sha256):
        raise TypeError(f"files holds {entry!r:.80}")
    path = PurePosixPath(record.path)
    if not path.parts or path.is_absolute() or ".." in path.parts or not record.path.isprintable():
        raise ValueError(f"{record.path!r:.80} is not a path inside of the scene")
    return record


def _stamps(entry: Mapping[str, Any]) -> Mapping[str, int]:
    if set(entry) != {"stamp_ns", "time_ns"} or not all(type(value) is int for value in entry.values()):
        raise TypeError(f"stamps holds {entry!r:.80}")
    return entry


def _event(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    kinds = {name: type(value) for name, value in entry.items()}
    if kinds != {"name": str, "begin_ns": int, "end_ns": int}:
        raise TypeError(f"events holds {entry!r:.80}")
    return entry


def _check_kinds(manifest: Manifest) -> None:
    """Refuse what is there under the right name but is something else."""
    for item in fields(manifest):
        value = getattr(manifest, item.name)
        kind = {"str": str, "int": int}.get(str(item.type).partition("[")[0], (Mapping, tuple))
        if not isinstance(value, kind) or isinstance(value, bool):
            raise TypeError(f"{item.name} is {value!r:.80}")
    for name in ("sensors", "sync", "losses"):
        if not all(isinstance(row, Mapping) for row in getattr(manifest, name).values()):
            raise TypeError(f"{name} is {getattr(manifest, name)!r:.80}")
    if not all(type(row.get("camera_index", 0)) is int for row in manifest.sensors.values()):
        raise TypeError("a camera_index is not a number")
    counts = [*manifest.missing.values(), *(count for row in manifest.losses.values() for count in row.values())]
    if not all(type(count) is int for count in counts):
        raise TypeError("missing or losses holds something else than counts")


@dataclass(frozen=True)
class SealedScene:
    """A scene that is safely on disk.

    Attributes:
        folder: Where it is.
        manifest: What is in it.
        existed: Whether the very same scene was there before.
    """

    folder: Path
    manifest: Manifest
    existed: bool

    @classmethod
    def read(cls, folder: Path) -> SealedScene:
        """Read a scene that was there before.

        Raises:
            SceneError: It is not there, or its manifest is damaged.
        """
        return cls(folder, Manifest.read(folder), existed=True)

    @property
    def bytes(self) -> int:
        """Size of all its files but the manifest."""
        return sum(record.bytes for record in self.manifest.files)
