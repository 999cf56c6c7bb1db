# SPDX-License-Identifier: Apache-2.0
"""What is noted of messages on their way, cheaply, for warnings that several of them make; it decides nothing."""

from __future__ import annotations

from array import array
from collections import defaultdict
from dataclasses import dataclass, field

from nucleus_bridge.decode.camera_info import CameraInfo
from nucleus_bridge.decode.navsat import Fix
from nucleus_bridge.model import Frame, Image, Sweep
from nucleus_bridge.pipeline.kept_samples import KeptSamples
from nucleus_bridge.pipeline.repeats import Places, Repeats
from nucleus_bridge.poses import Edge

MOST = 2_000
"""At most this many messages of a topic, and samples of an edge, are kept: the first half, and the newest ones."""
_DROPPED = slice(MOST // 2, 3 * MOST // 4)


@dataclass
class SeenTopic:
    """What was noted of one topic, in the order of arrival.

    Attributes:
        type_name: Its interface type.
        stamps: Corrected stamps, ns; those that were never set are 0.
        logs: Log times, ns.
        is_cut: Whether something is left out after the first half of ``MOST``.
    """

    type_name: str
    stamps: array[int] = field(default_factory=lambda: array("q"))
    logs: array[int] = field(default_factory=lambda: array("q"))
    is_cut: bool = False


@dataclass
class SeenEdge:
    """What was noted of one edge of transforms, in the order of arrival.

    Attributes:
        stamps: Corrected stamps, ns.
        logs: Log times, ns.
        poses: Seven numbers a sample: x, y, z in metres, quaternion x, y, z, w.
        is_cut: Whether something is left out after the first half of ``MOST``.
    """

    stamps: array[int] = field(default_factory=lambda: array("q"))
    logs: array[int] = field(default_factory=lambda: array("q"))
    poses: array[float] = field(default_factory=lambda: array("d"))
    is_cut: bool = False


@dataclass
class SeenSweeps:
    """What was noted of the sweeps of one lidar.

    Attributes:
        is_absolute: Whether the points' times count from the epoch.
        firsts: Time of the first point of each sweep from its stamp, ns.
        lasts: The same of the last point.
    """

    is_absolute: bool
    firsts: array[int] = field(default_factory=lambda: array("q"))
    lasts: array[int] = field(default_factory=lambda: array("q"))


class Evidence:
    """Notes stamps and log times of topics, and the samples of edges by topic, parent and child.

    Attributes:
        log_step_ns: By how much log times may be too early: those of a clock that goes in steps.
    """

    def __init__(self) -> None:
        self.topics: dict[str, SeenTopic] = {}
        self.sweeps: dict[str, SeenSweeps] = {}
        self.edges: dict[tuple[str, str, str], SeenEdge] = {}
        self.statics: dict[str, list[Edge]] = {}
        self.samples = KeptSamples()
        self.log_step_ns = 0
        self.repeats: defaultdict[str, Repeats] = defaultdict(Repeats)
        self.places = Places()

    def note(self, topic: str, type_name: str, stamp_ns: int, log_ns: int) -> None:
        """Take note of a message."""
        seen = self.topics.get(topic)
        if seen is None:
            seen = self.topics[topic] = SeenTopic(type_name)
        if len(seen.stamps) >= MOST:
            seen.is_cut = True
            del seen.stamps[_DROPPED], seen.logs[_DROPPED]
        seen.stamps.append(stamp_ns)
        seen.logs.append(log_ns)

    def note_content(self, topic: str, data: bytes, stamp_ns: int) -> None:
        """Take note of the bytes of a picture's message."""
        self.repeats[topic].add(data, stamp_ns)

    def note_sweep(self, topic: str, sweep: Sweep) -> None:
        """Take note of when the points of a sweep were measured, where they say it."""
        seen = self.sweeps.get(topic)
        if seen is None:
            seen = self.sweeps[topic] = SeenSweeps(not sweep.time_is_relative)
        if len(seen.firsts) < MOST and sweep.time_field is not None:
            seen.firsts.append(sweep.first_ns - sweep.stamp_ns)
            seen.lasts.append(sweep.last_ns - sweep.stamp_ns)
        self.samples.note_first(topic, sweep)
        self.repeats[topic].add_sweep(sweep)

    def note_picture(self, camera: str, image: Image) -> None:
        """Take note of a picture of a camera."""
        self.samples.note_picture(camera, image)

    def note_frame(self, frame: Frame) -> None:
        """Take note of how the sweeps of a frame were moved, and of where the device was."""
        self.samples.note_posed(frame.sweeps)
        self.samples.note_place(frame)
        self.places.add(frame.timestamp_ns, frame.world_from_device.translation)

    def note_calibration(self, camera: str, info: CameraInfo) -> None:
        """Take note of a calibration of a camera."""
        self.samples.note_calibration(camera, info)

    def note_fix(self, fix: Fix) -> None:
        """Take note of a fix."""
        self.samples.note_fix(fix)

    def note_edge(self, topic: str, edge: Edge, log_ns: int) -> None:
        """Take note of a transform that moves."""
        key = topic, edge.parent, edge.child
        seen = self.edges.get(key)
        if seen is None:
            seen = self.edges[key] = SeenEdge()
        if len(seen.stamps) >= MOST:
            seen.is_cut = True
            del seen.stamps[_DROPPED], seen.logs[_DROPPED], seen.poses[7 * _DROPPED.start : 7 * _DROPPED.stop]
        seen.stamps.append(edge.stamp_ns)
        seen.logs.append(log_ns)
        seen.poses.extend(edge.translation)
        seen.poses.extend(edge.rotation_xyzw)

    def note_static(self, edge: Edge) -> None:
        """Take note of a transform that holds for all time, where it says something new."""
        known = self.statics.setdefault(edge.child, [])
        if edge not in known and len(known) < MOST:
            known.append(edge)
