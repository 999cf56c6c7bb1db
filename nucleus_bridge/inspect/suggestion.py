# SPDX-License-Identifier: Apache-2.0
"""What a recording suggests, as it grows: values with their reasons, and the stamps that frames will have."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from nucleus_bridge.config import Config, config_from_values
from nucleus_bridge.errors import TransformError
from nucleus_bridge.inspect.cameras import CameraFacts
from nucleus_bridge.inspect.clocks import Clocks
from nucleus_bridge.inspect.clouds import CloudFacts
from nucleus_bridge.inspect.lidars import LeftOut
from nucleus_bridge.inspect.poses import Frames
from nucleus_bridge.inspect.scan import Scan, Stream
from nucleus_bridge.inspect.sweeps import Parts, find_parts
from nucleus_bridge.inspect.transforms import Transforms
from nucleus_bridge.model import FloatArray, IntArray
from nucleus_bridge.warnings import Finding

_MAX_TRACK = 200


@dataclass
class Suggestion:
    """A configuration for a recording and how it came about.

    Attributes:
        values: Parameters by dotted name.
        reasons: Comment lines by dotted name.
        extras: Lines that only need to be uncommented, each group with its reason first.
        frames: World, device and what is missing between them.
        transforms: The transforms that the sensors hang from.
        clocks: What the comparison of clocks gave.
        findings: Warnings.
        missing: What stands in the way of a full scene, and how to get it.
        lidars: What was seen of each cloud topic.
        cameras: What was seen of each image topic.
        names: Name of each chosen topic, by group (``lidars``, ``cameras``, ``radars``).
        left_out: Why a sensor topic was not chosen.
    """

    transforms: Transforms
    values: dict[str, object] = field(default_factory=dict)
    reasons: dict[str, list[str]] = field(default_factory=dict)
    extras: list[list[str]] = field(default_factory=list)
    frames: Frames = field(default_factory=Frames)
    clocks: Clocks = field(default_factory=Clocks)
    findings: list[Finding] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    lidars: dict[str, CloudFacts] = field(default_factory=dict)
    cameras: dict[str, CameraFacts] = field(default_factory=dict)
    radars: dict[str, int] = field(default_factory=dict)
    names: dict[str, dict[str, str]] = field(default_factory=dict)
    left_out: dict[str, LeftOut] = field(default_factory=dict)

    @property
    def lidar_names(self) -> dict[str, str]:
        """Name of each chosen cloud topic."""
        return self.names.get("lidars", {})

    @property
    def camera_names(self) -> dict[str, str]:
        """Name of each chosen image topic."""
        return self.names.get("cameras", {})

    def config(self) -> Config | None:
        """Return the checked configuration; None when there is no lidar to build on."""
        return config_from_values(self.values) if self.lidar_names else None

    def put(self, key: str, value: object, *reasons: str) -> None:
        """Choose a value for a reason."""
        self.values[key] = value
        self.reasons[key] = [reason for reason in reasons if reason]

    def section_of(self, topic: str) -> str:
        """Return the section of the configuration that a topic has, such as ``lidars.top``, or ''."""
        return next((f"{group}.{names[topic]}" for group, names in self.names.items() if topic in names), "")


class Reference:
    """The stamps that frames will have."""

    def __init__(self, made: Suggestion, scan: Scan, chosen: list[str]) -> None:
        self.stream = scan.streams[chosen[0]] if chosen else None
        self.times: IntArray = np.empty(0, np.int64)
        self.period_ns = 0.0
        self.parts: dict[str, Parts] = {}
        for topic in chosen:
            parts = find_parts(made.lidars[topic], scan.streams[topic].period_ns)
            if parts is not None:
                self.parts[topic] = parts
        if self.stream is None:
            return
        self.times = np.sort(made.clocks.corrected(self.stream))
        if self.stream.name in self.parts and len(self.times):
            groups = self.times // round(self.parts[self.stream.name].turn_ms * 1e6)
            self.times = self.times[np.append(True, np.diff(groups) > 0)]
        self.period_ns = float(np.median(np.diff(self.times))) if len(self.times) > 1 else 0.0


def put_clock(made: Suggestion, key: str, topic: str) -> None:
    """Correct the clock of a topic, where the comparison of clocks proves by how much."""
    correction = made.clocks.corrections.get(topic)
    if correction is None:
        return
    if correction.by_log:
        made.put(f"{key}.stamp_source", "log", correction.reason)
    elif correction.offset_ms:
        made.put(f"{key}.clock_offset_ms", correction.offset_ms, correction.reason)


def put_offset(made: Suggestion, key: str, stream: Stream, reference: Reference, measured: str) -> None:
    """Write when a sensor's samples are wanted, counted from the reference's stamps."""
    times = np.sort(made.clocks.corrected(stream))
    steps = np.diff(times)
    period_ns = float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0
    offset, spread = stamp_offset_ms(times, period_ns, reference.times, reference.period_ns)
    made.put(f"{key}.offset_ms", offset, measured.format(spread=spread))
    period_ms = min(reference.period_ns or 1e8, period_ns or 1e8) / 1e6
    tolerance = round(float(np.clip(max(period_ms / 2, spread), 1.0, 5_000.0)), 1)
    made.put(f"{key}.tolerance_ms", tolerance, "half the shorter period")


def stamp_offset_ms(times: IntArray, period_ns: float, sweeps: IntArray, sweep_period_ns: float) -> tuple[float, float]:
    """Return how far stamps are from the nearest of the reference, and 95 % of the spread around that, in ms.

    The offset is 0 where it is below a millisecond or too irregular to mean anything.
    """
    if not len(times) or len(sweeps) < 2:
        return 0.0, 0.0
    place = np.clip(np.searchsorted(times, sweeps), 1, max(1, len(times) - 1))
    pairs = np.stack([times[np.minimum(place, len(times) - 1)], times[place - 1]]) - sweeps
    nearest = pairs[np.abs(pairs).argmin(axis=0), np.arange(len(sweeps))] / 1e6
    near = nearest[np.abs(nearest) <= sweep_period_ns / 1e6]
    if not len(near):
        return 0.0, 0.0
    median = float(np.median(near))
    spread = float(np.percentile(np.abs(near - median), 95))
    period_ms = min(sweep_period_ns, period_ns or sweep_period_ns) / 1e6
    if abs(median) < 1.0 or spread > period_ms / 4:
        return 0.0, float(np.percentile(np.abs(near), 95))
    return round(median, 1), spread


def device_track(made: Suggestion) -> tuple[FloatArray, FloatArray]:
    """Sample the device's poses over the time that was read: positions (n, 3) and rotations (n, 4)."""
    stamps = np.unique(
        np.concatenate([np.empty(0, np.int64), *(t.stamps for t in made.transforms.tracks if not t.static)])
    ) + round(made.clocks.transforms_offset_ms * 1e6)
    picked = stamps[:: max(1, len(stamps) // _MAX_TRACK)] if len(stamps) else np.zeros(1, np.int64)
    positions, rotations = [], []
    for stamp_ns in picked.tolist():
        try:
            pose = made.transforms.tree.lookup(made.frames.world, made.frames.device, stamp_ns)
        except TransformError:
            continue
        positions.append(pose.translation)
        rotations.append(pose.rotation_xyzw)
    return np.array(positions).reshape(-1, 3), np.array(rotations).reshape(-1, 4)
