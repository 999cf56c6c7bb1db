# SPDX-License-Identifier: Apache-2.0
"""One frame to its files: a pure function of the frame, run in this process or in a worker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from nucleus_bridge.config import Config
from nucleus_bridge.decode.image import encode_pixels, image_file, pixels
from nucleus_bridge.decode.image_checks import damage_of
from nucleus_bridge.decode.rectify import rectify
from nucleus_bridge.errors import ImageError
from nucleus_bridge.formats.content import SceneFrame, SceneImage
from nucleus_bridge.formats.interface import SceneFormat, SceneStart
from nucleus_bridge.model import CameraModel, Detections, FloatArray, Frame, PosedImage, RadarPoints
from nucleus_bridge.pipeline.losses import Table, merge
from nucleus_bridge.pipeline.scene_builder import MAX_COORDINATE_M
from nucleus_bridge.render.cloud import lidar_sweeps, merged_points
from nucleus_bridge.spool import FileRecord, SceneFiles

SUFFIX = {"jpeg": ".jpg", "png": ".png"}


@dataclass(frozen=True)
class FrameJob:
    """What a worker needs to render one frame into a scene's folder, and whether it decodes every picture."""

    folder: Path
    scene_format: SceneFormat
    start: SceneStart
    index: int
    frame: Frame
    verify_images: bool = False


@dataclass(frozen=True)
class RenderedFrame:
    """What came of a frame.

    Attributes:
        entry: What the format has to know of it when it closes the scene.
        files: The files that were written: those with the points, then the images.
        images: Number of images.
        points: Number of lidar points.
        losses: Points and images left out, by topic and cause.
        reasons: For each cause of a fault, its first text.
        unusable_images: Cameras whose image could not be used after all.
        radar_points: Number of detections by radar; formats that have no place for them only count them.
    """

    entry: Any
    files: tuple[FileRecord, ...]
    images: int
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
    folder = SceneFiles(job.folder)
    offset = np.asarray(job.start.scene.world_offset)
    radars = radars_in_reach(job.frame.radars, offset, config, losses)
    sweeps = lidar_sweeps(job.frame, job.start.scene.world_offset, config, losses)
    images: list[SceneImage] = []
    files: list[FileRecord] = []
    unusable = []
    for posed in job.frame.images:
        try:
            content, suffix, model = _image_content(posed, job.scene_format, config, verify=job.verify_images)
        except ImageError as error:
            topic = config.cameras[posed.camera_index].image_topic
            merge(losses, {topic: {error.cause: 1}})
            reasons.setdefault(error.cause, f"{topic}: {error}")
            unusable.append(posed.camera)
            continue
        files.append(folder.write(job.scene_format.image_path(posed.camera, job.index, suffix), [content]))
        images.append(_scene_image(posed, files[-1].path, model, offset, config))
    frame = SceneFrame(
        job.index,
        job.frame.timestamp_ns,
        job.frame.world_from_device.translation - offset,
        job.frame.world_from_device.rotation_xyzw,
        job.frame.gps,
        merged_points(sweeps, config.point_fields),
        images,
        radars if job.scene_format.holds_radar else (),
        sweeps,
        detections=[_in_scene(found, offset) for found in job.frame.detections],
    )
    part = job.scene_format.write_frame(job.start, frame, folder)
    topics = {lidar.name: lidar.topic for lidar in config.lidars}
    for lidar, causes in part.left_out.items():
        merge(losses, {topics[lidar]: causes})
    return RenderedFrame(
        part.entry,
        (*part.files, *files),
        len(images),
        len(frame.points) - sum(sum(causes.values()) for causes in part.left_out.values()),
        losses,
        reasons,
        tuple(unusable),
        {seen.radar: len(seen.position) for seen in radars},
    )


def _in_scene(found: Detections, offset: FloatArray) -> Detections:
    return replace(found, boxes=tuple(replace(box, center=box.center - offset) for box in found.boxes))


def radars_in_reach(
    radars: Iterable[RadarPoints], offset: FloatArray, config: Config, losses: Table
) -> tuple[RadarPoints, ...]:
    """Move detections into the scene; those as far away as no point of a lidar may be are left out and counted."""
    topics = {radar.name: radar.topic for radar in config.radars}
    near: list[RadarPoints] = []
    for radar in radars:
        position = radar.position - offset
        kept = np.all(np.abs(position) < MAX_COORDINATE_M, axis=1)
        if not kept.all():
            merge(losses, {topics[radar.radar]: {"coordinate_range": int(np.count_nonzero(~kept))}})
        near.append(
            replace(
                radar,
                position=position[kept],
                direction=None if radar.direction is None else radar.direction[kept],
                size=None if radar.size is None else radar.size[kept],
                pose=radar.pose and replace(radar.pose, translation=radar.pose.translation - offset),
            )
        )
    return tuple(near)


def _scene_image(posed: PosedImage, path: str, model: CameraModel, offset: FloatArray, config: Config) -> SceneImage:
    return SceneImage(
        posed.camera,
        path,
        posed.image.stamp_ns,
        posed.world_from_camera.translation - offset,
        posed.world_from_camera.rotation_xyzw,
        model,
        posed.camera_index,
        config.cameras[posed.camera_index].priority,
    )


def is_rectified(posed: PosedImage, scene_format: SceneFormat, config: Config) -> bool:
    """Whether a scene gets an image without its distortion."""
    is_always = config.cameras[posed.camera_index].rectify == "always"
    return not scene_format.expresses(posed.model) or (is_always and any(posed.model.distortion.values()))


def _image_content(
    posed: PosedImage, scene_format: SceneFormat, config: Config, *, verify: bool
) -> tuple[bytes | memoryview, str, CameraModel]:
    """The file's bytes, its suffix and the intrinsics that hold for it."""
    if verify and posed.image.encoding in SUFFIX and (damage := damage_of(posed.image.data.tobytes())):
        raise ImageError(f"the picture at stamp {posed.image.stamp_ns} is damaged: {damage}", cause="image_damaged")
    if is_rectified(posed, scene_format, config):
        flat, model = rectify(pixels(posed.image), posed.model)
        fmt = config.image.format
        return encode_pixels(flat, fmt, config.image.quality), SUFFIX[fmt], model
    content, suffix = image_file(posed.image, config.image.format, config.image.quality)
    return content, suffix, posed.model
