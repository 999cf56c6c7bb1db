# SPDX-License-Identifier: Apache-2.0
"""The local receiver: a Nucleus-compatible HTTP server on loopback for dry runs, demos and tests."""

from nucleus_bridge.receiver.faults import FAULT_NAMES, Fault, parse_fault
from nucleus_bridge.receiver.jobs import JobPace
from nucleus_bridge.receiver.messages import Limits
from nucleus_bridge.receiver.receiver import Receiver, RequestRecord
from nucleus_bridge.receiver.resolve import Resolver, object_store_resolver, resolvers_from_mappings
from nucleus_bridge.receiver.scene_rules import SceneRules

__all__ = [
    "FAULT_NAMES",
    "Fault",
    "JobPace",
    "Limits",
    "Receiver",
    "RequestRecord",
    "Resolver",
    "SceneRules",
    "object_store_resolver",
    "parse_fault",
    "resolvers_from_mappings",
]
