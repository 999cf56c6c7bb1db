# SPDX-License-Identifier: Apache-2.0
"""TFMessage to single transforms, as numbers a transform tree can take."""

from __future__ import annotations

import struct
from typing import NamedTuple

from nucleus_bridge.decode.cdr import deserialise, strip_slashes, to_ns
from nucleus_bridge.decode.interface import Decoder, Interface, StatelessMany
from nucleus_bridge.model import Message

TF_MESSAGE = "tf2_msgs/msg/TFMessage"
_ORIGIN, _ALIGNMENT, _LITTLE_ENDIAN = 4, 8, b"\x00\x01"
_COUNT, _STAMP, _POSE = struct.Struct("<I"), struct.Struct("<iII"), struct.Struct("<7d")


class TransformSample(NamedTuple):
    """One transform or pose of a message; what its numbers are worth is for the tree to say.

    Attributes:
        parent: ``header.frame_id`` without a leading slash.
        child: ``child_frame_id`` without a leading slash.
        stamp_ns: ``header.stamp``; may be 0 for static transforms.
        translation: x, y, z in metres.
        rotation_xyzw: Quaternion as published, not normalised.
    """

    parent: str
    child: str
    stamp_ns: int
    translation: tuple[float, float, float]
    rotation_xyzw: tuple[float, float, float, float]


def decode_transforms(message: Message) -> list[TransformSample]:
    """Read the transforms of a TFMessage, in their order.

    Raises:
        DecodeError: The bytes are no TFMessage.
    """
    if message.type_name == TF_MESSAGE and (plain := _read_plainly(message.data)) is not None:
        return plain
    samples = []
    for stamped in deserialise(message, TF_MESSAGE).transforms:
        t, q = stamped.transform.translation, stamped.transform.rotation
        samples.append(
            TransformSample(
                strip_slashes(stamped.header.frame_id),
                strip_slashes(stamped.child_frame_id),
                to_ns(stamped.header.stamp),
                (t.x, t.y, t.z),
                (q.x, q.y, q.z, q.w),
            )
        )
    return samples


def _read_plainly(data: bytes) -> list[TransformSample] | None:
    """Read what is little endian and well formed, several times as fast; None where that cannot be told."""
    if data[:2] != _LITTLE_ENDIAN:
        return None
    samples = []
    try:
        (count,) = _COUNT.unpack_from(data, _ORIGIN)
        at = _ORIGIN + _COUNT.size
        for _ in range(count):
            at += -at % _COUNT.size
            sec, nanosec, length = _STAMP.unpack_from(data, at)
            parent, at = _text(data, at + _STAMP.size, length)
            at += -at % _COUNT.size
            (length,) = _COUNT.unpack_from(data, at)
            child, at = _text(data, at + _COUNT.size, length)
            at += (_ORIGIN - at) % _ALIGNMENT
            x, y, z, qx, qy, qz, qw = _POSE.unpack_from(data, at)
            at += _POSE.size
            samples.append(TransformSample(parent, child, sec * 10**9 + nanosec, (x, y, z), (qx, qy, qz, qw)))
    except (struct.error, ValueError):
        return None
    return samples if 0 <= len(data) - at < _COUNT.size else None


def _text(data: bytes, start: int, length: int) -> tuple[str, int]:
    """Read a frame id; returns it and the place behind it.

    Raises:
        ValueError: It is no text that ends with a zero.
    """
    end = start + length
    content = bytes(data[start:end])
    if len(content) != length or content[-1:] != b"\0":
        raise ValueError(content)
    return strip_slashes(content[:-1].decode()), end


def _decoder(_source: object) -> Decoder:
    return StatelessMany(decode_transforms)


INTERFACES = (Interface(TF_MESSAGE, "transforms", _decoder, depth=1000, peek=None),)
