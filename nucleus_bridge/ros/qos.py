# SPDX-License-Identifier: Apache-2.0
"""Which quality of service a subscription asks for, so that it matches what the publishers offer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.topic_endpoint_info import TopicEndpointInfo

from nucleus_bridge.decode.registry import interface_of
from nucleus_bridge.pipeline.topics import WantedTopic

_DEPTH = 100
"""Of topics that no decoder reads by itself."""
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


def match_publishers(roles: Sequence[WantedTopic], type_name: str, publishers: Sequence[TopicEndpointInfo]) -> Match:
    """Choose what every publisher can give: reliable only when all are, likewise what is published once.

    What holds for all time is asked for as tf2 does, whoever publishes it.
    """
    interfaces = [interface for role in roles if (interface := interface_of(type_name, role.kind))]
    depth = max((interface.depth for interface in interfaces), default=_DEPTH)
    if any(role.is_latched for role in roles):
        return Match(type_name, reliable=True, transient_local=True, depth=min(depth, _DEPTH))
    profiles = [publisher.qos_profile for publisher in publishers]
    reliable = all(profile.reliability == ReliabilityPolicy.RELIABLE for profile in profiles)
    latched = all(profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for profile in profiles)
    may_be_latched = any(role.ahead == "first" for role in roles) or any(part.is_latched for part in interfaces)
    return Match(type_name, reliable, latched and may_be_latched, depth)


def overriding_options(topic: str, given: Mapping[str, object]) -> QoSOverridingOptions | None:
    """Return the options for the policies that the user set through ``qos_overrides``, if any."""
    prefix = f"qos_overrides.{topic}.subscription."
    kinds = [kind for name, kind in _POLICIES.items() if f"{prefix}{name}" in given]
    return QoSOverridingOptions(kinds) if kinds else None
