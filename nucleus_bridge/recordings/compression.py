# SPDX-License-Identifier: Apache-2.0
"""Unpack zstd and lz4 within a limit, as far as the bytes go."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import lz4.frame  # type: ignore[import-untyped]

from nucleus_bridge.errors import BagError
from nucleus_bridge.recordings.place import Place
from nucleus_bridge.recordings.scratch import Scratch

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
MAX_UNPACKED_BYTES = 1 << 29
_LZ4_MOST_A_BYTE = 255  # of output for one of input, by the format
_PIECE_BYTES = 1 << 20
_PIECES_A_CHECK = 64


def unpack_chunk(data: bytes | memoryview, compression: str, size: int, *, whole: bool = True) -> bytes | memoryview:
    """Unpack the records of an mcap chunk to exactly ``size`` bytes.

    ``whole=False`` says that ``data`` was cut short: then as much as comes out is given.

    Raises:
        BagError: The bytes are damaged, of another size, too large, or of an unknown compression.
    """
    if size > MAX_UNPACKED_BYTES:
        raise BagError(f"a chunk claims to unpack to {size} bytes, more than the limit of {MAX_UNPACKED_BYTES}")
    if compression == "lz4" and size > _LZ4_MOST_A_BYTE * len(data):
        raise BagError(f"a chunk claims to unpack from {len(data)} to {size} bytes, more than lz4 can")
    if compression == "":
        records: bytes | memoryview = data
    elif compression in {"zstd", "lz4"}:
        records = _decompress(data, compression, size + 1)
    else:
        raise BagError(f"chunk compression {compression!r} is not known (zstd, lz4 or none)")
    if len(records) > size or (whole and len(records) < size):
        raise BagError(f"a chunk of {size} bytes unpacks to {len(records)}{' or more' if len(records) > size else ''}")
    return records


def unpack_message(data: bytes, *, limit: int = MAX_UNPACKED_BYTES) -> bytes:
    """Unpack one message that was compressed by itself with zstd.

    Raises:
        BagError: It is damaged, cut short or unpacks to more than ``limit`` bytes.
    """
    try:
        decompressor = zstd.ZstdDecompressor()
        unpacked: bytes = decompressor.decompress(data, limit + 1)
    except zstd.ZstdError as error:
        raise BagError(f"a compressed message is damaged: {error}") from error
    if len(unpacked) > limit:
        raise BagError(f"a compressed message unpacks to more than the limit of {limit} bytes")
    if not decompressor.eof:
        raise BagError(f"a compressed message is cut short after {len(unpacked)} bytes")
    return unpacked


def unpack_file(source: Place, scratch: Scratch) -> tuple[Path, str | None]:
    """Unpack a zstd file; give where the bytes are and what stopped it before its end, or None.

    Raises:
        NoRoomError: The disk of the temporary folder is nearly full.
        OSError: ``source`` cannot be read or the copy not written.
    """
    target = scratch.folder() / source.name.removesuffix(".zstd")
    with source.open("rb") as packed, target.open("wb") as unpacked:
        try:
            for number, piece in enumerate(_plain_pieces(packed)):
                if number % _PIECES_A_CHECK == 0:
                    scratch.require(_PIECES_A_CHECK * _PIECE_BYTES, source)
                unpacked.write(piece)
        except (zstd.ZstdError, EOFError) as error:
            return target, f"its zstd compression is damaged or cut short at about byte {packed.tell()}: {error}"
    return target, None


def _plain_pieces(packed: BinaryIO) -> Iterator[bytes]:
    decompressor = zstd.ZstdDecompressor()
    waiting = packed.read(_PIECE_BYTES)
    while waiting or not decompressor.eof:
        yield decompressor.decompress(waiting, _PIECE_BYTES)
        waiting = b""
        if decompressor.eof:
            waiting = decompressor.unused_data or packed.read(_PIECE_BYTES)
            if waiting:
                decompressor = zstd.ZstdDecompressor()
        elif decompressor.needs_input:
            waiting = packed.read(_PIECE_BYTES)
            if not waiting:
                raise EOFError("the end of the stream is missing")


def _decompress(data: bytes | memoryview, compression: str, limit: int) -> bytes:
    try:
        if compression == "zstd":
            unpacked: bytes = zstd.ZstdDecompressor().decompress(data, limit)
        else:
            unpacked = lz4.frame.LZ4FrameDecompressor().decompress(data, max_length=limit)
    except (zstd.ZstdError, RuntimeError, EOFError) as error:
        raise BagError(f"a chunk's {compression} compression is damaged: {error}") from error
    return unpacked
