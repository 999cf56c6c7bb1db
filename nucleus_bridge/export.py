# SPDX-License-Identifier: Apache-2.0
"""A sealed scene to another format: frames are written anew from what they say, images are shared."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nucleus_bridge.config.settings import MERGED_CLOUD
from nucleus_bridge.decode.rectify import expressible
from nucleus_bridge.errors import BridgeError, InputError, SceneError
from nucleus_bridge.formats import point_protobuf, sensor_fusion_json, sensor_fusion_protobuf
from nucleus_bridge.formats.frame_reading import read_camera, read_frame
from nucleus_bridge.formats.nucleus import NUCLEUS, camera_params, cloud_item, encode_payload, image_item, scene_payload
from nucleus_bridge.formats.point_json import Buffer, encode_cloud
from nucleus_bridge.formats.point_text import read_points
from nucleus_bridge.formats.sensor_fusion import (
    FRAME_FOLDER,
    FRAME_SUFFIX,
    SENSOR_FUSION_JSON,
    SENSOR_FUSION_PROTOBUF,
)
from nucleus_bridge.formats.sensor_fusion_frame import CameraImage, SensorFusionFrame
from nucleus_bridge.model import Transform
from nucleus_bridge.spool import FileRecord, Manifest, OpenScene, SealedScene, Spool
from nucleus_bridge.spool.manifest import MANIFEST_NAME, SCENE_NAME
from nucleus_bridge.version import SOFTWARE

NOT_IN_SOURCE = "not_in_source"
"""Cause under which radar detections are counted that a Nucleus scene counts and does not hold."""

Progress = Callable[[float], None]


@dataclass(frozen=True, eq=False)
class _Source:
    """A frame of the scene that is exported: its number, what it says and the text of its points."""

    number: str
    frame: SensorFusionFrame
    points: bytes


def export_scene(
    folder: Path, scene_format: str, output: Path, *, force: bool = False, progress: Progress = lambda _: None
) -> SealedScene:
    """Write a sealed scene in another format to a spool.

    The text of points is taken over as it is, so that the files are those that a conversion of the recording gives.
    Images are hard links where the file system has them, else copies.

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
    if not (folder / MANIFEST_NAME).is_file():
        raise InputError(f"{folder} is no scene: it has no {MANIFEST_NAME}; give a folder below SPOOL/scenes")
    manifest = Manifest.read(folder)
    _check_way(folder, manifest, scene_format)
    spool = Spool(output)
    spool.create()
    target = spool.open_scene(manifest.reference_id)
    try:
        files, payload = _write_frames(folder, manifest, scene_format, target, progress)
        files += _share_images(folder, manifest, target)
        made = _manifest_as(scene_format, manifest, folder, files)
        sealed = spool.seal(target, made, payload, replace_existing=force)
    except OSError as error:
        raise BridgeError(f"cannot write {error.filename or output}: {error.strerror}") from None
    finally:
        target.discard()  # nothing is left of it once it is sealed
    there = sealed or spool.scene_folder(manifest.reference_id)
    return SealedScene(there, Manifest.read(there), existed=sealed is None)


def _check_way(folder: Path, manifest: Manifest, scene_format: str) -> None:
    if manifest.format == scene_format:
        raise InputError(f"{folder}: is {scene_format} already")
    if manifest.format == SENSOR_FUSION_PROTOBUF:
        raise InputError(
            f"{folder}: {manifest.format} has coordinates, poses and GPS as 32-bit floats and stamps in steps of "
            "256 ns, so what the drive was to the last digit is lost; export the scene it came from, or convert the "
            "recording"
        )
    if manifest.format not in (NUCLEUS, SENSOR_FUSION_JSON):
        raise InputError(f"{folder}: the format {manifest.format!r} is not known")


def _write_frames(
    folder: Path, manifest: Manifest, scene_format: str, target: OpenScene, progress: Progress
) -> tuple[list[FileRecord], bytes | None]:
    """Write every frame; returns the files, and the payload of a Nucleus scene."""
    files: list[FileRecord] = []
    frames: list[Mapping[str, Any]] = []
    sensor = _cloud_sensor(manifest)
    for source in _sources(folder, manifest):
        try:
            if scene_format == NUCLEUS:
                path = f"{sensor}/{source.number}.json"
                files.append(target.write(path, _cloud(source)))
                frames.append(_items(source, manifest, sensor))
            else:
                path = f"{FRAME_FOLDER}/{source.number}{FRAME_SUFFIX[scene_format]}"
                files.append(target.write(path, _document(source, scene_format)))
        except SceneError as error:
            raise SceneError(f"{folder}, frame {source.number}: {error}") from None
        progress(len(files) / manifest.frames)
    payload = None
    if scene_format == NUCLEUS:
        payload = encode_payload(scene_payload(manifest.reference_id, frames, manifest.metadata))
    return files, payload


def _document(source: _Source, scene_format: str) -> tuple[Buffer, ...]:
    if scene_format == SENSOR_FUSION_JSON:
        return sensor_fusion_json.encode_frame(source.frame, source.points)
    points = point_protobuf.encode_points(**read_points(source.points))
    return sensor_fusion_protobuf.encode_frame(source.frame, points)


def _cloud(source: _Source) -> tuple[Buffer, ...]:
    frame = source.frame
    return encode_cloud(
        source.points,
        device_position=frame.device_position,
        device_heading_xyzw=frame.device_heading_xyzw,
        gps=frame.gps,
        timestamp_ns=frame.timestamp_ns,
    )


def _items(source: _Source, manifest: Manifest, sensor: str) -> dict[str, Any]:
    """Return a frame's items; what a Nucleus scene cannot hold is refused."""
    frame = source.frame
    if frame.radar_points:
        raise InputError(
            f"frame {source.number} of {manifest.reference_id} has {len(frame.radar_points)} radar points, which a "
            "Nucleus scene cannot hold; they would be lost"
        )
    items = {sensor: cloud_item(f"{manifest.reference_id}-{sensor}-{source.number}", f"{sensor}/{source.number}.json")}
    for image in frame.images:
        camera = image.image_url.partition("/")[0]
        if not expressible(image.model, NUCLEUS):
            raise InputError(
                f"{camera} of {manifest.reference_id} is {image.model.model}, which a Nucleus scene cannot say; "
                "convert the recording, which rectifies it"
            )
        pose = Transform(image.position, image.heading_xyzw)
        params = camera_params(image.model, pose, (0.0, 0.0, 0.0), image.stamp_ns, image.camera_index, image.priority)
        items[camera] = image_item(f"{manifest.reference_id}-{camera}-{source.number}", image.image_url, params)
    return items


def _sources(folder: Path, manifest: Manifest) -> Iterator[_Source]:
    if manifest.format == SENSOR_FUSION_JSON:
        for path in sorted(record.path for record in manifest.files if record.path.startswith(f"{FRAME_FOLDER}/")):
            yield _source(folder, path)
        return
    sensor = _cloud_sensor(manifest)
    for number, items in enumerate(_payload(folder)["frames"]):
        try:
            source = _source(folder, items[sensor]["url"])
            images = tuple(_image(item) for camera, item in items.items() if camera != sensor)
            made = replace(source, frame=replace(source.frame, images=images))
        except (KeyError, TypeError, AttributeError) as error:
            raise SceneError(f"{folder / SCENE_NAME}: frame {number} is damaged ({error!r})") from None
        if _items(made, manifest, sensor) != items:
            raise SceneError(
                f"{folder / SCENE_NAME}: frame {number} says more than this package writes; it would be lost"
            )
        yield made


def _source(folder: Path, path: str) -> _Source:
    document = _read(folder, path)
    try:
        frame, points = read_frame(document)
    except SceneError as error:
        raise SceneError(f"{folder / path}: {error}") from None
    return _Source(Path(path).stem, frame, document[points])


def _image(item: Mapping[str, Any]) -> CameraImage:
    return read_camera({**item["metadata"]["camera_params"], "image_url": item["url"]})


def _payload(folder: Path) -> dict[str, Any]:
    """Read the payload of a Nucleus scene; its frames are a list, its metadata an object."""
    try:
        payload: dict[str, Any] = {"metadata": {}, **json.loads(_read(folder, SCENE_NAME))}
    except (ValueError, TypeError) as error:
        raise SceneError(f"{folder / SCENE_NAME}: is no scene: {error}") from None
    kinds = {"reference_id": str, "frames": list, "metadata": dict}
    wrong = [key for key in {**kinds, **payload} if not isinstance(payload.get(key), kinds.get(key, ()))]
    if wrong:
        raise SceneError(f"{folder / SCENE_NAME}: {min(wrong)} is missing, or not known and would be lost")
    return payload


def _read(folder: Path, path: str) -> bytes:
    try:
        return _inside(folder, path).read_bytes()
    except OSError as error:
        raise SceneError(f"{folder / path}: cannot be read: {error.strerror}") from None


def _inside(folder: Path, path: str) -> Path:
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise SceneError(f"{folder}: the path {path!r} leads out of the scene")
    return folder / path


def _share_images(folder: Path, manifest: Manifest, target: OpenScene) -> list[FileRecord]:
    images = [record for record in manifest.files if record.path.endswith((".jpg", ".png"))]
    for record in images:
        source, copy = _inside(folder, record.path), _inside(target.folder, record.path)
        copy.parent.mkdir(exist_ok=True)
        if not source.is_file():
            raise SceneError(f"{source}: is missing")
        try:
            os.link(source, copy)
        except OSError:  # another file system, or one without links
            shutil.copyfile(source, copy)
    return images


def _cloud_sensor(manifest: Manifest) -> str:
    lidars = [name for name, sensor in manifest.sensors.items() if sensor.get("kind") == "lidar"]
    return lidars[0] if len(lidars) == 1 else MERGED_CLOUD


def _manifest_as(scene_format: str, manifest: Manifest, folder: Path, files: list[FileRecord]) -> Manifest:
    """Describe the result: as the source, but for what only one of the formats holds."""
    to_nucleus, from_nucleus = scene_format == NUCLEUS, manifest.format == NUCLEUS
    metadata = _payload(folder).get("metadata", {}) if from_nucleus else manifest.metadata
    sensors = {name: dict(sensor) for name, sensor in manifest.sensors.items()}
    losses = {topic: dict(causes) for topic, causes in manifest.losses.items()}
    for sensor in sensors.values():
        if sensor.get("kind") != "radar":
            continue
        topic = str(sensor["topic"])
        if from_nucleus and sensor["points"]:
            losses.setdefault(topic, {})[NOT_IN_SOURCE] = sensor["points"]
            sensor["points"] = 0
        elif to_nucleus and NOT_IN_SOURCE in losses.get(topic, {}):
            sensor["points"] = losses[topic].pop(NOT_IN_SOURCE)
    return replace(
        manifest,
        format=scene_format,
        sensors=sensors,
        losses={topic: dict(sorted(losses[topic].items())) for topic in sorted(losses) if losses[topic]},
        software=SOFTWARE,
        files=tuple(files),
        metadata={} if to_nucleus else metadata,
    )
