# SPDX-License-Identifier: Apache-2.0
"""Point cloud JSON: every digit against Python's own arithmetic, every byte legal JSON."""

from __future__ import annotations

import hashlib
import json
import math
from decimal import ROUND_HALF_EVEN, Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleus_bridge.errors import CloudError, CoordinateRangeError, InvalidTransformError
from nucleus_bridge.formats import point_json
from nucleus_bridge.formats.point_json import encode_cloud, encode_points
from nucleus_bridge.model import GpsPose

SWEEP_NS = 1_700_000_000_123_456_789
INT64_MAX = 2**63 - 1


def thousandths_text(value):
    """Write what Python's integers and half-to-even ``round`` make of a value."""
    thousandths = round(float(value) * 1000)
    sign = "-" if thousandths < 0 else ""
    return f"{sign}{abs(thousandths) // 1000}.{abs(thousandths) % 1000:03d}"


def expected_text(xyz, *, intensity=None, device=None, time_ns=None, is_ground=None):
    """Write the array point by point, without padding."""
    points = []
    for k, point in enumerate(xyz):
        fields = [f'"{axis}":{thousandths_text(value)}' for axis, value in zip("xyz", point, strict=True)]
        if intensity is not None:
            fields.append(f'"i":{thousandths_text(intensity[k])}')
        if device is not None:
            fields.append(f'"d":{device if np.ndim(device) == 0 else device[k]}')
        if time_ns is not None:
            fields.append(f'"t":{time_ns[k]}')
        if is_ground is not None:
            fields.append(f'"is_ground":{"true" if is_ground[k] else "false"}')
        points.append("{" + ",".join(fields) + "}")
    return "[" + ",".join(points) + "]"


def assert_exact(xyz, **columns):
    written = bytes(encode_points(xyz, **columns))
    assert written.decode("ascii").replace(" ", "") == expected_text(xyz, **columns)
    parsed = json.loads(written)  # spaces are only where JSON allows them
    assert [[point["x"], point["y"], point["z"]] for point in parsed] == [
        [round(float(value) * 1000) / 1000 for value in point] for point in xyz
    ]
    return written


def random_cloud(count, *, spread=40.0, seed=0):
    random = np.random.default_rng(seed)
    return random.normal(0, spread, (count, 3))


def random_columns(count, seed=0):
    random = np.random.default_rng(seed)
    return {
        "intensity": random.random(count).astype(np.float32),
        "device": random.integers(0, 256, count).astype(np.uint8),
        "time_ns": SWEEP_NS + np.sort(random.integers(0, 10**8, count)),
        "is_ground": random.random(count) < 0.4,
    }


SIZES = st.sampled_from([1e-3, 1.0, 9.9999, 99.9999, 150.0, 1e3, 1e4, 99_999.9999])
COORDINATES = SIZES.flatmap(lambda size: st.floats(-size, size))
TIMES = st.one_of(st.integers(0, INT64_MAX), st.integers(SWEEP_NS, SWEEP_NS + 2 * 10**9), st.integers(0, 2 * 10**9))


@st.composite
def clouds(draw):
    count = draw(st.integers(1, 12))

    def column(values, dtype):
        return np.array(draw(st.lists(values, min_size=count, max_size=count)), dtype)

    xyz = np.stack([column(COORDINATES, np.float64) for _ in "xyz"], axis=1)
    columns = {}
    if draw(st.booleans()):
        columns["intensity"] = column(st.floats(0, 1, width=32), np.float32)
    device = draw(st.sampled_from(["none", "one", "column"]))
    if device == "one":
        columns["device"] = draw(st.integers(0, 255))
    elif device == "column":
        columns["device"] = column(st.integers(0, draw(st.sampled_from([1, 9, 10, 255]))), np.uint8)
    if draw(st.booleans()):
        columns["time_ns"] = column(TIMES, np.int64)
    if draw(st.booleans()):
        columns["is_ground"] = column(st.booleans(), np.bool_)
    return xyz, columns


@settings(max_examples=300, deadline=None)
@given(clouds())
def test_any_cloud_is_written_as_python_would(cloud):
    xyz, columns = cloud
    assert_exact(xyz, **columns)


@settings(max_examples=200, deadline=None)
@given(st.lists(COORDINATES, min_size=3, max_size=3))
def test_written_coordinate_is_within_half_a_millimetre(point):
    parsed = json.loads(bytes(encode_points(np.array([point]))), parse_float=Decimal)
    for axis, value in zip("xyz", point, strict=True):
        assert abs(parsed[0][axis] - Decimal(value)) <= Decimal("0.0005000001")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20))
def test_intensity_is_the_exact_value_rounded_half_to_even(values):
    written = encode_points(np.zeros((len(values), 3)), intensity=np.array(values, np.float32))
    parsed = json.loads(bytes(written), parse_float=Decimal)
    exact = [Decimal(value).quantize(Decimal("0.001"), ROUND_HALF_EVEN) for value in values]
    assert [point["i"] for point in parsed] == exact


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.000"),
        (-0.0, "0.000"),
        (-0.0004, "0.000"),
        (-0.0006, "-0.001"),
        (0.0005, "0.000"),
        (0.0015, "0.002"),
        (-0.0005, "0.000"),
        (-0.0015, "-0.002"),
        (-0.999, "-0.999"),
        (-1.0, "-1.000"),
        (9.9996, "10.000"),
        (99.9994, "99.999"),
        (99.9996, "100.000"),
        (-99.9994, "-99.999"),
        (-99.9996, "-100.000"),
        (-100.0, "-100.000"),
        (-100.001, "-100.001"),
        (999.9999, "1000.000"),
        (99_999.999, "99999.999"),
        (-99_999.999, "-99999.999"),
        (math.nextafter(1e5, 0), "100000.000"),
        (math.nextafter(-1e5, 0), "-100000.000"),
    ],
)
@pytest.mark.parametrize("neighbour", [0.0, -0.25, 1234.5, -54_321.125])
def test_edge_values(value, text, neighbour):
    xyz = np.array([[value, neighbour, value], [neighbour, value, neighbour]])
    points = json.loads(bytes(encode_points(xyz)), parse_float=str)
    assert (points[0]["x"], points[0]["z"], points[1]["y"]) == (text, text, text)
    assert_exact(xyz)


def test_every_millimetre_below_100_m():
    millimetres = np.arange(-99_999, 100_000)
    xyz = np.stack([millimetres, -millimetres, np.zeros_like(millimetres)], axis=1) / 1000
    written = bytes(encode_points(xyz)).replace(b" ", b"").decode()
    assert written == expected_text(xyz)


def test_every_metre_below_100_km():
    metres = np.arange(-99_999, 100_000)
    xyz = np.stack([metres + 0.25, -metres - 0.999, np.copysign(0.125, metres)], axis=1)
    written = bytes(encode_points(xyz[1:])).replace(b" ", b"").decode()
    assert written == expected_text(xyz[1:])


@pytest.mark.parametrize("count", [1, 2, 255, 256, 257, 1023, 1024, 1025, 8191, 8192, 8193, 16_384, 16_385])
def test_counts_around_internal_boundaries(count):
    assert_exact(random_cloud(count), **random_columns(count))
    assert_exact(random_cloud(count, spread=4000.0), **random_columns(count))


@pytest.mark.parametrize("block_points", [1, 2, 7, 100, 999])
def test_bytes_do_not_depend_on_the_block_size(block_points, monkeypatch):
    xyz, columns = random_cloud(1000), random_columns(1000)
    written = bytes(encode_points(xyz, **columns))
    monkeypatch.setattr(point_json, "_BLOCK_POINTS", block_points)
    assert bytes(encode_points(xyz, **columns)) == written


def test_padding_is_no_wider_than_the_widest_number():
    written = bytes(encode_points(random_cloud(1000, spread=300.0), device=np.arange(1000, dtype=np.uint8) % 11))
    for key in (b"x", b"y", b"z", b"d"):
        assert b'"%s": ' % key in written
        assert any(text[:1] != b" " for text in written.split(b'"%s":' % key)[1:])


def test_documented_example_is_written_to_the_byte():
    written = encode_points(
        np.array([[1.234, -0.5, 0.0], [-12.5, 3.25, 0.75]]),
        intensity=np.array([0.125, 1.0], np.float32),
        device=0,
        time_ns=np.array([1_700_000_000_000_000_000, 1_700_000_000_050_000_001]),
        is_ground=np.array([True, False]),
    )
    assert bytes(written) == (
        b'[{"x":  1.234,"y":-0.500,"z":0.000,"i":0.125,"d":0,"t":1700000000000000000,"is_ground": true},'
        b'{"x":-12.500,"y": 3.250,"z":0.750,"i":1.000,"d":0,"t":1700000000050000001,"is_ground":false}]'
    )


def test_no_points():
    assert bytes(encode_points(np.empty((0, 3)))) == b"[]"
    assert bytes(encode_points(np.empty((0, 3)), **random_columns(0))) == b"[]"


@pytest.mark.parametrize(
    "time_ns",
    [
        [0],
        [0, 1, 999_999_999],
        [999_999_999, 1_000_000_000],
        [5, 5],
        [9_999_999_999, 10_000_000_000],
        [1_000_000_000, 1_000_000_001, 1_999_999_999],
        [SWEEP_NS, SWEEP_NS, SWEEP_NS],
        [1_700_000_000_999_999_999, 1_700_000_001_000_000_000, 1_700_000_001_099_999_999],
        [1_699_999_999_950_000_000, 1_700_000_000_050_000_000],
        [1_700_000_000_000_000_000, 1_700_000_001_999_999_999],
        [1_700_000_000_000_000_000, 1_700_000_002_147_483_648, 1_700_000_002_999_999_999],
        [1_700_000_000_000_000_000, 1_700_000_002_000_000_000, 1_700_000_004_294_967_296],
        [0, 7, 1_700_000_000_000_000_000, INT64_MAX],
        [INT64_MAX - 1, INT64_MAX],
    ],
)
def test_times_of_any_size_and_spread(time_ns):
    assert_exact(np.zeros((len(time_ns), 3)), time_ns=np.array(time_ns, np.int64))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e5, -1e5, 1e300])
@pytest.mark.parametrize("at", [0, 300, 999])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_unwritable_coordinate_is_named(value, at, axis):
    xyz = random_cloud(1000)
    xyz[at, axis] = value
    with pytest.raises(CoordinateRangeError, match=f"^{'xyz'[axis]} of point {at} is "):
        encode_points(xyz)


@pytest.mark.parametrize("value", [-0.001, 1.001, math.nan, math.inf])
def test_intensity_outside_0_to_1_is_refused(value):
    intensity = np.array([0.5, value, 0.5], np.float32)
    with pytest.raises(CloudError, match="expected 0 to 1") as caught:
        encode_points(np.zeros((3, 3)), intensity=intensity)
    assert caught.value.cause == "intensity"


@pytest.mark.parametrize("device", [-1, 256, np.array([0, 256]), np.array([-1, 0])])
def test_device_outside_a_byte_is_refused(device):
    with pytest.raises(CloudError, match="expected 0 to 255"):
        encode_points(np.zeros((2, 3)), device=device)


def test_negative_time_is_refused():
    with pytest.raises(CloudError, match="-1 ns"):
        encode_points(np.zeros((2, 3)), time_ns=np.array([-1, SWEEP_NS]))


@pytest.mark.parametrize("name", ["intensity", "device", "time_ns", "is_ground"])
def test_column_of_another_length_is_refused(name):
    with pytest.raises(CloudError, match=rf"^{name} has the shape \(4,\) for 3 points"):
        encode_points(np.zeros((3, 3)), **{name: random_columns(4)[name]})


@pytest.mark.parametrize("shape", [(3,), (2, 4), (1, 2, 3)])
def test_points_of_another_shape_are_refused(shape):
    with pytest.raises(CloudError, match="expected \\(n, 3\\)"):
        encode_points(np.zeros(shape))


def test_single_precision_is_written_as_its_double_precision_value():
    xyz = random_cloud(3000, spread=200.0).astype(np.float32)
    assert assert_exact(xyz) == bytes(encode_points(xyz.astype(np.float64)))


def test_memory_layout_does_not_matter():
    count = 2000
    xyz, columns = random_cloud(count), random_columns(count)
    written = bytes(encode_points(xyz, **columns))
    packed = np.zeros(count, [("flag", "u1"), *((name, column.dtype) for name, column in columns.items())])
    for name, column in columns.items():
        packed[name] = column
    views = {name: packed[name] for name in columns}
    wide = np.zeros((2 * count, 5))
    wide[::2, 1:4] = xyz
    assert bytes(encode_points(wide[::2, 1:4], **views)) == written
    assert bytes(encode_points(np.asfortranarray(xyz), **views)) == written
    backwards = {name: column[::-1] for name, column in columns.items()}
    assert_exact(xyz[::-1], **backwards)


def test_inputs_are_not_changed_and_bytes_repeat():
    xyz, columns = random_cloud(5000), random_columns(5000)
    copies = xyz.copy(), {name: column.copy() for name, column in columns.items()}
    first, second = encode_points(xyz, **columns), encode_points(xyz, **columns)
    assert first == second
    np.testing.assert_array_equal(xyz, copies[0])
    for name, column in columns.items():
        np.testing.assert_array_equal(column, copies[1][name])


def test_result_is_written_and_hashed_without_a_copy(tmp_path):
    written = encode_points(random_cloud(100))
    assert written.readonly
    assert written.contiguous
    (tmp_path / "cloud.json").write_bytes(written)
    assert hashlib.sha256(written).digest() == hashlib.sha256((tmp_path / "cloud.json").read_bytes()).digest()


def pose(**changes):
    usual = {
        "device_position": np.array([1.0000004, -2.5, 3.0]),
        "device_heading_xyzw": np.array([0.0, 0.0, 0.6, 0.8]),
        "gps": GpsPose(latitude=48.1234567891, longitude=-11.5, bearing=359.1234567),
        "timestamp_ns": SWEEP_NS,
    }
    return {**usual, **changes}


def test_document_holds_points_and_pose_in_order():
    points = encode_points(random_cloud(10))
    document = json.loads(b"".join(encode_cloud(points, **pose())))
    assert document == {
        "points": json.loads(bytes(points)),
        "device_position": {"x": 1.0, "y": -2.5, "z": 3.0},
        "device_heading": {"x": 0.0, "y": 0.0, "z": 0.6, "w": 0.8},
        "device_gps_pose": {"lat": 48.123456789, "lon": -11.5, "bearing": 359.123457},
        "timestamp": SWEEP_NS,
    }
    assert list(document) == ["points", "device_position", "device_heading", "device_gps_pose", "timestamp"]
    assert list(document["device_heading"]) == ["x", "y", "z", "w"]


def test_document_without_points_and_gps():
    document = json.loads(b"".join(encode_cloud(encode_points(np.empty((0, 3))), **pose(gps=None))))
    assert document["points"] == []
    assert list(document) == ["points", "device_position", "device_heading", "timestamp"]


def test_document_does_not_copy_the_points():
    points = encode_points(random_cloud(10))
    assert any(piece is points for piece in encode_cloud(points, **pose()))


def test_pose_has_no_negative_zero():
    tiny = -1e-12
    pieces = encode_cloud(
        b"[]",
        **pose(
            device_position=np.full(3, tiny),
            device_heading_xyzw=np.array([tiny, -0.0, tiny, 1.0]),
            gps=GpsPose(latitude=tiny, longitude=-0.0, bearing=tiny),
        ),
    )
    assert b"-0" not in b"".join(pieces)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"device_position": np.array([math.nan, 0, 0])}, "device_position"),
        ({"device_heading_xyzw": np.array([0, 0, math.inf, 0])}, "device_heading"),
        ({"gps": GpsPose(latitude=math.nan, longitude=0.0, bearing=0.0)}, "device_gps_pose"),
    ],
)
def test_pose_that_json_cannot_hold_is_refused(changes, name):
    with pytest.raises(InvalidTransformError, match=f"^{name} is "):
        encode_cloud(b"[]", **pose(**changes))
