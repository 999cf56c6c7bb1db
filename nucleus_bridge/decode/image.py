# SPDX-License-Identifier: Apache-2.0
"""Image and CompressedImage to a checked image, to its pixels, and to a file."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.config.settings import CameraConfig
from nucleus_bridge.decode.cdr import deserialise, naming, require_stamp, strip_slashes, to_ns
from nucleus_bridge.decode.image_checks import as_gray, upright
from nucleus_bridge.decode.interface import Decoder, Interface, Stateless
from nucleus_bridge.decode.raw_image import RAW_LAYOUTS, Pixels, debayer, raw_pixels, upper_byte
from nucleus_bridge.errors import ImageError
from nucleus_bridge.image_header import is_gray_file, read_file_header
from nucleus_bridge.model import Image, Message

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
#: Encoding of a file that is neither JPEG nor PNG and has to be decoded.
OTHER_FILE = "compressed"
SUFFIXES = {"jpeg": ".jpg", "png": ".png"}

_BAYER_ENCODING = re.compile(r"bayer_(rggb|bggr|gbrg|grbg)(8|16)")
_COLOURED = frozenset(name for name in RAW_LAYOUTS if name not in ("mono8", "8UC1", "mono16", "16UC1"))
"""Raw encodings that say themselves what colour each pixel has."""
_PNG_DEPTH_AT = 24
_PNG_COMPRESSION = 3
_MAX_SIDE = 65_535
_MAX_PIXELS = 2**28
# What decoding may take at most, and what a pixel may take in a file of a kind (channels x bytes, as OpenCV has them).
_MAX_DECODED_BYTES = 2**29
_PIXEL_BYTES = {"jpeg": 3, "png": 8, "tiff": 16, "webp": 4, "bmp": 4}


def decode_image(message: Message, *, bayer: str = "", bit_depth: int = 0) -> Image:
    """Check an Image or a CompressedImage and read how large it is.

    What kind of file a CompressedImage holds is told from its bytes, not from its ``format``; only that its gray
    picture is a Bayer mosaic is in no file. An empty frame id is left to the caller, who may know the camera's optical
    frame.

    Args:
        message: The message.
        bayer: ``cameras.<name>.bayer``.
        bit_depth: ``cameras.<name>.bit_depth``.

    Returns:
        An image whose payload is a view of ``message.data``; ``encoding`` is ``jpeg``, ``png``, ``compressed`` (a file
        of another kind) or one of ``RAW_LAYOUTS``.

    Raises:
        ImageError: ``cause`` is ``zero_stamp``, ``unknown_encoding``, ``too_large`` or ``damaged``.
        DecodeError: The bytes are not a message of that type.
    """
    content = deserialise(message, IMAGE, COMPRESSED_IMAGE)
    with naming(message):
        stamp_ns = to_ns(content.header.stamp)
        require_stamp(stamp_ns, ImageError)
        frame_id = strip_slashes(content.header.frame_id)
        read = _compressed if message.type_name == COMPRESSED_IMAGE else _raw
        image = read(content, stamp_ns, frame_id)
        if bayer and image.encoding not in _COLOURED:
            image = replace(image, bayer=bayer)
        return replace(image, bit_depth=bit_depth) if bit_depth else image


def pixels(image: Image) -> Pixels:
    """Decode an image to 8 bits a channel.

    16-bit values keep the upper byte of their ``bit_depth`` (value >> 8 for all 16), whatever the encoding; 16UC1 too,
    so that depth images come out dark but in the same scale everywhere. Mosaics are debayered. YUV is ITU-R BT.601 in
    limited range. Alpha is dropped.

    Returns:
        Shape (height, width, 3) in the order B, G, R, or (height, width) for gray images; perhaps a read-only view of
        ``image.data``.

    Raises:
        ImageError: The payload cannot be decoded.
    """
    try:
        if image.picture is not None:
            return image.picture.pixels()
        picture = _file_pixels(image) if image.encoding in (*SUFFIXES, OTHER_FILE) else raw_pixels(image)
        gray = as_gray(picture) if image.bayer else None
        return picture if gray is None else debayer(gray, image.bayer)
    except cv2.error as error:
        msg = f"an image of {image.width} x {image.height} in {image.encoding} cannot be decoded: {error}"
        raise ImageError(msg) from error


def encode_pixels(picture: Pixels, fmt: str, quality: int) -> bytes:
    """Write pixels as a file.

    Args:
        picture: Shape (height, width, 3) in the order B, G, R, or (height, width).
        fmt: ``jpeg`` or ``png``.
        quality: JPEG quality, 1 to 100.

    Raises:
        ImageError: The encoder cannot take it, for instance a JPEG of more than 65,500 pixels a side; cause ``encode``.
    """
    options = {"jpeg": [cv2.IMWRITE_JPEG_QUALITY, quality], "png": [cv2.IMWRITE_PNG_COMPRESSION, _PNG_COMPRESSION]}
    try:
        done, encoded = cv2.imencode(SUFFIXES[fmt], picture, options[fmt])
    except cv2.error as error:
        done, reason = False, str(error)
    else:
        reason = "the encoder gave no reason"
    if not done:
        msg = f"an image of shape {picture.shape} cannot be written as {fmt}: {reason}"
        raise ImageError(msg, cause="encode")
    return encoded.tobytes()


def image_file(image: Image, fmt: str, quality: int) -> tuple[bytes | memoryview, str]:
    """Return an image as a file and the suffix of its name.

    JPEG and PNG files stay as they are, byte for byte, but for an orientation tag, which viewers would follow although
    the calibration is that of the picture as it is stored: it is set to 1. Everything else is decoded and written in
    ``fmt``: mosaics, and pictures of 16 bits of which not all count.

    Raises:
        ImageError: It cannot be decoded or encoded.
    """
    if image.encoding in SUFFIXES and not image.bayer and not (image.bit_depth and is_sixteen_bit_png(image)):
        return upright(image.data.data), SUFFIXES[image.encoding]
    return encode_pixels(pixels(image), fmt, quality), SUFFIXES[fmt]


def _compressed(content: Any, stamp_ns: int, frame_id: str) -> Image:
    if "compressedDepth" in content.format:
        msg = f"format {content.format!r} is a depth image of compressed_depth_image_transport, not a picture"
        raise ImageError(msg, cause="unknown_encoding")
    header = read_file_header(content.data.data)
    if header is None:
        begin = content.data[:8].tobytes().hex(" ") or "nothing"
        msg = f"format {content.format!r}, beginning with {begin}, is not a JPEG, PNG, TIFF, WebP or BMP file"
        raise ImageError(msg, cause="unknown_encoding")
    check_size(header.width, header.height)
    encoding = header.kind if header.kind in ("jpeg", "png") else OTHER_FILE
    return Image(
        stamp_ns, frame_id, header.width, header.height, encoding, content.data, bayer=_mosaic_in(content.format)
    )


def _mosaic_in(text: str) -> str:
    """Return the Bayer pattern of a file's picture by ``format``: ``bayer_rggb8; jpeg compressed [mono8]``."""
    encoding, _, compressed = text.partition(";")
    found = _BAYER_ENCODING.fullmatch(encoding.strip())
    is_coloured = any(name in compressed for name in ("bgr", "rgb"))
    return found[1] if found and not is_coloured else ""


def is_gray(image: Image) -> bool:
    """Whether an image has one channel of 8 bits, by its header alone."""
    if image.encoding in SUFFIXES:
        return is_gray_file(image.data.data)
    return image.encoding in ("mono8", "8UC1")


def is_sixteen_bit_png(image: Image) -> bool:
    """Whether an image is a PNG file of 16 bits a channel."""
    return image.encoding == "png" and bytes(image.data[_PNG_DEPTH_AT : _PNG_DEPTH_AT + 1]) == b"\x10"


def _raw(content: Any, stamp_ns: int, frame_id: str) -> Image:
    layout = RAW_LAYOUTS.get(content.encoding)
    if layout is None:
        msg = f"encoding {content.encoding!r} is not one of {', '.join(RAW_LAYOUTS)}"
        raise ImageError(msg, cause="unknown_encoding")
    width, height = content.width, content.height
    check_size(width, height)
    if (layout.even_width and width % 2) or (layout.even_height and height % 2):
        msg = f"an image of {width} x {height} cannot be {content.encoding}, whose pixels share colours in pairs"
        raise ImageError(msg)
    if content.step < width * layout.pixel_bytes:
        msg = f"step {content.step} holds less than {width} pixels of {content.encoding}"
        raise ImageError(msg)
    rows = height * layout.half_rows // 2
    if len(content.data) != rows * content.step:
        msg = f"data has {len(content.data)} bytes, expected {rows} rows of step {content.step} = {rows * content.step}"
        raise ImageError(msg)
    big = bool(content.is_bigendian)
    return Image(stamp_ns, frame_id, width, height, content.encoding, content.data, content.step, big)


def check_size(width: int, height: int) -> None:
    """Refuse sizes that no camera has.

    Raises:
        ImageError: No pixels, or too many (``too_large``).
    """
    if width < 1 or height < 1:
        msg = f"the image has no pixels ({width} x {height})"
        raise ImageError(msg)
    if max(width, height) > _MAX_SIDE or width * height > _MAX_PIXELS:
        msg = f"the image claims {width} x {height} pixels, more than {_MAX_SIDE} a side or {_MAX_PIXELS} in all"
        raise ImageError(msg, cause="too_large")


def _check_decoded_size(image: Image) -> None:
    """Refuse a file of few bytes that claims so many pixels that decoding it would take all memory."""
    header = read_file_header(image.data.tobytes())
    decoded_bytes = image.width * image.height * (_PIXEL_BYTES[header.kind] if header else 1)
    if decoded_bytes > _MAX_DECODED_BYTES:
        msg = (
            f"decoding the {image.encoding} file of {image.width} x {image.height} pixels may take {decoded_bytes} "
            f"bytes, more than {_MAX_DECODED_BYTES}"
        )
        raise ImageError(msg, cause="too_large")


def _file_pixels(image: Image) -> Pixels:
    _check_decoded_size(image)
    picture = cast("NDArray[Any] | None", cv2.imdecode(image.data, cv2.IMREAD_UNCHANGED))
    if picture is None or picture.shape[:2] != (image.height, image.width):
        size = f"{image.width} x {image.height}"
        msg = f"the {image.encoding} file of {len(image.data)} bytes cannot be decoded to {size}"
        raise ImageError(msg)
    if picture.dtype == np.uint16:
        picture = upper_byte(picture, image.bit_depth)
    if picture.dtype != np.uint8:
        msg = f"the image file holds {picture.dtype.name} values, expected 8 or 16 bits without sign"
        raise ImageError(msg, cause="unknown_encoding")
    return np.ascontiguousarray(picture[:, :, :3]) if picture.ndim == 3 else picture


def image_decoder(camera: CameraConfig | None) -> Decoder:
    """Return what decodes the single images of a camera."""
    if camera is None:
        return Stateless(decode_image)
    return Stateless(partial(decode_image, bayer=camera.bayer, bit_depth=camera.bit_depth))


INTERFACES = (
    Interface(IMAGE, "image", image_decoder, is_sample=True, depth=20),
    Interface(COMPRESSED_IMAGE, "image", image_decoder, is_sample=True),
)
