# SPDX-License-Identifier: Apache-2.0
"""Labels sorted by scene and frame, as JSON lines and as a table."""

from __future__ import annotations

import csv
import hashlib
import json
import marshal
import os
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nucleus_bridge.errors import OutputError
from nucleus_bridge.labels.label import Label
from nucleus_bridge.labels.written import Written

JSON_LINES = "labels.jsonl"
TABLE = "labels.csv"
_IN_MEMORY = 20_000


class SortedLabels:
    """Labels scene by scene, by frame, track and id; about one scene of them is in memory.

    Attributes:
        count: How many there are.
    """

    def __init__(self, folder: Path) -> None:
        self.count = 0
        self._folder = folder
        self._names: dict[str, Path] = {}
        self._digests: dict[str, tuple[Any, Any]] = {}

    def __iter__(self) -> Iterator[list[Label]]:
        """Yield the labels of each scene."""
        return (_read(self._names[scene]) for scene in sorted(self._names))

    @property
    def digests(self) -> dict[str, str]:
        """A digest of each scene's labels in the order in which they came."""
        return {scene: numbers.hexdigest() + texts.hexdigest() for scene, (numbers, texts) in self._digests.items()}

    def leave_out(self, scene: str) -> None:
        """Let go of the labels of a scene."""
        self._names.pop(scene, None)
        self._digests.pop(scene, None)

    def put_aside(self, waiting: Mapping[str, list[Label]]) -> None:
        """Take some more."""
        for scene, some in waiting.items():
            self.count += len(some)
            path = self._names.setdefault(scene, self._folder / f"{len(self._names):06d}")
            numbers, texts = self._digests.setdefault(scene, (hashlib.sha256(), hashlib.sha256()))
            numbers.update(array("d", [value for label in some for value in _numbers_of(label)]))
            texts.update(
                "".join([text for label in some for text in _texts_of(label)]).encode(errors="backslashreplace")
            )
            with path.open("ab") as file:
                content = marshal.dumps([_row(label) for label in some])
                file.write(len(content).to_bytes(8, "little") + content)


@contextmanager
def sorted_labels(labels: Iterable[Label], folder: Path) -> Iterator[SortedLabels]:
    """Sort labels; what does not fit into memory waits in a folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        place = tempfile.TemporaryDirectory(dir=folder, prefix=".labels-", suffix=f".{os.getpid()}.tmp")
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror}") from None
    with place as scratch:
        found = SortedLabels(Path(scratch))
        waiting: dict[str, list[Label]] = {}
        count = 0
        for label in labels:
            waiting.setdefault(label.scene, []).append(label)
            count += 1
            if count >= _IN_MEMORY:
                found.put_aside(waiting)
                waiting, count = {}, 0
        found.put_aside(waiting)
        del waiting
        yield found


def _numbers_of(label: Label) -> tuple[float, ...]:
    return (*label.position, *label.size, *label.rotation)


def _texts_of(label: Label) -> tuple[str, ...]:
    own = f"{label.frame} {label.stamp_ns} {label.score} {dict(label.attributes)}"
    return (own, *(f"\0{text}" for text in (label.frame_id, label.label, label.track, label.id, label.source)))


def _row(label: Label) -> tuple[Any, ...]:
    return (
        label.scene,
        label.frame,
        label.stamp_ns,
        label.frame_id,
        label.label,
        label.track,
        label.id,
        label.position,
        label.size,
        label.rotation,
        label.source,
        label.attributes,
        label.score,
    )


def _read(path: Path) -> list[Label]:
    labels: list[Label] = []
    with path.open("rb") as file:
        while size := int.from_bytes(file.read(8), "little"):
            rows = marshal.loads(file.read(size))  # noqa: S302 - this process wrote it
            labels += [Label(*row) for row in rows]
    return sorted(labels, key=_order)


def _order(label: Label) -> tuple[Any, ...]:
    return label.frame, label.source, label.track, label.id, label.label, label.position


def write_json_lines(scenes: Iterable[list[Label]], folder: Path) -> Written:
    """Write ``labels.jsonl``, one object a label.

    Raises:
        OutputError: It cannot be written.
    """
    count = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / JSON_LINES
        temporary = path.with_name(f".{JSON_LINES}.{os.getpid()}.tmp")
        encode = json.JSONEncoder(allow_nan=False).encode
        with temporary.open("w", encoding="utf-8") as file:
            for labels in scenes:
                file.writelines(f"{encode(label.as_json())}\n" for label in labels)
                count += len(labels)
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{folder / JSON_LINES}: cannot be written: {error.strerror}") from None
    return Written(count)


_COLUMNS = (
    *("scene", "frame", "stamp_ns", "frame_id", "label", "track", "id"),
    *("x", "y", "z", "length", "width", "height", "qx", "qy", "qz", "qw", "yaw"),
    *("source", "attributes"),
)


def write_table(scenes: Iterable[list[Label]], folder: Path) -> Written:
    """Write ``labels.csv``, a row a label; ``yaw`` is the heading about +z in radians, ``attributes`` are JSON.

    Raises:
        OutputError: It cannot be written.
    """
    count = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{TABLE}.{os.getpid()}.tmp"
        with temporary.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(_COLUMNS)
            for labels in scenes:
                table.writerows(map(_table_row, labels))
                count += len(labels)
        temporary.replace(folder / TABLE)
    except OSError as error:
        raise OutputError(f"{folder / TABLE}: cannot be written: {error.strerror}") from None
    return Written(count)


def _table_row(label: Label) -> tuple[Any, ...]:
    attributes = json.dumps(label.attributes) if label.attributes else ""
    own = (label.scene, label.frame, label.stamp_ns, label.frame_id, label.label, label.track, label.id)
    box = (*label.position, *label.size, *label.rotation, label.heading)
    return (*own, *box, label.source, attributes)
