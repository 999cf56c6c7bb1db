# SPDX-License-Identifier: Apache-2.0
"""Datasets, their scenes and uploads on disk, with an index in memory.

::

    DIR/datasets/<dataset id>/dataset.json
                              scenes/<scene id>.json        what the receiver knows of a scene, payload included
                              uploads/<request id>.ndjson   what was put, byte by byte

Names of files are ids that the receiver made or hexadecimal digits, never what a client chose.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nucleus_bridge.errors import InputError, SceneError
from nucleus_bridge.spool import durable
from nucleus_bridge.testing.receiver.messages import Refusal
from nucleus_bridge.testing.receiver.scene_rules import sensor_items
from nucleus_bridge.testing.receiver.state import derived_id, load_record, write_state
from nucleus_bridge.testing.receiver.strict_json import metadata_kind

_DELETED = "deleted-"


@dataclass(frozen=True)
class Dataset:
    """What a dataset was created with."""

    dataset_id: str
    name: str
    is_scene: bool
    use_privacy_mode: bool
    annotation_metadata_schema: Mapping[str, Any] | None
    item_metadata_schema: Mapping[str, Any] | None


@dataclass(frozen=True)
class StoredScene:
    """A scene as it is kept; ``outcome`` is what the job that wrote it last did: ``new`` or ``updated``."""

    scene_id: str
    reference_id: str
    job_id: str
    outcome: str
    payload: Mapping[str, Any]


@dataclass(frozen=True)
class SceneEntry:
    """What the index holds of a scene.

    ``items`` are its clouds' and images' reference ids in order, ``clouds`` those of the clouds; ``kinds`` are (level,
    metadata key, ``string`` or ``number``).
    """

    scene_id: str
    reference_id: str
    metadata: Mapping[str, Any]
    items: tuple[str, ...]
    clouds: frozenset[str]
    kinds: frozenset[tuple[str, str, str]]


@dataclass
class _Shelf:
    """One dataset with its index."""

    dataset: Dataset
    folder: Path
    scenes: dict[str, SceneEntry] = field(default_factory=dict)
    scene_of_item: dict[str, str] = field(default_factory=dict)
    kinds: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def add(self, entry: SceneEntry) -> None:
        self.remove(entry.reference_id)
        self.scenes[entry.reference_id] = entry
        self.scene_of_item.update(dict.fromkeys(entry.items, entry.reference_id))
        self.kinds.update(entry.kinds)

    def remove(self, reference_id: str) -> None:
        entry = self.scenes.pop(reference_id, None)
        if entry is not None:
            self.kinds.subtract(entry.kinds)
            for item in entry.items:
                del self.scene_of_item[item]


class Store:
    """Everything about datasets; hold ``lock`` over steps that belong together."""

    def __init__(self, directory: Path) -> None:
        self.lock = threading.RLock()
        self._root = directory / "datasets"
        self._root.mkdir(parents=True, exist_ok=True)
        self._shelves: dict[str, _Shelf] = {}
        for folder in sorted(self._root.iterdir()):
            if folder.name.startswith(_DELETED) or not (folder / "dataset.json").exists():
                durable.remove_folder(folder)
            else:
                self._shelves[folder.name] = _load_shelf(folder)

    def datasets(self) -> list[Dataset]:
        """Return every dataset, oldest first."""
        with self.lock:
            return [shelf.dataset for shelf in self._shelves.values()]

    def dataset(self, dataset_id: str) -> Dataset:
        """Return one dataset.

        Raises:
            Refusal: 404.
        """
        return self._shelf(dataset_id).dataset

    def create(self, dataset: Dataset) -> None:
        """Keep a new dataset; its id comes from ``new_id``."""
        folder = self._root / dataset.dataset_id
        with self.lock:
            (folder / "scenes").mkdir(parents=True)
            (folder / "uploads").mkdir()
            write_state(folder / "dataset.json", asdict(dataset))
            durable.sync_folder(self._root)
            self._shelves[dataset.dataset_id] = _Shelf(dataset, folder)

    def delete(self, dataset_id: str) -> None:
        """Remove a dataset with all it holds."""
        with self.lock:
            folder = self._shelf(dataset_id).folder
            doomed = folder.with_name(_DELETED + folder.name)
            durable.move_folder(folder, doomed)
            del self._shelves[dataset_id]
        durable.remove_folder(doomed)

    def item_count(self, dataset_id: str) -> int:
        """Return how many clouds and images a dataset holds."""
        with self.lock:
            return len(self._shelf(dataset_id).scene_of_item)

    def entries(self, dataset_id: str) -> list[SceneEntry]:
        """Return a dataset's scenes as the index knows them, oldest first."""
        with self.lock:
            return sorted(self._shelf(dataset_id).scenes.values(), key=lambda entry: entry.scene_id)

    def find_scene(self, dataset_id: str, reference_id: str) -> StoredScene | None:
        """Return a scene, or None."""
        with self.lock:
            shelf = self._shelf(dataset_id)
            entry = shelf.scenes.get(reference_id)
            return None if entry is None else _load_scene(_scene_path(shelf, entry.scene_id))

    def scene(self, dataset_id: str, reference_id: str) -> StoredScene:
        """Return a scene.

        Raises:
            Refusal: 404.
        """
        scene = self.find_scene(dataset_id, reference_id)
        if scene is None:
            raise Refusal(404, f"dataset {dataset_id} has no scene {reference_id!r}")
        return scene

    def scene_of_item(self, dataset_id: str, reference_id: str) -> StoredScene:
        """Return the scene that an item belongs to.

        Raises:
            Refusal: 404.
        """
        with self.lock:
            scene = self._shelf(dataset_id).scene_of_item.get(reference_id)
            if scene is None:
                raise Refusal(404, f"dataset {dataset_id} has no item {reference_id!r}")
            return self.scene(dataset_id, scene)

    def item_kind(self, dataset_id: str, reference_id: str) -> str | None:
        """Return ``pointcloud``, ``image``, or None when a dataset has no such item."""
        with self.lock:
            shelf = self._shelf(dataset_id)
            scene = shelf.scene_of_item.get(reference_id)
            if scene is None:
                return None
            return "pointcloud" if reference_id in shelf.scenes[scene].clouds else "image"

    def references_of(self, dataset_id: str, item_ids: Collection[str]) -> dict[str, str]:
        """Return the reference ids of items by the ids that we gave them; unknown ones are left out."""
        found = {}
        for entry in self.entries(dataset_id):
            for reference_id in entry.items:
                item_id = derived_id("di", dataset_id, reference_id)
                if item_id in item_ids:
                    found[item_id] = reference_id
        return found

    def items_after(self, dataset_id: str, token: str, size: int) -> tuple[list[dict[str, Any]], str | None]:
        """Return so many items, oldest scene first, from behind a token on (empty: the first), and the next token.

        Raises:
            Refusal: 400 for a token that was not given out, 404.
        """
        begun, _, skipped = token.partition(":")
        if token and not skipped.isdecimal():
            raise Refusal(400, "pageToken must be one that was given out")
        items: list[dict[str, Any]] = []
        for entry in self.entries(dataset_id):
            start = int(skipped) if entry.scene_id == begun else 0
            if entry.scene_id < begun or start >= len(entry.items):
                continue
            if len(items) == size:
                return items, token
            payload = self.scene(dataset_id, entry.reference_id).payload
            some = [item for _, _, item in sensor_items(payload)][start : start + size - len(items)]
            items += some
            token = f"{entry.scene_id}:{start + len(some)}"
            if start + len(some) < len(entry.items):
                return items, token
        return items, None

    def check_fits(self, dataset_id: str, payload: Mapping[str, Any]) -> None:
        """Check a scene against the others of its dataset.

        Raises:
            SceneError: An item's id is taken, or a metadata value is of another kind than elsewhere.
        """
        entry = _entry("", payload)
        with self.lock:
            shelf = self._shelf(dataset_id)
            for item in entry.items:
                owner = shelf.scene_of_item.get(item, entry.reference_id)
                if owner != entry.reference_id:
                    message = f"item {item!r}: the reference_id is used in scene {owner!r} of the dataset already"
                    raise SceneError(message)
            own = shelf.scenes.get(entry.reference_id)
            for level, key, kind in sorted(entry.kinds):
                other = (level, key, "number" if kind == "string" else "string")
                if shelf.kinds[other] > (own is not None and other in own.kinds) or other in entry.kinds:
                    message = f"{level} metadata {key!r} is a {kind} here and a {other[2]} elsewhere in the dataset"
                    raise SceneError(message)

    def put_scene(self, dataset_id: str, scene: StoredScene) -> None:
        """Keep a scene, in place of an older state of it if there is one."""
        with self.lock:
            shelf = self._shelf(dataset_id)
            write_state(_scene_path(shelf, scene.scene_id), asdict(scene))
            shelf.add(_entry(scene.scene_id, scene.payload))

    def delete_scene(self, dataset_id: str, reference_id: str) -> None:
        """Remove a scene."""
        with self.lock:
            scene = self.scene(dataset_id, reference_id)
            shelf = self._shelf(dataset_id)
            path = _scene_path(shelf, scene.scene_id)
            path.unlink()
            durable.sync_folder(path.parent)
            shelf.remove(reference_id)

    def upload_path(self, dataset_id: str, request_id: str) -> Path:
        """Return where an upload is kept; ``request_id`` must be hexadecimal digits."""
        return self._shelf(dataset_id).folder / "uploads" / f"{request_id}.ndjson"

    def _shelf(self, dataset_id: str) -> _Shelf:
        with self.lock:
            shelf = self._shelves.get(dataset_id)
        if shelf is None:
            raise Refusal(404, f"there is no dataset {dataset_id!r}")
        return shelf


def _load_shelf(folder: Path) -> _Shelf:
    shelf = _Shelf(load_record(folder / "dataset.json", Dataset), folder)
    for leftover in [*folder.glob("scenes/.*.tmp"), *folder.glob("uploads/.*.tmp")]:
        leftover.unlink()
    for path in sorted(folder.glob("scenes/*.json")):
        try:
            shelf.add(_entry(path.stem, _load_scene(path).payload))
        except (AttributeError, KeyError, TypeError) as error:
            message = f"{path}: holds no scene ({type(error).__name__}); move it away or serve another folder"
            raise InputError(message) from None
    return shelf


def _load_scene(path: Path) -> StoredScene:
    scene: StoredScene = load_record(path, StoredScene)
    return scene


def _scene_path(shelf: _Shelf, scene_id: str) -> Path:
    return shelf.folder / "scenes" / f"{scene_id}.json"


def _entry(scene_id: str, payload: Mapping[str, Any]) -> SceneEntry:
    items = [item for _, _, item in sensor_items(payload)]
    metadata = payload.get("metadata", {})
    kinds = {("scene", key, metadata_kind(value)) for key, value in metadata.items()}
    kinds.update(
        ("item", key, metadata_kind(value)) for item in items for key, value in item.get("metadata", {}).items()
    )
    return SceneEntry(
        scene_id=scene_id,
        reference_id=payload["reference_id"],
        metadata=metadata,
        items=tuple(item["reference_id"] for item in items),
        clouds=frozenset(item["reference_id"] for item in items if item["type"] == "pointcloud"),
        kinds=frozenset(entry for entry in kinds if entry[2]),
    )
