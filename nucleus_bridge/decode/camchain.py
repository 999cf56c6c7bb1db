# SPDX-License-Identifier: Apache-2.0
"""Kalibr's camera chains as calibration files: the intrinsics of the camera that a topic belongs to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from nucleus_bridge.errors import ConfigError

Content = Mapping[str, Any]

_CAMERA = re.compile(r"cam\d{1,4}")
_DISTORTIONS = {"radtan": "plumb_bob", "equidistant": "equidistant", "none": "plumb_bob"}
_RESOLUTION, _PINHOLE, _OMNI = 2, 4, 5


def is_camera_chain(content: Content) -> bool:
    """Say whether a file is a Kalibr camchain with intrinsics."""
    return any(_is_camera(name, entry) for name, entry in content.items())


def camera_of_chain(content: Content, topic: str, where: str) -> Content:
    """Return one camera of a chain as a file of camera_calibration has it.

    Args:
        content: The chain (ethz-asl/kalibr, ConfigReader).
        topic: The camera's image topic: the entry whose ``rostopic`` is in its namespace is taken, or the only one.
        where: What names the file, for errors.

    Raises:
        ConfigError: No entry belongs to the topic, or its camera model has no counterpart.
    """
    cameras = {name: entry for name, entry in content.items() if _is_camera(name, entry)}
    fitting = [name for name, entry in cameras.items() if _namespace(entry.get("rostopic")) == _namespace(topic)]
    if len(cameras) > 1 and len(fitting) != 1:
        there = ", ".join(f"{name} of {entry.get('rostopic')}" for name, entry in cameras.items())
        raise ConfigError(f"{where}: has {there}; set the rostopic of the one that {topic} belongs to")
    name = fitting[0] if fitting else next(iter(cameras))
    return _as_camera_info(cameras[name], f"{where}, {name}")


def _as_camera_info(camera: Content, where: str) -> Content:
    model, distortion = camera.get("camera_model"), camera.get("distortion_model")
    width, height = _numbers(camera, "resolution", _RESOLUTION, where)
    coefficients = camera.get("distortion_coeffs") or []
    if model == "pinhole" and distortion in _DISTORTIONS:
        fx, fy, cx, cy = _numbers(camera, "intrinsics", _PINHOLE, where)
        known = _DISTORTIONS[distortion]
    elif model == "omni" and distortion in ("radtan", "none"):
        xi, fx, fy, cx, cy = _numbers(camera, "intrinsics", _OMNI, where)
        coefficients, known = [xi, *(coefficients or [0.0, 0.0, 0.0, 0.0])], "mei"
    else:
        raise ConfigError(
            f"{where}: camera_model {model!r} with distortion_model {distortion!r} has no counterpart in ROS; "
            "calibrate with pinhole-radtan, pinhole-equi or omni-radtan"
        )
    return {
        "image_width": width,
        "image_height": height,
        "distortion_model": known,
        "distortion_coefficients": {"data": coefficients},
        "camera_matrix": {"data": [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]},
    }


def _is_camera(name: object, entry: object) -> bool:
    return isinstance(entry, Mapping) and "intrinsics" in entry and _CAMERA.fullmatch(str(name)) is not None


def _namespace(topic: object) -> str:
    """Return what the topics of one camera have in common: all before ``image_raw`` and the like."""
    return re.sub(r"/(?:image[^/]*|compressed[^/]*|ffmpeg|video)(?=/|$).*", "", str(topic or "").lstrip("/"))


def _numbers(camera: Content, key: str, count: int, where: str) -> Sequence[Any]:
    value = camera.get(key)
    if not isinstance(value, list) or len(value) != count or not all(type(v) in (int, float) for v in value):
        raise ConfigError(f"{where}: {key} is {value!r:.80}, expected {count} numbers")
    return value
