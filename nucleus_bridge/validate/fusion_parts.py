# SPDX-License-Identifier: Apache-2.0
"""The rules of what a sensor-fusion frame holds besides points: images and radar points."""

from __future__ import annotations

import re
from collections.abc import Mapping

from nucleus_bridge.validate.camera import FUSION_COEFFICIENTS, check_image, check_params, check_stamp
from nucleus_bridge.validate.files import SceneFolder
from nucleus_bridge.validate.json import components, finite, text_or_none
from nucleus_bridge.validate.manifest import is_inside
from nucleus_bridge.validate.pose import check_position
from nucleus_bridge.validate.report import Findings, Place, shown

IMAGE_RULES = {
    "images-listed": "images are a list of objects, each with an image_url",
    "image-url-form": "an image_url is <camera>/<number of the frame>.jpg or .png, each used once",
    "image-urls-relative-exist": "every image_url is relative, inside the folder, and its file is there",
}
RADAR_RULES = {
    "radar-points": "radar points have a position, perhaps a direction, of finite numbers, and a size in 0..1",
}

_URL = re.compile(r"([A-Za-z0-9._-]+)/([0-9]{6,18})\.(?:jpg|png)")


def check_images(
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
    text = f"image_url {shown(url)} is no plain relative path of a file that is there"
    findings.expect("image-urls-relative-exist", place, holds=inside, text=text)
    params = {key: value for key, value in image.items() if key != "image_url"}
    check_params(params, place, findings, FUSION_COEFFICIENTS)
    check_stamp(camera, params.get("timestamp"), place, last_stamps, findings)
    if inside:
        check_image(Place(url, frame.frame, camera), folder, findings)


def check_radar(value: object, place: Place, findings: Findings) -> int:
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
