# SPDX-License-Identifier: Apache-2.0
"""What a recording holds, and what of it is lost: the words shared by the readers of this room."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import numpy as np

from nucleus_bridge import warnings
from nucleus_bridge.model import IntArray, Message
from nucleus_bridge.recordings.place import Place
from nucleus_bridge.warnings import Finding

if TYPE_CHECKING:
    from rosbags.interfaces import Qos

PLACE_BITS = 96
"""Bits of the place of a message within its file; the number of the file stands above them."""
ALWAYS = (-(1 << 63), 1 << 64)
"""The span of every log time."""
EVERYWHERE = (-1, 1 << PLACE_BITS)
"""The stretch of a file that holds all its messages: first place, and the one after the last."""
PassesOver = Callable[[Message], bool]
"""Says of a message, of which the first bytes may be enough, that nothing of it is wanted but that it came."""
HEAD_BYTES = 512
"""What is read of a message to ask that: header, frame id and an image's format."""
MAX_LAPS = 100
"""A file whose log times go back more often is in no order of time at all."""


@dataclass(frozen=True)
class Damage:
    """A part of a recording that could not be read.

    Attributes:
        path: The file.
        what: What is wrong, as a sentence for a person.
        offset: Byte in the file (the unpacked file where it is file-compressed) where it was noticed, or None.
        log_ns: Log time of the last message known before it, of the damaged block where it has none, or None.
        loses_messages: False where only an index or a hint is damaged and every message was found all the same.
        is_missing: Whether a whole file of the recording is not there, or was not listed where it should be.
    """

    path: Place
    what: str
    offset: int | None = None
    log_ns: int | None = None
    loses_messages: bool = True
    is_missing: bool = False

    @property
    def finding(self) -> Finding:
        """The warning that says so."""
        if self.is_missing:
            return warnings.split_missing(str(self.path.parent), str(self), loses_messages=self.loses_messages)
        return warnings.recording_damaged(str(self.path), str(self), loses_messages=self.loses_messages)

    def __str__(self) -> str:
        where = "" if self.offset is None else f" at byte {self.offset}"
        return f"{self.path}{where}: {self.what}"


class DamageLog:
    """What is damaged in one file, each thing once however often it is met."""

    def __init__(self, path: Place) -> None:
        self.path = path
        self._entries: dict[tuple[str, int | None], Damage] = {}

    def add(
        self, what: str, offset: int | None = None, log_ns: int | None = None, *, loses_messages: bool = True
    ) -> None:
        """Note a damage unless the same was noted at the same place."""
        self._entries.setdefault((what, offset), Damage(self.path, what, offset, log_ns, loses_messages))

    def __len__(self) -> int:
        return len(self._entries)

    def entries(self) -> list[Damage]:
        """List what was noted, in that order."""
        return list(self._entries.values())


@dataclass(frozen=True)
class TopicInfo:
    """One topic of a recording.

    Attributes:
        name: Topic name.
        type_name: Interface name such as ``sensor_msgs/msg/Image``; the first one where a topic has several.
        count: Messages.
        definition: The interface definition embedded in the recording (msg or IDL text), or ''.
        qos_texts: Profiles of the publishers as they are recorded; see ``offered_qos``.
        encoding: How messages are serialised; only ``cdr`` can be read.
    """

    name: str
    type_name: str
    count: int
    definition: str = ""
    qos_texts: tuple[str, ...] = ()
    encoding: str = "cdr"

    @property
    def offered_qos(self) -> tuple[Qos, ...]:
        """Profiles of the publishers, each once, or ()."""
        return tuple(dict.fromkeys(profile for text in self.qos_texts for profile in _qos_profiles(text)))


@dataclass(frozen=True)
class Channel:
    """One stream of messages of one type on one topic inside a file; a topic may have several."""

    topic: str
    type_name: str
    encoding: str
    definition: str
    offered_qos: str

    def info(self, count: int) -> TopicInfo:
        """Give this channel as a topic of so many messages."""
        qos_texts = (self.offered_qos,) if self.offered_qos else ()
        return TopicInfo(self.topic, self.type_name, count, self.definition, qos_texts, self.encoding)


class StorageFile(Protocol):
    """One file of a recording, its index read and nothing held open.

    Attributes:
        path: The file as the user knows it.
        topics: One entry a channel, so a topic may appear more than once.
        start_ns: Log time of the first message; 0 without messages.
        end_ns: Log time of the last message; 0 without messages.
        damage: What was found so far; grows while messages are read.
        number: Which file of its recording it is, counted from 0: the high part of the place of its messages.
    """

    path: Place
    topics: tuple[TopicInfo, ...]
    start_ns: int
    end_ns: int
    damage: DamageLog
    number: int

    @property
    def log_steps(self) -> Sequence[int]:
        """The places within the file, ascending, at which the recorder's clock was set back."""

    def messages(
        self,
        topics: Collection[str],
        span: tuple[int, int] = ALWAYS,
        stretch: tuple[int, int] = EVERYWHERE,
        *,
        trusts_index: bool = False,
        passes_over: PassesOver | None = None,
    ) -> Iterator[Message]:
        """Yield the messages of these topics by log time, then topic name, then place in the file.

        Only those with log times in ``span``, both ends included, and with places in ``stretch``, its end excluded.
        With ``trusts_index`` only the bytes that an index points to may be read, so that checksums are not looked at.
        Of a large message that ``passes_over`` says yes to, given its first bytes, no more may be read.
        Damage ends it early or leaves messages out and is added to ``damage``; nothing is raised for it.
        """


class StandIn:
    """What stands for a file and gives out its messages changed: knows the file's number."""

    def __init__(self, file: StorageFile) -> None:
        """Stand for ``file``."""
        self._file = file

    @property
    def number(self) -> int:
        """Which file of its recording it is."""
        return self._file.number

    @number.setter
    def number(self, number: int) -> None:
        self._file.number = number

    @property
    def log_steps(self) -> Sequence[int]:
        """The places within the file at which the recorder's clock was set back."""
        return self._file.log_steps


def merge_topics(topics: Collection[TopicInfo]) -> tuple[TopicInfo, ...]:
    """Give one entry a topic name, in the order of names; counts are added up."""
    merged: dict[str, TopicInfo] = {}
    for topic in topics:
        known = merged.get(topic.name)
        if known is None:
            merged[topic.name] = topic
            continue
        same_type = known.type_name == topic.type_name
        merged[topic.name] = TopicInfo(
            known.name,
            known.type_name,
            known.count + topic.count,
            known.definition or (topic.definition if same_type else ""),
            known.qos_texts + tuple(text for text in topic.qos_texts if text not in known.qos_texts),
            known.encoding,
        )
    return tuple(merged[name] for name in sorted(merged))


@lru_cache(maxsize=1024)
def _qos_profiles(text: str) -> tuple[Qos, ...]:
    from rosbags.rosbag2.metadata import parse_qos  # noqa: PLC0415 - loads much that a conversion has no use for

    try:
        return tuple(parse_qos(text))
    except Exception:  # noqa: BLE001 - a library's own errors on odd text; the profiles are only a hint
        return ()


def log_steps(series: Collection[tuple[IntArray, Sequence[int]]]) -> list[int]:
    """Find where the recorder's clock was set back: log times of one topic that stay below their highest one.

    Args:
        series: For each topic its log times and their places, in the order of the file.

    Returns:
        The places of the first messages after each step, ascending; none where the file is in no order of time.
    """
    steps: list[int] = []
    starts = [0] * len(series)
    while len(steps) <= MAX_LAPS:
        found = [
            places[step]
            for (logs, places), start in zip(series, starts, strict=True)
            if (step := _first_step(logs, start)) is not None
        ]
        if not found:
            return steps
        steps.append(min(found))
        starts = [bisect_left(places, steps[-1]) for _, places in series]
    return []


def _first_step(logs: IntArray, start: int) -> int | None:
    """Return the index of the first of two log times in a row that are below the highest one before."""
    logs = logs[start:]
    below = logs[1:] < np.maximum.accumulate(logs)[:-1]
    in_a_row = below[:-1] & below[1:]
    return start + 1 + int(np.argmax(in_a_row)) if in_a_row.any() else None
