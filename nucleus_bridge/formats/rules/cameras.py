# SPDX-License-Identifier: Apache-2.0
"""The rules of an image: what is said of its camera, and the first bytes of its file."""

from __future__ import annotations

from collections.abc import Mapping

from nucleus_bridge.errors import ImageError, SceneError
from nucleus_bridge.formats.rules.findings import Findings, Place, shown
from nucleus_bridge.formats.rules.folder import SceneFolder
from nucleus_bridge.formats.rules.frames import check_heading, check_position
from nucleus_bridge.formats.strict_json import count, finite
from nucleus_bridge.image_header import FileHeader, read_file_header

CAMERA_RULES = {
    "camera-params-required": "every image has metadata.camera_params with position, heading, fx, fy, cx and cy",
    "camera-params-keys": "camera_params have no key that the format does not know",
    "camera-params-copies-agree": "an image's camera_params are those in its metadata, zero coefficients left out",
    "camera-model-known": "camera_model is brown_conrady or fisheye",
    "camera-values": "focal lengths and scale_factor are above zero, coefficients are the model's, indices are counts",
    "camera-timestamps": "every image has its stamp in integer nanoseconds, and a camera's stamps increase",
    "image-bytes-match-suffix": "an image file is whole and of the kind that its suffix says",
    "image-size": "width and height, where given, are those of the image file",
}

REQUIRED = ("position", "heading", "fx", "fy", "cx", "cy")
_ALL_COEFFICIENTS = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2", "lx", "ly", "xi")
_OPTIONAL = ("skew", "scale_factor", "timestamp", "priority", "camera_index", "camera_model", *_ALL_COEFFICIENTS)
_SUFFIX_OF_KIND = {"jpeg": ".jpg", "png": ".png"}


def check_params(
    params: Mapping[str, object], place: Place, findings: Findings, models: Mapping[str, frozenset[str]]
) -> None:
    """Check the pose and the intrinsics of a camera.

    Args:
        params: What is said about the camera.
        place: Where it is said.
        findings: Where the outcome goes.
        models: The camera models that the format knows, with their coefficients.
    """
    missing = [key for key in REQUIRED if params.get(key) is None]
    text = f"camera_params have no {', '.join(missing)}"
    findings.expect("camera-params-required", place, holds=not missing, text=text)
    unknown = sorted(set(params) - {*REQUIRED, *_OPTIONAL})
    text = f"camera_params have the unknown key {shown(unknown[0])}" if unknown else ""
    findings.expect("camera-params-keys", place, holds=not unknown, text=text)
    if "position" not in missing:
        check_position("camera_params.position", params["position"], place, findings)
    if "heading" not in missing:
        check_heading("camera_params.heading", params["heading"], place, findings)
    model = params.get("camera_model", "brown_conrady")
    known = isinstance(model, str) and model in models
    text = f"camera_model is {shown(model)}; images of other models have to be rectified"
    findings.expect("camera-model-known", place, holds=known, text=text)
    for key, value in params.items():
        expected = _expected_value(key, value, str(model), models)
        text = f"camera_params.{key} is {shown(value)}, expected {expected}"
        findings.expect("camera-values", place, holds=not expected, text=text)


def _expected_value(key: str, value: object, model: str, models: Mapping[str, frozenset[str]]) -> str:
    """Say what a value should be, or nothing if it is."""
    number = finite(value)
    if key in ("fx", "fy", "scale_factor"):
        return "" if number is not None and number > 0 else "a number above zero"
    if key in ("cx", "cy", "skew"):
        return "" if number is not None else "a number"
    if key in ("camera_index", "priority"):
        return "" if count(value) is not None else "a count"
    if key in _ALL_COEFFICIENTS:
        if number is None:
            return "a number"
        return "" if number == 0 or key in models.get(model, _ALL_COEFFICIENTS) else f"nothing: {model} has none"
    return ""


def check_stamp(camera: str, value: object, place: Place, last_stamps: dict[str, int], findings: Findings) -> None:
    """Check an image's stamp, and that it is later than the camera's last one in ``last_stamps``."""
    stamp_ns = count(value)
    text = f"camera_params.timestamp is {shown(value)}, expected integer nanoseconds"
    findings.expect("camera-timestamps", place, holds=stamp_ns is not None, text=text)
    if stamp_ns is None:
        return
    before_ns = last_stamps.get(camera, -1)
    text = f"the image is of {stamp_ns} ns, the camera's image before it of {before_ns} ns"
    findings.expect("camera-timestamps", place, holds=stamp_ns > before_ns, text=text)
    last_stamps[camera] = stamp_ns


def check_image(place: Place, folder: SceneFolder, findings: Findings) -> FileHeader | None:
    """Check that the file at a place is an image of the kind that its suffix says; returns its header."""
    rule = "image-bytes-match-suffix"
    try:
        header = read_file_header(folder.read(place.file))
    except (SceneError, ImageError) as error:
        findings.fail(rule, place, str(error))
        return None
    if header is None:
        findings.fail(rule, place, "is not an image file")
        return None
    suffix = _SUFFIX_OF_KIND.get(header.kind, "")
    text = f"is a {header.kind} file of {header.width} x {header.height} pixels"
    whole = bool(suffix) and place.file.endswith(suffix) and header.width > 0 and header.height > 0
    findings.expect(rule, place, holds=whole, text=text)
    return header
