# SPDX-License-Identifier: Apache-2.0
"""CompressedPointCloud2 of zlib, zstd, Draco and Cloudini to the PointCloud2 that was compressed."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from typing import NamedTuple

from nucleus_bridge.config.settings import LidarConfig
from nucleus_bridge.decode.cdr import naming, peek_header
from nucleus_bridge.decode.cdr_reader import CdrReader
from nucleus_bridge.decode.cloud_message import Layout, cloud_message
from nucleus_bridge.decode.cloudini import MAGIC, unpack_cloudini
from nucleus_bridge.decode.draco import DRACO_MAGIC, unpack_draco
from nucleus_bridge.decode.interface import Decoder, Interface, Stateless
from nucleus_bridge.decode.pointcloud2 import PointField, decode_sweep
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
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


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

    What the bytes say of themselves goes before ``format``, which some publishers leave empty.

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
    if begin.startswith(DRACO_MAGIC):
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
    layout = packed.layout
    cloud = unpack_draco(
        bytes(packed.data),
        layout.fields,
        layout.point_step,
        is_bigendian=layout.is_bigendian,
        most_bytes=MAX_CLOUD_BYTES,
    )
    return _in_a_row(layout._replace(fields=cloud.fields), cloud.points), cloud.data


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
