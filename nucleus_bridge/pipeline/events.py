# SPDX-License-Identifier: Apache-2.0
"""What the pipeline says when something is decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nucleus_bridge.causes import EndReason
from nucleus_bridge.config.schema import Scalar
from nucleus_bridge.model import Frame, Scene


@dataclass(frozen=True)
class SceneStarted:
    """A scene begins; its first frame follows."""

    scene: Scene


@dataclass(frozen=True)
class FrameReady:
    """The next frame of the scene that was started last."""

    index: int
    frame: Frame


@dataclass(frozen=True)
class Residual:
    """How far a sensor's stamps were from the wanted ones, over the frames that have it."""

    frames: int
    mean_ms: float
    max_ms: float


@dataclass(frozen=True)
class EventSpan:
    """An event of the drive: its name, and the stamps between which it lasted.

    A scene says no more of an event than what lies before its own end: there ``end_ns`` is its last stamp.
    """

    name: str
    begin_ns: int
    end_ns: int


@dataclass(frozen=True)
class SceneEnded:
    """The scene that was started last is complete.

    Attributes:
        reason: Why it ended: ``max_items``, ``max_frames``, ``max_duration``, ``gap``, ``pose_jump``,
            ``calibration_change``, ``clock_jump``, ``window_end``, ``requested``, ``graph_rebuilt`` or ``end_of_data``.
        losses: What was lost during it, by topic and cause.
        residuals: Synchronisation residuals by sensor.
        missing: Frames without an item of a sensor, by sensor.
        warnings: What contradicts itself in its own messages, as manifests have it.
        metadata: What signals of the vehicle come to over the scene, by name.
        item_metadata: The same for the items of each frame; empty where no signal has values for items.
        events: The events whose windows hold something of it, where frames are selected by events.
        poses: Which sources of poses it uses, and the tracks of those that are only compared, as manifests have them.
    """

    reason: EndReason
    losses: Mapping[str, Mapping[str, int]]
    residuals: Mapping[str, Residual]
    missing: Mapping[str, int]
    warnings: tuple[Mapping[str, str], ...] = ()
    metadata: Mapping[str, Scalar] = field(default_factory=dict)
    item_metadata: tuple[Mapping[str, Scalar], ...] = ()
    events: tuple[EventSpan, ...] = ()
    poses: Mapping[str, Any] = field(default_factory=dict)


Event = SceneStarted | FrameReady | SceneEnded
