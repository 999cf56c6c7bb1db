# SPDX-License-Identifier: Apache-2.0
"""Which quality of service a subscription asks for, so that it matches what the publishers offer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.topic_endpoint_info import TopicEndpointInfo

CLOUD = "sensor_msgs/msg/PointCloud2"
RADAR_SCAN = "radar_msgs/msg/RadarScan"
IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
FIX = "sensor_msgs/msg/NavSatFix"
IMU = "sensor_msgs/msg/Imu"
TRANSFORMS = "tf2_msgs/msg/TFMessage"

STATIC_TOPIC = "/tf_static"
SAMPLE_TYPES = frozenset({CLOUD, IMAGE, COMPRESSED_IMAGE})
"""Large messages, of which each belongs to one frame."""

_DEPTH = {CLOUD: 50, IMAGE: 20, COMPRESSED_IMAGE: 100, TRANSFORMS: 1000}
_OTHER_DEPTH = 100
_POLICIES = {
    "history": QoSPolicyKind.HISTORY,
    "depth": QoSPolicyKind.DEPTH,
    "reliability": QoSPolicyKind.RELIABILITY,
    "durability": QoSPolicyKind.DURABILITY,
}


@dataclass(frozen=True)
class Match:
    """What is asked for; equal ones need no new subscription."""

    type_name: str
    reliable: bool
    transient_local: bool
    depth: int

    @property
    def profile(self) -> QoSProfile:
        """The profile for rclpy."""
        return QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=self.depth,
            reliability=ReliabilityPolicy.RELIABLE if self.reliable else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if self.transient_local else DurabilityPolicy.VOLATILE,
        )

    def __str__(self) -> str:
        """Name the policies as ROS 2 does."""
        reliability = "reliable" if self.reliable else "best effort"
        return f"{reliability}, {'transient local' if self.transient_local else 'volatile'}, depth {self.depth}"


STATIC = Match(TRANSFORMS, reliable=True, transient_local=True, depth=100)


def match_publishers(topic: str, type_name: str, publishers: Sequence[TopicEndpointInfo]) -> Match:
    """Choose what every publisher can give: reliable only when all are, likewise the latched calibrations."""
    if topic == STATIC_TOPIC:
        return STATIC
    profiles = [publisher.qos_profile for publisher in publishers]
    reliable = all(profile.reliability == ReliabilityPolicy.RELIABLE for profile in profiles)
    latched = all(profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for profile in profiles)
    return Match(type_name, reliable, latched and type_name == CAMERA_INFO, _DEPTH.get(type_name, _OTHER_DEPTH))


def overriding_options(topic: str, given: Mapping[str, object]) -> QoSOverridingOptions | None:
    """Return the options for the policies that the user set through ``qos_overrides``, if any."""
    prefix = f"qos_overrides.{topic}.subscription."
    kinds = [kind for name, kind in _POLICIES.items() if f"{prefix}{name}" in given]
    return QoSOverridingOptions(kinds) if kinds else None
