# SPDX-License-Identifier: Apache-2.0
"""A sealed scene to another format: frames are written anew from what they say, images are shared."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from nucleus_bridge.errors import BridgeError, InputError, SceneError
from nucleus_bridge.formats import registry
from nucleus_bridge.formats.content import SceneFrame, SceneImage
from nucleus_bridge.formats.interface import SceneFormat, SceneReader, SceneStart, WholeScene
from nucleus_bridge.formats.reading import open_scene
from nucleus_bridge.model import Scene
from nucleus_bridge.spool import FileRecord, Manifest, OpenScene, SealedScene, Spool
from nucleus_bridge.version import SOFTWARE

NOT_IN_SOURCE = "not_in_source"
"""Cause under which radar detections are counted that the source counts and does not hold."""

Progress = Callable[[float], None]


def export_scene(
    folder: Path, scene_format: str, output: Path, *, force: bool = False, progress: Progress = lambda _: None
) -> SealedScene:
    """Write a sealed scene in another format to a spool.

    The files are those that a conversion of the recording gives. Images are hard links where the file system has them,
    else copies.

    Args:
        folder: The scene's folder.
        scene_format: The format that is wanted.
        output: The spool that the result goes to; made when it is not there.
        force: Replace a scene of the same id that has other content.
        progress: Called with the share of the work that is done.

    Raises:
        InputError: There is no scene, it is of that format already, or something of it would be lost.
        SceneError: A file of the scene is missing or damaged.
        SceneExistsError: The spool has a scene of that id with other content.
    """
    reader = open_scene(folder)
    manifest = reader.manifest
    source, target = _way(folder, manifest, scene_format)
    spool = Spool(output)
    spool.create()
    try:
        scene = spool.open_scene(manifest.reference_id)
        described = _described(source, target, reader)
        files = _written(reader, target, described, scene, progress)
        sealed = spool.seal(scene, replace(described, files=files), replace_existing=force)
    except OSError as error:
        raise BridgeError(f"cannot write {error.filename or output}: {error.strerror}") from None
    finally:
        spool.discard_open()  # nothing is left of it once it is sealed
    there = sealed or spool.scene_folder(manifest.reference_id)
    return SealedScene(there, Manifest.read(there), existed=sealed is None)


def _way(folder: Path, manifest: Manifest, scene_format: str) -> tuple[SceneFormat, SceneFormat]:
    """Return both formats, where nothing is lost between them by their nature."""
    if manifest.format == scene_format:
        raise InputError(f"{folder}: is {scene_format} already")
    source = registry.of(manifest.format)
    if source.loses:
        raise InputError(
            f"{folder}: in {manifest.format} {source.loses}, so what the drive was to the last digit is lost; export "
            "the scene it came from, or convert the recording"
        )
    return source, registry.of(scene_format)


def _written(
    reader: SceneReader, target: SceneFormat, manifest: Manifest, scene: OpenScene, progress: Progress
) -> tuple[FileRecord, ...]:
    """Write every frame; returns the files of the result."""
    start = SceneStart(
        Scene(
            manifest.reference_id,
            manifest.first_stamp_ns,
            manifest.world_frame,
            manifest.device_frame,
            (manifest.world_offset["x"], manifest.world_offset["y"], manifest.world_offset["z"]),
        ),
        reader.lidar,
    )
    files: list[FileRecord] = []
    entries = []
    for index in range(len(reader)):
        frame = reader.frame(index)
        _check_holds(frame, reader, target)
        images = [_share(image, frame.number, reader, target, scene) for image in frame.images]
        shared = [replace(image, path=record.path) for image, record in zip(frame.images, images, strict=True)]
        part = target.write_frame(start, replace(frame, images=shared), scene)
        entries.append(part.entry)
        files += [*part.files, *images]
        progress((index + 1) / len(reader))
    whole = WholeScene(start, entries, files, manifest.sensors, reader.metadata)
    return tuple(target.close(whole, scene))


def _check_holds(frame: SceneFrame, reader: SceneReader, target: SceneFormat) -> None:
    """Refuse what the other format cannot hold, and what was not read."""
    where = f"frame {frame.number:06d} of {reader.manifest.reference_id}"
    if frame.surplus:
        raise SceneError(frame.surplus)
    detections = sum(len(radar.position) for radar in frame.radars)
    if detections and not target.holds_radar:
        raise InputError(
            f"{where} has {detections} radar points, which a {target.title} cannot hold; they would be lost"
        )
    for image in frame.images:
        if not target.expresses(image.model):
            raise InputError(
                f"{image.camera} of {reader.manifest.reference_id} is {image.model.model}, which a {target.title} "
                "cannot say; convert the recording, which rectifies it"
            )


def _share(image: SceneImage, number: int, reader: SceneReader, target: SceneFormat, scene: OpenScene) -> FileRecord:
    """Give the result an image's file: a link to the source's, where it is a file of its own and links can be made."""
    path = target.image_path(image.camera, number, PurePosixPath(image.path).suffix)
    record = next((record for record in reader.manifest.files if record.path == image.path), None)
    if record is None:
        return scene.write(path, [reader.image(image)])
    source, copy = reader.folder / image.path, scene.folder / path
    copy.parent.mkdir(parents=True, exist_ok=True)
    if not source.is_file():
        raise SceneError(f"{source}: is missing")
    try:
        os.link(source, copy)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, copy)
    return replace(record, path=path)


def _described(source: SceneFormat, target: SceneFormat, reader: SceneReader) -> Manifest:
    """Describe the result: as the source, but for what only one of the formats holds."""
    manifest = reader.manifest
    sensors = {name: dict(sensor) for name, sensor in manifest.sensors.items()}
    losses = {topic: dict(causes) for topic, causes in manifest.losses.items()}
    for sensor in sensors.values():
        if sensor.get("kind") != "radar":
            continue
        topic = str(sensor["topic"])
        if not source.holds_radar and sensor["points"]:
            losses.setdefault(topic, {})[NOT_IN_SOURCE] = sensor["points"]
            sensor["points"] = 0
        elif not target.holds_radar and NOT_IN_SOURCE in losses.get(topic, {}):
            sensor["points"] = losses[topic].pop(NOT_IN_SOURCE)
    return replace(
        manifest,
        format=target.name,
        sensors=sensors,
        losses={topic: dict(sorted(losses[topic].items())) for topic in sorted(losses) if losses[topic]},
        software=SOFTWARE,
        metadata={} if target.holds_metadata else dict(reader.metadata),
    )
