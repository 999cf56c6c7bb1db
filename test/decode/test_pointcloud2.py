# SPDX-License-Identifier: Apache-2.0
"""Clouds of any layout become columns, and those that contradict themselves are refused."""

from __future__ import annotations

import base64
import json
import pickle
import struct
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from points_in_a_row import LIDAR, XYZ, XYZI, points_of
from serialised import DATATYPES, STAMP_NS, Field, cloud_message, cloud_of

from nucleus_bridge.decode.pointcloud2 import PointField, decode_sweep, dtype_from_fields, has_points
from nucleus_bridge.decode.points import select_points
from nucleus_bridge.errors import CloudError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "pointcloud2.json").read_text())["cases"]
BARE = replace(LIDAR, intensity_field="", time_field="none")
STRUCT_CODES = {"i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "f4": "f", "f8": "d"}


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
            ({"width": 6}, "damaged", "data has 80 bytes"),
            ({"height": 2}, "damaged", "height 2 x row_step 80 = 160"),
            ({"row_step": 81, "height": 2}, "damaged", "row_step 81 = 162"),
            ({"point_step": 0, "row_step": 80}, "damaged", "point_step 0"),
            ({"point_step": 15, "row_step": 80}, "damaged", "'intensity'.*point_step 15"),
            ({"width": 2**32 - 1, "row_step": 80}, "damaged", "row_step 68719476720"),
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

    @pytest.mark.parametrize(
        ("width", "height", "row_step", "trailing"),
        [(5, 1, 0, 0), (5, 1, 79, 0), (5, 1, 81, 0), (5, 1, 48, 0), (1, 5, 80, 0), (5, 1, 80, 100), (1, 5, 16, 3)],
    )
    def test_whole_data_is_read_whatever_the_header_says_of_its_rows(self, width, height, row_step, trailing):
        data = self.GOOD.tobytes() + bytes(trailing)
        message = cloud_message([*fields_of_good()], data, width=width, height=height, point_step=16, row_step=row_step)
        assert decode_sweep(message, LIDAR).points.tobytes() == self.GOOD.tobytes()

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
