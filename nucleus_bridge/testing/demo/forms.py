# SPDX-License-Identifier: Apache-2.0
"""The drive as vehicles really record it: Livox messages, packed clouds, video streams, ROS 1 bags."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from nucleus_bridge.errors import InputError
from nucleus_bridge.testing.demo.draco import draco
from nucleus_bridge.testing.demo.layouts import DATATYPES
from nucleus_bridge.testing.demo.messages import CLOUD, TF, TYPESTORE

CUSTOM_MSG = "livox_ros_driver2/msg/CustomMsg"
COMPRESSED_CLOUD = "point_cloud_interfaces/msg/CompressedPointCloud2"
COMPRESSED_VIDEO = "foxglove_msgs/msg/CompressedVideo"
KEY_EVERY = 10

_SEPARATOR = "=" * 80
_DEFINITIONS = {
    CUSTOM_MSG: "std_msgs/Header header\nuint64 timebase\nuint32 point_num\nuint8 lidar_id\nuint8[3] rsvd\n"
    f"CustomPoint[] points\n{_SEPARATOR}\nMSG: livox_ros_driver2/CustomPoint\nuint32 offset_time\nfloat32 x\n"
    "float32 y\nfloat32 z\nuint8 reflectivity\nuint8 tag\nuint8 line\n",
    COMPRESSED_CLOUD: "std_msgs/Header header\nuint32 height\nuint32 width\nsensor_msgs/PointField[] fields\n"
    "bool is_bigendian\nuint32 point_step\nuint32 row_step\nuint8[] compressed_data\nbool is_dense\nstring format\n",
    COMPRESSED_VIDEO: "builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format\n",
}
for _name, _text in _DEFINITIONS.items():
    TYPESTORE.register(get_types_from_msg(_text, _name))

_ENCODERS: dict[str, tuple[str, dict[str, str]]] = {
    "h264": ("libx264", {"preset": "veryfast", "tune": "zerolatency", "crf": "18"}),
    "h265": (
        "libx265",
        {
            "preset": "veryfast",
            "tune": "zerolatency",
            "crf": "18",
            "x265-params": f"log-level=none:repeat-headers=1:scenecut=0:keyint={KEY_EVERY}:min-keyint={KEY_EVERY}",
        },
    ),
}


def custom_message(stamp_ns: int, frame_id: str, points: NDArray[np.void]) -> bytes:
    """Return a CustomMsg of points in the layout ``livox-custommsg``, shape (1, n)."""
    frame = frame_id.encode() + b"\0"
    out = struct.pack("<iII", *divmod(stamp_ns, 10**9), len(frame)) + frame
    out += bytes(-len(out) % 8)
    out += struct.pack("<QIB3x", stamp_ns, points.size, 192) + struct.pack("<I", points.size)
    return b"\0\1\0\0" + out + points.tobytes()[:-1]  # the last point has no padding


def packed_cloud(cloud: bytes, kind: str) -> bytes:
    """Return a PointCloud2 as a CompressedPointCloud2 of ``zlib``, ``zstd`` or ``draco``.

    Draco's is a list of the points that are anywhere, as its plug-in makes it.

    Raises:
        InputError: The library that the kind needs is not installed.
    """
    raw: Any = TYPESTORE.deserialize_cdr(cloud, CLOUD)
    height, width, is_dense = raw.height, raw.width, raw.is_dense
    if kind == "draco":
        points = _points(raw)
        there = np.isfinite([points[axis] for axis in "xyz"]).all(axis=0)
        data = draco(points if is_dense else points[there])
        height, width, is_dense = 1, points.size if is_dense else np.count_nonzero(there), True
    else:
        data = {"zlib": _gzip, "zstd": _zstd}[kind](raw.data.tobytes())
    make = TYPESTORE.types[COMPRESSED_CLOUD]
    content = make(
        header=raw.header,
        height=height,
        width=width,
        fields=raw.fields,
        is_bigendian=raw.is_bigendian,
        point_step=raw.point_step,
        row_step=width * raw.point_step,
        compressed_data=np.frombuffer(data, np.uint8),
        is_dense=is_dense,
        format=kind,
    )
    return bytes(TYPESTORE.serialize_cdr(content, COMPRESSED_CLOUD))


def _points(raw: Any) -> NDArray[np.void]:  # noqa: ANN401 - a PointCloud2
    kinds = {number: kind for kind, number in DATATYPES.items()}
    names, formats, offsets = zip(
        *((field.name, "<" + kinds[field.datatype], field.offset) for field in raw.fields), strict=True
    )
    layout = {"names": names, "formats": formats, "offsets": offsets, "itemsize": raw.point_step}
    points: NDArray[np.void] = raw.data.view(np.dtype(layout))  # type: ignore[call-overload]
    return points


def _gzip(data: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    return packer.compress(data) + packer.flush()


def _zstd(data: bytes) -> bytes:
    try:
        library = import_module("compression.zstd")
    except ImportError:
        library = import_module("backports.zstd")
    return bytes(library.compress(data))


class Video:
    """Encodes the images of one camera, each to one CompressedVideo, with a key picture every ``KEY_EVERY``."""

    def __init__(self, codec: str, frame_id: str, pixels: Callable[[int], NDArray[np.uint8]]) -> None:
        """Prepare the encoder.

        Raises:
            InputError: The library is not installed.
        """
        try:
            self._av: Any = import_module("av")
        except ImportError:
            raise InputError(
                f"a camera of {codec} needs the Python package av: pip install 'nucleus-bridge[video]'"
            ) from None
        self._codec, self._frame_id, self._pixels = codec, frame_id, pixels
        self._encoder: Any = None
        self._next = 0

    def message(self, index: int, stamp_ns: int) -> bytes:
        """Return image ``index``; they must be asked for in order.

        Raises:
            ValueError: Another one is next.
        """
        if index != self._next:
            raise ValueError(index)
        self._next += 1
        picture = self._pixels(index)
        if self._encoder is None:
            self._encoder = self._opened(picture.shape[1], picture.shape[0])
        frame = self._av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts = index
        (packet,) = self._encoder.encode(frame)
        make = TYPESTORE.types[COMPRESSED_VIDEO]
        stamp = TYPESTORE.types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
        data = np.frombuffer(bytes(packet), np.uint8)
        content = make(timestamp=stamp, frame_id=self._frame_id, data=data, format=self._codec)
        return bytes(TYPESTORE.serialize_cdr(content, COMPRESSED_VIDEO))

    def _opened(self, width: int, height: int) -> Any:  # noqa: ANN401 - a library without types
        name, options = _ENCODERS[self._codec]
        encoder = self._av.CodecContext.create(name, "w")
        encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
        encoder.time_base, encoder.gop_size, encoder.max_b_frames = Fraction(1, 10), KEY_EVERY, 0
        encoder.options = options
        return encoder


class Ros1Writer:
    """Writes CDR messages as a ROS 1 bag."""

    def __init__(self, path: Path) -> None:
        """Prepare the bag ``path``."""
        from rosbags.rosbag1 import Writer  # noqa: PLC0415 - only for this form

        self._types = get_typestore(Stores.ROS1_NOETIC)
        self._types.register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms\n", TF))
        for name, text in _DEFINITIONS.items():
            self._types.register(get_types_from_msg(text, name))
        self._writer = Writer(path)

    def __enter__(self) -> Ros1Writer:  # noqa: PYI034 - Self came with Python 3.11
        """Open the bag."""
        self._writer.open()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the bag."""
        self._writer.close()

    def add(self, topic: str, type_name: str, *, is_latched: bool) -> Callable[[int, bytes], None]:
        """Add a topic; return what writes its messages, given log time and CDR bytes."""
        connection = self._writer.add_connection(topic, type_name, typestore=self._types, latching=int(is_latched))

        def write(log_ns: int, data: bytes) -> None:
            self._writer.write(connection, log_ns, TYPESTORE.cdr_to_ros1(data, type_name))

        return write
