# SPDX-License-Identifier: Apache-2.0
"""Pictures that move, encoded by real encoders, and how far a decoded picture is from its original."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import lru_cache

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags.typesys import get_types_from_msg
from serialised import STORE, header

from nucleus_bridge.decode.video import COMPRESSED_IMAGE, COMPRESSED_VIDEO, FFMPEG_PACKET
from nucleus_bridge.model import Message

WIDTH, HEIGHT, PICTURES, GOP = 320, 240, 30, 10
START_NS, PERIOD_NS = 1_700_000_000_000_000_000, 33_333_333
ENCODERS = {
    "h264": ("libx264", {"tune": "zerolatency", "preset": "fast", "crf": "20"}),
    "hevc": (
        "libx265",
        {
            "tune": "zerolatency",
            "preset": "fast",
            "crf": "20",
            "x265-params": f"log-level=none:keyint={GOP}:min-keyint={GOP}:repeat-headers=1:scenecut=0",
        },
    ),
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "lag-in-frames": "0", "crf": "12", "b": "0"}),
    "av1": ("libsvtav1", {"preset": "10", "crf": "20", "svtav1-params": "pred-struct=1"}),
}
DEFINITIONS = {
    COMPRESSED_VIDEO: "builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format\n",
    FFMPEG_PACKET: "std_msgs/Header header\nint32 width\nint32 height\nstring encoding\nuint64 pts\nuint8 flags\n"
    "bool is_bigendian\nuint8[] data\n",
}
for _name, _text in DEFINITIONS.items():
    STORE.register(get_types_from_msg(_text, _name))


@lru_cache(maxsize=1)
def originals() -> list[NDArray[np.uint8]]:
    """Return pictures of a pattern that moves by 5 pixels each time, shape (height, width, 3) in B, G, R."""
    noise = np.random.default_rng(1).integers(0, 255, (HEIGHT, WIDTH + 5 * PICTURES, 3), dtype=np.uint8)
    pattern = cv2.normalize(cv2.GaussianBlur(noise, (15, 15), 0), None, 0, 255, cv2.NORM_MINMAX)
    return [np.ascontiguousarray(pattern[:, 5 * n : 5 * n + WIDTH]) for n in range(PICTURES)]


@contextmanager
def ordinary_priority() -> Iterator[None]:
    """Undo what an encoder does to the thread that calls it: as root, SVT-AV1 gives it real-time priority for good.

    Whatever it starts later inherits that, browsers as well, and starves everything else.
    """
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, priority)


@lru_cache(maxsize=16)
def encoded(codec: str, b_pictures: int = 0, **options: str) -> list[tuple[int, bytes]]:
    """Return number of the picture and bytes of each packet, in the order of the encoder."""
    encoder, wanted = ENCODERS[codec]
    with ordinary_priority():
        context = av.CodecContext.create(encoder, "w")
        context.width, context.height, context.pix_fmt = WIDTH, HEIGHT, options.pop("pix_fmt", "yuv420p")
        context.time_base, context.framerate = Fraction(1, 30), 30
        context.gop_size, context.max_b_frames = GOP, b_pictures
        chosen = {**wanted, **options}
        if b_pictures:
            chosen.pop("tune", None)
        context.options = chosen
        packets = []
        for number, picture in enumerate(originals()):
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts = number
            packets += context.encode(frame)
        packets += context.encode(None)
    return [(packet.pts, bytes(packet)) for packet in packets]


def stamp_ns(number: int) -> int:
    return START_NS + number * PERIOD_NS


def compressed_video(data: bytes, codec: str, at_ns: int) -> Message:
    name = "h265" if codec == "hevc" else codec
    kind, time = STORE.types[COMPRESSED_VIDEO], header(at_ns).stamp
    content = kind(timestamp=time, frame_id="cam", data=np.frombuffer(data, np.uint8), format=name)
    return _message(content, COMPRESSED_VIDEO, at_ns)


def ffmpeg_packet(data: bytes, encoding: str, at_ns: int, pts: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Message:
    content = STORE.types[FFMPEG_PACKET](
        header=header(at_ns, "cam"),
        width=size[0],
        height=size[1],
        encoding=encoding,
        pts=pts,
        flags=0,
        is_bigendian=False,
        data=np.frombuffer(data, np.uint8),
    )
    return _message(content, FFMPEG_PACKET, at_ns)


def compressed_image(data: bytes, fmt: str, at_ns: int) -> Message:
    content = STORE.types[COMPRESSED_IMAGE](header=header(at_ns, "cam"), format=fmt, data=np.frombuffer(data, np.uint8))
    return _message(content, COMPRESSED_IMAGE, at_ns)


def _message(content: object, type_name: str, at_ns: int) -> Message:
    return Message("/cam", type_name, at_ns + 5_000_000, bytes(STORE.serialize_cdr(content, type_name)))


def psnr(picture: NDArray[np.uint8], original: NDArray[np.uint8]) -> float:
    """Return the peak signal-to-noise ratio in dB."""
    return float(cv2.PSNR(picture, original))
