# SPDX-License-Identifier: Apache-2.0
"""From the spool to the object store, and to a Nucleus dataset or into annotation tasks."""

from __future__ import annotations

from nucleus_bridge.upload.board import Summary
from nucleus_bridge.upload.choice import key_for
from nucleus_bridge.upload.nucleus import NucleusClient, api_key_from_environment
from nucleus_bridge.upload.observer import UploadObserver
from nucleus_bridge.upload.reconcile import Finding, reconcile
from nucleus_bridge.upload.store import ObjectStore, open_store
from nucleus_bridge.upload.uploader import Uploader

__all__ = [
    "Finding",
    "NucleusClient",
    "ObjectStore",
    "Summary",
    "UploadObserver",
    "Uploader",
    "api_key_from_environment",
    "key_for",
    "open_store",
    "reconcile",
]
