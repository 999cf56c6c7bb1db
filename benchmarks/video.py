# SPDX-License-Identifier: Apache-2.0
"""Measure what a video costs beside a bare loop with the same library.

    python -m benchmarks.video

One H.264 stream of 1920 x 1080 at 30 Hz, of which every third picture becomes a JPEG file, by the decoder of this
package and by a loop that has PyAV decode and OpenCV encode, one thread each; in alternating turns, CPU time. Memory is
the growth of the process from the first tenth of the stream to its end.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from rosbags.typesys import get_types_from_msg

from nucleus_bridge.decode.image import image_file
from nucleus_bridge.decode.video import COMPRESSED_VIDEO, VideoDecoder
from nucleus_bridge.errors import DecodeError
from nucleus_bridge.model import Image, Message
from nucleus_bridge.testing.demo.messages import TYPESTORE

WIDTH, HEIGHT, RATE_HZ, USED_HZ, QUALITY = 1920, 1080, 30, 10, 90
START_NS, PERIOD_NS = 1_700_000_000_000_000_000, 33_333_333
BAR = 1.2
TYPESTORE.register(
    get_types_from_msg(
        "builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format\n", COMPRESSED_VIDEO
    )
)


def packets_of(pictures: int) -> list[bytes]:
    """Encode a textured wall that passes by."""
    noise = np.random.default_rng(1).integers(0, 255, (HEIGHT, WIDTH + 4 * pictures, 3), dtype=np.uint8)
    blurred = cv2.GaussianBlur(noise, (31, 31), 0).astype(np.float32)
    low, high = float(blurred.min()), float(blurred.max())
    wall = ((blurred - low) * (255.0 / (high - low))).astype(np.uint8)
    encoder: Any = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    encoder.time_base, encoder.framerate, encoder.gop_size = Fraction(1, RATE_HZ), RATE_HZ, RATE_HZ
    encoder.options = {"preset": "veryfast", "tune": "zerolatency", "crf": "20"}
    found = []
    for number in range(pictures):
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(wall[:, 4 * number : 4 * number + WIDTH]), "bgr24")
        picture.pts = number
        found += [bytes(packet) for packet in encoder.encode(picture)]
    return [*found, *(bytes(packet) for packet in encoder.encode(None))]


def messages_of(packets: Sequence[bytes]) -> list[Message]:
    """Put packets into messages."""
    kinds = TYPESTORE.types
    messages = []
    for number, packet in enumerate(packets):
        stamp_ns = START_NS + number * PERIOD_NS
        time_of = kinds["builtin_interfaces/msg/Time"](stamp_ns // 10**9, stamp_ns % 10**9)
        made = kinds[COMPRESSED_VIDEO](time_of, "camera", np.frombuffer(packet, np.uint8), "h264")
        messages.append(
            Message("/video", COMPRESSED_VIDEO, stamp_ns, bytes(TYPESTORE.serialize_cdr(made, COMPRESSED_VIDEO)))
        )
    return messages


def bare(packets: Sequence[bytes]) -> list[int]:
    """Decode, convert and encode, and nothing else; return the sizes of the files."""
    context = av.CodecContext.create("h264", "r")
    context.thread_count = 1
    files, number = [], 0
    for packet in packets:
        for frame in context.decode(av.Packet(packet)):
            if number % (RATE_HZ // USED_HZ) == 0:
                pixels = frame.to_ndarray(format="bgr24")
                files.append(len(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()))
            number += 1
    return files


def ours(messages: Sequence[Message]) -> list[int]:
    """Decode as ``convert`` does, and make the files of the pictures that are used; return their sizes."""
    decoder, files, number = VideoDecoder(), [], 0
    for message in messages:
        for image in decoder.decode(message):
            if isinstance(image, DecodeError) or not isinstance(image, Image):
                raise TypeError(image)
            if number % (RATE_HZ // USED_HZ) == 0:
                files.append(len(bytes(image_file(image, "jpeg", QUALITY)[0])))
            number += 1
    return files


def seconds(run: Callable[[], list[int]]) -> float:
    """Return the CPU time of a run."""
    start = time.process_time()
    run()
    return time.process_time() - start


def own_mb() -> float:
    """Return the memory that this process has."""
    rows = Path("/proc/self/status").read_text().splitlines()
    return next(int(row.split()[1]) / 1024 for row in rows if row.startswith("RssAnon"))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    packets = packets_of(round(options.seconds * RATE_HZ))
    messages = messages_of(packets)
    if len(bare(packets)) != len(ours(messages[: len(messages) // 10])) * 10 and options.seconds % 1 == 0:
        sys.exit("the two ways do not make the same pictures")
    before = own_mb()
    ours(messages)
    grown = own_mb() - before
    pairs = [(seconds(lambda: ours(messages)), seconds(lambda: bare(packets))) for _ in range(options.turns)]
    best = min(own for own, _ in pairs), min(other for _, other in pairs)
    ratios = sorted(own / other for own, other in pairs)
    print(f"{len(packets)} pictures, {len(packets) * USED_HZ // RATE_HZ} used: {best[0]:.2f} s, bare {best[1]:.2f} s")
    print(f"ratio {best[0] / best[1]:.3f} (bar {BAR}), pairs {', '.join(f'{ratio:.3f}' for ratio in ratios)}")
    print(f"of one core, live: {best[0] / options.seconds:.1%}; memory grew by {grown:.1f} MB")


if __name__ == "__main__":
    main()
