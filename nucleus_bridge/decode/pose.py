# SPDX-License-Identifier: Apache-2.0
"""Odometry, PoseStamped and their like to single poses; robot descriptions to their text."""

from __future__ import annotations

import struct
from typing import Any

from nucleus_bridge.decode.cdr import STRING, deserialise, naming, require_stamp, strip_slashes, to_ns
from nucleus_bridge.decode.interface import Interface, Stateless
from nucleus_bridge.decode.tf import TransformSample
from nucleus_bridge.errors import DecodeError
from nucleus_bridge.model import Message

ODOMETRY = "nav_msgs/msg/Odometry"
POSE = "geometry_msgs/msg/PoseStamped"
POSE_WITH_COVARIANCE = "geometry_msgs/msg/PoseWithCovarianceStamped"
TRANSFORM = "geometry_msgs/msg/TransformStamped"
PATH = "nav_msgs/msg/Path"

_UNKNOWN_VARIANCE = 1e6
"""From this variance of x on, in square metres, drivers mean that a pose is not known."""
_TIME = struct.Struct("<iI")
_COUNT = struct.Struct("<I")
_POSE = struct.Struct("<7d")


def decode_pose(message: Message) -> TransformSample:
    """Read the pose of a message; of a Path its newest one. The child is empty where the message names no body.

    Raises:
        DecodeError: The bytes are none of these types (``damaged``, ``wrong_type``), the stamp is not set
            (``zero_stamp``), or there is no pose in it: an empty Path, or a covariance that says it is unknown
            (``no_pose``).
    """
    if message.type_name == PATH:
        with naming(message):
            sample = _newest_of_path(message)
    else:
        sample = _READERS.get(message.type_name, _of_odometry)(message)
    with naming(message):
        require_stamp(sample.stamp_ns)
    return sample


def _of_odometry(message: Message) -> TransformSample:
    odometry = deserialise(message, *_READERS)
    _check_known(message, odometry.pose.covariance)
    return _sample(odometry.header, odometry.child_frame_id, odometry.pose.pose)


def _of_pose_with_covariance(message: Message) -> TransformSample:
    stamped = deserialise(message, POSE_WITH_COVARIANCE)
    _check_known(message, stamped.pose.covariance)
    return _sample(stamped.header, "", stamped.pose.pose)


def _of_pose(message: Message) -> TransformSample:
    stamped = deserialise(message, POSE)
    return _sample(stamped.header, "", stamped.pose)


def _of_transform(message: Message) -> TransformSample:
    stamped = deserialise(message, TRANSFORM)
    t, q = stamped.transform.translation, stamped.transform.rotation
    return _posed(stamped.header, stamped.child_frame_id, (t.x, t.y, t.z), (q.x, q.y, q.z, q.w))


_READERS = {
    ODOMETRY: _of_odometry,
    POSE: _of_pose,
    POSE_WITH_COVARIANCE: _of_pose_with_covariance,
    TRANSFORM: _of_transform,
}


def _sample(header: Any, child: str, pose: Any) -> TransformSample:
    p, q = pose.position, pose.orientation
    return _posed(header, child, (p.x, p.y, p.z), (q.x, q.y, q.z, q.w))


def _posed(
    header: Any,
    child: str,
    translation: tuple[float, float, float],
    rotation_xyzw: tuple[float, float, float, float],
) -> TransformSample:
    return TransformSample(
        strip_slashes(header.frame_id), strip_slashes(child), to_ns(header.stamp), translation, rotation_xyzw
    )


def _check_known(message: Message, covariance: Any) -> None:
    """Refuse a pose whose covariance says that only the velocity is known."""
    variance = float(covariance[0])
    if variance == -1.0 or variance >= _UNKNOWN_VARIANCE:
        text = f"pose.covariance[0] is {variance:g}: the publisher knows the velocity alone, no pose"
        with naming(message):
            raise DecodeError(text, cause="no_pose")


def _newest_of_path(message: Message) -> TransformSample:
    """Walk over the poses of a Path: it grows over a drive, and only its newest pose is wanted.

    A pose whose stamp or frame is not set has those of the Path.
    """
    data = bytes(message.data)
    if data[:2] != b"\x00\x01":
        return _newest_of_any_path(message)
    try:
        path_ns, path_frame, at = _header(data, 4)
        at += -at % 4
        (count,) = _COUNT.unpack_from(data, at)
        at += 4
        newest: tuple[int, bytes, int] | None = None
        for _ in range(count):
            stamp_ns, frame, at = _header(data, at)
            at += -(at - 4) % 8
            if at + _POSE.size > len(data):
                raise DecodeError(f"damaged: {count} poses do not fit {len(data)} bytes")
            if newest is None or stamp_ns >= newest[0]:
                newest = stamp_ns, frame, at
            at += _POSE.size
        if newest is None:
            raise DecodeError("the path has no pose", cause="no_pose")
        values = _POSE.unpack_from(data, newest[2])
        parent = (newest[1] or path_frame).decode()
    except (struct.error, UnicodeDecodeError) as error:
        raise DecodeError(f"damaged: {error}") from error
    return TransformSample(strip_slashes(parent), "", newest[0] or path_ns, values[:3], values[3:])


def _header(data: bytes, at: int) -> tuple[int, bytes, int]:
    """Return stamp, frame id and the offset behind a Header that begins at or behind an offset."""
    at += -at % 4
    sec, nanosec = _TIME.unpack_from(data, at)
    (length,) = _COUNT.unpack_from(data, at + 8)
    end = at + 12 + length
    if end > len(data):
        raise DecodeError(f"damaged: a frame id of {length} bytes in a message of {len(data)}")
    return sec * 1_000_000_000 + nanosec, data[at + 12 : max(end - 1, at + 12)], end


def _newest_of_any_path(message: Message) -> TransformSample:
    path = deserialise(message, PATH)
    if not path.poses:
        raise DecodeError("the path has no pose", cause="no_pose")
    newest = _sample(path.poses[-1].header, "", path.poses[-1].pose)
    for stamped in path.poses:
        if to_ns(stamped.header.stamp) > newest.stamp_ns:
            newest = _sample(stamped.header, "", stamped.pose)
    return newest._replace(
        parent=newest.parent or strip_slashes(path.header.frame_id),
        stamp_ns=newest.stamp_ns or to_ns(path.header.stamp),
    )


def decode_description(message: Message) -> str:
    """Read the text of a robot description.

    Raises:
        DecodeError: The bytes are not a String.
    """
    return str(deserialise(message, STRING).data)


INTERFACES = (
    *(Interface(name, "pose", lambda _settings: Stateless(decode_pose)) for name in (*_READERS, PATH)),
    Interface(
        STRING, "description", lambda _settings: Stateless(decode_description), depth=1, is_latched=True, peek=None
    ),
)
