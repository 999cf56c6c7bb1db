# SPDX-License-Identifier: Apache-2.0
"""Protocol buffers' wire format: fields to bytes, and bytes to the places of their fields.

Source of the rules: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nucleus_bridge.errors import SceneError

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5

_FIXED_BYTES = {FIXED64: 8, FIXED32: 4}
_LARGEST_VARINT_BYTES = 10
_LARGEST_FIELD = 2**29 - 1
_LARGEST_ONE_BYTE = 0x7F


@dataclass(frozen=True)
class WireField:
    """Where a field of a message lies.

    Attributes:
        number: The field's number in the message.
        wire_type: One of ``VARINT``, ``FIXED64``, ``LENGTH_DELIMITED`` and ``FIXED32``.
        start: Where its tag begins.
        content: Where its value begins, behind tag and length.
        stop: Where the next field begins.
    """

    number: int
    wire_type: int
    start: int
    content: int
    stop: int


def varint(value: int) -> bytes:
    """Write an integer from -2**63 to 2**64 - 1; negative ones as int32 and int64 are written."""
    rest = value & (2**64 - 1)
    written = bytearray()
    while rest > _LARGEST_ONE_BYTE:
        written.append(rest & _LARGEST_ONE_BYTE | 0x80)
        rest >>= 7
    written.append(rest)
    return bytes(written)


def tag(number: int, wire_type: int) -> bytes:
    """Write what stands before a field's value."""
    return varint(number << 3 | wire_type)


def integer_field(number: int, value: int) -> bytes:
    """Write an int32, uint32 or bool field."""
    return tag(number, VARINT) + varint(value)


def float_field(number: int, value: float) -> bytes:
    """Write a float field: 32 bits, rounded half to even."""
    return tag(number, FIXED32) + struct.pack("<f", value)


def double_field(number: int, value: float) -> bytes:
    """Write a double field: 64 bits."""
    return tag(number, FIXED64) + struct.pack("<d", value)


def content_field(number: int, *content: bytes) -> bytes:
    """Write a string, bytes or message field; a message is given by its fields."""
    joined = b"".join(content)
    return tag(number, LENGTH_DELIMITED) + varint(len(joined)) + joined


def fields(data: bytes | memoryview, start: int = 0, stop: int | None = None) -> Iterator[WireField]:
    """Find the fields of a message without looking into their values.

    Raises:
        SceneError: It is not a message, or cut off.
    """
    end = len(data) if stop is None else stop
    while start < end:
        key, content = read_varint(data, start, end)
        number, wire_type = key >> 3, key & 7
        if not 1 <= number <= _LARGEST_FIELD:
            raise SceneError(f"is not a protobuf message: there is no field {number} (byte {start})")
        if wire_type == VARINT:
            _, behind = read_varint(data, content, end)
        elif wire_type == LENGTH_DELIMITED:
            length, content = read_varint(data, content, end)
            behind = content + length
        elif wire_type in _FIXED_BYTES:
            behind = content + _FIXED_BYTES[wire_type]
        else:
            raise SceneError(f"is not a protobuf message: wire type {wire_type} of field {number} (byte {start})")
        if behind > end:
            raise SceneError(f"is cut off: field {number} (byte {start}) ends {behind - end} bytes behind the end")
        yield WireField(number, wire_type, start, content, behind)
        start = behind


def read_varint(data: bytes | memoryview, start: int, stop: int) -> tuple[int, int]:
    """Read an integer; returns it and where it ends.

    Raises:
        SceneError: It is cut off, or longer than any integer.
    """
    value = 0
    for place in range(_LARGEST_VARINT_BYTES):
        if start + place >= stop:
            raise SceneError(f"is cut off at byte {stop}")
        byte = data[start + place]
        value |= (byte & _LARGEST_ONE_BYTE) << 7 * place
        if byte <= _LARGEST_ONE_BYTE:
            return value & (2**64 - 1), start + place + 1
    raise SceneError(f"is not a protobuf message: the integer at byte {start} has no end")


def equal_records(data: bytes | memoryview, first: WireField) -> int:
    """Count the fields of the same number and length, ``first`` included, that lie one behind the other.

    A look at the head of each, all at once: hundreds of thousands of points are one step.
    """
    length, head = first.stop - first.start, first.content - first.start
    count = (len(data) - first.start) // length
    rows = np.frombuffer(data, np.uint8, count * length, first.start).reshape(count, length)
    same = (rows[:, :head] == rows[0, :head]).all(axis=1)
    return count if same.all() else int(np.argmin(same))
