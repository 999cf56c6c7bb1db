# SPDX-License-Identifier: Apache-2.0
"""The rules of sensor-fusion scenes: frame files, their images and radar points, and the manifest's account of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath

from nucleus_bridge.errors import SceneError
from nucleus_bridge.formats.rules.cameras import CAMERA_RULES, check_image, check_params, check_stamp
from nucleus_bridge.formats.rules.documents import PLACE, check_document, check_metadata, is_inside
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
from nucleus_bridge.formats.sensor_fusion.frame_file import COEFFICIENTS, FRAME_FOLDER, FrameFile, ReadFrame
from nucleus_bridge.formats.strict_json import components, count, finite, integer, table, text_or_none
from nucleus_bridge.spool.manifest import FileRecord

IMAGE_RULES = {
    "images-listed": "images are a list of objects, each with an image_url",
    "image-url-form": "an image_url is <camera>/<number of the frame>.jpg or .png, each used once",
    "image-urls-relative-exist": "every image_url is relative, inside the folder, and its file is there",
}
RADAR_RULES = {
    "radar-points": "radar points have a position, perhaps a direction, of finite numbers, and a size in 0..1",
}
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


@dataclass(frozen=True)
class Encoding:
    """How frames are written.

    Attributes:
        suffix: How frame files end.
        read: Reads one.
        form_rules: The rules of a point's form that it does not keep by itself.
        keys_are_ordered: Whether a file has its keys in an order.
    """

    suffix: str
    read: ReadFrame
    form_rules: Sequence[str]
    keys_are_ordered: bool


@dataclass
class _Totals:
    """What was found in all frames together; ``points`` is None when a frame cannot be read."""

    points: int | None = 0
    radar_points: int = 0


def check_fusion(
    folder: SceneFolder,
    manifest: Mapping[str, object],
    listed: Mapping[str, FileRecord],
    findings: Findings,
    encoding: Encoding,
) -> None:
    """Check everything that is particular to a sensor-fusion scene of either encoding."""
    paths = _frame_paths(listed, encoding, findings)
    totals = _Totals()
    clouds: list[Cloud] = []
    images: list[tuple[int, str]] = []
    last_stamps: dict[str, int] = {}
    step_ns = 1
    for number, path in enumerate(paths):
        frame = _read(folder, Place(path, number), encoding, findings)
        if frame is None:
            totals.points = None
            continue
        step_ns = frame.step_ns
        clouds.append(_check_frame(frame, Place(path, number), encoding, findings))
        totals.points = None if totals.points is None else totals.points + frame.points.total
        totals.radar_points += _check_radar(frame.record.get("radar_points"), Place(path, number), findings)
        found = _check_images(frame.record.get("images"), Place(path, number), folder, last_stamps, findings)
        images += [(number, url) for url in found]
    check_sequence(clouds, len(paths) - 1, manifest, findings, step_ns)
    _check_counts(manifest, paths, images, totals, findings)
    _check_missing(manifest, len(paths), images, findings)
    check_metadata(manifest.get("metadata", {}), PLACE, findings)
    used = {*paths, *(url for _, url in images)}
    for path in listed:
        findings.expect("files-used", Place(path), holds=path in used, text="no frame refers to it")


def _frame_paths(listed: Mapping[str, FileRecord], encoding: Encoding, findings: Findings) -> list[str]:
    """Return the frame files in order."""
    form = re.compile(rf"{FRAME_FOLDER}/[0-9]{{6,18}}{re.escape(encoding.suffix)}")
    paths = sorted((path for path in listed if form.fullmatch(path)), key=_number)
    findings.expect("frames-present", PLACE, holds=bool(paths), text="there is no frame")
    for before, path in pairwise(paths):
        holds = _number(before) != _number(path)
        findings.expect("frames-present", Place(path), holds=holds, text=f"has the number of {before}")
    return paths


def _number(path: str) -> int:
    return int(PurePosixPath(path).stem)


def _read(folder: SceneFolder, place: Place, encoding: Encoding, findings: Findings) -> FrameFile | None:
    try:
        frame = encoding.read(folder.read(place.file), None)
    except SceneError as error:
        findings.fail("frame-readable", place, str(error))
        return None
    check_document(frame.document, place, findings)
    holds = isinstance(frame.record.get("points"), list)
    text = "is not a JSON object with a list of points"
    return frame if findings.expect("frame-readable", place, holds=holds, text=text) else None


def _check_frame(frame: FrameFile, place: Place, encoding: Encoding, findings: Findings) -> Cloud:
    record = frame.record
    expected = [key for key in _KEYS if key not in _OPTIONAL or key in record]
    found = list(record) if encoding.keys_are_ordered else sorted(record, key=_rank)
    text = f"the keys are {', '.join(map(shown, found[:8]))}, expected {', '.join(expected)}"
    findings.expect("frame-keys", place, holds=found == expected, text=text)
    timestamp_ns = integer(record.get("timestamp"))
    check_points(frame.points, timestamp_ns, place, findings, encoding.form_rules)
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


_COEFFICIENTS = {model: frozenset(names) for model, names in COEFFICIENTS.items()}
_URL = re.compile(r"([A-Za-z0-9._-]+)/([0-9]{6,18})\.(?:jpg|png)")


def _check_images(
    value: object, place: Place, folder: SceneFolder, last_stamps: dict[str, int], findings: Findings
) -> list[str]:
    """Check the images of a frame; returns the image_urls that name a file of the scene.

    Args:
        value: What stands under ``images``.
        place: The frame.
        folder: The scene.
        last_stamps: The stamp of each camera's last image, for those of the next frame.
        findings: Where the outcome goes.
    """
    holds = isinstance(value, list)
    findings.expect("images-listed", place, holds=holds, text=f"images is {shown(value)}, expected a list")
    found: list[str] = []
    for image in value if isinstance(value, list) else []:
        url = text_or_none(image.get("image_url")) if isinstance(image, dict) else None
        text = f"an image is {shown(image)} without an image_url"
        if findings.expect("images-listed", place, holds=url is not None, text=text) and url is not None:
            _check_image(image, url, place, folder, last_stamps, findings)
            text = f"image_url {shown(url)} is used twice"
            findings.expect("image-url-form", place, holds=url not in found, text=text)
            found.append(url)
    return [url for url in found if url in folder.files]


def _check_image(
    image: Mapping[str, object],
    url: str,
    frame: Place,
    folder: SceneFolder,
    last_stamps: dict[str, int],
    findings: Findings,
) -> None:
    match = _URL.fullmatch(url)
    number = frame.file.rpartition("/")[2].partition(".")[0]
    text = f"image_url is {shown(url)}, expected <camera>/{number}.jpg or .png"
    findings.expect("image-url-form", frame, holds=match is not None and match[2] == number, text=text)
    camera = match[1] if match else url
    place = Place(frame.file, frame.frame, camera)
    inside = is_inside(url) and url in folder.files
    text = f"image_url {shown(url)} is not a plain relative path of a file that is there"
    findings.expect("image-urls-relative-exist", place, holds=inside, text=text)
    params = {key: value for key, value in image.items() if key != "image_url"}
    check_params(params, place, findings, _COEFFICIENTS)
    check_stamp(camera, params.get("timestamp"), place, last_stamps, findings)
    if inside:
        check_image(Place(url, frame.frame, camera), folder, findings)


def _check_radar(value: object, place: Place, findings: Findings) -> int:
    """Check the radar points of a frame, None where there are none; returns their number."""
    if value is None:
        return 0
    text = f"radar_points is {shown(value)}, expected a list"
    findings.expect("radar-points", place, holds=isinstance(value, list), text=text)
    points = value if isinstance(value, list) else []
    for number, point in enumerate(points):
        _check_radar_point(point, number, place, findings)
    return len(points)


def _check_radar_point(point: object, number: int, place: Place, findings: Findings) -> None:
    record: Mapping[str, object] = point if isinstance(point, dict) else {}
    known = {"position"} <= set(record) <= {"position", "direction", "size"}
    text = f"radar point {number} is {shown(point)} without a position, or with other keys than direction and size"
    findings.expect("radar-points", place, holds=known, text=text)
    check_position(f"position of radar point {number}", record.get("position"), place, findings)
    if "direction" in record:
        text = f"direction of radar point {number} is {shown(record['direction'])} without the numbers x, y and z"
        findings.expect("radar-points", place, holds=components(record["direction"], "xyz") is not None, text=text)
    if "size" in record:
        size = finite(record["size"])
        text = f"size of radar point {number} is {shown(record['size'])}, expected 0 to 1"
        findings.expect("radar-points", place, holds=size is not None and 0.0 <= size <= 1.0, text=text)
