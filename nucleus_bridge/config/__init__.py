# SPDX-License-Identifier: Apache-2.0
"""Configuration: typed settings, the table that follows from them, one loader."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nucleus_bridge.config.consistency import problems
from nucleus_bridge.config.loader import check_values, parse_override
from nucleus_bridge.config.sections import read_parameters
from nucleus_bridge.config.settings import (
    TABLE,
    AnnotationConfig,
    CameraConfig,
    CloudConfig,
    Config,
    DiagnosticsConfig,
    EventConfig,
    GpsConfig,
    GroundConfig,
    ImageConfig,
    LidarConfig,
    MountConfig,
    NamedTopic,
    PoseConfig,
    QueueConfig,
    RadarConfig,
    RosConfig,
    SceneConfig,
    Sensor,
    SfsConfig,
    SignalConfig,
    SpoolConfig,
    SyncConfig,
    TransformsConfig,
    UploadConfig,
)
from nucleus_bridge.config.sources import MARK, GivenEvent
from nucleus_bridge.errors import ConfigError

__all__ = [
    "AnnotationConfig",
    "CameraConfig",
    "CloudConfig",
    "Config",
    "DiagnosticsConfig",
    "EventConfig",
    "GivenEvent",
    "GpsConfig",
    "GroundConfig",
    "ImageConfig",
    "LidarConfig",
    "MountConfig",
    "NamedTopic",
    "PoseConfig",
    "QueueConfig",
    "RadarConfig",
    "RosConfig",
    "SceneConfig",
    "Sensor",
    "SfsConfig",
    "SignalConfig",
    "SpoolConfig",
    "SyncConfig",
    "TransformsConfig",
    "UploadConfig",
    "config_from_values",
    "load_config",
    "with_format",
    "with_given",
]


def load_config(path: Path | str, overrides: Iterable[str] = ()) -> Config:
    """Load a ROS 2 parameter file and ``key=value`` overrides.

    Args:
        path: The file. Paths in it are relative to its folder.
        overrides: What ``--set`` takes: full dotted names and values in YAML.

    Returns:
        The checked settings; what the file does not say has its default (docs/parameters.md).

    Raises:
        ConfigError: Naming the file, the parameter, the value and what is allowed.

    Examples:
        >>> from nucleus_bridge import load_config
        >>> config = load_config("drive.yaml", ["scene.max_frames=20"])
        >>> config.world_frame, [lidar.topic for lidar in config.lidars], config.scene.max_frames
        ('map', ['/lidar/top/points'], 20)
        >>> load_config("drive.yaml", ["scene.max_frame=20"])
        Traceback (most recent call last):
        ...
        nucleus_bridge.errors.ConfigError: ...: no such parameter; the nearest name is 'scene.max_frames'
    """
    path = Path(path)
    raw = read_parameters(path)
    for text in overrides:
        name, value = parse_override(text)
        raw[name] = value
        for group, names in TABLE.lists.items():
            if name == names and isinstance(value, list):
                raw = _without_unlisted(raw, group, value)
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
    folder = base_dir or Path()
    config: Config = TABLE.built(values, base_dir=folder, digest=TABLE.digest(values, folder))
    for problem in problems(config):
        raise ConfigError(problem)
    return config


def with_format(config: Config, scene_format: str) -> Config:
    """Set ``scene.format``.

    Raises:
        ConfigError: There is no such format.
    """
    checked: Any = TABLE.by_name["scene.format"].check("format", scene_format)
    return replace(config, scene=replace(config.scene, format=checked))


def with_given(config: Config, events: Iterable[GivenEvent]) -> Config:
    """Select frames by events that are known from the start, besides those that they are selected by already."""
    given = tuple(sorted(events, key=lambda event: (event.begin_ns, event.end_ns, event.name)))
    if config.scene.select == "events":
        return replace(config, given=given)
    digest = hashlib.sha256(f"{config.digest} scene.select=events".encode()).hexdigest()
    marks = tuple(event for event in config.events if event.name == MARK and not event.topic)
    return replace(config, scene=replace(config.scene, select="events"), events=marks, given=given, digest=digest)


def _without_unlisted(raw: Mapping[str, object], group: str, names: list[object]) -> dict[str, object]:
    """Leave out the sections that an override takes off the list."""
    return {
        name: value
        for name, value in raw.items()
        if not (name.startswith(f"{group}.") and name.split(".")[1] not in names)
    }
