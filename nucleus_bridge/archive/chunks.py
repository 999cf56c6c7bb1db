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

from nucleus_bridge.config import Config
from nucleus_bridge.convert import Gaps
from nucleus_bridge.decode.registry import interface_of
from nucleus_bridge.errors import BridgeError, DecodeError
from nucleus_bridge.model import (
    CameraModel,
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
from nucleus_bridge.pipeline.events import Residual
from nucleus_bridge.pipeline.topics import Stream, WantedTopic, clock_step_ns, wanted_topics
from nucleus_bridge.recordings import Recording

Taken = TypeVar("Taken", Sweep, Image)

REMEMBERED = 100_000
"""So many samples back is it known which messages one was made of; far more than wait for their frame."""
REACH = 20_000
"""So many messages of a sensor back may decoding have to start."""


class NotDivisibleError(BridgeError):
    """It cannot be told which messages a frame was made of."""


@dataclass(frozen=True)
class Source:
    """A sample, to be made again: the messages that a decoder has to see for it.

    Attributes:
        sensor: The sensor's name.
        stamp_ns: The sample's.
        start_ns: Log time of the message at which decoding starts.
        end_ns: Log time of the message that completes it.
        first_ns: Earliest log time of all that decoding sees, whose order is that of their stamps.
        last_ns: Latest log time of them.
        is_held: Whether the decoder gives it only when it is told that nothing more comes.
    """

    sensor: str
    stamp_ns: int
    start_ns: int
    end_ns: int
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
        NotDivisibleError: Two samples of one sensor have the same stamp, and a frame needs one of them; or messages
            that build on each other are not in the order of their stamps.
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
        self._logs: deque[int] = deque(maxlen=REACH)
        self._starts: deque[_Start] = deque(maxlen=REACH)
        self._count = 0
        self._newest_ns: int | None = None
        self._descent = -1

    def add(self, message: Message) -> None:
        """Take a message before the pipeline does."""
        number, self._count = self._count, self._count + 1
        self._logs.append(message.log_ns)
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
        if is_start:
            self._starts.append(_Start(number, stamp_ns))

    def source(self, sensor: str, sample: Payload, *, is_held: bool) -> Source | None:
        """Return what a sample is made of that the newest message completed; None when that cannot be told.

        A start without a stamp may complete what came before it: there decoding begins at the start before.
        """
        newest = self._count - 1
        stamp_ns = sample.stamp_ns if sample.recorded_ns is None else sample.recorded_ns
        start = next(
            (
                start.number
                for start in reversed(self._starts)
                if (start.stamp_ns <= stamp_ns if start.stamp_ns is not None else is_held or start.number < newest)
            ),
            self._starts[0].number if self._starts else -1,
        )
        oldest = self._count - len(self._logs)
        if start < oldest or self._descent > start:
            return None
        logs = [self._logs[number - oldest] for number in range(start, self._count)]
        return Source(sensor, sample.stamp_ns, logs[0], logs[-1], min(logs), max(logs), is_held)


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
        self._sources: dict[tuple[str, int], Source | None] = {}

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
        name = (sensor, sample.stamp_ns)
        source = self._reaches[sensor].source(sensor, sample, is_held=message is None)
        self._sources[name] = None if name in self._sources else source
        if len(self._sources) > REMEMBERED:
            del self._sources[next(iter(self._sources))]

    def planned(self, event: FrameReady) -> PlannedFrame:
        """Take the points and pixels out of a frame."""
        frame = event.frame
        sweeps = tuple(
            PlannedSweep(
                self._source(posed.lidar, posed.sweep.stamp_ns),
                posed.lidar,
                posed.world_from_lidar,
                posed.device_from_lidar,
            )
            for posed in frame.sweeps
        )
        images = tuple(
            PlannedImage(
                self._source(posed.camera, posed.image.stamp_ns),
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
            frame.start_ns,
        )

    def _source(self, sensor: str, stamp_ns: int) -> Source:
        source = self._sources.get((sensor, stamp_ns))
        if source is None:
            raise NotDivisibleError(f"it cannot be told which messages of {sensor} have the stamp {stamp_ns}")
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
        frame = Frame(event.stamp_ns, event.world_from_device, event.gps, sweeps, images, event.radars, event.start_ns)
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
        step_ns = clock_step_ns(config)
        self._replays: dict[str, list[_Replay]] = {}
        self._by_sensor: dict[str, _Replay] = {}
        for topic in wanted:
            if topic.role == "sensor" and topic.reader in sources:
                names = (companion.name for companion in companions if companion.reader == topic.reader)
                stream = partial(_stream, topic, step_ns, [told[name] for name in names if name in told])
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


def _stream(topic: WantedTopic, step_ns: int, companions: list[Message]) -> Stream:
    stream = Stream(topic, step_ns)
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
            self._starts.setdefault(source.start_ns, {})[source.stamp_ns] = source
        self._due: dict[int, Source] = {}
        self._found: dict[Source, Payload] = {}
        self._stream: Stream | None = None
        self._ends_at_ns: int | None = None

    def add(self, message: Message) -> None:
        """Take the next message of the sensor's topic."""
        if self._ends_at_ns is not None and message.log_ns != self._ends_at_ns:
            self.end()
        self._due.update(self._starts.pop(message.log_ns, {}))
        if not self._due:
            return
        stream = self._stream = self._stream or self._new_stream()
        with suppress(DecodeError):  # it was counted when the recording was cut
            self._keep(stream.take(message))
        if any(source.is_held and source.end_ns == message.log_ns for source in self._due.values()):
            self._ends_at_ns = message.log_ns
        if not self._due:
            self._stream = None  # whatever else it has seen: decoding starts anew at the next start

    def end(self) -> _Replay:
        """Take what the decoder has held back until here."""
        if self._stream is not None:
            with suppress(DecodeError):
                self._keep(self._stream.flush())
        self._stream = self._ends_at_ns = None
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
