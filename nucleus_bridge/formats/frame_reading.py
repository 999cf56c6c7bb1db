# SPDX-License-Identifier: Apache-2.0
"""Frames as this package writes them, as JSON or in a Nucleus scene, back to what they say; nothing is passed over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from nucleus_bridge.errors import InvalidTransformError, SceneError
from nucleus_bridge.formats.sensor_fusion_frame import CameraImage, RadarPoint, SensorFusionFrame, radar_point
from nucleus_bridge.formats.sensor_fusion_json import points_span, without_points
from nucleus_bridge.formats.sensor_fusion_protobuf import INTRINSICS
from nucleus_bridge.model import CameraModel, FloatArray, GpsPose

Record = dict[str, Any]

_INTRINSICS = ("fx", "fy", "cx", "cy", "skew")


def read_frame(document: bytes) -> tuple[SensorFusionFrame, slice]:
    """Read a Frame object, or the point cloud file of a Nucleus scene.

    Returns:
        The frame, and where the text of its points lies in the document.

    Raises:
        SceneError: Something is missing, or is there that is not known.
    """
    points = points_span(document)
    record = without_points(document, points)
    with _reading("the frame"):
        del record["points"]
        gps = record.pop("device_gps_pose", None)
        radar = record.pop("radar_points", None)
        frame = SensorFusionFrame(
            record.pop("timestamp"),
            _vector(record.pop("device_position")),
            _quaternion(record.pop("device_heading")),
            None if gps is None else _gps_pose(gps),
            tuple(read_camera(dict(image)) for image in record.pop("images", ())),
            None if radar is None else tuple(_radar_point(point) for point in radar),
        )
        _require_empty(record)
    return frame, points


def read_camera(record: Record) -> CameraImage:
    """Read a CameraImage, or the camera_params of a Nucleus item with an ``image_url``.

    Raises:
        SceneError: Something is missing, or is there that is not known.
    """
    with _reading(f"the image {record.get('image_url')!r}"):
        record = dict(record)
        name = record.pop("camera_model")
        lens = {key: record.pop(key) for key in _INTRINSICS}
        distortion = {key: record.pop(key) for key in INTRINSICS[name][1] if key in record}
        model = CameraModel(name, 0, 0, **lens, distortion=distortion, scale_factor=record.pop("scale_factor", 1.0))
        image = CameraImage(
            record.pop("image_url"),
            record.pop("timestamp"),
            _vector(record.pop("position")),
            _quaternion(record.pop("heading")),
            model,
            record.pop("camera_index"),
            record.pop("priority", 0),
        )
        _require_empty(record)
    return image


@contextmanager
def _reading(what: str) -> Iterator[None]:
    try:
        yield
    except KeyError as error:
        raise SceneError(f"{what} has no {error.args[0]}, or one that is not known") from None
    except (TypeError, ValueError, AttributeError, InvalidTransformError) as error:
        raise SceneError(f"{what} is not written as this package writes it: {error}") from None


def _require_empty(record: Mapping[str, Any]) -> None:
    if record:
        raise ValueError(f"{min(record)} would be lost")


def _vector(record: Record) -> FloatArray:
    return np.array(_numbers(record, "xyz"))


def _quaternion(record: Record) -> FloatArray:
    return np.array(_numbers(record, "xyzw"))


def _gps_pose(record: Record) -> GpsPose:
    return GpsPose(*_numbers(record, ("lat", "lon", "bearing")))


def _radar_point(record: Record) -> RadarPoint:
    rest = dict(record)
    position, direction, size = rest.pop("position"), rest.pop("direction", None), rest.pop("size", None)
    _require_empty(rest)
    return radar_point(_numbers(position, "xyz"), None if direction is None else _numbers(direction, "xyz"), size)


def _numbers(record: Record, keys: Any) -> list[float]:  # noqa: ANN401 - any sequence of keys, a text for one
    _require_empty({key: value for key, value in record.items() if key not in keys})
    return [float(record[key]) for key in keys]
