# SPDX-License-Identifier: Apache-2.0
"""What is unlikely about a recording: clocks that disagree, cameras and devices that are mounted against the rules."""

from __future__ import annotations

import numpy as np

from nucleus_bridge.config import Config
from nucleus_bridge.errors import TransformError
from nucleus_bridge.inspect.mounting import camera_warnings, forward_deg, tilt_warning
from nucleus_bridge.inspect.scan import Scan
from nucleus_bridge.inspect.suggest import Suggestion
from nucleus_bridge.model import FloatArray, Transform

_FAR_FROM_LOG_MS = 60_000.0
_OFF_BY_MS = 60.0
_MAX_TILT_SAMPLES = 200


def clock_warnings(latencies: dict[str, float]) -> dict[str, list[str]]:
    """Compare log time - stamp (a cloud's: of its last point) of each sensor with that of the others, ms."""
    found: dict[str, list[str]] = {}
    for topic, latency in latencies.items():
        others = [value for other, value in latencies.items() if other != topic]
        if abs(latency) > _FAR_FROM_LOG_MS:
            found.setdefault(topic, []).append(
                f"stamps are {latency / 1e3:+.1f} s away from the log time: another clock, or a replayed recording"
            )
        elif latency < -1.0:
            found.setdefault(topic, []).append(f"stamps are {-latency:.1f} ms in the future of the log time")
        if others and abs(latency - float(np.median(others))) > _OFF_BY_MS and abs(latency) <= _FAR_FROM_LOG_MS:
            found.setdefault(topic, []).append(
                f"log time - stamp is {latency:.0f} ms, the other sensors' {np.median(others):.0f} ms: its clock may "
                f"be off by {latency - float(np.median(others)):+.0f} ms, or it is slow to be published"
            )
    return found


def mounting_warnings(
    scan: Scan, suggestion: Suggestion, config: Config | None
) -> tuple[dict[str, list[str]], list[str]]:
    """Check how cameras and device are mounted; returns the cameras' warnings by topic, then the device's."""
    if config is None:
        return {}, []
    rotations: dict[str, FloatArray] = {}
    topics = {name: topic for topic, name in suggestion.camera_names.items()}
    for camera in config.cameras:
        frame = camera.optical_frame or suggestion.cameras[topics[camera.name]].frame_id
        try:
            rotations[camera.name] = scan.tree.lookup(config.device_frame, frame, 0).rotation_xyzw
        except TransformError:
            continue
    warnings = []
    track = _track(scan, config)
    tilt = tilt_warning(np.array([pose.rotation_xyzw for pose in track])) if track else ""
    if tilt:
        warnings.append(f"{config.world_frame} -> {config.device_frame}: {tilt}")
    ahead = 0.0
    if len(track) > 1 and not tilt:
        ahead = forward_deg(np.array([p.translation for p in track]), np.array([p.rotation_xyzw for p in track]))
    if ahead:
        axis = "+y" if ahead > 0 else "-y"
        warnings.append(
            f"{config.device_frame} moves along its {axis} axis: REP 103 has x forward (scenes are right all the same)"
        )
    return {topics[name]: texts for name, texts in camera_warnings(rotations, ahead).items()}, warnings


def _track(scan: Scan, config: Config) -> list[Transform]:
    """Sample the device's pose over the time that was read."""
    stamps = sorted({stamp for edge in scan.edges.values() if not edge.static for stamp in edge.stamps})
    picked = stamps[:: max(1, len(stamps) // _MAX_TILT_SAMPLES)] or [0]
    track = []
    for stamp_ns in picked:
        try:
            track.append(scan.tree.lookup(config.world_frame, config.device_frame, stamp_ns))
        except TransformError:
            continue
    return track
