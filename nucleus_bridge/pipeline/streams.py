# SPDX-License-Identifier: Apache-2.0
"""The streams of all decoded topics: what they complete is watched and handed on, what they lose is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from nucleus_bridge.causes import Cause
from nucleus_bridge.decode.interface import Reset
from nucleus_bridge.errors import DecodeError
from nucleus_bridge.model import Message, Payload
from nucleus_bridge.pipeline.topics import Stream, WantedTopic

Take = Callable[[WantedTopic, Any], None]
Watch = Callable[[str, Payload, Message | None], None]
"""Is called with each sample that a sensor's decoder makes, and with the message that completed it, if one did."""
Count = Callable[[str, Cause, int, str], None]


class Streams:
    """Every stream with what takes its samples.

    Args:
        count: Is called with topic, cause, stamp and reason of each loss.
        now_ns: Returns message time, which losses without a stamp are booked under.

    Attributes:
        watch: Is called with each sample, if it is set.
    """

    def __init__(self, count: Count, now_ns: Callable[[], int]) -> None:
        self._count = count
        self._now_ns = now_ns
        self._by_topic: dict[str, list[tuple[Stream, Take]]] = {}
        self.watch: Watch | None = None

    def add(self, topic: WantedTopic, take: Take) -> tuple[Stream, Take]:
        """Open the stream of a topic in one of its roles."""
        entry = Stream(topic), take
        self._by_topic.setdefault(topic.name, []).append(entry)
        return entry

    @property
    def by_topic(self) -> Mapping[str, Sequence[tuple[Stream, Take]]]:
        """The streams of each topic."""
        return self._by_topic

    def of(self, topic: str) -> Sequence[tuple[Stream, Take]]:
        """Return the streams of a topic."""
        return self._by_topic.get(topic, ())

    def take(self, stream: Stream, take: Take, message: Message) -> None:
        """Take a message.

        Raises:
            DecodeError: It cannot be used.
        """
        self._hand_on(stream.topic, take, stream.take(message), message, is_watched=stream.topic.is_sample)

    def tell(self, stream: Stream, take: Take, message: Message) -> None:
        """Take a message of a companion topic.

        Raises:
            DecodeError: It cannot be used.
        """
        self._hand_on(stream.topic, take, stream.tell(message), message, is_watched=True)

    def flush(self) -> None:
        """Take what is held back although nothing more will come."""
        for stream, take in self._all():
            self._take_left(stream.topic, take, stream.flush())

    def reset(self, why: Reset, *, topic: str | None = None, told_by: WantedTopic | None = None) -> None:
        """Say that what comes does not follow what came.

        Args:
            why: The reason.
            topic: The topic of which this is so; None for all.
            told_by: The topic that showed it and is past it already.
        """
        for stream, take in self._all() if topic is None else self.of(topic):
            if told_by is None or stream.topic is not told_by:
                self._take_left(stream.topic, take, stream.reset(why))

    def _all(self) -> Iterator[tuple[Stream, Take]]:
        for streams in self._by_topic.values():
            yield from streams

    def _take_left(self, topic: WantedTopic, take: Take, samples: Iterator[Any]) -> None:
        try:
            self._hand_on(topic, take, samples, None, is_watched=topic.is_sample)
        except DecodeError as error:
            self._count(topic.name, error.cause, self._now_ns(), str(error))

    def _hand_on(
        self, topic: WantedTopic, take: Take, samples: Iterable[Any], message: Message | None, *, is_watched: bool
    ) -> None:
        for sample in samples:
            if isinstance(sample, DecodeError):  # it stands for one that is lost
                self._count(topic.name, sample.cause, self._now_ns(), str(sample))
                continue
            if self.watch is not None and is_watched:
                self.watch(topic.reader, sample, message)
            take(topic, sample)
