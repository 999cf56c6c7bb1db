# SPDX-License-Identifier: Apache-2.0
"""A long recording in chunks: runs of whole scenes, decided in one pass and each ready to be rendered by itself.

Which frames there are, where scenes end and what is lost depends on everything before, so the pipeline runs once over
the whole recording, which is the lesser part of the work. What it decides is kept without the points and pixels: those
are read again by whoever renders the chunk, from the stretch of the recording that holds them. So the chunks need no
overlap, and the scenes are those of one piece by construction.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from nucleus_bridge.config import Config
from nucleus_bridge.decode.registry import interface_of
from nucleus_bridge.errors import BridgeError, DecodeError
from nucleus_bridge.model import (
    CameraModel,
    Detections,
    Frame,
    GpsPose,
    Image,
    Message,
    Payload,
    PosedImage,
    PosedSweep,
    RadarPoints,
    Scene,
    Sweep,
    Trajectory,
    Transform,
)
from nucleus_bridge.pipeline import Event, FrameReady, Pipeline, SceneEnded, SceneStarted
from nucleus_bridge.pipeline.accumulator import group_of
from nucleus_bridge.pipeline.events import EventSpan, Residual
from nucleus_bridge.pipeline.topics import Stream, WantedTopic, wanted_topics
from nucleus_bridge.recordings import Recording
from nucleus_bridge.replay import Gaps

Taken = TypeVar("Taken", Sweep, Image)

REACH = 20_000
"""Decoding may have to start this many messages of a sensor earlier."""


class NotDivisibleError(BridgeError):
    """Nothing says which messages a frame was made of."""


@dataclass(frozen=True)
class Source:
    """A sample, to be made again: the messages that a decoder has to see for it.

    Attributes:
        sensor: The sensor's name.
        stamp_ns: The sample's.
        start: Place in the recording of the message at which decoding starts.
        end: Place of the message that completes it.
        first_ns: Earliest log time of all that decoding sees, whose order is that of their stamps.
        last_ns: Latest log time of them.
        is_held: Whether the decoder gives it only when it is told that nothing more comes.
    """

    sensor: str
    stamp_ns: int
    start: int
    end: int
    first_ns: int
    last_ns: int
    is_held: bool = False


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
    detections: tuple[Detections, ...]
    start_ns: int | None

    @property
    def sources(self) -> list[Source]:
        """The samples it is made of."""
        return [*(part.source for part in self.sweeps), *(part.source for part in self.images)]


@dataclass(frozen=True)
class Chunk:
    """Whole scenes in a row: what is decided about them, in order."""

    events: tuple[SceneStarted | PlannedFrame | SceneEnded, ...]

    @property
    def sources(self) -> list[Source]:
        """The samples that its frames are made of."""
        return [source for event in self.events if isinstance(event, PlannedFrame) for source in event.sources]

    @property
    def span(self) -> tuple[int, int]:
        """First and last log time of the messages that those are made of."""
        return min(source.first_ns for source in self.sources), max(source.last_ns for source in self.sources)


STORED = (
    CameraModel,
    Chunk,
    EventSpan,
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
        NotDivisibleError: Messages that build on each other are not in the order of their stamps.
    """
    seen = _Seen(pipeline.wanted)
    pipeline.watch(seen.decoded)
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
    gaps = Gaps(recording, pipeline)
    for message in recording.messages(pipeline.topics):
        yield from gaps.before(message)
        seen.add(message)
        yield from pipeline.add(message)
    yield from pipeline.finish()


@dataclass(frozen=True)
class _Start:
    """A message at which decoding can start: the how-manieth it is, and its stamp, None where its type has none."""

    number: int
    stamp_ns: int | None


class _Reach:
    """The messages of one sensor lately, and at which of them decoding can start."""

    def __init__(self, topic: WantedTopic) -> None:
        self._kind = topic.kind
        self._stream = Stream(topic)
        self._group: int | None = None
        self._messages: deque[tuple[int, int]] = deque(maxlen=REACH)  # log time and place
        self._starts: deque[_Start] = deque(maxlen=REACH)
        self._count = 0
        self._newest_ns: int | None = None
        self._descent = -1

    def add(self, message: Message) -> None:
        """Take a message before the pipeline does."""
        number, self._count = self._count, self._count + 1
        self._messages.append((message.log_ns, message.place))
        interface = interface_of(message.type_name, self._kind)
        if interface is None:
            return
        try:
            stamp_ns = interface.peek(message.data)[0] if interface.peek else None
            is_start = interface.is_start(message)
        except DecodeError:
            return
        if stamp_ns is not None:
            if self._newest_ns is not None and stamp_ns < self._newest_ns:
                self._descent = number
            self._newest_ns = stamp_ns
        if is_start and self._begins(message):
            self._starts.append(_Start(number, stamp_ns))

    def _begins(self, message: Message) -> bool:
        """Whether a message is the first part of a sweep."""
        if not self._stream.span_ns:
            return True
        group = group_of(self._stream.arrival_stamp_ns(message), self._stream.span_ns)
        is_new, self._group = group != self._group, group
        return is_new

    def source(self, sensor: str, sample: Payload, *, is_held: bool) -> Source | None:
        """Return what a sample is made of that the newest message completed; None when that cannot be told.

        A start without a stamp may complete what came before it: there decoding begins at the start before.
        """
        newest = self._count - 1
        is_before = bool(self._stream.span_ns) and not is_held  # the first part of the next sweep completes one
        stamp_ns = sample.stamp_ns if sample.recorded_ns is None else sample.recorded_ns
        start = next(
            (
                start.number
                for start in reversed(self._starts)
                if not (is_before and start.number == newest)
                and (start.stamp_ns <= stamp_ns if start.stamp_ns is not None else is_held or start.number < newest)
            ),
            self._starts[0].number if self._starts else -1,
        )
        oldest = self._count - len(self._messages)
        if start < oldest or self._descent > start:
            return None
        seen = [self._messages[number - oldest] for number in range(start, self._count)]
        logs = [log_ns for log_ns, _ in seen]
        return Source(sensor, sample.stamp_ns, seen[0][1], seen[-1][1], min(logs), max(logs), is_held)


class _Seen:
    """Which messages each sample was made of, lately."""

    def __init__(self, wanted: Iterable[WantedTopic]) -> None:
        self._sensors: dict[str, list[tuple[str, _Reach]]] = {}
        self._reaches: dict[str, _Reach] = {}
        self._companions: dict[str, bytes | None] = {}
        for topic in wanted:
            if topic.role == "sensor":
                reach = self._reaches[topic.reader] = _Reach(topic)
                self._sensors.setdefault(topic.name, []).append((topic.reader, reach))
            elif topic.role == "companion":
                self._companions[topic.name] = None
        self._sources: WeakKeyDictionary[Payload, Source] = WeakKeyDictionary()

    def add(self, message: Message) -> None:
        """Take a message before the pipeline does."""
        for _, reach in self._sensors.get(message.topic, ()):
            reach.add(message)
        if message.topic in self._companions:
            if self._companions[message.topic] not in (None, message.data):
                raise NotDivisibleError(f"{message.topic} changes what decoders make of a sensor's messages")
            self._companions[message.topic] = message.data

    def decoded(self, sensor: str, sample: Payload, message: Message | None) -> None:
        """Take a sample as it is decoded."""
        source = self._reaches[sensor].source(sensor, sample, is_held=message is None)
        if source is not None:
            self._sources[sample] = source

    def planned(self, event: FrameReady) -> PlannedFrame:
        """Take the points and pixels out of a frame."""
        frame = event.frame
        sweeps = tuple(
            PlannedSweep(
                self._source(posed.lidar, posed.sweep),
                posed.lidar,
                posed.world_from_lidar,
                posed.device_from_lidar,
            )
            for posed in frame.sweeps
        )
        images = tuple(
            PlannedImage(
                self._source(posed.camera, posed.image),
                posed.camera,
                posed.camera_index,
                posed.model,
                posed.world_from_camera,
            )
            for posed in frame.images
        )
        return PlannedFrame(
            event.index,
            frame.stamp_ns,
            frame.world_from_device,
            frame.gps,
            sweeps,
            images,
            frame.radars,
            frame.detections,
            frame.start_ns,
        )

    def _source(self, sensor: str, sample: Payload) -> Source:
        source = self._sources.get(sample)
        if source is None:
            raise NotDivisibleError(f"nothing says which messages of {sensor} have the stamp {sample.stamp_ns}")
        return source


def whole_events(chunk: Chunk, recording: Recording, config: Config) -> Iterator[Event]:
    """Yield the pipeline's events again, points and pixels read from the recording.

    Raises:
        BridgeError: A message is not there any more.
    """
    found = _Payloads(recording, chunk, config)
    for event in chunk.events:
        if not isinstance(event, PlannedFrame):
            yield event
            continue
        sweeps = tuple(
            PosedSweep(part.lidar, found.take(part.source, Sweep), part.world_from_lidar, part.device_from_lidar)
            for part in event.sweeps
        )
        images = tuple(
            PosedImage(
                part.camera, part.camera_index, found.take(part.source, Image), part.model, part.world_from_camera
            )
            for part in event.images
        )
        frame = Frame(
            event.stamp_ns,
            event.world_from_device,
            event.gps,
            sweeps,
            images,
            event.radars,
            event.detections,
            event.start_ns,
        )
        yield FrameReady(event.index, frame)


class _Payloads:
    """Samples by what identifies them; the recording is read on only as far as one is needed."""

    def __init__(self, recording: Recording, chunk: Chunk, config: Config) -> None:
        wanted = list(wanted_topics(config))
        sources: dict[str, list[Source]] = {}
        for source in chunk.sources:
            sources.setdefault(source.sensor, []).append(source)
        companions = [topic for topic in wanted if topic.role == "companion" and topic.reader in sources]
        told = recording.first_messages({topic.name for topic in companions})
        self._replays: dict[str, list[_Replay]] = {}
        self._by_sensor: dict[str, _Replay] = {}
        for topic in wanted:
            if topic.role == "sensor" and topic.reader in sources:
                names = (companion.name for companion in companions if companion.reader == topic.reader)
                stream = partial(_stream, topic, [told[name] for name in names if name in told])
                replay = _Replay(stream, sources[topic.reader])
                self._replays.setdefault(topic.name, []).append(replay)
                self._by_sensor[topic.reader] = replay
        self._messages = recording.messages(self._replays.keys(), span=chunk.span)

    def take(self, source: Source, kind: type[Taken]) -> Taken:
        """Return a sample; it is kept only while it is wanted again."""
        replay = self._by_sensor[source.sensor]
        while (sample := replay.take(source)) is None:
            message = next(self._messages, None)
            if message is None:
                sample = replay.end().take(source)
                break
            for one in self._replays[message.topic]:
                one.add(message)
        if not isinstance(sample, kind):
            raise BridgeError(f"{source.sensor}: the message of stamp {source.stamp_ns} is not there any more")
        return sample


def _stream(topic: WantedTopic, companions: list[Message]) -> Stream:
    stream = Stream(topic)
    for companion in companions:
        list(stream.tell(companion))
    return stream


class _Replay:
    """Decodes the messages of one sensor again, as far as samples are wanted of them."""

    def __init__(self, new_stream: Callable[[], Stream], sources: list[Source]) -> None:
        self._new_stream = new_stream
        self._wanted = Counter(sources)
        self._starts: dict[int, dict[int, Source]] = {}
        for source in sources:
            self._starts.setdefault(source.start, {})[source.stamp_ns] = source
        self._due: dict[int, Source] = {}
        self._found: dict[Source, Payload] = {}
        self._stream: Stream | None = None
        self._ends_at: int | None = None

    def add(self, message: Message) -> None:
        """Take the next message of the sensor's topic."""
        if self._ends_at is not None and message.place != self._ends_at:
            self.end()
        self._due.update(self._starts.pop(message.place, {}))
        if not self._due:
            return
        stream = self._stream = self._stream or self._new_stream()
        with suppress(DecodeError):  # it was counted when the recording was cut
            self._keep(stream.take(message))
        if any(source.is_held and source.end == message.place for source in self._due.values()):
            self._ends_at = message.place
        if not self._due:
            self._stream = None  # whatever else it has seen: decoding starts anew at the next start

    def end(self) -> _Replay:
        """Take what the decoder has held back until here."""
        if self._stream is not None:
            with suppress(DecodeError):
                self._keep(self._stream.flush())
        self._stream = self._ends_at = None
        return self

    def take(self, source: Source) -> Payload | None:
        """Return a sample if it is there; it is kept only while it is wanted again."""
        if source not in self._found:
            return None
        self._wanted[source] -= 1
        return self._found[source] if self._wanted[source] else self._found.pop(source)

    def _keep(self, samples: Iterator[Any]) -> None:
        for sample in samples:
            if isinstance(sample, DecodeError):  # counted as well
                continue
            source = self._due.pop(sample.stamp_ns, None)
            if source is not None:
                self._found[source] = sample
