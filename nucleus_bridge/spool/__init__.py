# SPDX-License-Identifier: Apache-2.0
"""The durable store of scenes on disk."""

from __future__ import annotations

from nucleus_bridge.spool.manifest import FileRecord, Manifest, SealedScene
from nucleus_bridge.spool.spool import OpenScene, SceneFiles, Spool, sync_scene_files

__all__ = ["FileRecord", "Manifest", "OpenScene", "SceneFiles", "SealedScene", "Spool", "sync_scene_files"]
