# SPDX-License-Identifier: Apache-2.0
"""The rules that one scene of an upload must obey, as far as its own JSON tells."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from nucleus_bridge.errors import SceneError
from nucleus_bridge.testing.receiver.strict_json import is_number, is_text

URL_SCHEMES = frozenset({"http", "https", "s3", "gs"})
CAMERA_MODELS = frozenset({"brown_conrady", "fisheye"})
UNIT_TOLERANCE = 1e-3

_INTRINSICS = ("fx", "fy", "cx", "cy")
_COEFFICIENTS = ("k1", "k2", "k3", "k4", "p1", "p2")
_NORMALISED = ("position", "heading", *_INTRINSICS, *_COEFFICIENTS, "camera_model")


@dataclass(frozen=True)
class SceneRules:
    """What may be chosen about the rules.

    Attributes:
        max_items: Clouds and images in a scene; the service documents 300.
        extra_url_schemes: Taken besides http, https, s3 and gs.
        strict: Refuse what the service takes and a writer hardly means: headings that are not of unit length, a cloud
            without the device's pose, ``i`` on some of its points only, and whole numbers written as floats. The items
            of datasets in privacy mode, which the service does not read, are read and judged, too.
    """

    max_items: int = 300
    extra_url_schemes: tuple[str, ...] = ()
    strict: bool = False

    @property
    def url_schemes(self) -> frozenset[str]:
        """Every scheme an item's URL may have."""
        return URL_SCHEMES | set(self.extra_url_schemes)


@dataclass(frozen=True)
class Item:
    """One cloud or image of a scene; ``place`` names it in messages."""

    place: str
    reference_id: str
    kind: str
    url: str


def check_scene(scene: Mapping[str, Any], rules: SceneRules) -> tuple[Item, ...]:
    """Check a scene's structure and cameras and return its items in order.

    Raises:
        SceneError: A rule is broken.
    """
    if not is_text(scene.get("reference_id")):
        raise SceneError("a scene needs a reference_id that is a non-empty string")
    frames = scene.get("frames")
    if not isinstance(frames, list) or not frames:
        raise SceneError("a scene needs at least 1 frame")
    if not isinstance(scene.get("metadata", {}), dict):
        raise SceneError("metadata must be an object")
    items: list[Item] = []
    cloud_sensors: set[str] = set()
    for number, frame in enumerate(frames):
        items.extend(_check_frame(number, frame, rules, cloud_sensors))
    if len(cloud_sensors) > 1:
        raise SceneError(f"the cloud's sensor must have the same name in every frame, not {sorted(cloud_sensors)}")
    if len(items) > rules.max_items:
        raise SceneError(f"the scene has {len(items)} items; at most {rules.max_items} are taken, split it")
    _check_unique(items)
    return tuple(items)


def sensor_items(scene: Mapping[str, Any]) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Yield frame number, sensor name and item of every item of a scene that was checked."""
    for number, frame in enumerate(scene["frames"]):
        for sensor, item in frame.items():
            yield number, sensor, item


def structure(scene: Mapping[str, Any]) -> list[dict[str, tuple[str, str]]]:
    """Return what an update must leave as it is: frames, sensors, and which item each holds."""
    return [
        {sensor: (item["type"], item["reference_id"]) for sensor, item in frame.items()} for frame in scene["frames"]
    ]


def shown_url(url: str) -> str:
    """Return a URL without its query, which may hold a signature."""
    return url.partition("?")[0]


def _check_frame(number: int, frame: object, rules: SceneRules, cloud_sensors: set[str]) -> list[Item]:
    if not isinstance(frame, dict) or not frame:
        raise SceneError(f"frame {number} must be an object of sensor names and items")
    items = [check_item(f"frame {number}, sensor {sensor!r}", item, rules) for sensor, item in frame.items()]
    clouds = [sensor for sensor, item in zip(frame, items, strict=True) if item.kind == "pointcloud"]
    if len(clouds) != 1:
        raise SceneError(f"frame {number} must have exactly 1 pointcloud, not {len(clouds)}")
    cloud_sensors.update(clouds)
    return items


def check_item(place: str, item: object, rules: SceneRules) -> Item:
    """Check a cloud or an image, without what its URL points to, and return it.

    Raises:
        SceneError: A rule is broken.
    """
    if not isinstance(item, dict):
        raise SceneError(f"{place}: an item must be an object")
    reference_id, kind, url = item.get("reference_id"), item.get("type"), item.get("url")
    if not is_text(reference_id):
        raise SceneError(f"{place}: an item needs a reference_id that is a non-empty string")
    place = f"{place}, item {reference_id!r}"
    if kind not in ("pointcloud", "image"):
        raise SceneError(f"{place}: type must be 'pointcloud' or 'image', not {kind!r}")
    if not isinstance(item.get("metadata", {}), dict):
        raise SceneError(f"{place}: metadata must be an object")
    check_url(place, url, rules)
    if kind == "pointcloud" and "embedding_info" in item:
        raise SceneError(f"{place}: a pointcloud cannot have an embedding")
    _check_cameras(place, item, strict=rules.strict)
    return Item(place, reference_id, str(kind), str(url))


def check_url(place: str, url: object, rules: SceneRules) -> None:
    """Check that a URL is of a kind that the service can read.

    Raises:
        SceneError: It is not.
    """
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        usable = bool(parts.scheme and (parts.netloc or parts.scheme == "file"))
    except ValueError:
        usable = False
    if not usable or not isinstance(url, str) or not url.isprintable() or " " in url:
        raise SceneError(f"{place}: url is missing or no URL")
    if parts.scheme not in rules.url_schemes:
        message = f"{place}: scheme {parts.scheme!r} of {shown_url(url)} is not one of {sorted(rules.url_schemes)}"
        raise SceneError(message)


def _check_unique(items: list[Item]) -> None:
    seen: dict[str, Item] = {}
    for item in items:
        other = seen.setdefault(item.reference_id, item)
        if other is not item:
            raise SceneError(f"{item.place}: the reference_id is that of {other.place} already")


def _check_cameras(place: str, item: Mapping[str, Any], *, strict: bool) -> None:
    raw, normalised = item.get("metadata", {}).get("camera_params"), item.get("camera_params")
    if raw is None and normalised is None:
        return
    if raw is None or normalised is None:
        missing = "metadata" if raw is None else "the item itself"
        raise SceneError(f"{place}: camera_params must stand in metadata and in the item; {missing} lacks them")
    for camera in (raw, normalised):
        check_camera(place, camera, CAMERA_MODELS, strict=strict)
    for key in _NORMALISED:
        if (raw.get(key) or 0) != (normalised.get(key) or 0):
            raise SceneError(f"{place}: camera_params.{key} differs between metadata and item")


def check_camera(place: str, camera: object, models: frozenset[str], *, strict: bool) -> None:
    """Check one set of camera_params.

    Raises:
        SceneError: A key is missing, or a value cannot be used.
    """
    if not isinstance(camera, dict):
        raise SceneError(f"{place}: camera_params must be an object")
    check_vector(f"{place}: camera_params.position", camera.get("position"))
    check_heading(f"{place}: camera_params.heading", camera.get("heading"), strict=strict)
    for key in (*_INTRINSICS, *(key for key in _COEFFICIENTS if key in camera)):
        if not is_number(camera.get(key)):
            raise SceneError(f"{place}: camera_params.{key} must be a number, not {camera.get(key)!r}")
    model = camera.get("camera_model", "brown_conrady")
    if not isinstance(model, str) or model not in models:
        raise SceneError(f"{place}: camera_model {model!r} is not one of {sorted(models)}")


def check_vector(place: str, value: object, axes: Iterable[str] = "xyz") -> dict[str, float]:
    """Check an object of named numbers and return it.

    Raises:
        SceneError: One is missing or no number.
    """
    if not isinstance(value, dict) or not all(is_number(value.get(axis)) for axis in axes):
        raise SceneError(f"{place} must be an object with numbers {', '.join(axes)}")
    return value


def check_heading(place: str, value: object, *, strict: bool) -> None:
    """Check a quaternion; only ``strict`` asks for one of unit length.

    Raises:
        SceneError: It is not an object of four numbers, or not a rotation.
    """
    quaternion = check_vector(place, value, "xyzw")
    length = math.hypot(*(quaternion[axis] for axis in "xyzw"))
    if strict and abs(length - 1.0) > UNIT_TOLERANCE:
        raise SceneError(f"{place} must be a unit quaternion; its length is {length:.6g}")
