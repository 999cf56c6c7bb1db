# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import json
import pickle
import struct
import tracemalloc
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serialised import (
    DATATYPES,
    STAMP_NS,
    Field,
    cloud_message,
    cloud_of,
    recorded,
)

from nucleus_bridge.config.settings import LidarConfig
from nucleus_bridge.decode.point_time import FARTHEST_FROM_STAMP_NS
from nucleus_bridge.decode.pointcloud2 import PointField, decode_sweep, dtype_from_fields, has_points
from nucleus_bridge.decode.points import select_points
from nucleus_bridge.errors import CloudError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "pointcloud2.json").read_text())["cases"]
LIDAR = LidarConfig(name="top", topic="/lidar/points")
BARE = replace(LIDAR, intensity_field="", time_field="none")

XYZ = [("x", "<f4"), ("y", "<f4"), ("z", "<f4")]
XYZI = [*XYZ, ("intensity", "<f4")]
STRUCT_CODES = {"i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "f4": "f", "f8": "d"}


def points_of(dtype, n: int = 5):
    """Points in a row along x, 1 m apart."""
    points = np.zeros(n, dtype)
    points["x"] = np.arange(1, n + 1)
    return points


def with_times(kind: str, times, name: str):
    points = points_of(np.dtype([*XYZI, (name, kind)]), len(times))
    points[name] = times
    return points


def field(name: str = "x", offset: int = 0, datatype: int = 7, count: int = 1) -> PointField:
    return PointField(name, offset, datatype, count)


class TestLayout:
    @pytest.mark.parametrize("case", VECTORS, ids=lambda case: case["name"])
    def test_columns_are_those_sensor_msgs_py_reads(self, case):
        kinds = {number: kind for kind, number in DATATYPES.items()}
        message = cloud_message(
            [Field(f["name"], f["offset"], kinds[f["datatype"]], f["count"]) for f in case["fields"]],
            base64.b64decode(case["data_base64"]),
            **{key: case[key] for key in ("width", "height", "point_step", "row_step", "is_bigendian")},
        )
        if case["width"] == 0:
            with pytest.raises(CloudError) as caught:
                decode_sweep(message, BARE)
            assert caught.value.cause == "empty_cloud"
            return
        points = decode_sweep(message, BARE).points
        assert list(points.dtype.names) == list(case["columns"])
        for name, expected in case["columns"].items():
            column = [None if np.isnan(value) else value for value in points[name].tolist()]
            assert column == expected

    def test_the_rule_is_that_of_sensor_msgs_py(self):
        theirs = pytest.importorskip("sensor_msgs_py.point_cloud2", reason="needs a ROS 2 installation")
        messages = pytest.importorskip("sensor_msgs.msg")
        for case in VECTORS:
            fields = [messages.PointField(**f) for f in case["fields"]]
            assert dtype_from_fields(fields, case["point_step"], False) == theirs.dtype_from_fields(
                fields, case["point_step"]
            )

    def test_fields_without_a_name_are_numbered_and_elements_get_a_suffix(self):
        dtype = dtype_from_fields([field("x"), field("", 4), field("", 8, 1, 2), field("n", 10, 3, 2)], 16, False)
        assert dtype.names == ("x", "unnamed_field_1", "unnamed_field_2_0", "unnamed_field_2_1", "n_0", "n_1")
        assert dtype.fields["n_1"] == (np.dtype("<i2"), 12)
        assert dtype.itemsize == 16

    @pytest.mark.parametrize(
        ("fields", "expected"),
        [
            ([field(), field()], "two fields are named 'x'"),
            ([field("x", 0, 2, 2), field("x_1", 4)], "two fields are named 'x_1'"),
            ([field(datatype=9)], "unknown datatype 9"),
            ([field(datatype=0)], "unknown datatype 0"),
            ([field(count=0)], "0 x float32"),
            ([field(offset=13)], "at byte 13"),
            ([field(count=2**32 - 1)], "4294967295 x float32"),
            ([field(offset=2**32 - 1)], "not inside point_step 16"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_fields_that_make_no_sense_are_named(self, fields, expected):
        with pytest.raises(CloudError, match=expected):
            dtype_from_fields(fields, 16, False)

    def test_points_of_absurd_size_are_refused(self):
        with pytest.raises(CloudError, match="point_step is 4294967295"):
            dtype_from_fields([field(count=10**9)], 2**32 - 1, False)
        with pytest.raises(CloudError, match="more than 1024 columns"):
            dtype_from_fields([field(datatype=1, count=60_000)], 60_000, False)


@st.composite
def clouds(draw):
    """A cloud of any layout, packed value by value, and its columns."""
    extras = draw(st.lists(st.tuples(st.sampled_from(list(STRUCT_CODES)), st.integers(1, 3)), max_size=5))
    kind = draw(st.sampled_from(["f4", "f8"]))
    wanted = [(name, draw(st.just(kind) | st.sampled_from(["f4", "f8"])), 1) for name in "xyz"]
    wanted += [(f"extra{number}", kind, elements) for number, (kind, elements) in enumerate(extras)]
    fields, end = [], 0
    for name, kind, elements in draw(st.permutations(wanted)):
        offset = end + draw(st.integers(0, 5))
        fields.append(Field(name, offset, kind, elements))
        end = offset + elements * int(kind[1])
    fields = draw(st.permutations(fields))
    step = end + draw(st.integers(0, 9))
    width, height = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    row_step = width * step + draw(st.sampled_from([0, 0, 1, 13]))
    big = draw(st.booleans())
    data = bytearray(draw(st.binary(min_size=height * row_step, max_size=height * row_step)))
    columns = {}
    for f in fields:
        for element in range(f.elements):
            values = []
            for row in range(height):
                for column in range(width):
                    at = row * row_step + column * step + f.offset + element * int(f.kind[1])
                    values.append(struct.unpack_from((">" if big else "<") + STRUCT_CODES[f.kind], data, at)[0])
            columns[f.name if f.elements == 1 else f"{f.name}_{element}"] = values
    message = cloud_message(
        fields,
        bytes(data),
        width=width,
        height=height,
        point_step=step,
        row_step=row_step,
        is_bigendian=big,
        little_endian=draw(st.booleans()),
    )
    return message, columns


def same_numbers(column, expected) -> bool:
    return np.array_equal(column, np.array(expected, column.dtype), equal_nan=column.dtype.kind == "f")


class TestAnyLayout:
    @settings(deadline=None)
    @given(clouds())
    def test_every_column_arrives(self, cloud):
        message, columns = cloud
        sweep = decode_sweep(message, BARE)
        assert set(sweep.points.dtype.names) == set(columns)
        for name, expected in columns.items():
            assert same_numbers(sweep.points[name], expected)

    @settings(deadline=None)
    @given(clouds())
    def test_a_sweep_survives_the_way_to_another_process(self, cloud):
        sweep = decode_sweep(cloud[0], BARE)
        sent = pickle.dumps(sweep, protocol=5)
        assert len(sent) < len(cloud[0].data) + 2_000
        arrived = pickle.loads(sent)
        assert arrived.points.dtype == sweep.points.dtype
        assert arrived.points.tobytes() == sweep.points.tobytes()
        assert (arrived.stamp_ns, arrived.frame_id) == (STAMP_NS, "lidar_top")

    @settings(deadline=None)
    @given(clouds(), st.floats(0, 50), st.floats(0, 1e30))
    def test_points_are_found_exactly_when_some_are_selected(self, cloud, nearest, farthest):
        config = replace(BARE, min_range_m=nearest, max_range_m=farthest)
        sweep = decode_sweep(cloud[0], config)
        assert has_points(sweep, config) == bool(len(select_points(sweep, config).xyz))


def test_points_are_found_in_the_last_block_of_a_large_cloud():
    points = np.zeros(50_000, np.dtype(XYZ))
    assert not has_points(decode_sweep(cloud_of(points), BARE), BARE)
    points["y"][-1] = 3.0
    sweep = decode_sweep(cloud_of(points), BARE)
    assert has_points(sweep, BARE)
    assert not has_points(sweep, replace(BARE, min_range_m=4.0))


def test_points_are_a_view_of_the_message():
    message = cloud_of(points_of(np.dtype(XYZ), 100))
    assert np.shares_memory(decode_sweep(message, BARE).points, np.frombuffer(message.data, np.uint8))


def test_a_leading_slash_of_the_frame_id_is_dropped():
    assert decode_sweep(cloud_of(points_of(np.dtype(XYZ)), frame_id="/os1_lidar"), BARE).frame_id == "os1_lidar"


# Layouts of the drivers: fields with offsets, point_step, and what the time field means.
def layout(step: int, **fields: tuple[str, int]):
    return np.dtype(
        {
            "names": list(fields),
            "formats": [f"<{kind}" for kind, _ in fields.values()],
            "offsets": [offset for _, offset in fields.values()],
            "itemsize": step,
        }
    )


F4 = {"x": ("f4", 0), "y": ("f4", 4), "z": ("f4", 8)}
VELODYNE = layout(22, **F4, intensity=("f4", 12), ring=("u2", 16), time=("f4", 18))
OUSTER = layout(
    48,
    **F4,
    intensity=("f4", 16),
    t=("u4", 20),
    reflectivity=("u2", 24),
    ring=("u1", 26),
    ambient=("u2", 28),
    range=("u4", 32),
)
HESAI = layout(48, **F4, intensity=("f4", 16), timestamp=("f8", 24), ring=("u2", 32))
ROBOSENSE = layout(32, **F4, intensity=("f4", 12), ring=("u2", 16), timestamp=("f8", 18))
LIVOX = layout(26, **F4, intensity=("f4", 12), tag=("u1", 16), line=("u1", 17), timestamp=("f8", 18))
AUTOWARE = layout(
    32,
    **F4,
    intensity=("u1", 12),
    return_type=("u1", 13),
    channel=("u2", 14),
    azimuth=("f4", 16),
    elevation=("f4", 20),
    distance=("f4", 24),
    time_stamp=("u4", 28),
)
CARLA = layout(16, **F4, intensity=("f4", 12))
NUSCENES = layout(20, **F4, intensity=("f4", 12), ring=("f4", 16))

OFFSETS_NS = [0, 33_333_000, 50_000_000, 99_900_000]


def exact_ns(number) -> int:
    """Nanoseconds of float seconds, in exact arithmetic."""
    return round(Fraction(float(number)) * 10**9)


class TestDrivers:
    @pytest.mark.parametrize(
        ("dtype", "height", "field_name", "values", "relative", "exact"),
        [
            (VELODYNE, 1, "time", np.float32([0, 0.033333, 0.05, 0.0999]), True, exact_ns),
            (VELODYNE, 1, "time", np.float32([-0.0999, -0.05, -0.033333, 0]), True, exact_ns),
            (OUSTER, 2, "t", np.uint32(OFFSETS_NS), True, int),
            (HESAI, 1, "timestamp", np.float64([(STAMP_NS + o) / 1e9 for o in OFFSETS_NS]), False, exact_ns),
            (ROBOSENSE, 2, "timestamp", np.float64([(STAMP_NS + o) / 1e9 for o in OFFSETS_NS]), False, exact_ns),
            (LIVOX, 1, "timestamp", np.float64([STAMP_NS + o for o in OFFSETS_NS]), False, int),
            (AUTOWARE, 1, "time_stamp", np.uint32(OFFSETS_NS), True, int),
        ],
        ids=["velodyne", "velodyne before the stamp", "ouster", "hesai", "robosense", "livox", "autoware"],
    )
    def test_point_times_are_found_by_name_and_type(self, dtype, height, field_name, values, relative, exact):
        points = points_of(dtype, 4)
        points[field_name] = values
        sweep = decode_sweep(cloud_of(points, height=height), LIDAR)
        expected = [exact(value) + (STAMP_NS if relative else 0) for value in values]
        assert sweep.time_field == field_name
        assert sweep.time_is_relative == relative
        assert (sweep.first_ns, sweep.last_ns) == (expected[0], expected[-1])
        assert select_points(sweep, LIDAR).time_ns.tolist() == expected

    @pytest.mark.parametrize("dtype", [CARLA, NUSCENES], ids=["carla", "nuscenes"])
    def test_clouds_without_times_are_of_one_moment(self, dtype):
        sweep = decode_sweep(cloud_of(points_of(dtype)), LIDAR)
        assert sweep.time_field is None
        assert sweep.first_ns == sweep.last_ns == STAMP_NS
        assert select_points(sweep, LIDAR).time_ns is None

    @pytest.mark.parametrize(
        ("dtype", "config", "raw", "expected"),
        [
            (VELODYNE, LIDAR, [0, 51, 255, 128], [0, 0.2, 1, 128 / 255]),
            (OUSTER, replace(LIDAR, intensity_max=2000.0), [0, 500, 2000, 65_535], [0, 0.25, 1, 1]),
            (OUSTER, replace(LIDAR, intensity_field="reflectivity"), [0, 51, 255, 128], [0, 0.2, 1, 128 / 255]),
            (AUTOWARE, LIDAR, [0, 51, 255, 128], [0, 0.2, 1, 128 / 255]),
            (CARLA, replace(LIDAR, intensity_max=1.0), [0, 0.2, 1, 0.5], [0, 0.2, 1, 0.5]),
        ],
        ids=["velodyne", "ouster photons", "ouster reflectivity", "autoware", "carla"],
    )
    def test_intensity_is_scaled_to_one(self, dtype, config, raw, expected):
        points = points_of(dtype, 4)
        points[config.intensity_field] = raw
        cloud = select_points(decode_sweep(cloud_of(points), config), config)
        assert cloud.intensity.dtype == np.float32
        np.testing.assert_allclose(cloud.intensity, expected, rtol=1e-6)

    def test_absolute_seconds_keep_what_a_float64_resolves(self):
        seconds = np.float64(STAMP_NS / 1e9) + np.arange(1000) * 2.0**-22  # one unit in the last place: 238 ns
        points = with_times("<f8", seconds, "timestamp")
        sweep = decode_sweep(cloud_of(points), LIDAR)
        times = select_points(sweep, LIDAR).time_ns
        assert times.tolist() == [exact_ns(s) for s in seconds]
        assert (sweep.first_ns, sweep.last_ns) == (times[0], times[-1])


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


class TestRefusals:
    GOOD = points_of(np.dtype(XYZI))

    @pytest.mark.parametrize(
        ("changes", "cause", "expected"),
        [
            ({"stamp_ns": 0}, "zero_stamp", "header.stamp is 0.000000000"),
            ({"stamp_ns": -1}, "zero_stamp", "header.stamp is -0.000000001"),
            ({"frame_id": ""}, "empty_frame_id", "header.frame_id is empty"),
            ({"frame_id": "/"}, "empty_frame_id", "header.frame_id is empty"),
            ({"width": 0}, "empty_cloud", "no points"),
            ({"height": 0}, "empty_cloud", "no points"),
            ({"width": 4}, "damaged", "data has 80 bytes"),
            ({"width": 6}, "damaged", "data has 80 bytes"),
            ({"height": 2}, "damaged", "height 2 x row_step 80 = 160"),
            ({"row_step": 79}, "damaged", "row_step 79 holds less than 5 points"),
            ({"row_step": 81}, "damaged", "row_step 81 = 81"),
            ({"point_step": 0, "row_step": 80}, "damaged", "point_step 0"),
            ({"point_step": 15, "row_step": 80}, "damaged", "'intensity'.*point_step 15"),
            ({"width": 2**32 - 1, "row_step": 80}, "damaged", "holds less than 4294967295 points"),
            ({"width": 1, "row_step": 16, "height": 2**32 - 1}, "damaged", "height 4294967295"),
        ],
    )
    def test_contradictions_are_named(self, changes, cause, expected):
        options = {"width": 5, "point_step": 16, **changes}
        message = cloud_message([*fields_of_good()], self.GOOD.tobytes(), **options)
        with pytest.raises(CloudError, match=expected) as caught:
            decode_sweep(message, LIDAR)
        assert caught.value.cause == cause
        assert "sensor_msgs/msg/PointCloud2 on /lidar/points" in str(caught.value)

    def test_claims_of_billions_of_points_take_no_memory(self):
        claims = [
            {"width": 2**32 - 1, "point_step": 1, "row_step": 2**32 - 1},
            {"width": 65_536, "height": 65_536, "point_step": 16},
            {"width": 5, "height": 2**32 - 1, "point_step": 0, "row_step": 0},
        ]
        messages = [cloud_message(fields_of_good(), self.GOOD.tobytes(), **claim) for claim in claims]
        tracemalloc.start()
        for message in messages:
            with pytest.raises(CloudError):
                decode_sweep(message, LIDAR)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 200_000

    @pytest.mark.parametrize("missing", ["x", "y", "z", "intensity"])
    def test_a_missing_field_is_named_with_those_that_are_there(self, missing):
        dtype = np.dtype([column for column in XYZI if column[0] != missing])
        there = ", ".join(dtype.names)
        with pytest.raises(CloudError, match=f"no field '{missing}'; fields are {there}") as caught:
            decode_sweep(cloud_of(np.ones(3, dtype)), LIDAR)
        assert caught.value.cause == "missing_field"

    def test_no_intensity_is_needed_where_none_is_configured(self):
        sweep = decode_sweep(cloud_of(points_of(np.dtype(XYZ))), replace(LIDAR, intensity_field=""))
        assert select_points(sweep, replace(LIDAR, intensity_field="")).intensity is None

    @pytest.mark.parametrize("kind", ["<i4", "<u2"])
    def test_coordinates_must_be_floats(self, kind):
        points = np.ones(3, np.dtype([("x", kind), *XYZI[1:]]))
        with pytest.raises(CloudError, match=r"field 'x' is u?int.*expected float32 or float64"):
            decode_sweep(cloud_of(points), LIDAR)


def fields_of_good():
    return [Field(name, 4 * index, "f4") for index, name in enumerate(("x", "y", "z", "intensity"))]


class TestRecordings:
    def test_ouster_clouds_with_two_thirds_zeros(self):
        config = replace(LIDAR, intensity_max=2000.0)
        messages = list(recorded("ouster_os1", "sensor_msgs/msg/PointCloud2"))
        assert len(messages) == 2
        for message in messages:
            sweep = decode_sweep(message, config)
            assert has_points(sweep, config)
            assert len(sweep.points) == 64 * 2048
            assert sweep.time_field == "t"
            assert sweep.time_unit_ns == 1.0
            at_origin = (sweep.points["x"] == 0) & (sweep.points["y"] == 0) & (sweep.points["z"] == 0)
            assert 0.6 < at_origin.mean() < 0.7
            times = sweep.points["t"][~at_origin].astype(np.int64)
            assert sweep.first_ns == sweep.stamp_ns + times.min()
            assert sweep.last_ns == sweep.stamp_ns + times.max()
            assert 0.04e9 < sweep.last_ns - sweep.first_ns < 0.11e9
            cloud = select_points(sweep, config)
            assert len(cloud.xyz) == np.count_nonzero(~at_origin)
            assert cloud.dropped == {"nan": 0, "zero": np.count_nonzero(at_origin), "range": 0}

    def test_scale_sample_clouds_without_times(self):
        messages = list(recorded("scale_sample", "sensor_msgs/msg/PointCloud2"))
        assert len(messages) == 5
        for message in messages:
            sweep = decode_sweep(message, LIDAR)
            cloud = select_points(sweep, LIDAR)
            assert sweep.time_field is None
            assert 157_000 <= len(sweep.points) <= 170_000
            assert len(cloud.xyz) + sum(cloud.dropped.values()) == len(sweep.points)
            assert 0.0 < cloud.intensity.mean() < 1.0
