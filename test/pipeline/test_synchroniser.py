# SPDX-License-Identifier: Apache-2.0
"""Matching by stamps alone: nearest sample, one frame a sample, no dependence on the order of arrival."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleus_bridge.pipeline.synchroniser import Match, StreamSpec, Synchroniser

MS = 1_000_000
START = 1_700_000_000_000_000_000
LIDAR = "lidar"


@dataclass
class Harness:
    """A synchroniser whose matches and losses are kept."""

    specs: list[StreamSpec]
    wait_ms: int = 2000
    stride: int = 1
    matches: list[Match[int]] = field(default_factory=list)
    losses: Counter[tuple[str, str, int]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.sync: Synchroniser[int] = Synchroniser(
            LIDAR, self.specs, self.wait_ms * MS, self.stride, lambda *loss: self.losses.update([loss])
        )

    def feed(self, stream: str, ms: int) -> None:
        stamp = START + ms * MS
        if stream == LIDAR:
            self.sync.add_anchor(stamp, stamp + 100 * MS, 10, ms)
        else:
            self.sync.add(stream, stamp, 1, ms)
        self.matches += self.sync.ready()

    def finish(self) -> None:
        self.matches += self.sync.ready(everything=True)

    def table(self) -> dict[int, dict[str, int]]:
        return {match.anchor.item: {name: s.item for name, s in match.samples.items()} for match in self.matches}


def camera(name: str, offset_ms: int = 0, tolerance_ms: int = 50) -> StreamSpec:
    return StreamSpec(name, offset_ms * MS, tolerance_ms * MS)


def test_takes_the_image_nearest_to_the_wanted_stamp() -> None:
    harness = Harness([camera("front", offset_ms=20)])
    for stream, ms in [(LIDAR, 0), ("front", 5), ("front", 18), ("front", 30), (LIDAR, 100), ("front", 121)]:
        harness.feed(stream, ms)
    harness.finish()
    assert harness.table() == {0: {"front": 18}, 100: {"front": 121}}
    assert harness.losses == {("front", "surplus", START + 5 * MS): 1, ("front", "surplus", START + 30 * MS): 1}
    assert [match.residuals_ns["front"] for match in harness.matches] == [2 * MS, 1 * MS]


def test_nothing_waits_for_a_sample_that_was_lost() -> None:
    harness = Harness([camera("front")])
    for stream, ms in [(LIDAR, 0), ("front", 3), (LIDAR, 100)]:
        harness.feed(stream, ms)
    assert [match.anchor.item for match in harness.matches] == [0]
    harness.sync.miss("front", START + 103 * MS)
    harness.sync.miss(LIDAR, START + 200 * MS)
    harness.feed(LIDAR, 300)
    assert harness.table() == {0: {"front": 3}, 100: {}}
    harness.sync.miss("front", START + 86_400_000 * MS)  # a stamp that means nothing moves no time
    assert harness.sync.message_time_ns == START + 300 * MS


def test_tolerance_is_inclusive() -> None:
    harness = Harness([camera("front")])
    for stream, ms in [(LIDAR, 0), ("front", 50), (LIDAR, 200), ("front", 251)]:
        harness.feed(stream, ms)
    harness.finish()
    assert harness.table() == {0: {"front": 50}, 200: {}}
    assert harness.losses == {("front", "no_frame", START + 251 * MS): 1}


def test_an_image_between_two_sweeps_belongs_to_the_nearer_one_only() -> None:
    harness = Harness([camera("front", tolerance_ms=90)])
    for stream, ms in [(LIDAR, 0), ("front", 60), (LIDAR, 100), ("front", 190), (LIDAR, 200), ("front", 300)]:
        harness.feed(stream, ms)
    harness.finish()
    assert harness.table() == {0: {}, 100: {"front": 60}, 200: {"front": 190}}


def test_a_frame_waits_for_a_silent_camera_only_as_long_as_message_time_says() -> None:
    harness = Harness([camera("front"), camera("rear")], wait_ms=500)
    harness.feed(LIDAR, 0)
    for ms in range(0, 600, 50):
        harness.feed("front", ms)
    assert harness.matches == []
    harness.feed("front", 600)  # 100 ms sweep + 500 ms wait
    assert harness.table() == {0: {"front": 0}}


def test_a_stream_on_another_clock_does_not_hurry_the_frames() -> None:
    harness = Harness([camera("front"), camera("days_ahead")], wait_ms=500)
    harness.feed(LIDAR, 0)
    harness.feed("days_ahead", 86_400_000)
    harness.feed(LIDAR, 100)
    assert harness.matches == []
    harness.feed("front", 0)
    harness.feed("front", 100)
    assert harness.table() == {0: {"front": 0}}


def test_memory_stays_bounded_while_the_lidar_is_silent() -> None:
    harness = Harness([camera("front")], wait_ms=1000)
    for ms in range(0, 60_000, 100):
        harness.feed("front", ms)
        assert harness.sync.bytes_held <= 12
    assert sum(harness.losses.values()) > 500


def test_holes_between_sweeps_count_all_sweeps_also_the_ones_left_out() -> None:
    harness = Harness([], stride=3)
    for ms in (0, 100, 200, 300, 1700, 1800, 1900, 2000):
        harness.feed(LIDAR, ms)
    harness.finish()
    assert [(match.anchor.item, match.hole_ns // MS) for match in harness.matches] == [(0, 0), (300, 100), (1900, 1400)]


def test_a_sweep_with_the_stamp_of_another_is_counted_not_merged() -> None:
    harness = Harness([])
    for ms in (0, 0, 100):
        harness.feed(LIDAR, ms)
    harness.finish()
    assert [match.anchor.item for match in harness.matches] == [0, 100]
    assert harness.losses == {(LIDAR, "duplicate_stamp", START): 1}


def _expected(sweeps: list[int], images: list[int], spec: StreamSpec) -> dict[int, int]:
    """Brute force: every image goes to the sweep whose wanted stamp is nearest, each sweep keeps its nearest image."""
    offset, tolerance = spec.offset_ns // MS, spec.tolerance_ns // MS
    claims: dict[int, list[int]] = {}
    for image in images:
        sweep = min(sweeps, key=lambda s: (abs(image - s - offset), s))
        if abs(image - sweep - offset) <= tolerance:
            claims.setdefault(sweep, []).append(image)
    return {s: min(found, key=lambda i: (abs(i - s - offset), i)) for s, found in claims.items()}


@st.composite
def recordings(draw: st.DrawFn) -> tuple[list[int], dict[str, list[int]], list[StreamSpec]]:
    sweeps = sorted(draw(st.lists(st.integers(0, 5000), min_size=1, max_size=25, unique=True)))
    specs, images = [], {}
    for name in ("front", "rear"):
        spec = camera(name, draw(st.integers(-80, 80)), draw(st.integers(0, 120)))
        specs.append(spec)
        images[name] = sorted(draw(st.lists(st.integers(-200, 5300), max_size=40, unique=True)))
    return sweeps, images, specs


@given(recordings(), st.randoms(use_true_random=False), st.integers(0, 300))
@settings(max_examples=300, deadline=None)
def test_any_interleaving_within_the_wait_gives_the_brute_force_answer(recording, random, delay) -> None:
    sweeps, images, specs = recording
    arrivals = [(ms + random.uniform(0, delay) * 0.999, LIDAR, ms) for ms in sweeps]
    for name, stamps in images.items():
        late = random.uniform(0, delay)
        arrivals += [(ms + late, name, ms) for ms in stamps]
    ordered: dict[str, list[tuple[float, str, int]]] = {}
    for arrival in sorted(arrivals):
        ordered.setdefault(arrival[1], []).append(arrival)
    # within a topic the order of stamps holds, as DDS and the bag reader's window guarantee
    events = []
    for stream, rows in ordered.items():
        times = sorted(row[0] for row in rows)
        events += [(time, stream, ms) for time, ms in zip(times, sorted(row[2] for row in rows), strict=False)]
    harness = Harness(specs)
    for _, stream, ms in sorted(events):
        harness.feed(stream, ms)
    harness.finish()
    expected = {spec.name: _expected(sweeps, images[spec.name], spec) for spec in specs}
    table = harness.table()
    assert sorted(table) == sweeps
    for sweep, samples in table.items():
        assert samples == {name: rows[sweep] for name, rows in expected.items() if sweep in rows}
    used = sum(len(samples) for samples in table.values())
    assert used + sum(harness.losses.values()) == sum(len(stamps) for stamps in images.values())
    assert all(a < b for a, b in pairwise(match.anchor.stamp_ns for match in harness.matches))
    assert harness.sync.bytes_held == 0


@pytest.mark.parametrize(("late_ms", "expected_ms"), [(2900, 2900), (1900, 0)])
def test_sweeps_that_come_when_their_images_were_given_up_are_noted(late_ms: int, expected_ms: int) -> None:
    harness = Harness([camera("front", offset_ms=15)])
    for ms in range(0, 5000, 100):
        harness.feed("front", ms + 15)
        if ms >= late_ms:
            harness.feed(LIDAR, ms - late_ms)
    assert abs(harness.sync.overtaken_ns / MS - expected_ms) <= 100


def test_sweeps_after_a_pause_of_the_lidar_are_not_late() -> None:
    harness = Harness([camera("front", offset_ms=15)])
    for ms in range(0, 12_000, 100):
        if not 3000 < ms < 8000:
            harness.feed(LIDAR, ms)
        harness.feed("front", ms + 15)
    assert harness.sync.overtaken_ns == 0
    assert sum(count for (_, cause, _), count in harness.losses.items() if cause == "no_frame") > 20
