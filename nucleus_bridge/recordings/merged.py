# SPDX-License-Identifier: Apache-2.0
"""Several recordings of one drive as one: their files together, by log clocks that are made to agree."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from statistics import median
from typing import BinaryIO

from nucleus_bridge import warnings
from nucleus_bridge.errors import BagError
from nucleus_bridge.model import Message
from nucleus_bridge.recordings.contents import (
    ALWAYS,
    EVERYWHERE,
    DamageLog,
    PassesOver,
    StandIn,
    StorageFile,
    TopicInfo,
)
from nucleus_bridge.recordings.place import Place, Status
from nucleus_bridge.recordings.reorder import header_stamp_ns, starts_with_header
from nucleus_bridge.warnings import Finding

LARGEST_DIFFERENCE_NS = 30_000_000_000
"""Log clocks of computers that are farther apart are only believed to differ where their recordings do not overlap."""

_SMALLEST_DIFFERENCE_NS = 1_000_000_000
_MESSAGES_A_TOPIC = 5


@dataclass(frozen=True)
class Merged:
    """Several recordings that are read as one; a ``Place`` of no folder.

    Attributes:
        parts: The recordings, each once, ordered by their full paths.
    """

    parts: tuple[Place, ...]

    @classmethod
    def of(cls, parts: Iterable[Place]) -> Merged:
        """Put recordings together.

        Raises:
            BagError: There is only one.
        """
        known = {str(part.resolve()): part for part in parts}
        if len(known) < 2:
            raise BagError(f"--merge needs several recordings, and got {', '.join(known) or 'none'}")
        return cls(tuple(known[path] for path in sorted(known)))

    def __str__(self) -> str:
        """Return the paths of the parts."""
        return " + ".join(str(part) for part in self.parts)

    @property
    def name(self) -> str:
        """Names of the parts."""
        return "+".join(part.name for part in self.parts)

    @property
    def parent(self) -> Place:
        """The folder that the first part is in."""
        return self.parts[0].parent

    def resolve(self) -> Place:
        """Return it with full paths."""
        return Merged(tuple(part.resolve() for part in self.parts))

    def __truediv__(self, name: str, /) -> Place:
        """Refuse: it is not a folder."""
        raise BagError(f"{self}: several recordings are not a folder that {name} could be in")

    def exists(self) -> bool:
        """Whether every part is there."""
        return all(part.exists() for part in self.parts)

    def is_dir(self) -> bool:
        """Return False."""
        return False

    def is_file(self) -> bool:
        """Return False."""
        return False

    def iterdir(self) -> Iterable[Place]:
        """Return the parts."""
        return self.parts

    def stat(self) -> Status:
        """Refuse: it is not a file."""
        raise BagError(f"{self}: several recordings are not a file")

    def open(self, mode: str, /) -> BinaryIO:
        """Refuse: it is not a file."""
        raise BagError(f"{self}: several recordings are not a file that can be opened for {mode!r}")


class Shifted(StandIn):
    """A file whose log times are moved to another clock; see ``StorageFile``."""

    def __init__(self, file: StorageFile, shift_ns: int) -> None:
        """Move by ``shift_ns``, which is added."""
        super().__init__(file)
        self._shift_ns = shift_ns
        self.path: Place = file.path
        self.topics: tuple[TopicInfo, ...] = file.topics
        self.damage: DamageLog = file.damage
        self.start_ns, self.end_ns = file.start_ns + shift_ns, file.end_ns + shift_ns

    @property
    def number(self) -> int:
        """Which file of its recording it is."""
        return self._file.number

    @number.setter
    def number(self, number: int) -> None:
        self._file.number = number

    def messages(
        self,
        topics: Collection[str],
        span: tuple[int, int] = ALWAYS,
        stretch: tuple[int, int] = EVERYWHERE,
        *,
        trusts_index: bool = False,
        passes_over: PassesOver | None = None,  # noqa: ARG002 - it knows other log times
    ) -> Iterator[Message]:
        """Yield the messages of these topics."""
        first_ns, last_ns = span if span == ALWAYS else (span[0] - self._shift_ns, span[1] - self._shift_ns)
        for message in self._file.messages(topics, (first_ns, last_ns), stretch, trusts_index=trusts_index):
            yield replace(message, log_ns=message.log_ns + self._shift_ns)


def with_one_clock(parts: list[list[StorageFile]]) -> tuple[list[StorageFile], list[Finding]]:
    """Return the files of all parts with log times that fit together, and which were moved.

    Recorders on two computers may have clocks that differ, while the stamps of the sensors do not. How much later than
    stamped each part's messages are logged tells by how much: the part with the smallest delay keeps its log times, and
    the others are moved to the same delay. That is done where the difference is more than a second and at most
    ``LARGEST_DIFFERENCE_NS``, or where the log times of the recordings do not overlap; other differences are those of
    sensors with clocks of their own.
    """
    delays = [_delay_ns(files) for files in parts]
    known = [delay for delay in delays if delay is not None]
    files: list[StorageFile] = []
    found: list[Finding] = []
    if not known:
        return [file for part in parts for file in part], found
    reference = min(range(len(parts)), key=lambda part: (delays[part] is None, abs(delays[part] or 0)))
    for number, part in enumerate(parts):
        delay = delays[number]
        shift_ns = 0 if delay is None else (delays[reference] or 0) - delay
        size_ns = abs(shift_ns)
        is_clock = size_ns <= LARGEST_DIFFERENCE_NS or not _overlap(part, parts[reference])
        if size_ns <= _SMALLEST_DIFFERENCE_NS or not is_clock:
            files += part
            continue
        found += [warnings.recorder_clock(str(file.path), shift_ns / 1e9) for file in part]
        files += [Shifted(file, shift_ns) for file in part]
    return files, found


def _overlap(some: list[StorageFile], others: list[StorageFile]) -> bool:
    return min(file.start_ns for file in some) <= max(file.end_ns for file in others) and min(
        file.start_ns for file in others
    ) <= max(file.end_ns for file in some)


def _delay_ns(files: list[StorageFile]) -> int | None:
    """Return how much later than stamped the messages of a part are logged, ns; None where its topics disagree."""
    delays: dict[str, float] = {}
    for file in files:
        for topic in file.topics:
            if topic.name in delays or not topic.count or not starts_with_header(topic.type_name, topic.definition):
                continue
            some = islice(file.messages([topic.name]), _MESSAGES_A_TOPIC)
            found = [message.log_ns - stamp for message in some if (stamp := header_stamp_ns(message.data))]
            if found:
                delays[topic.name] = median(found)
    if not delays or max(delays.values()) - min(delays.values()) > _SMALLEST_DIFFERENCE_NS:
        return None
    return round(median(delays.values()))


def without_repeats(messages: Iterable[tuple[int, Message]]) -> Iterator[Message]:
    """Leave out what two recorders both have: the same topic, log time and bytes from different parts.

    ``messages`` are pairs of a part's number and a message, by log time and topic.
    """
    seen: dict[bytes, int] = {}
    group: tuple[int, str] | None = None
    for part, message in messages:
        if (message.log_ns, message.topic) != group:
            group, seen = (message.log_ns, message.topic), {}
        if seen.setdefault(message.data, part) == part:
            yield message
