# SPDX-License-Identifier: Apache-2.0
"""Small recordings with events whose windows are known, and what is kept of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bags import CONFIG, MS, START_NS, TYPES, UNIT, Recording, header, recording, transforms, write_config

from nucleus_bridge.config import Config, load_config
from nucleus_bridge.spool import Manifest, SealedScene

FRAME_NS = 100 * MS
SECOND = 1000 * MS
Span = tuple[float, float]


def boolean(value: bool) -> Any:
    return TYPES.types["std_msgs/msg/Bool"](data=value)


def number(value: float) -> Any:
    return TYPES.types["std_msgs/msg/Float64"](data=value)


def text(value: str) -> Any:
    return TYPES.types["std_msgs/msg/String"](data=value)


def twist(stamp_ns: int, x: float, y: float = 0.0, z: float = 0.0) -> Any:
    vector = TYPES.types["geometry_msgs/msg/Vector3"]
    content = TYPES.types["geometry_msgs/msg/Twist"](linear=vector(x=x, y=y, z=z), angular=vector(x=0.0, y=0.0, z=0.0))
    return TYPES.types["geometry_msgs/msg/TwistStamped"](header=header(stamp_ns, "base_link"), twist=content)


def diagnostics(stamp_ns: int, *levels: int) -> Any:
    status = [
        TYPES.types["diagnostic_msgs/msg/DiagnosticStatus"](level=level, name="", message="", hardware_id="", values=[])
        for level in levels
    ]
    return TYPES.types["diagnostic_msgs/msg/DiagnosticArray"](header=header(stamp_ns, ""), status=status)


def fix(stamp_ns: int, latitude: float, longitude: float) -> Any:
    return TYPES.types["sensor_msgs/msg/NavSatFix"](
        header=header(stamp_ns, "gnss"),
        status=TYPES.types["sensor_msgs/msg/NavSatStatus"](status=0, service=1),
        latitude=latitude,
        longitude=longitude,
        altitude=100.0,
        position_covariance=np.zeros(9),
        position_covariance_type=0,
    )


def at(seconds: float, start_ns: int = START_NS) -> int:
    return start_ns + round(seconds * 1e9)


def within(seconds: float, spans: Iterable[Span]) -> bool:
    """Whether a time lies in a half-open span: a signal is high from its first message to the one that ends it."""
    return any(low <= seconds < high for low, high in spans)


def signal(
    bag: Recording,
    spans: Sequence[Span],
    until_s: float,
    message: Callable[[int, bool], Any],
    topic: str = "/signal",
    start_ns: int = START_NS,
) -> Recording:
    """Add a topic of 50 Hz that is high in the spans."""
    for count in range(round(until_s * 50)):
        seconds = count / 50
        stamp_ns = at(seconds, start_ns)
        bag.add(topic, message(stamp_ns, within(seconds, spans)), stamp_ns)
    return bag


def braking(frames: int, brake_s: Span, speed: float, deceleration: float) -> Recording:
    """A drive straight ahead at an even speed but for one braking, with transforms of 100 Hz and no /tf besides."""
    made = recording(frames).without("/tf")
    position, velocity = 0.0, speed
    for count in range(-20, 10 * frames + 20):
        seconds = count / 100
        stamp_ns = at(seconds)
        made.add("/tf", transforms(("map", "base_link", stamp_ns, (position, 0.0, 0.0), UNIT)), stamp_ns + MS)
        rate = -deceleration if brake_s[0] <= seconds < brake_s[1] else 0.0
        position += velocity / 100 + rate / 100**2 / 2
        velocity += rate / 100
    return made


def settings(folder: Path, events: str, *overrides: str, more: str = "") -> Config:
    """Return a configuration with events, each a line of YAML by name."""
    names = ", ".join(line.split(":")[0].strip() for line in events.strip().splitlines())
    lines = "".join(f"      {line.strip()}\n" for line in events.strip().splitlines())
    section = f"    event_names: [{names}]\n    events:\n{lines}" if names else ""
    content = f"{CONFIG}{section}    scene: {{select: events}}\n{more}"
    return load_config(write_config(folder, content), overrides)


def kept_s(scenes: Iterable[SealedScene], start_ns: int = START_NS) -> list[list[float]]:
    """Return, for each scene, when its frames are, in seconds from the start."""
    return [[(stamp["stamp_ns"] - start_ns) / 1e9 for stamp in scene.manifest.stamps] for scene in scenes]


def frames_in(windows: Iterable[Span], frames: int) -> list[list[float]]:
    """Return, for each window, when the frames of a drive are that lie in it, ends included."""
    times = [count / 10 for count in range(frames)]
    return [[time for time in times if low - 1e-9 <= time <= high + 1e-9] for low, high in windows]


def named(manifest: Manifest, start_ns: int = START_NS) -> list[tuple[str, float, float]]:
    """Return the events of a scene, in seconds from the start."""
    return [
        (event["name"], (event["begin_ns"] - start_ns) / 1e9, (event["end_ns"] - start_ns) / 1e9)
        for event in manifest.events
    ]
