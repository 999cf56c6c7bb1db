# SPDX-License-Identifier: Apache-2.0
"""CDR bytes to message objects, with every kind of damage turned into one exception."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from nucleus_bridge.errors import DecodeError
from nucleus_bridge.model import Message

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

_ENCAPSULATIONS: dict[bytes, Literal["<", ">"]] = {b"\x00\x00": ">", b"\x00\x01": "<"}
_HEADER_BYTES = 4 + 4 + 4 + 4
_NS_PER_S = 1_000_000_000
STRING = "std_msgs/msg/String"
"""Holds metadata of lidars and robot descriptions."""


@lru_cache(maxsize=1)
def _types() -> Typestore:
    """Return the message types that are known; loaded when first needed, since processes that render need none."""
    from rosbags.typesys import Stores, get_typestore  # noqa: PLC0415

    # The messages read here have not changed since Humble, and every version of rosbags knows that one.
    return get_typestore(Stores.ROS2_HUMBLE)


def known_types() -> Typestore:
    """Return every message type that is known to this process."""
    return _types()


def register(type_name: str, definition: str) -> None:
    """Make a message type known that is not among the standard ones.

    Types are known to this process only. Registering the same definition again changes nothing.

    Args:
        type_name: Interface name such as ``radar_msgs/msg/RadarScan``.
        definition: Text of the .msg file; the definitions it needs may follow as bags embed them
            (a line of ``=``, then ``MSG: package/Name``).

    Raises:
        DecodeError: The text cannot be read, or contradicts what is known; cause ``bad_definition``.
    """
    from rosbags.typesys import get_types_from_msg  # noqa: PLC0415

    try:
        _types().register(get_types_from_msg(definition, type_name))
    except Exception as error:  # the parser has no common base class for what it raises
        msg = f"the definition of {type_name} cannot be used: {error}"
        raise DecodeError(msg, cause="bad_definition") from error


def deserialise(message: Message, *expected: str) -> Any:
    """Read a message; arrays are views of ``message.data`` wherever the byte order allows.

    Args:
        message: The serialised message.
        expected: Acceptable types; any known type when none is given.

    Returns:
        An object with the fields of the interface as attributes.

    Raises:
        DecodeError: Damaged bytes (cause ``damaged``), a type nobody registered (``unknown_type``), or one that was not
            expected (``wrong_type``).
    """
    if expected and message.type_name not in expected:
        msg = f"{message.topic} carries {message.type_name}, expected {' or '.join(expected)}"
        raise DecodeError(msg, cause="wrong_type")
    types = _types()
    if message.type_name not in types.types:
        msg = f"{message.topic} carries {message.type_name}, whose definition is not known"
        raise DecodeError(msg, cause="unknown_type")
    try:
        byte_order(message.data)
        return types.deserialize_cdr(memoryview(message.data), message.type_name)
    except Exception as error:  # damage surfaces as many types, by library version
        msg = f"{message.type_name} on {message.topic}, {_moment(message)}, is damaged: {error}"
        raise DecodeError(msg) from error


def peek_header(data: bytes) -> tuple[int, str]:
    """Read the stamp and the frame id of a message that begins with ``std_msgs/msg/Header``.

    Returns:
        ``header.stamp`` in nanoseconds, and ``header.frame_id`` without leading slashes.

    Raises:
        DecodeError: The bytes are too short or are not CDR.
    """
    order = byte_order(data)
    if len(data) < _HEADER_BYTES:
        msg = f"too short for a header: {len(data)} of at least {_HEADER_BYTES} bytes"
        raise DecodeError(msg)
    sec, nanosec, length = struct.unpack_from(f"{order}iII", data, 4)
    if length > len(data) - _HEADER_BYTES:
        msg = f"too short for a header: a frame id of {length} bytes in a message of {len(data)}"
        raise DecodeError(msg)
    name = bytes(data[_HEADER_BYTES : _HEADER_BYTES + max(length - 1, 0)])
    try:
        return sec * _NS_PER_S + nanosec, strip_slashes(name.decode())
    except UnicodeDecodeError as error:
        msg = f"the frame id {name[:40]!r} is not UTF-8"
        raise DecodeError(msg) from error


def with_stamp(data: bytes, stamp_ns: int) -> bytes:
    """Return a message that begins with ``std_msgs/msg/Header`` with another ``header.stamp``.

    Raises:
        DecodeError: The bytes are not CDR, or the stamp does not fit.
    """
    sec, nanosec = divmod(stamp_ns, _NS_PER_S)
    try:
        return data[:4] + struct.pack(f"{byte_order(data)}iI", sec, nanosec) + data[12:]
    except struct.error as error:
        raise DecodeError(f"a stamp of {stamp_ns} ns does not fit a header: {error}") from None


def byte_order(data: bytes) -> Literal["<", ">"]:
    """Return the byte order of a CDR message as ``struct`` writes it.

    Raises:
        DecodeError: The bytes begin with no encapsulation header of plain CDR.
    """
    order = _ENCAPSULATIONS.get(bytes(data[:2]))
    if order is None:
        msg = f"no plain CDR: the {len(data)} bytes begin with {bytes(data[:4]).hex() or 'nothing'}"
        raise DecodeError(msg)
    return order


def strip_slashes(frame_id: str) -> str:
    """Remove leading slashes, which tf2 frame ids never have."""
    return frame_id.lstrip("/")


def to_ns(stamp: Any) -> int:
    """Turn ``builtin_interfaces/msg/Time`` into nanoseconds."""
    return int(stamp.sec) * _NS_PER_S + int(stamp.nanosec)


def require_stamp(stamp_ns: int, error: type[DecodeError] = DecodeError) -> None:
    """Refuse a stamp that was never set.

    Raises:
        DecodeError: Of the class ``error``, when the stamp is zero or negative; cause ``zero_stamp``.
    """
    if stamp_ns <= 0:
        msg = f"header.stamp is {seconds(stamp_ns)}: the driver did not set it"
        raise error(msg, cause="zero_stamp")


def seconds(stamp_ns: int) -> str:
    """Format nanoseconds as seconds without rounding."""
    return f"{'-' if stamp_ns < 0 else ''}{abs(stamp_ns) // _NS_PER_S}.{abs(stamp_ns) % _NS_PER_S:09d}"


@contextmanager
def naming(message: Message) -> Iterator[None]:
    """Put topic, type and time of a message in front of the text of each DecodeError."""
    try:
        yield
    except DecodeError as error:
        text = f"{message.type_name} on {message.topic}, {_moment(message)}: {error}"
        raise type(error)(text, cause=error.cause) from error.__cause__


def _moment(message: Message) -> str:
    if message.type_name.startswith("sensor_msgs/"):
        try:
            return f"stamped {seconds(peek_header(message.data)[0])}"
        except DecodeError:
            pass
    return f"logged at {seconds(message.log_ns)}"
