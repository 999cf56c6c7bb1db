# SPDX-License-Identifier: Apache-2.0
"""From the pipeline's events to sealed scenes: frames are rendered to files, by worker processes if asked for."""

from __future__ import annotations

from nucleus_bridge.render.scenes import SceneRecorder

__all__ = ["SceneRecorder"]
