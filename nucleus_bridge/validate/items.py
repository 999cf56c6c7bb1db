# SPDX-License-Identifier: Apache-2.0
"""The rules of one item of a scene: its keys, its reference id and its file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from nucleus_bridge.spool.manifest import SCENE_NAME, FileRecord
from nucleus_bridge.validate.files import SceneFolder
from nucleus_bridge.validate.json import text_or_none
from nucleus_bridge.validate.manifest import check_id_characters, is_inside
from nucleus_bridge.validate.report import Findings, Place, shown

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
_KEYS = {"metadata", "reference_id", "url", "type"}
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


def read_item(frame: int, sensor: str, value: object, findings: Findings) -> Item:
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
    _check_keys(item, findings)
    return item


def check_item(
    item: Item, scene_id: str | None, folder: SceneFolder, listed: Mapping[str, FileRecord], findings: Findings
) -> None:
    """Check an item's id and url."""
    _check_id(item, scene_id, findings)
    if item.url is not None:
        _check_url(item, item.url, findings)
        _check_file(item, item.url, folder, listed, findings)


def check_metadata(metadata: object, place: Place, findings: Findings, structured: str = "") -> None:
    """Check that metadata is an object of strings, numbers and booleans; the key ``structured`` is left out."""
    if not isinstance(metadata, dict):
        findings.fail("metadata-scalars", place, f"metadata is {shown(metadata)}, expected an object")
        return
    wrong = [
        key for key, value in metadata.items() if key != structured and not isinstance(value, (str, bool, int, float))
    ]
    text = (
        f"metadata {shown(wrong[0])} is {shown(metadata[wrong[0]])}, expected a string, a number or a boolean"
        if wrong
        else ""
    )
    findings.expect("metadata-scalars", place, holds=not wrong, text=text)


def _check_keys(item: Item, findings: Findings) -> None:
    for key, usable, expected in (
        ("reference_id", item.reference_id, "a string"),
        ("url", item.url, "a string"),
        ("type", item.kind, "image or pointcloud"),
    ):
        text = f"{key} is {shown(item.record.get(key))}, expected {expected}"
        findings.expect("item-keys", item.place, holds=usable is not None, text=text)
    allowed = _KEYS if item.kind == "pointcloud" else _KEYS | _IMAGE_KEYS
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
        text = f"url {shown(url)} is no plain relative path"
    elif url not in folder.files:
        text = f"url {shown(url)}: there is no such file"
    else:
        text = f"url {shown(url)}: the file is not listed in the manifest"
    findings.expect("urls-relative-exist", item.place, holds=url in folder.files and url in listed, text=text)
