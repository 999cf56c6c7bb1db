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

from nucleus_bridge.model import Message

_SEPARATOR = "=" * 80 + "\n"
_HEADER = "std_msgs/msg/Header"
_LITTLE, _BIG = struct.Struct("<iI"), struct.Struct(">iI")
_STAMP_END = 12


def header_stamp_ns(data: bytes) -> int | None:
    """Read ``header.stamp`` of a serialised message that starts with a std_msgs/Header; None if it is too short."""
    if len(data) < _STAMP_END:
        return None
    seconds, nanoseconds = (_LITTLE if data[1] & 1 else _BIG).unpack_from(data, 4)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


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


def by_stamp(
    messages: Iterable[Message], has_header: Callable[[Message], bool], *, window_ns: int, max_window_bytes: int
) -> Iterator[Message]:
    """Yield messages that come by log time so that each topic's are in the order of their header stamps.

    Each message keeps a place in the line by its log time. Once the newest log time is ``window_ns`` past it, or more
    than ``max_window_bytes`` wait, the place is taken by the message of its topic with the smallest stamp. Messages
    without a header come in log order. One that is later than the window comes late: nothing is dropped.
    """
    line: deque[tuple[int, str]] = deque()
    waiting: dict[str, list[tuple[int, int, Message]]] = {}
    held_bytes = 0
    newest_ns: int | None = None

    def release() -> Message:
        _, topic = line.popleft()
        return heappop(waiting[topic])[2]

    for number, message in enumerate(messages):
        stamp_ns = header_stamp_ns(message.data) if has_header(message) else 0
        heappush(waiting.setdefault(message.topic, []), (stamp_ns or 0, number, message))
        line.append((message.log_ns, message.topic))
        held_bytes += len(message.data)
        newest_ns = message.log_ns if newest_ns is None else max(newest_ns, message.log_ns)
        while line and (newest_ns - line[0][0] >= window_ns or held_bytes > max_window_bytes):
            released = release()
            held_bytes -= len(released.data)
            yield released
    while line:
        yield release()
