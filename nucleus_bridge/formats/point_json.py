# SPDX-License-Identifier: Apache-2.0
"""Point clouds to JSON at memory speed, with numpy alone.

All points of a cloud get records of one length: numbers are padded with leading spaces (legal JSON whitespace) to the
widest of their column. A block of records is filled with the text they share; then each number's text is taken from a
table as one 8-byte word and laid over the record. A word may reach past its number: what lies there is either shared
text, which the word repeats, or the next number, which is laid down later.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.errors import CloudError, InvalidTransformError
from nucleus_bridge.formats import digits
from nucleus_bridge.formats.content import Buffer
from nucleus_bridge.formats.point_fields import (
    Field,
    Scratch,
    Slot,
    coordinates,
    devices,
    grounds,
    intensities,
    times,
)
from nucleus_bridge.formats.rounding import gps_pose, quaternion, vector
from nucleus_bridge.model import FloatArray, GpsPose

_BLOCK_POINTS = 8192  # a block's records and temporaries stay in a core's level 2 cache
_PATTERN_POINTS = 1024


def encode_points(
    xyz: NDArray[np.floating[Any]],
    *,
    intensity: NDArray[np.float32] | None = None,
    device: NDArray[np.uint8] | int | None = None,
    time_ns: NDArray[np.int64] | None = None,
    is_ground: NDArray[np.bool_] | None = None,
) -> memoryview:
    """Write points as a JSON array of objects with the keys x, y, z and, as given, i, d, t, is_ground.

    Args:
        xyz: Shape (n, 3), metres; contiguous columns are the fastest. Written as ``rint(value * 1000)`` thousandths in
            float64: half to even.
        intensity: Shape (n,), 0 to 1. Written with 3 decimals, half to even.
        device: Shape (n,) or one number for all points, 0 to 255.
        time_ns: Shape (n,), nanoseconds, not negative.
        is_ground: Shape (n,).

    Returns:
        The array's bytes, ready for ``write`` and ``hashlib`` without a copy.

    Raises:
        CoordinateRangeError: A coordinate is not finite or not below 100 km.
        CloudError: A column's length or a value in it is not as above.
    """
    points = np.asarray(xyz)
    count = check_shapes(points, {"intensity": intensity, "device": device, "time_ns": time_ns, "is_ground": is_ground})
    if not count:
        return memoryview(b"[]")
    fields: list[Field] = [*coordinates(points)]
    if intensity is not None:
        fields.append(intensities(np.asarray(intensity)))
    if device is not None:
        fields.append(devices(np.asarray(device)))
    if time_ns is not None:
        fields.append(times(np.asarray(time_ns, np.int64)))
    if is_ground is not None:
        fields.append(grounds(np.asarray(is_ground, np.bool_)))
    return _encode(count, fields)


def check_shapes(points: NDArray[Any], columns: Mapping[str, Any]) -> int:
    """Check that points have the shape (n, 3) and columns (n,), a device perhaps (); returns n.

    Raises:
        CloudError: One has another shape.
    """
    if points.ndim != 2 or points.shape[1] != 3:
        raise CloudError(f"points have the shape {points.shape}; expected (n, 3)", cause="shape")
    count = len(points)
    for name, column in columns.items():
        if column is not None and np.shape(column) != (count,) and not (name == "device" and np.ndim(column) == 0):
            raise CloudError(f"{name} has the shape {np.shape(column)} for {count} points", cause="shape")
    return count


def encode_cloud(
    points_json: Buffer,
    *,
    device_position: FloatArray,
    device_heading_xyzw: FloatArray,
    gps: GpsPose | None,
    timestamp_ns: int,
) -> tuple[Buffer, ...]:
    """Put the array of points and the device's pose together to a point cloud document.

    Args:
        points_json: What ``encode_points`` returned.
        device_position: Shape (3,), metres.
        device_heading_xyzw: Shape (4,), unit quaternion.
        gps: Pose on the globe, or None.
        timestamp_ns: Start of the sensor rotation.

    Returns:
        The document's bytes in pieces, ready for ``writelines``; the points are not copied.

    Raises:
        InvalidTransformError: A number of the pose is not finite.
    """
    document: dict[str, Any] = {
        "device_position": vector(device_position),
        "device_heading": quaternion(device_heading_xyzw),
    }
    if gps is not None:
        document["device_gps_pose"] = gps_pose(gps)
    for name, pose in document.items():
        if not np.isfinite(list(pose.values())).all():
            raise InvalidTransformError(f"{name} is {pose}; expected finite numbers")
    document["timestamp"] = int(timestamp_ns)
    rest = json.dumps(document, separators=(",", ":"))
    return b'{"points":', points_json, b"," + rest[1:].encode()


def _encode(count: int, fields: Sequence[Field]) -> memoryview:
    record, offsets = _layout(fields)
    length = len(record)
    buffer = np.empty(1 + count * length + digits.WORD_BYTES, np.uint8)  # the last point's words may reach past it
    overlays = [
        [_overlay(slot, offset, record, buffer, count) for slot, offset in zip(field.slots, field_offsets, strict=True)]
        for field, field_offsets in zip(fields, offsets, strict=True)
    ]
    pattern = np.frombuffer(record * min(_PATTERN_POINTS, count), np.uint8)
    size = min(_BLOCK_POINTS, count)
    scratch = Scratch(size)
    indices = np.empty((max(field.rows for field in fields), size), np.int64)
    words = np.empty(size, digits.WORD)
    for start in range(0, count, size):
        block = slice(start, min(start + size, count))
        points = block.stop - start
        _repeat(pattern, buffer[1 + start * length : 1 + block.stop * length])
        for field, field_overlays in zip(fields, overlays, strict=True):
            field.index(block, scratch, indices[: field.rows, :points])
            for row, table, column in field_overlays:
                np.take(table, indices[row, :points], out=words[:points], mode="clip")  # the default would buffer out
                np.copyto(column[block], words[:points])
    buffer[0] = ord("[")
    buffer[count * length] = ord("]")  # in place of the last comma
    return buffer.data[: 1 + count * length].toreadonly()


def _layout(fields: Sequence[Field]) -> tuple[bytes, list[list[int]]]:
    """Return one point's text with blanks for its slots, and the offsets of each field's slots."""
    record = b"{"
    offsets = []
    for field in fields:
        record += b'"%s":' % field.key
        slot_offsets = []
        for part in field.parts:
            if isinstance(part, Slot):
                slot_offsets.append(len(record))
                record += b" " * part.width
            else:
                record += part
        record += b","
        offsets.append(slot_offsets)
    return record[:-1] + b"},", offsets


def _overlay(
    slot: Slot, offset: int, record: bytes, buffer: NDArray[np.uint8], count: int
) -> tuple[int, digits.Words, digits.Words]:
    """Return the slot's row of indices, its table, and the words of the buffer that begin at the slot, one a point."""
    following = (record + record)[offset + slot.width : offset + digits.WORD_BYTES]
    column: digits.Words = np.ndarray(count, digits.WORD, buffer, 1 + offset, (len(record),))
    return slot.row, slot.table(following), column


def _repeat(pattern: NDArray[np.uint8], target: NDArray[np.uint8]) -> None:
    """Fill the target, a multiple of the record's length, with the pattern from its start."""
    whole = len(target) - len(target) % len(pattern)
    target[:whole].reshape(-1, len(pattern))[:] = pattern
    target[whole:] = pattern[: len(target) - whole]
