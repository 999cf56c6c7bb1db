# SPDX-License-Identifier: Apache-2.0
"""When each point was measured: which field says it, in which unit, and from when on it counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from points_in_a_row import LIDAR, exact_ns, with_times
from serialised import STAMP_NS, cloud_of

from nucleus_bridge.decode.point_time import FARTHEST_FROM_STAMP_NS
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
            ("<f4", [0, np.inf]),
            ("<f4", [np.nan, np.nan]),
            ("<f8", [0.0, 0.1]),
            ("<f8", [12_345.0, 12_345.1]),
            ("<f8", [STAMP_NS / 1e6, STAMP_NS / 1e6]),
            ("<f8", [-1e308, 1e308]),
            ("<f8", [STAMP_NS / 1e9, np.nan]),
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
    @given(st.lists(st.tuples(st.booleans(), st.integers(0, 2**32 - 1)), min_size=1, max_size=40))
    def test_first_and_last_are_those_of_the_usable_points(self, rows):
        points = with_times("<u4", [time for _, time in rows], "t")
        points["x"] = [float(is_usable) for is_usable, _ in rows]
        sweep = decode_sweep(cloud_of(points), LIDAR)
        used = [STAMP_NS + time for is_usable, time in rows if is_usable] or [STAMP_NS]
        assert (sweep.first_ns, sweep.last_ns) == (min(used), max(used))


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
