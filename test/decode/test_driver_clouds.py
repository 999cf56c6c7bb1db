# SPDX-License-Identifier: Apache-2.0
"""Clouds as drivers publish them: their layouts, point times and intensities, and real recordings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from points_in_a_row import LIDAR, exact_ns, points_of, with_times
from serialised import STAMP_NS, cloud_of, recorded

from nucleus_bridge.decode.pointcloud2 import decode_sweep, has_points
from nucleus_bridge.decode.points import select_points


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
