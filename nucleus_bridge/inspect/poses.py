# SPDX-License-Identifier: Apache-2.0
"""World and device frame of a recording, and what to do where nothing says how the device moves."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from nucleus_bridge import warnings
from nucleus_bridge.decode.pose import decode_description
from nucleus_bridge.errors import DecodeError
from nucleus_bridge.inspect.clouds import decoded
from nucleus_bridge.inspect.lidars import DEVICES, WORLDS
from nucleus_bridge.inspect.scan import Scan, Stream, Track
from nucleus_bridge.inspect.transforms import Transforms, motion_of
from nucleus_bridge.poses.urdf import UrdfError, parse_urdf
from nucleus_bridge.warnings import Finding

_BEST_POSES = ("Odometry", "TransformStamped", "PoseWithCovarianceStamped", "PoseStamped")
_MIN_COMPARED_HZ = 1.0
_MOST_COMPARED = 4
_RECORD = "record /tf and /tf_static with an odometry or a localisation running"
_MOVES_M, _TURNS_COSINE = 0.3, 0.99985  # half of 2 degrees


@dataclass
class Frames:
    """World and device frame, and what is missing.

    Attributes:
        world: ``world_frame``.
        device: ``device_frame``.
        world_reasons: Why, and alternatives.
        device_reasons: The same.
        moves: Whether something says how the device moves.
        standing: Why points are only right if the device stood still; '' when it may move.
        values: Further parameters, each with its value and reason.
        extras: Lines that only need to be uncommented.
        findings: Warnings.
        missing: What is missing for a full scene.
    """

    world: str = ""
    device: str = ""
    world_reasons: list[str] = field(default_factory=list)
    device_reasons: list[str] = field(default_factory=list)
    moves: bool = False
    standing: str = ""
    values: list[tuple[str, object, str]] = field(default_factory=list)
    extras: list[list[str]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def choose_frames(scan: Scan, transforms: Transforms, lidar: Stream | None) -> Frames:
    """Choose world and device by climbing from the first lidar's frame."""
    if lidar is None:
        return Frames()
    start = lidar.frame_id
    above = transforms.above(start)
    moving = transforms.moving_above(start)
    if moving:
        frames = _moving(above, moving)
        if transforms.pose_topic:
            _add_pose(frames, transforms)
        _add_compared(frames, scan, transforms)
        return frames
    if (world := _world_below(transforms, above)) is not None:
        return _upside_down(world, above)
    elsewhere = _moving_elsewhere(transforms)
    if elsewhere is not None:
        return _without_mount(elsewhere, start, lidar.name)
    return _without_pose(scan, transforms, start, above)


def _moving(above: list[str], moving: list[str]) -> Frames:
    world = next((frame for frame in WORLDS if frame in above), above[-1])
    if world in moving and above.index(world) <= above.index(moving[0]):
        world = above[-1]
    named = [frame for frame in DEVICES if frame in above[: above.index(world) or None]]
    others = [frame for frame in above if frame != world]
    return Frames(
        world,
        named[0] if named else moving[0],
        [
            f"above the lidar are {' <- '.join(reversed(above))}",
            f"alternatives: {', '.join(reversed(others))}" if others else "",
        ],
        ["the usual name" if named else "the frame that moves", "what is below it is fixed to it"],
        moves=True,
    )


def _moves(track: Track) -> bool:
    motion = motion_of([track])
    if not len(motion.rotations):
        return False
    least = np.abs((motion.rotations * motion.rotations[0]).sum(axis=1)).min()
    return motion.extent_m > _MOVES_M or float(least) < _TURNS_COSINE


def _world_below(transforms: Transforms, above: list[str]) -> str | None:
    """Return the world's frame where it hangs below the device: what publishes the pose publishes its inverse."""
    root = above[-1]
    moving = {
        track.child
        for track in transforms.tracks
        if not track.static and _moves(track) and root in transforms.above(track.child)
    }
    return next((frame for frame in WORLDS if frame in moving and frame not in above), None)


def _upside_down(world: str, above: list[str]) -> Frames:
    device = next((frame for frame in DEVICES if frame in above), above[-1])
    return Frames(
        world,
        device,
        [f"it hangs below {above[-1]!r}, whose pose in it is the inverse of what is published"],
        ["the usual name" if device in DEVICES else "above the lidar", "what is below it is fixed to it"],
        moves=True,
    )


def _add_pose(frames: Frames, transforms: Transforms) -> None:
    """Take the device's poses from a topic."""
    track = next(track for track in transforms.tracks if track.topic == transforms.pose_topic)
    reason = f"no transform says how {track.child!r} moves; {track.topic} tells its pose in {track.parent!r}"
    frames.values += [("pose_names", ["ego"], reason), ("poses.ego.topic", track.topic, "")]
    if track.child != frames.device:
        frames.values.append(("poses.ego.child_frame", track.child, "the body whose pose it is"))


def _add_compared(frames: Frames, scan: Scan, transforms: Transforms) -> None:
    """Let the review page draw what other topics say of the device's poses."""
    span_s = max(scan.read_s, 1.0)
    others = [
        stream
        for stream in pose_topics(scan)
        if stream.name != transforms.pose_topic and stream.info.count / span_s >= _MIN_COMPARED_HZ
    ][:_MOST_COMPARED]
    if not others:
        return
    names = {re.sub(r"[^A-Za-z0-9]+", "_", stream.name).strip("_") or "pose": stream.name for stream in others}
    at = next((i for i, (key, *_) in enumerate(frames.values) if key == "pose_names"), None)
    reason = "the review page draws what they say beside the poses that scenes use"
    if at is None:
        frames.values.append(("pose_names", list(names), reason))
    else:
        _, used, why = frames.values[at]
        frames.values[at] = "pose_names", [*(used if isinstance(used, list) else ()), *names], f"{why}; {reason}"
    for name, topic in names.items():
        frames.values += [(f"poses.{name}.topic", topic, ""), (f"poses.{name}.compare_only", True, "")]


def _moving_elsewhere(transforms: Transforms) -> list[str] | None:
    """Return the frames above the device, it first, where transforms say how something moves that is not a sensor."""
    best: list[str] | None = None
    for child in sorted({track.child for track in transforms.tracks if not track.static}):
        above = transforms.above(child)
        if best is None or (child in DEVICES, len(above)) > (best[0] in DEVICES, len(best)):
            best = above
    return best


def _without_mount(above: list[str], start: str, topic: str) -> Frames:
    frames = _moving(above, above[:-1])
    finding = warnings.no_mount(start, topic, frames.device, "lidar")
    frames.missing.append(f"{finding.text}; {finding.remedy}")
    return frames


def _without_pose(scan: Scan, transforms: Transforms, start: str, above: list[str]) -> Frames:
    known = ", ".join(transforms.tree.frames()) or "none"
    if len(above) == 1:
        there = f"there are: {known}" if transforms.tree.frames() else "there are none"
        text = f"no pose: no transform has the lidar's frame {start!r} ({there})"
        frames = Frames(
            start,
            start,
            [f"NO POSE: {start!r} is in no transform, so the sensor's own frame is used."],
            ["the lidar itself"],
        )
    else:
        text = f"no pose over time: every transform from {start!r} up to {above[-1]!r} is static"
        world = next((frame for frame in WORLDS if frame in above), above[-1])
        named = [frame for frame in DEVICES if frame in above]
        frames = Frames(
            world,
            named[0] if named else above[-1],
            [f"above the lidar are {' <- '.join(reversed(above))}"],
            ["the usual name" if named else "the root; nothing moves"],
        )
    topics = pose_topics(scan)
    frames.standing = text
    remedy = (
        f"{_RECORD}, or name a trajectory: world_frame: map, pose_names: [ego], poses.ego.file: trajectory.tum; "
        "nucleus-bridge odometry BAG --config FILE -o trajectory.tum estimates one"
    )
    frames.missing.append(f"{text}; {remedy}")
    frames.findings.append(warnings.no_pose(start, text, remedy))
    for stream in topics:
        line = f"pose_names: [ego], poses.ego.topic: {stream.name}"
        frames.findings.append(
            warnings.pose_unused(stream.name, stream.info.type_name.rpartition("/")[2], stream.info.count, line)
        )
    if topics:
        first = topics[0]
        into = first.frame_id or "the frame that they are in"
        way = f"To use the poses of {first.name}: set world_frame to {into} and uncomment:"
        frames.extras.append([way, "pose_names: [ego]", f"poses.ego.topic: {first.name}"])
    else:
        way = "To use a trajectory: set world_frame to map and uncomment:"
        frames.extras.append([way, "pose_names: [ego]", "poses.ego.file: trajectory.tum"])
    return frames


def pose_topics(scan: Scan) -> list[Stream]:
    """Return the topics that tell poses, those that say most first."""
    streams = scan.of_kind("pose")

    def worth(stream: Stream) -> tuple[int, int, str]:
        kind = stream.info.type_name.rpartition("/")[2]
        place = _BEST_POSES.index(kind) if kind in _BEST_POSES else len(_BEST_POSES)
        return place, -stream.info.count, stream.name

    return sorted((stream for stream in streams if stream.info.count > 1), key=worth)


def with_description(scan: Scan, transforms: Transforms) -> Transforms:
    """Add the fixed joints of a recorded robot description whose child no transform has."""
    known = {track.child for track in transforms.tracks}
    for topic, message in sorted(scan.texts.items()):
        try:
            edges = parse_urdf(decode_description(message)).edges
        except (UrdfError, DecodeError):
            continue
        tracks = []
        for edge in edges:
            if edge.child not in known:
                track = Track(topic, edge.parent, edge.child, static=True)
                track.add(0, scan.start_ns, edge.translation, edge.rotation_xyzw)
                tracks.append(track)
        if tracks:
            return replace(transforms.extended(tracks), description=topic)
    return transforms


def with_poses(scan: Scan, transforms: Transforms, sensors: Iterable[Stream]) -> Transforms:
    """Add the best topic that tells poses, where no transform says how the sensors move."""
    frames = [stream.frame_id for stream in sensors]
    if any(transforms.moving_above(frame) for frame in frames) or _moving_elsewhere(transforms) is not None:
        return transforms
    roots = Counter(transforms.above(frame)[-1] for frame in frames if len(transforms.above(frame)) > 1)
    if not roots:
        return transforms
    device = roots.most_common(1)[0][0]
    for stream in pose_topics(scan):
        track = _pose_track(stream, device)
        if track is not None and track.child in transforms.tree.frames() and track.parent != track.child:
            return replace(transforms.extended([track]), pose_topic=stream.name)
    return transforms


def _pose_track(stream: Stream, device: str) -> Track | None:
    """Read the poses that were sampled of a topic; one that names no body is of the device."""
    track: Track | None = None
    for message in stream.samples.messages:
        try:
            samples = decoded(message, "pose", None)
        except DecodeError:
            continue
        for sample in samples:
            if track is None:
                track = Track(stream.name, sample.parent, sample.child or device, static=False)
            track.add(sample.stamp_ns, message.log_ns, sample.translation, sample.rotation_xyzw)
    return track if track is not None and track.parent and len(track) > 1 else None
