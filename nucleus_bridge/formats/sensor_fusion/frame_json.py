# SPDX-License-Identifier: Apache-2.0
"""Sensor-fusion frames as JSON: a Frame object in a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from nucleus_bridge.errors import SceneError
from nucleus_bridge.formats.content import Buffer, SceneFrame, SceneImage
from nucleus_bridge.formats.rounding import gps_pose, quaternion, vector
from nucleus_bridge.formats.sensor_fusion.frame_file import COEFFICIENTS
from nucleus_bridge.formats.sensor_fusion.radar import RadarPoint, radar_points

_POINTS = b'"points":['


def encode_frame(frame: SceneFrame, points_json: Buffer) -> tuple[Buffer, ...]:
    """Put a frame and the text of its points, as ``encode_points`` writes them, together to a Frame object.

    Returns:
        The document's bytes in pieces, ready for ``writelines``; the points are not copied.
    """
    before, behind = _before_points(frame), _behind_points(frame)
    return _text(before)[:-1] + b',"points":', points_json, b"," + _text(behind)[1:]


def record_of(frame: SceneFrame) -> dict[str, Any]:
    """Return a Frame object without its points."""
    return {**_before_points(frame), **_behind_points(frame)}


def _before_points(frame: SceneFrame) -> dict[str, Any]:
    record: dict[str, Any] = {
        "device_position": vector(frame.position),
        "device_heading": quaternion(frame.heading_xyzw),
    }
    if frame.gps is not None:
        record["device_gps_pose"] = gps_pose(frame.gps)
    return record


def _behind_points(frame: SceneFrame) -> dict[str, Any]:
    record: dict[str, Any] = {}
    radar = radar_points(frame)
    if radar is not None:
        record["radar_points"] = [_radar_point(point) for point in radar]
    record["images"] = [_camera_image(image) for image in frame.images]
    record["timestamp"] = frame.timestamp_ns
    return record


def _text(record: dict[str, Any]) -> bytes:
    return json.dumps(record, allow_nan=False, separators=(",", ":")).encode("ascii")


def _radar_point(point: RadarPoint) -> dict[str, Any]:
    record: dict[str, Any] = {"position": dict(zip("xyz", point.position, strict=True))}
    if point.direction is not None:
        record["direction"] = dict(zip("xyz", point.direction, strict=True))
    if point.size is not None:
        record["size"] = point.size
    return record


def _camera_image(image: SceneImage) -> dict[str, Any]:
    model = image.model
    record: dict[str, Any] = {"timestamp": image.stamp_ns, "image_url": image.path}
    if model.scale_factor != 1.0:
        record["scale_factor"] = model.scale_factor
    record |= {"position": vector(image.position), "heading": quaternion(image.heading_xyzw)}
    if image.priority:
        record["priority"] = image.priority
    record |= {"camera_index": image.camera_index, "camera_model": model.model}
    record |= {"fx": model.fx, "fy": model.fy, "cx": model.cx, "cy": model.cy, "skew": model.skew}
    record |= {name: model.distortion[name] for name in COEFFICIENTS[model.model] if name in model.distortion}
    return record


def points_span(document: bytes) -> slice:
    """Return where the array of points lies in a frame or point cloud file as this package writes them.

    Raises:
        SceneError: There is none.
    """
    start = document.find(_POINTS)
    stop = document.find(b"]", start)  # points hold neither lists nor texts
    if start < 0 or stop < 0:
        raise SceneError("is not a frame as this package writes them: it has no list of points")
    return slice(start + len(_POINTS) - 1, stop + 1)


def without_points(document: bytes, points: slice) -> dict[str, Any]:
    """Parse a frame or point cloud file whose points, which lie at ``points``, are taken for an empty list.

    Raises:
        SceneError: The rest is not a JSON object.
    """
    try:
        frame = json.loads(document[: points.start] + b"[]" + document[points.stop :])
    except ValueError as error:
        raise SceneError(f"is not JSON: {error}") from None
    if not isinstance(frame, dict):
        raise SceneError("is not a JSON object")
    return frame


def image_urls(document: bytes) -> list[str]:
    """List the ``image_url`` of every image.

    Raises:
        SceneError: It is not a frame.
    """
    return [image["image_url"] for image in _images(without_points(document, points_span(document)))]


def replace_image_urls(document: bytes, url_of: Callable[[str], str]) -> bytes:
    """Replace the ``image_url`` of every image; the text of the points stays as it is.

    Raises:
        SceneError: It is not a frame.
    """
    points = points_span(document)
    frame = without_points(document, points)
    for image in _images(frame):
        image["image_url"] = url_of(image["image_url"])
    text = _text(frame)
    place = points_span(text)
    return b"".join([text[: place.start], memoryview(document)[points], text[place.stop :]])


def _images(frame: dict[str, Any]) -> list[dict[str, Any]]:
    images = frame.get("images", [])
    if not isinstance(images, list) or not all(
        isinstance(image, dict) and isinstance(image.get("image_url"), str) for image in images
    ):
        raise SceneError("is not a frame: its images are not a list of objects with an image_url")
    return images
