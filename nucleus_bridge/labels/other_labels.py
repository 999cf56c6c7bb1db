# SPDX-License-Identifier: Apache-2.0
"""What is labelled besides cuboids: boxes on images, as JSON lines, and classes of points, as an array a frame."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import numpy as np

from nucleus_bridge.errors import LabelError, OutputError
from nucleus_bridge.labels.label import SceneStamps

BOXES = "boxes.jsonl"
POINTS = "points"
OBJECTS = "objects.json"


@dataclass
class OtherLabels:
    """Writes them as they come; a context manager.

    At its end the folder has those alone that came: what an earlier run wrote of others is removed.

    Attributes:
        folder: Where they go.
        boxes: Boxes on images.
        clouds: Clouds whose points have classes.
        changed: Whether any is another one than before.
        unread: Labels of kinds that are not read, by kind.
    """

    folder: Path
    boxes: int = 0
    clouds: int = 0
    changed: bool = False
    unread: Counter[str] = field(default_factory=Counter)
    _file: TextIO | None = field(default=None, repr=False)
    _scenes: set[str] = field(default_factory=set, repr=False)

    def __enter__(self) -> OtherLabels:  # noqa: PYI034 - Self came with Python 3.11
        """Give itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the boxes in place, or clear away what was begun."""
        target = self.folder / BOXES
        temporary = Path(self._file.name) if self._file is not None else None
        if self._file is not None:
            self._file.close()
        if kind is not None:
            if temporary is not None:
                temporary.unlink(missing_ok=True)
            return
        try:
            if temporary is None:
                self.changed |= target.is_file()
                target.unlink(missing_ok=True)
            elif target.is_file() and filecmp.cmp(temporary, target, shallow=False):
                temporary.unlink()
            else:
                temporary.replace(target)
                self.changed = True
            for objects in sorted((self.folder / POINTS).glob(f"*/{OBJECTS}")):
                if objects.parent.name not in self._scenes:
                    shutil.rmtree(objects.parent)
                    self.changed = True
        except OSError as error_:
            raise OutputError(f"{target}: cannot be written: {error_.strerror}") from None

    def pass_over(self, kind: str, count: int) -> None:
        """Count labels of a kind that is not read."""
        self.unread[kind] += count

    def add_box(self, stamps: SceneStamps, frame: int, camera: str, box: Mapping[str, Any]) -> None:
        """Add a box on an image.

        Args:
            stamps: Of the scene.
            frame: Number of the frame.
            camera: Name of the camera.
            box: With ``label``, ``track``, ``id``, ``left``, ``top``, ``width``, ``height`` in pixels of the image,
                ``attributes`` and ``source``.

        Raises:
            OutputError: It cannot be written.
        """
        self.boxes += 1
        own = {"scene": stamps.scene, "frame": frame, "stamp_ns": stamps.stamps_ns[frame], "camera": camera}
        try:
            if self._file is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._file = (self.folder / f".{BOXES}.{os.getpid()}.tmp").open("w", encoding="utf-8")
            self._file.write(json.dumps({**own, **box}, allow_nan=False) + "\n")
        except OSError as error:
            raise OutputError(f"{self.folder / BOXES}: cannot be written: {error.strerror}") from None

    def add_points(self, stamps: SceneStamps, points: int, answer: object, source: str) -> None:
        """Write the classes of a scene's points: an index a point, in the order of the points that were sent.

        Args:
            stamps: Of the scene.
            points: How many points its clouds have.
            answer: ``objects`` (label, index from 1, perhaps instance) and ``point_objects``, a list a frame; an
                older page of the service calls them ``labels`` and ``point_labels``.
            source: Where they come from.

        Raises:
            LabelError: They are not those of the scene's points.
            OutputError: They cannot be written.
        """
        objects, rows = _segmentation(answer, stamps, points)
        self.clouds += len(rows)
        self._scenes.add(stamps.scene)
        target = self.folder / POINTS / stamps.scene
        temporary = target.with_name(f".{stamps.scene}.{os.getpid()}.tmp")
        try:
            temporary.mkdir(parents=True)
            for number, row in enumerate(rows):
                np.save(temporary / f"{number:06d}.npy", row)
            about = {"scene": stamps.scene, "source": source, "stamps_ns": list(stamps.stamps_ns), "objects": objects}
            (temporary / OBJECTS).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
            if _is_same(temporary, target):
                return
            self.changed = True
            shutil.rmtree(target, ignore_errors=True)
            temporary.replace(target)
        except OSError as error:
            raise OutputError(f"{target}: cannot be written: {error.strerror}") from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _is_same(folder: Path, other: Path) -> bool:
    """Whether two folders have the same files."""
    names = sorted(path.name for path in folder.iterdir())
    if not other.is_dir() or names != sorted(path.name for path in other.iterdir()):
        return False
    return filecmp.cmpfiles(folder, other, names, shallow=False)[0] == names


def _segmentation(answer: object, stamps: SceneStamps, points: int) -> tuple[list[Any], list[Any]]:
    given = answer if isinstance(answer, Mapping) else {}
    objects = given.get("objects", given.get("labels"))
    lists = given.get("point_objects", given.get("point_labels"))
    if not isinstance(objects, list) or not isinstance(lists, list) or len(lists) != len(stamps.stamps_ns):
        raise LabelError(f"{stamps.scene}: the classes of its points are not a list for each of its frames")
    try:
        rows = [np.array(row, np.uint32) for row in lists]
        known = {0, *(int(entry["index"]) for entry in objects)}
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise LabelError(f"{stamps.scene}: the classes of its points cannot be read: {error!r}") from None
    if (count := sum(map(len, rows))) != points:
        raise LabelError(
            f"{stamps.scene}: {count} points have a class, and its clouds have {points}; others were meant"
        )
    unknown = {int(number) for row in rows for number in np.unique(row)} - known
    if unknown:
        raise LabelError(f"{stamps.scene}: points are of object {min(unknown)}, which is not among its objects")
    return objects, rows


def nucleus_box(box: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return a box annotation of Nucleus in our words.

    Raises:
        LabelError: It cannot be read.
    """
    metadata = box.get("metadata") or {}
    own = str(box.get("annotation_id") or box.get("id") or "")
    track = str(box.get("track_reference_id") or metadata.get("track_reference_id") or "")
    geometry = box.get("geometry")
    sides = {"left": "x", "top": "y", "width": "width", "height": "height"}
    return _box(box.get("label"), track, own, geometry, sides, metadata, "nucleus", where)


def task_box(box: Mapping[str, Any], source: str, where: str) -> dict[str, Any]:
    """Return a box of a lidarlinking task in our words; its track is the cuboid that it belongs to.

    Raises:
        LabelError: It cannot be read.
    """
    track = str(box.get("cuboid_uuid") or "")
    attributes = {**(box.get("attributes") or {}), **({"not_in_lidar": True} if box.get("not_in_lidar") else {})}
    sides = {side: side for side in ("left", "top", "width", "height")}
    return _box(box.get("label"), track, "", box, sides, attributes, source, where)


def sfs_box(
    entry: Mapping[str, Any],
    own: str,
    track: str,
    sides: Sequence[float],
    attributes: Mapping[str, Any],
    source: str,
) -> dict[str, Any]:
    """Return a box of an annotated ``.sfs`` scene in our words."""
    named = dict(zip(("left", "top", "width", "height"), sides, strict=True))
    said = {"label": str(entry["label"]), "track": track, "id": own, **named}
    return {**said, "attributes": dict(attributes), "source": source}


def _box(  # noqa: PLR0913, PLR0917 - one of two services' words
    label: object,
    track: str,
    own: str,
    geometry: object,
    sides: Mapping[str, str],
    attributes: Mapping[str, Any],
    source: str,
    where: str,
) -> dict[str, Any]:
    try:
        numbers = {side: float(geometry[name]) for side, name in sides.items()}  # type: ignore[index]
    except (KeyError, TypeError, ValueError) as error:
        raise LabelError(f"{where}: a box on an image cannot be read: {error!r}") from None
    if not np.isfinite(list(numbers.values())).all():
        raise LabelError(f"{where}: a box on an image is not finite: {numbers}")
    said = {"label": str(label), "track": track, "id": own, **numbers}
    return {**said, "attributes": dict(attributes), "source": source}
