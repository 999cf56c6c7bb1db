# SPDX-License-Identifier: Apache-2.0
"""Clouds as the Draco plug-in of point_cloud_transport packs them: Draco's encoder, an attribute for each field."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.errors import InputError

_COMPRESSION_LEVEL = 3  # 10 less the speed of 7 that is the plug-in's default
_HEAD = b"DRACO\x02\x03\0\0\x00\x80" + b"\0\1\x0bdeduplicate\4\1\0\0\0\0"  # of a sequential cloud, with its metadata
_PLAIN_HEAD_BYTES = 11
_POSITION, _GENERIC = 0, 4
_TYPES = {"f4": 9, "f8": 10, "u1": 2, "u2": 4, "u4": 6}


def draco(points: NDArray[np.void]) -> bytes:
    """Pack points, shape (n,), as the plug-in does by default: nothing is quantised, and the order stays.

    DracoPy wants places of three numbers, an attribute that the plug-in does not have. It gets zeros for it, and they
    are taken out of what it writes. 64-bit floats are copied by Draco, as are the pairs of 32-bit ones that DracoPy
    takes in their place.

    Raises:
        InputError: The library is not installed.
    """
    try:
        library: Any = import_module("DracoPy")
    except ImportError:
        raise InputError(
            "clouds of draco need the Python package DracoPy: pip install 'nucleus-bridge[draco]'"
        ) from None
    names = points.dtype.names or ()
    kinds = [points.dtype[name].str[1:] for name in names]
    columns = {number: _column(points[name]) for number, name in enumerate(names, 1)}
    options = {"preserve_order": True, "compression_level": _COMPRESSION_LEVEL}
    places = np.zeros((len(points), 3), np.int32)
    alone = library.encode(places, **options)
    both = library.encode(places, generic_attributes=columns, **options)

    # After the head come the number of points, 1 encoder, its number of attributes, 5 bytes of each that describe it,
    # a byte for the way in which each is encoded, and their values.
    count = both[_PLAIN_HEAD_BYTES : _PLAIN_HEAD_BYTES + 4]
    described = _PLAIN_HEAD_BYTES + 6
    values = described + 6 * (len(names) + 1)
    zeros = alone[described + 6 :]
    if both[values : values + len(zeros)] != zeros:
        raise RuntimeError("DracoPy does not write its places first")
    descriptions = b"".join(
        bytes([_POSITION if name in ("x", "y", "z") else _GENERIC, _TYPES[kind], 1, 0, number])
        for number, (name, kind) in enumerate(zip(names, kinds, strict=True))
    )
    ways = both[values - len(names) : values]
    head = _HEAD + count + bytes([1, len(names)])
    return bytes(head + descriptions + ways + both[values + len(zeros) :])


def _column(values: NDArray[Any]) -> NDArray[Any]:
    column: NDArray[Any] = np.ascontiguousarray(values).reshape(-1, 1)
    return column.view(np.float32) if column.dtype == np.float64 else column
