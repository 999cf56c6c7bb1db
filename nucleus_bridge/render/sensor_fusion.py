# SPDX-License-Identifier: Apache-2.0
"""One frame to its sensor-fusion file: points, radar and images in one document, JSON or protocol buffers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nucleus_bridge.config import Config
from nucleus_bridge.formats import point_json, point_protobuf, sensor_fusion_json, sensor_fusion_protobuf
from nucleus_bridge.formats.point_json import Buffer
from nucleus_bridge.formats.sensor_fusion import FRAME_FOLDER, FRAME_SUFFIX, SENSOR_FUSION_JSON
from nucleus_bridge.formats.sensor_fusion_frame import CameraImage, RadarPoint, SensorFusionFrame, radar_point
from nucleus_bridge.model import CameraModel, FloatArray, Frame, PosedImage, RadarPoints, Scene
from nucleus_bridge.pipeline.losses import Table, merge
from nucleus_bridge.pipeline.scene_builder import MAX_COORDINATE_M
from nucleus_bridge.render.cloud import Columns


@dataclass(frozen=True, eq=False)
class Shot:
    """An image that was written to the scene.

    Attributes:
        posed: The image as it was matched.
        path: Its file in the scene's folder.
        model: The intrinsics that hold for the file.
    """

    posed: PosedImage
    path: str
    model: CameraModel


def frame_path(index: int, config: Config) -> str:
    """Name a frame's file in the scene's folder."""
    return f"{FRAME_FOLDER}/{index:06d}{FRAME_SUFFIX[config.scene.format]}"


def frame_document(
    frame: Frame, scene: Scene, timestamp_ns: int, columns: Columns, shots: Sequence[Shot], config: Config
) -> tuple[Buffer, ...]:
    """Write a frame in the configured format; returns the document's bytes in pieces."""
    content = _content(frame, scene, timestamp_ns, shots, config)
    named: dict[str, Any] = {
        "intensity": columns.intensity,
        "device": columns.device,
        "time_ns": columns.time_ns,
        "is_ground": columns.is_ground,
    }
    if config.scene.format == SENSOR_FUSION_JSON:
        return sensor_fusion_json.encode_frame(content, point_json.encode_points(columns.xyz, **named))
    return sensor_fusion_protobuf.encode_frame(content, point_protobuf.encode_points(columns.xyz, **named))


def _content(frame: Frame, scene: Scene, timestamp_ns: int, shots: Sequence[Shot], config: Config) -> SensorFusionFrame:
    offset = np.asarray(scene.world_offset)
    seen = [point for radar in frame.radars for point in _radar_points(radar, offset)]
    return SensorFusionFrame(
        timestamp_ns,
        frame.world_from_device.translation - offset,
        frame.world_from_device.rotation_xyzw,
        frame.gps,
        tuple(_camera_image(shot, offset, config) for shot in shots),
        tuple(seen) if frame.radars else None,
    )


def radars_in_reach(frame: Frame, scene: Scene, config: Config, losses: Table) -> tuple[RadarPoints, ...]:
    """Leave out detections that are as far away as no point of a lidar may be, and count them as such."""
    topics = {radar.name: radar.topic for radar in config.radars}
    near: list[RadarPoints] = []
    for radar in frame.radars:
        kept = np.all(np.abs(radar.position - np.asarray(scene.world_offset)) < MAX_COORDINATE_M, axis=1)
        if not kept.all():
            merge(losses, {topics[radar.radar]: {"coordinate_range": int(np.count_nonzero(~kept))}})
        near.append(
            replace(
                radar,
                position=radar.position[kept],
                direction=None if radar.direction is None else radar.direction[kept],
                size=None if radar.size is None else radar.size[kept],
            )
        )
    return tuple(near)


def _camera_image(shot: Shot, offset: FloatArray, config: Config) -> CameraImage:
    posed = shot.posed
    return CameraImage(
        shot.path,
        posed.image.stamp_ns,
        posed.world_from_camera.translation - offset,
        posed.world_from_camera.rotation_xyzw,
        shot.model,
        posed.camera_index,
        config.cameras[posed.camera_index].priority,
    )


def _radar_points(radar: RadarPoints, offset: FloatArray) -> Iterator[RadarPoint]:
    for number, position in enumerate(radar.position - offset):
        yield radar_point(
            position,
            None if radar.direction is None else radar.direction[number],
            None if radar.size is None else radar.size[number],
        )
