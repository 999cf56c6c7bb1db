# SPDX-License-Identifier: Apache-2.0
"""The rules of the sensor-fusion outputs: frame files, their images, and the manifest's account of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath

from nucleus_bridge.errors import SceneError
from nucleus_bridge.formats.sensor_fusion import FRAME_FOLDER, FRAME_SUFFIX, SENSOR_FUSION_JSON
from nucleus_bridge.preview.fusion_frame import FusionFrame, read_fusion_frame
from nucleus_bridge.spool.manifest import FileRecord
from nucleus_bridge.validate.camera import CAMERA_RULES
from nucleus_bridge.validate.cloud import CLOUD_RULES, Cloud, check_gps, check_points, check_sequence
from nucleus_bridge.validate.files import SceneFolder
from nucleus_bridge.validate.fusion_parts import IMAGE_RULES, RADAR_RULES, check_images, check_radar
from nucleus_bridge.validate.items import check_metadata
from nucleus_bridge.validate.json import check_document, integer
from nucleus_bridge.validate.manifest import PLACE, count, table
from nucleus_bridge.validate.points import POINT_RULES
from nucleus_bridge.validate.pose import POSE_RULES, check_heading, check_position
from nucleus_bridge.validate.report import Findings, Place, shown

_FRAME_RULES = {
    "frames-present": "there is a frame, frames/<six digits>, and numbers are not used twice",
    "frame-readable": "every frame file is a frame of the scene's format with a list of points",
    "frame-keys": "a frame has its keys, no other ones, in the order of the format",
}
_CAMERA_RULES = {
    name: text
    for name, text in CAMERA_RULES.items()
    if name not in ("camera-params-copies-agree", "image-size", "camera-params-required", "camera-params-keys")
} | {
    "camera-params-required": "every image has position, heading, fx, fy, cx and cy",
    "camera-params-keys": "images have no key that the format does not know",
    "camera-model-known": "camera_model is brown_conrady, fisheye or omnidirectional",
}
_MANIFEST_RULES = {
    "manifest-counts": "the manifest counts the frames, items, points, radar points and missing images that are there",
    "manifest-sensors": "the manifest describes every camera, and a lidar",
    "metadata-scalars": "metadata in the manifest is an object of strings, numbers and booleans",
    "files-used": "every listed file belongs to the scene",
}
FUSION_RULES = {
    **_FRAME_RULES,
    **IMAGE_RULES,
    **_CAMERA_RULES,
    **{name: text for name, text in CLOUD_RULES.items() if name not in ("cloud-readable", "cloud-keys")},
    **RADAR_RULES,
    **POSE_RULES,
    **_MANIFEST_RULES,
}

_KEYS = ("device_position", "device_heading", "device_gps_pose", "points", "radar_points", "images", "timestamp")
_OPTIONAL = {"device_gps_pose", "radar_points"}
_FORM_RULES = {"sensor_fusion_json": tuple(POINT_RULES), "sensor_fusion_protobuf": ("point-keys-and-order",)}


@dataclass
class _Totals:
    """What was found in all frames together; ``points`` is None when a frame cannot be read."""

    points: int | None = 0
    radar_points: int = 0


def check_fusion(
    folder: SceneFolder, manifest: Mapping[str, object], listed: Mapping[str, FileRecord], findings: Findings
) -> None:
    """Check everything that is particular to a sensor-fusion scene of either format."""
    scene_format = str(manifest["format"])
    paths = _frame_paths(listed, scene_format, findings)
    totals = _Totals()
    clouds: list[Cloud] = []
    images: list[tuple[int, str]] = []
    last_stamps: dict[str, int] = {}
    step_ns = 1
    for number, path in enumerate(paths):
        frame = _read(folder, Place(path, number), scene_format, findings)
        if frame is None:
            totals.points = None
            continue
        step_ns = frame.step_ns
        clouds.append(_check_frame(frame, Place(path, number), scene_format, findings))
        totals.points = None if totals.points is None else totals.points + frame.points.total
        totals.radar_points += check_radar(frame.record.get("radar_points"), Place(path, number), findings)
        found = check_images(frame.record.get("images"), Place(path, number), folder, last_stamps, findings)
        images += [(number, url) for url in found]
    check_sequence(clouds, len(paths) - 1, manifest, findings, step_ns)
    _check_counts(manifest, paths, images, totals, findings)
    _check_missing(manifest, len(paths), images, findings)
    check_metadata(manifest.get("metadata", {}), PLACE, findings)
    used = {*paths, *(url for _, url in images)}
    for path in listed:
        findings.expect("files-used", Place(path), holds=path in used, text="no frame refers to it")


def _frame_paths(listed: Mapping[str, FileRecord], scene_format: str, findings: Findings) -> list[str]:
    """Return the frame files in order."""
    form = re.compile(rf"{FRAME_FOLDER}/[0-9]{{6,18}}{re.escape(FRAME_SUFFIX[scene_format])}")
    paths = sorted((path for path in listed if form.fullmatch(path)), key=_number)
    findings.expect("frames-present", PLACE, holds=bool(paths), text="there is no frame")
    for before, path in pairwise(paths):
        holds = _number(before) != _number(path)
        findings.expect("frames-present", Place(path), holds=holds, text=f"has the number of {before}")
    return paths


def _number(path: str) -> int:
    return int(PurePosixPath(path).stem)


def _read(folder: SceneFolder, place: Place, scene_format: str, findings: Findings) -> FusionFrame | None:
    try:
        frame = read_fusion_frame(folder.read(place.file), scene_format)
    except SceneError as error:
        findings.fail("frame-readable", place, str(error))
        return None
    check_document(frame.document, place, findings)
    holds = isinstance(frame.record.get("points"), list)
    text = "is not a JSON object with a list of points"
    return frame if findings.expect("frame-readable", place, holds=holds, text=text) else None


def _check_frame(frame: FusionFrame, place: Place, scene_format: str, findings: Findings) -> Cloud:
    record = frame.record
    expected = [key for key in _KEYS if key not in _OPTIONAL or key in record]
    found = list(record) if scene_format == SENSOR_FUSION_JSON else sorted(record, key=_rank)
    text = f"the keys are {', '.join(map(shown, found[:8]))}, expected {', '.join(expected)}"
    findings.expect("frame-keys", place, holds=found == expected, text=text)
    timestamp_ns = integer(record.get("timestamp"))
    check_points(frame.points, timestamp_ns, place, findings, _FORM_RULES[scene_format])
    check_heading("device_heading", record.get("device_heading"), place, findings)
    position = check_position("device_position", record.get("device_position"), place, findings)
    if "device_gps_pose" in record:
        check_gps(record["device_gps_pose"], place, findings)
    text = f"timestamp is {shown(record.get('timestamp'))}, expected integer nanoseconds"
    findings.expect("timestamps", place, holds=timestamp_ns is not None, text=text)
    return Cloud(place, frame.points.total, timestamp_ns, position)


def _rank(key: str) -> int:
    return _KEYS.index(key) if key in _KEYS else len(_KEYS)


def _check_counts(
    manifest: Mapping[str, object],
    paths: Sequence[str],
    images: Sequence[tuple[int, str]],
    totals: _Totals,
    findings: Findings,
) -> None:
    there = {"frames": len(paths), "items": len(paths) + len(images), "points": totals.points}
    for key, number in there.items():
        said = count(manifest.get(key))
        text = f"{key} is {said}, the scene has {number}"
        findings.expect("manifest-counts", PLACE, holds=number is None or said is None or said == number, text=text)
    sensors = table(manifest.get("sensors"), lambda sensor: sensor if isinstance(sensor, dict) else None)
    if sensors is None:
        return
    radars = [count(sensor.get("points")) or 0 for sensor in sensors.values() if sensor.get("kind") == "radar"]
    text = f"sensors count {sum(radars)} radar points, the scene has {totals.radar_points}"
    holds = totals.points is None or sum(radars) == totals.radar_points
    findings.expect("manifest-counts", PLACE, holds=holds, text=text)
    kinds = {name: sensor.get("kind") for name, sensor in sensors.items()}
    findings.expect("manifest-sensors", PLACE, holds="lidar" in kinds.values(), text="sensors has none of kind lidar")
    for camera in sorted({url.partition("/")[0] for _, url in images}):
        text = f"sensors has no camera {shown(camera)}"
        findings.expect("manifest-sensors", PLACE, holds=kinds.get(camera) == "camera", text=text)


def _check_missing(
    manifest: Mapping[str, object], frames: int, images: Sequence[tuple[int, str]], findings: Findings
) -> None:
    missing = table(manifest.get("missing"), count)
    if missing is None:
        return
    there = Counter(url.partition("/")[0] for _, url in images)
    for camera, number in sorted(there.items()):
        said = missing.get(camera, 0)
        text = f"missing says {said} frames lack {shown(camera)}, the scene has {frames - number}"
        findings.expect("manifest-counts", PLACE, holds=said == frames - number, text=text)
