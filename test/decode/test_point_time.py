# SPDX-License-Identifier: Apache-2.0
"""When each point was measured: which field says it, in which unit, and from when on it counts."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from points_in_a_row import LIDAR, exact_ns, with_times
from serialised import STAMP_NS, cloud_of

from nucleus_bridge.decode.point_time import FARTHEST_FROM_STAMP_NS, times_to_ns
from nucleus_bridge.decode.pointcloud2 import decode_sweep, has_points
from nucleus_bridge.decode.points import select_points
from nucleus_bridge.errors import CloudError


class TestTimeField:
    @pytest.mark.parametrize("name", ["t", "time", "timestamp", "time_stamp", "offset_time"])
    def test_the_usual_names_are_known(self, name):
        sweep = decode_sweep(cloud_of(with_times("<u4", [5, 6], name)), LIDAR)
        assert (sweep.time_field, sweep.first_ns, sweep.last_ns) == (name, STAMP_NS + 5, STAMP_NS + 6)

    def test_another_name_can_be_given(self):
        message = cloud_of(with_times("<u4", [5, 6], "laser_clock"))
        assert decode_sweep(message, LIDAR).time_field is None
        assert decode_sweep(message, replace(LIDAR, time_field="laser_clock")).last_ns == STAMP_NS + 6

    def test_none_ignores_the_times(self):
        sweep = decode_sweep(cloud_of(with_times("<f4", [1e6, 2e6], "time")), replace(LIDAR, time_field="none"))
        assert (sweep.time_field, sweep.first_ns, sweep.last_ns) == (None, STAMP_NS, STAMP_NS)

    def test_a_field_that_is_not_there_is_named_with_those_that_are(self):
        with pytest.raises(CloudError, match=r"'stamp'.*x, y, z, intensity, time") as caught:
            decode_sweep(cloud_of(with_times("<f4", [0, 0], "time")), replace(LIDAR, time_field="stamp"))
        assert caught.value.cause == "missing_field"

    @pytest.mark.parametrize(
        ("kind", "values"),
        [
            ("<f4", [0, 99_900]),
            ("<f4", [-5.1, 0]),
            ("<f4", [STAMP_NS / 1e9, STAMP_NS / 1e9]),
            ("<f4", [np.nan, np.nan]),
            ("<f8", [12_345.0, 12_345.1]),
            ("<f8", [STAMP_NS / 1e6, STAMP_NS / 1e6]),
            ("<f8", [-1e308, 1e308]),
            ("<u2", [0, 100]),
            ("<u1", [0, 100]),
            ("<i2", [0, 100]),
        ],
    )
    def test_times_of_no_convention_name_the_field_and_the_remedy(self, kind, values):
        with pytest.raises(CloudError, match=r"'time'.*time_field: none") as caught:
            decode_sweep(cloud_of(with_times(kind, values, "time")), LIDAR)
        assert caught.value.cause == "point_time"
        assert "/lidar/points" in str(caught.value)

    @pytest.mark.parametrize("unit", [1.0, 1e9])
    @pytest.mark.parametrize("side", [-1, 1])
    def test_absolute_times_far_from_the_stamp_name_both(self, unit, side):
        near = STAMP_NS + side * (FARTHEST_FROM_STAMP_NS - 10**6)
        far = STAMP_NS + side * (FARTHEST_FROM_STAMP_NS + 10**6)
        assert decode_sweep(cloud_of(with_times("<f8", [near / unit] * 2, "time")), LIDAR).time_field
        with pytest.raises(CloudError, match=r"1700000000\.123456789") as caught:
            decode_sweep(cloud_of(with_times("<f8", [near / unit, far / unit], "time")), LIDAR)
        assert str(np.float64(max(near, far) / unit)) in str(caught.value)

    @pytest.mark.parametrize("stamp_ns", [2 * 10**9, 1_234 * 10**9, 2 * 10**18])
    @pytest.mark.parametrize("unit", [1.0, 1e9])
    def test_absolute_times_are_told_apart_on_any_clock(self, stamp_ns, unit):
        times = [(stamp_ns + o) / unit for o in (0, 5 * 10**7)]
        sweep = decode_sweep(cloud_of(with_times("<f8", times, "time"), stamp_ns=stamp_ns), LIDAR)
        assert sweep.time_unit_ns == unit
        assert abs(sweep.last_ns - sweep.first_ns - 5 * 10**7) < 1_000

    @pytest.mark.parametrize("bad", [0.0, np.nan, np.inf], ids=["zero", "nan", "inf"])
    @pytest.mark.parametrize("wrong_time", [-4.0, 4.0, 1e9, -1e9, np.nan])
    def test_times_of_points_that_are_not_usable_do_not_count(self, bad, wrong_time):
        points = with_times("<f4", [0.01, wrong_time, 0.02, wrong_time, 0.03], "time")
        points["x"][[1, 3]] = bad
        sweep = decode_sweep(cloud_of(points), LIDAR)
        assert (sweep.first_ns, sweep.last_ns) == tuple(STAMP_NS + exact_ns(np.float32(t)) for t in (0.01, 0.03))
        assert len(select_points(sweep, LIDAR).time_ns) == 3

    def test_a_usable_point_among_many_of_the_same_time_counts(self):
        points = with_times("<u4", [0] * 1000 + [7], "t")
        points["x"][:999] = 0
        assert decode_sweep(cloud_of(points), LIDAR).first_ns == STAMP_NS

    def test_a_cloud_without_usable_points_is_of_one_moment(self):
        points = with_times("<f4", [1e6] * 3, "time")
        points["x"] = 0
        sweep = decode_sweep(cloud_of(points), LIDAR)
        assert (sweep.first_ns, sweep.last_ns) == (STAMP_NS, STAMP_NS)
        assert not has_points(sweep, LIDAR)
        assert len(select_points(sweep, LIDAR).xyz) == 0

    @settings(deadline=None)
    @given(st.lists(st.tuples(st.booleans(), st.integers(0, 10**9)), min_size=1, max_size=7))
    def test_first_and_last_are_those_of_the_usable_points(self, rows):
        points = with_times("<u4", [time for _, time in rows], "t")
        points["x"] = [float(is_usable) for is_usable, _ in rows]
        sweep = decode_sweep(cloud_of(points), LIDAR)
        used = [STAMP_NS + time for is_usable, time in rows if is_usable] or [STAMP_NS]
        assert (sweep.first_ns, sweep.last_ns) == (min(used), max(used))


def spread(kind: str, unit_ns: int, *, span_ns: int, count: int = 200, start_ns: int = 0) -> np.ndarray:
    """Times of a sweep in a unit, evenly spread."""
    exact = start_ns + np.linspace(0, span_ns, count)
    scaled = exact / unit_ns
    return scaled.astype(kind) if "f" in kind else np.rint(scaled).astype(np.int64).astype(kind)


UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


class TestUnitAndReference:
    @pytest.mark.parametrize(
        ("kind", "unit", "precision_ns"),
        [
            *(("<f4", unit, 20_000) for unit in UNITS),
            *(("<f8", unit, 10) for unit in UNITS),
            *(("<u4", unit, UNITS[unit]) for unit in ("ms", "us", "ns")),
            *(("<i4", unit, UNITS[unit]) for unit in ("ms", "us", "ns")),
            ("<i2", "ms", 10**6),
            ("<u2", "ms", 10**6),
        ],
    )
    @pytest.mark.parametrize("span_ms", [20, 50, 100, 200])
    def test_the_unit_is_the_one_that_makes_a_sweep(self, kind, unit, precision_ns, span_ms):
        times = spread(kind, UNITS[unit], span_ns=span_ms * 10**6)
        sweep = decode_sweep(cloud_of(with_times(kind, times, "time")), LIDAR)
        assert sweep.time_unit_ns == UNITS[unit]
        assert abs(sweep.first_ns - STAMP_NS) <= precision_ns
        assert abs(sweep.last_ns - STAMP_NS - span_ms * 10**6) <= precision_ns
        assert np.ptp(select_points(sweep, LIDAR).time_ns) == sweep.last_ns - sweep.first_ns

    @pytest.mark.parametrize(("kind", "unit"), [("<f8", unit) for unit in UNITS])
    def test_absolute_times_come_in_every_unit(self, kind, unit):
        times = spread(kind, UNITS[unit], span_ns=10**8, start_ns=STAMP_NS)
        sweep = decode_sweep(cloud_of(with_times(kind, times, "time")), LIDAR)
        assert (sweep.time_unit_ns, sweep.time_is_relative) == (UNITS[unit], False)
        assert abs(sweep.last_ns - sweep.first_ns - 10**8) < 10_000

    @settings(deadline=None, max_examples=60)
    @given(
        st.sampled_from(["s", "ms", "us", "ns"]),
        st.integers(10, 900),
        st.sampled_from(["<f4", "<f8", "<i4"]),
        st.integers(-300, 300),
    )
    def test_wherever_a_sweep_starts_its_times_keep_their_unit(self, unit, span_ms, kind, start_ms):
        if unit == "s" and kind == "<i4":
            kind = "<f8"
        times = spread(kind, UNITS[unit], span_ns=span_ms * 10**6, start_ns=start_ms * 10**6)
        sweep = decode_sweep(cloud_of(with_times(kind, times, "time")), LIDAR)
        assert sweep.time_unit_ns == UNITS[unit]
        assert abs(sweep.first_ns - STAMP_NS - start_ms * 10**6) <= max(200_000, UNITS[unit] if kind == "<i4" else 0)

    def test_a_configured_unit_and_reference_are_believed(self):
        times = spread("<u4", 1, span_ns=10**8)
        lidar = replace(LIDAR, time_unit="us", time_reference="stamp")
        assert decode_sweep(cloud_of(with_times("<u4", times, "t")), lidar).last_ns == STAMP_NS + 10**11
        relative = replace(LIDAR, time_reference="stamp")
        assert decode_sweep(cloud_of(with_times("<f8", times / 1e9, "t")), relative).time_is_relative

    def test_a_cloud_of_few_times_keeps_the_usual_unit_of_its_type(self):
        sweep = decode_sweep(cloud_of(with_times("<u4", [0, 30_000, 100_000], "t")), LIDAR)
        assert (sweep.time_unit_ns, sweep.last_ns) == (1, STAMP_NS + 100_000)


class TestOtherNames:
    @pytest.mark.parametrize("name", ["ts", "point_time", "relativeTimestamp", "time_us", "OffsetTime", "point_stamp"])
    def test_a_column_that_is_called_a_time_is_one(self, name):
        times = spread("<u4", 1_000, span_ns=8 * 10**7)
        assert decode_sweep(cloud_of(with_times("<u4", times, name)), LIDAR).last_ns == STAMP_NS + 8 * 10**7

    @pytest.mark.parametrize("name", ["type", "tag", "status", "distance", "offset", "sometimes"])
    def test_other_columns_are_not(self, name):
        times = spread("<u4", 1_000, span_ns=8 * 10**7)
        assert decode_sweep(cloud_of(with_times("<u4", times, name)), LIDAR).time_field is None

    def test_numbers_that_cannot_be_times_cost_nothing_where_only_the_name_is_like_one(self):
        far = np.linspace(3e20, 3.9e20, 200)
        assert decode_sweep(cloud_of(with_times("<f8", far, "time_us")), LIDAR).time_field is None
        with pytest.raises(CloudError, match="no convention"):
            decode_sweep(cloud_of(with_times("<f8", far, "time")), LIDAR)


class TestOutliers:
    @pytest.mark.parametrize("wrong", [3.6, -3.6, 0.6, 1e9, np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("kind", ["<f4", "<f8"])
    def test_single_impossible_times_drop_their_points_and_nothing_else(self, wrong, kind):
        times = spread(kind, 10**9, span_ns=10**8)
        times[[3, 77]] = wrong
        sweep = decode_sweep(cloud_of(with_times(kind, times, "time")), LIDAR)
        kept = select_points(sweep, LIDAR)
        assert kept.dropped["time_outlier"] == 2
        assert len(kept.xyz) == len(times) - 2
        assert (sweep.first_ns, abs(sweep.last_ns - STAMP_NS - 10**8) < 100) == (STAMP_NS, True)
        assert kept.time_ns.min() >= STAMP_NS
        assert kept.time_ns.max() <= STAMP_NS + 10**8 + 100

    @pytest.mark.parametrize("share", [0.08, 0.15, 0.2])
    @pytest.mark.parametrize(("kind", "start_ns", "wrong"), [("<f8", STAMP_NS, 0.0), ("<f4", 0, 1.9), ("<f4", 0, -2.4)])
    @pytest.mark.parametrize("is_told", [False, True])
    def test_many_impossible_times_are_left_out_as_few_are(self, share, kind, start_ns, wrong, is_told):
        times = spread(kind, 10**9, span_ns=9 * 10**7, count=600, start_ns=start_ns)
        strays = np.random.default_rng(3).permutation(600)[: int(600 * share)]
        times[strays] = wrong
        reference = "absolute" if start_ns else "stamp"
        lidar = replace(LIDAR, time_unit="s", time_reference=reference) if is_told else LIDAR
        sweep = decode_sweep(cloud_of(with_times(kind, times, "time")), lidar)
        kept = select_points(sweep, lidar)
        assert kept.dropped["time_outlier"] == len(strays)
        assert STAMP_NS - 1_000 <= kept.time_ns.min() <= kept.time_ns.max() <= STAMP_NS + 9 * 10**7 + 1_000

    def test_a_time_of_the_next_sweep_is_not_one_of_this(self):
        times = spread("<u4", 1, span_ns=10**8)
        times[50] = 230_000_000
        sweep = decode_sweep(cloud_of(with_times("<u4", times, "t")), LIDAR)
        assert select_points(sweep, LIDAR).dropped["time_outlier"] == 1

    @pytest.mark.parametrize("unit", ["us", "ns"])
    def test_unsigned_times_a_little_before_the_stamp_have_wrapped_around(self, unit):
        times = spread("<i8", UNITS[unit], span_ns=10**8)
        times[:3] = [-3, -2, -1]
        sweep = decode_sweep(cloud_of(with_times("<u4", times.astype("<u4"), "t")), LIDAR)
        assert sweep.first_ns == STAMP_NS - 3 * UNITS[unit]
        assert select_points(sweep, LIDAR).dropped.get("time_outlier", 0) == 0

    def test_a_sweep_whose_points_crowd_in_one_place_loses_none(self):
        times = np.sort(np.random.default_rng(4).beta(5, 2, 5_000)).astype("<f4") * np.float32(0.1)
        sweep = decode_sweep(cloud_of(with_times("<f4", times, "time")), LIDAR)
        assert sweep.time_window is None


class TestStampInTheMiddle:
    MIDDLE = replace(LIDAR, stamp="middle")

    def test_times_from_the_start_are_shifted_by_half_the_sweep(self):
        sweep = decode_sweep(cloud_of(with_times("<u4", [10, 40, 100], "t")), self.MIDDLE)
        assert (sweep.first_ns, sweep.last_ns) == (STAMP_NS - 40, STAMP_NS + 50)
        assert select_points(sweep, self.MIDDLE).time_ns.tolist() == [STAMP_NS - 40, STAMP_NS - 10, STAMP_NS + 50]

    def test_negative_times_count_from_the_middle_already(self):
        sweep = decode_sweep(cloud_of(with_times("<i4", [-50, 0, 50], "t")), self.MIDDLE)
        assert (sweep.first_ns, sweep.last_ns) == (STAMP_NS - 50, STAMP_NS + 50)


class TestStampAtTheEnd:
    END = replace(LIDAR, stamp="end", min_range_m=1.5)

    def test_times_from_the_start_are_shifted_so_that_the_last_is_the_stamp(self):
        sweep = decode_sweep(cloud_of(with_times("<u4", [10, 40, 100], "t")), self.END)
        assert (sweep.first_ns, sweep.last_ns) == (STAMP_NS - 90, STAMP_NS)
        # The nearest point is dropped by its range, but the sweep still began with it.
        assert select_points(sweep, self.END).time_ns.tolist() == [STAMP_NS - 60, STAMP_NS]

    def test_shifted_float_times_end_exactly_at_the_stamp(self):
        times = np.float32([0.0123, 0.05, 0.0999])
        sweep = decode_sweep(cloud_of(with_times("<f4", times, "time")), self.END)
        expected = [STAMP_NS - exact_ns(times[2]) + exact_ns(t) for t in times]
        assert (sweep.first_ns, sweep.last_ns) == (expected[0], STAMP_NS)
        assert select_points(sweep, self.END).time_ns.tolist() == expected[1:]

    @pytest.mark.parametrize("last", [0.0, -0.001, 0.002])
    def test_negative_times_count_from_the_end_already(self, last):
        times = np.float32([-0.1, -0.05, last])
        sweep = decode_sweep(cloud_of(with_times("<f4", times, "time")), self.END)
        expected = [STAMP_NS + exact_ns(t) for t in times]
        assert (sweep.first_ns, sweep.last_ns) == (expected[0], expected[2])
        assert select_points(sweep, self.END).time_ns.tolist() == expected[1:]

    def test_times_of_points_that_are_not_usable_do_not_shift_the_others(self):
        points = with_times("<u4", [3, 10, 40, 100, 900], "t")
        points["x"][[0, 4]] = [0.0, np.nan]
        sweep = decode_sweep(cloud_of(points), self.END)
        assert (sweep.first_ns, sweep.last_ns) == (STAMP_NS - 90, STAMP_NS)
        assert select_points(sweep, self.END).time_ns.tolist() == [STAMP_NS - 90, STAMP_NS - 60, STAMP_NS]

    def test_absolute_times_are_what_they_are(self):
        times = [STAMP_NS - 10**8, STAMP_NS - 5 * 10**7, STAMP_NS]
        sweep = decode_sweep(cloud_of(with_times("<f8", times, "timestamp")), self.END)
        assert (sweep.first_ns, sweep.last_ns) == (int(np.float64(times[0])), int(np.float64(times[2])))


@pytest.mark.parametrize("unit_ns", [1, 1_000, 1_000_000, 1_000_000_000])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8"])
@pytest.mark.parametrize("largest_s", [0.1, 1_700_000_000.0])
def test_times_in_floats_are_rounded_once(dtype: str, unit_ns: int, largest_s: float) -> None:
    """Each time is the nanosecond next to its exact value; a half goes to the even one of its fraction."""
    rng = np.random.default_rng(5)
    largest = largest_s * 1e9 / unit_ns
    ties = np.arange(-40, 41) * 0.5
    times = np.concatenate([rng.uniform(-0.2 * largest, largest, 400), ties]).astype(dtype)
    expected = []
    for time in times.tolist():
        whole = math.floor(time)
        expected.append(whole * unit_ns + round((Fraction(time) - whole) * unit_ns))
    assert times_to_ns(times, unit_ns).tolist() == expected
