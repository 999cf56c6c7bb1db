# SPDX-License-Identifier: Apache-2.0
"""Signals against a reduction of all values at once, in any order of arrival and whatever the stamps are."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from statistics import fmean
from typing import Any

import pytest
from bags import MS, START_NS, TYPES, header
from hypothesis import given, settings
from hypothesis import strategies as st
from test_pipeline import config, drive, messages

from nucleus_bridge.config import SignalConfig
from nucleus_bridge.model import Message
from nucleus_bridge.pipeline import Pipeline, SceneEnded
from nucleus_bridge.pipeline.signals import LONGEST_TEXT, MOST_VALUES, Signals

WAYS = ("last", "first", "mean", "min", "max")
FLOAT, TEXT = TYPES.types["std_msgs/msg/Float64"], TYPES.types["std_msgs/msg/String"]
TWIST, VECTOR = TYPES.types["geometry_msgs/msg/Twist"], TYPES.types["geometry_msgs/msg/Vector3"]
STAMPED = TYPES.types["geometry_msgs/msg/TwistStamped"]
FRAMES_MS = range(0, 1500, 100)
Values = list[tuple[int, float]]


@cache
def drive_once() -> list[Message]:
    return messages(drive(FRAMES_MS))


def message(stamp_ns: int, content: Any, topic: str = "/signal") -> Message:
    return Message(topic, content.__msgtype__, stamp_ns, bytes(TYPES.serialize_cdr(content, content.__msgtype__)))


def reduced(values: Values, way: str) -> float | None:
    """What values come to; of two with one stamp the later one is the last."""
    numbers = [value for _, value in sorted(values, key=lambda row: row[0])]
    if not numbers:
        return None
    return {"last": numbers[-1], "first": numbers[0], "mean": fmean(numbers), "min": min(numbers), "max": max(numbers)}[
        way
    ]


def expected(values: Values, frames: Sequence[int], way: str) -> tuple[float | None, list[float | None]]:
    """The value of a scene, and those of its frames, from all values at once."""

    def within(after: int, last: int) -> float | None:
        found = reduced([row for row in values if after < row[0] <= last], way)
        before = [row for row in values if row[0] <= last]
        return reduced(before[-1:], way) if found is None and before else found

    starts = [frames[0] - 1, *frames]
    return within(frames[0] - 1, frames[-1]), [within(*pair) for pair in zip(starts, frames, strict=False)]


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 40), st.integers(-5, 5)), max_size=30),
    frames=st.lists(st.integers(5, 35), min_size=1, max_size=8, unique=True).map(sorted),
    way=st.sampled_from(WAYS),
)
def test_a_scene_and_its_frames_have_what_all_values_at_once_come_to(
    rows: list[tuple[int, int]], frames: list[int], way: str
) -> None:
    values: Values = [(stamp * MS + MS, float(value)) for stamp, value in sorted(rows, key=lambda row: row[0])]
    stamps = [stamp * MS + MS for stamp in frames]
    signals = Signals([SignalConfig("x", "/signal", reduce=way, per_item=True)])  # type: ignore[arg-type]
    for stamp_ns, value in values:
        signals.take("x", message(stamp_ns, FLOAT(value)))
    signals.begin(stamps[0])
    for stamp_ns in stamps:
        signals.pass_frame(stamp_ns)
    metadata, items = signals.end()
    scene, of_frames = expected(values, stamps, way)
    assert metadata == ({} if scene is None else {"x": pytest.approx(scene)})
    found = [item.get("x") for item in items] or [None] * len(stamps)
    assert found == [None if value is None else pytest.approx(value) for value in of_frames]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1 << 32), way=st.sampled_from(WAYS))
def test_topics_may_interleave_in_any_way_within_the_wait(seed: int, way: str) -> None:
    chance = random.Random(seed)
    made = drive_once()
    stamps = [START_NS + ms * MS for ms in range(-50, 1650, chance.choice((7, 30, 90)))]
    values = [(stamp_ns, float(number % 7)) for number, stamp_ns in enumerate(stamps)]
    signal = [
        message(stamp_ns, STAMPED(header(stamp_ns, ""), TWIST(VECTOR(value, 0.0, 0.0), VECTOR(0.0, 0.0, 0.0))))
        for stamp_ns, value in values
    ]
    delays = {topic: chance.randrange(0, 1800) * MS for topic in ("/points", "/image", "/tf", "/signal")}
    arriving = sorted([*made, *signal], key=lambda one: one.log_ns + delays.get(one.topic, 0))
    wanted = {"topic": "/signal", "field": "twist.linear.x", "reduce": way, "per_item": True}
    settings_ = {f"metadata_from__x__{key}": value for key, value in wanted.items()}
    pipeline = Pipeline(config(metadata_from_names=["x"], scene__max_frames=6, **settings_))
    events = [event for one in arriving for event in pipeline.add(one)] + pipeline.finish()
    ends = [event for event in events if isinstance(event, SceneEnded)]
    frames = [START_NS + ms * MS for ms in FRAMES_MS]
    for number, end in enumerate(ends):
        scene, of_frames = expected(values, frames[6 * number : 6 * number + 6], way)
        assert end.metadata == {"x": pytest.approx(scene)}
        assert [item["x"] for item in end.item_metadata] == pytest.approx(of_frames)
    assert [len(end.item_metadata) for end in ends] == [6, 6, 3]
    assert pipeline.ledger.totals == {}


def test_what_is_kept_does_not_grow_with_a_topic_that_no_frame_passes() -> None:
    signals = Signals([SignalConfig("x", "/signal")])
    for number in range(3 * MOST_VALUES):
        signals._signals["x"].add(number, float(number))
    assert len(signals._signals["x"]._values) <= 2 * MOST_VALUES + 1
    signals.begin(4 * MOST_VALUES)
    signals.pass_frame(4 * MOST_VALUES)
    assert signals.end()[0] == {"x": 3.0 * MOST_VALUES - 1.0}


def test_a_long_text_is_cut() -> None:
    signals = Signals([SignalConfig("x", "/signal")])
    signals.take("x", message(1, TEXT("a" * 5000)))
    signals.begin(1)
    signals.pass_frame(1)
    assert signals.end()[0] == {"x": "a" * LONGEST_TEXT}
