# SPDX-License-Identifier: Apache-2.0
"""Configuration: one table of parameters, one loader, typed settings."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from nucleus_bridge.config.loader import check_values, parse_override, read_file
from nucleus_bridge.config.settings import (
    MERGED_CLOUD,
    CameraConfig,
    CloudConfig,
    Config,
    DiagnosticsConfig,
    GpsConfig,
    GroundConfig,
    ImageConfig,
    LidarConfig,
    QueueConfig,
    RadarConfig,
    SceneConfig,
    SpoolConfig,
    SyncConfig,
    UploadConfig,
)
from nucleus_bridge.config.table import PARAMETERS, SENSOR_KINDS, Value
from nucleus_bridge.errors import ConfigError

__all__ = [
    "FORMATS",
    "CameraConfig",
    "CloudConfig",
    "Config",
    "DiagnosticsConfig",
    "GpsConfig",
    "GroundConfig",
    "ImageConfig",
    "LidarConfig",
    "QueueConfig",
    "RadarConfig",
    "SceneConfig",
    "SpoolConfig",
    "SyncConfig",
    "UploadConfig",
    "config_from_values",
    "load_config",
    "with_format",
]

_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_GROUPS = {
    "gps": GpsConfig,
    "cloud": CloudConfig,
    "ground": GroundConfig,
    "scene": SceneConfig,
    "sync": SyncConfig,
    "image": ImageConfig,
    "spool": SpoolConfig,
    "upload": UploadConfig,
    "queue": QueueConfig,
    "diagnostics": DiagnosticsConfig,
}
FORMATS = next(row.choices for row in PARAMETERS if row.name == "scene.format")
_NAME_LISTS = tuple(f"{kind}_names" for kind in SENSOR_KINDS)
_NO_DEFAULT = object()
_SENSORS = {"lidars": LidarConfig, "cameras": CameraConfig, "radars": RadarConfig}


def load_config(path: Path | str, overrides: Iterable[str] = ()) -> Config:
    """Load a ROS 2 parameter file and ``key=value`` overrides.

    Raises:
        ConfigError: Naming the file, the parameter, the value and what is allowed.
    """
    path = Path(path)
    raw = read_file(path)
    for text in overrides:
        name, value = parse_override(text)
        raw[name] = value
        if name in _NAME_LISTS and isinstance(value, list):
            raw = _without_unlisted(raw, f"{name.partition('_')[0]}s", value)
    try:
        return config_from_values(raw, base_dir=path.parent)
    except ConfigError as error:
        message = f"configuration {path}: {error}"
        raise ConfigError(message) from None


def config_from_values(raw: Mapping[str, object], *, base_dir: Path | None = None) -> Config:
    """Check raw values under flat dotted names and group them.

    Raises:
        ConfigError: Naming the parameter, the value and what is allowed.
    """
    values = check_values(raw)
    groups: dict[str, Any] = {name: _group(values, name, kind) for name, kind in _GROUPS.items()}
    sensors: dict[str, Any] = {
        kind: tuple(_sensor(values, kind, name) for name in _names(values, kind)) for kind in _SENSORS
    }
    plain = {name: values[name] for name in ("world_frame", "device_frame", "deskew", "point_fields", "autostart")}
    metadata = tuple(
        sorted((name.partition(".")[2], str(value)) for name, value in values.items() if name.startswith("metadata."))
    )
    config = Config(
        **plain,  # type: ignore[arg-type]
        **groups,
        **sensors,
        metadata=metadata,
        base_dir=base_dir or Path(),
        digest=_digest(values, base_dir or Path()),
    )
    _check_together(config)
    return config


def with_format(config: Config, scene_format: str) -> Config:
    """Set ``scene.format``.

    Raises:
        ConfigError: There is no such format.
    """
    if scene_format not in FORMATS:
        raise ConfigError(f"format: must be one of {', '.join(FORMATS)}, not {scene_format!r}")
    return replace(config, scene=replace(config.scene, format=scene_format))


def _without_unlisted(raw: Mapping[str, object], kind: str, names: list[object]) -> dict[str, object]:
    """Leave out the sections of sensors that an override takes off the list."""
    return {
        name: value
        for name, value in raw.items()
        if not (name.startswith(f"{kind}.") and name.split(".")[1] not in names)
    }


def _names(values: Mapping[str, Value], kind: str) -> tuple[str, ...]:
    names = values[f"{kind[:-1]}_names"]
    return tuple(str(name) for name in names) if isinstance(names, tuple) else ()


def _group(values: Mapping[str, Value], prefix: str, kind: Any) -> Any:  # noqa: ANN401 - builds any settings class
    return kind(**{item.name: values[f"{prefix}.{item.name}"] for item in fields(kind)})


def _sensor(values: Mapping[str, Value], kind: str, name: str) -> Any:  # noqa: ANN401
    settings = _SENSORS[kind]
    given = {item.name: values[f"{kind}.{name}.{item.name}"] for item in fields(settings) if item.name != "name"}
    for item, value in given.items():
        if item.endswith("topic") and isinstance(value, str) and value and not value.startswith("/"):
            given[item] = f"/{value}"
    return settings(name=name, **given)


def _digest(values: Mapping[str, Value], base_dir: Path) -> str:
    """Digest of every value that shapes the output, calibration files by their content."""
    quiet = {row.name for row in PARAMETERS if not row.shapes_output}
    defaults = {row.name: row.default for row in PARAMETERS if row.is_later}
    shaping = {
        name: value
        for name, value in values.items()
        if name not in quiet and value != defaults.get(_row_name(name), _NO_DEFAULT)
    }
    for name, value in shaping.items():
        if name.endswith(".calibration_file") and value:
            shaping[name] = hashlib.sha256(_read(base_dir / str(value), name)).hexdigest()
    text = json.dumps(shaping, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _row_name(name: str) -> str:
    """Return the name that a parameter has in the table."""
    head, _, rest = name.partition(".")
    return f"{head}.*.{rest.partition('.')[2]}" if head in _SENSORS else name


def _read(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        message = f"{name}: {path} cannot be read: {error.strerror}"
        raise ConfigError(message) from None


def _check_together(config: Config) -> None:
    """Check what no single parameter can break alone."""
    for problem in (*_name_problems(config), *_scene_problems(config), *_sensor_problems(config)):
        raise ConfigError(problem)


def _name_problems(config: Config) -> Iterator[str]:
    if not config.lidars:
        yield "lidar_names: name at least one lidar; every frame needs one point cloud"
    sensors = [sensor.name for group in (config.lidars, config.cameras, config.radars) for sensor in group]
    for name in sorted({name for name in sensors if sensors.count(name) > 1}):
        yield f"camera_names, lidar_names, radar_names: {name!r} names two sensors; each needs its own name"
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
