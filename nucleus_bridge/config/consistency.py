# SPDX-License-Identifier: Apache-2.0
"""What no parameter can break alone: checks across the keys of a configuration."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator

from nucleus_bridge.config.conditions import event_problems
from nucleus_bridge.config.settings import MERGED_CLOUD, SENSOR_GROUPS, TABLE, Config, LidarConfig
from nucleus_bridge.config.sources import BUILTIN_METADATA, ITEMS_OWN, MARK, MountConfig, PoseConfig

_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_SMALLEST_LENGTH = 1e-3
_MOUNT_NUMBERS = {"xyz": 3, "rpy": 3, "quaternion_xyzw": 4}


def problems(config: Config) -> Iterator[str]:
    """Yield what is wrong, each with the parameters, the values and the remedy."""
    yield from _name_problems(config)
    yield from _scene_problems(config)
    yield from _sensor_problems(config)
    for pose in config.poses:
        yield from _pose_problems(f"poses.{pose.name}", pose)
    for mount in config.mounts:
        yield from _mount_problems(f"mounts.{mount.name}", mount)
    yield from _metadata_problems(config)
    yield from _event_problems(config)


def _name_problems(config: Config) -> Iterator[str]:
    if not config.lidars:
        yield "lidar_names: name at least one lidar; every frame needs one point cloud"
    sensors = [sensor.name for sensor in config.sensors]
    lists = ", ".join(sorted(TABLE.lists[group] for group in SENSOR_GROUPS))
    for name in sorted({name for name in sensors if sensors.count(name) > 1}):
        yield f"{lists}: {name!r} names two sensors; each needs its own name"
    if len(config.lidars) > 1 and any(camera.name == MERGED_CLOUD for camera in config.cameras):
        yield f"camera_names: {MERGED_CLOUD!r} is the name of the merged cloud; call the camera something else"
    if "frames" in sensors:
        yield "sensor names: 'frames' is taken by the scene's own files"
    for name in ("world_frame", "device_frame"):
        if not getattr(config, name).lstrip("/"):
            yield f"{name}: must name a frame"


def _scene_problems(config: Config) -> Iterator[str]:
    prefix, max_items = config.scene.prefix, config.scene.max_items
    if not _ID.fullmatch(prefix) or prefix.startswith("."):
        yield f"scene.prefix: {prefix!r} must be 1 to 128 letters, digits, '.', '_' or '-', with no '.' in front"
    if 1 + len(config.cameras) > max_items:
        yield f"scene.max_items: {max_items} items cannot hold one frame of a cloud and {len(config.cameras)} images"


def _sensor_problems(config: Config) -> Iterator[str]:
    for lidar in config.lidars:
        name = f"lidars.{lidar.name}"
        if lidar.min_range_m > lidar.max_range_m:
            yield f"{name}.min_range_m: {lidar.min_range_m} is more than max_range_m {lidar.max_range_m}"
        if "is_ground" in config.point_fields and not lidar.ground_field and not config.segments_ground:
            yield (
                f"point_fields: is_ground needs {name}.ground_field, the field that flags ground points, or "
                "ground.method: patchwork, which finds them"
            )
        yield from _ground_problems(name, lidar)
        yield from _box_problems(name, lidar.crop_box)
    for camera in config.cameras:
        if not camera.info_topic and not camera.calibration_file:
            yield f"cameras.{camera.name}.info_topic: set it, or cameras.{camera.name}.calibration_file"
    for radar in config.radars:
        if not radar.strength_min < radar.strength_max:
            yield f"radars.{radar.name}.strength_min: {radar.strength_min} must be less than strength_max"


def _ground_problems(name: str, lidar: LidarConfig) -> Iterator[str]:
    for value in lidar.ground_classes:
        if not re.fullmatch(r"-?[0-9]{1,9}", value):
            yield f"{name}.ground_classes: entries must be whole numbers such as '40', not {value!r}"
    if lidar.ground_classes and not lidar.ground_field:
        yield f"{name}.ground_classes: set {name}.ground_field to the field that holds the class"


def _box_problems(name: str, box: tuple[float, ...]) -> Iterator[str]:
    if len(box) not in (0, 6):
        yield f"{name}.crop_box: must be [x_min, y_min, z_min, x_max, y_max, z_max] or [], not {list(box)}"
    elif any(low >= high for low, high in zip(box[:3], box[3:], strict=True)):
        yield f"{name}.crop_box: each minimum must be less than its maximum, not {list(box)}"


def _pose_problems(name: str, pose: PoseConfig) -> Iterator[str]:
    if bool(pose.topic) == bool(pose.file):
        now = f"both, {pose.topic} and {pose.file}" if pose.topic else "neither"
        yield f"{name}.topic: set it or {name}.file, not {now}"
    if not pose.file:
        for key in ("times_file", "columns"):
            if getattr(pose, key):
                yield f"{name}.{key}: goes with {name}.file, which is not set"
    elif pose.format == "kitti" and not pose.times_file:
        yield f"{name}.times_file: set it; a file in KITTI's format holds no times"
    elif pose.format in ("tum", "csv") and pose.times_file:
        yield f"{name}.times_file: goes with {name}.format: kitti, not {pose.format}"
    elif pose.format in ("tum", "kitti") and pose.columns:
        yield f"{name}.columns: goes with {name}.format: csv, not {pose.format}"
    columns = [column.partition("=")[0] for column in pose.columns]
    for column in sorted({column for column in columns if columns.count(column) > 1}):
        yield f"{name}.columns: gives {column} twice"
    if pose.parent_frame and _same_frame(pose.parent_frame, pose.child_frame):
        yield f"{name}.child_frame: {pose.child_frame!r} is the parent frame too"


def _mount_problems(name: str, mount: MountConfig) -> Iterator[str]:
    numbers = {key: getattr(mount, key) for key in _MOUNT_NUMBERS}
    given = [key for key, value in numbers.items() if value]
    if mount.file and given:
        yield f"{name}.{given[0]}: {name}.file gives the mount; leave one of them out"
    if not mount.file:
        yield from _fileless_problems(name, mount, is_given=bool(given))
    if mount.rpy and mount.quaternion_xyzw:
        yield f"{name}.rpy: {name}.quaternion_xyzw gives the rotation; leave one of them out"
    for key in given:
        if len(numbers[key]) != _MOUNT_NUMBERS[key]:
            yield f"{name}.{key}: must be {_MOUNT_NUMBERS[key]} numbers, not {list(numbers[key])}"
    if mount.quaternion_xyzw and math.hypot(*mount.quaternion_xyzw) < _SMALLEST_LENGTH:
        yield f"{name}.quaternion_xyzw: {list(mount.quaternion_xyzw)} has no length and is not a rotation"
    if mount.parent_frame and _same_frame(mount.parent_frame, mount.child_frame):
        yield f"{name}.child_frame: {mount.child_frame!r} is the parent frame too"


def _fileless_problems(name: str, mount: MountConfig, *, is_given: bool) -> Iterator[str]:
    if not is_given:
        yield f"{name}: set {name}.xyz and {name}.rpy, or {name}.quaternion_xyzw instead of rpy, or {name}.file"
    for key in ("parent_frame", "child_frame"):
        if not getattr(mount, key).lstrip("/"):
            yield f"{name}.{key}: must name a frame"
    if mount.key:
        yield f"{name}.key: goes with {name}.file, which is not set"


def _same_frame(one: str, other: str) -> bool:
    return one.lstrip("/") == other.lstrip("/")


def _metadata_problems(config: Config) -> Iterator[str]:
    fixed = dict(config.metadata)
    names_events = bool(config.events) or config.scene.select == "events"
    for signal in config.metadata_from:
        if signal.name in fixed:
            yield f"metadata.{signal.name}: metadata_from.{signal.name} makes it too; leave one of them out"
        if signal.name == ITEMS_OWN:
            yield f"metadata_from.{signal.name}: items have a key of that name already; call it something else"
        if signal.name == "events" and names_events:
            yield "metadata_from.events: that key holds the names of the scene's events; call it something else"
    if config.metadata_builtin:
        yield from _builtin_problems(config, fixed.keys())
    if "events" in fixed and names_events:
        yield "metadata.events: holds the names of the scene's events; call it something else"


def _builtin_problems(config: Config, fixed: Collection[str]) -> Iterator[str]:
    for name in BUILTIN_METADATA:
        if name in fixed:
            yield f"metadata.{name}: metadata_builtin makes it too; leave one of them out"
    for signal in config.metadata_from:
        if signal.name in BUILTIN_METADATA:
            yield f"metadata_from.{signal.name}: metadata_builtin makes it too; call it something else"


def _event_problems(config: Config) -> Iterator[str]:
    for event in config.events:
        for key in event.missing:
            yield f"events.{event.name}.{key}: must be set; only the event {MARK!r} needs none"
        if event.topic:
            yield from event_problems(event, config.gps.topic)
