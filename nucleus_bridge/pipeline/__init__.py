# SPDX-License-Identifier: Apache-2.0
"""Messages in, frames and scenes out: one pure pipeline for live and recorded data, no I/O, no clock, no threads."""

from __future__ import annotations

from nucleus_bridge.pipeline.events import Event, FrameReady, SceneEnded, SceneStarted
from nucleus_bridge.pipeline.pipeline import Pipeline

__all__ = ["Event", "FrameReady", "Pipeline", "SceneEnded", "SceneStarted"]
