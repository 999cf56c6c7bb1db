# SPDX-License-Identifier: Apache-2.0
"""Put each topic's messages into the order of their header stamps, within a bounded window of log time."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from heapq import heappop, heappush

from rosbags.interfaces.typing import Fielddefs
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

from nucleus_bridge.clock_steps import StepWatch
from nucleus_bridge.model import Message

_SEPARATOR = "=" * 80 + "\n"
_HEADER = "std_msgs/msg/Header"
_FFMPEG_PACKET, _COMPRESSED_IMAGE = "ffmpeg_image_transport_msgs/msg/FFMPEGPacket", "sensor_msgs/msg/CompressedImage"
VIDEO_FORMATS = (b"h264", b"avc", b"h265", b"hevc", b"vp9", b"av1")
"""What a CompressedImage calls itself that is part of a video."""
_LITTLE, _BIG = struct.Struct("<iI"), struct.Struct(">iI")
_STAMP_END = 12


def header_stamp_ns(data: bytes) -> int | None:
    """Read ``header.stamp`` of a serialised message that starts with a std_msgs/Header; None if it is too short."""
    if len(data) < _STAMP_END:
        return None
    seconds, nanoseconds = (_LITTLE if data[1] & 1 else _BIG).unpack_from(data, 4)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def is_video(message: Message) -> bool:
    """Say whether a message that starts with a header is part of a video, whose order is that of decoding."""
    if message.type_name != _COMPRESSED_IMAGE:
        return message.type_name == _FFMPEG_PACKET
    word = "<I" if message.data[1:2] == b"\1" else ">I"
    try:
        (length,) = struct.unpack_from(word, message.data, _STAMP_END)
        start = _STAMP_END + 4 + length + -length % 4
        (length,) = struct.unpack_from(word, message.data, start)
    except struct.error:
        return False
    name = message.data[start + 4 : start + 4 + length]
    return bytes(name).rstrip(b"\0").partition(b";")[0].strip().lower() in VIDEO_FORMATS


@lru_cache(maxsize=256)
def starts_with_header(type_name: str, definition: str) -> bool:
    """Say whether a type's first field is a std_msgs/Header: one of ROS's own, else by its embedded definition."""
    try:
        fields = _fields(type_name, definition)
    except Exception:  # noqa: BLE001 - a definition that rosbags cannot read
        return False
    return bool(fields) and fields[0][1][1] == _HEADER


def _fields(type_name: str, definition: str) -> Fielddefs:
    for release in (Stores.ROS2_HUMBLE, Stores.LATEST):  # the first is loaded anyway, and what it knows begins alike
        standard = get_typestore(release).fielddefs
        if type_name in standard:
            return standard[type_name][1]
    for part in definition.split(_SEPARATOR):
        if part.startswith(f"IDL: {type_name}\n"):
            return get_types_from_idl(part.partition("\n")[2])[type_name][1]
    return get_types_from_msg(definition, type_name)[type_name][1]


class _Waiting:
    """The messages of one topic that wait: in the order of their stamps, but never across a step of their clock."""

    __slots__ = ("_heap", "_lap", "_watch")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, int, Message]] = []
        self._watch: StepWatch[tuple[int, int, Message]] = StepWatch()
        self._lap = 0

    def add(self, stamp_ns: int, number: int, message: Message) -> None:
        if stamp_ns <= 0 or self._watch.ascends(stamp_ns):
            heappush(self._heap, (self._lap, stamp_ns, number, message))
            return
        outcome = self._watch.take(stamp_ns, (stamp_ns, number, message))
        for waiting in outcome.before:
            heappush(self._heap, (self._lap, *waiting))
        if outcome.step is not None:
            self._lap += 1
        for waiting in outcome.after:
            heappush(self._heap, (self._lap, *waiting))

    def end(self) -> None:
        """Take what may be after a step of the clock for late: nothing more comes."""
        for waiting in self._watch.release():
            heappush(self._heap, (self._lap, *waiting))

    def pop(self) -> Message:
        if not self._heap:
            self.end()
        return heappop(self._heap)[3]


def by_stamp(
    messages: Iterable[Message], has_header: Callable[[Message], bool], *, window_ns: int, max_window_bytes: int
) -> Iterator[Message]:
    """Yield messages that come by log time so that each topic's are in the order of their header stamps.

    Each message keeps a place in the line by its log time. Once the newest log time is ``window_ns`` past it, or more
    than ``max_window_bytes`` wait, the place is taken by the message of its topic with the smallest stamp. Where its
    clock was set back (see ``StepWatch``), all before the step comes before all after it. Messages without a header
    come in log order. One that is later than the window comes late: nothing is dropped.
    """
    line: deque[tuple[int, str]] = deque()
    waiting: dict[str, _Waiting] = {}
    held_bytes = 0
    newest_ns: int | None = None

    def release() -> Message:
        _, topic = line.popleft()
        return waiting[topic].pop()

    for number, message in enumerate(messages):
        stamp_ns = header_stamp_ns(message.data) if has_header(message) else 0
        topic = waiting.get(message.topic)
        if topic is None:
            topic = waiting[message.topic] = _Waiting()
        topic.add(stamp_ns or 0, number, message)
        line.append((message.log_ns, message.topic))
        held_bytes += len(message.data)
        newest_ns = message.log_ns if newest_ns is None else max(newest_ns, message.log_ns)
        while line and (newest_ns - line[0][0] >= window_ns or held_bytes > max_window_bytes):
            released = release()
            held_bytes -= len(released.data)
            yield released
    for topic in waiting.values():
        topic.end()
    while line:
        yield release()
