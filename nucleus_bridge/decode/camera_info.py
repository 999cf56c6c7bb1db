# SPDX-License-Identifier: Apache-2.0
"""CameraInfo, from a message or a calibration file, and the intrinsics it gives an image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from nucleus_bridge.config.loader import parse_yaml, read_text
from nucleus_bridge.decode.camchain import camera_of_chain, is_camera_chain
from nucleus_bridge.decode.cdr import deserialise, naming, peek_header, strip_slashes, to_ns
from nucleus_bridge.decode.distortion import BROWN_CONRADY, read_distortion
from nucleus_bridge.decode.interface import Decoder, Interface, Stateless
from nucleus_bridge.errors import CalibrationError, ConfigError, DecodeError
from nucleus_bridge.model import CameraModel, Message

CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
_MAX_COEFFICIENTS = 32
_STAMP_START, _STAMP_END = 4, 12
_ROTATION_TOLERANCE = 1e-3
_SMALLEST_FOCAL_LENGTH = 0.001
_LARGEST_SIDE = 65_535
_LARGEST_NUMBER = 1e300


@dataclass(frozen=True)
class RegionOfInterest:
    """``sensor_msgs/msg/RegionOfInterest``, in pixels of the image without binning; all zeros: the whole image."""

    x_offset: int = 0
    y_offset: int = 0
    width: int = 0
    height: int = 0
    do_rectify: bool = False


@dataclass(frozen=True)
class CameraInfo:
    """One camera's calibration; two are equal when they say the same, whatever their stamps.

    Attributes:
        stamp_ns: ``header.stamp``; 0 where it was not set, as from a file.
        frame_id: ``header.frame_id`` without a leading slash.
        width: Width of the calibrated image, pixels.
        height: Height of the calibrated image, pixels.
        distortion_model: As published.
        d: Distortion coefficients.
        k: Intrinsic matrix of the raw image, 9 values by rows.
        r: Rectification matrix, 9 values by rows.
        p: Projection matrix of the rectified image, 12 values by rows.
        binning_x: Pixels of the sensor that make one pixel of the image; 0 is 1.
        binning_y: The same for rows.
        roi: Part of the sensor that was read out.
    """

    stamp_ns: int = field(compare=False)
    frame_id: str
    width: int
    height: int
    distortion_model: str
    d: tuple[float, ...]
    k: tuple[float, ...]
    r: tuple[float, ...] = _IDENTITY
    p: tuple[float, ...] = (0.0,) * 12
    binning_x: int = 0
    binning_y: int = 0
    roi: RegionOfInterest = RegionOfInterest()


def decode_camera_info(message: Message) -> CameraInfo:
    """Read a CameraInfo message.

    Raises:
        DecodeError: The bytes are not a CameraInfo.
        CalibrationError: Values are not finite (``not_finite``), or D is longer than any model needs (``distortion``).
    """
    data = message.data
    if message.type_name == CAMERA_INFO and len(data) > _STAMP_END:
        try:
            known = _without_stamp(bytes(data[:_STAMP_START]), bytes(data[_STAMP_END:]))
        except DecodeError:
            pass  # which is said below, of this message
        else:
            return replace(known, stamp_ns=peek_header(data)[0])
    return _decoded(message)


@lru_cache(maxsize=64)
def _without_stamp(start: bytes, rest: bytes) -> CameraInfo:
    """Read a message but for its stamp: cameras say the same with every image."""
    return _decoded(Message("", CAMERA_INFO, 0, start + bytes(_STAMP_END - _STAMP_START) + rest))


def _decoded(message: Message) -> CameraInfo:
    info = deserialise(message, CAMERA_INFO)
    roi = info.roi
    with naming(message):
        if len(info.d) > _MAX_COEFFICIENTS:
            msg = f"D has {len(info.d)} coefficients, more than any distortion model"
            raise CalibrationError(msg, cause="distortion")
        calibration = CameraInfo(
            stamp_ns=to_ns(info.header.stamp),
            frame_id=strip_slashes(info.header.frame_id),
            width=info.width,
            height=info.height,
            distortion_model=info.distortion_model,
            d=tuple(info.d.tolist()),
            k=tuple(info.k.tolist()),
            r=tuple(info.r.tolist()),
            p=tuple(info.p.tolist()),
            binning_x=info.binning_x,
            binning_y=info.binning_y,
            roi=RegionOfInterest(roi.x_offset, roi.y_offset, roi.width, roi.height, bool(roi.do_rectify)),
        )
        _check_finite(calibration)
    return calibration


def load_calibration(path: Path, topic: str = "") -> CameraInfo:
    """Read a calibration file of ROS camera calibration (``camera_calibration_parsers``, YAML) or of Kalibr.

    ``rectification_matrix`` and ``projection_matrix`` may be missing; a rectified topic needs the latter.

    Args:
        path: The file.
        topic: The camera's image topic, which tells the cameras of a Kalibr chain apart.

    Raises:
        ConfigError: The file cannot be read, or a key is missing or holds something else.
    """
    where = f"calibration file {path}"
    content = parse_yaml(read_text(path, where).removeprefix("%YAML:1.0\n"), where)
    if not isinstance(content, Mapping):
        msg = f"calibration file {path} holds no keys; expected image_width, camera_matrix, ..."
        raise ConfigError(msg)
    if is_camera_chain(content):
        content = camera_of_chain(content, topic, where)
    model = content.get("distortion_model")
    if not isinstance(model, str):
        msg = f"calibration file {path}: distortion_model is {model!r:.80}, expected a name such as plumb_bob"
        raise ConfigError(msg)
    return CameraInfo(
        stamp_ns=0,
        frame_id="",
        width=_whole(content, "image_width", path),
        height=_whole(content, "image_height", path),
        distortion_model=model,
        d=_matrix(content, "distortion_coefficients", None, path),
        k=_matrix(content, "camera_matrix", 9, path),
        r=_matrix(content, "rectification_matrix", 9, path) if "rectification_matrix" in content else _IDENTITY,
        p=_matrix(content, "projection_matrix", 12, path) if "projection_matrix" in content else (0.0,) * 12,
    )


def is_rectified_topic(topic: str) -> bool:
    """Tell from its name whether a topic carries rectified images (``image_rect``, ``image_rect_color``, ...)."""
    return any(part.startswith("image_rect") for part in topic.split("/"))


def camera_model(info: CameraInfo, *, image_width: int, image_height: int, rectified: bool) -> CameraModel:
    """Work out the intrinsics of an image.

    Raw images take K and D, rectified ones P and no distortion. Offsets of the region of interest shift the principal
    point and binning then divides everything, as image_geometry does it. With ``do_rectify`` the region is one of the
    rectified image, so a raw image may be the whole one; its size tells.

    Where the image is smaller than its calibration by one factor in both directions, the intrinsics stay those of the
    larger image, ``width`` and ``height`` too, and ``scale_factor`` is that factor.

    Args:
        info: The calibration.
        image_width: Width of the image at hand, pixels.
        image_height: Height of the image at hand, pixels.
        rectified: Whether the image comes from a rectified topic.

    Raises:
        CalibrationError: ``cause`` is ``uncalibrated``, ``not_finite``, ``size_mismatch``, ``distortion`` or
            ``unknown_distortion_model``.
    """
    camera = f"camera {info.frame_id or '(no frame id)'}"
    _check_finite(info)
    _check_calibrated(info, camera, rectified=rectified)
    if rectified:
        model, distortion = "brown_conrady", dict.fromkeys(BROWN_CONRADY, 0.0)
        fx, skew, cx, fy, cy = (info.p[i] for i in (0, 1, 2, 5, 6))
    else:
        try:
            model, distortion = read_distortion(info.distortion_model, info.d)
        except CalibrationError as error:
            msg = f"{camera}: {error}"
            raise CalibrationError(msg, cause=error.cause) from None
        fx, skew, cx, fy, cy = (info.k[i] for i in (0, 1, 2, 4, 5))

    bin_x, bin_y = max(info.binning_x, 1), max(info.binning_y, 1)
    sizes = []
    for region in _regions(info, rectified=rectified):
        width, height = region.width // bin_x, region.height // bin_y
        factor = _scale_factor(width, height, image_width, image_height)
        if factor is not None:
            return CameraModel(
                model=model,
                width=width,
                height=height,
                fx=fx / bin_x,
                fy=fy / bin_y,
                cx=(cx - region.x_offset) / bin_x,
                cy=(cy - region.y_offset) / bin_y,
                skew=skew / bin_x,
                distortion=distortion,
                scale_factor=factor,
            )
        sizes.append(f"{width} x {height}")
    msg = (
        f"{camera}: the image is {image_width} x {image_height}, but its calibration is for {' or '.join(sizes)} "
        "(after region of interest and binning), and no one factor explains both sides"
    )
    raise CalibrationError(msg, cause="size_mismatch")


def rectified_from_optical(info: CameraInfo) -> tuple[float, ...] | None:
    """Return the rotation R by which the camera of rectified images is turned, 9 values by rows; None for no turn.

    All zeros, as drivers of single cameras leave it, is not a turn either.

    Raises:
        CalibrationError: R is not a rotation; cause ``rectification``.
    """
    r = info.r
    if not any(r) or r == _IDENTITY:
        return None
    rows = (r[0:3], r[3:6], r[6:9])
    products = [sum(a * b for a, b in zip(one, other, strict=True)) for one in rows for other in rows]
    off = max(abs(value - wanted) for value, wanted in zip(products, _IDENTITY, strict=True))
    (a, b, c), (d, e, f), (g, h, i) = rows
    if off > _ROTATION_TOLERANCE or a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g) < 0:
        msg = f"camera {info.frame_id or '(no frame id)'}: R of its calibration is not a rotation: {list(r)}"
        raise CalibrationError(msg, cause="rectification")
    return r


def _check_finite(info: CameraInfo) -> None:
    for letter, values in (("D", info.d), ("K", info.k), ("R", info.r), ("P", info.p)):
        if not all(math.isfinite(value) for value in values):
            msg = f"camera {info.frame_id or '(no frame id)'}: {letter} of its calibration is not finite"
            raise CalibrationError(msg, cause="not_finite")


def _check_calibrated(info: CameraInfo, camera: str, *, rectified: bool) -> None:
    matrix, name = (info.p, "P") if rectified else (info.k, "K")
    if matrix[0] == 0.0:
        msg = f"{camera} is not calibrated ({name}[0] is 0): calibrate it or set calibration_file"
        raise CalibrationError(msg, cause="uncalibrated")
    fx, fy = matrix[0], matrix[5 if rectified else 4]
    if min(fx, fy) < _SMALLEST_FOCAL_LENGTH:
        msg = f"{camera}: focal lengths {fx:g} and {fy:g} in {name} must be at least {_SMALLEST_FOCAL_LENGTH} pixels"
        raise CalibrationError(msg, cause="uncalibrated")


def _regions(info: CameraInfo, *, rectified: bool) -> list[RegionOfInterest]:
    """Return the parts of the calibrated image that the image at hand may show, the likeliest first."""
    whole = RegionOfInterest(0, 0, info.width, info.height)
    roi = info.roi
    x, y = roi.x_offset, roi.y_offset
    part = RegionOfInterest(x, y, roi.width or info.width - x, roi.height or info.height - y)
    return [part, whole] if roi.do_rectify and not rectified and part != whole else [part]


def _scale_factor(width: int, height: int, image_width: int, image_height: int) -> float | None:
    """Return by how much the image is smaller than its calibration; sides may be rounded up or down to whole pixels."""
    if (width, height) == (image_width, image_height):
        return 1.0
    if width <= image_width or height <= image_height or min(image_width, image_height) < 1:
        return None
    for factor in (float(round(width / image_width)), width / image_width, height / image_height):
        if abs(width / factor - image_width) < 1 and abs(height / factor - image_height) < 1:
            return factor
    return None


def _whole(content: Mapping[str, Any], key: str, path: Path) -> int:
    value = content.get(key)
    if type(value) is not int or not 1 <= value <= _LARGEST_SIDE:
        msg = f"calibration file {path}: {key} is {value!r:.80}, expected a whole number of pixels"
        raise ConfigError(msg)
    return value


def _matrix(content: Mapping[str, Any], key: str, length: int | None, path: Path) -> tuple[float, ...]:
    matrix = content.get(key)
    data = matrix.get("data") if isinstance(matrix, Mapping) else None
    if not isinstance(data, list) or not all(type(v) in (int, float) and abs(v) <= _LARGEST_NUMBER for v in data):
        msg = f"calibration file {path}: {key}.data is {data!r:.80}, expected a list of finite numbers"
        raise ConfigError(msg)
    if len(data) != length and length is not None:
        msg = f"calibration file {path}: {key}.data has {len(data)} numbers, expected {length}"
        raise ConfigError(msg)
    return tuple(float(v) for v in data)


def _decoder(_camera: object) -> Decoder:
    return Stateless(decode_camera_info)


INTERFACES = (Interface(CAMERA_INFO, "calibration", _decoder, is_latched=True),)
