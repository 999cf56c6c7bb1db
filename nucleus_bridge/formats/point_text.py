# SPDX-License-Identifier: Apache-2.0
"""The text of points, as ``point_json`` writes it, back to columns."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.errors import SceneError

COLUMNS = {"i": "intensity", "d": "device", "t": "time_ns", "is_ground": "is_ground"}
"""What the encoders call the keys of a point besides x, y and z."""

_TYPES = {"i": np.float32, "d": np.uint8, "t": np.int64, "is_ground": np.bool_}
_KEY = re.compile(rb'"([a-z_]+)":')
_NOT_NUMERIC = bytes(set(range(256)) - set(b"0123456789.-, "))


def read_points(text: bytes) -> dict[str, NDArray[Any]]:
    """Read a list of points that all have the same keys in the same order.

    Returns:
        Columns under the names that the encoders take them by: ``xyz`` of shape (n, 3), and perhaps ``intensity``,
        ``device``, ``time_ns`` and ``is_ground`` of shape (n,). Times are rounded to 64-bit floats.

    Raises:
        SceneError: The points are not written as this package writes them.
    """
    end = text.find(b"}")
    keys = [key.decode() for key in _KEY.findall(text[: max(end, 0)])]
    if keys != ["x", "y", "z", *(key for key in COLUMNS if key in keys)]:
        raise SceneError(f"the first point has the keys {', '.join(keys) or 'of none'}; expected x, y, z, i, d, t, ...")
    numeric = text.replace(b"true", b"1").replace(b"false", b"0").translate(None, _NOT_NUMERIC)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # numpy's way to say that something is no number
        try:
            values = np.fromstring(numeric, dtype=np.float64, sep=",")
        except (ValueError, DeprecationWarning) as error:
            raise SceneError(f"the points cannot be read: {error}") from None
    count = text.count(b"{")
    if len(values) != count * len(keys) or any(text.count(b'"%s":' % key.encode()) != count for key in keys):
        raise SceneError(f"not every point has the keys {', '.join(keys)}")
    table = values.reshape(count, len(keys))
    columns: dict[str, NDArray[Any]] = {"xyz": np.ascontiguousarray(table[:, :3])}
    for number, key in enumerate(keys[3:], 3):
        columns[COLUMNS[key]] = table[:, number].astype(_TYPES[key])
    return columns
