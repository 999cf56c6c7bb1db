# SPDX-License-Identifier: Apache-2.0
"""How lidar drivers lay out a PointCloud2: from field offsets to what a lost return looks like."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.testing.demo.rigid import FloatArray

_SECOND_NS = 1_000_000_000
DATATYPES = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 8}  # sensor_msgs/PointField


@dataclass(frozen=True, eq=False)
class Returns:
    """What a lidar measured, one value a ray, all of shape (columns, rings).

    Attributes:
        xyz: Shape (columns, rings, 3), metres, in the lidar's frame at the ray's own time.
        distance: Metres; inf where nothing was hit.
        intensity: 0..255.
        azimuth: Radians about the lidar's z axis.
        elevation: Radians.
        ring: Index of the laser.
        stored_time: As the layout's time field holds it.
    """

    xyz: FloatArray
    distance: FloatArray
    intensity: NDArray[np.uint8]
    azimuth: FloatArray
    elevation: FloatArray
    ring: NDArray[np.integer]
    stored_time: NDArray[np.generic]


Column = Callable[[Returns], NDArray[np.generic]]


@dataclass(frozen=True)
class TimeCode:
    """How points carry their time.

    Attributes:
        store: From nanoseconds after the stamp (k,) and the stamp to the values that are stored.
        since_stamp_s: From stored values and the stamp to the seconds after the stamp that they truly mean.
    """

    store: Callable[[NDArray[np.int64], int], NDArray[np.generic]]
    since_stamp_s: Callable[[NDArray[np.generic], int], FloatArray]


@dataclass(frozen=True)
class Layout:
    """One driver's point format.

    Attributes:
        columns: Field name to (type, offset, values), in the order in which the driver lists its fields.
        point_step: Bytes a point.
        time_field: The field that holds the point's time.
        time: What that field means.
        order: ``list`` of returns only, ``rings`` x columns or ``firings`` x rings (rows x columns of the cloud).
        lost: The coordinate that an organised cloud holds where nothing was hit.
        intensity_field: The field to read as intensity.
    """

    columns: Mapping[str, tuple[str, int, Column]]
    point_step: int
    time_field: str
    time: TimeCode
    order: str = "list"
    lost: float = 0.0
    intensity_field: str = "intensity"

    @property
    def dtype(self) -> np.dtype[np.void]:
        """Return the structured type of one point, gaps included."""
        names = list(self.columns)
        formats = [self.columns[name][0] for name in names]
        offsets = [self.columns[name][1] for name in names]
        return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": self.point_step})

    def fill(self, returns: Returns) -> NDArray[np.void]:
        """Return the cloud as (height, width) points."""
        hit = np.isfinite(returns.distance)
        points = np.zeros(hit.shape if self.order != "list" else (1, int(hit.sum())), self.dtype)
        for name, (_, _, values) in self.columns.items():
            column = np.broadcast_to(values(returns), hit.shape)
            if self.order == "list":
                points[name][0] = column[hit]
            elif name in ("x", "y", "z"):
                points[name] = np.where(hit, column, self.lost)
            else:
                points[name] = column
        return np.ascontiguousarray(points.T) if self.order == "rings" else points


def _seconds_as_stored(since_ns: NDArray[np.int64], stamp_ns: int) -> NDArray[np.generic]:
    whole, rest = np.divmod(since_ns + stamp_ns, _SECOND_NS)
    seconds: FloatArray = whole.astype(np.float64) + rest.astype(np.float64) * 1e-9
    return seconds


def _seconds_as_meant(stored: NDArray[np.generic], stamp_ns: int) -> FloatArray:
    seconds = stored.astype(np.float64)
    whole = np.floor(seconds)
    meant: FloatArray = (whole - stamp_ns // _SECOND_NS) + (seconds - whole - stamp_ns % _SECOND_NS * 1e-9)
    return meant


_RELATIVE_SECONDS = TimeCode(
    store=lambda since_ns, _: (since_ns * 1e-9).astype(np.float32),
    since_stamp_s=lambda stored, _: stored.astype(np.float64),
)
_RELATIVE_NANOSECONDS = TimeCode(
    store=lambda since_ns, _: since_ns.astype(np.uint32),
    since_stamp_s=lambda stored, _: stored.astype(np.float64) * 1e-9,
)
_ABSOLUTE_NANOSECONDS = TimeCode(
    store=lambda since_ns, stamp_ns: (since_ns + stamp_ns).astype(np.float64),
    since_stamp_s=lambda stored, stamp_ns: (stored.astype(np.int64) - stamp_ns).astype(np.float64) * 1e-9,
)
_ABSOLUTE_SECONDS = TimeCode(store=_seconds_as_stored, since_stamp_s=_seconds_as_meant)


def _photons(returns: Returns) -> NDArray[np.generic]:
    """Return the signal that falls with the square of the distance."""
    photons: FloatArray = np.rint(returns.intensity * 2000.0 / np.maximum(returns.distance, 1.0) ** 2)
    return photons


def _millimetres(returns: Returns) -> NDArray[np.generic]:
    return np.rint(np.where(np.isfinite(returns.distance), returns.distance, 0.0) * 1000.0)


def _xyz() -> dict[str, tuple[str, int, Column]]:
    return {
        "x": ("<f4", 0, lambda returns: returns.xyz[..., 0]),
        "y": ("<f4", 4, lambda returns: returns.xyz[..., 1]),
        "z": ("<f4", 8, lambda returns: returns.xyz[..., 2]),
    }


def _intensity(returns: Returns) -> NDArray[np.generic]:
    return returns.intensity


def _ring(returns: Returns) -> NDArray[np.generic]:
    return returns.ring


def _time(returns: Returns) -> NDArray[np.generic]:
    return returns.stored_time


def _first_return(_: Returns) -> NDArray[np.generic]:
    return np.ones((1, 1), np.uint8)


LAYOUTS: Mapping[str, Layout] = {
    "velodyne": Layout(
        {**_xyz(), "intensity": ("<f4", 12, _intensity), "ring": ("<u2", 16, _ring), "time": ("<f4", 18, _time)},
        point_step=22,
        time_field="time",
        time=_RELATIVE_SECONDS,
    ),
    "ouster": Layout(
        {
            **_xyz(),
            "intensity": ("<f4", 16, _photons),
            "t": ("<u4", 20, _time),
            "reflectivity": ("<u2", 24, _intensity),
            "ring": ("<u2", 26, _ring),
            "ambient": ("<u2", 28, lambda returns: returns.intensity // 3),
            "range": ("<u4", 32, _millimetres),
        },
        point_step=48,
        time_field="t",
        time=_RELATIVE_NANOSECONDS,
        order="rings",
        intensity_field="reflectivity",
    ),
    "hesai": Layout(
        {**_xyz(), "intensity": ("<f4", 16, _intensity), "timestamp": ("<f8", 24, _time), "ring": ("<u2", 32, _ring)},
        point_step=48,
        time_field="timestamp",
        time=_ABSOLUTE_SECONDS,
    ),
    "robosense": Layout(
        {**_xyz(), "intensity": ("<f4", 12, _intensity), "ring": ("<u2", 16, _ring), "timestamp": ("<f8", 18, _time)},
        point_step=26,
        time_field="timestamp",
        time=_ABSOLUTE_SECONDS,
        order="firings",
        lost=float("nan"),
    ),
    "livox": Layout(
        {
            **_xyz(),
            "intensity": ("<f4", 12, _intensity),
            "tag": ("u1", 16, _first_return),
            "line": ("u1", 17, _ring),
            "timestamp": ("<f8", 18, _time),
        },
        point_step=26,
        time_field="timestamp",
        time=_ABSOLUTE_NANOSECONDS,
    ),
    "livox-custommsg": Layout(
        {
            "offset_time": ("<u4", 0, _time),
            "x": ("<f4", 4, lambda returns: returns.xyz[..., 0]),
            "y": ("<f4", 8, lambda returns: returns.xyz[..., 1]),
            "z": ("<f4", 12, lambda returns: returns.xyz[..., 2]),
            "reflectivity": ("u1", 16, _intensity),
            "tag": ("u1", 17, lambda _: np.zeros((1, 1), np.uint8)),
            "line": ("u1", 18, _ring),
        },
        point_step=20,  # as the points of a serialised CustomMsg lie
        time_field="offset_time",
        time=_RELATIVE_NANOSECONDS,
    ),
    "autoware": Layout(
        {
            **_xyz(),
            "intensity": ("u1", 12, _intensity),
            "return_type": ("u1", 13, _first_return),
            "channel": ("<u2", 14, _ring),
            "azimuth": ("<f4", 16, lambda returns: returns.azimuth % (2 * np.pi)),
            "elevation": ("<f4", 20, lambda returns: returns.elevation),
            "distance": ("<f4", 24, lambda returns: returns.distance),
            "time_stamp": ("<u4", 28, _time),
        },
        point_step=32,
        time_field="time_stamp",
        time=_RELATIVE_NANOSECONDS,
    ),
}
# What becomes of the packets when they are read.
LAYOUTS = {**LAYOUTS, "velodyne-packets": LAYOUTS["velodyne"]}
