# SPDX-License-Identifier: Apache-2.0
"""What waits between the callbacks and the recording: messages and requests in order, bounded in bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue

from nucleus_bridge.causes import Cause
from nucleus_bridge.model import Message
from nucleus_bridge.pipeline.losses import Table, merge

SMALL_RESERVE = 16_000_000
"""Transforms, calibrations and fixes are small and cannot be done without: they may exceed the limit by this much."""
RESUME_AT = 0.5
_HEAD_BYTES = 512


@dataclass(frozen=True)
class Lost:
    """A message that is not handed over."""

    topic: str
    cause: Cause
    head: bytes


@dataclass(frozen=True)
class ClockStep:
    """The clock went back."""

    now_ns: int
    step_ns: int


@dataclass(frozen=True)
class Answer:
    """What came of a request, and whether all is as it was asked for."""

    success: bool
    text: str


@dataclass(frozen=True)
class FinishScene:
    """The open scene is to end at the last frame that is decided."""

    done: Callable[[Answer], None]


@dataclass(frozen=True)
class Mark:
    """Somebody made the event ``mark``."""

    stamp_ns: int
    done: Callable[[Answer], None]


class End:
    """Nothing comes after it."""


Item = Message | Lost | ClockStep | FinishScene | Mark | End


class Inbox:
    """Filled by one thread and emptied by another.

    Attributes:
        max_bytes: Beyond it the sensors' samples are dropped.
        losses: What was counted as lost here, by topic and cause.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.losses: Table = {}
        self._items: SimpleQueue[Item] = SimpleQueue()
        self._put_bytes = 0  # this and the next two are written by the callbacks' thread alone
        self._most_queued = 0
        self._shedding = False
        self._taken_bytes = 0  # by the other thread alone

    @property
    def queued_bytes(self) -> int:
        """Bytes received and not looked at yet."""
        return self._put_bytes - self._taken_bytes

    def take_most_queued(self) -> int:
        """Return the most bytes that were queued since this was asked the last time; for the callbacks' thread."""
        most, self._most_queued = self._most_queued, self.queued_bytes
        return most

    def offer(self, message: Message, *, is_sample: bool) -> None:
        """Hand over a message; it is dropped and counted when the queue is full. Never waits.

        Once a sample was dropped, every one is until half of the queue is free: rather no frame for a while than parts
        of frames all the time.
        """
        size = len(message.data)
        wanted = self.queued_bytes + size
        if is_sample:
            self._shedding = wanted > (self.max_bytes * RESUME_AT if self._shedding else self.max_bytes)
        if self._shedding if is_sample else wanted > self.max_bytes + SMALL_RESERVE:
            self.lose(message.topic, "queue_full", message.data)
            return
        self._put_bytes += size
        self._most_queued = max(self._most_queued, self.queued_bytes)
        self.put(message)

    def lose(self, topic: str, cause: Cause, data: bytes = b"") -> None:
        """Count a message that is not handed over."""
        merge(self.losses, {topic: {cause: 1}})
        self.put(Lost(topic, cause, data[:_HEAD_BYTES]))

    def put(self, item: Item) -> None:
        """Hand over anything else."""
        self._items.put(item)

    def get(self) -> Item:
        """Return the next one; wait for it."""
        return self._items.get()

    def get_nowait(self) -> Item:
        """Return the next one.

        Raises:
            queue.Empty: There is none.
        """
        return self._items.get_nowait()

    def looked_at(self, message: Message) -> None:
        """Give the room of a message back."""
        self._taken_bytes += len(message.data)
