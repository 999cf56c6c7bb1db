# SPDX-License-Identifier: Apache-2.0
"""TFMessage to single transforms, as numbers a transform tree can take."""

from __future__ import annotations

from typing import NamedTuple

from nucleus_bridge.decode.cdr import deserialise, strip_slashes, to_ns
from nucleus_bridge.decode.interface import Decoder, Interface, StatelessMany
from nucleus_bridge.model import Message

TF_MESSAGE = "tf2_msgs/msg/TFMessage"


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
        DecodeError: The bytes are not a TFMessage.
    """
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


def _decoder(_source: object) -> Decoder:
    return StatelessMany(decode_transforms)


INTERFACES = (Interface(TF_MESSAGE, "transforms", _decoder, depth=1000, peek=None),)
