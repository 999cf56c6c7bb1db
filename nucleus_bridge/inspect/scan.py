# SPDX-License-Identifier: Apache-2.0
"""One pass over a recording: stamps, log times and frames of every topic, transforms, and samples of sensors."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from heapq import heappop, heappush
from itertools import pairwise

import numpy as np

from nucleus_bridge.config import LidarConfig
from nucleus_bridge.decode import registry
from nucleus_bridge.decode.cdr import peek_header
from nucleus_bridge.decode.image import COMPRESSED_IMAGE, IMAGE
from nucleus_bridge.decode.interface import Kind
from nucleus_bridge.decode.pointcloud2 import POINTCLOUD2
from nucleus_bridge.decode.tf import decode_transforms
from nucleus_bridge.errors import DecodeError
from nucleus_bridge.model import FloatArray, IntArray, Message
from nucleus_bridge.pipeline.repeats import Repeats
from nucleus_bridge.recordings import Recording, TopicInfo
from nucleus_bridge.recordings.contents import PLACE_BITS
from nucleus_bridge.recordings.reorder import starts_with_header

DROP_PERIODS = 1.5
"""A longer gap between two stamps than this many periods means that messages are missing."""
MAX_BYTES = 256_000_000
"""Payload that is read when not everything is asked for."""
STATIC_TOPIC = "tf_static"
SAMPLED = 12
"""Samples of large messages that are looked at closely."""
_UNREADABLE = -1
_FIRST, _FIRST_OF_MANY = 5, 600
_MAX_FIRST_BYTES = 32_000_000
_SCATTER, _SCATTER_MASK = 2_654_435_761, (1 << 32) - 1
_LEAST_SAMPLES = 4
_MAX_SAMPLE_BYTES = 64_000_000
_SMALL = 2_000
_PAIRED: tuple[Kind, ...] = ("cloud",)
_LARGE: tuple[Kind, ...] = ("cloud", "image", "radar")
_REPEATING = (POINTCLOUD2, IMAGE, COMPRESSED_IMAGE)
_SAMPLED_KINDS: tuple[Kind, ...] = (*_LARGE, "calibration", "fix", "heading", "pose")

Progress = Callable[[float], None]


class Samples:
    """Messages of one topic, drawn from all that came without knowing how many will.

    Those are kept whose numbers are the smallest when they are scattered: the choice is the same every time and has no
    rhythm, so what is wrong with every n-th message is not missed.

    Args:
        most: How many are kept at most.
        pairs: Whether each one's successor is kept too (not counted in ``most``).
    """

    def __init__(self, most: int, *, pairs: bool = False) -> None:
        self._most = most
        self._pairs = pairs
        self._chosen: list[tuple[int, int]] = []  # a heap: scattered number, negative, and number
        self._numbers: set[int] = set()
        self._kept: dict[int, Message] = {}
        self._bytes = 0

    def offer(self, number: int, message: Message) -> None:
        """Keep a message if its number among all is one of those wanted."""
        place = number * _SCATTER & _SCATTER_MASK
        if len(self._chosen) < self._most or place < -self._chosen[0][0]:
            heappush(self._chosen, (-place, number))
            self._numbers.add(number)
        if not self._is_wanted(number):
            return
        self._kept[number] = message
        self._bytes += len(message.data)
        while len(self._chosen) > self._most or (
            self._bytes > _MAX_SAMPLE_BYTES and len(self._chosen) > _LEAST_SAMPLES
        ):
            self._drop(heappop(self._chosen)[1])

    @property
    def messages(self) -> list[Message]:
        """All that are kept, in order."""
        return [message for _, message in sorted(self._kept.items())]

    def _is_wanted(self, number: int) -> bool:
        return number in self._numbers or (self._pairs and number - 1 in self._numbers)

    def _drop(self, number: int) -> None:
        self._numbers.discard(number)
        for other in (number, number + 1):
            if other in self._kept and not self._is_wanted(other):
                self._bytes -= len(self._kept.pop(other).data)


@dataclass
class Stream:
    """What was seen of one topic.

    Attributes:
        info: The topic as the index has it.
        kinds: What its type holds.
        seen: Messages read.
        stamps: ``header.stamp`` of each in ns; -1 where it cannot be read; empty for types without a header.
        logs: Log time of each, ns.
        frames: How often each ``header.frame_id`` came.
        places: Where each stands in the recording, in the order of reading; of sensors only.
        bytes: Payload read.
        first: The first few messages, of sensors only.
        samples: Messages spread over all that were read, of sensors only.
        every: Reads all its messages again, where pictures are not judged by a sample.
        made: Stamps and log times of what decoding made of messages that have no header.
        repeats: Which of its messages repeat the one before; of clouds and pictures only.
        wanted_first: How many of the first messages are kept: more where one needs those before it.
    """

    info: TopicInfo
    kinds: tuple[Kind, ...] = ()
    seen: int = 0
    stamps: array[int] = field(default_factory=lambda: array("q"))
    logs: array[int] = field(default_factory=lambda: array("q"))
    frames: dict[str, int] = field(default_factory=dict)
    places: list[int] = field(default_factory=list)
    bytes: int = 0
    first: list[Message] = field(default_factory=list)
    samples: Samples = field(default_factory=lambda: Samples(SAMPLED))
    wanted_first: int = _FIRST
    every: Callable[[], Iterator[Message]] | None = None
    made: tuple[IntArray, IntArray] | None = None
    repeats: Repeats = field(default_factory=Repeats)

    @property
    def name(self) -> str:
        """The topic."""
        return self.info.name

    @property
    def has_stamps(self) -> bool:
        """Whether its messages begin with a header."""
        return len(self.stamps) > 0

    @cached_property
    def arrivals(self) -> tuple[IntArray, IntArray]:
        """Stamps and log times of the messages whose stamp is set, in the order of the recording."""
        if self.made is not None:
            return self.made
        stamps, logs = np.array(self.stamps, np.int64), np.array(self.logs, np.int64)
        if len(stamps) != len(logs):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        order = in_order(logs, self.places)
        order = order[stamps[order] > 0]
        return stamps[order], logs[order]

    @property
    def unset(self) -> int:
        """How many messages have a stamp of zero."""
        return int((np.array(self.stamps, np.int64) == 0).sum())

    @property
    def times(self) -> IntArray:
        """Stamps where the type has them and they were set, else log times, ascending."""
        stamps, _ = self.arrivals
        return np.sort(stamps if len(stamps) else np.array(self.logs, np.int64))

    @property
    def period_ns(self) -> float:
        """Median distance of consecutive stamps; 0 with fewer than two."""
        steps = np.diff(self.times)
        steps = steps[steps > 0]
        return float(np.median(steps)) if len(steps) else 0.0

    @property
    def latencies_ms(self) -> FloatArray:
        """Log time - stamp of each message with a stamp, ms, in the order of the recording."""
        stamps, logs = self.arrivals
        return np.asarray((logs - stamps) / 1e6)

    @property
    def frame_id(self) -> str:
        """The frame id that came most often."""
        return max(self.frames, key=lambda name: self.frames[name], default="")


@dataclass
class Track:
    """One edge of transforms as one topic has it: every sample in the order in which it came.

    Attributes:
        topic: Where it was published.
        parent: Parent frame.
        child: Child frame.
        static: Whether the topic is one of static transforms.
    """

    topic: str
    parent: str
    child: str
    static: bool
    _stamps: array[int] = field(default_factory=lambda: array("q"))
    _logs: array[int] = field(default_factory=lambda: array("q"))
    _values: array[float] = field(default_factory=lambda: array("d"))
    _places: list[int] = field(default_factory=list)

    def add(
        self,
        stamp_ns: int,
        log_ns: int,
        translation: tuple[float, ...],
        rotation_xyzw: tuple[float, ...],
        place: int = 0,
    ) -> None:
        """Take in one sample."""
        self._stamps.append(stamp_ns)
        self._logs.append(log_ns)
        self._places.append(place)
        self._values.extend((*translation, *rotation_xyzw))

    def part(self, chosen: slice) -> Track:
        """Return some of its samples, counted in the order of the recording."""
        made = Track(self.topic, self.parent, self.child, self.static)
        rows = zip(
            self.stamps[chosen], self.logs[chosen], self.translations[chosen], self.rotations[chosen], strict=True
        )
        for stamp_ns, log_ns, translation, rotation in rows:
            made.add(int(stamp_ns), int(log_ns), tuple(translation.tolist()), tuple(rotation.tolist()))
        return made

    def __len__(self) -> int:
        """Count the samples."""
        return len(self._stamps)

    @cached_property
    def _order(self) -> IntArray:
        return in_order(np.array(self._logs, np.int64), self._places)

    @cached_property
    def stamps(self) -> IntArray:
        """Stamps in the order of the recording, ns."""
        return np.asarray(np.array(self._stamps, np.int64)[self._order])

    @cached_property
    def logs(self) -> IntArray:
        """Log times in the order of the recording, ns."""
        return np.asarray(np.array(self._logs, np.int64)[self._order])

    @cached_property
    def translations(self) -> FloatArray:
        """Shape (n, 3), metres."""
        return np.asarray(np.array(self._values).reshape(-1, 7)[self._order, :3])

    @cached_property
    def rotations(self) -> FloatArray:
        """Shape (n, 4), x y z w, as published."""
        return np.asarray(np.array(self._values).reshape(-1, 7)[self._order, 3:])


@dataclass
class Scan:
    """What one pass over a recording gave.

    Attributes:
        streams: By topic.
        tracks: Edges of transforms by topic, parent and child, in the order in which they came.
        problems: Messages of transforms that cannot be read, each text once.
        texts: The last text on each topic of ``std_msgs/msg/String`` that may be a robot description.
        companions: The first message of each topic that the decoder of another topic needs.
        whole: Whether everything was read.
        start_ns: Log time of the recording's first message.
        read_s: Seconds of log time that were read.
    """

    streams: dict[str, Stream]
    tracks: dict[tuple[str, str, str], Track] = field(default_factory=dict)
    problems: dict[str, int] = field(default_factory=dict)
    texts: dict[str, Message] = field(default_factory=dict)
    companions: dict[str, Message] = field(default_factory=dict)
    whole: bool = True
    start_ns: int = 0
    read_s: float = 0.0

    def of_kind(self, kind: Kind) -> list[Stream]:
        """Streams that may hold a kind and have messages, by topic name."""
        return [s for _, s in sorted(self.streams.items()) if kind in s.kinds and s.info.count]


def in_order(logs: IntArray, places: list[int]) -> IntArray:
    """Return the order in which messages were written; by log time where their places are not known.

    Args:
        logs: Their log times in the order of reading.
        places: Where each stands in the recording, or nothing.
    """
    by_log = np.argsort(logs, kind="stable")
    if len(places) != len(logs) or not any(places) or _is_several(places):
        return by_log
    sorted_places = [places[number] for number in by_log.tolist()]
    if all(a <= b for a, b in pairwise(sorted_places)):
        return by_log
    return np.array(sorted(range(len(places)), key=places.__getitem__), np.int64)


def _is_several(places: list[int]) -> bool:
    """Whether files were recorded at the same time, so that their order says nothing: they are read side by side."""
    return any(later >> PLACE_BITS < earlier >> PLACE_BITS for earlier, later in pairwise(places))


def kinds_of(topic: TopicInfo) -> tuple[Kind, ...]:
    """Return what the messages of a topic hold, by the registry."""
    last = topic.name.rpartition("/")[2]
    return tuple(
        interface.kind for interface in registry.interfaces_of(topic.type_name) if last not in interface.other_topics
    )


def is_static_topic(topic: str) -> bool:
    """Tell from its name whether a topic carries static transforms."""
    return topic.rpartition("/")[2] == STATIC_TOPIC


def sampled_messages(bag: Recording, topics: list[str], *, full: bool) -> Iterator[tuple[Message, bool]]:
    """Yield the messages, and with each whether reading ends there although there are more."""
    total = 0
    for message in bag.messages(topics):
        total += len(message.data)
        over = not full and total > MAX_BYTES
        yield message, over
        if over:
            return


def scan_bag(
    bag: Recording, *, full: bool, progress: Progress, also: Callable[[Message], None] = lambda _: None
) -> Scan:
    """Read a recording once: all of it when ``full`` or small, else its first ``MAX_BYTES`` of messages.

    Static transforms are read to their end in any case: the index finds them. ``also`` is given each message.
    """
    streams = {topic.name: _stream(topic) for topic in bag.topics}
    scan = Scan(streams, start_ns=bag.start_ns)
    scan.companions = bag.first_messages(_companions(bag))
    readable = [topic.name for topic in bag.topics if topic.encoding == "cdr"]
    last_ns = bag.start_ns
    stopped = False
    for message, over in sampled_messages(bag, readable, full=full):
        _take(scan, message)
        also(message)
        last_ns = max(last_ns, message.log_ns)
        stopped = over
        if bag.end_ns > bag.start_ns:
            progress((message.log_ns - bag.start_ns) / (bag.end_ns - bag.start_ns))
    if stopped:
        scan.whole = False
        _read_rest_of_static(bag, scan)
    scan.read_s = (last_ns - bag.start_ns) / 1e9
    progress(1.0)
    return scan


def _companions(bag: Recording) -> set[str]:
    """Return the topics that decoders need besides their own."""
    wanted = {
        interface.companion.topic(LidarConfig("inspect", topic.name))
        for topic in bag.topics
        for interface in registry.interfaces_of(topic.type_name)
        if interface.companion is not None
    }
    return wanted & {topic.name for topic in bag.topics if topic.encoding == "cdr" and topic.count}


def _stream(topic: TopicInfo) -> Stream:
    kinds = kinds_of(topic)
    large = any(kind in _LARGE for kind in kinds)
    samples = Samples(SAMPLED if large else _SMALL, pairs=any(kind in _PAIRED for kind in kinds))
    needs_more = any(not interface.is_stateless for interface in registry.interfaces_of(topic.type_name))
    return Stream(topic, kinds, samples=samples, wanted_first=_FIRST_OF_MANY if needs_more else _FIRST)


def _read_rest_of_static(bag: Recording, scan: Scan) -> None:
    late = [
        stream
        for stream in scan.streams.values()
        if is_static_topic(stream.name) and "transforms" in stream.kinds and stream.seen < stream.info.count
    ]
    wanted = [stream.name for stream in late if stream.info.encoding == "cdr"]
    if wanted:
        scan.tracks = {key: track for key, track in scan.tracks.items() if key[0] not in wanted}
        for message in bag.messages(wanted):
            _take_transforms(scan, message)


def _take(scan: Scan, message: Message) -> None:
    stream = scan.streams[message.topic]
    number = stream.seen
    stream.seen += 1
    stream.bytes += len(message.data)
    stream.logs.append(message.log_ns)
    if any(kind in _SAMPLED_KINDS for kind in stream.kinds):
        if len(stream.first) < stream.wanted_first and (stream.bytes < _MAX_FIRST_BYTES or len(stream.first) < _FIRST):
            stream.first.append(message)
        stream.samples.offer(number, message)
        stream.places.append(message.place)
    if "transforms" in stream.kinds:
        _take_transforms(scan, message)
        return
    if message.topic.rpartition("/")[2] == "robot_description":
        scan.texts[message.topic] = message
    peek = _peek_of(message, stream)
    if peek is None:
        return
    try:
        stamp_ns, frame_id = peek(message.data)
    except DecodeError:
        stream.stamps.append(_UNREADABLE)
        return
    stream.stamps.append(stamp_ns)
    stream.frames[frame_id] = stream.frames.get(frame_id, 0) + 1
    if message.type_name in _REPEATING:
        stream.repeats.add(message.data, stamp_ns)


def _peek_of(message: Message, stream: Stream) -> Callable[[bytes], tuple[int, str]] | None:
    roles = registry.interfaces_of(message.type_name)
    if roles:
        return roles[0].peek
    return peek_header if starts_with_header(message.type_name, stream.info.definition) else None


def _take_transforms(scan: Scan, message: Message) -> None:
    try:
        samples = decode_transforms(message)
    except DecodeError as error:
        scan.problems[str(error)] = scan.problems.get(str(error), 0) + 1
        return
    for sample in samples:
        key = (message.topic, sample.parent, sample.child)
        track = scan.tracks.get(key)
        if track is None:
            track = scan.tracks[key] = Track(*key, static=is_static_topic(message.topic))
        track.add(sample.stamp_ns, message.log_ns, sample.translation, sample.rotation_xyzw, message.place)
