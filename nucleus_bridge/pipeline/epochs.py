# SPDX-License-Identifier: Apache-2.0
"""What lies before and after a step of the clocks, told by the order of arrival within each topic.

A step that one topic or edge shows opens a new epoch. What it sends from then on waits; the other topics wait too,
until they show the step themselves, or until so much time has passed that they would have. Then each is cut: at its
own step; by stamps where the step is too short to show in it; at the end of the span where it is not of its clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import NamedTuple, Protocol

from nucleus_bridge.clock_steps import MESSAGES_IN_A_ROW, PICTURES_IN_A_ROW, Step, StepWatch
from nucleus_bridge.model import Message

REMEMBERED = 32
"""This many stamps tell the period of a topic."""


class Entry(NamedTuple):
    """Something that came: a message, or one edge of one.

    Attributes:
        stamp_ns: Its corrected stamp.
        size: Bytes.
        topic: What it is counted under when it is left out.
        take: Hands it to the stages that follow.
    """

    stamp_ns: int
    size: int
    topic: str
    take: Callable[[], None]


class Series:
    """One topic or one edge of transforms, in the order of arrival.

    Attributes:
        name: The topic, or the child frame of the edge.
        is_edge: Which of both.
        in_a_row: This many stamps in a row below the highest one are a step.
        watch: Finds its steps.
        recent: Its last stamps.
        waiting: What it sent while a step was open that it did not show, by number of arrival.
        has_stepped: Whether it has shown the step that is open.
        begun_ns: Stamp of the first that waited since the step was opened.
    """

    __slots__ = ("begun_ns", "has_stepped", "in_a_row", "is_edge", "name", "recent", "waiting", "watch")

    def __init__(self, name: str, in_a_row: int, *, is_edge: bool) -> None:
        self.name = name
        self.is_edge = is_edge
        self.in_a_row = in_a_row
        self.watch: StepWatch[Entry] = StepWatch(in_a_row)
        self.recent: deque[int] = deque(maxlen=REMEMBERED)
        self.waiting: list[tuple[int, Entry]] = []
        self.has_stepped = False
        self.begun_ns: int | None = None

    def period_ns(self, before_ns: int) -> int:
        """Return its usual period before a stamp; 0 where it is not known."""
        stamps = sorted(stamp for stamp in self.recent if stamp < before_ns)
        return round(median(later - earlier for earlier, later in pairwise(stamps))) if len(stamps) > 1 else 0


@dataclass(frozen=True)
class Cut:
    """Where a series without a step of its own is cut, ns: what is in between is left out; both are the same if not."""

    series: Series
    low_ns: int
    high_ns: int

    @property
    def is_of_another_clock(self) -> bool:
        """Whether the series would have shown the step if its clock had made it."""
        return self.low_ns == self.high_ns


class Stages(Protocol):
    """What follows: takes what is of the present epoch."""

    def advance(self) -> None:
        """Decide what can be decided."""

    def suspend(self, series: Series) -> None:
        """Take note that a series holds something back, or that it does no longer."""

    def end_epoch(self, cuts: Iterable[Cut]) -> list[Entry]:
        """End the present epoch and start over; return what was taken already and is after a cut."""

    def leave_out(self, entry: Entry) -> None:
        """Count what cannot be told to be before or after a step."""


@dataclass
class _Open:
    step: Step
    after: list[tuple[int, Entry]] = field(default_factory=list)


class Epochs:
    """Lets through what is of the present epoch and keeps what is of the next one.

    Args:
        stages: Takes what is let through.
        wait_ns: How much later than the others a topic may show a step.
        max_bytes: The most that may wait.
        told: Is called with each step of a series when it is seen.
    """

    def __init__(self, stages: Stages, wait_ns: int, max_bytes: int, told: Callable[[Series, Step], None]) -> None:
        self._stages = stages
        self._wait_ns = wait_ns
        self._max_bytes = max_bytes
        self._told = told
        self._series: dict[tuple[str, str], Series] = {}
        self._open: _Open | None = None
        self._last: Step | None = None
        self._number = 0
        self.bytes_held = 0

    def series(self, topic: str, child: str, in_a_row: int) -> Series:
        """Return the series of a topic, or of an edge that comes on it."""
        key = topic, child
        if key not in self._series:
            self._series[key] = Series(child or topic, in_a_row, is_edge=bool(child))
        return self._series[key]

    def take(self, series: Series, entry: Entry) -> None:
        """Take what came next."""
        stamp_ns = entry.stamp_ns
        if self._open is None and series.watch.ascends(stamp_ns):
            series.recent.append(stamp_ns)
            entry.take()
            return
        series.recent.append(stamp_ns)
        outcome = series.watch.take(stamp_ns, entry, self._enough(series, stamp_ns))
        self._stages.suspend(series)
        for before in outcome.before:
            self._route(series, before)
        if outcome.step is not None:
            self._step(series, outcome.step)
        for after in outcome.after:
            self._route(series, after)

    def _enough(self, series: Series, stamp_ns: int) -> int:
        """Return how many stamps in a row are a step: of a video fewer where the others have shown one as large."""
        highest_ns = series.watch.highest_ns
        if series.in_a_row == PICTURES_IN_A_ROW and self._open and not series.has_stepped and highest_ns is not None:
            step = self._open.step
            if 2 * (highest_ns - stamp_ns) >= step.high_ns - step.low_ns:
                return MESSAGES_IN_A_ROW
        return series.in_a_row

    def set_back(self, step: Step) -> None:
        """Take note that the clock was set back, as something else than stamps says."""
        if self._open is None:
            self._open = _Open(step)

    def finish(self) -> None:
        """Let through everything: nothing more will come."""
        for series in self._series.values():
            for entry in series.watch.release():
                self._route(series, entry)
            self._stages.suspend(series)
        while self._open is not None:
            self._close()

    def _step(self, series: Series, step: Step) -> None:
        self._told(series, step)
        if self._open is not None and series.has_stepped:
            self._close()  # a second one
        if self._open is None and self._last is not None and not series.has_stepped:
            last, series.has_stepped = self._last, True
            if step.low_ns <= last.high_ns and step.high_ns >= last.low_ns:
                return  # it shows the last one later than one waits
        if self._open is None:
            self._open = _Open(step)
            for other in self._series.values():
                other.has_stepped, other.begun_ns = False, None
        else:
            was = self._open.step
            self._open.step = Step(min(was.low_ns, step.low_ns), max(was.high_ns, step.high_ns))
        series.has_stepped, series.begun_ns = True, None
        for _, entry in series.waiting:
            self._take(entry)
        series.waiting.clear()

    def _route(self, series: Series, entry: Entry) -> None:
        if self._open is None:
            entry.take()
            return
        self._number += 1
        self.bytes_held += entry.size
        waiting = self._open.after if series.has_stepped else series.waiting
        waiting.append((self._number, entry))
        if series.begun_ns is None:
            series.begun_ns = entry.stamp_ns
        patience_ns = self._wait_ns if series.has_stepped else 2 * self._wait_ns
        if entry.stamp_ns - series.begun_ns >= patience_ns or self.bytes_held > self._max_bytes:
            self._close()

    def _take(self, entry: Entry) -> None:
        self.bytes_held -= entry.size
        entry.take()

    def _close(self) -> None:
        """End the present epoch, and let through what waits for the next one."""
        if self._open is None:
            return
        closed, self._open = self._open, None
        self._last = closed.step
        cuts = [self._cut(series, closed.step) for series in self._series.values() if not series.has_stepped]
        after = closed.after
        for cut in cuts:
            for number, entry in cut.series.waiting:
                if entry.stamp_ns <= cut.low_ns:
                    self._take(entry)
                elif entry.stamp_ns <= cut.high_ns:
                    self.bytes_held -= entry.size
                    self._stages.leave_out(entry)
                else:
                    after.append((number, entry))
            cut.series.waiting.clear()
        for entry in self._stages.end_epoch(cuts):
            entry.take()
        for _, entry in sorted(after, key=_arrival):
            self._take(entry)
            self._stages.advance()

    def _cut(self, series: Series, step: Step) -> Cut:
        period_ns = series.period_ns(step.low_ns)
        if step.high_ns - step.low_ns < 2 * period_ns:
            return Cut(series, step.low_ns - period_ns - 1, step.high_ns + period_ns)
        return Cut(series, step.high_ns, step.high_ns)  # longer than two of its periods and not seen: not of its clock


def _arrival(numbered: tuple[int, Entry]) -> int:
    return numbered[0]


def entry_of(message: Message, stamp_ns: int, take: Callable[[], None]) -> Entry:
    """Return the entry of a whole message."""
    return Entry(stamp_ns, len(message.data), message.topic, take)
