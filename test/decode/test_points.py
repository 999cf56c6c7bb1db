# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from serialised import STAMP_NS, cloud_of

from nucleus_bridge.config.settings import LidarConfig
from nucleus_bridge.decode.pointcloud2 import decode_sweep
from nucleus_bridge.decode.points import select_points
from nucleus_bridge.errors import CloudError

LIDAR = LidarConfig(name="top", topic="/lidar/points", min_range_m=2.0, max_range_m=100.0)
DTYPE = np.dtype([("x", "f4"), ("y", "f4"), ("z", "f4"), ("intensity", "f4"), ("t", "u4"), ("ground", "u1")])


def cloud(rows, config=LIDAR, dtype=DTYPE, **options):
    points = np.zeros(len(rows), dtype)
    for number, row in enumerate(rows):
        points[number] = tuple(row)
    return select_points(decode_sweep(cloud_of(points), config), config, **options)


def row(x=0.0, y=0.0, z=0.0, intensity=0.0, t=0, ground=0):
    return (x, y, z, intensity, t, ground)


def test_points_are_dropped_and_counted_by_cause():
    rows = [
        row(3.0, t=1),
        row(math.nan, 3.0, 0.0, t=2),
        row(3.0, math.inf, 0.0, t=3),
        row(0.0, 0.0, -math.inf, t=4),
        row(t=5),
        row(-0.0, 0.0, -0.0, t=6),
        row(0.0, 1.0, 0.0, t=7),
        row(0.0, 99.0, 99.0, t=8),
        row(1e30, 0.0, 0.0, t=9),
        row(0.0, -3.0, 4.0, t=10),
    ]
    kept = cloud(rows)
    assert kept.xyz.tolist() == [[3, 0, 0], [0, -3, 4]]
    assert kept.time_ns.tolist() == [STAMP_NS + 1, STAMP_NS + 10]
    assert kept.dropped == {"nan": 3, "zero": 2, "range": 3}


def test_range_limits_are_included():
    kept = cloud([row(2.0), row(0.0, 0.0, -100.0), row(1.9999), row(100.001)])
    assert kept.xyz.tolist() == [[2, 0, 0], [0, 0, -100]]


def test_without_limits_every_finite_point_stays():
    free = replace(LIDAR, min_range_m=0.0, max_range_m=math.inf)
    kept = cloud([row(1e-30), row(3e38, 3e38, 3e38), row(1e-45)], free)
    assert len(kept.xyz) == 3
    assert kept.dropped == {"nan": 0, "zero": 0, "range": 0}


def test_points_at_the_edge_of_a_block_are_kept():
    points = np.zeros(20_000, DTYPE)
    marked = [0, 8_191, 8_192, 16_383, 16_384, 19_999]
    points["x"][marked] = 5.0
    points["t"] = np.arange(20_000)
    kept = select_points(decode_sweep(cloud_of(points), LIDAR), LIDAR)
    assert (kept.time_ns - STAMP_NS).tolist() == marked


coordinate = st.floats(width=32) | st.sampled_from([0.0, -0.0, 1.0, 50.0])


@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8", "mixed"])
@settings(deadline=None)
@given(rows=st.lists(st.tuples(coordinate, coordinate, coordinate, st.floats(width=32)), min_size=1, max_size=30))
def test_selection_agrees_with_a_loop_over_the_points(kind, rows):
    for limit in (2.0, 100.0):
        assume(not any(math.isclose(math.hypot(*values[:3]), limit, rel_tol=1e-6) for values in rows))
    kinds = ["<f4", "<f8", "<f4"] if kind == "mixed" else [kind] * 3
    dtype = np.dtype([*zip("xyz", kinds, strict=True), ("intensity", kinds[0])])
    points = np.zeros(len(rows), dtype)
    for number, values in enumerate(rows):
        points[number] = values
    config = replace(LIDAR, intensity_max=10.0)
    kept = select_points(decode_sweep(cloud_of(points, is_bigendian=kind == ">f4"), config), config)

    xyz, intensity, dropped, clipped = [], [], {"nan": 0, "zero": 0, "range": 0}, 0
    for x, y, z, value in rows:
        distance = math.hypot(x, y, z)
        if not all(map(math.isfinite, (x, y, z))):
            dropped["nan"] += 1
        elif x == y == z == 0:
            dropped["zero"] += 1
        elif not 2.0 <= distance <= 100.0:
            dropped["range"] += 1
        else:
            xyz.append([x, y, z])
            clipped += not 0.0 <= value <= 10.0
            intensity.append(0.0 if math.isnan(value) else min(max(value / 10.0, 0.0), 1.0))
    assert kept.xyz.tolist() == xyz
    assert dict(kept.dropped) == dropped
    assert kept.clipped == clipped
    np.testing.assert_allclose(kept.intensity, intensity, rtol=1e-6, atol=1e-38)
    assert kept.xyz.dtype == (np.float64 if kind in ("<f8", "mixed") else np.float32)


def test_intensity_outside_its_scale_is_clipped_and_counted():
    values = [-1.0, -0.0, 127.5, 255.0, 255.1, math.inf, -math.inf, math.nan]
    kept = cloud([row(5.0, intensity=value) for value in values])
    assert not np.signbit(kept.intensity).any()
    assert kept.intensity.tolist() == [0.0, 0.0, 0.5, 1.0, 1.0, 1.0, 0.0, 0.0]
    assert kept.clipped == 5


def test_intensity_of_dropped_points_is_not_counted():
    assert cloud([row(5.0, intensity=1.0), row(0.0, intensity=999.0)]).clipped == 0


@pytest.mark.parametrize("kind", ["u1", "u2", "i2", "u4", "f4", "f8"])
def test_intensity_may_have_any_type(kind):
    dtype = np.dtype([("x", "f4"), ("y", "f4"), ("z", "f4"), ("intensity", kind)])
    kept = cloud([(5.0, 0.0, 0.0, 0), (5.0, 0.0, 0.0, 51), (5.0, 0.0, 0.0, 102)], dtype=dtype)
    np.testing.assert_allclose(kept.intensity, [0.0, 0.2, 0.4], rtol=1e-6)


def test_ground_points_are_marked():
    rows = [row(5.0, ground=0), row(0.0, ground=1), row(6.0, ground=1), row(7.0, ground=9)]
    assert cloud(rows, ground_field="ground").is_ground.tolist() == [False, True, True]
    assert cloud(rows).is_ground is None


def test_a_ground_value_of_nan_is_not_ground():
    dtype = np.dtype([("x", "f4"), ("y", "f4"), ("z", "f4"), ("intensity", "f4"), ("ground", "f4")])
    rows = [(5.0, 0.0, 0.0, 0.0, math.nan), (6.0, 0.0, 0.0, 0.0, 1.0)]
    assert cloud(rows, dtype=dtype, ground_field="ground").is_ground.tolist() == [False, True]


def test_a_ground_field_that_is_not_there_is_named():
    with pytest.raises(CloudError, match=r"lidar_top.*'label'.*x, y, z, intensity, t, ground") as caught:
        cloud([row(5.0)], ground_field="label")
    assert caught.value.cause == "missing_field"


@pytest.mark.parametrize("lost", [0, 1])
def test_each_coordinate_is_a_contiguous_column(lost):
    xyz = cloud([row(math.nan)] * lost + [row(5.0)] * (100 - lost)).xyz
    assert xyz.shape == (100 - lost, 3)
    assert all(xyz[:, axis].flags.c_contiguous for axis in range(3))


def test_a_signalling_nan_is_a_nan():
    points = np.ones(2, np.dtype([("x", "<f4"), ("y", "<f8"), ("z", "<f4"), ("intensity", "<f4")]))
    points["x"] = 5.0
    points["x"].view(np.uint32)[1] = 0x7F81_0000
    kept = select_points(decode_sweep(cloud_of(points), LIDAR), LIDAR)
    assert kept.dropped == {"nan": 1, "zero": 0, "range": 0}
