# SPDX-License-Identifier: Apache-2.0
"""Which convention a cloud's per-point times follow, and those times as integer nanoseconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.decode.cdr import seconds
from nucleus_bridge.errors import CloudError
from nucleus_bridge.model import IntArray

NS_PER_S = 1_000_000_000
#: Names under which drivers publish point times, the most telling first.
TIME_FIELD_NAMES = ("t", "time", "timestamp", "time_stamp", "offset_time", "time_offset", "time_offset_ns")
#: Longest relative time in seconds that is taken for seconds.
LONGEST_SWEEP_S = 5.0
#: Farthest that absolute times may be from ``header.stamp``.
FARTHEST_FROM_STAMP_NS = 10 * NS_PER_S


@dataclass(frozen=True)
class Convention:
    """How numbers in a time column are meant."""

    unit_ns: float
    is_relative: bool


RELATIVE_SECONDS = Convention(float(NS_PER_S), is_relative=True)
RELATIVE_NS = Convention(1.0, is_relative=True)
ABSOLUTE_SECONDS = Convention(float(NS_PER_S), is_relative=False)
ABSOLUTE_NS = Convention(1.0, is_relative=False)


def find_time_field(names: Sequence[str], wanted: str) -> str | None:
    """Choose the column that holds the point times.

    Args:
        names: Columns of the cloud.
        wanted: ``auto``, ``none`` or a column's name, as in ``lidars.<name>.time_field``.

    Raises:
        CloudError: The column asked for is not there; cause ``missing_field``.
    """
    if wanted == "none":
        return None
    if wanted == "auto":
        return next((name for name in TIME_FIELD_NAMES if name in names), None)
    if wanted not in names:
        msg = f"there is no field {wanted!r} for time_field; fields are {', '.join(names)}"
        raise CloudError(msg, cause="missing_field")
    return wanted


def find_convention(name: str, low: Any, high: Any, stamp_ns: int) -> Convention:
    """Tell from type and value how point times are meant.

    32-bit integers are nanoseconds and float32 are seconds, both counted from ``header.stamp``; float64 are absolute,
    in seconds or in nanoseconds. Nothing else is accepted, and absolute times must be near ``header.stamp``.

    Args:
        name: The column, for error texts.
        low: Smallest time of a usable point, a numpy scalar of the column's type.
        high: Largest time.
        stamp_ns: ``header.stamp``.

    Raises:
        CloudError: The values fit no convention; cause ``point_time``.
    """
    dtype = np.asarray(low).dtype
    if dtype.kind in "ui" and dtype.itemsize == 4:
        return RELATIVE_NS
    if dtype.kind == "f" and dtype.itemsize == 4 and low >= -LONGEST_SWEEP_S and high <= LONGEST_SWEEP_S:
        return RELATIVE_SECONDS
    if dtype.kind == "f" and dtype.itemsize == 8:
        for convention in (ABSOLUTE_SECONDS, ABSOLUTE_NS):
            ends = (float(low) * convention.unit_ns, float(high) * convention.unit_ns)
            if all(abs(end - stamp_ns) <= FARTHEST_FROM_STAMP_NS for end in ends):
                return convention
    msg = (
        f"times in field {name!r} ({dtype.name}, {low!s} to {high!s}) fit no convention at header.stamp "
        f"{seconds(stamp_ns)}: neither 32-bit integer nanoseconds or float32 seconds (at most {LONGEST_SWEEP_S:g}) "
        f"from the stamp, nor absolute float64 seconds or nanoseconds within {FARTHEST_FROM_STAMP_NS // NS_PER_S} s of "
        "it. Mend the driver's clock or set time_field: none"
    )
    raise CloudError(msg, cause="point_time")


def times_to_ns(times: NDArray[Any], unit_ns: float) -> IntArray:
    """Convert a time column to integer nanoseconds without losing resolution.

    Args:
        times: Shape (n,), integers or floats, finite.
        unit_ns: Nanoseconds a unit, 1 or 1e9.

    Returns:
        Shape (n,), int64, counted from wherever ``times`` count.
    """
    if times.dtype.kind in "ui":
        return times.astype(np.int64) * int(unit_ns)
    values = times.astype(np.float64)
    # The product of absolute seconds and 1e9 would be rounded to 256 ns once more; that of the fraction is not.
    whole = np.floor(values)
    nanoseconds = whole.astype(np.int64) * int(unit_ns)
    rest: IntArray = np.rint((values - whole) * unit_ns).astype(np.int64)
    return nanoseconds + rest
