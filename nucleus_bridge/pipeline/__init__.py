# SPDX-License-Identifier: Apache-2.0
"""Messages in, frames and scenes out: one pure pipeline for live and recorded data, no I/O, no clock, no threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nucleus_bridge.pipeline.events import Event, FrameReady, SceneEnded, SceneStarted
    from nucleus_bridge.pipeline.pipeline import Pipeline

__all__ = ["Event", "FrameReady", "Pipeline", "SceneEnded", "SceneStarted"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - each name has its own type
    """Load a name when it is first asked for: who reads a scene's losses needs no decoder."""
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module  # noqa: PLC0415

    home = "pipeline" if name == "Pipeline" else "events"
    return getattr(import_module(f"{__name__}.{home}"), name)
