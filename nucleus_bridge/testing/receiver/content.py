# SPDX-License-Identifier: Apache-2.0
"""What stands behind an item's URL: point cloud JSON and image files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from operator import contains, itemgetter
from typing import Any

import numpy as np

from nucleus_bridge.errors import SceneError
from nucleus_bridge.testing.receiver.scene_rules import check_heading, check_vector
from nucleus_bridge.testing.receiver.strict_json import is_number, parse_json

IMAGE_MAGIC = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG"}
_GPS_RANGES = {"lat": (-90.0, 90.0), "lon": (-180.0, 180.0), "bearing": (0.0, 360.0)}
_NUMBERS: set[type] = {int, float}
_OPTIONAL: dict[str, tuple[Any, set[type], str]] = {
    "d": (0, _NUMBERS, "a number"),
    "t": (0, _NUMBERS, "a number"),
    "is_ground": (False, {bool}, "true or false"),
}
_OPTIONAL_STRICT: dict[str, tuple[Any, set[type], str]] = {**_OPTIONAL, "d": (0, {int}, "an integer")}


def check_cloud(data: bytes, *, strict: bool) -> dict[str, Any]:
    """Check a point cloud document and return it.

    What ``strict`` refuses besides is said in SceneRules; without it, a device's pose that is absent is the origin.

    Raises:
        SceneError: A key is missing, or a value cannot be used.
    """
    try:
        cloud = parse_json(data)
    except ValueError as error:
        raise SceneError(f"the point cloud {error}") from None
    if not isinstance(cloud, dict) or not isinstance(cloud.get("points"), list):
        raise SceneError("a point cloud must be an object with an array of points")
    if strict or "device_position" in cloud:
        check_vector("device_position", cloud.get("device_position"))
    if strict or "device_heading" in cloud:
        check_heading("device_heading", cloud.get("device_heading"), strict=strict)
    if "timestamp" in cloud and not (is_number(cloud["timestamp"]) and cloud["timestamp"] >= 0):
        raise SceneError(f"timestamp must be nanoseconds, not {cloud['timestamp']!r}")
    if "device_gps_pose" in cloud:
        _check_gps(cloud["device_gps_pose"])
    if cloud["points"]:
        _check_points(cloud["points"], strict=strict)
    return cloud


def check_image(chunks: Iterable[bytes]) -> None:
    """Read an image to its end and check by its first bytes that it is one.

    Raises:
        SceneError: It starts like neither a JPEG nor a PNG.
    """
    head = b""
    for chunk in chunks:
        if len(head) < max(map(len, IMAGE_MAGIC)):
            head += bytes(chunk[:16])
    if not head.startswith(tuple(IMAGE_MAGIC)):
        kinds = " or ".join(IMAGE_MAGIC.values())
        raise SceneError(f"the image is not a {kinds} (it starts with {head[:8].hex(' ') or 'nothing'})")


def _check_gps(pose: object) -> None:
    values = check_vector("device_gps_pose", pose, tuple(_GPS_RANGES))
    for key, (low, high) in _GPS_RANGES.items():
        if not low <= values[key] <= high:
            raise SceneError(f"device_gps_pose.{key} {values[key]} must be within {low} and {high}")


def _check_points(points: list[Any], *, strict: bool) -> None:
    _each(map(isinstance, points, repeat(dict)), "a point must be an object")
    used = set().union(*set(map(tuple, points)))
    for axis in "xyz":
        _each(map(contains, points, repeat(axis)), f"a point needs {axis}")
        _numbers(list(map(itemgetter(axis), points)), axis)
    if "i" in used:
        if strict:
            _each(map(contains, points, repeat("i")), "either every point has i, or none")
        _within(_numbers([point.get("i", 0.0) for point in points], "i"), "i", 0.0, 1.0)
    optional = _OPTIONAL_STRICT if strict else _OPTIONAL
    for key in sorted(used & set(optional)):
        default, kinds, what = optional[key]
        values = [point.get(key, default) for point in points]
        _each(map(kinds.__contains__, map(type, values)), f"{key} must be {what}")
        if key != "is_ground":
            _within(_finite(values, key), key, 0.0, np.inf)


def _numbers(values: Sequence[Any], key: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    _each(map(_NUMBERS.__contains__, map(type, values)), f"{key} must be a number")
    return _finite(values, key)


def _finite(values: Sequence[float], key: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    try:
        numbers = np.array(values, dtype=np.float64)
    except OverflowError:
        numbers = np.array([np.inf])
    if not np.isfinite(numbers).all():
        raise SceneError(f"points: {key} must be finite")
    return numbers


def _within(numbers: np.ndarray[Any, np.dtype[np.float64]], key: str, low: float, high: float) -> None:
    outside = numbers[(numbers < low) | (numbers > high)]
    if outside.size:
        raise SceneError(f"points: {key} {outside[0]:g} must be within {low:g} and {high:g}")


def _each(good: Iterable[bool], what: str) -> None:
    index = next((index for index, holds in enumerate(good) if not holds), None)
    if index is not None:
        raise SceneError(f"point {index}: {what}")
