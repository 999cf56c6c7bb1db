# SPDX-License-Identifier: Apache-2.0
"""Nucleus scene payload: camera_params, items, frames, one JSON object a scene."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from nucleus_bridge.formats.content import SceneFrame, SceneImage
from nucleus_bridge.formats.rounding import quaternion, vector

COEFFICIENTS = {
    "brown_conrady": frozenset({"k1", "k2", "k3", "p1", "p2"}),
    "fisheye": frozenset({"k1", "k2", "k3", "k4"}),
}
"""Distortion coefficients by the camera models that Nucleus knows."""

_NORMALISED_ALWAYS = ("position", "heading", "fx", "fy", "cx", "cy")
_NORMALISED_NONZERO = ("k1", "k2", "k3", "k4", "p1", "p2", "camera_model")


def camera_params(image: SceneImage) -> dict[str, Any]:
    """Describe an image's camera the way annotation frames do, without the image's URL."""
    model = image.model
    params: dict[str, Any] = {
        "position": vector(image.position),
        "heading": quaternion(image.heading_xyzw),
        "fx": model.fx,
        "fy": model.fy,
        "cx": model.cx,
        "cy": model.cy,
        "skew": model.skew,
        **model.distortion,
        "camera_model": model.model,
        "timestamp": image.stamp_ns,
        "camera_index": image.camera_index,
    }
    if model.scale_factor != 1.0:
        params["scale_factor"] = model.scale_factor
    if image.priority:
        params["priority"] = image.priority
    return params


def normalised_camera_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the item-level copy: the keys that Nucleus reads, coefficients of zero left out."""
    normalised = {key: params[key] for key in _NORMALISED_ALWAYS}
    normalised.update({key: params[key] for key in _NORMALISED_NONZERO if params.get(key)})
    return normalised


def cloud_item(reference_id: str, url: str) -> dict[str, Any]:
    """Return a point cloud item."""
    return {"metadata": {}, "reference_id": reference_id, "url": url, "type": "pointcloud"}


def image_item(reference_id: str, url: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return an image item; the camera_params stand in it twice, as the service's own client sends them."""
    return {
        "metadata": {"camera_params": dict(params)},
        "reference_id": reference_id,
        "url": url,
        "type": "image",
        "camera_params": normalised_camera_params(params),
    }


def with_metadata(items: Mapping[str, Mapping[str, Any]], metadata: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a frame's items with further metadata in each of them."""
    return {name: {**item, "metadata": {**item["metadata"], **metadata}} for name, item in items.items()}


def scene_payload(
    reference_id: str,
    frames: Sequence[Mapping[str, Mapping[str, Any]]],
    metadata: Mapping[str, str | bool | int | float],
) -> dict[str, Any]:
    """Return a scene: frames in order, each a mapping of sensor name to item."""
    payload: dict[str, Any] = {"reference_id": reference_id, "frames": [dict(frame) for frame in frames]}
    if metadata:
        payload["metadata"] = dict(metadata)
    return payload


def encode_payload(payload: Mapping[str, Any]) -> bytes:
    """Serialise a payload as one ASCII line; NaN and infinity are refused.

    Raises:
        ValueError: A number is not finite.
    """
    return (json.dumps(payload, allow_nan=False, separators=(",", ":")) + "\n").encode("ascii")


def cloud_path(cloud_sensor: str, number: int) -> str:
    """Name a cloud's file."""
    return f"{cloud_sensor}/{number:06d}.json"


def items_of(frame: SceneFrame, reference_id: str, cloud_sensor: str) -> dict[str, dict[str, Any]]:
    """Return a frame's items by sensor."""
    cloud_id = f"{reference_id}-{cloud_sensor}-{frame.number:06d}"
    items = {cloud_sensor: cloud_item(cloud_id, cloud_path(cloud_sensor, frame.number))}
    for image in frame.images:
        item_id = f"{reference_id}-{image.camera}-{frame.number:06d}"
        items[image.camera] = image_item(item_id, image.path, camera_params(image))
    return with_metadata(items, frame.metadata) if frame.metadata else items
