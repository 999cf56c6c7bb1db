# SPDX-License-Identifier: Apache-2.0
"""What is wrong with an image file or its pixels although a decoder takes it: cut data, a mosaic, a turn."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

Bayer = Literal["rggb", "bggr", "gbrg", "grbg"]
BAYER: tuple[Bayer, ...] = ("rggb", "bggr", "gbrg", "grbg")

_JPEG_START, _PNG_MAGIC, _JPEG_END = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"\xff\xd9"
_FILL = 128  # what libjpeg makes of blocks for which there is no data
_TAIL_ROWS = 16
_SMALL_AND_GRAY = cv2.IMREAD_REDUCED_GRAYSCALE_8 | cv2.IMREAD_IGNORE_ORIENTATION
_TAKEN_OFF = 8
_ZEROS = 64
_TABLES, _PROGRESSIVE, _SCAN = 0xC4, 0xC2, 0xDA
_OF_BRIGHTNESS, _END_OF_BLOCK = 0x10, 0x00
_ORIENTATION_TAG = 0x0112
_PATCH = 8
_MOSAIC = 2.0
_LEAST_CONTRAST = 2.0
_BLACK, _WHITE, _WHITE_16, _SPECKS = 16, 250, 65_535, 1e-3
_SAME_COLOUR = 2
_MOST_VALUES = 60_000
_THREE = frozenset(("rgb8", "bgr8", "8UC3"))
Emptiness = Literal["", "black", "white", "of one colour"]
DIRECT_8_BIT = frozenset(("mono8", "8UC1", "rgb8", "bgr8", "8UC3", *(f"bayer_{pattern}8" for pattern in BAYER)))
"""Encodings of raw pictures all of whose bytes say how bright it is."""


def damage_of(data: bytes, decoded: NDArray[Any] | None = None) -> str:
    """Say what is missing in a JPEG or PNG file; '' where it is whole, or another kind of file.

    A JPEG that was cut and given an end marker decodes without an error: its rest is gray. Such a picture is decoded
    again without its last bytes. Where the end of the data shows far above the lower edge, data is missing.

    Args:
        data: The file.
        decoded: What OpenCV makes of it unchanged, where that is known.
    """
    if data[:8] == _PNG_MAGIC:
        return _png_damage(data)
    if data[:3] != _JPEG_START:
        return ""
    picture = decoded
    if picture is None:
        small = _decode(data, _SMALL_AND_GRAY)
        if small is None:
            return "it cannot be decoded"
        if (small[-1] == _FILL).all():  # perhaps there is no data for it: worth a whole look
            picture = _decode(data)
    if _is_zeroed(data):
        return f"a stretch of {_ZEROS} bytes or more is zero"
    if picture is None or not (missing := _missing_rows(data, picture)):
        return ""
    return f"its data ends {missing} rows above the lower edge of {len(picture)}"


def _is_zeroed(data: bytes) -> bool:
    """Whether bytes of a JPEG's picture were lost and left zero.

    The code of zeros alone is that of the first symbol of a table. Where that is not the end of a block, but a
    coefficient, no picture has so many of them in a row.
    """
    start = data.find(bytes(_ZEROS))
    if start < 0:
        return False
    position = 2
    first_symbol = _END_OF_BLOCK
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == _PROGRESSIVE:
            return False
        if marker == _TABLES:
            first_symbol = _first_symbol(data[position + 4 : position + 2 + length], first_symbol)
        position += 2 + length
        if marker == _SCAN:
            return start >= position - 1 and first_symbol != _END_OF_BLOCK
    return False


def _first_symbol(tables: bytes, known: int) -> int:
    """Return the first symbol of the table for coefficients of brightness; ``known`` where it is not among these."""
    position = 0
    while position + 17 <= len(tables):
        if tables[position] == _OF_BRIGHTNESS and position + 17 < len(tables):
            known = tables[position + 17]
        position += 17 + sum(tables[position + 1 : position + 17])
    return known


def _missing_rows(data: bytes, picture: NDArray[np.uint8]) -> int:
    """Return how many rows of a decoded JPEG there is no data for."""
    rows = picture.reshape(len(picture), -1)
    is_fill = (rows == _FILL).all(axis=1)
    missing = len(rows) - (int(np.flatnonzero(~is_fill)[-1]) + 1 if not is_fill.all() else 0)
    if missing < _TAIL_ROWS:
        return 0
    shorter = _decode(data[: data.rfind(_JPEG_END) - _TAKEN_OFF] + _JPEG_END)
    if shorter is None or shorter.shape != picture.shape:
        return 0
    changed = np.flatnonzero((shorter.reshape(len(rows), -1) != rows).any(axis=1))
    return missing if len(changed) and int(changed[0]) <= len(rows) - missing else 0


def orientation_of(data: bytes) -> int:
    """Return the EXIF orientation of a JPEG or PNG file, 1 to 8; 1 where it says none."""
    for start, length, _ in _exif_blocks(memoryview(data)):
        place = _orientation_place(data[start : start + length])
        if place is not None:
            return place.value if 1 <= place.value <= 8 else 1
    return 1


def upright(data: memoryview) -> bytes | memoryview:
    """Return a JPEG or PNG file whose orientation tag, if it has one, says that it is upright: nothing else changes."""
    for start, length, crc_at in _exif_blocks(data):
        block = bytes(data[start : start + length])
        place = _orientation_place(block)
        if place is None or place.value == 1:
            continue
        content = bytearray(data)
        struct.pack_into(place.form, content, start + place.offset, 1)
        if crc_at is not None:
            struct.pack_into(">I", content, crc_at, zlib.crc32(content[start - 4 : start + length]))
        return bytes(content)
    return data


def _exif_blocks(data: memoryview) -> Iterator[tuple[int, int, int | None]]:
    """Yield where TIFF blocks of EXIF begin, their length, and where a checksum over them stands."""
    if bytes(data[:3]) == _JPEG_START:
        position = 2
        while position + 4 <= len(data) and data[position] == 0xFF and data[position + 1] not in (0xD9, 0xDA):
            length = int.from_bytes(data[position + 2 : position + 4], "big")
            if data[position + 1] == 0xE1 and bytes(data[position + 4 : position + 10]) == b"Exif\0\0":
                yield position + 10, length - 8, None
            position += 2 + length
    elif bytes(data[:8]) == _PNG_MAGIC:
        position = 8
        while position + 12 <= len(data):
            length = int.from_bytes(data[position : position + 4], "big")
            if bytes(data[position + 4 : position + 8]) == b"eXIf":
                yield position + 8, length, position + 8 + length
            position += 12 + length


def mosaic_of(gray: NDArray[np.uint8]) -> tuple[Bayer, ...]:
    """Return the Bayer patterns that a gray picture may be a mosaic of; () where it is none.

    In a mosaic the four pixels of a square differ by their colour filters all over a coloured patch, while in a picture
    they differ as neighbours do, now up, now down. The two greens are alike, which leaves two patterns.
    """
    height, width = (side // (2 * _PATCH) * (2 * _PATCH) for side in gray.shape[:2])
    if height < 4 * _PATCH or width < 4 * _PATCH or gray.ndim != 2:
        return ()
    cells = gray[:height, :width].astype(np.float32).reshape(height // 2, 2, width // 2, 2).transpose(1, 3, 0, 2)
    a, b, c, d = cells[0, 0], cells[0, 1], cells[1, 0], cells[1, 1]

    def offset(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
        patches = (one - other).reshape(height // 2 // _PATCH, _PATCH, width // 2 // _PATCH, _PATCH)
        return float(np.abs(patches.mean(axis=(1, 3))).mean())

    slope = max(float(np.abs(np.diff(a, axis=1)).mean()), float(np.abs(np.diff(a, axis=0)).mean()), 0.5)
    main, cross = offset(a, d), offset(b, c)
    rest = min(offset(a, b), offset(c, d), offset(a, c), offset(b, d))
    least = max(_LEAST_CONTRAST, _MOSAIC * slope)
    if rest < least or max(main, cross) < least or min(main, cross) > 0.5 * rest:
        return ()
    return ("rggb", "bggr") if cross < main else ("gbrg", "grbg")


def emptiness_of(pixels: NDArray[Any]) -> Emptiness:
    """Return what a picture that shows nothing is; "" where it shows something.

    Black is what hardly rises above the noise of a sensor that sees nothing, white what is saturated all over. Of one
    colour a camera has no picture: its noise is in every real one.

    Args:
        pixels: Brightness, or colours in the last axis, without alpha, uint8; or uint16, without noise.
    """
    if not pixels.size:
        return ""
    is_narrow = pixels.dtype == np.uint8
    if not pixels.any() or (is_narrow and float((pixels > _BLACK).mean()) < _SPECKS):
        return "black"
    if is_narrow and float((pixels < _WHITE).mean()) < _SPECKS:
        return "white"
    flat = pixels.reshape(-1, pixels.shape[-1] if pixels.ndim > 2 else 1)
    if int(np.ptp(flat, axis=0).max()) > (_SAME_COLOUR if is_narrow else 0):
        return ""
    return "white" if not is_narrow and int(flat.min()) == _WHITE_16 else "of one colour"


def some_pixels(data: NDArray[np.uint8], encoding: str, width: int, height: int, step: int) -> NDArray[np.uint8]:
    """Return pixels spread over a raw picture of 8 bits, shape (1, n, channels)."""
    channels = 3 if encoding in _THREE else 1
    rows = data[: step * height].reshape(-1, step)[:, : width * channels] if step else data[:0].reshape(0, 1)
    every = max(1, math.isqrt(rows.size // _MOST_VALUES))
    thinned = rows[::every].reshape(-1, rows.shape[1] // channels, channels)[:, ::every]
    return np.ascontiguousarray(thinned).reshape(1, -1, channels)


def significant_bits(largest: int) -> int:
    """Return how many bits 16-bit values up to this need, rounded up to what sensors have: 8, 10, 12, 14 or 16."""
    return next((bits for bits in (8, 10, 12, 14) if largest < 1 << bits), 16)


def _decode(data: bytes, how: int = cv2.IMREAD_UNCHANGED) -> NDArray[np.uint8] | None:
    try:
        return cast("NDArray[np.uint8] | None", cv2.imdecode(np.frombuffer(data, np.uint8), how))
    except cv2.error:
        return None


def _png_damage(data: bytes) -> str:
    """Check the checksums and unpack the pixels of a PNG file."""
    position, unpacker, pixels = 8, zlib.decompressobj(), 0
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        name, content = data[position + 4 : position + 8], data[position + 8 : position + 8 + length]
        if len(content) < length:
            return f"its chunk {name.decode('ascii', 'replace')} is cut off"
        (checksum,) = struct.unpack_from(">I", data, position + 8 + length)
        if zlib.crc32(name + content) != checksum:
            return f"the checksum of its chunk {name.decode('ascii', 'replace')} is wrong"
        if name == b"IDAT":
            try:
                pixels += len(unpacker.decompress(content))
            except zlib.error as error:
                return f"its pixels cannot be unpacked: {error}"
        position += 12 + length
    return "" if unpacker.eof else f"its pixels end after {pixels} bytes"


class _Place(NamedTuple):
    """Where in a TIFF block the orientation stands, how it is packed, and what it is."""

    offset: int
    form: str
    value: int


def _orientation_place(tiff: bytes) -> _Place | None:
    try:
        order = "<" if tiff[:2] == b"II" else ">"
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, start)
        for entry in range(entries):
            tag, kind, _ = struct.unpack_from(f"{order}HHI", tiff, start + 2 + 12 * entry)
            if tag == _ORIENTATION_TAG:
                offset, form = start + 10 + 12 * entry, f"{order}{'H' if kind == 3 else 'I'}"
                return _Place(offset, form, struct.unpack_from(form, tiff, offset)[0])
    except struct.error:
        pass
    return None


def as_gray(picture: NDArray[Any]) -> NDArray[np.uint8] | None:
    """Return a picture of one channel, or of three equal ones, as gray; None for a coloured one."""
    if picture.ndim == 2:
        return np.asarray(picture if picture.dtype == np.uint8 else (picture >> 8).astype(np.uint8))
    one = picture[..., 0]
    return one if picture.dtype == np.uint8 and all((picture[..., k] == one).all() for k in (1, 2)) else None
