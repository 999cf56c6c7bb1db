# SPDX-License-Identifier: Apache-2.0
"""The rules of ``scene.json`` as a whole: its keys, its frames, and what must be unique."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nucleus_bridge.spool.manifest import SCENE_NAME, FileRecord
from nucleus_bridge.validate.files import SceneFolder
from nucleus_bridge.validate.items import Item, check_item, check_metadata, read_item
from nucleus_bridge.validate.json import read_object, text_or_none
from nucleus_bridge.validate.report import Findings, Place, shown

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
        read_item(number, sensor, value, findings)
        for number, frame in enumerate(frames)
        for sensor, value in frame.items()
    ]
    text = f"there are {len(items)} items, at most {MAX_ITEMS} are allowed; record with a smaller scene.max_items"
    findings.expect("item-count", _PLACE, holds=len(items) <= MAX_ITEMS, text=text)
    for item in items:
        check_item(item, scene_id, folder, listed, findings)
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
        text = "tracks is no list of objects with reference_id and dataset_id"
        findings.expect("scene-keys", _PLACE, holds=_are_tracks(scene["tracks"]), text=text)
    if "metadata" in scene:
        check_metadata(scene["metadata"], _PLACE, findings)


def _are_tracks(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(track, dict) and text_or_none(track.get("reference_id")) and text_or_none(track.get("dataset_id"))
        for track in value
    )


def _frames(value: object, findings: Findings) -> list[dict[str, object]]:
    """Return every frame; one that is no object is empty."""
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
