# SPDX-License-Identifier: Apache-2.0
"""The points of a sweep that are worth keeping, as plain columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.config.settings import LidarConfig
from nucleus_bridge.decode.intensity import intensity_scale
from nucleus_bridge.decode.point_time import signed, times_to_ns
from nucleus_bridge.errors import CloudError
from nucleus_bridge.model import IntArray, PointCloud, Sweep

BoolArray = NDArray[np.bool_]
_BLOCK = 8_192


def any_value() -> np.errstate:
    """Let NaN, infinity and overflow pass silently: they are what the filters look for."""
    return np.errstate(invalid="ignore", over="ignore")


def coordinates(points: NDArray[np.void]) -> NDArray[np.floating]:
    """Return x, y, z of a structured array as shape (n, 3) in native byte order.

    A view where x, y and z lie side by side, else a copy; float32 unless one of them is float64.
    """
    fields = cast("Mapping[str, Any]", points.dtype.fields)
    kinds, offsets = zip(*(fields[name][:2] for name in ("x", "y", "z")), strict=True)
    kind, start = kinds[0], offsets[0]
    size = kind.itemsize
    if set(kinds) == {kind} and kind.isnative and offsets == (start, start + size, start + 2 * size):
        rows = np.ascontiguousarray(points).view(np.uint8)
        view: NDArray[np.floating] = np.ndarray((len(points), 3), kind, rows, start, (points.itemsize, size))
        return view
    double = any(k.itemsize == 8 for k in kinds)
    xyz: NDArray[np.floating] = np.empty((len(points), 3), np.float64 if double else np.float32)
    for column, name in enumerate(("x", "y", "z")):
        xyz[:, column] = points[name]
    return xyz


def usable(xyz: NDArray[np.floating]) -> BoolArray:
    """Return which rows of shape (n, 3) are finite and not exactly (0, 0, 0)."""
    largest = _largest_coordinate(xyz)
    return np.asarray((largest > 0) & (largest < np.inf))


def passes(xyz: NDArray[np.floating], config: LidarConfig) -> BoolArray:
    """Return which rows of shape (n, 3) pass every filter of the lidar."""
    return usable(xyz) & _in_range(xyz, config)


def select_points(sweep: Sweep, config: LidarConfig, *, ground_field: str = "") -> PointCloud:
    """Apply the lidar's filters to a sweep.

    Dropped are points with a coordinate that is not finite (``nan``), points at exactly (0, 0, 0) (``zero``) and points
    whose distance from the lidar is not in ``min_range_m`` to ``max_range_m``, both included (``range``), and points
    whose time cannot be one of this sweep (``time_outlier``). Intensity is
    divided by its full scale; what then lies outside 0..1 is clipped, NaN becomes 0, and both are counted in
    ``clipped``.

    Args:
        sweep: A checked sweep.
        config: The lidar's settings, the same that the sweep was decoded with.
        ground_field: Column that is one of ``ground_classes`` for ground points, or not zero without classes; empty:
            none.

    Raises:
        CloudError: There is no such ground column; cause ``missing_field``.
    """
    points = sweep.points
    names = points.dtype.names or ()
    if ground_field and ground_field not in names:
        msg = f"{sweep.frame_id}: there is no field {ground_field!r} that marks ground; fields are {', '.join(names)}"
        raise CloudError(msg, cause="missing_field")
    with any_value():
        return _select(sweep, config, ground_field)


def _select(sweep: Sweep, config: LidarConfig, ground_field: str) -> PointCloud:
    points = sweep.points
    xyz = np.ascontiguousarray(coordinates(points).T).T  # column by column, as all that follows reads them
    largest = _largest_coordinate(xyz)
    finite, origin = largest < np.inf, largest == 0
    keep = finite & ~origin & _in_range(xyz, config)
    n_finite, n_origin, n_in_range = (int(np.count_nonzero(mask)) for mask in (finite, origin, keep))
    dropped = {"nan": len(points) - n_finite, "zero": n_origin, "range": n_finite - n_origin - n_in_range}
    n_kept = n_in_range
    if sweep.time_window is not None:
        keep &= _in_window(sweep)
        n_kept = int(np.count_nonzero(keep))
        dropped["time_outlier"] = n_in_range - n_kept
    rows = None if n_kept == len(points) else np.flatnonzero(keep)

    intensity, clipped = None, 0
    if config.intensity_field in (points.dtype.names or ()):  # a depth image has none, whatever is configured
        full_scale = intensity_scale(sweep, config).full_scale
        intensity, clipped = _intensity(_take(points[config.intensity_field], rows), full_scale)
    return PointCloud(
        xyz=xyz if rows is None else xyz.T.take(rows, axis=1).T,
        intensity=intensity,
        time_ns=_times(sweep, rows),
        is_ground=_is_ground(_take(points[ground_field], rows), config.ground_classes) if ground_field else None,
        dropped=dropped,
        clipped=clipped,
    )


def _take(column: NDArray[Any], rows: IntArray | None) -> NDArray[Any]:
    """Return the chosen rows, contiguous; the column itself where that needs no copy."""
    whole = np.ascontiguousarray(column)
    return whole if rows is None else whole.take(rows)


def _largest_coordinate(xyz: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return max(|x|, |y|, |z|): 0 only for (0, 0, 0), below infinity only when all three are finite."""
    largest = np.empty(len(xyz), xyz.dtype)
    for block in _blocks(len(xyz)):
        x, y, z = np.abs(xyz[block].T, order="C")
        np.maximum(np.maximum(x, y, out=x), z, out=largest[block])
    return largest


def _in_range(xyz: NDArray[np.floating], config: LidarConfig) -> BoolArray:
    nearest, farthest = config.min_range_m, config.max_range_m
    inside = np.ones(len(xyz), np.bool_)
    if nearest <= 0.0 and farthest == np.inf:
        return inside
    for block in _blocks(len(xyz)):
        x, y, z = np.square(xyz[block].T, order="C")
        square = x + y + z
        inside[block] = (square >= nearest * nearest) & (square <= farthest * farthest)
    return inside


def _blocks(length: int) -> Iterator[slice]:
    """Cut rows into pieces whose columns stay in the processor's cache from one operation to the next."""
    return (slice(start, start + _BLOCK) for start in range(0, length, _BLOCK))


def _intensity(values: NDArray[Any], full_scale: float) -> tuple[NDArray[np.float32], int]:
    """Return intensities in 0..1 and how many had to be changed to get there."""
    raw = values.astype(np.float32)
    top = np.float32(full_scale)
    clipped = len(raw) - int(np.count_nonzero((raw >= 0) & (raw <= top)))
    if clipped:
        raw = np.clip(np.nan_to_num(raw, nan=0.0), 0, top)
    return np.abs(raw / top), clipped  # no -0.0


def _times(sweep: Sweep, rows: IntArray | None) -> IntArray | None:
    if sweep.time_field is None:
        return None
    times_ns = times_to_ns(_take(sweep.points[sweep.time_field], rows), sweep.time_unit_ns)
    return times_ns + sweep.base_ns if sweep.base_ns else times_ns


def point_times(sweep: Sweep) -> tuple[IntArray, BoolArray]:
    """Return the times of all points of a sweep that has a time field, ns, and which of them can be of this sweep."""
    with any_value():
        times_ns = _times(sweep, None)
        is_good = np.ones(len(sweep.points), np.bool_) if sweep.time_window is None else _in_window(sweep)
    return np.full(len(sweep.points), sweep.stamp_ns) if times_ns is None else times_ns, is_good


def _in_window(sweep: Sweep) -> BoolArray:
    """Return which points have a time of this sweep."""
    low, high = sweep.time_window or (-np.inf, np.inf)
    times = signed(np.ascontiguousarray(sweep.points[sweep.time_field]))
    return np.asarray((times >= low) & (times <= high))


def _is_ground(values: NDArray[Any], classes: tuple[str, ...]) -> BoolArray:
    if classes:
        return np.isin(values.astype(np.float64), [float(number) for number in classes])
    return np.asarray((values != 0) & (values == values))  # noqa: PLR0124 - NaN is not ground
