# SPDX-License-Identifier: Apache-2.0
"""The rules of the Nucleus output: scene payload, images, clouds, and the manifest's account of them."""

from __future__ import annotations

from collections.abc import Mapping

from nucleus_bridge.spool.manifest import SCENE_NAME, FileRecord
from nucleus_bridge.validate.camera import CAMERA_RULES, check_cameras
from nucleus_bridge.validate.cloud import CLOUD_RULES, check_clouds
from nucleus_bridge.validate.files import SceneFolder
from nucleus_bridge.validate.items import ITEM_RULES
from nucleus_bridge.validate.json import text_or_none
from nucleus_bridge.validate.manifest import PLACE, count, table
from nucleus_bridge.validate.pose import POSE_RULES
from nucleus_bridge.validate.report import Findings, Place, shown
from nucleus_bridge.validate.scene import SCENE_RULES, ScenePayload, check_scene

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

_MERGED_CLOUD = "lidar"


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
    clouds = {_MERGED_CLOUD, *lidars} if len(lidars) == 1 else {_MERGED_CLOUD}
    findings.expect("manifest-sensors", PLACE, holds=bool(lidars), text="sensors has none of the kind lidar")
    for kind, sensor in sorted({(item.kind, item.sensor) for item in payload.items if item.kind is not None}):
        if kind == "image":
            text = f"sensors has no camera {shown(sensor)}"
            findings.expect("manifest-sensors", PLACE, holds=kinds.get(sensor) == "camera", text=text)
        else:
            text = f"the cloud is under {shown(sensor)}, expected {' or '.join(map(shown, sorted(clouds)))}"
            findings.expect("manifest-sensors", PLACE, holds=sensor in clouds, text=text)
