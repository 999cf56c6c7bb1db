# SPDX-License-Identifier: Apache-2.0
"""A long recording in chunks: runs of whole scenes, decided in one pass and each ready to be rendered by itself.

Which frames there are, where scenes end and what is lost depends on everything before, so the pipeline runs once over
the whole recording, which is the lesser part of the work. What it decides is kept without the points and pixels: those
are read again by whoever renders the chunk, from the stretch of the recording that holds them. So the chunks need no
overlap, and the scenes are those of one piece by construction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from nucleus_bridge.config import Config
from nucleus_bridge.decode.cdr import peek_header
from nucleus_bridge.decode.image import decode_image
from nucleus_bridge.decode.pointcloud2 import decode_sweep
from nucleus_bridge.errors import BridgeError, DecodeError
from nucleus_bridge.model import (
    CameraModel,
    Frame,
    GpsPose,
    Message,
    PosedImage,
    PosedSweep,
    RadarPoints,
    Scene,
    Trajectory,
    Transform,
)
from nucleus_bridge.pipeline import Event, FrameReady, Pipeline, SceneEnded, SceneStarted
from nucleus_bridge.pipeline.events import Residual
from nucleus_bridge.recordings import Recording

REMEMBERED = 100_000
"""So many messages back is it known which one a frame was made of; far more than wait for their frame."""


class NotDivisibleError(BridgeError):
    """It cannot be told which of two messages a frame was made of."""


@dataclass(frozen=True)
class Source:
    """A message, to be found again."""

    topic: str
    stamp_ns: int
    log_ns: int


@dataclass(frozen=True)
class PlannedSweep:
    """A ``PosedSweep`` without its points."""

    source: Source
    lidar: str
    world_from_lidar: Transform | Trajectory
    device_from_lidar: Transform | None


@dataclass(frozen=True)
class PlannedImage:
    """A ``PosedImage`` without its pixels."""

    source: Source
    camera: str
    camera_index: int
    model: CameraModel
    world_from_camera: Transform


@dataclass(frozen=True)
class PlannedFrame:
    """A ``FrameReady`` without points and pixels."""

    index: int
    stamp_ns: int
    world_from_device: Transform
    gps: GpsPose | None
    sweeps: tuple[PlannedSweep, ...]
    images: tuple[PlannedImage, ...]
    radars: tuple[RadarPoints, ...]

    @property
    def sources(self) -> list[Source]:
        """The messages it is made of."""
        return [*(part.source for part in self.sweeps), *(part.source for part in self.images)]


@dataclass(frozen=True)
class Chunk:
    """Whole scenes in a row: what is decided about them, in order."""

    events: tuple[SceneStarted | PlannedFrame | SceneEnded, ...]

    @property
    def sources(self) -> list[Source]:
        """The messages that its frames are made of."""
        return [source for event in self.events if isinstance(event, PlannedFrame) for source in event.sources]

    @property
    def span(self) -> tuple[int, int]:
        """First and last log time of those messages."""
        times = [source.log_ns for source in self.sources]
        return min(times), max(times)


STORED = (
    CameraModel,
    Chunk,
    GpsPose,
    PlannedFrame,
    PlannedImage,
    PlannedSweep,
    RadarPoints,
    Residual,
    Scene,
    SceneEnded,
    SceneStarted,
    Source,
    Trajectory,
    Transform,
)
"""Every class that a chunk is made of."""


def chunks_of(recording: Recording, pipeline: Pipeline, chunk_ns: int) -> Iterator[Chunk]:
    """Run the pipeline over a recording; yield its scenes in runs that are at least ``chunk_ns`` long but the last.

    Raises:
        NotDivisibleError: Two messages of one topic have the same stamp, and a frame needs one of them.
    """
    seen = _Seen(pipeline.config)
    decided: list[SceneStarted | PlannedFrame | SceneEnded] = []
    start_ns, newest_ns = None, 0
    for event in _events(recording, pipeline, seen):
        if isinstance(event, FrameReady):
            decided.append(seen.planned(event))
            newest_ns = event.frame.stamp_ns
            start_ns = newest_ns if start_ns is None else start_ns
            continue
        decided.append(event)
        if isinstance(event, SceneEnded) and start_ns is not None and newest_ns - start_ns >= chunk_ns:
            yield Chunk(tuple(decided))
            decided, start_ns = [], None
    if decided:
        yield Chunk(tuple(decided))


def _events(recording: Recording, pipeline: Pipeline, seen: _Seen) -> Iterator[Event]:
    for message in recording.messages(pipeline.topics):
        seen.add(message)
        yield from pipeline.add(message)
    yield from pipeline.finish()


class _Seen:
    """Which message had which stamp, lately."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._lidar_topics = {lidar.name: lidar.topic for lidar in config.lidars}
        self._topics = {*self._lidar_topics.values(), *(camera.image_topic for camera in config.cameras)}
        self._log_ns: dict[tuple[str, int], int | None] = {}

    def add(self, message: Message) -> None:
        """Take a message before the pipeline does."""
        if message.topic not in self._topics:
            return
        try:
            name = (message.topic, peek_header(message.data)[0])
        except DecodeError:
            return
        self._log_ns[name] = None if name in self._log_ns else message.log_ns
        if len(self._log_ns) > REMEMBERED:
            del self._log_ns[next(iter(self._log_ns))]

    def planned(self, event: FrameReady) -> PlannedFrame:
        """Take the points and pixels out of a frame."""
        frame = event.frame
        sweeps = tuple(
            PlannedSweep(
                self._source(self._lidar_topics[posed.lidar], posed.sweep.stamp_ns),
                posed.lidar,
                posed.world_from_lidar,
                posed.device_from_lidar,
            )
            for posed in frame.sweeps
        )
        images = tuple(
            PlannedImage(
                self._source(self._config.cameras[posed.camera_index].image_topic, posed.image.stamp_ns),
                posed.camera,
                posed.camera_index,
                posed.model,
                posed.world_from_camera,
            )
            for posed in frame.images
        )
        return PlannedFrame(
            event.index, frame.stamp_ns, frame.world_from_device, frame.gps, sweeps, images, frame.radars
        )

    def _source(self, topic: str, stamp_ns: int) -> Source:
        log_ns = self._log_ns.get((topic, stamp_ns))
        if log_ns is None:
            raise NotDivisibleError(f"several messages on {topic} have the stamp {stamp_ns}")
        return Source(topic, stamp_ns, log_ns)


def whole_events(chunk: Chunk, recording: Recording, config: Config) -> Iterator[Event]:
    """Yield the pipeline's events again, points and pixels read from the recording.

    Raises:
        BridgeError: A message is not there any more.
    """
    found = _Payloads(recording, chunk)
    lidars = {lidar.name: lidar for lidar in config.lidars}
    for event in chunk.events:
        if not isinstance(event, PlannedFrame):
            yield event
            continue
        sweeps = tuple(
            PosedSweep(
                part.lidar,
                decode_sweep(found.take(part.source), lidars[part.lidar]),
                part.world_from_lidar,
                part.device_from_lidar,
            )
            for part in event.sweeps
        )
        images = tuple(
            PosedImage(
                part.camera,
                part.camera_index,
                decode_image(found.take(part.source)),
                part.model,
                part.world_from_camera,
            )
            for part in event.images
        )
        frame = Frame(event.stamp_ns, event.world_from_device, event.gps, sweeps, images, event.radars)
        yield FrameReady(event.index, frame)


class _Payloads:
    """Messages by what identifies them, read on only as far as one is needed."""

    def __init__(self, recording: Recording, chunk: Chunk) -> None:
        self._wanted = Counter(chunk.sources)
        topics = {source.topic for source in self._wanted}
        self._messages = recording.messages(topics, span=chunk.span)
        self._found: dict[Source, Message] = {}

    def take(self, source: Source) -> Message:
        """Return a message; it is kept only while it is wanted again."""
        while source not in self._found:
            message = next(self._messages, None)
            if message is None:
                raise BridgeError(f"{source.topic}: the message of stamp {source.stamp_ns} is not there any more")
            try:
                name = Source(message.topic, peek_header(message.data)[0], message.log_ns)
            except DecodeError:
                continue
            if name in self._wanted:
                self._found[name] = message
        self._wanted[source] -= 1
        return self._found[source] if self._wanted[source] else self._found.pop(source)
