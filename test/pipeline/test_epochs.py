# SPDX-License-Identifier: Apache-2.0
"""What is before and after a step of the clocks depends on the order within each topic, and on stamps, alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleus_bridge.clock_steps import PICTURES_IN_A_ROW, Step, StepWatch
from nucleus_bridge.pipeline.epochs import Cut, Entry, Epochs, Series

MS = 1_000_000
T0 = 1_700_000_000_000 * MS
WAIT = 2_000 * MS
VIDEO = ("/video",)


class Book:
    """Notes which topic and number came in which epoch."""

    def __init__(self) -> None:
        self.epochs: list[set[tuple[str, int]]] = [set()]
        self.left_out: list[tuple[str, int]] = []
        self.steps: list[tuple[str, Step]] = []
        self.of_entry: dict[tuple[str, int], int] = {}

    def advance(self) -> None:
        """Nothing waits here."""

    def suspend(self, series: Series) -> None:
        """Nothing waits here."""

    def take(self, topic: str, number: int) -> None:
        self.epochs[-1].add((topic, number))

    def end_epoch(self, cuts: Iterable[Cut]) -> list[Entry]:
        later = []
        for cut in cuts:
            for topic, number in sorted(self.epochs[-1]):
                stamp = self.of_entry[topic, number]
                if topic == cut.series.name and stamp > cut.low_ns:
                    self.epochs[-1].discard((topic, number))
                    entry = Entry(stamp, 1, topic, partial(self.take, topic, number))
                    if stamp > cut.high_ns:
                        later.append(entry)
                    else:
                        self.leave_out(entry)
        self.epochs.append(set())
        return later

    def leave_out(self, entry: Entry) -> None:
        self.left_out.append((entry.topic, entry.stamp_ns))

    def told(self, series: Series, step: Step) -> None:
        self.steps.append((series.name, step))


def run(arrivals: Iterable[tuple[str, int, int]], videos: tuple[str, ...] = ()) -> Book:
    book = Book()
    epochs = Epochs(book, WAIT, 10**9, book.told)
    for topic, number, stamp in arrivals:
        book.of_entry[topic, number] = stamp
        entry = Entry(stamp, 1, topic, partial(book.take, topic, number))
        epochs.take(epochs.series(topic, "", PICTURES_IN_A_ROW if topic in videos else 2), entry)
    epochs.finish()
    return book


def stamps(period_ms: int, step_at_ms: int, back_ms: int, until_ms: int, phase_ms: int = 0) -> list[int]:
    true = range(phase_ms, until_ms, period_ms)
    return [T0 + (t if t < step_at_ms else t - back_ms) * MS for t in true]


def merged(topics: dict[str, list[int]], order: list[str]) -> list[tuple[str, int, int]]:
    """Interleave topics as ``order`` says, each in its own order; what is left comes last."""
    waiting = {name: list(enumerate(of)) for name, of in topics.items()}
    rows = []
    for name in [*order, *(rest for rest, of in topics.items() for _ in of)]:
        if waiting.get(name):
            number, stamp = waiting[name].pop(0)
            rows.append((name, number, stamp))
    return rows


def test_one_late_message_is_no_step_and_two_in_a_row_are() -> None:
    late: StepWatch[int] = StepWatch()
    outcomes = [late.take(stamp, stamp) for stamp in (10, 30, 20, 40)]
    assert [outcome.step for outcome in outcomes] == [None] * 4
    assert outcomes[-1].before == (20, 40)
    stepped: StepWatch[int] = StepWatch()
    outcomes = [stepped.take(stamp, stamp) for stamp in (10, 30, 20, 25, 40)]
    assert outcomes[3].step == Step(20, 30)
    assert outcomes[3].after == (20, 25)


def test_without_a_step_everything_is_of_one_epoch_at_once() -> None:
    book = run(merged({"/a": stamps(70, 10**6, 0, 3000), "/b": stamps(31, 10**6, 0, 3000)}, []))
    assert len(book.epochs) == 1
    assert not book.left_out


@settings(max_examples=60, deadline=None)
@given(order=st.lists(st.sampled_from(["/a", "/b"]), min_size=20, max_size=60), back=st.integers(700, 1500))
def test_topics_that_step_themselves_are_cut_at_their_own_step_in_any_interleaving(order: list[str], back: int) -> None:
    topics = {"/a": stamps(130, 1310, back, 2600), "/b": stamps(90, 1310, back, 2600, 17)}
    book = run(merged(topics, order))
    assert len(book.epochs) == 2
    assert not book.left_out
    for name, of in topics.items():
        cut = next(number for number in range(1, len(of)) if of[number] < of[number - 1])
        assert {number for topic, number in book.epochs[0] if topic == name} == set(range(cut))
        assert {number for topic, number in book.epochs[1] if topic == name} == set(range(cut, len(of)))


def test_a_topic_too_slow_to_show_the_step_is_cut_by_stamps() -> None:
    slow, fast = stamps(200, 1510, 160, 5000, 3), stamps(20, 1510, 160, 5000)
    rows = sorted(
        [("/slow", n, s, n * 200 + 3) for n, s in enumerate(slow)]
        + [("/fast", n, s, n * 20) for n, s in enumerate(fast)],
        key=lambda row: row[3],
    )
    book = run((topic, number, stamp) for topic, number, stamp, _ in rows)
    step = dict(book.steps)["/fast"]
    assert [name for name, _ in book.steps] == ["/fast"]
    low, high = step.low_ns - 200 * MS, step.high_ns + 200 * MS
    assert {n for topic, n in book.epochs[0] if topic == "/slow"} == {n for n, s in enumerate(slow) if s < low}
    assert {n for topic, n in book.epochs[1] if topic == "/slow"} == {n for n, s in enumerate(slow) if s > high}
    assert sorted(stamp for _, stamp in book.left_out) == [s for s in slow if low <= s <= high]


def test_a_second_step_begins_a_third_epoch() -> None:
    first = stamps(50, 1000, 400, 2000)
    again = [stamp - 3000 * MS for stamp in first]
    book = run(("/a", number, stamp) for number, stamp in enumerate([*first, *again]))
    assert len(book.epochs) == 4  # two steps of the clock, and one between both halves


def test_a_clock_of_its_own_that_steps_leaves_out_nothing_of_the_others() -> None:
    own = [stamp + 10**12 for stamp in stamps(50, 1000, 700, 6000)]
    rows = sorted(
        [("/own", n, s, 50 * n) for n, s in enumerate(own)]
        + [("/others", n, s, 30 * n + 1) for n, s in enumerate(stamps(30, 10**6, 0, 6000))],
        key=lambda row: row[3],
    )
    book = run((topic, number, stamp) for topic, number, stamp, _ in rows)
    assert not book.left_out
    assert sum(topic == "/others" for epoch in book.epochs for topic, _ in epoch) == 200


def decoding_order(of: list[int]) -> list[int]:
    """Put three of four behind the one that they build on, the middle one first."""
    moved = []
    for at in range(0, len(of) - 3, 4):
        first, second, third, fourth = of[at : at + 4]
        moved += [fourth, second, first, third]
    return [*moved, *of[len(moved) :]]


def by_time(topics: dict[str, list[int]], period_ms: dict[str, int]) -> list[tuple[str, int, int]]:
    rows = [(n * period_ms[name], name, n, stamp) for name, of in topics.items() for n, stamp in enumerate(of)]
    return [(name, n, stamp) for _, name, n, stamp in sorted(rows)]


def test_a_video_in_the_order_of_decoding_shows_no_step() -> None:
    video = decoding_order(stamps(33, 10**6, 0, 3000))
    book = run(by_time({"/video": video, "/lidar": stamps(100, 10**6, 0, 3000)}, {"/video": 33, "/lidar": 100}), VIDEO)
    assert len(book.epochs) == 1
    assert not book.steps
    assert len(book.epochs[0]) == len(video) + 30


@pytest.mark.parametrize("rest_ms", [150, 250, 700, 4000])
@pytest.mark.parametrize("order", [list, decoding_order])
def test_a_clock_that_steps_is_seen_in_a_video_however_little_of_it_follows(
    rest_ms: int, order: Callable[[list[int]], list[int]]
) -> None:
    true = stamps(33, 1320, 900, 1320 + rest_ms)
    before, after = order(true[:40]), order(true[40:])
    video = [*before, *after]
    lidar = stamps(100, 1320, 900, 1320 + rest_ms)
    book = run(by_time({"/video": video, "/lidar": lidar}, {"/video": 33, "/lidar": 100}), VIDEO)
    assert len(book.epochs) == (2 if rest_ms > 200 else 1)  # one sweep alone may be late
    if rest_ms > 200:
        assert {n for topic, n in book.epochs[0] if topic == "/video"} == set(range(40))
        assert {n for topic, n in book.epochs[1] if topic == "/video"} == set(range(40, len(video)))
        assert not book.left_out
