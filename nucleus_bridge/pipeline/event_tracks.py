# SPDX-License-Identifier: Apache-2.0
"""When events begin and end, told by the values of their topics in the order of stamps.

A track takes what came in any order and works it off up to a stamp that nothing to come can precede. So what it says
depends on stamps and values alone.
"""

from __future__ import annotations

import heapq
import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Generic, TypeVar

from nucleus_bridge.config import EventConfig
from nucleus_bridge.config.conditions import Changes, Circle, Compared, Condition, parse_condition
from nucleus_bridge.decode.fields import Field, FieldError, Value

Taken = TypeVar("Taken")

RATE_NS = 1_000_000_000
"""A rate is the number of messages over so long."""
MOST_PENDING = 100_000
"""The most values that wait: as long as there is no sweep, nothing says when they can be processed."""
NO_FIX_NS = 5_000_000_000
"""Between two fixes further apart nothing is known of the place."""
_SEMI_MAJOR_M, _ECCENTRICITY_SQUARED = 6_378_137.0, 6.694379990141e-3  # WGS 84
_BOOLEANS = {"true": 1.0, "false": 0.0}
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">": lambda one, other: one > other,
    ">=": lambda one, other: one >= other,
    "<": lambda one, other: one < other,
    "<=": lambda one, other: one <= other,
    "==": lambda one, other: one == other,
    "!=": lambda one, other: one != other,
}
_RISING = (">", ">=")
"""Comparisons that a count which is not complete cannot meet wrongly."""


@dataclass
class Span:
    """One event: where it began and ended, ns; None: it lasts."""

    begin_ns: int
    end_ns: int | None


@dataclass(frozen=True)
class Rules:
    """What of an event's settings has nothing to do with its condition; times in ns.

    Attributes:
        name: The event.
        before_ns: How long before the event its window begins.
        after_ns: How long after the event its window ends.
        hold_ns: An event lasts at least this long; what begins anew meanwhile is the same event.
        min_interval_ns: An event begins only this long after the last one.
        min_distance_m: An event begins only this far from the last one, as the device drove.
    """

    name: str
    before_ns: int
    after_ns: int
    hold_ns: int = 0
    min_interval_ns: int = 0
    min_distance_m: float = 0.0

    @classmethod
    def of(cls, event: EventConfig) -> Rules:
        """Take them from the settings."""
        before, after, hold, interval = (
            round(seconds * 1e9) for seconds in (event.before_s, event.after_s, event.hold_s, event.min_interval_s)
        )
        return cls(event.name, before, after, hold, interval, event.min_distance_m)


class Spans:
    """The events of one name, as something switches on and off."""

    def __init__(self, rules: Rules, driven_m: Callable[[int], float | None]) -> None:
        self.rules = rules
        self._driven_m = driven_m
        self.restart()

    def restart(self) -> None:
        """Forget everything, after a step of the clock."""
        self.known: list[Span] = []
        self._last: Span | None = None
        self._is_on = False
        self._last_begin_ns: int | None = None
        self._last_begin_m: float | None = None

    def switch(self, stamp_ns: int, *, on: bool) -> None:
        """Take note of what the condition is from a stamp on."""
        if on and not self._is_on:
            self._begin(stamp_ns)
        elif not on and self._is_on and self._last is not None and self._last.end_ns is None:
            self._last.end_ns = max(stamp_ns, self._last.begin_ns + self.rules.hold_ns)
        self._is_on = on

    def strike(self, stamp_ns: int) -> None:
        """Take note of an event that has no length."""
        self.switch(stamp_ns, on=True)
        self.switch(stamp_ns, on=False)

    def forget(self, before_ns: int) -> None:
        """Let go of events whose windows end before a stamp."""
        after_ns = self.rules.after_ns
        self.known = [span for span in self.known if span.end_ns is None or span.end_ns + after_ns >= before_ns]

    def _begin(self, stamp_ns: int) -> None:
        rules, last = self.rules, self._last
        if rules.hold_ns and last is not None and last.end_ns is not None and stamp_ns <= last.end_ns:
            last.end_ns = None
            return
        driven_m = self._driven_m(stamp_ns) if rules.min_distance_m else None
        if self._last_begin_ns is not None and not self._is_apart(stamp_ns, driven_m):
            self._last = None
            return
        self._last_begin_ns = stamp_ns
        self._last_begin_m = driven_m if driven_m is not None else self._last_begin_m
        self._last = Span(stamp_ns, None)
        self.known.append(self._last)

    def _is_apart(self, stamp_ns: int, driven_m: float | None) -> bool:
        """Say whether an event would begin long enough after the last one, and far enough from it."""
        rules = self.rules
        if self._last_begin_ns is not None and stamp_ns - self._last_begin_ns < rules.min_interval_ns:
            return False
        if not rules.min_distance_m or self._last_begin_m is None:
            return True
        return driven_m is not None and driven_m - self._last_begin_m >= rules.min_distance_m


class Pending(Generic[Taken]):
    """What came and is not worked off: given out by stamp, then by arrival."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Taken]] = []
        self._number = 0

    def add(self, stamp_ns: int, taken: Taken) -> None:
        """Take something."""
        self._number += 1
        heapq.heappush(self._heap, (stamp_ns, self._number, taken))
        if len(self._heap) > MOST_PENDING:
            heapq.heappop(self._heap)

    def until(self, stamp_ns: int) -> Iterator[tuple[int, Taken]]:
        """Give out what is not after a stamp."""
        while self._heap and self._heap[0][0] <= stamp_ns:
            stamp, _, taken = heapq.heappop(self._heap)
            yield stamp, taken

    def take_after(self, stamp_ns: int) -> list[tuple[int, Taken]]:
        """Give out what is after a stamp; the rest stays."""
        taken = sorted((entry for entry in self._heap if entry[0] > stamp_ns), key=lambda entry: entry[:2])
        self._heap = [entry for entry in self._heap if entry[0] <= stamp_ns]
        heapq.heapify(self._heap)
        return [(stamp, content) for stamp, _, content in taken]


class Track(ABC):
    """One event; takes values and says what spans come of them."""

    def __init__(self, spans: Spans) -> None:
        self.spans = spans
        self._pending: Pending[Value | None] = Pending()

    def add(self, stamp_ns: int, value: Value | None) -> None:
        """Take a value; None where it is not known."""
        self._pending.add(stamp_ns, value)

    def settle(self, until_ns: int, now_ns: int) -> None:  # noqa: ARG002 - for those that silence tells something
        """Work off what is not after a stamp; nothing before it is to come. Time has come to ``now_ns``."""
        for stamp_ns, value in self._pending.until(until_ns):
            self._take(stamp_ns, value)

    def take_after(self, stamp_ns: int) -> list[tuple[int, Value | None]]:
        """Give back what is after a stamp."""
        return self._pending.take_after(stamp_ns)

    def restart(self) -> None:
        """Forget everything."""
        self._pending = Pending()
        self.spans.restart()

    @abstractmethod
    def _take(self, stamp_ns: int, value: Value | None) -> None: ...


class MarkTrack(Track):
    """An event that somebody makes: each value is one."""

    def _take(self, stamp_ns: int, value: Value | None) -> None:  # noqa: ARG002 - there is none
        self.spans.strike(stamp_ns)


class ValueTrack(Track):
    """A condition on the values of a field."""

    def __init__(self, spans: Spans, condition: Condition) -> None:
        super().__init__(spans)
        self._condition = condition
        self._last: Value | None = None

    def restart(self) -> None:
        """Forget everything."""
        super().restart()
        self._last = None

    def _take(self, stamp_ns: int, value: Value | None) -> None:
        if value is None or value != value:  # noqa: PLR0124 - NaN: nothing is known
            return
        if isinstance(self._condition, Compared):
            self.spans.switch(stamp_ns, on=is_met(self._condition, value))
            return
        if self._last is not None and value != self._last:
            self.spans.strike(stamp_ns)
        self._last = value


class RateTrack(Track):
    """A condition on how many messages came within the last second, which silence changes too.

    Over the first second of a topic its rate is not known; that it is above something may be.
    """

    def __init__(self, spans: Spans, condition: Compared) -> None:
        super().__init__(spans)
        self._condition = condition
        self._recent: deque[int] = deque()
        self._known_from_ns: int | None = None

    def restart(self) -> None:
        """Forget everything."""
        super().restart()
        self._recent.clear()
        self._known_from_ns = None

    def settle(self, until_ns: int, now_ns: int) -> None:
        """Work off what is not after a stamp, silence up to now included."""
        super().settle(until_ns, now_ns)
        self._fall_silent(min(until_ns, now_ns))

    def _take(self, stamp_ns: int, value: Value | None) -> None:  # noqa: ARG002 - it is the message that counts
        self._fall_silent(stamp_ns - 1)
        if self._known_from_ns is None:
            self._known_from_ns = stamp_ns + RATE_NS
        while self._recent and self._recent[0] + RATE_NS <= stamp_ns:
            self._recent.popleft()
        self._recent.append(stamp_ns)
        self._judge(stamp_ns)

    def _fall_silent(self, until_ns: int) -> None:
        while self._recent and self._recent[0] + RATE_NS <= until_ns:
            change_ns = self._recent.popleft() + RATE_NS
            while self._recent and self._recent[0] + RATE_NS == change_ns:
                self._recent.popleft()
            self._judge(change_ns)

    def _judge(self, stamp_ns: int) -> None:
        is_complete = self._known_from_ns is not None and stamp_ns >= self._known_from_ns
        if is_complete or self._condition.comparison in _RISING:
            self.spans.switch(stamp_ns, on=is_met(self._condition, float(len(self._recent))))


class CircleTrack(Track):
    """Fixes within a circle; where the way crosses its edge between two fixes is interpolated."""

    def __init__(self, spans: Spans, circle: Circle) -> None:
        super().__init__(spans)
        self._circle = circle
        self._last: tuple[int, float] | None = None

    def restart(self) -> None:
        """Forget everything."""
        super().restart()
        self._last = None

    def _take(self, stamp_ns: int, value: Value | None) -> None:
        if not isinstance(value, tuple):
            self._last = None
            return
        outside_m = distance_m(self._circle, value[0], value[1]) - self._circle.radius_m
        moment_ns = stamp_ns
        if self._last is not None:
            last_ns, last_m = self._last
            if (last_m <= 0.0) != (outside_m <= 0.0) and stamp_ns - last_ns <= NO_FIX_NS:
                moment_ns = last_ns + round((stamp_ns - last_ns) * last_m / (last_m - outside_m))
        self._last = stamp_ns, outside_m
        self.spans.switch(moment_ns, on=outside_m <= 0.0)


def is_met(condition: Compared, value: Value) -> bool:
    """Say whether a value meets a condition that ``track_of`` has found to fit its field."""
    if isinstance(value, str):
        wanted = condition.text
        is_equal = fnmatchcase(value, wanted) if "*" in wanted else value == wanted
        return is_equal == (condition.comparison == "==")
    if isinstance(value, tuple):
        number = math.sqrt(math.fsum(part * part for part in value))
    else:
        number = abs(float(value)) if condition.measure == "abs" else float(value)
    return _COMPARE[condition.comparison](number, _operand(condition))


def _operand(condition: Compared) -> float:
    number = condition.number
    return _BOOLEANS[condition.operand.lower()] if number is None else number


def check_fit(field: Field, condition: Condition) -> None:
    """Check that a condition can be asked of a field.

    Raises:
        FieldError: Naming the field, its type and what fits it.
    """
    what = f"{field} of {field.type_name} is {field.declared}"
    if field.holds == "other":
        raise FieldError(f"{what}, which has no value; name a field inside it, or an element of it")
    if isinstance(condition, Changes):
        return
    written = f"{condition.comparison} {condition.operand}"
    if field.holds == "text":
        if condition.measure != "value" or condition.comparison not in ("==", "!="):
            raise FieldError(f"{what}, a text: it can be '== TEXT' or '!= TEXT' (with * for anything), or 'changes'")
        return
    if field.holds == "vector" and condition.measure != "norm":
        raise FieldError(f"{what}, a vector: compare its length, 'norm {written}', or one element of it")
    if field.holds != "vector" and condition.measure == "norm":
        raise FieldError(f"{what}, which is not a vector; 'abs {written}' compares the magnitude of a number")
    if condition.number is None and not (field.holds == "boolean" and condition.operand.lower() in _BOOLEANS):
        values = "true or false" if field.holds == "boolean" else "a number, in the unit of the message and without it"
        raise FieldError(f"{what}: it is compared with {values}, not with {condition.operand!r}")


def distance_m(circle: Circle, latitude: float, longitude: float) -> float:
    """Return how far a place is from the middle of a circle: on the plane that touches the ellipsoid between them."""
    sine = math.sin(math.radians((circle.latitude + latitude) / 2))
    flat = 1.0 - _ECCENTRICITY_SQUARED * sine * sine
    across_m = _SEMI_MAJOR_M / math.sqrt(flat)
    along_m = across_m * (1.0 - _ECCENTRICITY_SQUARED) / flat
    north_m = math.radians(latitude - circle.latitude) * along_m
    east = math.radians(math.remainder(longitude - circle.longitude, 360.0))
    return math.hypot(north_m, east * across_m * math.sqrt(1.0 - sine * sine))


def comparison_of(event: EventConfig) -> Compared:
    """Return the condition of an event whose value is a number, as the configuration was checked to have."""
    condition = parse_condition(event.when)
    if not isinstance(condition, Compared):
        raise TypeError(event.when)
    return condition
