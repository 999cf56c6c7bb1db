# SPDX-License-Identifier: Apache-2.0
"""One frame to its files: a pure function of the frame, run in this process or in a worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from nucleus_bridge.config import Config
from nucleus_bridge.decode.image import encode_pixels, image_file, pixels
from nucleus_bridge.decode.rectify import expressible, rectify
from nucleus_bridge.errors import ImageError
from nucleus_bridge.formats.nucleus import NUCLEUS, camera_params, cloud_item, image_item
from nucleus_bridge.formats.point_json import encode_cloud, encode_points
from nucleus_bridge.model import CameraModel, Frame, PosedImage, Scene
from nucleus_bridge.pipeline.losses import Table, merge
from nucleus_bridge.render.cloud import Columns, world_points
from nucleus_bridge.render.sensor_fusion import Shot, frame_document, frame_path, radars_in_reach
from nucleus_bridge.spool.manifest import FileRecord
from nucleus_bridge.spool.spool import write_scene_file

SUFFIX = {"jpeg": ".jpg", "png": ".png"}

Items = Mapping[str, Mapping[str, Any]]


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
        items: Nucleus items by sensor, the cloud first; None in other formats.
        files: The files that were written: the one with the points, then the images.
        points: Number of lidar points.
        losses: Points and images left out, by topic and cause.
        reasons: For each cause of a fault, its first text.
        unusable_images: Cameras whose image could not be used after all.
        radar_points: Number of detections by radar; Nucleus scenes do not hold them.
    """

    items: Items | None
    files: tuple[FileRecord, ...]
    points: int
    losses: Table
    reasons: Mapping[str, str] = field(default_factory=dict)
    unusable_images: tuple[str, ...] = ()
    radar_points: Mapping[str, int] = field(default_factory=dict)


def render_frame(job: FrameJob, config: Config) -> RenderedFrame:
    """Write a frame's points and images and describe them.

    Raises:
        OSError: The disk cannot take a file.
    """
    losses: Table = {}
    reasons: dict[str, str] = {}
    job = replace(job, frame=replace(job.frame, radars=radars_in_reach(job.frame, job.scene, config, losses)))
    columns = world_points(job.frame, job.scene.world_offset, config, losses)
    shots: list[Shot] = []
    files: list[FileRecord] = []
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
        files.append(write_scene_file(job.folder, f"{posed.camera}/{job.index:06d}{suffix}", [content]))
        shots.append(Shot(posed, files[-1].path, model))
    files.insert(0, _write_points(job, columns, shots, config))
    items = _nucleus_items(job, files[0].path, shots, config) if config.scene.format == NUCLEUS else None
    radar_points = {seen.radar: len(seen.position) for seen in job.frame.radars}
    return RenderedFrame(items, tuple(files), len(columns.xyz), losses, reasons, tuple(unusable), radar_points)


def _write_points(job: FrameJob, columns: Columns, shots: list[Shot], config: Config) -> FileRecord:
    """Write the file that holds the points: a point cloud, or a sensor-fusion frame."""
    frame, timestamp_ns = job.frame, _timestamp(job.frame, config)
    if config.scene.format != NUCLEUS:
        document = frame_document(frame, job.scene, timestamp_ns, columns, shots, config)
        return write_scene_file(job.folder, frame_path(job.index, config), document)
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
        timestamp_ns=timestamp_ns,
    )
    return write_scene_file(job.folder, f"{config.cloud_sensor}/{job.index:06d}.json", document)


def _nucleus_items(job: FrameJob, cloud_path: str, shots: list[Shot], config: Config) -> Items:
    def item_id(sensor: str) -> str:
        return f"{job.scene.reference_id}-{sensor}-{job.index:06d}"

    items = {config.cloud_sensor: cloud_item(item_id(config.cloud_sensor), cloud_path)}
    for shot in shots:
        posed = shot.posed
        params = camera_params(
            shot.model,
            posed.world_from_camera,
            job.scene.world_offset,
            posed.image.stamp_ns,
            posed.camera_index,
            config.cameras[posed.camera_index].priority,
        )
        items[posed.camera] = image_item(item_id(posed.camera), shot.path, params)
    return items


def _timestamp(frame: Frame, config: Config) -> int:
    """The start of the rotation: the stamp, or the first point's time where the stamp marks the sweep's end."""
    if config.lidars[0].stamp == "end":
        return min(frame.stamp_ns, frame.sweeps[0].sweep.first_ns)
    return frame.stamp_ns


def _image_content(posed: PosedImage, config: Config) -> tuple[bytes | memoryview, str, CameraModel]:
    """The file's bytes, its suffix and the intrinsics that hold for it."""
    rule = config.cameras[posed.camera_index].rectify
    expressed = expressible(posed.model, config.scene.format)
    if not expressed or (rule == "always" and any(posed.model.distortion.values())):
        flat, model = rectify(pixels(posed.image), posed.model)
        fmt = config.image.format
        return encode_pixels(flat, fmt, config.image.quality), SUFFIX[fmt], model
    content, suffix = image_file(posed.image, config.image.format, config.image.quality)
    return content, suffix, posed.model
