# SPDX-License-Identifier: Apache-2.0
"""Frames to scenes: which frames are kept, where a scene ends and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import numpy as np

from nucleus_bridge.causes import Cause, EndReason
from nucleus_bridge.config import Config
from nucleus_bridge.errors import CoordinateRangeError
from nucleus_bridge.formats import registry as formats
from nucleus_bridge.model import CameraModel, Frame, Scene
from nucleus_bridge.pipeline.compared import ComparedPoses
from nucleus_bridge.pipeline.events import Event, EventSpan, FrameReady, Residual, SceneEnded, SceneStarted
from nucleus_bridge.pipeline.frame_builder import Candidate
from nucleus_bridge.pipeline.losses import LossLedger
from nucleus_bridge.pipeline.posing import LossReport
from nucleus_bridge.pipeline.signals import Signals

MAX_COORDINATE_M = 1e5
"""The service computes with 32-bit floats, which beyond this are coarser than a centimetre."""

EventsBetween = Callable[[int, int], tuple[EventSpan, ...]]
"""Tells the events of a scene by its first and last stamp."""


def reference_id(prefix: str, stamp_ns: int) -> str:
    """Name a scene after its first frame's stamp in UTC, to the nanosecond."""
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, tz=timezone.utc)
    return f"{prefix}-{moment:%Y%m%dT%H%M%S}.{nanoseconds:09d}Z"


@dataclass
class _Sums:
    frames: int = 0
    total_ns: int = 0
    max_ns: int = 0

    def add(self, residual_ns: int) -> None:
        self.frames += 1
        self.total_ns += residual_ns
        self.max_ns = max(self.max_ns, residual_ns)

    def residual(self) -> Residual:
        return Residual(self.frames, round(self.total_ns / self.frames / 1e6, 6), round(self.max_ns / 1e6, 6))


@dataclass
class _Open:
    scene: Scene
    frames: int = 0
    items: int = 0
    sums: dict[str, _Sums] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)
    models: dict[str, CameraModel] = field(default_factory=dict)


class SceneBuilder:
    """Cuts the sequence of frames into scenes."""

    def __init__(
        self,
        config: Config,
        ledger: LossLedger,
        lost: LossReport,
        poses: Mapping[str, Any] | None = None,
        events_between: EventsBetween | None = None,
        signals: Signals | None = None,
    ) -> None:
        self._config = config
        self._poses = poses or {}
        self._signals = signals or Signals(())
        self._compared: ComparedPoses | None = None
        self._rules = config.scene
        # A format that says nothing of it has room for as many as there are frames.
        scene_format = formats.of(config.scene.format)
        self._holds_one_calibration = bool(getattr(scene_format, "holds_one_calibration", False))
        self._longest_ns: int | None = getattr(scene_format, "longest_ns", None)
        self._ledger = ledger
        self._lost = lost
        self._events_between = events_between
        self._open: _Open | None = None
        self._kept: Frame | None = None
        self._hole_ns = 0
        self._jump_m = 0.0

    def compare(self, compared: ComparedPoses) -> None:
        """Note in scenes the tracks of sources of poses that are only compared."""
        self._compared = compared

    def add(self, candidate: Candidate, *, begins: bool = False) -> Iterator[Event]:
        """Take the next frame; yield what is decided by it. ``begins`` says that a window of an event does, too."""
        frame = candidate.frame
        self._hole_ns = max(self._hole_ns, candidate.hole_ns)
        self._jump_m = max(self._jump_m, candidate.jump_m)
        if self._is_too_near(frame):
            self._lose(frame, "min_distance", "")
            return
        reason: EndReason | None = "window_end" if begins else self._end_reason(frame)
        if reason:
            yield from self.end(reason, before_ns=frame.stamp_ns)
        try:
            scene = self._open.scene if self._open else self._scene(frame)
            _check_range(frame, scene)
        except CoordinateRangeError as error:
            self._lose(frame, "coordinate_range", str(error))
            return
        if self._open is None:
            self._open = _Open(scene)
            self._signals.begin(frame.stamp_ns)
            if self._compared is not None:
                self._compared.begin(scene, frame.timestamp_ns)
            yield SceneStarted(scene)
        self._signals.pass_frame(frame.stamp_ns)
        if self._compared is not None:
            self._compared.pass_frame(frame.timestamp_ns)
        yield FrameReady(self._open.frames, frame)
        self._count(self._open, candidate)
        self._kept, self._hole_ns, self._jump_m = frame, 0, 0.0

    def end(self, reason: EndReason, before_ns: int | None = None) -> Iterator[Event]:
        """End the open scene, if any; it takes the losses from before a stamp with it."""
        if self._open is None:
            return
        opened, self._open = self._open, None
        last_ns = self._kept.stamp_ns if self._kept is not None else opened.scene.first_stamp_ns
        self._kept = None
        metadata, item_metadata = self._signals.end()
        yield SceneEnded(
            reason,
            self._ledger.take_before(before_ns),
            {name: sums.residual() for name, sums in sorted(opened.sums.items())},
            dict(sorted(opened.missing.items())),
            events=self._events_between(opened.scene.first_stamp_ns, last_ns) if self._events_between else (),
            metadata=metadata,
            item_metadata=item_metadata,
            poses=self._compared.end() if self._compared is not None else {},
        )

    @property
    def first_stamp_ns(self) -> int | None:
        """Stamp of the first frame of the open scene, or None."""
        return self._open.scene.first_stamp_ns if self._open is not None else None

    def _scene(self, frame: Frame) -> Scene:
        origin = frame.world_from_device.translation if self._rules.origin == "first_frame" else np.zeros(3)
        return Scene(
            reference_id(self._rules.prefix, frame.stamp_ns),
            frame.stamp_ns,
            self._config.world_frame,
            self._config.device_frame,
            (float(origin[0]), float(origin[1]), float(origin[2])),
            self._poses,
        )

    def _is_too_near(self, frame: Frame) -> bool:
        if self._kept is None or self._rules.min_distance_m <= 0.0 or self._events_between is not None:
            return False  # where frames are selected, the distance was looked at before
        step = frame.world_from_device.translation - self._kept.world_from_device.translation
        return float(np.sqrt((step * step).sum())) < self._rules.min_distance_m

    def _end_reason(self, frame: Frame) -> EndReason | None:
        """Say why a frame cannot join the open scene; None when it can."""
        opened, rules = self._open, self._rules
        if opened is None:
            return None
        duration_ns = frame.stamp_ns - opened.scene.first_stamp_ns
        reached: dict[EndReason, bool] = {
            "gap": 0 < rules.max_gap_s * 1e9 < self._hole_ns,
            "calibration_change": self._holds_one_calibration
            and any(opened.models.get(image.camera, image.model) != image.model for image in frame.images),
            "pose_jump": 0 < rules.max_jump_m < self._jump_m,
            "max_items": self._longest_ns is None and opened.items + 1 + len(frame.images) > rules.max_items,
            "max_frames": 0 < rules.max_frames <= opened.frames,
            "max_duration": 0 < rules.max_duration_s * 1e9 < duration_ns
            or (self._longest_ns is not None and duration_ns > self._longest_ns),
        }
        return next((reason for reason, yes in reached.items() if yes), None)

    def _count(self, opened: _Open, candidate: Candidate) -> None:
        frame = candidate.frame
        opened.frames += 1
        opened.items += 1 + len(frame.images)
        for image in frame.images:
            opened.models.setdefault(image.camera, image.model)
        for name, residual_ns in candidate.residuals_ns.items():
            opened.sums.setdefault(name, _Sums()).add(residual_ns)
        there = {name for name, _ in frame.samples}
        for sensor in self._config.matched:
            if sensor.name not in there:
                opened.missing[sensor.name] = opened.missing.get(sensor.name, 0) + 1

    def _lose(self, frame: Frame, cause: Cause, reason: str) -> None:
        for name, stamp_ns in frame.samples:
            self._lost(name, cause, stamp_ns, reason)


def _check_range(frame: Frame, scene: Scene) -> None:
    position = frame.world_from_device.translation - np.asarray(scene.world_offset)
    if not float(np.abs(position).max()) < MAX_COORDINATE_M:
        x, y, z = (f"{value:.1f}" for value in position)
        raise CoordinateRangeError(
            f"the device is at ({x}, {y}, {z}) m in the scene at stamp {frame.stamp_ns}, beyond "
            f"{MAX_COORDINATE_M:.0f} m, where 32-bit floats are coarser than a centimetre; "
            "set scene.origin to first_frame, or look for a wrong pose in the recording"
        )
