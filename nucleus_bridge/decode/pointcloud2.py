# SPDX-License-Identifier: Apache-2.0
"""PointCloud2 to a checked sweep: layout, sizes, stamps and the times of its first and last point."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.config.settings import LidarConfig
from nucleus_bridge.decode.cdr import deserialise, naming, require_stamp, strip_slashes, to_ns
from nucleus_bridge.decode.interface import Decoder, Interface, Stateless
from nucleus_bridge.decode.point_time import TIME_FIELD_NAMES, PointTimes, find_time_field, read_times, times_to_ns
from nucleus_bridge.decode.points import any_value, coordinates, passes, usable
from nucleus_bridge.errors import CloudError
from nucleus_bridge.model import Message, Sweep

POINTCLOUD2 = "sensor_msgs/msg/PointCloud2"
_FORMATS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
# No lidar comes near these; they bound what a damaged message can make of its fields.
_MAX_POINT_STEP = 65_535
_MAX_COLUMNS = 1_024
_BLOCK = 8_192


@dataclass(frozen=True)
class PointField:
    """``sensor_msgs/msg/PointField`` as a value that can be compared."""

    name: str
    offset: int
    datatype: int
    count: int


class _Layout(NamedTuple):
    dtype: np.dtype[np.void]
    time_field: str | None


def dtype_from_fields(
    fields: Iterable[Any],
    point_step: int,
    is_bigendian: bool,  # noqa: FBT001 - in the order of the message
) -> np.dtype[np.void]:
    """Describe a point as numpy does, by the rule of ``sensor_msgs_py.point_cloud2.dtype_from_fields``.

    A field without a name becomes ``unnamed_field_<i>``; one of several elements ``<name>_0``, ``<name>_1``, ...

    Args:
        fields: Objects with ``name``, ``offset``, ``datatype`` and ``count``.
        point_step: Bytes a point takes.
        is_bigendian: Byte order of the points.

    Raises:
        CloudError: A field has an unknown type, no elements or a name twice, or ends behind ``point_step``.
    """
    if point_step > _MAX_POINT_STEP:
        msg = f"point_step is {point_step}, more than {_MAX_POINT_STEP} bytes"
        raise CloudError(msg)
    order = ">" if is_bigendian else "<"
    columns: dict[str, tuple[str, int]] = {}
    for index, field in enumerate(fields):
        name = field.name or f"unnamed_field_{index}"
        if field.datatype not in _FORMATS:
            msg = f"field {name!r} has the unknown datatype {field.datatype}"
            raise CloudError(msg)
        kind = np.dtype(order + _FORMATS[field.datatype])
        end = field.offset + field.count * kind.itemsize
        if field.count < 1 or end > point_step:
            what = f"{field.count} x {kind.name} at byte {field.offset}"
            msg = f"field {name!r} ({what}) is not inside point_step {point_step}"
            raise CloudError(msg)
        if len(columns) + field.count > _MAX_COLUMNS:
            msg = f"more than {_MAX_COLUMNS} columns at field {name!r}"
            raise CloudError(msg)
        for element in range(field.count):
            column = name if field.count == 1 else f"{name}_{element}"
            if column in columns:
                msg = f"two fields are named {column!r}"
                raise CloudError(msg)
            columns[column] = (kind.str, field.offset + element * kind.itemsize)
    return np.dtype(
        {
            "names": list(columns),
            "formats": [kind for kind, _ in columns.values()],
            "offsets": [offset for _, offset in columns.values()],
            "itemsize": point_step,
        }
    )


def decode_sweep(message: Message, config: LidarConfig) -> Sweep:
    """Check a PointCloud2 and find out when its first and last usable points were taken.

    Points that are not finite or at exactly (0, 0, 0) are not usable and their times are ignored. With ``stamp: start``
    relative times count from ``header.stamp``. With ``stamp: end`` (``middle``) the stamp is the end (middle) of the
    sweep: relative times that are all >= 0 count from the sweep's start and are shifted so that the largest (half of
    it) falls on the stamp; when there are negative ones they count from the stamp already. Absolute times are what they
    are, whatever ``stamp`` says.

    Returns:
        A sweep whose points are a view of ``message.data`` (a copy where rows are padded).

    Raises:
        CloudError: ``cause`` is ``zero_stamp``, ``empty_frame_id``, ``empty_cloud``, ``missing_field`` (x, y, z,
            intensity or the time field), ``point_time`` (times of no known convention) or ``damaged`` (sizes that
            contradict).
        DecodeError: The bytes are not a PointCloud2.
    """
    cloud = deserialise(message, POINTCLOUD2)
    with naming(message), any_value():
        stamp_ns, frame_id = to_ns(cloud.header.stamp), strip_slashes(cloud.header.frame_id)
        require_stamp(stamp_ns, CloudError)
        if not frame_id:
            msg = "header.frame_id is empty"
            raise CloudError(msg, cause="empty_frame_id")
        _check_sizes(cloud)
        fields = _fields(cloud)
        wanted = (config.intensity_field, config.time_field)
        layout = _layout(fields, cloud.point_step, *wanted, is_bigendian=cloud.is_bigendian)
        points = _points(cloud, layout.dtype)
        span = _time_span(points, layout.time_field, stamp_ns, config)
    return Sweep(
        stamp_ns=stamp_ns,
        frame_id=frame_id,
        points=points,
        time_field=layout.time_field if span else None,
        first_ns=span.first_ns if span else stamp_ns,
        last_ns=span.last_ns if span else stamp_ns,
        time_unit_ns=span.meaning.convention.unit_ns if span else 1,
        time_is_relative=span.meaning.convention.is_relative if span else True,
        time_base_ns=span.base_ns if span else None,
        time_window=span.meaning.window if span else None,
    )


def has_points(sweep: Sweep, config: LidarConfig) -> bool:
    """Return whether any point passes the lidar's filters, looking no farther than needed."""
    blocks = (sweep.points[start : start + _BLOCK] for start in range(0, len(sweep.points), _BLOCK))
    with any_value():
        return any(bool(passes(coordinates(block), config).any()) for block in blocks)


def read_points(cloud: Any) -> NDArray[np.void]:
    """Return the points of a deserialised PointCloud2 of any fields, shape (n,).

    Raises:
        CloudError: Sizes or fields contradict each other, or there are no points.
    """
    _check_sizes(cloud)
    return _points(cloud, dtype_from_fields(_fields(cloud), cloud.point_step, cloud.is_bigendian))


def _fields(cloud: Any) -> tuple[PointField, ...]:
    """Return the fields; a count of 0, which some drivers leave, stands for one element."""
    return tuple(PointField(f.name, f.offset, f.datatype, f.count or 1) for f in cloud.fields)


def _check_sizes(cloud: Any) -> None:
    if cloud.width * cloud.height == 0:
        msg = f"there are no points ({cloud.width} x {cloud.height})"
        raise CloudError(msg, cause="empty_cloud")
    if cloud.point_step == 0:
        msg = f"{cloud.width} x {cloud.height} points have point_step 0"
        raise CloudError(msg)
    step = row_step_of(cloud)
    if len(cloud.data) < cloud.height * step:
        msg = f"data has {len(cloud.data)} bytes, but height {cloud.height} x row_step {step} = {cloud.height * step}"
        raise CloudError(msg)


def row_step_of(cloud: Any) -> int:
    """Return how many bytes a row of points takes.

    Some drivers fill ``row_step`` wrongly although the data is whole: where the bytes are just those of the points, or
    ``row_step`` is less than a row, rows have no padding. Bytes after the last row are none of the cloud's.
    """
    tight = int(cloud.width * cloud.point_step)
    given = int(cloud.row_step)
    return tight if given < tight or len(cloud.data) == cloud.height * tight else given


@lru_cache(maxsize=64)
def _layout(
    fields: tuple[PointField, ...], point_step: int, intensity_field: str, time_field: str, *, is_bigendian: bool
) -> _Layout:
    """Check the fields once for all messages that have the same ones."""
    dtype = dtype_from_fields(fields, point_step, is_bigendian)
    names = dtype.names or ()
    wanted = ["x", "y", "z", *([intensity_field] if intensity_field else [])]
    for name in wanted:
        if name not in names:
            remedy = "; set intensity_field to one of them or to ''" if name == intensity_field else ""
            msg = f"there is no field {name!r}; fields are {', '.join(names) or 'none'}{remedy}"
            raise CloudError(msg, cause="missing_field")
    for name in ("x", "y", "z"):
        if dtype[name].kind != "f":
            msg = f"field {name!r} is {dtype[name].name}, expected float32 or float64"
            raise CloudError(msg)
    return _Layout(dtype, find_time_field(names, time_field))


def _points(cloud: Any, dtype: np.dtype[np.void]) -> NDArray[np.void]:
    used, step = cloud.width * cloud.point_step, row_step_of(cloud)
    data: NDArray[np.uint8] = cloud.data[: cloud.height * step]
    if step > used:
        data = np.ascontiguousarray(data.reshape(cloud.height, step)[:, :used]).reshape(-1)
    return data.view(dtype)


class _TimeSpan(NamedTuple):
    first_ns: int
    last_ns: int
    base_ns: int
    meaning: PointTimes


def _time_span(
    points: NDArray[np.void], time_field: str | None, stamp_ns: int, config: LidarConfig
) -> _TimeSpan | None:
    """Return the times of the first and last usable point; None without times or usable points."""
    if time_field is None:
        return None
    times = np.ascontiguousarray(points[time_field])
    usable_rows = partial(_usable_rows, points)
    near_ns = None if config.stamp_source == "log" else stamp_ns
    try:
        meaning = read_times(time_field, times, usable_rows, near_ns, config.time_unit, config.time_reference)
    except CloudError:
        if config.time_field == "auto" and time_field not in TIME_FIELD_NAMES:
            return None  # its name only seemed to be that of a time
        raise
    if meaning is None:
        return None
    low, high = times_to_ns(np.stack([meaning.low, meaning.high]), meaning.convention.unit_ns).tolist()
    base_ns = _base_ns(low, high, stamp_ns, config.stamp) if meaning.convention.is_relative else 0
    return _TimeSpan(base_ns + low, base_ns + high, base_ns, meaning)


def _base_ns(low_ns: int, high_ns: int, stamp_ns: int, stamp: Literal["start", "middle", "end"]) -> int:
    """Return the instant that relative times count from; where there are negative ones it is the stamp."""
    if stamp == "start" or low_ns < 0:
        return stamp_ns
    return stamp_ns - (high_ns if stamp == "end" else high_ns // 2)


def _usable_rows(points: NDArray[np.void], rows: NDArray[np.intp]) -> NDArray[np.bool_]:
    return usable(coordinates(points.take(rows)))


def _decoder(lidar: LidarConfig) -> Decoder:
    return Stateless(partial(decode_sweep, config=lidar))


INTERFACES = (Interface(POINTCLOUD2, "cloud", _decoder, is_sample=True, depth=50),)
