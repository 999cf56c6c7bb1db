# SPDX-License-Identifier: Apache-2.0
"""Which configuration suits a recording: every choice with its reason and its alternatives."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from nucleus_bridge.config import Config, config_from_values
from nucleus_bridge.convert import CLOUD, FIX, IMU
from nucleus_bridge.decode.navsat import decode_fix
from nucleus_bridge.errors import DecodeError
from nucleus_bridge.inspect.camera import CameraFacts, base_topic, camera_facts, looks_like_depth
from nucleus_bridge.inspect.lidar import LidarFacts, lidar_facts
from nucleus_bridge.inspect.scan import Scan, Stream

_WORLDS = ("map", "world", "odom", "enu", "local")
_DEVICES = ("base_link", "base_footprint", "ego_vehicle", "ego", "body", "vehicle", "chassis")
_GET_POSE = "record /tf and /tf_static with an odometry or a localisation running, from a fixed frame down to this one"
_FILES = ("jpeg", "png")
_PLAIN = {
    "points", "point_cloud", "pointcloud", "pointcloud2", "cloud", "raw", "image", "image_raw", "image_color", "color",
    "image_rect", "image_rect_color", "compressed", "camera_info", "sensing", "sensors", "sensor", "drivers", "lidar",
    "camera", "cam", "velodyne_points", "points_raw", "rgb", "cloud_node",
}  # fmt: skip


@dataclass
class Suggestion:
    """A configuration for a recording and how it came about.

    Attributes:
        values: Parameters by dotted name.
        reasons: Comment lines by dotted name (or by group, as ``lidars.top``).
        no_pose: Why there is no moving pose of the first lidar, and how to get it; '' when there is.
        missing: What stands in the way of a full scene, and how to get it.
        lidars: What was seen of each cloud topic.
        cameras: What was seen of each image topic.
        lidar_names: Name of each chosen cloud topic.
        camera_names: Name of each chosen image topic.
        left_out: Why a sensor topic was not chosen.
    """

    values: dict[str, object] = field(default_factory=dict)
    reasons: dict[str, list[str]] = field(default_factory=dict)
    no_pose: str = ""
    missing: list[str] = field(default_factory=list)
    lidars: dict[str, LidarFacts] = field(default_factory=dict)
    cameras: dict[str, CameraFacts] = field(default_factory=dict)
    lidar_names: dict[str, str] = field(default_factory=dict)
    camera_names: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def config(self) -> Config | None:
        """Return the checked configuration; None when there is no lidar to build on."""
        return config_from_values(self.values) if self.lidar_names else None

    def put(self, key: str, value: object, *reasons: str) -> None:
        """Choose a value for a reason."""
        self.values[key] = value
        self.reasons[key] = [reason for reason in reasons if reason]


def suggest(scan: Scan) -> Suggestion:
    """Choose a configuration by what a scan saw."""
    suggestion = Suggestion()
    clouds = {stream.info.name: stream for stream in scan.of_type(CLOUD)}
    suggestion.lidars = {topic: lidar_facts(stream) for topic, stream in clouds.items()}
    suggestion.cameras = {facts.image_topic: facts for facts in camera_facts(scan)}
    chosen = _choose_lidars(suggestion, clouds)
    if not chosen:
        suggestion.missing.append(
            "a lidar: no sensor_msgs/msg/PointCloud2 topic has usable clouds; record one (every frame needs a cloud)"
        )
    _frames(suggestion, scan, [clouds[topic] for topic in chosen])
    if suggestion.no_pose:
        suggestion.missing.insert(0, suggestion.no_pose)
    suggestion.lidar_names = _names(chosen, "lidar", set())
    cameras = _choose_cameras(suggestion)
    suggestion.camera_names = _names(cameras, "camera", set(suggestion.lidar_names.values()) | {"lidar"})
    suggestion.put("lidar_names", list(suggestion.lidar_names.values()), _order_reason(chosen))
    for topic, name in suggestion.lidar_names.items():
        _lidar(suggestion, name, clouds[topic], clouds[chosen[0]])
    if suggestion.camera_names:
        suggestion.put("camera_names", list(suggestion.camera_names.values()))
    for topic, name in suggestion.camera_names.items():
        _camera(suggestion, name, scan.streams[topic], clouds.get(chosen[0]) if chosen else None)
    _gps(suggestion, scan)
    _point_fields(suggestion)
    return suggestion


def _choose_lidars(suggestion: Suggestion, clouds: dict[str, Stream]) -> list[str]:
    best: dict[str, str] = {}
    for topic in sorted(clouds, key=lambda topic: (-suggestion.lidars[topic].points, not _is_main(topic), topic)):
        facts, frame = suggestion.lidars[topic], clouds[topic].frame_id
        if facts.problem:
            suggestion.left_out[topic] = facts.problem
        elif "radar" in topic:
            suggestion.left_out[topic] = "its name says that it is a radar"
        elif frame in best:
            suggestion.left_out[topic] = f"same frame {frame!r} as {best[frame]}, which has more points"
        else:
            best[frame] = topic
    return list(best.values())


def _is_main(topic: str) -> bool:
    return any(word in topic.lower() for word in ("top", "main", "center", "centre", "roof"))


def _order_reason(chosen: list[str]) -> str:
    if len(chosen) < 2:
        return ""
    return f"the first has the most points a sweep and sets the frames; all {len(chosen)} are merged into one cloud"


def _choose_cameras(suggestion: Suggestion) -> list[str]:
    groups: dict[str, list[str]] = {}
    problems: dict[str, list[str]] = {}
    for topic, facts in suggestion.cameras.items():
        if looks_like_depth(topic) or facts.encoding in ("16UC1", "32FC1"):
            suggestion.left_out[topic] = "depth or something else than a picture"
        elif facts.problem:
            suggestion.left_out[topic] = facts.problem
            problems.setdefault(facts.problem.replace(base_topic(topic), "<their namespace>"), []).append(topic)
        else:
            groups.setdefault(base_topic(topic), []).append(topic)
    suggestion.missing += [f"{', '.join(topics)}: {problem}" for problem, topics in problems.items()]
    chosen = []
    for topics in groups.values():
        topics.sort(key=lambda topic: (suggestion.cameras[topic].encoding not in _FILES, "rect" in topic, topic))
        chosen.append(topics[0])
        suggestion.left_out.update(dict.fromkeys(topics[1:], f"the same camera as {topics[0]}"))
    return sorted(chosen)


def _frames(suggestion: Suggestion, scan: Scan, lidars: list[Stream]) -> None:
    """Choose world and device by climbing from the first lidar's frame."""
    if not lidars:
        return
    start = lidars[0].frame_id
    above = [start]
    tree = scan.tree
    while above[-1] in tree.frames() and (parent := tree.parent_of(above[-1])) is not None and parent not in above:
        above.append(parent)
    moving = [i for i, frame in enumerate(above[:-1]) if not tree.is_static(frame)]
    if len(above) == 1:
        known = ", ".join(tree.frames()) or "none"
        suggestion.no_pose = f"no pose: no transform has the lidar's frame {start!r} (there are: {known}); {_GET_POSE}"
        suggestion.put("world_frame", start, f"NO POSE: {start!r} is in no transform, so the sensor's own frame it is.")
        suggestion.put("device_frame", start, "the lidar itself")
        return
    world = next((frame for frame in _WORLDS if frame in above), above[-1])
    device = above[moving[0]] if moving else above[-1]
    named = [frame for frame in _DEVICES if frame in above[: above.index(world) or None]]
    others = [frame for frame in above if frame != world]
    suggestion.put(
        "world_frame",
        world,
        f"above the lidar are {' <- '.join(reversed(above))}",
        f"alternatives: {', '.join(reversed(others))}" if others else "",
    )
    if not moving:
        suggestion.no_pose = (
            f"no pose over time: every transform from {start!r} up to {above[-1]!r} is static; {_GET_POSE}"
        )
    suggestion.put(
        "device_frame",
        named[0] if named else device,
        "the usual name" if named else ("the frame that moves" if moving else "the root; nothing moves"),
        "what is below it is fixed to it" if moving else "",
    )


def _names(topics: list[str], kind: str, taken: set[str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for topic in topics:
        parts = [re.sub(r"[^A-Za-z0-9_]", "_", part) for part in topic.strip("/").split("/")]
        telling = [part for part in parts if part.lower() not in _PLAIN and not part.startswith("image_rect")]
        name = telling[-1] if telling else kind
        if name in taken or name in ("frames", "self"):
            name = f"{kind}_{name}"
        number = 2
        while name in names.values() or name in taken:
            name = f"{name.rstrip('0123456789')}{number}"
            number += 1
        names[topic] = name
    return names


def _lidar(suggestion: Suggestion, name: str, stream: Stream, reference: Stream) -> None:
    facts, key = suggestion.lidars[stream.info.name], f"lidars.{name}"
    others = [f"{topic} ({why})" for topic, why in suggestion.left_out.items() if topic in suggestion.lidars]
    suggestion.put(
        f"{key}.topic",
        stream.info.name,
        f"{facts.points} points a sweep, frame {stream.frame_id!r}",
        f"left out: {'; '.join(others)}" if others else "",
    )
    suggestion.put(f"{key}.intensity_field", facts.intensity_field, facts.intensity_reason)
    suggestion.put(f"{key}.intensity_max", facts.intensity_max)
    suggestion.put(f"{key}.time_field", facts.time_field, facts.timing, *facts.notes)
    suggestion.put(f"{key}.stamp", "start", "as most drivers do; `end` if yours stamps the end of the sweep")
    if stream is not reference:
        offset, spread = stamp_offset_ms(stream, reference)
        measured = f"median of its stamps against the first lidar's, spread {spread:.1f} ms"
        suggestion.put(f"{key}.offset_ms", offset, measured)
        suggestion.put(f"{key}.tolerance_ms", _tolerance(stream, reference, spread), "half the shorter period")


def _camera(suggestion: Suggestion, name: str, stream: Stream, reference: Stream | None) -> None:
    facts, key = suggestion.cameras[stream.info.name], f"cameras.{name}"
    same = [topic for topic, why in suggestion.left_out.items() if why.endswith(f" {facts.image_topic}")]
    suggestion.put(
        f"{key}.image_topic",
        facts.image_topic,
        f"{facts.size[0]} x {facts.size[1]} {facts.encoding}, frame {facts.frame_id!r}",
        f"alternatives: {', '.join(same)}" if same else "",
    )
    suggestion.put(f"{key}.info_topic", facts.info_topic, f"{facts.pairing}; {facts.model}", facts.rectified)
    suggestion.put(f"{key}.optical_frame", facts.optical_frame, *(facts.notes or ("empty: the images' own frame id",)))
    if reference is not None:
        offset, spread = stamp_offset_ms(stream, reference)
        measured = f"median of image stamp - nearest sweep stamp; 95 % are within {spread:.1f} ms of it"
        suggestion.put(f"{key}.offset_ms", offset, measured)
        suggestion.put(f"{key}.tolerance_ms", _tolerance(stream, reference, spread), "half the shorter period")
    suggestion.put(f"{key}.required", False, "true drops frames without an image of this camera")


def stamp_offset_ms(stream: Stream, reference: Stream) -> tuple[float, float]:
    """Return how far a stream's stamps are from the reference's nearest, and 95 % of the spread around that, in ms.

    The offset is 0 where it is below a millisecond or too irregular to mean anything.
    """
    times, sweeps = stream.times, reference.times
    if not len(times) or len(sweeps) < 2:
        return 0.0, 0.0
    place = np.clip(np.searchsorted(times, sweeps), 1, max(1, len(times) - 1))
    pairs = np.stack([times[np.minimum(place, len(times) - 1)], times[place - 1]]) - sweeps
    nearest = pairs[np.abs(pairs).argmin(axis=0), np.arange(len(sweeps))] / 1e6
    near = nearest[np.abs(nearest) <= reference.period_ns / 1e6]
    if not len(near):
        return 0.0, 0.0
    median = float(np.median(near))
    spread = float(np.percentile(np.abs(near - median), 95))
    period_ms = min(reference.period_ns, stream.period_ns or reference.period_ns) / 1e6
    if abs(median) < 1.0 or spread > period_ms / 4:
        return 0.0, float(np.percentile(np.abs(near), 95))
    return round(median, 1), spread


def _tolerance(stream: Stream, reference: Stream, spread_ms: float) -> float:
    period_ms = min(reference.period_ns or 1e8, stream.period_ns or 1e8) / 1e6
    return round(float(np.clip(max(period_ms / 2, spread_ms), 1.0, 5_000.0)), 1)


def _point_fields(suggestion: Suggestion) -> None:
    names = list(suggestion.lidar_names.values())
    if not names:
        return
    fields = ["intensity"] if all(suggestion.values[f"lidars.{name}.intensity_field"] for name in names) else []
    more = ["device"] if len(names) > 1 else []
    suggestion.put(
        "point_fields",
        [*fields, *more],
        "device numbers the lidars" if more else "",
        "" if fields else "no intensity: not every lidar has one",
        "alternatives: time (each point's own), is_ground (with lidars.<name>.ground_field)",
    )


def _gps(suggestion: Suggestion, scan: Scan) -> None:
    for stream in scan.of_type(FIX):
        fixes = 0
        for message in stream.first:
            try:
                fixes += decode_fix(message) is not None
            except DecodeError:
                continue
        if fixes:
            imus = [imu.info.name for imu in scan.of_type(IMU)]
            heading = next((topic for topic in imus if "heading" in topic), "")
            suggestion.put("gps.topic", stream.info.name, "has fixes")
            suggestion.put(
                "gps.heading_topic",
                heading,
                "its name says heading" if heading else "empty: the course over ground is the bearing",
                f"Imu topics whose orientation may be in ENU: {', '.join(imus)}" if imus and not heading else "",
            )
            return
        suggestion.left_out[stream.info.name] = "no fix in its first messages"
