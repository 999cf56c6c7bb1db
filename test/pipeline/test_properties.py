# SPDX-License-Identifier: Apache-2.0
"""Laws of the pipeline under everything that streams do: late, twice, silent, back again, with other clocks."""

from __future__ import annotations

import gc
import random
import tracemalloc
from collections import Counter
from dataclasses import replace

from bags import MS, START_NS, TYPES
from hypothesis import given, settings
from hypothesis import strategies as st
from test_pipeline import Outcome, config, drive, messages, run, signature

from nucleus_bridge.model import Message
from nucleus_bridge.pipeline import Pipeline
from nucleus_bridge.pipeline.pipeline import TF_CACHE_NS

SENSORS = ("/points", "/image", "/tf", "/info")
HOUR_NS = 3600 * 10**9
STAMPS_MS = range(0, 2000, 100)


def arriving(made: list[Message], delay_ns: dict[int, float]) -> list[Message]:
    """Put messages in the order in which they arrive; the number of a message keys its delay."""
    rows = [(message.log_ns + delay_ns.get(number, 0), number, message) for number, message in enumerate(made)]
    return [message for _, _, message in sorted(rows, key=lambda row: row[:2])]


def stamped_later(message: Message, by_ns: int) -> Message:
    """Change every stamp in a message, as a clock does that was set."""
    content = TYPES.deserialize_cdr(message.data, message.type_name)
    for part in getattr(content, "transforms", [content]):
        stamp_ns = part.header.stamp.sec * 10**9 + part.header.stamp.nanosec + by_ns
        part.header.stamp = type(part.header.stamp)(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    return replace(message, data=bytes(TYPES.serialize_cdr(content, message.type_name)))


def frames_of(outcome: Outcome) -> list[object]:
    """Scenes and frames without what was counted on the way."""
    return signature(outcome)[:2]


@settings(max_examples=25, deadline=None)
@given(begin_ms=st.integers(0, 1500), length_ms=st.integers(1, 1400))
def test_a_burst_of_late_transforms_within_the_wait_changes_nothing(begin_ms: int, length_ms: int) -> None:
    """What a localisation that stalls does: nothing for a while, then all of it at once."""
    made = messages(drive(STAMPS_MS))
    first, last = START_NS + begin_ms * MS, START_NS + (begin_ms + length_ms) * MS
    late = {n: last - m.log_ns for n, m in enumerate(made) if m.topic == "/tf" and first <= m.log_ns < last}
    assert signature(run(arriving(made, late), config())) == signature(run(made, config()))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1 << 32), share=st.floats(0.05, 1.0))
def test_messages_that_come_twice_change_no_frame_and_are_counted(seed: int, share: float) -> None:
    made = messages(drive(STAMPS_MS))
    chance = random.Random(seed)
    twice = Counter()
    doubled = []
    for message in made:
        doubled.append(message)
        if message.topic in SENSORS and chance.random() < share:
            doubled.append(message)
            twice[message.topic] += 1
    outcome = run(doubled, config())
    assert frames_of(outcome) == frames_of(run(made, config()))
    for topic in ("/points", "/image"):
        assert sum(outcome.totals.get(topic, {}).values()) == twice[topic]


@settings(max_examples=25, deadline=None)
@given(
    silences=st.lists(st.tuples(st.integers(0, 1900), st.integers(1, 1500)), max_size=3),
    topic=st.sampled_from(["/image", "/info"]),
)
def test_a_stream_that_stops_and_returns_costs_only_its_own(silences: list[tuple[int, int]], topic: str) -> None:
    def is_silent(message: Message) -> bool:
        since_ms = (message.log_ns - START_NS) / MS
        return message.topic == topic and any(begin <= since_ms < begin + length for begin, length in silences)

    made = messages(drive(STAMPS_MS))
    left = [message for message in made if not is_silent(message)]
    outcome = run(left, config(sync__wait_s=0.3))
    assert outcome.stamps_ms == [list(STAMPS_MS)]
    images = sum(message.topic == "/image" for message in left)
    assert sum(len(frame.images) for frame in outcome.frames[0]) == images
    assert outcome.totals == {}


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(range(4)), hours=st.integers(1, 100))
def test_clock_steps_either_way_lose_no_frame(order: list[int], hours: int) -> None:
    """The device is started four times; its clock stands anywhere at each start."""
    made = messages(drive(range(0, 500, 100)))
    joined = [stamped_later(message, n * hours * HOUR_NS) for n in order for message in made]
    outcome = run(joined, config())
    found = sorted(stamp for stamps in outcome.stamps_ms for stamp in stamps)
    assert found == sorted(n * hours * HOUR_NS // MS + ms for n in order for ms in range(0, 500, 100))
    assert len(outcome.scenes) == 4


@settings(max_examples=20, deadline=None)
@given(ahead_s=st.sampled_from([-86_400, -30, 30, 86_400]), topic=st.sampled_from(["/image", "/tf", "/info"]))
def test_one_stream_with_another_clock_starves_no_other(ahead_s: int, topic: str) -> None:
    """The sweeps go on; what cannot fit them is counted, nothing waits forever."""
    made = [
        stamped_later(message, ahead_s * 10**9) if message.topic == topic else message
        for message in messages(drive(STAMPS_MS))
    ]
    outcome = run(made, config(sync__wait_s=0.5))
    kept = sum(len(stamps) for stamps in outcome.stamps_ms)
    lost = sum(outcome.totals.get("/points", {}).values())
    assert kept + lost == len(STAMPS_MS)
    assert kept == (0 if topic == "/tf" else len(STAMPS_MS))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_every_message_is_in_a_frame_or_counted(seed: int) -> None:
    chance = random.Random(seed)
    made = messages(drive(range(0, 3000, 100)))
    kept = [m for m in made if m.topic not in ("/points", "/image") or chance.random() < 0.8]
    delays = {n: chance.choice((0, 0, 300, 5000)) * MS for n, m in enumerate(kept) if m.topic in SENSORS}
    arrived = arriving(kept, delays)
    outcome = run(arrived, config(sync__wait_s=0.5))
    for topic, used in (
        ("/points", sum(len(frames) for frames in outcome.frames)),
        ("/image", sum(len(frame.images) for frames in outcome.frames for frame in frames)),
    ):
        sent = sum(message.topic == topic for message in arrived)
        assert used + sum(outcome.totals.get(topic, {}).values()) == sent


def test_a_long_drive_holds_no_more_than_a_short_one() -> None:
    """With silences, gaps in the transforms and images without a frame; once the history of transforms is full."""
    made = messages(drive([ms for ms in range(0, 240_000, 200) if ms % 7000 > 500]))
    made = [m for n, m in enumerate(made) if m.topic != "/tf" or (n % 5 == 0 and not 0.6 < _seconds(m) % 9 < 1.4)]
    pipeline = Pipeline(config(sync__wait_s=0.5))
    held: dict[int, int] = {}
    tracemalloc.start()
    try:
        for message in made:
            pipeline.add(message)
            second = int(_seconds(message))
            if second > TF_CACHE_NS / 1e9 + 5 and second % 9 == 6 and second not in held:
                gc.collect()
                held[second] = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    pipeline.finish()
    assert pipeline.bytes_held == 0
    first, *later = held.values()
    assert len(later) >= 10
    assert max(later) < first + 200_000  # the history is kept in arrays that grow by doubling


def _seconds(message: Message) -> float:
    return (message.log_ns - START_NS) / 1e9
