# SPDX-License-Identifier: Apache-2.0
"""Point clouds to protocol buffers at memory speed, with numpy alone.

All points of a cloud get Point messages of one length, so that the points of a frame are an array of records: the
bytes they share, tags and lengths, are laid down first, the numbers over them, column by column.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.formats.point_fields import check_intensities, coordinate_bounds, device_bounds, time_bounds
from nucleus_bridge.formats.point_json import check_shapes
from nucleus_bridge.formats.sensor_fusion.protobuf_wire import FIXED32, FIXED64, LENGTH_DELIMITED, VARINT, tag, varint

FRAME_POINTS = 4
"""Number of the field of LidarFrame that holds the points."""
NUMBERS = {"x": 1, "y": 2, "z": 3, "i": 4, "d": 5, "t": 6, "is_ground": 7}
"""Field numbers of Point by the keys that JSON has for them."""

_ONE_BYTE = 128  # numbers below it are one byte on the wire
_BLOCK_POINTS = 8192  # a block's records and temporaries stay in a core's level 2 cache
_TYPES = {
    **dict.fromkeys(("x", "y", "z", "i"), (FIXED32, "<f4")),
    "d": (VARINT, "u1"),
    "t": (FIXED64, "<f8"),
    "is_ground": (VARINT, "u1"),
}


def encode_points(
    xyz: NDArray[np.floating[Any]],
    *,
    intensity: NDArray[np.float32] | None = None,
    device: NDArray[np.uint8] | int | None = None,
    time_ns: NDArray[np.int64] | None = None,
    is_ground: NDArray[np.bool_] | None = None,
) -> memoryview:
    """Write points as the ``points`` of a LidarFrame.

    Numbers are those of :func:`nucleus_bridge.formats.point_json.encode_points`, rounded as there, as the nearest
    32-bit float (times: 64 bits, which are multiples of 256 ns at the present time).

    Args:
        xyz: Shape (n, 3), metres.
        intensity: Shape (n,), 0 to 1.
        device: Shape (n,) or one number for all points, 0 to 255.
        time_ns: Shape (n,), nanoseconds, not negative.
        is_ground: Shape (n,).

    Returns:
        The fields' bytes, ready for ``write`` and ``hashlib`` without a copy.

    Raises:
        CoordinateRangeError: A coordinate is not finite or not below 100 km.
        CloudError: A column's length or a value in it is not as above.
    """
    points = np.ascontiguousarray(xyz)
    count = check_shapes(points, {"intensity": intensity, "device": device, "time_ns": time_ns, "is_ground": is_ground})
    if not count:
        return memoryview(b"")
    coordinate_bounds(points)
    columns: dict[str, NDArray[Any]] = dict(zip("xyz", points.T, strict=True))
    long_devices = False
    if intensity is not None:
        columns["i"] = np.asarray(intensity)
        check_intensities(columns["i"])
    if device is not None:
        columns["d"] = np.broadcast_to(np.asarray(device), count)
        long_devices = device_bounds(columns["d"])[1] >= _ONE_BYTE
    if time_ns is not None:
        columns["t"] = np.asarray(time_ns, np.int64)
        time_bounds(columns["t"])
    if is_ground is not None:
        columns["is_ground"] = np.asarray(is_ground, np.bool_)
    return _fill(count, columns, long_devices=long_devices)


def record_type(keys: tuple[str, ...], *, long_devices: bool = False) -> tuple[bytes, np.dtype[np.void]]:
    """Return a point's bytes with zeros for its numbers, and where the numbers lie in it.

    Args:
        keys: What a point has, in the order of ``NUMBERS``.
        long_devices: Whether d takes two bytes, ``d`` with its high bit set and ``d_high``.
    """
    content = b""
    places: dict[str, tuple[str, int]] = {}
    for key in keys:
        wire_type, kind = _TYPES[key]
        content += tag(NUMBERS[key], wire_type)
        places[key] = (kind, len(content))
        content += bytes(np.dtype(kind).itemsize)
        if key == "d" and long_devices:
            places["d_high"] = (kind, len(content))
            content += b"\0"
    head = tag(FRAME_POINTS, LENGTH_DELIMITED) + varint(len(content))
    record = head + content
    return record, np.dtype(
        {
            "names": list(places),
            "formats": [kind for kind, _ in places.values()],
            "offsets": [len(head) + offset for _, offset in places.values()],
            "itemsize": len(record),
        }
    )


def _fill(count: int, columns: dict[str, NDArray[Any]], *, long_devices: bool) -> memoryview:
    record, dtype = record_type(tuple(columns), long_devices=long_devices)
    buffer = np.empty((count, len(record)), np.uint8)
    rows = buffer.reshape(-1).view(dtype)
    size = min(_BLOCK_POINTS, count)
    pattern = np.frombuffer(record * size, np.uint8).reshape(size, -1)
    scratch = np.empty(size, np.float64)
    for start in range(0, count, size):
        block = slice(start, min(start + size, count))
        target = rows[block]
        buffer[block] = pattern[: len(target)]
        for key, column in columns.items():
            values = column[block]
            if key in ("x", "y", "z", "i"):
                values = _thousandths(values, scratch[: len(values)])
            elif key == "d" and long_devices:
                target["d_high"] = values >> 7
                values = values | 0x80
            target[key] = values
    return buffer.reshape(-1).data.toreadonly()


def _thousandths(values: NDArray[Any], result: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round to thousandths, half to even, as the JSON of the same points does."""
    np.multiply(values, 1000.0, out=result, dtype=np.float64)
    np.rint(result, out=result)
    np.divide(result, 1000.0, out=result)
    return np.add(result, 0.0, out=result)
