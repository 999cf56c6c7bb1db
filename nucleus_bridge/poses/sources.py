# SPDX-License-Identifier: Apache-2.0
"""The one list of the kinds of pose sources. A new kind is its module and one line here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from nucleus_bridge.config import Config
from nucleus_bridge.errors import ConfigError
from nucleus_bridge.poses.mounts import Mount
from nucleus_bridge.poses.source import PoseSource
from nucleus_bridge.poses.tf import Transforms
from nucleus_bridge.poses.topics import TopicPoses
from nucleus_bridge.poses.trajectory import FilePoses
from nucleus_bridge.poses.urdf import descriptions

Factory = Callable[[Config], Iterable[PoseSource]]
"""Makes the sources of one kind that a configuration asks for; reads no more than the configuration and its files."""

_FACTORIES: list[Factory] = [
    lambda config: [Transforms(config.transforms)],
    lambda config: _given_poses(config, compared=False),
    lambda config: [Mount(mount, config.base_dir) for mount in config.mounts],
    lambda config: descriptions(config.transforms, config.base_dir),
]


def _given_poses(config: Config, *, compared: bool) -> Iterator[TopicPoses | FilePoses]:
    """Make the sources of ``poses``: those that scenes use, or those that are only compared."""
    chosen = [pose for pose in config.poses if pose.compare_only == compared]
    yield from (TopicPoses(pose, config.device_frame) for pose in chosen if pose.topic)
    for pose in chosen:
        if pose.file:
            yield FilePoses(pose, config.world_frame, config.device_frame, config.base_dir)


def compared_of(config: Config) -> tuple[TopicPoses | FilePoses, ...]:
    """Return the sources of poses that a configuration asks to compare, and to use for nothing else.

    Raises:
        ConfigError: A file that it names cannot be used.
    """
    return tuple(_given_poses(config, compared=True))


def add_factory(factory: Factory) -> None:
    """Make a kind of source known."""
    _FACTORIES.append(factory)


@contextmanager
def added(*factories: Factory) -> Iterator[None]:
    """Make kinds of sources known for as long as the block lasts."""
    before = list(_FACTORIES)
    _FACTORIES.extend(factories)
    try:
        yield
    finally:
        _FACTORIES[:] = before


def sources_of(config: Config) -> tuple[PoseSource, ...]:
    """Return every source of poses that a configuration asks for, and that scenes use.

    Raises:
        ConfigError: A file that it names cannot be used.
    """
    sources = tuple(source for factory in _FACTORIES for source in factory(config))
    for source in sources:
        if config.gps.map_is_enu and isinstance(source, FilePoses) and source.is_estimated:
            message = (
                f"gps.map_is_enu: {source.name} is estimated from the lidar; its frame points anywhere, not to the east"
            )
            raise ConfigError(message)
    return sources


def record_of(sources: Iterable[PoseSource]) -> dict[str, Any]:
    """Return what manifests say of the sources besides transforms and mounts; empty where there are none."""
    record: dict[str, Any] = {}
    for source in sources:
        if isinstance(source, (TopicPoses, FilePoses)):
            record.setdefault("sources", []).append(source.name)
        if isinstance(source, FilePoses):
            if source.is_estimated:
                record["estimated"] = True
            if source.origin is not None:
                record["origin"] = source.origin._asdict()
    return record
