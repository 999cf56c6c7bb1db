# SPDX-License-Identifier: Apache-2.0
"""Read a LidarFrame message without a protobuf library: its content under the keys of JSON, its points as columns."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.errors import SceneError
from nucleus_bridge.formats.content import Track
from nucleus_bridge.formats.interface import Place
from nucleus_bridge.formats.reading import below
from nucleus_bridge.formats.sensor_fusion.frame_protobuf import INTRINSICS, frame_fields
from nucleus_bridge.formats.sensor_fusion.point_protobuf import FRAME_POINTS, NUMBERS
from nucleus_bridge.formats.sensor_fusion.protobuf_wire import (
    FIXED32,
    FIXED64,
    LENGTH_DELIMITED,
    VARINT,
    WireField,
    fields,
    read_varint,
)

Record = dict[str, Any]
Columns = dict[str, NDArray[np.float64]]

_BEGINNING_BYTES = 2048
_FLOAT, _DOUBLE, _INT32, _TEXT, _BYTES = "float", "double", "int32", "text", "bytes"
_WIRE_TYPES = {
    _FLOAT: FIXED32,
    _DOUBLE: FIXED64,
    _INT32: VARINT,
    _TEXT: LENGTH_DELIMITED,
    _BYTES: LENGTH_DELIMITED,
}


@dataclass(frozen=True)
class _Message:
    """A message: key and kind of each field by its number, and which must be there."""

    fields: Mapping[int, tuple[str, Any]]
    required: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()


def _floats(*keys: str, required: int | None = None) -> _Message:
    return _Message({number: (key, _FLOAT) for number, key in enumerate(keys, 1)}, keys[:required])


_VECTOR, _QUATERNION = _floats("x", "y", "z"), _floats("w", "x", "y", "z")
_RADAR_POINT = _Message({1: ("position", _VECTOR), 2: ("direction", _VECTOR), 3: ("size", _FLOAT)}, ("position",))
_IMAGE = _Message(
    {
        1: ("timestamp", _DOUBLE),
        2: ("image_url", _TEXT),
        3: ("position", _VECTOR),
        4: ("heading", _QUATERNION),
        5: ("scale_factor", _FLOAT),
        6: ("priority", _INT32),
        7: ("camera_index", _INT32),
        **{number: (model, _floats(*keys, required=4)) for model, (number, keys) in INTRINSICS.items()},
    },
    ("image_url", "position", "heading"),
)
_FRAME = _Message(
    {
        1: ("device_position", _VECTOR),
        2: ("device_heading", _QUATERNION),
        3: ("device_gps_pose", _floats("lat", "lon", "bearing")),
        5: ("radar_points", _RADAR_POINT),
        6: ("images", _IMAGE),
        7: ("timestamp", _DOUBLE),
        8: ("extra", _BYTES),
    },
    ("device_position",),
    ("radar_points", "images"),
)
_POINT_KEYS = {number: key for key, number in NUMBERS.items()}
_POINT_KINDS = {VARINT: "u1", FIXED32: "<f4", FIXED64: "<f8"}
_POINT_WIRE_TYPES = {**dict.fromkeys("xyzi", FIXED32), "d": VARINT, "t": FIXED64, "is_ground": VARINT}


def read_lidar_frame(document: bytes) -> tuple[Record, list[Columns]]:
    """Read a frame.

    Returns:
        The frame but for its points, under the keys of JSON, an image with its ``camera_model``; and the points in
        runs of the same keys, each a column by key, in the order of the file.

    Raises:
        SceneError: It is not a message of that type, or a required field is missing.
    """
    runs: list[Columns] = []
    others: list[WireField] = []
    for field, count in frame_fields(document):
        if field.number == FRAME_POINTS:
            runs += _point_runs(document, field, count)
        else:
            others.append(field)
    frame = _record(document, others, _FRAME, "the frame")
    frame["images"] = [_with_model(image) for image in frame["images"]]
    return frame, runs


def protobuf_track(folder: Place, paths: Iterable[str]) -> Track:
    """Read where the device was from the beginnings of frame files, which say so before the points.

    Raises:
        OSError: A file cannot be read.
    """
    positions, fixes = [], []
    for path in paths:
        with below(folder, path).open("rb") as file:
            said = _beginning(file.read(_BEGINNING_BYTES))
        if (position := said.get("device_position")) is not None:
            positions.append((position["x"], position["y"], position["z"]))
        if (fix := said.get("device_gps_pose")) is not None:
            fixes.append((fix["lat"], fix["lon"]))
    return Track(tuple(positions), tuple(fixes))


def _beginning(document: bytes) -> Record:
    """Return what a frame says before its points."""
    found = []
    with suppress(SceneError):  # the first point or image may be cut off
        for field in fields(document):
            if field.number == FRAME_POINTS:
                break
            found.append(field)
    return _record(document, [field for field in found if field.number in _FRAME.fields], _FRAME, "the frame")


def _record(document: bytes, found: list[WireField], message: _Message, what: str) -> Record:
    record: Record = {key: [] for key in message.repeated}
    for field in found:
        if field.number not in message.fields:
            raise SceneError(f"{what} has a field {field.number}, which is not known (byte {field.start})")
        key, kind = message.fields[field.number]
        value = _value(document, field, kind, key)
        if key in message.repeated:
            record[key].append(value)
        else:
            record[key] = value
    missing = [key for key in message.required if key not in record]
    if missing:
        raise SceneError(f"{what} has no {missing[0]}")
    return record


def _value(document: bytes, field: WireField, kind: Any, key: str) -> Any:  # noqa: ANN401 - as its kind says
    is_message = isinstance(kind, _Message)
    if field.wire_type != (LENGTH_DELIMITED if is_message else _WIRE_TYPES[kind]):
        raise SceneError(f"{key} has the wire type {field.wire_type} (byte {field.start})")
    if is_message:
        return _record(document, list(fields(document, field.content, field.stop)), kind, key)
    content = document[field.content : field.stop]
    if kind == _FLOAT:
        return struct.unpack("<f", content)[0]
    if kind == _DOUBLE:
        return struct.unpack("<d", content)[0]
    if kind == _INT32:
        number = read_varint(document, field.content, field.stop)[0] & 0xFFFFFFFF
        return number - 2**32 if number >= 2**31 else number
    if kind == _BYTES:
        return content
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise SceneError(f"{key} is not UTF-8 (byte {field.content})") from None


def _with_model(image: Record) -> Record:
    """Put the intrinsics beside the image's other keys, as JSON has them."""
    models = [name for name in INTRINSICS if name in image]
    if len(models) != 1:
        raise SceneError(
            f"the image {image['image_url']!r} has the intrinsics of {len(models)} camera models, not of 1"
        )
    intrinsics = image.pop(models[0])
    return {**image, "camera_model": models[0], **intrinsics}


def _point_runs(document: bytes, first: WireField, count: int) -> list[Columns]:
    """Read points of one length; those that also have the same fields are one run."""
    if first.wire_type != LENGTH_DELIMITED:
        raise SceneError(f"points have the wire type {first.wire_type} (byte {first.start})")
    length = first.stop - first.start
    rows = np.frombuffer(document, np.uint8, count * length, first.start).reshape(count, length)
    runs = []
    done = 0
    while done < count:
        place = first.start + done * length
        found = list(fields(document, place + first.content - first.start, place + length))
        fixed, columns = _layout(document, found, place, length)
        same = (rows[done:, fixed] == rows[done, fixed]).all(axis=1)
        for key, (offset, kind) in columns.items():
            if kind == "u1" and key != "d_high":
                last = offset + ("d_high" in columns and key == "d")
                same &= rows[done:, last] < 128
        same_count = len(same) if same.all() else max(1, int(np.argmin(same)))
        runs.append(_columns(rows[done : done + same_count], columns))
        done += same_count
    return runs


def _layout(
    document: bytes, found: list[WireField], start: int, length: int
) -> tuple[NDArray[np.intp], dict[str, tuple[int, str]]]:
    """Return which bytes of a point are not values, and where its values are."""
    is_value = np.zeros(length, np.bool_)
    columns: dict[str, tuple[int, str]] = {}
    for field in found:
        key = _POINT_KEYS.get(field.number, "")
        if not key or field.wire_type != _POINT_WIRE_TYPES[key]:
            raise SceneError(f"a point has a field {field.number} that is not known (byte {field.start})")
        offset, size = field.content - start, field.stop - field.content
        if field.wire_type == VARINT and size > 1 + (key == "d"):
            raise SceneError(f"{key} of a point is {read_varint(document, field.content, field.stop)[0]}")
        columns[key] = offset, _POINT_KINDS[field.wire_type]
        is_value[offset : offset + size] = True
        if field.wire_type == VARINT and size > 1:
            columns["d_high"] = offset + 1, "u1"
    missing = [axis for axis in "xyz" if axis not in columns]
    if missing:
        raise SceneError(f"a point has no {missing[0]} (byte {start})")
    return np.flatnonzero(~is_value), columns


def _columns(rows: NDArray[np.uint8], places: Mapping[str, tuple[int, str]]) -> Columns:
    with np.errstate(invalid="ignore"):  # a NaN that signals is one like any other
        columns = {
            key: np.ascontiguousarray(rows[:, offset : offset + np.dtype(kind).itemsize])
            .view(kind)[:, 0]
            .astype(np.float64)
            for key, (offset, kind) in places.items()
        }
    if "d_high" in columns:
        columns["d"] = columns["d"] - 128 + 128 * columns.pop("d_high")
    return columns
