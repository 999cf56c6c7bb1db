# SPDX-License-Identifier: Apache-2.0
"""The local receiver: a Nucleus-compatible HTTP server on loopback for dry runs, demos and tests."""

from nucleus_bridge.testing.receiver.faults import FAULT_NAMES, Fault, parse_fault
from nucleus_bridge.testing.receiver.jobs import JobEnd, JobPace, parse_job_end
from nucleus_bridge.testing.receiver.messages import Limits
from nucleus_bridge.testing.receiver.receiver import Receiver, RequestRecord
from nucleus_bridge.testing.receiver.resolve import Resolver, object_store_resolver, resolvers_from_mappings
from nucleus_bridge.testing.receiver.scene_rules import SceneRules

__all__ = [
    "FAULT_NAMES",
    "Fault",
    "JobEnd",
    "JobPace",
    "Limits",
    "Receiver",
    "RequestRecord",
    "Resolver",
    "SceneRules",
    "object_store_resolver",
    "parse_fault",
    "parse_job_end",
    "resolvers_from_mappings",
]
