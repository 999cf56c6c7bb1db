# SPDX-License-Identifier: Apache-2.0
"""Sensor-fusion frames as JSON: a Frame object in a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from nucleus_bridge.errors import SceneError

_POINTS = b'"points":['


def points_span(document: bytes) -> slice:
    """Return where the array of points lies in a frame or point cloud file as this package writes them.

    Raises:
        SceneError: There is none.
    """
    start = document.find(_POINTS)
    stop = document.find(b"]", start)  # points hold neither lists nor texts
    if start < 0 or stop < 0:
        raise SceneError("is no frame as this package writes them: it has no list of points")
    return slice(start + len(_POINTS) - 1, stop + 1)


def without_points(document: bytes, points: slice) -> dict[str, Any]:
    """Parse a frame or point cloud file whose points, which lie at ``points``, are taken for an empty list.

    Raises:
        SceneError: The rest is no JSON object.
    """
    try:
        frame = json.loads(document[: points.start] + b"[]" + document[points.stop :])
    except ValueError as error:
        raise SceneError(f"is no JSON: {error}") from None
    if not isinstance(frame, dict):
        raise SceneError("is no JSON object")
    return frame


def image_urls(document: bytes) -> list[str]:
    """List the ``image_url`` of every image.

    Raises:
        SceneError: It is no frame.
    """
    return [image["image_url"] for image in _images(without_points(document, points_span(document)))]


def replace_image_urls(document: bytes, url_of: Callable[[str], str]) -> bytes:
    """Replace the ``image_url`` of every image; the text of the points stays as it is.

    Raises:
        SceneError: It is no frame.
    """
    points = points_span(document)
    frame = without_points(document, points)
    for image in _images(frame):
        image["image_url"] = url_of(image["image_url"])
    text = json.dumps(frame, allow_nan=False, separators=(",", ":")).encode()
    place = points_span(text)
    return b"".join([text[: place.start], memoryview(document)[points], text[place.stop :]])


def _images(frame: dict[str, Any]) -> list[dict[str, Any]]:
    images = frame.get("images", [])
    if not isinstance(images, list) or not all(
        isinstance(image, dict) and isinstance(image.get("image_url"), str) for image in images
    ):
        raise SceneError("is no frame: its images are no list of objects with an image_url")
    return images
