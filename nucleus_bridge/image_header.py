# SPDX-License-Identifier: Apache-2.0
"""What kind of image file some bytes are and how large the image is, without decoding it."""

from __future__ import annotations

import struct
from typing import NamedTuple

from nucleus_bridge.errors import ImageError

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_CHUNK_BYTES = 12  # of a PNG, beside its content: length, name and checksum
_JPEG_END = b"\xff\xd9"
_JPEG_ALONE = {0x01, *range(0xD0, 0xD8)}
_JPEG_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_SCAN, _JPEG_EOI = 0xDA, 0xD9
_TAIL_BYTES = 4096
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257


class FileHeader(NamedTuple):
    """Kind (``jpeg``, ``png``, ``tiff``, ``webp`` or ``bmp``) and size in pixels of an image file."""

    kind: str
    width: int
    height: int


def read_file_header(data: bytes | memoryview) -> FileHeader | None:
    """Recognise an image file by its first bytes and read its size.

    JPEG and PNG files, which are handed on as they are, must also have their end marker.

    Returns:
        None when the bytes are none of the known kinds.

    Raises:
        ImageError: The file is cut off or its header is damaged.
    """
    try:
        if data[:3] == b"\xff\xd8\xff":
            return FileHeader("jpeg", *_jpeg_size(data))
        if data[:8] == _PNG_MAGIC:
            return FileHeader("png", *_png_size(data))
        if data[:4] in (b"II*\x00", b"MM\x00*"):
            return FileHeader("tiff", *_tiff_size(data))
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return FileHeader("webp", *_webp_size(data))
        if data[:2] == b"BM":
            width, height = struct.unpack_from("<ii", data, 18)
            return FileHeader("bmp", width, abs(height))
    except struct.error as error:
        msg = f"the image file ends inside its header, after {len(data)} bytes"
        raise ImageError(msg) from error
    return None


def is_gray_file(data: bytes | memoryview) -> bool:
    """Whether a whole JPEG or PNG file holds one channel of 8 bits."""
    if data[:8] == _PNG_MAGIC:
        return bytes(data[24:26]) == b"\x08\x00"
    position = 2
    while data[:3] == b"\xff\xd8\xff" and position + 10 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker in _JPEG_FRAMES:
            return data[position + 9] == 1
        position += 2 + int(struct.unpack_from(">H", data, position + 2)[0])
    return False


def _jpeg_size(data: bytes | memoryview) -> tuple[int, int]:
    """Follow the marker segments up to the frame header (ITU-T T.81, B.2.2)."""
    position = 2
    while True:
        prefix, marker = struct.unpack_from(">BB", data, position)
        if prefix != 0xFF or marker in (_JPEG_SCAN, _JPEG_EOI):
            msg = f"the JPEG file has no frame header before byte {position}"
            raise ImageError(msg)
        if marker == 0xFF:
            position += 1
        elif marker in _JPEG_ALONE:
            position += 2
        elif marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, position + 5)
            if not _ends_with(data, _JPEG_END, position):
                msg = f"the JPEG file is cut off: no end marker in {len(data)} bytes"
                raise ImageError(msg)
            return width, height
        else:
            position += 2 + int(struct.unpack_from(">H", data, position + 2)[0])


def _ends_with(data: bytes | memoryview, marker: bytes, start: int = 0) -> bool:
    """Whether the marker comes after ``start``; mostly it is at the very end, and the rest need not be copied."""
    return marker in bytes(data[max(start, len(data) - _TAIL_BYTES) :]) or marker in bytes(data[start:])


def _png_size(data: bytes | memoryview) -> tuple[int, int]:
    name, width, height = struct.unpack_from(">4sII", data, 12)
    if name != b"IHDR":
        msg = f"the PNG file begins with the chunk {name!r}, expected IHDR"
        raise ImageError(msg)
    if not _ends_with(data, _PNG_END):
        msg = f"the PNG file is cut off: no IEND chunk in {len(data)} bytes"
        raise ImageError(msg)
    _check_chunks(data)
    return width, height


def _check_chunks(data: bytes | memoryview) -> None:
    """Refuse a chunk that claims more bytes than there are: decoders take that much memory for it."""
    position = len(_PNG_MAGIC)
    while data[position : position + len(_PNG_END)] != _PNG_END:
        (length,) = struct.unpack_from(">I", data, position)
        if length > len(data) - position - _CHUNK_BYTES:
            msg = f"a chunk of the PNG file claims {length} bytes at byte {position} of {len(data)}"
            raise ImageError(msg)
        position += length + _CHUNK_BYTES


def _tiff_size(data: bytes | memoryview) -> tuple[int, int]:
    """Look through the first directory of a TIFF 6.0 file."""
    order = "<" if data[:2] == b"II" else ">"
    (position,) = struct.unpack_from(f"{order}I", data, 4)
    (entries,) = struct.unpack_from(f"{order}H", data, position)
    found: dict[int, int] = {}
    for entry in range(entries):
        tag, kind = struct.unpack_from(f"{order}HH", data, position + 2 + 12 * entry)
        if tag in (_TIFF_WIDTH, _TIFF_HEIGHT):
            found[tag] = struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", data, position + 10 + 12 * entry)[0]
    if len(found) < 2:
        msg = "the TIFF file does not say how large its image is"
        raise ImageError(msg)
    return found[_TIFF_WIDTH], found[_TIFF_HEIGHT]


def _webp_size(data: bytes | memoryview) -> tuple[int, int]:
    """Read the size from the first chunk (RFC 9649)."""
    chunk = data[12:16]
    if chunk == b"VP8X":
        low_w, high_w, low_h, high_h = struct.unpack_from("<HBHB", data, 24)
        return (low_w | high_w << 16) + 1, (low_h | high_h << 16) + 1
    if chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF
