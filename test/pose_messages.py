# SPDX-License-Identifier: Apache-2.0
"""Messages with poses in them, serialised by rosbags."""

from __future__ import annotations

from typing import Any

import numpy as np
from bags import TYPES, header
from scipy.spatial.transform import Rotation

from nucleus_bridge.model import FloatArray, Message, Transform
from nucleus_bridge.poses.source import Edge

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]


def new(name: str, **fields: Any) -> Any:
    return TYPES.types[name](**fields)


def pose(translation: Vector, rotation_xyzw: Quaternion) -> Any:
    x, y, z, w = rotation_xyzw
    return new(
        "geometry_msgs/msg/Pose",
        position=new("geometry_msgs/msg/Point", **dict(zip("xyz", translation, strict=True))),
        orientation=new("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w),
    )


def with_covariance(translation: Vector, rotation_xyzw: Quaternion, variance: float = 0.01) -> Any:
    covariance = np.zeros(36)
    covariance[0] = variance
    return new("geometry_msgs/msg/PoseWithCovariance", pose=pose(translation, rotation_xyzw), covariance=covariance)


def odometry(
    stamp_ns: int,
    translation: Vector,
    rotation_xyzw: Quaternion,
    parent: str = "odom",
    child: str = "base_link",
    variance: float = 0.01,
) -> Any:
    vector = new("geometry_msgs/msg/Vector3", x=0.0, y=0.0, z=0.0)
    twist = new("geometry_msgs/msg/Twist", linear=vector, angular=vector)
    return new(
        "nav_msgs/msg/Odometry",
        header=header(stamp_ns, parent),
        child_frame_id=child,
        pose=with_covariance(translation, rotation_xyzw, variance),
        twist=new("geometry_msgs/msg/TwistWithCovariance", twist=twist, covariance=np.zeros(36)),
    )


def pose_stamped(stamp_ns: int, translation: Vector, rotation_xyzw: Quaternion, parent: str = "odom") -> Any:
    return new("geometry_msgs/msg/PoseStamped", header=header(stamp_ns, parent), pose=pose(translation, rotation_xyzw))


def pose_with_covariance_stamped(
    stamp_ns: int, translation: Vector, rotation_xyzw: Quaternion, parent: str = "odom", variance: float = 0.01
) -> Any:
    return new(
        "geometry_msgs/msg/PoseWithCovarianceStamped",
        header=header(stamp_ns, parent),
        pose=with_covariance(translation, rotation_xyzw, variance),
    )


def transform_stamped(
    stamp_ns: int, translation: Vector, rotation_xyzw: Quaternion, parent: str = "odom", child: str = "base_link"
) -> Any:
    x, y, z, w = rotation_xyzw
    return new(
        "geometry_msgs/msg/TransformStamped",
        header=header(stamp_ns, parent),
        child_frame_id=child,
        transform=new(
            "geometry_msgs/msg/Transform",
            translation=new("geometry_msgs/msg/Vector3", **dict(zip("xyz", translation, strict=True))),
            rotation=new("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w),
        ),
    )


def path(stamp_ns: int, *poses: Any, parent: str = "odom") -> Any:
    return new("nav_msgs/msg/Path", header=header(stamp_ns, parent), poses=list(poses))


def serialised(content: Any, topic: str = "/pose", *, little_endian: bool = True) -> Message:
    data = bytes(TYPES.serialize_cdr(content, content.__msgtype__, little_endian=little_endian))
    return Message(topic, content.__msgtype__, 0, data)


def matrix_of(pose_of: Edge | Transform) -> FloatArray:
    """Return the 4x4 matrix of an edge or a transform, by scipy."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat(pose_of.rotation_xyzw).as_matrix()
    matrix[:3, 3] = pose_of.translation
    return matrix
