# SPDX-License-Identifier: Apache-2.0
"""One pass over a recording, or over its beginning: stamps, transforms, and the first few messages of each sensor."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from nucleus_bridge.convert import CLOUD, FIX, IMAGE, INFO
from nucleus_bridge.decode.cdr import peek_header
from nucleus_bridge.decode.tf import decode_transforms
from nucleus_bridge.errors import DecodeError, TransformError
from nucleus_bridge.geometry import TransformTree
from nucleus_bridge.model import IntArray, Message
from nucleus_bridge.recordings import Recording, TopicInfo
from nucleus_bridge.recordings.reorder import starts_with_header

TF_TOPICS = {"/tf": False, "/tf_static": True}
DROP_PERIODS = 1.5
"""A longer hole between two stamps than this many periods means that messages are missing."""
MAX_BYTES = 256_000_000
"""Payload that is read when not everything is asked for."""
_KEPT = 5

Progress = Callable[[float], None]


@dataclass
class Stream:
    """What was seen of one topic.

    Attributes:
        info: The topic as the index has it.
        seen: Messages read.
        stamps: ``header.stamp`` of each in ns, by log time; empty for types without a header.
        logs: Log time of each, ns.
        frames: How often each ``header.frame_id`` came.
        bytes: Payload read.
        first: The first few messages, of sensors only.
        unreadable: Messages whose header could not be read.
    """

    info: TopicInfo
    seen: int = 0
    stamps: array[int] = field(default_factory=lambda: array("q"))
    logs: array[int] = field(default_factory=lambda: array("q"))
    frames: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    first: list[Message] = field(default_factory=list)
    unreadable: int = 0

    @property
    def times(self) -> IntArray:
        """Stamps where the type has them and they were set, else log times, ascending."""
        times = np.sort(np.array(self.stamps or self.logs, dtype=np.int64))
        return times[times > 0]

    @property
    def period_ns(self) -> float:
        """Median distance of consecutive stamps; 0 with fewer than two."""
        steps = np.diff(self.times)
        steps = steps[steps > 0]
        return float(np.median(steps)) if len(steps) else 0.0

    @property
    def frame_id(self) -> str:
        """The frame id that came most often."""
        return max(self.frames, key=lambda name: self.frames[name], default="")


@dataclass
class EdgeStamps:
    """Stamps of one transform as they came."""

    parent: str
    static: bool
    stamps: array[int] = field(default_factory=lambda: array("q"))


@dataclass
class Scan:
    """What one pass over a recording gave.

    Attributes:
        streams: By topic.
        tree: Every transform that was read.
        edges: By child frame.
        problems: Transforms that could not be used, each text once.
        whole: Whether everything was read.
        read_s: Seconds of log time that were read.
        roots: Frames without a parent.
    """

    streams: dict[str, Stream]
    tree: TransformTree
    edges: dict[str, EdgeStamps] = field(default_factory=dict)
    problems: dict[str, int] = field(default_factory=dict)
    whole: bool = True
    read_s: float = 0.0

    @property
    def roots(self) -> list[str]:
        """Frames without a parent, sorted."""
        return [frame for frame in self.tree.frames() if self.tree.parent_of(frame) is None]

    def of_type(self, types: tuple[str, ...]) -> list[Stream]:
        """Streams of these types that have messages, by topic name."""
        return [s for _, s in sorted(self.streams.items()) if s.info.type_name in types and s.info.count]


def sampled_messages(bag: Recording, topics: list[str], *, full: bool) -> Iterator[tuple[Message, bool]]:
    """Yield the messages, and with each whether reading ends there although there are more."""
    total = 0
    for message in bag.messages(topics):
        total += len(message.data)
        over = not full and total > MAX_BYTES
        yield message, over
        if over:
            return


def scan_bag(bag: Recording, *, full: bool, progress: Progress) -> Scan:
    """Read a recording once: all of it when ``full`` or small, else its first ``MAX_BYTES`` of messages.

    ``/tf_static`` is read to its end in any case where the index allows it cheaply: it is asked for alone.
    """
    streams = {topic.name: Stream(topic) for topic in bag.topics}
    scan = Scan(streams, TransformTree())
    readable = [topic.name for topic in bag.topics if topic.encoding == "cdr"]
    last_ns = bag.start_ns
    stopped = False
    for message, over in sampled_messages(bag, readable, full=full):
        _take(scan, message)
        last_ns = max(last_ns, message.log_ns)
        stopped = over
        if bag.end_ns > bag.start_ns:
            progress((message.log_ns - bag.start_ns) / (bag.end_ns - bag.start_ns))
    if stopped:
        scan.whole = False
        late = streams.get("/tf_static")
        if late is not None and late.seen < late.info.count and late.info.encoding == "cdr":
            for message in bag.messages(["/tf_static"]):
                _take_transforms(scan, message, static=True)
    scan.read_s = (last_ns - bag.start_ns) / 1e9
    progress(1.0)
    return scan


def _take(scan: Scan, message: Message) -> None:
    stream = scan.streams[message.topic]
    stream.seen += 1
    stream.bytes += len(message.data)
    stream.logs.append(message.log_ns)
    if len(stream.first) < _KEPT and message.type_name in (*CLOUD, *IMAGE, *INFO, *FIX):
        stream.first.append(message)
    if message.topic in TF_TOPICS and message.type_name == "tf2_msgs/msg/TFMessage":
        _take_transforms(scan, message, static=TF_TOPICS[message.topic])
    elif starts_with_header(message.type_name, stream.info.definition):
        try:
            stamp_ns, frame_id = peek_header(message.data)
        except DecodeError:
            stream.unreadable += 1
            return
        stream.stamps.append(stamp_ns)
        stream.frames[frame_id] = stream.frames.get(frame_id, 0) + 1


def _take_transforms(scan: Scan, message: Message, *, static: bool) -> None:
    try:
        samples = decode_transforms(message)
    except DecodeError as error:
        scan.problems[str(error)] = scan.problems.get(str(error), 0) + 1
        return
    for sample in samples:
        try:
            scan.tree.add(
                sample.parent, sample.child, sample.stamp_ns, sample.translation, sample.rotation_xyzw, static=static
            )
        except TransformError as error:
            text = f"{message.topic}: {sample.parent} -> {sample.child}: {error}"
            scan.problems[text] = scan.problems.get(text, 0) + 1
            continue
        edge = scan.edges.get(sample.child)
        if edge is None or edge.static != static:
            edge = scan.edges[sample.child] = EdgeStamps(sample.parent, static)
        edge.parent = sample.parent
        edge.stamps.append(sample.stamp_ns)
