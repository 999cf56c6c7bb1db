# SPDX-License-Identifier: Apache-2.0
"""Signals of the vehicle over time, and what becomes of each in a scene and in its frames.

A scene takes the values stamped from its first to its last frame, a frame those since the frame before it in its scene;
where there are none, the last one before counts. So the values of a scene's frames are those of the scene.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from nucleus_bridge import warnings
from nucleus_bridge.config import SignalConfig
from nucleus_bridge.config.schema import Scalar
from nucleus_bridge.decode.cdr import peek_header
from nucleus_bridge.decode.fields import Field, find_field, nearest_field, paths_of
from nucleus_bridge.errors import DecodeError, InputError
from nucleus_bridge.model import Message
from nucleus_bridge.warnings import Finding

MIN_CLOCK_STEP_NS = 1_000_000_000
MOST_VALUES = 100_000
"""This many values of a signal may lie ahead of the frames; they are of another clock where there are more."""
LONGEST_TEXT = 1_000
"""Characters of a text that are kept: what is longer is not a category."""
SINGLE = frozenset({"number", "boolean", "text"})
_OF_TEXT = ("last", "first")
_STAMP = ("header.stamp.sec", "header.stamp.nanosec")


def signal_field(signal: SignalConfig, type_name: str, definition: str = "") -> Field:
    """Find the field of a signal in a type and check that its values can be reduced as configured.

    Args:
        signal: The signal.
        type_name: The interface type of its topic.
        definition: The definition as the recording embeds it; "" where the type is one that is known.

    Raises:
        InputError: The field is not there, holds no single value, or one that cannot be reduced so.
    """
    where = f"metadata_from.{signal.name}.field"
    try:
        found = find_field(type_name, signal.field, definition)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    if found.holds not in SINGLE:
        nearest = nearest_field(type_name, f"{signal.field}.x", definition)
        raise InputError(
            f"{where}: {signal.field!r} of {type_name} is {found.declared}, which is not a single value; "
            f"the nearest one is {nearest}"
        )
    if found.holds == "text" and signal.reduce not in _OF_TEXT:
        raise InputError(
            f"metadata_from.{signal.name}.reduce: {signal.field!r} of {type_name} is {found.declared}, which does "
            f"not have a {signal.reduce}; choose {' or '.join(_OF_TEXT)}"
        )
    return found


@dataclass
class _Reduced:
    """Values as they become one: what is kept does not grow with their number."""

    count: int = 0
    total: list[float] = field(default_factory=list)
    first: tuple[int, Scalar] | None = None
    last: tuple[int, Scalar] | None = None
    least: Scalar | None = None
    most: Scalar | None = None

    def add(self, stamp_ns: int, value: Scalar) -> None:
        if self.first is None or stamp_ns < self.first[0]:
            self.first = stamp_ns, value
        if self.last is None or stamp_ns >= self.last[0]:
            self.last = stamp_ns, value
        self.count += 1
        if isinstance(value, str):
            return
        self.total = _partials(self.total, float(value))
        self.least = value if self.least is None or value < self.least else self.least  # type: ignore[operator]
        self.most = value if self.most is None or value > self.most else self.most  # type: ignore[operator]

    def value(self, reduce: str) -> Scalar | None:
        """Return what the values come to, or None where there are none."""
        if self.first is None or self.last is None:
            return None
        if reduce == "mean":
            return math.fsum(self.total) / self.count
        return {"first": self.first[1], "last": self.last[1], "min": self.least, "max": self.most}[reduce]


def _partials(partials: list[float], value: float) -> list[float]:
    """Add a number to a sum without rounding (Shewchuk), so that it does not depend on the order."""
    kept = []
    for partial in partials:
        high, low = (value, partial) if abs(value) >= abs(partial) else (partial, value)
        total = high + low
        if rest := low - (total - high):
            kept.append(rest)
        value = total
    return [*kept, value]


@dataclass(frozen=True)
class _Reading:
    """How the messages of one type are read: the value, and the stamp where the type has a header."""

    field: Field
    stamp_ns: Callable[[Message], int]


class _Signal:
    """One signal: values that no frame has passed yet, and what counts for the open scene and the next frame."""

    def __init__(self, config: SignalConfig) -> None:
        self.config = config
        self.count = 0
        self.newest_ns: int | None = None
        self.was_used = False
        self._readings: dict[str, _Reading | None] = {}
        self._stamps: list[int] = []
        self._values: list[Scalar] = []
        self._set_back: list[tuple[int, Scalar]] = []
        self._before: tuple[int, Scalar] | None = None
        self._of_scene = _Reduced()
        self._first_ns: int | None = None
        self._passed_ns: int | None = None

    def define(self, type_name: str, definition: str) -> _Reading:
        found = signal_field(self.config, type_name, definition)
        reading = self._readings[type_name] = _Reading(found, _stamp_reader(type_name, definition))
        return reading

    def reading(self, type_name: str) -> _Reading | None:
        if type_name not in self._readings:
            self._readings[type_name] = None  # where it has no such field
            return self.define(type_name, "")
        return self._readings[type_name]

    def add(self, stamp_ns: int, value: Scalar) -> None:
        """Take a value; one that is stamped far back waits until it is clear whether the clock was set back."""
        self.count += 1
        newest_ns = stamp_ns if self.newest_ns is None else self.newest_ns
        if stamp_ns < newest_ns - MIN_CLOCK_STEP_NS:
            self._set_back.append((stamp_ns, value))
            if len(self._set_back) > MOST_VALUES:
                self._release()
            return
        self.newest_ns = max(newest_ns, stamp_ns)
        if self._set_back and stamp_ns >= newest_ns:
            self._release()
        self._take(stamp_ns, value)

    def begin(self, stamp_ns: int) -> None:
        """Start a scene at its first frame's stamp."""
        self._take_until(stamp_ns - 1)
        self._first_ns, self._of_scene = stamp_ns, _Reduced()

    def pass_frame(self, stamp_ns: int) -> Scalar | None:
        """Pass a frame; return its value."""
        of_frame = self._take_until(stamp_ns)
        self._passed_ns = stamp_ns
        return self._known(of_frame)

    def end(self) -> Scalar | None:
        """End the scene; return its value."""
        value = self._known(self._of_scene)
        self._first_ns, self._of_scene = None, _Reduced()
        self.was_used |= value is not None
        return value

    def restart(self) -> None:
        """Start over after a step of the clock; the last value before it stays in force."""
        if self._stamps:
            self._take_until(self._stamps[-1])
        if self._before is not None:
            self._before = -1, self._before[1]
        self._passed_ns = self.newest_ns = None
        self._release()

    def _release(self) -> None:
        released, self._set_back = self._set_back, []
        for stamp_ns, value in released:
            self.newest_ns = stamp_ns if self.newest_ns is None else max(self.newest_ns, stamp_ns)
            self._take(stamp_ns, value)

    def _take(self, stamp_ns: int, value: Scalar) -> None:
        if self._passed_ns is not None and stamp_ns <= self._passed_ns:
            self._count(stamp_ns, value)
            return
        place = bisect_right(self._stamps, stamp_ns)
        self._stamps.insert(place, stamp_ns)
        self._values.insert(place, value)
        if len(self._stamps) > 2 * MOST_VALUES:
            self._take_until(self._stamps[MOST_VALUES])

    def _take_until(self, stamp_ns: int) -> _Reduced:
        count = bisect_right(self._stamps, stamp_ns)
        taken = _Reduced()
        for stamp, value in zip(self._stamps[:count], self._values[:count], strict=True):
            taken.add(stamp, value)
            self._count(stamp, value)
        del self._stamps[:count], self._values[:count]
        return taken

    def _count(self, stamp_ns: int, value: Scalar) -> None:
        if self._before is None or stamp_ns >= self._before[0]:
            self._before = stamp_ns, value
        if self._first_ns is not None and stamp_ns >= self._first_ns:
            self._of_scene.add(stamp_ns, value)

    def _known(self, reduced: _Reduced) -> Scalar | None:
        """Return what values come to; without any, what the last one before does."""
        if not reduced.count and self._before is not None:
            reduced = _Reduced()
            reduced.add(*self._before)
        return reduced.value(self.config.reduce)


class Signals:
    """The signals of a configuration.

    Args:
        configs: What ``metadata_from`` lists.
    """

    def __init__(self, configs: Iterable[SignalConfig]) -> None:
        self._signals = {config.name: _Signal(config) for config in configs}
        self._items: list[Mapping[str, Scalar]] = []
        self._scenes = 0

    def define(self, name: str, type_name: str, definition: str) -> None:
        """Say of which type the messages of a signal are, before the first one comes.

        Raises:
            InputError: The type has no such field.
        """
        self._signals[name].define(type_name, definition)

    def take(self, name: str, message: Message) -> None:
        """Take a message.

        Raises:
            DecodeError: It cannot be read; or its type has no such field, for the first message of the type alone.
        """
        signal = self._signals[name]
        try:
            reading = signal.reading(message.type_name)
        except InputError as error:
            raise DecodeError(str(error), cause="no_field") from error
        if reading is None:
            return
        value = reading.field.read(message)
        stamp_ns = reading.stamp_ns(message)
        if value is None or isinstance(value, tuple) or (isinstance(value, float) and not math.isfinite(value)):
            return  # a list without the element, or a number that says that there is none
        if isinstance(value, str):
            value = value[:LONGEST_TEXT]
        signal.add(stamp_ns if stamp_ns > 0 else message.log_ns, value)

    def unsettled(self, stamp_ns: int) -> str:
        """Name a topic whose messages to come can change what holds at a stamp; empty when there is none."""
        for signal in self._signals.values():
            if signal.newest_ns is None or signal.newest_ns < stamp_ns:
                return f"a message on {signal.config.topic} for metadata_from.{signal.config.name}"
        return ""

    def begin(self, stamp_ns: int) -> None:
        """Start a scene at the stamp of its first frame."""
        self._items = []
        for signal in self._signals.values():
            signal.begin(stamp_ns)

    def pass_frame(self, stamp_ns: int) -> None:
        """Take note that a frame joins the open scene."""
        found = {name: signal.pass_frame(stamp_ns) for name, signal in self._signals.items()}
        self._items.append(
            {name: value for name, value in found.items() if value is not None and self._signals[name].config.per_item}
        )

    def end(self) -> tuple[dict[str, Scalar], tuple[Mapping[str, Scalar], ...]]:
        """End the open scene; return its metadata, and those of each frame's items (none where there are none)."""
        self._scenes += 1
        found = {name: signal.end() for name, signal in self._signals.items()}
        items, self._items = self._items, []
        metadata = {name: value for name, value in found.items() if value is not None}
        return metadata, tuple(items) if any(items) else ()

    def restart(self) -> None:
        """Start over after a step of the clock."""
        for signal in self._signals.values():
            signal.restart()

    def findings(self) -> Iterator[Finding]:
        """Report the signals that no scene got a value of."""
        for name, signal in self._signals.items():
            if self._scenes and not signal.was_used:
                yield warnings.metadata_absent(signal.config.topic, name, signal.count)


def _stamp_reader(type_name: str, definition: str) -> Callable[[Message], int]:
    """Return what reads ``header.stamp`` in nanoseconds; 0 where the type has none."""
    paths = paths_of(type_name, definition)
    if next(iter(paths), "") == _STAMP[0]:
        return lambda message: peek_header(message.data)[0]
    if _STAMP[0] not in paths:
        return lambda _message: 0
    seconds, nanoseconds = (find_field(type_name, path, definition) for path in _STAMP)
    return lambda message: _whole(seconds.read(message)) * 1_000_000_000 + _whole(nanoseconds.read(message))


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
