# SPDX-License-Identifier: Apache-2.0
"""The points of a frame: every lidar's in the scene's coordinates, filtered and thinned, each loss counted."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.causes import Cause
from nucleus_bridge.config import Config
from nucleus_bridge.decode.points import select_points
from nucleus_bridge.formats.content import LidarSweep, Points
from nucleus_bridge.geometry import points_in_world
from nucleus_bridge.geometry.voxels import first_in_voxels
from nucleus_bridge.model import FloatArray, Frame, PointCloud, PosedSweep, Trajectory, Transform
from nucleus_bridge.pipeline.losses import Table, merge
from nucleus_bridge.pipeline.scene_builder import MAX_COORDINATE_M
from nucleus_bridge.render.ground import find_ground

BoolArray = NDArray[np.bool_]
IndexArray = NDArray[np.intp]


def lidar_sweeps(
    frame: Frame, world_offset: tuple[float, float, float], config: Config, losses: Table
) -> list[LidarSweep]:
    """Move all lidars' points into the scene and count what is left out under each lidar's topic."""
    lidars = {lidar.name: (number, lidar) for number, lidar in enumerate(config.lidars)}
    sweeps: list[LidarSweep] = []
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
        device = np.full(len(world), number, dtype=np.uint8)
        points = Points(world, cloud.intensity, device, cloud.time_ns, cloud.is_ground)
        pose = posed.world_from_lidar
        sweeps.append(LidarSweep(lidar.name, number, posed.sweep.stamp_ns, _in_scene(pose, offset), points))
    return _thinned(sweeps, config, losses)


def merged_points(sweeps: Sequence[LidarSweep], fields: Collection[str]) -> Points:
    """Put the points of all lidars together, with the columns that ``point_fields`` asks for and all of them have."""
    parts = [sweep.points for sweep in sweeps]
    return Points(
        _joined([part.xyz for part in parts]),
        _column([part.intensity for part in parts]) if "intensity" in fields else None,
        _column([part.device for part in parts]) if "device" in fields else None,
        _column([part.time_ns for part in parts]) if "time" in fields else None,
        _column([part.is_ground for part in parts]) if "is_ground" in fields else None,
    )


def _in_scene(world_from_lidar: Transform | Trajectory, offset: FloatArray) -> Transform | Trajectory:
    if isinstance(world_from_lidar, Trajectory):
        return replace(world_from_lidar, translations=world_from_lidar.translations - offset)
    return replace(world_from_lidar, translation=world_from_lidar.translation - offset)


def _in_box(cloud: PointCloud, posed: PosedSweep, box: tuple[float, ...]) -> BoolArray:
    """Find the points in a box of the device frame, borders included; what is fixed to the device stays there."""
    local = _in_device(cloud, posed)
    return np.asarray(np.all((local >= box[:3]) & (local <= box[3:]), axis=1))


def _in_device(cloud: PointCloud, posed: PosedSweep) -> FloatArray:
    """Return a lidar's points in the device frame as if all were measured at once."""
    mounting = posed.device_from_lidar
    if mounting is None:
        raise TypeError(posed.lidar)
    local: FloatArray = points_in_world(cloud.xyz, None, mounting, np.zeros(3))
    return local


def _without(cloud: PointCloud, mask: BoolArray, cause: Cause, counts: dict[str, int]) -> PointCloud:
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


def _thinned(sweeps: list[LidarSweep], config: Config, losses: Table) -> list[LidarSweep]:
    """Apply ``cloud.voxel_m`` and then ``cloud.max_points`` to all lidars' points together."""
    rules = config.cloud
    if rules.voxel_m > 0.0:
        xyz = _joined([sweep.points.xyz for sweep in sweeps])
        sweeps = _keep(sweeps, first_in_voxels(xyz, rules.voxel_m), "voxel_points", config, losses)
    total = sum(len(sweep.points) for sweep in sweeps)
    if 0 < rules.max_points < total:
        spread = (np.arange(rules.max_points, dtype=np.int64) * total) // rules.max_points
        sweeps = _keep(sweeps, spread, "limit_points", config, losses)
    return sweeps


def _keep(
    sweeps: Sequence[LidarSweep], rows: IndexArray, cause: Cause, config: Config, losses: Table
) -> list[LidarSweep]:
    """Keep some points, numbered over all lidars, and count the others under their lidars' topics."""
    kept: list[LidarSweep] = []
    start = 0
    for sweep in sweeps:
        stop = start + len(sweep.points)
        own = rows[np.searchsorted(rows, start) : np.searchsorted(rows, stop)] - start
        if left_out := len(sweep.points) - len(own):
            merge(losses, {config.lidars[sweep.device].topic: {cause: left_out}})
        kept.append(replace(sweep, points=sweep.points.at(own)))
        start = stop
    return kept


def _some(column: Any, rows: BoolArray | IndexArray) -> Any:  # noqa: ANN401 - an array of any one type, or None
    return None if column is None else column[rows]


def _joined(parts: list[Any]) -> Any:  # noqa: ANN401 - arrays of any one type
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _column(parts: list[Any]) -> Any:  # noqa: ANN401
    return None if any(part is None for part in parts) else _joined(parts)
