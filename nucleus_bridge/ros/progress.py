# SPDX-License-Identifier: Apache-2.0
"""How a recording gets on, as the diagnostics tell it."""

from __future__ import annotations

from dataclasses import dataclass, field

from nucleus_bridge.pipeline.events import Residual
from nucleus_bridge.pipeline.losses import Table


@dataclass(frozen=True)
class Progress:
    """How the recording gets on; a snapshot that any thread may read.

    Attributes:
        frames: Frames that went into scenes.
        scenes: Scenes sealed.
        open_scene: Reference id of the open scene, or "".
        open_frames: Frames of the open scene.
        losses: Everything lost so far, by topic and cause.
        reasons: For each cause, the text of its first occurrence.
        residuals: Synchronisation residuals of the last scene that ended, by sensor.
        waited_s: Message time that the oldest undecided frame has been waiting.
        obstacle: What the oldest matched frame waits for, or "".
        longest_wait_s: Message time of the longest wait since the last report, ended or not.
        longest_obstacle: What that frame waited for, or "".
        pipeline_bytes: Messages that wait for their frame.
        booked: Of the losses, those that were counted where messages come in.
        spool_full: Why the newest scene has no room in the spool, or "".
    """

    frames: int = 0
    scenes: int = 0
    open_scene: str = ""
    open_frames: int = 0
    losses: Table = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    residuals: dict[str, Residual] = field(default_factory=dict)
    waited_s: float = 0.0
    obstacle: str = ""
    longest_wait_s: float = 0.0
    longest_obstacle: str = ""
    pipeline_bytes: int = 0
    booked: Table = field(default_factory=dict)
    spool_full: str = ""
