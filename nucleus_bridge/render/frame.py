# SPDX-License-Identifier: Apache-2.0
"""One frame to its files: a pure function of the frame, run in this process or in a worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nucleus_bridge.config import Config
from nucleus_bridge.decode.image import encode_pixels, image_file, pixels
from nucleus_bridge.decode.rectify import expressible, rectify
from nucleus_bridge.errors import ImageError
from nucleus_bridge.formats.nucleus import camera_params, cloud_item, image_item
from nucleus_bridge.formats.point_json import encode_cloud, encode_points
from nucleus_bridge.model import CameraModel, Frame, PosedImage, Scene
from nucleus_bridge.pipeline.losses import Table, merge
from nucleus_bridge.render.cloud import world_points
from nucleus_bridge.spool.manifest import FileRecord
from nucleus_bridge.spool.spool import write_scene_file

SUFFIX = {"jpeg": ".jpg", "png": ".png"}


@dataclass(frozen=True)
class FrameJob:
    """What a worker needs to render one frame into a scene's folder."""

    folder: Path
    scene: Scene
    index: int
    frame: Frame


@dataclass(frozen=True)
class RenderedFrame:
    """What came of a frame.

    Attributes:
        items: Nucleus items by sensor, the cloud first.
        files: The files that were written.
        points: Number of points in the cloud.
        losses: Points and images left out, by topic and cause.
        reasons: For each cause of a fault, its first text.
        unusable_images: Cameras whose image could not be used after all.
        radar_points: Number of detections by radar; they are in no file.
    """

    items: Mapping[str, Mapping[str, Any]]
    files: tuple[FileRecord, ...]
    points: int
    losses: Table
    reasons: Mapping[str, str] = field(default_factory=dict)
    unusable_images: tuple[str, ...] = ()
    radar_points: Mapping[str, int] = field(default_factory=dict)


def render_frame(job: FrameJob, config: Config) -> RenderedFrame:
    """Write a frame's point cloud and images and describe them.

    Raises:
        OSError: The disk cannot take a file.
    """
    losses: Table = {}
    reasons: dict[str, str] = {}
    cloud_file, points = _write_cloud(job, config, losses)
    sensor = config.cloud_sensor
    items = {sensor: cloud_item(_item_id(job, sensor), cloud_file.path)}
    files = [cloud_file]
    unusable = []
    for posed in job.frame.images:
        try:
            content, suffix, model = _image_content(posed, config)
        except ImageError as error:
            topic = config.cameras[posed.camera_index].image_topic
            merge(losses, {topic: {error.cause: 1}})
            reasons.setdefault(error.cause, f"{topic}: {error}")
            unusable.append(posed.camera)
            continue
        record = write_scene_file(job.folder, f"{posed.camera}/{job.index:06d}{suffix}", [content])
        params = camera_params(
            model, posed.world_from_camera, job.scene.world_offset, posed.image.stamp_ns, posed.camera_index
        )
        items[posed.camera] = image_item(_item_id(job, posed.camera), record.path, params)
        files.append(record)
    radar_points = {seen.radar: len(seen.position) for seen in job.frame.radars}
    return RenderedFrame(items, tuple(files), points, losses, reasons, tuple(unusable), radar_points)


def _item_id(job: FrameJob, sensor: str) -> str:
    return f"{job.scene.reference_id}-{sensor}-{job.index:06d}"


def _write_cloud(job: FrameJob, config: Config, losses: Table) -> tuple[FileRecord, int]:
    frame = job.frame
    columns = world_points(frame, job.scene.world_offset, config, losses)
    document = encode_cloud(
        encode_points(
            columns.xyz,
            intensity=columns.intensity,
            device=columns.device,
            time_ns=columns.time_ns,
            is_ground=columns.is_ground,
        ),
        device_position=frame.world_from_device.translation - np.asarray(job.scene.world_offset),
        device_heading_xyzw=frame.world_from_device.rotation_xyzw,
        gps=frame.gps,
        timestamp_ns=_timestamp(frame, config),
    )
    path = f"{config.cloud_sensor}/{job.index:06d}.json"
    return write_scene_file(job.folder, path, document), len(columns.xyz)


def _timestamp(frame: Frame, config: Config) -> int:
    """The start of the rotation: the stamp, or the first point's time where the stamp marks the sweep's end."""
    if config.lidars[0].stamp == "end":
        return min(frame.stamp_ns, frame.sweeps[0].sweep.first_ns)
    return frame.stamp_ns


def _image_content(posed: PosedImage, config: Config) -> tuple[bytes | memoryview, str, CameraModel]:
    """The file's bytes, its suffix and the intrinsics that hold for it."""
    rule = config.cameras[posed.camera_index].rectify
    if not expressible(posed.model) or (rule == "always" and any(posed.model.distortion.values())):
        flat, model = rectify(pixels(posed.image), posed.model)
        fmt = config.image.format
        return encode_pixels(flat, fmt, config.image.quality), SUFFIX[fmt], model
    content, suffix = image_file(posed.image, config.image.format, config.image.quality)
    return content, suffix, posed.model
