# SPDX-License-Identifier: Apache-2.0
"""Nucleus scene payload: camera_params, items, frames, one JSON object a scene."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from nucleus_bridge.model import CameraModel, FloatArray, GpsPose, Transform

NUCLEUS = "nucleus"
"""The manifest's ``format`` of scenes for Nucleus."""

POSITION_DECIMALS = 6
QUATERNION_DECIMALS = 9
GPS_DECIMALS = 9
BEARING_DECIMALS = 6

_NORMALISED_ALWAYS = ("position", "heading", "fx", "fy", "cx", "cy")
_NORMALISED_NONZERO = ("k1", "k2", "k3", "k4", "p1", "p2", "camera_model")


def vector(xyz: FloatArray) -> dict[str, float]:
    """Return a Vector3, rounded to a micrometre."""
    return {axis: _round(value, POSITION_DECIMALS) for axis, value in zip("xyz", xyz, strict=True)}


def quaternion(xyzw: FloatArray) -> dict[str, float]:
    """Return a Hamilton quaternion of unit length."""
    return {axis: _round(value, QUATERNION_DECIMALS) for axis, value in zip("xyzw", xyzw, strict=True)}


def gps_pose(gps: GpsPose) -> dict[str, float]:
    """Return a GPSPose, rounded to a tenth of a millimetre and a millionth of a degree."""
    return {
        "lat": _round(gps.latitude, GPS_DECIMALS),
        "lon": _round(gps.longitude, GPS_DECIMALS),
        "bearing": _round(gps.bearing, BEARING_DECIMALS),
    }


def _round(value: float, decimals: int) -> float:
    return round(float(value), decimals) + 0.0  # + 0.0 turns -0.0 into 0.0


def camera_params(
    model: CameraModel,
    world_from_camera: Transform,
    offset: Sequence[float],
    stamp_ns: int,
    camera_index: int,
    priority: int = 0,
) -> dict[str, Any]:
    """Describe an image's camera the way annotation frames do, without the image's URL.

    Args:
        model: Intrinsics; ``brown_conrady`` or ``fisheye``.
        world_from_camera: Pose of the optical frame at the image's stamp.
        offset: Subtracted from the position, metres.
        stamp_ns: The image's stamp.
        camera_index: The camera's place in ``camera_names``.
        priority: Which camera takes precedence; 0 is not written.
    """
    params: dict[str, Any] = {
        "position": vector(world_from_camera.translation - offset),
        "heading": quaternion(world_from_camera.rotation_xyzw),
        "fx": model.fx,
        "fy": model.fy,
        "cx": model.cx,
        "cy": model.cy,
        "skew": model.skew,
        **model.distortion,
        "camera_model": model.model,
        "timestamp": stamp_ns,
        "camera_index": camera_index,
    }
    if model.scale_factor != 1.0:
        params["scale_factor"] = model.scale_factor
    if priority:
        params["priority"] = priority
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
