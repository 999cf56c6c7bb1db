# SPDX-License-Identifier: Apache-2.0
"""CompressedPointCloud2 of zlib, zstd, Draco and Cloudini to the PointCloud2 that was compressed."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.config.settings import LidarConfig
from nucleus_bridge.decode.cdr import naming, peek_header
from nucleus_bridge.decode.cdr_reader import CdrReader, load_extra
from nucleus_bridge.decode.cloud_message import Layout, cloud_message
from nucleus_bridge.decode.cloudini import MAGIC, unpack_cloudini
from nucleus_bridge.decode.interface import Decoder, Interface, Stateless
from nucleus_bridge.decode.pointcloud2 import PointField, decode_sweep, dtype_from_fields
from nucleus_bridge.errors import CloudError
from nucleus_bridge.model import Message, Sweep

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

COMPRESSED_CLOUD = "point_cloud_interfaces/msg/CompressedPointCloud2"
MAX_CLOUD_BYTES = 1 << 28
"""No sweep comes near; bounds what a few bytes can claim to hold."""

_GZIP_OR_ZLIB = 47
_MOST_FIELDS = 1024
_DRACO_METADATA, _DEEPEST_METADATA = 0x8000, 8
_DRACO_MAGIC, _ZSTD_MAGIC = b"DRACO", b"\x28\xb5\x2f\xfd"
_FLOAT32, _FLOAT64 = 7, 8
_COLOURS = ("rgb", "rgba")
_KEPT_DOUBLES = ("x", "y", "z")


class Packed(NamedTuple):
    """A CompressedPointCloud2."""

    stamp_ns: int
    frame_id: str
    layout: Layout
    data: memoryview
    is_dense: bool
    format: str


def read_compressed(message: Message) -> Packed:
    """Read the message without unpacking its points.

    Raises:
        DecodeError: The bytes are not a message of that type.
    """
    reader = CdrReader(message)
    stamp_ns, frame_id = reader.header()
    height, width, count = reader.number("I"), reader.number("I"), reader.number("I")
    if count > _MOST_FIELDS:
        raise CloudError(f"it claims {count} fields, more than {_MOST_FIELDS}")
    fields = tuple(
        PointField(reader.text(), reader.number("I"), reader.number("B"), reader.number("I")) for _ in range(count)
    )
    is_bigendian = bool(reader.number("B"))
    layout = Layout(height, width, fields, is_bigendian, reader.number("I"), reader.number("I"))
    data = reader.octets()
    return Packed(stamp_ns, frame_id, layout, data, bool(reader.number("B")), reader.text())


def compressed_as_cloud(message: Message) -> Message:
    """Turn a CompressedPointCloud2 into the PointCloud2 that was compressed, in its own field layout.

    What the bytes say of themselves goes before ``format``, which some publishers leave empty. Draco's decoder gives
    64-bit floats back as 32-bit ones, which times of today do not survive: those fields are left out.

    Raises:
        CloudError: The data is damaged, or packed in a way that is not read (``unknown_encoding``).
        InputError: The library that the format needs is not installed.
        DecodeError: The bytes are not a message of that type.
    """
    with naming(message):
        packed = read_compressed(message)
        layout, data = _unpack(packed)
        return cloud_message(message, packed.stamp_ns, packed.frame_id, layout, data, is_dense=packed.is_dense)


def _unpack(packed: Packed) -> tuple[Layout, bytes]:
    begin = bytes(packed.data[:8])
    if begin.startswith(MAGIC[:8]):
        return _cloudini(packed)
    if begin.startswith(_DRACO_MAGIC):
        return _draco(packed)
    if begin.startswith(_ZSTD_MAGIC):
        return packed.layout, _zstd(packed.data)
    if packed.format == "zlib" or begin[:2] == b"\x1f\x8b":
        return packed.layout, _zlib(packed.data)
    raise CloudError(
        f"format {packed.format[:40]!r}, beginning with {begin.hex(' ') or 'nothing'}, is none of zlib, zstd, draco, "
        "cloudini",
        cause="unknown_encoding",
    )


def _zlib(data: memoryview) -> bytes:
    unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        unpacked = unpacker.decompress(data, MAX_CLOUD_BYTES)
    except zlib.error as error:
        raise CloudError(f"the zlib data cannot be unpacked: {error}") from error
    if not unpacker.eof:
        raise CloudError(f"the zlib data is cut, or holds more than {MAX_CLOUD_BYTES} bytes")
    return unpacked


def _zstd(data: memoryview) -> bytes:
    unpacker = zstd.ZstdDecompressor()
    try:
        unpacked: bytes = unpacker.decompress(data, max_length=MAX_CLOUD_BYTES)
    except zstd.ZstdError as error:
        raise CloudError(f"the zstd data cannot be unpacked: {error}") from error
    if not unpacker.eof:
        raise CloudError(f"the zstd data is cut, or holds more than {MAX_CLOUD_BYTES} bytes")
    return unpacked


def _cloudini(packed: Packed) -> tuple[Layout, bytes]:
    cloud = unpack_cloudini(packed.data, MAX_CLOUD_BYTES)
    if cloud.point_step != packed.layout.point_step:
        raise CloudError(f"point_step is {packed.layout.point_step} in the message and {cloud.point_step} in its data")
    return _in_a_row(packed.layout, len(cloud.data) // max(cloud.point_step, 1)), cloud.data


def _draco(packed: Packed) -> tuple[Layout, bytes]:
    library = load_extra("DracoPy", "draco", "reading Draco clouds")
    claimed, step = _draco_points(bytes(packed.data)), packed.layout.point_step
    if claimed * max(step, 1) > MAX_CLOUD_BYTES:
        raise CloudError(f"the Draco data claims {claimed} points of {step} bytes, more than {MAX_CLOUD_BYTES} bytes")
    try:
        attributes = library.decode(bytes(packed.data)).attributes
    except Exception as error:  # the library has several, by version
        raise CloudError(f"the Draco data cannot be unpacked: {error}") from error
    fields = packed.layout.fields
    if len(attributes) != len(fields):
        raise CloudError(f"the Draco data has {len(attributes)} attributes for {len(fields)} fields")
    columns = [np.asarray(attribute["data"]) for attribute in attributes]
    count = len(columns[0]) if columns else 0
    if any(len(column) != count for column in columns):
        raise CloudError("the Draco data has columns of different length")
    if count != claimed:
        raise CloudError(f"the Draco data holds {count} of {claimed} points")
    dtype_from_fields(fields, step, packed.layout.is_bigendian)  # checks them
    rows = np.zeros((count, step), np.uint8)
    for field, column in zip(fields, columns, strict=True):
        octets = _octets(field, column, ">" if packed.layout.is_bigendian else "<")
        rows[:, field.offset : field.offset + octets.shape[1]] = octets
    kept = tuple(field for field in fields if field.datatype != _FLOAT64 or field.name in _KEPT_DOUBLES)
    return _in_a_row(packed.layout._replace(fields=kept), count), rows.tobytes()


def _draco_points(data: bytes) -> int:
    """Read how many points there are, past the header and the metadata (Draco bitstream 2.2, 4 and 8)."""
    flags, at = int.from_bytes(data[9:11], "little"), 11

    def number() -> int:
        nonlocal at
        value, shift = 0, 0
        while at < len(data) and shift < 35:
            octet, at = data[at], at + 1
            value |= (octet & 0x7F) << shift
            shift += 7
            if octet < 0x80:
                return value
        raise CloudError("the Draco header is cut")

    def skip_metadata(depth: int) -> None:
        nonlocal at
        for _ in range(number()):
            at += 1 + int.from_bytes(data[at : at + 1], "little")
            size = number()  # moves on itself
            at += size
        for _ in range(number()):
            if depth > _DEEPEST_METADATA:
                raise CloudError("the Draco metadata does not end")
            at += 1 + int.from_bytes(data[at : at + 1], "little")
            skip_metadata(depth + 1)

    if flags & _DRACO_METADATA:
        for _ in range(number()):
            number()
            skip_metadata(0)
        skip_metadata(0)
    return int.from_bytes(data[at : at + 4], "little")


def _octets(field: PointField, column: NDArray[Any], order: str) -> NDArray[np.uint8]:
    """Return the bytes of one field of all points, shape (n, bytes a point)."""
    kind = dtype_from_fields((replace(field, offset=0, count=1),), 8, order == ">")[0]
    values = column.reshape(len(column), -1)
    if field.name in _COLOURS and values.dtype.itemsize * values.shape[1] == kind.itemsize and values.shape[1] > 1:
        return np.ascontiguousarray(values).view(np.uint8)
    if values.shape[1] != field.count:
        raise CloudError(f"the Draco data has {values.shape[1]} values a point for {field.name!r}, not {field.count}")
    if kind.kind in "ui":
        limits = np.iinfo(kind)
        if len(values) and not (limits.min <= values.min() and values.max() <= limits.max):
            raise CloudError(f"the Draco data has values of {field.name!r} that are not of type {kind.name}")
    return np.ascontiguousarray(values.astype(kind)).view(np.uint8).reshape(len(values), -1)


def _in_a_row(layout: Layout, count: int) -> Layout:
    """Return the layout of so many points; they lie in rows as before unless some were left out."""
    if count == layout.height * layout.width and layout.row_step == layout.width * layout.point_step:
        return layout
    return layout._replace(height=1, width=count, row_step=count * layout.point_step)


def decode_compressed(message: Message, config: LidarConfig) -> Sweep:
    """Read a CompressedPointCloud2; raises what ``compressed_as_cloud`` and ``decode_sweep`` raise."""
    return decode_sweep(compressed_as_cloud(message), config)


def _decoder(config: LidarConfig) -> Decoder:
    decode: Callable[[Message], Sweep] = lambda message: decode_compressed(message, config)  # noqa: E731
    return Stateless(decode)


INTERFACES = (Interface(COMPRESSED_CLOUD, "cloud", _decoder, is_sample=True, depth=50, peek=peek_header),)
