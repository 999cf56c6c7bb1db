# SPDX-License-Identifier: Apache-2.0
"""Clouds and pictures made small enough for a page."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.errors import ImageError, SceneError
from nucleus_bridge.formats.content import Points, SceneImage, some_of
from nucleus_bridge.image_header import FileHeader, read_file_header

Pixels = NDArray[np.uint8]

PICTURE_BYTES = 11_000_000
"""Bytes of all shrunk pictures of a page together."""
KEPT_BYTES = 20_000_000
"""Bytes of all picture files of a page that are kept as they are."""
QUALITY, FULL_QUALITY = 75, 92
"""Quality of JPEGs that are made: of shrunk pictures, and of those at full size."""
_EXIF_WITHIN = 1 << 16  # the first segments of a file
_STEPS = 65_535
_WIDTHS = (960, 800, 640, 480, 400, 320)
_BYTES_A_PIXEL = 0.2  # of a JPEG of quality 75, on a street, a little more than usual, base64 included
_COLOUR = {
    8: cv2.IMREAD_REDUCED_COLOR_8,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    1: cv2.IMREAD_COLOR,
}
_GRAY = {
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    1: cv2.IMREAD_GRAYSCALE,
}
"""How OpenCV decodes a picture to one so many times smaller."""


def pack_cloud(points: Points, most: int) -> dict[str, Any]:
    """Thin a cloud out and put it into 8 or 9 bytes a point.

    The data are x, y, z as uint16 of the box from ``low`` in steps of ``step`` metres, then intensity and number of the
    lidar as uint8, and with ``has_time`` the point's time as a share of the frame's, 0 to 255; each column as a whole,
    all little-endian, in base64 as bytes.
    """
    finite = np.isfinite(points.xyz).all(axis=1)
    if not finite.all():
        points = points.at(np.flatnonzero(finite))
    count = len(points)
    if count > most:
        points, count = points.at(some_of(count, most)), most
    axes = [np.ascontiguousarray(axis, np.float64) for axis in points.xyz.T]
    low = [float(axis.min(initial=np.inf)) if count else 0.0 for axis in axes]
    high = [float(axis.max(initial=-np.inf)) if count else 0.0 for axis in axes]
    step = [max((top - bottom) / _STEPS, 1e-6) for bottom, top in zip(low, high, strict=True)]
    steps = [np.rint((axis - start) / size).astype("<u2") for axis, start, size in zip(axes, low, step, strict=True)]
    zeros = np.zeros(count, np.uint8)
    gray = zeros if points.intensity is None else np.rint(np.clip(points.intensity, 0, 1) * 255).astype(np.uint8)
    device = zeros if points.device is None else points.device
    columns: list[NDArray[Any]] = [*steps, gray, device]
    if points.time_ns is not None:
        columns.append(_shares(points.time_ns))
    data = b"".join(column.tobytes() for column in columns)
    packed = {"count": count, "low": low, "step": step, "data": base64.b64encode(data)}
    return packed if points.time_ns is None else {**packed, "has_time": True}


def _shares(times: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return times between the first and the last as 0 to 255."""
    if not len(times):
        return np.zeros(0, np.uint8)
    after = (times - times.min()).astype(np.float64)
    shares: NDArray[np.uint8] = np.rint(after * (255 / max(1.0, float(after.max())))).astype(np.uint8)
    return shares


def picture_width(pictures: int) -> int:
    """Choose the width of so many pictures so that together they stay within ``PICTURE_BYTES``."""
    for width in _WIDTHS:
        if pictures * width * width * 0.6 * _BYTES_A_PIXEL <= PICTURE_BYTES:
            return width
    return _WIDTHS[-1]


def look_at(content: bytes, image: SceneImage) -> FileHeader:
    """Return what kind of file a picture is, and its size.

    Raises:
        SceneError: The file is not a picture, or cut off.
    """
    try:
        header = read_file_header(content)
    except ImageError as error:
        raise SceneError(f"{image.path}: {error}") from None
    if header is None:
        raise SceneError(f"{image.path}: is not an image file")
    return header


def can_keep(content: bytes, header: FileHeader) -> bool:
    """Whether browsers show a file's pixels as they lie in it: a JPEG that has nothing that could turn it."""
    return header.kind == "jpeg" and content.find(b"Exif", 0, _EXIF_WITHIN) < 0


def file_beside(content: bytes, header: FileHeader, file: Path, page_folder: Path) -> str:
    """Return the way from a page's folder to the file of a picture as a URL; "" where a browser may turn its pixels."""
    is_shown_as_it_lies = can_keep(content, header) or (header.kind == "png" and b"eXIf" not in content)
    if not is_shown_as_it_lies or not file.is_file():
        return ""
    try:
        way = os.path.relpath(file.resolve(), page_folder.resolve())
    except ValueError:
        return ""  # on another drive, where there are drives
    return quote(Path(way).as_posix())


def decoded(content: bytes, header: FileHeader, image: SceneImage, width: int, *, gray: bool = False) -> Pixels:
    """Decode a picture no larger than need be; its pixels are at least ``width`` wide where the picture is.

    Returns:
        Shape (height, width, 3), or (height, width) with ``gray``.

    Raises:
        SceneError: It cannot be decoded.
    """
    pixels = decoded_small(np.frombuffer(content, np.uint8), header.width, width, gray=gray)
    if pixels is None:
        raise SceneError(f"{image.path}: cannot be decoded")
    return pixels


def decoded_small(content: Pixels, full_width: int, width: int, *, gray: bool = False) -> Pixels | None:
    """Decode the bytes of a picture that is ``full_width`` wide no larger than need be; None where that fails."""
    flags = _GRAY if gray else _COLOUR
    flag = next((flag for factor, flag in flags.items() if full_width >= factor * width), flags[1])
    pixels = cv2.imdecode(content, flag | cv2.IMREAD_IGNORE_ORIENTATION)
    return None if pixels is None else np.asarray(pixels, np.uint8)


def resized(pixels: Pixels, width: int) -> Pixels:
    """Return a picture that is no wider than ``width``."""
    rows, columns = pixels.shape[:2]
    if columns <= width:
        return pixels
    small = (width, max(1, round(rows * width / columns)))
    return np.asarray(cv2.resize(pixels, small, interpolation=cv2.INTER_AREA), np.uint8)


def as_gray(pixels: Pixels) -> Pixels:
    """Return a picture without its colours."""
    return pixels if pixels.ndim == 2 else np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), np.uint8)


def shrunk(pixels: Pixels, header: FileHeader, width: int, quality: int = QUALITY) -> bytes:
    """Return a picture as a JPEG file that is no wider than ``width``."""
    if pixels.shape[1] > width:
        small = (width, max(1, round(header.height * width / header.width)))
        pixels = np.asarray(cv2.resize(pixels, small, interpolation=cv2.INTER_AREA), np.uint8)
    return bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1])


def pack_picture(jpeg: bytes, header: FileHeader, image: SceneImage) -> dict[str, Any]:
    """Describe a picture, perhaps shrunk and in base64; size and camera parameters are those of the full one."""
    return {
        "width": header.width,
        "height": header.height,
        "jpeg": base64.b64encode(jpeg),
        "params": params_of(image),
    }


def params_of(image: SceneImage) -> dict[str, Any]:
    """Return an image's camera as the page reads it; the stamp as text, which JavaScript's numbers cannot hold."""
    model = image.model
    return {
        "position": dict(zip("xyz", image.position.tolist(), strict=True)),
        "heading": dict(zip("xyzw", image.heading_xyzw.tolist(), strict=True)),
        "fx": model.fx,
        "fy": model.fy,
        "cx": model.cx,
        "cy": model.cy,
        "skew": model.skew,
        **model.distortion,
        "camera_model": model.model,
        "scale_factor": model.scale_factor,
        "timestamp": str(image.stamp_ns),
    }
