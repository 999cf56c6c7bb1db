# SPDX-License-Identifier: Apache-2.0
"""Which frames lie in the windows of events: each waits until no event to come can reach back to it.

What is decided depends on stamps and values alone: the messages of events are worked off once ``sync.wait_s`` has
passed, as a frame waits for what is late. Windows that are known ahead decide nothing; they say which frames need not
be held, since none of their windows will come.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, Protocol

import numpy as np

from nucleus_bridge.causes import Cause
from nucleus_bridge.config import Config, EventConfig
from nucleus_bridge.config.conditions import DEVICE, RATE, parse_circle, parse_condition
from nucleus_bridge.config.sources import MARK
from nucleus_bridge.decode.cdr import peek_header
from nucleus_bridge.decode.fields import Field, FieldError, find_field, has_header
from nucleus_bridge.decode.navsat import Fix
from nucleus_bridge.errors import BridgeError, ConfigError, DecodeError
from nucleus_bridge.geometry import TransformTree
from nucleus_bridge.model import FloatArray, Frame, Message
from nucleus_bridge.pipeline.device_motion import LAG_NS, DeviceMotion
from nucleus_bridge.pipeline.event_tracks import (
    CircleTrack,
    MarkTrack,
    RateTrack,
    Rules,
    Span,
    Spans,
    Track,
    ValueTrack,
    check_fit,
    comparison_of,
)
from nucleus_bridge.pipeline.events import EventSpan
from nucleus_bridge.pipeline.frame_builder import GRACE_SHARE, Candidate
from nucleus_bridge.pipeline.topics import events_of_topics

AHEAD_MARGIN_NS = 1_000_000_000
"""Windows that are known ahead are taken to be longer by this at both ends."""
Windows = tuple[tuple[int, int], ...]
"""First and last stamp of each, in order; those that touch are one."""
Samples = tuple[tuple[str, int], ...]
"""Sensor and stamp of everything in a frame."""
LossOf = Callable[[Samples, Cause, str], None]
"""Takes what a frame that is left out was made of, the cause and the reason."""


class LookAheadError(BridgeError):
    """A window came of which nothing was known ahead; what was not held is lost."""


class Hold(Protocol):
    """Where the points and pixels of frames are that wait."""

    def put(self, frame: Frame) -> Frame | None:
        """Return the frame as it waits; None where there is no room."""
        ...


class Everything:
    """Holds frames as they are, however many."""

    def put(self, frame: Frame) -> Frame | None:
        """Return the frame."""
        return frame


@dataclass(frozen=True)
class Decided:
    """A frame whose turn has come.

    Attributes:
        candidate: The frame, None where it is left out.
        stamp_ns: Its stamp.
        begins: Whether a window begins with it.
    """

    candidate: Candidate | None
    stamp_ns: int
    begins: bool = False


@dataclass
class _Waiting:
    """A frame that waits; without the candidate where it is not held, and why."""

    stamp_ns: int
    samples: Samples
    candidate: Candidate | None
    why: Literal["", "ahead", "full"] = ""


class Selection:
    """Lets frames through that lie in a window of an event, and says which events those are.

    Args:
        config: The configuration.
        tree: The transforms, for what is asked of the device.
        lost: Takes what is left out.
        late: Takes topic and stamp of what comes too late to count.
        takes_marks: Whether somebody may make the event ``mark`` on the way, which needs no entry.
        is_scout: Whether no event is to be missed, rather than none told too many.

    Attributes:
        hold: Where frames wait.
        ahead: The windows that may come, where that is known; None: any.
    """

    def __init__(
        self,
        config: Config,
        tree: TransformTree,
        lost: LossOf,
        late: Callable[[str, int], None],
        *,
        takes_marks: bool = False,
        is_scout: bool = False,
    ) -> None:
        self.hold: Hold = Everything()
        self.ahead: Windows | None = None
        self._lost, self._late = lost, late
        self._wait_ns = round(config.sync.wait_s * 1e9)
        self._min_distance_m = config.scene.min_distance_m
        self._events = {event.name: event for event in (*config.events, *(_mark_of(config) if takes_marks else ()))}
        self._fields: dict[str, Field] = {}
        self._headers: dict[tuple[str, str], bool] = {}
        self._types: dict[str, tuple[str, str]] = {}
        self._given = config.given
        self._motion = DeviceMotion(tree, config.world_frame.lstrip("/"), config.device_frame.lstrip("/"))
        self._topics = tuple(events_of_topics(config))
        self._tracks: dict[str, Track] = {}
        self._marks: MarkTrack | None = None
        for event in self._events.values():
            rules = Rules.of(replace(event, min_distance_m=0.0, min_interval_s=0.0) if is_scout else event)
            spans = Spans(rules, self._motion.driven_m)
            if event.topic:
                self._tracks[event.name] = _track_of(event, spans)
            if event.name == MARK and takes_marks:
                self._marks = MarkTrack(spans)
        self._needs_motion = any(event.topic == DEVICE or event.min_distance_m > 0.0 for event in self._events.values())
        befores = [track.spans.rules.before_ns for track in self._all_tracks()]
        self._reach_ns = max([*befores, *(event.before_ns for event in self._given), 0])
        self._lag_ns = self._wait_ns
        if self._needs_motion:
            self._lag_ns += LAG_NS + round(self._wait_ns * GRACE_SHARE)
        self.restart()

    def restart(self) -> None:
        """Start over after a step of the clock; every frame must have been decided."""
        self._queue: deque[_Waiting] = deque()
        self._passed: deque[_Waiting] = deque()
        self._settled_ns = -1
        self._place: FloatArray | None = None
        self._last_kept_ns: int | None = None
        self._hole_ns, self._jump_m = 0, 0.0
        self._given_left = list(self._given)
        self._motion.restart()
        for track in self._all_tracks():
            track.restart()

    @property
    def armed(self) -> tuple[str, ...]:
        """The names of the events that are looked for."""
        return tuple(self._events)

    @property
    def oldest_ns(self) -> int | None:
        """Stamp of the oldest frame that waits, or None."""
        return self._queue[0].stamp_ns if self._queue else None

    @property
    def oldest_held_ns(self) -> int | None:
        """Stamp of the oldest frame that waits with its points and pixels, or None."""
        return next((waiting.stamp_ns for waiting in self._queue if waiting.candidate is not None), None)

    @property
    def newest_ns(self) -> int | None:
        """Stamp of the newest frame that waits, or None."""
        return self._queue[-1].stamp_ns if self._queue else None

    @property
    def needs_poses(self) -> bool:
        """Whether an event is told by the device's poses."""
        return self._needs_motion

    @property
    def needs_fixes(self) -> bool:
        """Whether an event is told by the fixes' places."""
        return any(isinstance(track, CircleTrack) for track in self._tracks.values())

    def define(self, topic: str, type_name: str, definition: str) -> None:
        """Say what type a topic has, before its first message; the definition is the text that recordings embed.

        Raises:
            ConfigError: A field of an event is not in the type, or its condition does not fit.
        """
        self._types[topic] = type_name, definition
        for event, its_topic in self._topics:
            if its_topic != topic or event.field == RATE:
                continue
            try:
                field = find_field(type_name, event.field, definition)
            except FieldError as error:
                raise ConfigError(f"events.{event.name}.field: {topic}: {error}") from None
            try:
                check_fit(field, parse_condition(event.when))
            except FieldError as error:
                wrong = "field" if field.holds == "other" else "when"
                raise ConfigError(f"events.{event.name}.{wrong}: {topic}: {error}") from None
            self._fields[event.name] = field

    def stamp_of(self, message: Message) -> int:
        """Return the stamp of an event's message: ``header.stamp`` where its type has one, else the log time."""
        _, definition = self._types.get(message.topic, (message.type_name, ""))
        key = message.type_name, definition
        if key not in self._headers:
            self._headers[key] = has_header(*key)
        if self._headers[key]:
            try:
                return peek_header(message.data)[0] or message.log_ns
            except DecodeError:
                return message.log_ns
        return message.log_ns

    def take(self, event: EventConfig, message: Message) -> None:
        """Take a message of an event's topic.

        Raises:
            DecodeError: It cannot be read, or its type has no such field (cause ``unknown_field``).
        """
        stamp_ns = self.stamp_of(message)
        if stamp_ns <= self._settled_ns:
            self._late(message.topic, stamp_ns)
            return
        value = None
        if event.field != RATE:
            field = self._fields.get(event.name)
            if field is None:
                try:
                    self.define(message.topic, message.type_name, "")
                except ConfigError as error:
                    raise DecodeError(str(error), cause="unknown_field") from None
                field = self._fields[event.name]
            value = field.read(message)
        self._tracks[event.name].add(stamp_ns, value)

    def take_fix(self, topic: str, stamp_ns: int, fix: Fix | None) -> None:
        """Take a fix, None where the receiver has none."""
        for track in self._tracks.values():
            if isinstance(track, CircleTrack):
                if stamp_ns <= self._settled_ns:
                    self._late(topic, stamp_ns)
                    return
                track.add(stamp_ns, None if fix is None else (fix.latitude, fix.longitude))

    def take_after(self, topic: str, stamp_ns: int) -> Iterator[tuple[int, Callable[[], None]]]:
        """Give back what came on a topic and is after a stamp: its stamp, and what takes it again."""
        for event, its_topic in self._topics:
            if its_topic == topic:
                track = self._tracks[event.name]
                for taken_ns, value in track.take_after(stamp_ns):
                    yield taken_ns, partial(track.add, taken_ns, value)

    def mark(self, stamp_ns: int) -> None:
        """Take note of the event ``mark`` that somebody made now."""
        if self._marks is not None:
            self._marks.add(max(stamp_ns, self._settled_ns + 1), None)

    def begin(self, stamp_ns: int) -> None:
        """Take note of the stamp of the first sweep."""
        self._motion.begin(stamp_ns)

    def push(self, candidate: Candidate) -> None:
        """Take the next frame."""
        frame = candidate.frame
        self._hole_ns = max(self._hole_ns, candidate.hole_ns)
        self._jump_m = max(self._jump_m, candidate.jump_m)
        if self._is_too_near(frame):
            self._lost(tuple(frame.samples), "min_distance", "")
            return
        self._place = frame.world_from_device.translation
        waiting = _Waiting(frame.stamp_ns, tuple(frame.samples), None)
        self._queue.append(waiting)
        candidate = replace(candidate, hole_ns=self._hole_ns, jump_m=self._jump_m)
        self._hole_ns, self._jump_m = 0, 0.0
        if self.ahead is not None and not contains(self.ahead, frame.stamp_ns):
            waiting.why = "ahead"
            return
        held = self.hold.put(frame)
        while held is None and self._let_go_oldest():
            held = self.hold.put(frame)
        if held is None:
            waiting.why = "full"
        else:
            waiting.candidate = replace(candidate, frame=held)

    def pass_over(self, name: str, stamp_ns: int) -> None:
        """Take a sweep of which no frame is made, since none of the windows that may come is near."""
        waiting = _Waiting(stamp_ns, ((name, stamp_ns),), None, "ahead")
        if not self._passed or self._passed[-1].stamp_ns <= stamp_ns:
            self._passed.append(waiting)
        else:
            insort(self._passed, waiting, key=_stamp_of)

    def advance(self, now_ns: int, before_ns: int | None = None) -> Iterator[Decided]:
        """Yield, in order, the frames that are decided now that message time is ``now_ns``.

        Those from ``before_ns`` on wait for frames that are still being made.
        """
        settled_ns = now_ns - self._lag_ns
        if settled_ns > self._settled_ns:
            self._settle(settled_ns, now_ns)
        last_ns = self._settled_ns - self._reach_ns
        if before_ns is not None:
            last_ns = min(last_ns, before_ns - 1)
        while (line := self._first_line()) and line[0].stamp_ns <= last_ns:
            yield self._decide(line.popleft())

    def finish(self, now_ns: int) -> Iterator[Decided]:
        """Yield the frames that are left: no message is to come."""
        self._settle(_FOREVER_NS, now_ns)
        while line := self._first_line():
            yield self._decide(line.popleft())

    def events_between(self, first_ns: int, last_ns: int) -> tuple[EventSpan, ...]:
        """Return the events whose windows hold something of a scene; they end with it at the latest."""
        found = {
            EventSpan(name, span.begin_ns, max(span.begin_ns, min(_end_of(span), last_ns)))
            for name, span, low_ns, high_ns in self._windows()
            if low_ns <= last_ns and high_ns >= first_ns
        }
        return tuple(sorted(found, key=lambda event: (event.begin_ns, event.end_ns, event.name)))

    def forget(self, before_ns: int) -> None:
        """Let go of events that no frame from a stamp on can be in."""
        for track in self._all_tracks():
            track.spans.forget(before_ns)
        self._given_left = [event for event in self._given_left if event.end_ns + event.after_ns >= before_ns]

    def windows(self) -> Windows:
        """Return the windows of all events that are known and not forgotten, those that touch made one."""
        return united((low_ns, high_ns) for _, _, low_ns, high_ns in self._windows())

    def settle_all(self, now_ns: int) -> None:
        """Work off everything that has come, and count what silence would make from now on."""
        self._settle(_FOREVER_NS, now_ns)
        for track in self._all_tracks():
            track.settle(_FOREVER_NS, _FOREVER_NS)

    def _settle(self, settled_ns: int, now_ns: int) -> None:
        self._settled_ns = settled_ns
        if self._needs_motion:
            for sample in self._motion.until(min(settled_ns, now_ns - LAG_NS)):
                values: Mapping[str, float | None] = sample._asdict()
                for name, track in self._tracks.items():
                    if self._events[name].topic == DEVICE:
                        track.add(sample.stamp_ns, values[self._events[name].field])
        for track in self._all_tracks():
            track.settle(settled_ns, now_ns)

    def _first_line(self) -> deque[_Waiting]:
        """Return the frames or the sweeps passed over, whichever has the older first one."""
        if self._passed and not (self._queue and self._queue[0].stamp_ns <= self._passed[0].stamp_ns):
            return self._passed
        return self._queue

    def _decide(self, waiting: _Waiting) -> Decided:
        stamp_ns = waiting.stamp_ns
        windows = [(low_ns, high_ns) for _, _, low_ns, high_ns in self._windows()]
        if not any(low_ns <= stamp_ns <= high_ns for low_ns, high_ns in windows):
            self._lost(waiting.samples, "no_event", "")
            return Decided(None, stamp_ns)
        if waiting.candidate is None:
            if waiting.why == "ahead":
                raise LookAheadError(f"the frame at stamp {stamp_ns} lies in a window that was not known ahead")
            reason = "the frames that waited for an event took more than look_back.max_bytes"
            self._lost(waiting.samples, "look_back_full", reason)
            return Decided(None, stamp_ns)
        last_ns, self._last_kept_ns = self._last_kept_ns, stamp_ns
        begins = last_ns is None or not any(
            low_ns <= last_ns and stamp_ns <= high_ns for low_ns, high_ns in united(windows)
        )
        return Decided(waiting.candidate, stamp_ns, begins)

    def _let_go_oldest(self) -> bool:
        """Give up what the oldest frame holds; say whether there was one."""
        for waiting in self._queue:
            if waiting.candidate is not None:
                waiting.candidate, waiting.why = None, "full"
                return True
        return False

    def _is_too_near(self, frame: Frame) -> bool:
        if self._place is None or self._min_distance_m <= 0.0:
            return False
        step = frame.world_from_device.translation - self._place
        return float(np.sqrt((step * step).sum())) < self._min_distance_m

    def _windows(self) -> Iterator[tuple[str, Span, int, int]]:
        for track in self._all_tracks():
            rules = track.spans.rules
            for span in track.spans.known:
                yield rules.name, span, span.begin_ns - rules.before_ns, _end_of(span) + rules.after_ns
        for event in self._given_left:
            span = Span(event.begin_ns, event.end_ns)
            yield event.name, span, event.begin_ns - event.before_ns, event.end_ns + event.after_ns

    def _all_tracks(self) -> Iterator[Track]:
        yield from self._tracks.values()
        if self._marks is not None:
            yield self._marks


_FOREVER_NS = 1 << 62


def contains(windows: Windows, stamp_ns: int) -> bool:
    """Say whether a stamp lies in one of the windows, which are in order and do not touch."""
    place = bisect_right(windows, (stamp_ns, _FOREVER_NS))
    return place > 0 and stamp_ns <= windows[place - 1][1]


def united(windows: Iterable[tuple[int, int]]) -> Windows:
    """Return windows in order, those that touch made one."""
    joined: list[tuple[int, int]] = []
    for low_ns, high_ns in sorted(windows):
        if joined and low_ns <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], high_ns)
        else:
            joined.append((low_ns, high_ns))
    return tuple(joined)


def widened(windows: Windows, margin_ns: int = AHEAD_MARGIN_NS) -> Windows:
    """Return windows that are longer by a margin, for those known ahead."""
    return united((low_ns - margin_ns, high_ns + margin_ns) for low_ns, high_ns in windows)


def _stamp_of(waiting: _Waiting) -> int:
    return waiting.stamp_ns


def _end_of(span: Span) -> int:
    return _FOREVER_NS if span.end_ns is None else span.end_ns


def _mark_of(config: Config) -> tuple[EventConfig, ...]:
    """Return the event of ``~/mark``, which needs no entry."""
    return () if any(event.name == MARK for event in config.events) else (EventConfig(MARK),)


def _track_of(event: EventConfig, spans: Spans) -> Track:
    circle = parse_circle(event.field)
    if circle is not None:
        return CircleTrack(spans, circle)
    if event.field == RATE:
        return RateTrack(spans, comparison_of(event))
    return ValueTrack(spans, parse_condition(event.when))
