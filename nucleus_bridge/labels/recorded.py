# SPDX-License-Identifier: Apache-2.0
"""Detections of a recording, in the world: each moved with the pose at its own stamp, and put on the nearest sweep.

What stands still in the world so lies where it is in the cloud, however late the detector was. Of each frame the
messages with the nearest stamp count, as for pre-labels.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nucleus_bridge.config import Config
from nucleus_bridge.config.settings import SyncConfig, TransformsConfig
from nucleus_bridge.decode import registry
from nucleus_bridge.decode.interface import Decoder
from nucleus_bridge.errors import DecodeError, InputError, TransformError
from nucleus_bridge.geometry import TransformTree, quaternion, transforms
from nucleus_bridge.labels.frames import FrameAt, FrameIndex
from nucleus_bridge.labels.label import Label, Quaternion, Vector
from nucleus_bridge.model import Detection, Detections, FloatArray, Message, Transform
from nucleus_bridge.poses import PoseSource, sources_of
from nucleus_bridge.poses.feed import PoseFeed
from nucleus_bridge.poses.tf import Transforms
from nucleus_bridge.poses.urdf import descriptions
from nucleus_bridge.recordings import Recording

_CACHE_NS = 60_000_000_000
_GAP_NS = 1_000_000_000


@dataclass
class Lost:
    """Detections that could not be placed.

    Attributes:
        counts: How many boxes or messages, by cause.
        reasons: The first text of each cause.
    """

    counts: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, str] = field(default_factory=dict)

    def count(self, cause: str, reason: str, number: int = 1) -> None:
        """Count some."""
        self.counts[cause] += number
        self.reasons.setdefault(cause, reason)


class WorldPoses:
    """The transforms of a recording, as a configuration says they are found, or those of tf without one."""

    def __init__(self, config: Config | None, world_frame: str) -> None:
        settings = TransformsConfig()
        sources: tuple[PoseSource, ...] = (
            (Transforms(settings), *descriptions(settings, Path())) if config is None else sources_of(config)
        )
        self.wait_ns = round((SyncConfig() if config is None else config.sync).wait_s * 1e9)
        gap_ns = _GAP_NS if config is None else round(config.scene.max_gap_s * 1e9) or None
        self._tree = TransformTree(cache_ns=_CACHE_NS, gap_ns=gap_ns, static_history=True)
        device_frame = "base_link" if config is None else config.device_frame
        self._feed = PoseFeed(sources, self._tree, lambda *_: None, (world_frame, device_frame))
        self._readers: dict[str, list[PoseSource]] = {}
        for source in sources:
            for topic in source.topics:
                self._readers.setdefault(topic, []).append(source)
        self._static = {name for source in sources for name, topic in source.topics.items() if topic.is_static}

    @property
    def topics(self) -> set[str]:
        """The topics that it reads."""
        return set(self._readers)

    def prime(self, recording: Recording) -> None:
        """Take in what holds for the whole recording."""
        there = {topic.name for topic in recording.topics}
        for message in reversed(list(recording.messages(self._static & there))):
            self.take(message)

    def take(self, message: Message) -> bool:
        """Take in a message of one of the topics; return whether it is one."""
        for source in self._readers.get(message.topic, ()):
            try:
                edges = list(source.edges(message))
            except DecodeError:
                continue  # counted when the recording is converted
            for edge in edges:
                placed = self._feed.placed(source, edge, message.topic)
                if self._feed.admits(source.rank, placed, message.topic):
                    self._feed.add(placed, message.topic)
        return message.topic in self._readers

    def missing(self, world: str, frame_id: str, stamp_ns: int) -> TransformError | None:
        """Return why a pose cannot be had, or None."""
        self._feed.advance(stamp_ns)
        return self._tree.availability(world, frame_id, stamp_ns, stamp_ns)

    def settle(self) -> None:
        """Let a robot description fill what no transform says: none can be waited for any longer."""
        if self._feed.is_unsettled:
            self._feed.settle()

    def world_from(self, world: str, frame_id: str, stamp_ns: int) -> Transform:
        """Return the pose of a frame.

        Raises:
            TransformError: There is none.
        """
        return self._tree.lookup(world, frame_id, stamp_ns)


@dataclass(frozen=True)
class Waiting:
    """What one message or row says, until its pose is known; ``ids`` are what the boxes are called already."""

    found: Detections
    frame: FrameAt
    log_ns: int
    ids: tuple[str, ...] = ()

    @property
    def pose_ns(self) -> int:
        """The stamp of the pose, on the clock of the transforms."""
        return self.found.stamp_ns + self.frame.correction_ns


class RecordedDetections:
    """The detections on one topic.

    Args:
        recording: Holds them.
        topic: Where they are.
        frames: The frames that they are put on.
        config: Says where poses come from.
        min_score: Detections of a lower score are left out.

    Raises:
        InputError: The topic is not there, or holds something else.
    """

    def __init__(
        self, recording: Recording, topic: str, frames: FrameIndex, config: Config | None, min_score: float
    ) -> None:
        known = {given.name: given.type_name for given in recording.topics if given.count}
        interface = registry.interface_of(known.get(topic, ""), "detections")
        if interface is None:
            fitting = [name for name, kind in known.items() if kind in registry.types_of("detections")]
            has = f"holds {known[topic]}" if topic in known else f"is not in {recording.path}"
            raise InputError(
                f"--from: {topic} {has}; topics of detections there: {', '.join(sorted(fitting)) or 'none'}"
            )
        self._recording, self._topic, self._frames, self._config = recording, topic, frames, config
        self._interface, self._min_score = interface, min_score
        self.lost = Lost()
        self.messages = 0
        self.unmatched = 0

    def labels(self) -> Iterator[Label]:
        """Yield them as labels in the frame and at the stamp of the sweep that each is put on."""
        chosen = self._chosen()
        worlds = {stamps.frame_id for stamps in self._frames.scenes.values()}
        poses = WorldPoses(self._config, min(worlds, default="map"))
        poses.prime(self._recording)
        decoder = self._decoder()
        waiting: deque[Waiting] = deque()
        there = {topic.name for topic in self._recording.topics}
        for message in self._recording.messages({self._topic, *(poses.topics & there)}):
            if not poses.take(message) and message.topic == self._topic:
                waiting.extend(self._of_message(decoder, message, chosen))
            yield from place(waiting, poses, message.log_ns - poses.wait_ns, self.lost, self._topic)
        yield from place(waiting, poses, None, self.lost, self._topic)

    def _decoder(self) -> Decoder:
        return self._interface.decoder(_Settings(self._min_score))

    def _chosen(self) -> dict[tuple[str, int], int]:
        """Return for each frame the stamp of the detections that it gets."""
        chosen: dict[tuple[str, int], int] = {}
        decoder = self._decoder()
        for message in self._recording.messages({self._topic}):
            self.messages += 1
            for stamp_ns in self._stamps(decoder, message):
                frame = self._frames.nearest(stamp_ns)
                if frame is None:
                    self.unmatched += 1
                    continue
                place, distance = (frame.stamps.scene, frame.number), abs(stamp_ns - frame.stamp_ns)
                best = chosen.get(place)
                if best is None or (distance, stamp_ns) < (abs(best - frame.stamp_ns), best):
                    chosen[place] = stamp_ns
        return chosen

    def _stamps(self, decoder: Decoder, message: Message) -> Iterable[int]:
        try:
            if self._interface.peek is not None:
                return [self._interface.peek(message.data)[0]]
            return [found.stamp_ns for found in decoder.decode(message)]
        except DecodeError:
            return []  # counted when it is read again

    def _of_message(self, decoder: Decoder, message: Message, chosen: dict[tuple[str, int], int]) -> Iterator[Waiting]:
        try:
            for found in decoder.decode(message):
                frame = self._frames.nearest(found.stamp_ns)
                if frame is not None and chosen.get((frame.stamps.scene, frame.number)) == found.stamp_ns:
                    yield Waiting(found, frame, message.log_ns)
        except DecodeError as error:
            self.lost.count(error.cause, str(error))


def place(
    waiting: deque[Waiting], poses: WorldPoses, oldest_ns: int | None, lost: Lost, source: str
) -> Iterator[Label]:
    """Yield what can be placed, in order; what was logged before ``oldest_ns`` is given up, with None everything."""
    while waiting:
        one = waiting[0]
        world = one.frame.stamps.frame_id
        error = poses.missing(world, one.found.frame_id, one.pose_ns)
        if error is not None:
            if oldest_ns is not None and one.log_ns >= oldest_ns:
                return
            poses.settle()
            error = poses.missing(world, one.found.frame_id, one.pose_ns)
        waiting.popleft()
        if error is None:
            pose = poses.world_from(world, one.found.frame_id, one.pose_ns)
            for number, box in enumerate(one.found.boxes):
                own = one.ids[number] if one.ids else ""
                yield label_of_detection(one.frame, box, pose, source, own)
        else:
            lost.count("no_pose", str(error), len(one.found.boxes))


def label_of_detection(
    frame: FrameAt, box: Detection, world_from_frame: Transform, source: str, own_id: str = ""
) -> Label:
    """Return a detection as a label in the world, at the stamp of the frame that it is put on."""
    center: FloatArray = transforms.apply(world_from_frame, box.center)
    turn = quaternion.multiply(world_from_frame.rotation_xyzw, box.rotation_xyzw)
    turn = turn / np.linalg.norm(turn)
    return Label(
        frame.stamps.scene,
        frame.number,
        frame.stamp_ns,
        frame.stamps.frame_id,
        box.label,
        box.track,
        own_id,
        _vector(center),
        _vector(box.size),
        _quaternion(-turn if turn[3] < 0.0 else turn),
        source,
        box.attributes,
        box.score,
    )


def _vector(values: Any) -> Vector:  # noqa: ANN401 - an array
    x, y, z = (float(value) for value in values)
    return x, y, z


def _quaternion(values: Any) -> Quaternion:  # noqa: ANN401 - an array
    x, y, z, w = (float(value) for value in values)
    return x, y, z, w


@dataclass(frozen=True)
class _Settings:
    """What decoders of detections ask for."""

    min_score: float
