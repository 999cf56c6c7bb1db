# SPDX-License-Identifier: Apache-2.0
"""The rules of Nucleus scenes: payload, images, clouds, and the manifest's account of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nucleus_bridge.errors import SceneError
from nucleus_bridge.formats.nucleus.payload import COEFFICIENTS
from nucleus_bridge.formats.nucleus.scene_rules import ITEM_RULES, SCENE_RULES, Item, ScenePayload, check_scene
from nucleus_bridge.formats.point_reading import read_cloud
from nucleus_bridge.formats.reading import MERGED_CLOUD
from nucleus_bridge.formats.rules.cameras import CAMERA_RULES, REQUIRED, check_image, check_params, check_stamp
from nucleus_bridge.formats.rules.documents import PLACE, check_document
from nucleus_bridge.formats.rules.findings import Findings, Place, shown
from nucleus_bridge.formats.rules.folder import SceneFolder
from nucleus_bridge.formats.rules.frames import (
    CLOUD_RULES,
    POSE_RULES,
    Cloud,
    check_gps,
    check_heading,
    check_points,
    check_position,
    check_sequence,
)
from nucleus_bridge.formats.strict_json import count, finite, integer, table, text_or_none
from nucleus_bridge.spool.manifest import SCENE_NAME, FileRecord

NUCLEUS_RULES = {
    **SCENE_RULES,
    **ITEM_RULES,
    **CAMERA_RULES,
    **CLOUD_RULES,
    **POSE_RULES,
    "manifest-counts": "the manifest counts the frames, items, points and missing images that are there",
    "manifest-sensors": "the manifest describes every sensor; several lidars make one cloud under the name lidar",
    "files-used": "every listed file belongs to the scene",
}

_COPIED_UNLESS_ZERO = ("k1", "k2", "k3", "k4", "p1", "p2", "camera_model")


def check_nucleus(
    folder: SceneFolder, manifest: Mapping[str, object], listed: Mapping[str, FileRecord], findings: Findings
) -> None:
    """Check everything that is particular to a Nucleus scene."""
    payload = check_scene(folder, text_or_none(manifest.get("reference_id")), listed, findings)
    if payload is None:
        return
    check_cameras(payload.items, folder, findings)
    points = check_clouds(payload.items, folder, manifest, findings)
    counts = {"frames": payload.frames, "items": len(payload.items), "points": points}
    for key, there in counts.items():
        said = count(manifest.get(key))
        text = f"{key} is {said}, the scene has {there}"
        findings.expect("manifest-counts", PLACE, holds=there is None or said is None or said == there, text=text)
    _check_missing(payload, manifest, findings)
    _check_sensors(payload, manifest, findings)
    used = {SCENE_NAME, *(item.url for item in payload.items)}
    for path in listed:
        findings.expect("files-used", Place(path), holds=path in used, text="nothing in scene.json refers to it")


def _check_missing(payload: ScenePayload, manifest: Mapping[str, object], findings: Findings) -> None:
    missing = table(manifest.get("missing"), count)
    if missing is None:
        return
    for camera in sorted({item.sensor for item in payload.items if item.kind == "image"}):
        frames = {item.frame for item in payload.items if item.sensor == camera}
        there, said = payload.frames - len(frames), missing.get(camera, 0)
        text = f"missing says {said} frames lack {shown(camera)}, the scene has {there}"
        findings.expect("manifest-counts", PLACE, holds=said == there, text=text)


def _check_sensors(payload: ScenePayload, manifest: Mapping[str, object], findings: Findings) -> None:
    sensors = manifest.get("sensors")
    if not isinstance(sensors, dict):
        return
    kinds = {name: entry.get("kind") if isinstance(entry, dict) else None for name, entry in sensors.items()}
    lidars = [name for name, kind in kinds.items() if kind == "lidar"]
    clouds = {MERGED_CLOUD, *lidars} if len(lidars) == 1 else {MERGED_CLOUD}
    findings.expect("manifest-sensors", PLACE, holds=bool(lidars), text="sensors has none of the kind lidar")
    for kind, sensor in sorted({(item.kind, item.sensor) for item in payload.items if item.kind is not None}):
        if kind == "image":
            text = f"sensors has no camera {shown(sensor)}"
            findings.expect("manifest-sensors", PLACE, holds=kinds.get(sensor) == "camera", text=text)
        else:
            text = f"the cloud is under {shown(sensor)}, expected {' or '.join(map(shown, sorted(clouds)))}"
            findings.expect("manifest-sensors", PLACE, holds=sensor in clouds, text=text)


def check_cameras(items: Sequence[Item], folder: SceneFolder, findings: Findings) -> None:
    """Check every image of a scene."""
    last_stamps: dict[str, int] = {}
    for item in items:
        if item.kind != "image":
            continue
        metadata = item.record.get("metadata")
        params = metadata.get("camera_params") if isinstance(metadata, dict) else None
        text = f"metadata.camera_params is {shown(params)}, expected an object"
        findings.expect("camera-params-required", item.place, holds=isinstance(params, dict), text=text)
        if isinstance(params, dict):
            check_params(params, item.place, findings, COEFFICIENTS)
            _check_copy(item, params, findings)
            check_stamp(item.sensor, params.get("timestamp"), item.place, last_stamps, findings)
        _check_file(item, folder, findings)


def _check_copy(item: Item, params: Mapping[str, object], findings: Findings) -> None:
    copy = item.record.get("camera_params")
    if not isinstance(copy, dict):
        findings.fail("camera-params-copies-agree", item.place, f"the item's camera_params are {shown(copy)}")
        return
    wanted = {key: params[key] for key in REQUIRED if key in params}
    wanted.update({key: params[key] for key in _COPIED_UNLESS_ZERO if params.get(key)})
    differing = [key for key in sorted({*wanted, *copy}) if not _same(wanted.get(key), copy.get(key))]
    text = f"camera_params and metadata.camera_params differ in {', '.join(map(shown, differing[:5]))}"
    findings.expect("camera-params-copies-agree", item.place, holds=not differing, text=text)


def _same(first: object, second: object) -> bool:
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_is_same_scalar(first[key], second[key]) for key in first)
    return _is_same_scalar(first, second)


def _is_same_scalar(first: object, second: object) -> bool:
    if isinstance(first, str):
        return first == second
    number = finite(first)
    return number is not None and number == finite(second)


def _check_file(item: Item, folder: SceneFolder, findings: Findings) -> None:
    if item.url is None or item.url not in folder.files:
        return
    header = check_image(item.file_place, folder, findings)
    if header is None:
        return
    for key, pixels in (("width", header.width), ("height", header.height)):
        if key in item.record:
            text = f"{key} is {shown(item.record[key])}, the file has {pixels}"
            findings.expect("image-size", item.file_place, holds=integer(item.record[key]) == pixels, text=text)


def check_clouds(
    items: Sequence[Item], folder: SceneFolder, manifest: Mapping[str, object], findings: Findings
) -> int | None:
    """Check every point cloud of a scene; returns their number of points, None when one cannot be read."""
    total: int | None = 0
    clouds: list[Cloud] = []
    seen: set[str] = set()
    for item in items:
        if item.kind != "pointcloud" or item.url is None or item.url in seen:
            continue
        seen.add(item.url)
        cloud = _check_cloud(folder, item.file_place, findings) if item.url in folder.files else None
        total = None if cloud is None or total is None else total + cloud.points
        if cloud is not None:
            clouds.append(cloud)
    check_sequence(clouds, items[-1].frame if items else 0, manifest, findings)
    return total


def _check_cloud(folder: SceneFolder, place: Place, findings: Findings) -> Cloud | None:
    try:
        document, points = read_cloud(folder.read(place.file))
    except SceneError as error:
        findings.fail("cloud-readable", place, str(error))
        return None
    check_document(document, place, findings)
    record = document.value if isinstance(document.value, dict) else {}
    holds = isinstance(record.get("points"), list)
    text = "is not a JSON object with a list of points"
    if not findings.expect("cloud-readable", place, holds=holds, text=text):
        return None
    _check_keys(record, place, findings)
    timestamp_ns = integer(record.get("timestamp"))
    check_points(points, timestamp_ns, place, findings)
    check_heading("device_heading", record.get("device_heading"), place, findings)
    position = check_position("device_position", record.get("device_position"), place, findings)
    if "device_gps_pose" in record:
        check_gps(record["device_gps_pose"], place, findings)
    text = f"timestamp is {shown(record.get('timestamp'))}, expected integer nanoseconds"
    findings.expect("timestamps", place, holds=timestamp_ns is not None, text=text)
    return Cloud(place, points.total, timestamp_ns, position)


def _check_keys(record: Mapping[str, object], place: Place, findings: Findings) -> None:
    expected = [key for key in _KEYS if key != "device_gps_pose" or key in record]
    text = f"the keys are {', '.join(map(shown, list(record)[:8]))}, expected {', '.join(expected)}"
    findings.expect("cloud-keys", place, holds=list(record) == expected, text=text)


_KEYS = ("points", "device_position", "device_heading", "device_gps_pose", "timestamp")
