# SPDX-License-Identifier: Apache-2.0
"""The point cloud of a frame: every lidar's points in the scene's coordinates, filtered, each loss counted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.config import Config
from nucleus_bridge.decode.points import select_points
from nucleus_bridge.geometry import points_in_world
from nucleus_bridge.model import FloatArray, Frame, PointCloud, PosedSweep
from nucleus_bridge.pipeline.losses import Table, merge
from nucleus_bridge.pipeline.scene_builder import MAX_COORDINATE_M
from nucleus_bridge.render.ground import find_ground

BoolArray = NDArray[np.bool_]
IndexArray = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Columns:
    """The points of a frame; a column is there for all points or for none.

    Attributes:
        xyz: Shape (n, 3), metres in the world minus the scene's offset.
        intensity: Shape (n,), 0 to 1.
        device: Shape (n,), number of the lidar.
        time_ns: Shape (n,).
        is_ground: Shape (n,).
    """

    xyz: NDArray[np.float64]
    intensity: NDArray[np.float32] | None
    device: NDArray[np.uint8] | None
    time_ns: NDArray[np.int64] | None
    is_ground: BoolArray | None


def world_points(frame: Frame, world_offset: tuple[float, float, float], config: Config, losses: Table) -> Columns:
    """Move all lidars' points into the scene and count what is left out under each lidar's topic."""
    lidars = {lidar.name: (number, lidar) for number, lidar in enumerate(config.lidars)}
    clouds: list[PointCloud] = []
    xyz: list[NDArray[np.float64]] = []
    device: list[NDArray[np.uint8]] = []
    offset = np.asarray(world_offset)
    for posed in frame.sweeps:
        number, lidar = lidars[posed.lidar]
        cloud = select_points(posed.sweep, lidar, ground_field=lidar.ground_field)
        counts = {f"{cause}_points": count for cause, count in cloud.dropped.items() if count}
        if lidar.crop_box:
            cloud = _without(cloud, _in_box(cloud, posed, lidar.crop_box), "box_points", counts)
        if config.segments_ground:
            cloud = replace(cloud, is_ground=find_ground(_in_device(cloud, posed), posed, config.ground))
        if cloud.clipped:
            counts["clipped_intensities"] = cloud.clipped
        world = points_in_world(cloud.xyz, cloud.time_ns, posed.world_from_lidar, offset)
        if not -MAX_COORDINATE_M < world.min(initial=0.0) <= world.max(initial=0.0) < MAX_COORDINATE_M:  # NaN neither
            near = np.all(np.abs(world) < MAX_COORDINATE_M, axis=1)
            world, cloud = world[near], _without(cloud, ~near, "coordinate_range", counts)
        if counts:
            merge(losses, {lidar.topic: counts})
        clouds.append(cloud)
        xyz.append(world)
        device.append(np.full(len(world), number, dtype=np.uint8))
    wanted = config.point_fields
    points = Columns(
        _joined(xyz),
        _column([cloud.intensity for cloud in clouds]) if "intensity" in wanted else None,
        _joined(device) if device else None,
        _column([cloud.time_ns for cloud in clouds]) if "time" in wanted else None,
        _column([cloud.is_ground for cloud in clouds]) if "is_ground" in wanted else None,
    )
    points = _thinned(points, config, losses)
    return points if "device" in wanted else replace(points, device=None)


def _in_box(cloud: PointCloud, posed: PosedSweep, box: tuple[float, ...]) -> BoolArray:
    """Tell which points are in a box of the device frame, borders included: what is fixed to the device stays there."""
    local = _in_device(cloud, posed)
    return np.asarray(np.all((local >= box[:3]) & (local <= box[3:]), axis=1))


def _in_device(cloud: PointCloud, posed: PosedSweep) -> FloatArray:
    """Return a lidar's points in the device frame as if all were measured at once."""
    mounting = posed.device_from_lidar
    if mounting is None:
        raise TypeError(posed.lidar)
    local: FloatArray = points_in_world(cloud.xyz, None, mounting, np.zeros(3))
    return local


def _without(cloud: PointCloud, mask: BoolArray, cause: str, counts: dict[str, int]) -> PointCloud:
    """Leave out points and count them."""
    left_out = int(np.count_nonzero(mask))
    if not left_out:
        return cloud
    counts[cause] = left_out
    kept = ~mask
    return replace(
        cloud,
        xyz=cloud.xyz[kept],
        intensity=_some(cloud.intensity, kept),
        time_ns=_some(cloud.time_ns, kept),
        is_ground=_some(cloud.is_ground, kept),
    )


def _thinned(points: Columns, config: Config, losses: Table) -> Columns:
    """Apply ``cloud.voxel_m`` and then ``cloud.max_points``."""
    rules = config.cloud
    if rules.voxel_m > 0.0:
        points = _keep(points, first_in_voxels(points.xyz, rules.voxel_m), "voxel_points", config, losses)
    if 0 < rules.max_points < len(points.xyz):
        spread = (np.arange(rules.max_points, dtype=np.int64) * len(points.xyz)) // rules.max_points
        points = _keep(points, spread, "limit_points", config, losses)
    return points


def first_in_voxels(xyz: FloatArray, voxel_m: float) -> IndexArray:
    """Return the index of the first point in each cube of a grid through the origin, ascending."""
    cells = np.floor(xyz / voxel_m).astype(np.int64)
    order = np.lexsort((cells[:, 2], cells[:, 1], cells[:, 0]))  # stable: the first point of a cell stays first
    ordered = cells[order]
    begins = np.ones(len(order), np.bool_)
    begins[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return np.sort(order[begins])


def _keep(points: Columns, rows: IndexArray, cause: str, config: Config, losses: Table) -> Columns:
    """Keep some points and count the others under their lidars' topics."""
    device = points.device
    if device is None:
        raise TypeError(cause)
    numbers = len(config.lidars)
    gone = np.bincount(device, minlength=numbers) - np.bincount(device[rows], minlength=numbers)
    for lidar, count in zip(config.lidars, gone.tolist(), strict=True):
        if count:
            merge(losses, {lidar.topic: {cause: count}})
    return Columns(
        points.xyz[rows],
        _some(points.intensity, rows),
        device[rows],
        _some(points.time_ns, rows),
        _some(points.is_ground, rows),
    )


def _some(column: Any, rows: BoolArray | IndexArray) -> Any:  # noqa: ANN401 - an array of any one type, or None
    return None if column is None else column[rows]


def _joined(parts: list[Any]) -> Any:  # noqa: ANN401 - arrays of any one type
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _column(parts: list[Any]) -> Any:  # noqa: ANN401
    return None if any(part is None for part in parts) else _joined(parts)
