# SPDX-License-Identifier: Apache-2.0
"""The raw pixel encodings of ``sensor_msgs/image_encodings``: how they are laid out and how they become BGR."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.model import Image

Pixels = NDArray[np.uint8]


class RawLayout(NamedTuple):
    """How an encoding lays pixels out.

    Attributes:
        pixel_bytes: Bytes a pixel takes in a row (of the first plane).
        half_rows: Rows of all planes for two rows of the image.
        even_width: Whether two neighbouring pixels share their colour.
        even_height: Whether two rows share their colour.
    """

    pixel_bytes: int
    half_rows: int = 2
    even_width: bool = False
    even_height: bool = False


_BAYER = ("rggb", "bggr", "gbrg", "grbg")
RAW_LAYOUTS = {
    "rgb8": RawLayout(3),
    "bgr8": RawLayout(3),
    "8UC3": RawLayout(3),
    "rgba8": RawLayout(4),
    "bgra8": RawLayout(4),
    "mono8": RawLayout(1),
    "8UC1": RawLayout(1),
    "mono16": RawLayout(2),
    "16UC1": RawLayout(2),
    **{f"bayer_{pattern}8": RawLayout(1) for pattern in _BAYER},
    **{f"bayer_{pattern}16": RawLayout(2) for pattern in _BAYER},
    **dict.fromkeys(("yuv422", "uyvy", "yuv422_yuy2", "yuyv"), RawLayout(2, even_width=True)),
    **dict.fromkeys(("nv12", "nv21"), RawLayout(1, half_rows=3, even_width=True, even_height=True)),
    "nv24": RawLayout(1, half_rows=6),
}

# OpenCV names a Bayer pattern by the second and third pixel of the second row: its "BG" begins with red, green.
_BAYER_CODES = {
    "rggb": cv2.COLOR_BayerBG2BGR,
    "bggr": cv2.COLOR_BayerRG2BGR,
    "gbrg": cv2.COLOR_BayerGR2BGR,
    "grbg": cv2.COLOR_BayerGB2BGR,
}
_CODES = {
    "rgb8": cv2.COLOR_RGB2BGR,
    "rgba8": cv2.COLOR_RGBA2BGR,
    "bgra8": cv2.COLOR_BGRA2BGR,
    "yuv422": cv2.COLOR_YUV2BGR_UYVY,
    "uyvy": cv2.COLOR_YUV2BGR_UYVY,
    "yuv422_yuy2": cv2.COLOR_YUV2BGR_YUY2,
    "yuyv": cv2.COLOR_YUV2BGR_YUY2,
    "nv12": cv2.COLOR_YUV2BGR_NV12,
    "nv21": cv2.COLOR_YUV2BGR_NV21,
}
# ITU-R BT.601, limited range, to B, G, R; what the conversions of OpenCV above use too.
_BT601 = np.array([[1.164, 2.018, 0.0], [1.164, -0.391, -0.813], [1.164, 0.0, 1.596]])
_BT601_ZERO = np.array([[16.0], [128.0], [128.0]])


def raw_pixels(image: Image) -> Pixels:
    """Decode an image in a raw encoding, whose sizes were checked, to BGR or gray.

    Raises:
        cv2.error: OpenCV cannot take it, for instance a Bayer image of one row.
    """
    layout = RAW_LAYOUTS[image.encoding]
    rows = image.data.reshape(-1, image.step)[:, : image.width * layout.pixel_bytes]
    decode = _DECODERS.get(image.encoding, _packed)
    return np.ascontiguousarray(decode(rows, image))


def _packed(rows: Pixels, image: Image) -> Pixels:
    """Decode an encoding of one plane with 8-bit channels."""
    channels = RAW_LAYOUTS[image.encoding].pixel_bytes
    picture = rows if channels == 1 else np.ascontiguousarray(rows).reshape(image.height, image.width, channels)
    code = _CODES.get(image.encoding)
    return picture if code is None else _convert(picture, code)


def _upper_bytes(rows: Pixels, image: Image) -> Pixels:
    if not image.bit_depth:
        return rows[:, 0::2] if image.is_bigendian else rows[:, 1::2]
    values = np.ascontiguousarray(rows).view(">u2" if image.is_bigendian else "<u2")
    return upper_byte(values.astype(np.uint16), image.bit_depth)


def upper_byte(values: NDArray[np.uint16], bit_depth: int) -> Pixels:
    """Return the 8 upper bits of values of so many significant bits; 0: all 16. What is larger becomes white."""
    bits = bit_depth or 16
    shifted = values >> (bits - 8) if bits >= 8 else values << (8 - bits)
    return cast("Pixels", np.minimum(shifted, 255).astype(np.uint8))


def debayer(mosaic: Pixels, pattern: str) -> Pixels:
    """Return shape (height, width, 3), B G R, of a mosaic of shape (height, width); pattern as ``rggb``.

    Raises:
        cv2.error: OpenCV cannot take it, for instance a single row.
    """
    return _convert(mosaic, _BAYER_CODES[pattern])


def _bayer(rows: Pixels, image: Image) -> Pixels:
    mosaic = _upper_bytes(rows, image) if image.encoding.endswith("16") else rows
    return _convert(mosaic, _BAYER_CODES[image.encoding[6:10]])


def _semi_planar_420(rows: Pixels, image: Image) -> Pixels:
    return _convert(rows, _CODES[image.encoding])


def _semi_planar_444(rows: Pixels, image: Image) -> Pixels:
    """nv24: luma rows, then chroma rows of twice the width; OpenCV has no conversion for it."""
    luma = rows[: image.height]
    pairs = image.data[image.height * image.step :].reshape(image.height, 2 * image.step)
    chroma = pairs[:, : 2 * image.width].reshape(image.height, image.width, 2)
    yuv = np.dstack([luma, chroma])
    return cast("Pixels", cv2.transform(yuv, np.hstack([_BT601, -_BT601 @ _BT601_ZERO])))


def _convert(picture: Pixels, code: int) -> Pixels:
    return cast("Pixels", cv2.cvtColor(np.ascontiguousarray(picture), code))


_DECODERS: dict[str, Callable[[Pixels, Image], Pixels]] = {
    **dict.fromkeys(("mono16", "16UC1"), _upper_bytes),
    **{encoding: _bayer for encoding in RAW_LAYOUTS if encoding.startswith("bayer_")},
    **dict.fromkeys(("nv12", "nv21"), _semi_planar_420),
    "nv24": _semi_planar_444,
}
