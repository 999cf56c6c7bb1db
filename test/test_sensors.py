# SPDX-License-Identifier: Apache-2.0
"""Lidars through the whole converter at full speed: where poles stand, in every driver's layout."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bags import TYPES
from moments import FAST_S, FAST_TURN_S, RING_S, Cloud, Moments, clouds_of, record

from nucleus_bridge.convert import ConversionReport
from nucleus_bridge.testing.demo import DriveOptions

DRIVERS = ("velodyne", "ouster", "hesai", "robosense", "livox", "autoware")
SECONDS = 12.0
POLE_INTENSITY = 220 / 255
CLOUD = "sensor_msgs/msg/PointCloud2"


def options(**changes: Any) -> DriveOptions:
    return DriveOptions(**{"seconds": SECONDS, "points": 12_000, "cameras": 0, "standing_s": 0.0, **changes})


@pytest.fixture(scope="module")
def velodyne(tmp_path_factory: pytest.TempPathFactory) -> Moments:
    return record(tmp_path_factory.mktemp("velodyne"), options(), (FAST_TURN_S, FAST_S))


@pytest.fixture(scope="module")
def deskewed(velodyne: Moments) -> ConversionReport:
    return velodyne.convert("deskewed")


def pole_errors(truth: dict[str, Any], clouds: list[Cloud]) -> np.ndarray:
    """Return how far points are from the side of the nearest pole; poles are told by their intensity."""
    poles = np.array([[pole["x"], pole["y"], pole["radius"]] for pole in truth["poles"]])
    errors = []
    for cloud in clouds:
        on_pole = (np.abs(cloud.column("i") - POLE_INTENSITY) < 0.001) & (cloud.xyz[:, 2] > 0.3)
        east, north = (cloud.xyz[on_pole, axis, None] - poles[:, axis] for axis in (0, 1))
        errors.append(np.abs(np.hypot(east, north) - poles[:, 2]).min(axis=1))
    return np.concatenate(errors)


def test_the_moments_are_as_fast_as_they_say_and_the_map_is_corrected_during_sweeps(velodyne: Moments) -> None:
    sweeps = velodyne.truth["lidars"]["top"]["sweeps"]
    poses = [(s["stamp_ns"] / 1e9, s["map_from_base_link"]["translation"], s["bearing"]) for s in sweeps]
    speeds = [np.hypot(*np.subtract(b[1], a[1])[:2]) / (b[0] - a[0]) for a, b in itertools.pairwise(poses)]
    turns = [abs((b[2] - a[2] + 180) % 360 - 180) / (b[0] - a[0]) for a, b in itertools.pairwise(poses)]
    assert max(speeds[int(10 * FAST_S[0]) : int(10 * FAST_S[1])]) > 14.9
    assert max(turns[int(10 * FAST_TURN_S[0]) : int(10 * FAST_TURN_S[1])]) > 29.5
    corrections = map_corrections(velodyne)
    for first, last in (FAST_TURN_S, FAST_S):
        assert max(step for seconds, step in corrections if first < seconds < last) > 0.02


def map_corrections(drive: Moments) -> list[tuple[float, float]]:
    """Return by how much map -> odom moved up to each of its stamps, in seconds from the start."""
    from rosbags.rosbag2 import Reader

    rows = []
    with Reader(drive.bag) as reader:
        for connection, _, data in reader.messages([c for c in reader.connections if c.topic == "/tf"]):
            for stamped in TYPES.deserialize_cdr(data, connection.msgtype).transforms:
                if stamped.child_frame_id == "odom":
                    stamp_ns = stamped.header.stamp.sec * 10**9 + stamped.header.stamp.nanosec
                    t = stamped.transform.translation
                    rows.append(((stamp_ns - drive.options.start_ns) / 1e9, np.array([t.x, t.y, t.z])))
    return [(b[0], float(np.linalg.norm(b[1] - a[1]))) for a, b in itertools.pairwise(rows) if b[0] - a[0] < 0.15]


def speed_and_turn(drive: Moments, moment: tuple[float, float]) -> tuple[float, float]:
    """Return the least speed (m/s) and the least turn (degrees a second) of the device within a moment."""
    sweeps = drive.truth["lidars"]["top"]["sweeps"][int(10 * moment[0]) : int(10 * moment[1]) + 1]
    poses = [(s["stamp_ns"] / 1e9, s["map_from_base_link"]["translation"], s["bearing"]) for s in sweeps]
    pairs = list(itertools.pairwise(poses))
    speed = min(np.hypot(*np.subtract(b[1], a[1])[:2]) / (b[0] - a[0]) for a, b in pairs)
    return speed, min(abs((b[2] - a[2] + 180) % 360 - 180) / (b[0] - a[0]) for a, b in pairs)


@pytest.mark.parametrize("driver", DRIVERS)
def test_every_drivers_points_stand_where_the_poles_stand(driver: str, tmp_path: Path) -> None:
    """At 15 m/s and 30 degrees a second; without deskewing the same points are off by more than half a metre."""
    drive = record(tmp_path, options(driver=driver, course="ring"), (RING_S,))
    speed, turn = speed_and_turn(drive, RING_S)
    assert speed > 14.9
    assert turn > 29.5
    assert max(step for seconds, step in map_corrections(drive) if RING_S[0] < seconds < RING_S[1]) > 0.02
    report = drive.convert("deskewed")
    assert report.complete
    errors = pole_errors(drive.truth, clouds_of(report))
    skewed = pole_errors(drive.truth, clouds_of(drive.convert("skewed", "deskew=false")))
    assert len(errors) > 500
    assert np.percentile(errors, 99) < 0.02
    assert np.percentile(skewed, 99) > 0.5
    assert np.median(skewed) > 0.1
    assert [scene.manifest.sensors["top"]["deskewed"] for scene in report.scenes] == [True] * len(report.scenes)


def test_three_lidars_agree_on_where_the_poles_stand(tmp_path: Path) -> None:
    drive = record(tmp_path, options(lidars=3, points=8_000, course="ring"), (RING_S,))
    report = drive.convert("deskewed", "point_fields=[intensity, device]")
    assert report.complete
    clouds = clouds_of(report)
    assert {cloud.sensor for cloud in clouds} == {"lidar"}
    for device in range(3):
        ours = [_of_device(cloud, device) for cloud in clouds]
        errors = pole_errors(drive.truth, ours)
        assert len(errors) > 100
        assert np.percentile(errors, 99) < 0.02, device
    skewed = pole_errors(drive.truth, clouds_of(drive.convert("skewed", "deskew=false")))
    assert np.percentile(skewed, 99) > 0.5


def _of_device(cloud: Cloud, device: int) -> Cloud:
    mine = cloud.column("d") == device
    document = {"points": [point for point, is_mine in zip(cloud.document["points"], mine, strict=True) if is_mine]}
    return Cloud(cloud.sensor, document, cloud.xyz[mine], cloud.offset)


@pytest.mark.parametrize("times", ["from_start", "before_stamp"])
def test_a_stamp_that_marks_the_end_of_the_sweep_gives_the_same_points(
    velodyne: Moments, deskewed: ConversionReport, tmp_path: Path, times: str
) -> None:
    def stamped_at_the_end(topic: str, stamp_ns: int, data: bytes) -> bytes:
        if topic != "/lidar/top/points":
            return data
        cloud = TYPES.deserialize_cdr(data, CLOUD)
        points = cloud.data.reshape(-1, cloud.point_step).copy()
        seconds = points[:, 18:22].copy().view("<f4")
        duration = float(seconds.max())
        if times == "before_stamp":
            points[:, 18:22] = (seconds - np.float32(duration)).astype("<f4").view(np.uint8)
        cloud.data = points.reshape(-1)
        end_ns = stamp_ns + round(duration * 1e9)
        cloud.header.stamp.sec, cloud.header.stamp.nanosec = divmod(end_ns, 10**9)
        return bytes(TYPES.serialize_cdr(cloud, CLOUD))

    drive = record(tmp_path, velodyne.options, (FAST_TURN_S, FAST_S), stamped_at_the_end)
    ended = clouds_of(drive.convert("end", "lidars.top.stamp=end"))
    started = clouds_of(deskewed)
    assert len(ended) == len(started)
    for one, other in zip(ended, started, strict=True):
        assert np.abs(one.xyz - other.xyz).max() < 0.0021  # two roundings to a millimetre
        assert abs(one.document["timestamp"] - other.document["timestamp"]) < 1000  # float32 seconds
    if times == "from_start":  # negative times count from the stamp, whichever end it marks
        wrong = pole_errors(drive.truth, clouds_of(drive.convert("start")))
        assert np.percentile(wrong, 99) > 0.5


def test_points_without_time_are_moved_by_one_pose_and_the_manifest_says_so(velodyne: Moments) -> None:
    untimed = velodyne.convert("untimed", "lidars.top.time_field=none")
    skewed = velodyne.convert("skewed", "deskew=false")
    for one, other in zip(clouds_of(untimed), clouds_of(skewed), strict=True):
        assert np.array_equal(one.xyz, other.xyz)
    for scene in untimed.scenes:
        assert scene.manifest.sensors["top"]["deskewed"] is False
        assert scene.manifest.sensors["top"]["time_field"] is None
