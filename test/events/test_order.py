# SPDX-License-Identifier: Apache-2.0
"""What is selected does not depend on how topics interleave, and waiting for events takes bounded memory."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from bags import MS, START_NS
from event_drives import at, boolean, braking, signal, text, twist
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleus_bridge.config import Config, config_from_values
from nucleus_bridge.model import Message
from nucleus_bridge.pipeline import Pipeline
from nucleus_bridge.pipeline.events import Event, FrameReady, SceneEnded

WAIT_S = 1.0
VALUES = {
    "lidar_names": ["top"],
    "lidars.top.topic": "/points",
    "camera_names": ["front"],
    "cameras.front.image_topic": "/image",
    "cameras.front.info_topic": "/info",
    "sync.wait_s": WAIT_S,
    "scene.select": "events",
    "events.hit.topic": "/signal",
    "events.hit.field": "twist.linear.x",
    "events.hit.when": "> 0",
    "events.hit.before_s": 0.7,
    "events.hit.after_s": 0.3,
    "events.brake.topic": "device",
    "events.brake.field": "acceleration",
    "events.brake.when": "< -2.5",
    "events.brake.before_s": 0.4,
    "events.brake.after_s": 0.2,
    "events.press.topic": "/press",
    "events.press.field": "rate",
    "events.press.when": "> 1",
    "events.press.before_s": 0.3,
    "events.press.after_s": 0.0,
    "events.mode.topic": "/mode",
    "events.mode.when": "changes",
    "events.mode.before_s": 0.2,
    "events.mode.after_s": 0.2,
}


def config(events: tuple[str, ...] = ("hit", "brake", "press", "mode"), **changes: object) -> Config:
    names = [f"events.{name}." for name in events]
    kept = {
        key: value for key, value in VALUES.items() if not key.startswith("events.") or key.startswith(tuple(names))
    }
    return config_from_values({**kept, "event_names": list(events), **changes})


def drive() -> list[Message]:
    bag = braking(100, (7.0, 7.6), 12.0, 5.0)
    signal(bag, [(0.0, 0.2), (2.0, 2.4), (2.9, 3.0), (9.7, 10.0)], 10.0, lambda stamp, on: twist(stamp, float(on)))
    for seconds in (5.11, 5.31, 5.36):
        bag.add("/press", boolean(True), at(seconds))
    for seconds, mode in ((0.5, "AUTO"), (1.5, "AUTO"), (8.55, "MANUAL")):
        bag.add("/mode", text(mode), at(seconds))
    rows = sorted(bag.rows, key=lambda row: row[0])
    return [Message(topic, kind, log, data) for log, topic, kind, data in rows]


@dataclass
class Outcome:
    """Which frames each scene has, how it ended, and with which events and losses."""

    stamps: list[list[int]] = field(default_factory=lambda: [[]])
    ends: list[tuple[object, ...]] = field(default_factory=list)

    def take(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, FrameReady):
                self.stamps[-1].append((event.frame.stamp_ns - START_NS) // MS)
            elif isinstance(event, SceneEnded):
                losses = {topic: dict(sorted(causes.items())) for topic, causes in sorted(event.losses.items())}
                self.ends.append((event.reason, event.events, losses))
                self.stamps.append([])


def outcome_of(messages: list[Message]) -> Outcome:
    pipeline, outcome = Pipeline(config()), Outcome()
    for message in messages:
        outcome.take(pipeline.add(message))
    outcome.take(pipeline.finish())
    return outcome


@pytest.fixture(scope="module")
def in_order() -> tuple[list[Message], Outcome]:
    messages = drive()
    return messages, outcome_of(messages)


def test_the_drive_has_the_events_that_it_is_made_of(in_order: tuple[list[Message], Outcome]) -> None:
    _, outcome = in_order
    names = [[event.name for event in events] for _, events, _ in outcome.ends]
    assert names == [["hit"], ["hit", "hit"], ["press"], ["brake"], ["mode"], ["hit"]]
    assert outcome.stamps[0] == list(range(0, 501, 100))
    assert outcome.stamps[1] == list(range(1300, 3301, 100))
    assert outcome.stamps[2] == list(range(5100, 6301, 100))  # two within a second from 5.31 to 6.31
    assert outcome.stamps[4] == list(range(8400, 8701, 100))
    assert outcome.stamps[5] == list(range(9000, 9901, 100))


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_topics_may_interleave_as_they_like(in_order: tuple[list[Message], Outcome], seed: int) -> None:
    messages, expected = in_order
    chance = random.Random(seed)
    most = {topic: chance.uniform(0.0, 0.35 * WAIT_S) for topic in {message.topic for message in messages}}
    newest: dict[str, float] = {}
    arrivals = []
    for number, message in enumerate(messages):
        due = message.log_ns / 1e9 + chance.uniform(0.0, most[message.topic])
        due = newest[message.topic] = max(due, newest.get(message.topic, 0.0))
        arrivals.append((due, number, message))
    assert outcome_of([message for _, _, message in sorted(arrivals, key=lambda row: row[:2])]) == expected


@pytest.mark.parametrize("before_s", [1.0, 4.0])
def test_what_waits_is_as_long_as_the_look_back(before_s: float) -> None:
    pipeline = Pipeline(config(("hit", "mark"), **{"events.mark.before_s": before_s}), takes_marks=True)
    assert pipeline.selection is not None
    most_ns = 0
    for message in drive():
        pipeline.add(message)
        oldest_ns, newest_ns = pipeline.selection.oldest_ns, pipeline.selection.newest_ns
        if oldest_ns is not None and newest_ns is not None:
            most_ns = max(most_ns, newest_ns - oldest_ns)
    assert before_s * 1e9 <= most_ns <= (before_s + WAIT_S + 0.2) * 1e9


def test_a_message_that_comes_too_late_is_counted() -> None:
    messages = drive()
    late = next(message for message in messages if message.topic == "/signal" and message.log_ns >= at(2.0))
    others = [message for message in messages if message is not late]
    place = next(n for n, message in enumerate(others) if message.log_ns >= at(6.0))
    pipeline = Pipeline(config())
    for message in [*others[:place], late, *others[place:]]:
        pipeline.add(message)
    pipeline.finish()
    assert pipeline.ledger.totals["/signal"] == {"late": 1}


def test_a_mark_is_an_event() -> None:
    marks = config(("mark",), **{"events.mark.after_s": 0.5})
    pipeline, outcome = Pipeline(marks, takes_marks=True), Outcome()
    messages = drive()
    place = next(n for n, message in enumerate(messages) if message.log_ns >= at(6.04))
    for message in messages[:place]:
        outcome.take(pipeline.add(message))
    pipeline.mark(at(6.04))
    for message in messages[place:]:
        outcome.take(pipeline.add(message))
    outcome.take(pipeline.finish())
    assert outcome.stamps[0] == list(range(0, 6501, 100))
    [(reason, events, _)] = outcome.ends
    assert reason == "window_end"
    assert [(event.name, event.begin_ns) for event in events] == [("mark", at(6.04))]
