# SPDX-License-Identifier: Apache-2.0
"""Which of the clouds in a recording are lidars: one cloud for each sensor, none that was computed from others."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np

from nucleus_bridge import warnings
from nucleus_bridge.errors import TransformError
from nucleus_bridge.geometry import transforms as poses
from nucleus_bridge.inspect.clouds import CloudFacts, usable_points
from nucleus_bridge.inspect.scan import Scan, Stream
from nucleus_bridge.inspect.transforms import Transforms, motion_of
from nucleus_bridge.model import FloatArray
from nucleus_bridge.warnings import Finding

WORLDS = ("map", "world", "odom", "enu", "local")
DEVICES = ("base_link", "base_footprint", "ego_vehicle", "ego", "body", "vehicle", "chassis")
_TRAVELLED_M = 0.3
_GROWTH = 1.5
_SAME_STAMPS = 0.8
_SAME_POINTS = 0.9
_SAME_M = 0.1
_LEAST_PARTS, _SAME_SUM = 2, 0.03
_PACKED = re.compile(r"/(draco|zlib|zstd|cloudini)(_\w+)?$")
_COLOURS = {"rgb", "rgba"}
_LIDAR_COLUMNS = {"ring", "intensity", "reflectivity", "t", "time", "timestamp", "channel", "laser_id"}
_SECOND = re.compile(r"(second|2nd|last|dual|weak)[_-]?(return|echo)|points2$|(return|echo)[_-]?(2|second)")
_COMPUTED = re.compile(
    r"filter|segment|obstacle|ground|crop|downsampl|voxel|cluster|map|registered|undistort|deskew|rectified|outlier|"
    r"aligned|concat|fused|merged|corrected|compensated|transformed"
)
_SIDE = re.compile(r"(top|roof|cent(er|re)|(front|rear|back|fwd|forward)([_-]?(left|right|cent(er|re)))?|left|right)")
_PLAIN = {
    "points", "point", "pointcloud", "pointcloud2", "pcl", "pc2", "pc", "cloud", "clouds", "raw", "image", "images",
    "color", "colour", "rect", "compressed", "camera", "info", "sensing", "sensors", "sensor", "drivers", "driver",
    "lidar", "lidars", "cam", "rgb", "node", "ex", "data", "velodyne", "scan", "mono", "topic", "video", "packets",
    "radar", "detections", "targets", "objects", "returns", "h264", "h265", "ffmpeg", "draco", "zlib", "zstd",
    "cloudini", "rectified", "bgr", "stream",
}  # fmt: skip


class Why(Enum):
    """Why a topic is not among the configured sensors."""

    BROKEN = "broken"
    RADAR = "radar"
    WORLD_FRAME = "world_frame"
    GROWING = "growing"
    DEVICE_FRAME = "device_frame"
    CONCATENATED = "concatenated"
    DEPTH_CAMERA = "depth_camera"
    SECOND_RETURN = "second_return"
    SAME_FRAME = "same_frame"
    SAME_CLOUD = "same_cloud"
    SAME_CAMERA = "same_camera"
    NO_PICTURE = "no_picture"
    NO_CALIBRATION = "no_calibration"
    NO_FIX = "no_fix"
    NO_CLOUD = "no_cloud"
    TRANSPORT = "transport"
    OTHER_ROBOT = "other_robot"


DERIVED = frozenset(
    {
        Why.WORLD_FRAME,
        Why.GROWING,
        Why.DEVICE_FRAME,
        Why.CONCATENATED,
        Why.DEPTH_CAMERA,
        Why.SECOND_RETURN,
        Why.SAME_CLOUD,
    }
)
"""Clouds that no lidar sent."""


@dataclass(frozen=True)
class LeftOut:
    """A topic that was not chosen.

    Attributes:
        why: The reason.
        text: The same for a person.
        other: The topic that was chosen in its place, or ''.
    """

    why: Why
    text: str
    other: str = ""


def choose_lidars(
    scan: Scan, transforms: Transforms, facts: Mapping[str, CloudFacts]
) -> tuple[list[str], dict[str, LeftOut]]:
    """Choose the topics that are lidars, the first the one that sets the frames; say of the others why not."""
    streams = {topic: scan.streams[topic] for topic in facts}
    left: dict[str, LeftOut] = {}
    for topic, seen in facts.items():
        if seen.problem and "imu" in topic.rpartition("/")[2]:
            left[topic] = LeftOut(Why.NO_CLOUD, "packets of an inertial unit")
        elif seen.problem:
            left[topic] = LeftOut(Why.BROKEN, seen.problem)
        elif seen.is_radar:
            left[topic] = LeftOut(Why.RADAR, "a radar by its columns and name")
    rest = [topic for topic in facts if topic not in left]
    computed = _computed(rest, streams, scan, transforms, facts)
    raw = [topic for topic in rest if topic not in computed]
    if not raw:  # a computed cloud is better than none
        raw = [topic for topic in rest if computed[topic].why is not Why.GROWING][:1] or rest[:1]
    left.update({topic: why for topic, why in computed.items() if topic not in raw})
    for topic, parts in _joined(raw, streams, facts).items():
        left[topic] = LeftOut(Why.CONCATENATED, f"the clouds of {', '.join(parts)} in one", parts[0])
    raw = [topic for topic in raw if topic not in left]
    chosen = _one_a_frame(raw, streams, transforms, facts, left)
    return _without_copies(chosen, streams, transforms, facts, left), left


def derived_findings(left: Mapping[str, LeftOut]) -> list[Finding]:
    """Name the clouds that no lidar sent."""
    return [warnings.derived_cloud(topic, out.text) for topic, out in sorted(left.items()) if out.why in DERIVED]


def world_frames(transforms: Transforms, frames: Collection[str]) -> frozenset[str]:
    """Return the frames in which the device with most of these sensors' frames moves about."""
    known = [frame for frame in frames if frame in transforms.tree.frames()]
    found: set[str] = set()
    for child in {track.child for track in transforms.tracks if not track.static}:
        below = sum(child in transforms.above(frame) for frame in known)
        motion = motion_of(transforms.tracks_of(child))
        parent = transforms.tree.parent_of(child)
        if parent is None or not below or 2 * below < len([f for f in known if f not in WORLDS]):
            continue
        if motion.extent_m > _TRAVELLED_M or parent in WORLDS:
            found.update(transforms.above(parent))
    return frozenset(found)


def _computed(
    topics: Iterable[str],
    streams: Mapping[str, Stream],
    scan: Scan,
    transforms: Transforms,
    facts: Mapping[str, CloudFacts],
) -> dict[str, LeftOut]:
    topics = list(topics)
    pictures = {stream.frame_id for stream in scan.of_kind("image")}
    worlds = world_frames(transforms, [s.frame_id for s in streams.values()] + sorted(pictures))
    found: dict[str, LeftOut] = {}
    for topic in topics:
        seen, frame = facts[topic], streams[topic].frame_id
        if _grows(seen) and (frame in worlds or frame in WORLDS):
            text = f"a map that grows in the frame {frame!r}"
            found[topic] = LeftOut(Why.GROWING, text)
        elif frame in worlds or (frame in WORLDS and len(topics) > 1):
            text = f"its points are in {frame!r}, in which the device moves: a registered cloud"
            found[topic] = LeftOut(Why.WORLD_FRAME, text)
        elif (seen.names & _COLOURS and not seen.names & _LIDAR_COLUMNS) or (frame in pictures and "optical" in frame):
            text = f"the cloud of a depth camera, in the frame {frame!r}"
            found[topic] = LeftOut(Why.DEPTH_CAMERA, text)
    raw = [topic for topic in topics if topic not in found]
    found.update(_in_device_frame(raw, streams, transforms, facts))
    return found


def _grows(facts: CloudFacts) -> bool:
    """Whether each cloud has at least the points of the one before, and the last many more than the first."""
    counts = [len(cloud.points) for cloud in facts.clouds]
    if len(counts) < 3:
        return False
    return bool((np.diff(counts) >= 0).all()) and counts[-1] > _GROWTH * counts[0]


def _in_device_frame(
    topics: list[str], streams: Mapping[str, Stream], transforms: Transforms, facts: Mapping[str, CloudFacts]
) -> dict[str, LeftOut]:
    """Find clouds in a frame from which other clouds' frames hang: those are nearer to a sensor."""
    found = {}
    for topic in topics:
        frame = streams[topic].frame_id
        others = [
            other
            for other in topics
            if streams[other].frame_id != frame and frame in transforms.above(streams[other].frame_id)[1:]
        ]
        if not others:
            continue
        total = sum(facts[other].points for other in others)
        if len(others) > 1 and 0.8 * total < facts[topic].points < 1.2 * total:
            text = f"the clouds of {', '.join(sorted(others))} in one, in the frame {frame!r}"
            found[topic] = LeftOut(Why.CONCATENATED, text, others[0])
        else:
            text = f"in the device's frame {frame!r}, beside the lidars' own clouds ({', '.join(sorted(others))})"
            found[topic] = LeftOut(Why.DEVICE_FRAME, text, others[0])
    return found


def _joined(topics: list[str], streams: Mapping[str, Stream], facts: Mapping[str, CloudFacts]) -> dict[str, list[str]]:
    """Find clouds that have the points of several others together, in the frame of one of those."""
    found: dict[str, list[str]] = {}
    for topic in topics if len(topics) > _LEAST_PARTS else ():
        parts = sorted(
            other
            for other in topics
            if other != topic
            and facts[other].points < facts[topic].points
            and _share_of_stamps(streams[other], streams[topic]) > _SAME_STAMPS
        )
        total = sum(facts[part].points for part in parts)
        frames = [streams[part].frame_id for part in parts]
        is_sum = abs(facts[topic].points - total) < _SAME_SUM * total
        if len(parts) >= _LEAST_PARTS and is_sum and streams[topic].frame_id in frames:
            found[topic] = parts
    return found


def _one_a_frame(
    topics: list[str],
    streams: Mapping[str, Stream],
    transforms: Transforms,
    facts: Mapping[str, CloudFacts],
    left: dict[str, LeftOut],
) -> list[str]:
    """Take the best cloud of each frame, in the order of what it is worth as the one that sets the frames."""

    def worth(topic: str) -> tuple[object, ...]:
        posed = streams[topic].frame_id in transforms.tree.frames()
        computed = bool(_COMPUTED.search(topic.lower()) or _SECOND.search(topic.lower()))
        is_raw = facts[topic].times.is_good  # what is computed of a cloud mostly loses them
        return not posed, computed, not is_raw, -facts[topic].points, not _is_main(topic), topic

    best: dict[str, str] = {}
    for topic in sorted(topics, key=worth):
        frame = streams[topic].frame_id
        other = best.setdefault(frame, topic)
        if other == topic:
            continue
        same = _share_of_stamps(streams[topic], streams[other]) > _SAME_STAMPS
        if same and _is_transport(topic, other):
            left[topic] = LeftOut(Why.TRANSPORT, f"{other} in another form", other)
        elif same and _SECOND.search(topic.lower()):
            left[topic] = LeftOut(Why.SECOND_RETURN, f"the second returns of {other}", other)
        elif same:
            text = f"made of the same sweeps as {other}, in the same frame {frame!r}"
            left[topic] = LeftOut(Why.SAME_CLOUD, text, other)
        else:
            more = f", which has {facts[other].points} points a sweep against {facts[topic].points}"
            left[topic] = LeftOut(Why.SAME_FRAME, f"in the same frame {frame!r} as {other}{more}", other)
    return list(best.values())


def _is_transport(topic: str, other: str) -> bool:
    """Whether a topic is another one as point_cloud_transport packs it."""
    return topic.startswith(f"{other}/") or (
        topic.rpartition("/")[0] == other.rpartition("/")[0] and _PACKED.search(topic) is not None
    )


def _without_copies(
    topics: list[str],
    streams: Mapping[str, Stream],
    transforms: Transforms,
    facts: Mapping[str, CloudFacts],
    left: dict[str, LeftOut],
) -> list[str]:
    """Leave out clouds that show the same points as another one, in another frame."""
    kept: list[str] = []
    for topic in topics:
        for other in kept:
            if _share_of_stamps(streams[topic], streams[other]) <= _SAME_STAMPS:
                continue
            if _same_content(topic, other, streams, transforms, facts):
                frames = f"{streams[topic].frame_id!r} and {streams[other].frame_id!r}"
                left[topic] = LeftOut(Why.SAME_CLOUD, f"the same points as {other}, in another frame ({frames})", other)
                break
        else:
            kept.append(topic)
    return kept


def _share_of_stamps(one: Stream, other: Stream) -> float:
    stamps, others = one.times, other.times
    return float(np.isin(stamps, others).mean()) if len(stamps) else 0.0


def _same_content(
    topic: str, other: str, streams: Mapping[str, Stream], transforms: Transforms, facts: Mapping[str, CloudFacts]
) -> bool:
    """Whether nearly every point of one cloud lies on a point of the other one of the same stamp."""
    by_stamp = {cloud.stamp_ns: cloud for cloud in facts[other].clouds}
    shares = []
    for cloud in facts[topic].clouds:
        partner = by_stamp.get(cloud.stamp_ns)
        if partner is None:
            continue
        try:
            pose = transforms.tree.lookup(streams[other].frame_id, streams[topic].frame_id, cloud.stamp_ns)
        except TransformError:
            return False
        mine, _ = usable_points(cloud)
        theirs, _ = usable_points(partner)
        if not len(mine) or not len(theirs):
            continue
        moved = poses.apply(pose, mine[:: max(1, len(mine) // 200)])
        shares.append(float((_nearest(moved, theirs[:: max(1, len(theirs) // 20_000)]) < _SAME_M).mean()))
        if len(shares) == 2:
            break
    return bool(shares) and min(shares) > _SAME_POINTS


def _nearest(points: FloatArray, among: FloatArray) -> FloatArray:
    """Return the distance of each point to the nearest of others, shapes (n, 3) and (m, 3)."""
    out = np.empty(len(points))
    for row, point in enumerate(points):
        out[row] = np.sqrt(((among - point) ** 2).sum(axis=1).min())
    return out


def _is_main(topic: str) -> bool:
    return any(word in topic.lower() for word in ("top", "main", "center", "centre", "roof"))


def names_for(topics: Iterable[str], kind: str, taken: Collection[str]) -> dict[str, str]:
    """Give each topic a short name that tells it from the others: the last telling word of the topic."""
    names: dict[str, str] = {}
    for topic in topics:
        name = _telling(topic, kind)
        if name in taken or name in ("frames", "self"):
            name = f"{kind}_{name}" if name != kind else f"{kind}_1"
        number = 2
        while name in names.values() or name in taken:
            name = f"{name.rstrip('0123456789').rstrip('_')}_{number}"
            number += 1
        names[topic] = name
    return names


def _telling(topic: str, kind: str) -> str:
    """Return the part of a topic that says which sensor it is: where it looks, else its last telling word."""
    for part in reversed(topic.strip("/").split("/")):
        if _SIDE.fullmatch(part.lower()):
            return re.sub(r"[^A-Za-z0-9]+", "_", part)
    for part in reversed(topic.strip("/").split("/")):
        words = [word for word in re.sub(r"[^A-Za-z0-9]+", "_", part).strip("_").split("_") if word]
        while words and words[-1].lower() in _PLAIN:
            words.pop()
        while words and words[0].lower() in _PLAIN:
            words.pop(0)
        if words:
            name = "_".join(words)
            return f"{kind}_{name}" if name.isdigit() else name
    return kind
