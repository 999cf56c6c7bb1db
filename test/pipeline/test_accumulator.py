# SPDX-License-Identifier: Apache-2.0
"""Parts of one sweep become one sweep, each point at its own time or at that of its part."""

from __future__ import annotations

import numpy as np

from nucleus_bridge.decode.points import point_times
from nucleus_bridge.errors import DecodeError
from nucleus_bridge.model import Sweep
from nucleus_bridge.pipeline.accumulator import Accumulator

MS = 1_000_000
SPAN = 80 * MS
T0 = 1_700_000_000_000 * MS


def part(stamp_ns: int, x: float, times_us: list[int] | None = None, frame: str = "roof") -> Sweep:
    columns = [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), *([("t", "<u4")] if times_us else [])]
    points = np.zeros(len(times_us) if times_us else 2, columns)
    points["x"] = x
    if times_us:
        points["t"] = times_us
    last_ns = stamp_ns + max(times_us or [0]) * 1000
    return Sweep(stamp_ns, frame, points, "t" if times_us else None, stamp_ns, last_ns, 1000, time_is_relative=True)


def swallow(parts: list[Sweep]) -> tuple[list[Sweep], list[str]]:
    accumulator = Accumulator(SPAN)
    made = [sample for one in parts for sample in accumulator.add(one)] + list(accumulator.close())
    return [s for s in made if isinstance(s, Sweep)], [s.cause for s in made if isinstance(s, DecodeError)]


def test_parts_of_one_span_are_one_sweep_with_the_stamp_of_the_first() -> None:
    parts = [part(T0 + n * 16 * MS, n, [0, 500, 15_000]) for n in range(10)]
    sweeps, causes = swallow(parts)
    assert causes == []
    assert [(s.stamp_ns, len(s.points)) for s in sweeps] == [(T0, 15), (T0 + SPAN, 15)]
    times, is_good = point_times(sweeps[1])
    assert is_good.all()
    assert times.tolist() == [T0 + SPAN + n * 16 * MS + us * 1000 for n in range(5) for us in (0, 500, 15_000)]
    assert (sweeps[0].first_ns, sweeps[0].last_ns) == (T0, T0 + 4 * 16 * MS + 15 * MS)


def test_points_without_times_have_that_of_their_part() -> None:
    sweeps, _ = swallow([part(T0 + n * 40 * MS, n) for n in range(2)])
    assert point_times(sweeps[0])[0].tolist() == [T0, T0, T0 + 40 * MS, T0 + 40 * MS]


def test_a_sweep_that_lacks_parts_is_kept_and_counted() -> None:
    parts = [part(T0 + n * 20 * MS, n) for n in range(12) if n != 5]
    sweeps, causes = swallow(parts)
    assert [len(s.points) for s in sweeps] == [8, 6, 8]
    assert causes == ["sweep_lacks_parts"]


def test_another_frame_within_a_sweep_and_a_part_after_its_end_are_faults() -> None:
    parts = [part(T0, 0), part(T0 + 20 * MS, 1, frame="other"), part(T0 + SPAN, 2), part(T0 + 40 * MS, 3)]
    sweeps, causes = swallow(parts)
    assert [len(s.points) for s in sweeps] == [2, 2]
    assert causes == ["part_differs", "late_part"]
