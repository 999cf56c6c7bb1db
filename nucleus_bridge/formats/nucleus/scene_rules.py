# SPDX-License-Identifier: Apache-2.0
"""The rules of ``scene.json``: its keys, its frames, its items, and what must be unique."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nucleus_bridge.formats.rules.documents import check_id_characters, check_metadata, is_inside, read_object
from nucleus_bridge.formats.rules.findings import Findings, Place, shown
from nucleus_bridge.formats.rules.folder import SceneFolder
from nucleus_bridge.formats.strict_json import text_or_none
from nucleus_bridge.spool.manifest import SCENE_NAME, FileRecord

SCENE_RULES = {
    "scene-readable": "scene.json is there, is small enough to be uploaded and is a JSON object",
    "scene-keys": "scene.json has reference_id and frames, perhaps metadata and tracks, and nothing else",
    "scene-id": "scene.json and manifest.json name the same scene",
    "frames-present": "there is a frame, and every frame is an object of items by sensor",
    "item-count": "a scene has at most 300 items",
    "one-cloud-per-frame": "every frame has exactly one point cloud",
    "same-cloud-sensor": "the point cloud is under the same sensor name in every frame",
    "unique-reference-ids": "no two items have the same reference id",
    "frame-numbers": "all items of a frame have its number, and numbers increase",
    "one-file-per-item": "no two items share a file",
}

MAX_ITEMS = 300

_PLACE = Place(SCENE_NAME)
ITEM_RULES = {
    "item-keys": "every item has metadata, reference_id, url and type, and only the keys its type may have",
    "metadata-scalars": "metadata is an object of strings, numbers and booleans, beside camera_params",
    "sensor-names": "sensor names are usable in ids and paths, and not `self`, which the service's client refuses",
    "item-id-form": "an item is named <scene>-<sensor>-<frame number of six digits>",
    "url-suffixes": "clouds end in .json, images in .jpg or .png",
    "url-form": "the file of an item is <sensor>/<frame number><suffix>",
    "urls-relative-exist": "every url is relative, inside the folder, and its file is there and listed",
}

_SUFFIXES = {"pointcloud": (".json",), "image": (".jpg", ".png")}
_ITEM_KEYS = {"metadata", "reference_id", "url", "type"}
_IMAGE_KEYS = {"camera_params", "embedding_info", "width", "height"}
_SENSOR = re.compile(r"[A-Za-z0-9._-]+")
_FORBIDDEN_SENSORS = {"self", ".", ".."}
_NUMBER_AT_END = re.compile(r".*-([0-9]{6,18})", re.DOTALL)


@dataclass(frozen=True)
class Item:
    """One item of a scene as far as it is usable; what is not of the right type is None or empty.

    Attributes:
        frame: Index of its frame.
        sensor: The key it stands under in the frame.
        record: The item itself.
        kind: ``image`` or ``pointcloud``.
        reference_id: Its id.
        url: Its file's path.
        number: The digits at the end of its id.
    """

    frame: int
    sensor: str
    record: Mapping[str, object]
    kind: str | None
    reference_id: str | None
    url: str | None
    number: str | None

    @property
    def place(self) -> Place:
        """Where the item stands."""
        return Place(SCENE_NAME, self.frame, self.reference_id or self.sensor)

    @property
    def file_place(self) -> Place:
        """Where the item's file is."""
        return Place(self.url or SCENE_NAME, self.frame, self.reference_id or self.sensor)


@dataclass(frozen=True)
class ScenePayload:
    """Content of ``scene.json``: the number of frames, and every item in order."""

    frames: int
    items: Sequence[Item]


def check_scene(
    folder: SceneFolder, scene_id: str | None, listed: Mapping[str, FileRecord], findings: Findings
) -> ScenePayload | None:
    """Check ``scene.json``; returns what can be checked further, None when it cannot be read at all."""
    scene = read_object(folder, "scene-readable", _PLACE, findings)
    if scene is None:
        return None
    _check_keys(scene, findings)
    text = f"reference_id is {shown(scene.get('reference_id'))}, manifest.json says {shown(scene_id)}"
    findings.expect("scene-id", _PLACE, holds=scene.get("reference_id") == scene_id, text=text)
    frames = _frames(scene.get("frames"), findings)
    items = [
        _read_item(number, sensor, value, findings)
        for number, frame in enumerate(frames)
        for sensor, value in frame.items()
    ]
    text = f"there are {len(items)} items, at most {MAX_ITEMS} are allowed; record with a smaller scene.max_items"
    findings.expect("item-count", _PLACE, holds=len(items) <= MAX_ITEMS, text=text)
    for item in items:
        _check_item(item, scene_id, folder, listed, findings)
    _check_clouds(len(frames), items, findings)
    _check_numbers(items, findings)
    _check_unique("unique-reference-ids", [(item.reference_id, item) for item in items], findings)
    _check_unique("one-file-per-item", [(item.url, item) for item in items], findings)
    return ScenePayload(len(frames), items)


def _check_keys(scene: Mapping[str, object], findings: Findings) -> None:
    unknown = sorted(set(scene) - {"reference_id", "frames", "metadata", "tracks"})
    text = f"the key {shown(unknown[0])} is not part of a scene" if unknown else ""
    findings.expect("scene-keys", _PLACE, holds=not unknown, text=text)
    for key, kind, expected in (("reference_id", str, "a string"), ("frames", list, "a list")):
        text = f"{key} is {shown(scene.get(key))}, expected {expected}"
        findings.expect("scene-keys", _PLACE, holds=isinstance(scene.get(key), kind), text=text)
    if "tracks" in scene:
        text = "tracks is not a list of objects with reference_id and dataset_id"
        findings.expect("scene-keys", _PLACE, holds=_are_tracks(scene["tracks"]), text=text)
    if "metadata" in scene:
        check_metadata(scene["metadata"], _PLACE, findings)


def _are_tracks(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(track, dict) and text_or_none(track.get("reference_id")) and text_or_none(track.get("dataset_id"))
        for track in value
    )


def _frames(value: object, findings: Findings) -> list[dict[str, object]]:
    """Return every frame; one that is not an object is empty."""
    values = value if isinstance(value, list) else []
    findings.expect("frames-present", _PLACE, holds=bool(values), text="there is no frame")
    frames: list[dict[str, object]] = []
    for number, entry in enumerate(values):
        frame: dict[str, object] = entry if isinstance(entry, dict) else {}
        text = f"the frame is {shown(entry)} without items, expected items by sensor"
        findings.expect("frames-present", Place(SCENE_NAME, number), holds=bool(frame), text=text)
        frames.append(frame)
    return frames


def _check_clouds(frames: int, items: Sequence[Item], findings: Findings) -> None:
    clouds: list[list[str]] = [[] for _ in range(frames)]
    for item in items:
        if item.kind == "pointcloud":
            clouds[item.frame].append(item.sensor)
    for number, sensors in enumerate(clouds):
        text = f"the frame has {len(sensors)} point clouds, expected 1"
        findings.expect("one-cloud-per-frame", Place(SCENE_NAME, number), holds=len(sensors) == 1, text=text)
    names = sorted({sensor for sensors in clouds for sensor in sensors})
    if names:
        text = f"point clouds are under {len(names)} sensor names: {', '.join(map(shown, names[:5]))}"
        findings.expect("same-cloud-sensor", _PLACE, holds=len(names) == 1, text=text)


def _check_numbers(items: Sequence[Item], findings: Findings) -> None:
    frame, number = -1, -1
    for item in items:
        if item.number is None:
            continue
        before, number = number, int(item.number)
        if item.frame == frame:
            text = f"the item has number {number}, another item of its frame {before}"
            findings.expect("frame-numbers", item.place, holds=number == before, text=text)
        else:
            text = f"the frame has number {number}, the one before it {before}"
            findings.expect("frame-numbers", item.place, holds=number > before, text=text)
        frame = item.frame


def _check_unique(rule: str, named: Sequence[tuple[str | None, Item]], findings: Findings) -> None:
    counts = Counter(name for name, _ in named)
    for name, item in named:
        if name is not None:
            text = f"{shown(name)} is used {counts[name]} times"
            findings.expect(rule, item.place, holds=counts[name] == 1, text=text)


def _read_item(frame: int, sensor: str, value: object, findings: Findings) -> Item:
    """Take what is usable of an item and check its keys and its metadata."""
    place = Place(SCENE_NAME, frame, sensor)
    record: dict[str, object] = value if isinstance(value, dict) else {}
    if not findings.expect("item-keys", place, holds=record is value, text=f"the item is {shown(value)}"):
        return Item(frame, sensor, record, None, None, None, None)
    kind, reference_id = text_or_none(record.get("type")), text_or_none(record.get("reference_id"))
    number = _NUMBER_AT_END.fullmatch(reference_id or "")
    item = Item(
        frame,
        sensor,
        record,
        kind if kind in _SUFFIXES else None,
        reference_id,
        text_or_none(record.get("url")),
        number[1] if number else None,
    )
    _check_item_keys(item, findings)
    return item


def _check_item(
    item: Item, scene_id: str | None, folder: SceneFolder, listed: Mapping[str, FileRecord], findings: Findings
) -> None:
    """Check an item's id and url."""
    _check_id(item, scene_id, findings)
    if item.url is not None:
        _check_url(item, item.url, findings)
        _check_file(item, item.url, folder, listed, findings)


def _check_item_keys(item: Item, findings: Findings) -> None:
    for key, usable, expected in (
        ("reference_id", item.reference_id, "a string"),
        ("url", item.url, "a string"),
        ("type", item.kind, "image or pointcloud"),
    ):
        text = f"{key} is {shown(item.record.get(key))}, expected {expected}"
        findings.expect("item-keys", item.place, holds=usable is not None, text=text)
    allowed = _ITEM_KEYS if item.kind == "pointcloud" else _ITEM_KEYS | _IMAGE_KEYS
    unknown = sorted(set(item.record) - allowed)
    text = f"the key {shown(unknown[0])} is not part of such an item" if unknown else ""
    findings.expect("item-keys", item.place, holds=not unknown, text=text)
    structured = "" if item.kind == "pointcloud" else "camera_params"
    check_metadata(item.record.get("metadata"), item.place, findings, structured)


def _check_id(item: Item, scene_id: str | None, findings: Findings) -> None:
    usable = _SENSOR.fullmatch(item.sensor) is not None and item.sensor not in _FORBIDDEN_SENSORS
    text = f"{shown(item.sensor)} cannot be used as a sensor's name"
    findings.expect("sensor-names", item.place, holds=usable, text=text)
    if item.reference_id is None:
        return
    check_id_characters(item.reference_id, item.place, findings)
    text = f"reference_id is {shown(item.reference_id)}, expected {shown(scene_id)}-{shown(item.sensor)}-<six digits>"
    holds = item.reference_id == f"{scene_id}-{item.sensor}-{item.number}"
    findings.expect("item-id-form", item.place, holds=holds, text=text)


def _check_url(item: Item, url: str, findings: Findings) -> None:
    if item.kind is None:
        return
    suffixes = _SUFFIXES[item.kind]
    text = f"url {shown(url)} does not end in {' or '.join(suffixes)}"
    ends_right = findings.expect("url-suffixes", item.place, holds=url.endswith(suffixes), text=text)
    if not ends_right or item.number is None:
        return
    stem = f"{item.sensor}/{item.number}"
    text = f"url is {shown(url)}, expected {shown(stem)} and a suffix"
    findings.expect("url-form", item.place, holds=url in [f"{stem}{suffix}" for suffix in suffixes], text=text)


def _check_file(
    item: Item, url: str, folder: SceneFolder, listed: Mapping[str, FileRecord], findings: Findings
) -> None:
    if not is_inside(url):
        text = f"url {shown(url)} is not a plain relative path"
    elif url not in folder.files:
        text = f"url {shown(url)}: there is no such file"
    else:
        text = f"url {shown(url)}: the file is not listed in the manifest"
    findings.expect("urls-relative-exist", item.place, holds=url in folder.files and url in listed, text=text)
