# SPDX-License-Identifier: Apache-2.0
"""Fuzzed: the decoders that keep state, each between messages that are good."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from harness import Target
from videos import compressed_video, encoded, ffmpeg_packet, stamp_ns

from nucleus_bridge.decode.image import pixels
from nucleus_bridge.decode.interface import Decoder
from nucleus_bridge.decode.video import VideoDecoder
from nucleus_bridge.errors import DecodeError
from nucleus_bridge.model import Message


def between(
    make: Callable[[], Decoder], before: Sequence[Message], use: Callable[[Any], object]
) -> Callable[[bytes], None]:
    """Return a use of bytes as a message that follows good ones, and is followed by the first of them again."""

    def run(data: bytes) -> None:
        decoder = make()
        for message in before:
            _use_all(decoder.decode(message), use)
        try:
            _use_all(decoder.decode(replace(before[-1], data=data)), use)
        finally:
            for message in before[:1]:
                try:
                    _use_all(decoder.decode(message), use)
                except DecodeError:
                    continue
            _use_all(decoder.flush(), use)

    return run


def _use_all(samples: Any, use: Callable[[Any], object]) -> None:
    for sample in samples:
        if not isinstance(sample, DecodeError):
            use(sample)


def video_target(name: str, messages: list[Message]) -> Target:
    run = between(VideoDecoder, messages[:1], pixels)
    return Target(name, run, lambda: [message.data for message in messages], (DecodeError,))


def _stream(codec: str) -> list[Message]:
    return [compressed_video(data, codec, stamp_ns(number)) for number, data in encoded(codec)[:2]]


TARGETS = [
    video_target("video_h264", _stream("h264")),
    video_target("video_hevc", _stream("hevc")),
    video_target("video_vp9", _stream("vp9")),
    video_target(
        "ffmpeg_packet",
        [ffmpeg_packet(data, "libx264", stamp_ns(number), number) for number, data in encoded("h264")[:2]],
    ),
]
