# SPDX-License-Identifier: Apache-2.0
"""What the manifest says about each sensor of a scene."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any

from nucleus_bridge.config import Config
from nucleus_bridge.decode.intensity import intensity_scale
from nucleus_bridge.geometry import quaternion
from nucleus_bridge.geometry.optical import optical_warning
from nucleus_bridge.model import Frame, PosedImage, PosedSweep, Trajectory

Record = dict[str, Any]


def sensors_of(frame: Frame, config: Config, known: Container[str] = ()) -> Iterator[tuple[str, Record]]:
    """Describe each sensor of a frame that is not known yet.

    The points of radars are counted as frames are taken.
    """
    for posed in frame.sweeps:
        if posed.lidar not in known:
            yield posed.lidar, _lidar(posed, config)
    for image in frame.images:
        if image.camera not in known:
            yield image.camera, _camera(image, frame, config)
    topics = {radar.name: radar.topic for radar in config.radars}
    for radar in frame.radars:
        if radar.radar not in known:
            record: Record = {"kind": "radar", "topic": topics[radar.radar], "frame_id": radar.frame_id, "points": 0}
            yield radar.radar, record


def _lidar(posed: PosedSweep, config: Config) -> Record:
    number, lidar = next((n, lidar) for n, lidar in enumerate(config.lidars) if lidar.name == posed.lidar)
    record: Record = {
        "kind": "lidar",
        "topic": lidar.topic,
        "frame_id": posed.sweep.frame_id,
        "device": number,
        "time_field": posed.sweep.time_field,
        "deskewed": isinstance(posed.world_from_lidar, Trajectory),
    }
    if not lidar.deskew:
        record["corrected"] = True
    if lidar.intensity_scale == "auto" and lidar.intensity_field in (posed.sweep.points.dtype.names or ()):
        scale = intensity_scale(posed.sweep, lidar)
        record |= {"intensity_max": scale.full_scale, "intensity_max_from": scale.source}
    return record


def _camera(image: PosedImage, frame: Frame, config: Config) -> Record:
    camera = config.cameras[image.camera_index]
    record: Record = {
        "kind": "camera",
        "topic": camera.image_topic,
        "frame_id": camera.optical_frame.lstrip("/") or image.image.frame_id,
        "camera_index": image.camera_index,
        "model": image.model.model,
        "width": image.image.width,
        "height": image.image.height,
    }
    if camera.frame_convention == "body":
        record["frame_convention"] = "body"
    record |= {key: value for key in ("clock_offset_ms", "offset_ms") if (value := getattr(camera, key))}
    device_from_world = quaternion.conjugate(frame.world_from_device.rotation_xyzw)
    warning = optical_warning(quaternion.multiply(device_from_world, image.world_from_camera.rotation_xyzw))
    if warning:
        record["warning"] = f"frame {record['frame_id']!r}: {warning}"
    return record
