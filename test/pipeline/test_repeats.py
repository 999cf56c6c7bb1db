# SPDX-License-Identifier: Apache-2.0
"""Messages that repeat the one before are counted where the device moved, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from nucleus_bridge.model import Sweep
from nucleus_bridge.pipeline.repeats import Copies, Places, Repeats, Run, copies_on_the_way

MS = 1_000_000
T0 = 1_650_000_000_000 * MS


def message(stamp_ns: int, content: bytes) -> bytes:
    return b"\x00\x01\x00\x00" + stamp_ns.to_bytes(8, "little") + content


def runs_of(contents: list[bytes], period_ms: int = 50) -> list[Run]:
    seen = Repeats()
    for number, content in enumerate(contents):
        stamp_ns = T0 + number * period_ms * MS
        seen.add(message(stamp_ns, content), stamp_ns)
    assert seen.total == len(contents)
    return seen.runs


def noise(seed: int, size: int) -> bytes:
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8).tobytes()


@pytest.mark.parametrize("size", [0, 3, 40, 700, 90_001])
def test_runs_of_the_same_content_are_found_whatever_its_length(size: int) -> None:
    other = noise(7, size + 1)
    runs = runs_of([other, *[noise(1, size)] * 4, other, other])
    assert runs == [Run(T0 + 50 * MS, T0 + 200 * MS, 3), Run(T0 + 250 * MS, T0 + 300 * MS, 1)]


@pytest.mark.parametrize("place", [0, 311, 5_000, 8_999])
def test_one_byte_makes_another_message(place: int) -> None:
    content = noise(2, 9_000)
    changed = bytearray(content)
    changed[place] ^= 1
    assert runs_of([content, bytes(changed), content]) == []


def test_a_message_that_was_recorded_twice_is_not_a_copy() -> None:
    seen = Repeats()
    for _ in range(5):
        seen.add(message(T0, b"same"), T0)
    assert seen.runs == []


def sweep(stamp_ns: int, xyz: np.ndarray) -> Sweep:
    points = np.zeros(len(xyz), [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("stamp", "<f8")])
    points["x"], points["y"], points["z"] = xyz.T
    points["stamp"] = stamp_ns / 1e9 + np.arange(len(xyz)) * 1e-6
    return Sweep(stamp_ns, "lidar", points, "stamp", stamp_ns, stamp_ns + len(xyz) * 1_000, 1, False)


def test_the_same_points_at_other_times_are_copies_and_clouds_without_points_are_not() -> None:
    xyz, nothing = np.random.default_rng(3).normal(size=(5_000, 3)), np.full((5_000, 3), np.nan)
    seen = Repeats()
    for number, points in enumerate((xyz, xyz, xyz, xyz + 0.01, nothing, nothing, np.zeros((5_000, 3)))):
        seen.add_sweep(sweep(T0 + number * 100 * MS, points))
    assert seen.runs == [Run(T0, T0 + 200 * MS, 2)]


def places(speed: float, seconds: float, standing_from: float = 1e9) -> Places:
    known = Places()
    for number in range(round(seconds * 20)):
        way = speed * min(number / 20, standing_from)
        known.add(T0 + number * 50 * MS, np.array([way, 3.0, 0.0]))
    return known


def test_copies_count_where_the_device_moved() -> None:
    runs = [Run(T0 + 1_000 * MS, T0 + 3_000 * MS, 20)]
    found = copies_on_the_way(runs, places(6.0, 5.0).at)
    assert found is not None
    assert (found.count, found.longest, found.seconds) == (20, 20, 2.0)
    assert found.way_m == pytest.approx(12.0)
    assert copies_on_the_way(runs, places(6.0, 5.0, standing_from=0.9).at) is None
    assert copies_on_the_way(runs, places(6.0, 2.0).at) is not None
    assert copies_on_the_way(runs, places(6.0, 0.9).at) is None


def test_two_single_copies_are_no_reason_to_warn() -> None:
    known = places(20.0, 9.0).at
    runs = [Run(T0 + at * MS, T0 + (at + 50) * MS, 1) for at in (200, 900, 1_700)]
    assert copies_on_the_way(runs[:2], known) is None
    assert copies_on_the_way(runs, known) == Copies(3, 1, 0.05, pytest.approx(1.0))


def test_a_long_drive_takes_no_more_memory_and_answers_all_the_same() -> None:
    known = places(7.0, 2_000.0)
    assert len(known._stamps) <= 4_097
    for seconds in (3.0, 777.0, 1_990.0):
        found = known.at(T0 + round(seconds * 1e9))
        assert found is not None
        assert found[0] == pytest.approx(7.0 * seconds)


def test_places_are_not_told_across_a_clock_that_was_set_back() -> None:
    known = places(5.0, 6.0)
    known.add(T0, np.zeros(3))
    assert known.at(T0 + 2_000 * MS) is None
