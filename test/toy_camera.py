# SPDX-License-Identifier: Apache-2.0
"""A camera of a made-up type: key frames, and deltas that are worthless without all messages since the key frame."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from bags import TYPES, Recording, header, recording
from rosbags.typesys import get_types_from_msg

from nucleus_bridge.decode.cdr import deserialise, register, to_ns
from nucleus_bridge.decode.interface import Interface, Reset
from nucleus_bridge.errors import DecodeError
from nucleus_bridge.model import Image, Message

TYPE = "toy_msgs/msg/Frames"
DEFINITION = "std_msgs/Header header\nbool is_key\nuint8[] pictures\n"
"""A message holds any number of pictures, one byte each: grey, or what is added to the grey of the picture before."""
WIDTH, HEIGHT = 64, 48
MS = 1_000_000

TYPES.register(get_types_from_msg(DEFINITION, TYPE))


class Greys:
    """Keeps the last picture; a message's pictures follow each other by ten milliseconds, the last has its stamp."""

    def __init__(self, _camera: object) -> None:
        register(TYPE, DEFINITION)
        self._grey: int | None = None

    def decode(self, message: Message) -> Iterable[Image]:
        try:
            content = deserialise(message, TYPE)
        except DecodeError:
            self._grey = None
            raise
        if content.is_key:
            self._grey = 0
        if self._grey is None:
            raise DecodeError("the key frame before is missing", cause="broken_gop")
        for left, value in zip(range(len(content.pictures) - 1, -1, -1), content.pictures.tolist(), strict=True):
            self._grey = (self._grey + value) % 256
            pixels = np.full(WIDTH * HEIGHT, self._grey, np.uint8)
            stamp_ns = to_ns(content.header.stamp) - left * 10 * MS
            yield Image(stamp_ns, content.header.frame_id, WIDTH, HEIGHT, "mono8", pixels, WIDTH)

    def reset(self, why: Reset) -> Iterable[Image]:
        del why
        self._grey = None
        return ()

    def flush(self) -> Iterable[Image]:
        return ()


def is_key(message: Message) -> bool:
    register(TYPE, DEFINITION)
    return bool(deserialise(message, TYPE).is_key)


INTERFACE = Interface(TYPE, "image", Greys, is_sample=True, is_start=is_key)


def frames(stamp_ns: int, pictures: list[int], *, key: bool) -> Any:
    return TYPES.types[TYPE](header(stamp_ns, "camera"), key, np.array(pictures, np.uint8))


def toy_recording(count: int, key_every: int = 4) -> Recording:
    """``recording``, whose images come as toy messages: grey 100 at each key frame and 3 more with each delta."""
    made = recording(frames=count)
    rows = [row for row in made.rows if row[1] == "/image"]
    toy = made.without("/image")
    for number, (log_ns, topic, type_name, data) in enumerate(rows):
        stamp_ns = to_ns(TYPES.deserialize_cdr(data, type_name).header.stamp)
        key = number % key_every == 0
        toy.add(topic, frames(stamp_ns, [100 if key else 3], key=key), log_ns)
    return toy


def expected_grey(number: int, key_every: int = 4) -> int:
    return 100 + 3 * (number % key_every)
