# SPDX-License-Identifier: Apache-2.0
"""Laser scanners: each ray at its angle and its time, and what is not a return left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from serialised import STAMP_NS, header, make, serialise

from nucleus_bridge.config.settings import LidarConfig
from nucleus_bridge.decode.laser_scan import INTERFACES, LASER_SCAN, MULTI_ECHO_LASER_SCAN
from nucleus_bridge.decode.points import select_points
from nucleus_bridge.errors import CloudError, DecodeError
from nucleus_bridge.model import Message, Sweep

LIDAR = LidarConfig(name="front", topic="/scan")


def scan(ranges: Any = (2.0, 4.0, 6.0), intensities: Any = (10.0, 20.0, 30.0), **changes: Any) -> Message:
    values = {
        "header": header(STAMP_NS, "laser"),
        "angle_min": -np.pi / 2,
        "angle_max": np.pi / 2,
        "angle_increment": np.pi / 2,
        "time_increment": 0.01,
        "scan_time": 0.1,
        "range_min": 0.1,
        "range_max": 30.0,
        "ranges": np.array(ranges, np.float32),
        "intensities": np.array(intensities, np.float32),
        **changes,
    }
    return serialise(make(LASER_SCAN, **values), "/scan")


def multi_scan(ranges: list[list[float]], intensities: list[list[float]]) -> Message:
    echoes = [
        [make("sensor_msgs/msg/LaserEcho", echoes=np.array(ray, np.float32)) for ray in rays]
        for rays in (ranges, intensities)
    ]
    content = make(
        MULTI_ECHO_LASER_SCAN,
        header=header(STAMP_NS, "laser"),
        angle_min=0.0,
        angle_max=1.0,
        angle_increment=0.5,
        time_increment=0.01,
        scan_time=0.1,
        range_min=0.1,
        range_max=30.0,
        ranges=echoes[0],
        intensities=echoes[1],
    )
    return serialise(content, "/scan")


def decode(message: Message, config: LidarConfig = LIDAR) -> Sweep:
    interface = next(entry for entry in INTERFACES if entry.type_name == message.type_name)
    (sweep,) = interface.decoder(config).decode(message)
    assert isinstance(sweep, Sweep)
    return sweep


def test_rays_lie_at_their_angles_in_one_ring_and_have_their_times() -> None:
    sweep = decode(scan())
    cloud = select_points(sweep, LIDAR)
    assert np.allclose(cloud.xyz, [[0, -2, 0], [4, 0, 0], [0, 6, 0]], atol=1e-6)
    assert (sweep.stamp_ns, sweep.frame_id, sweep.first_ns, sweep.last_ns) == (
        STAMP_NS,
        "laser",
        STAMP_NS,
        STAMP_NS + 20_000_000,
    )
    assert cloud.time_ns is not None
    assert (cloud.time_ns - STAMP_NS).tolist() == [0, 10_000_000, 20_000_000]
    assert cloud.intensity is not None
    assert np.allclose(cloud.intensity * 255, [10, 20, 30])


def test_what_is_no_return_is_left_out_and_keeps_no_place() -> None:
    sweep = decode(scan(ranges=(np.nan, 4.0, np.inf), intensities=()))
    assert sweep.points["x"].tolist() == [4.0]
    assert (sweep.points["t"] == 10_000_000).all()
    assert decode(scan(ranges=(0.05, 4.0, 31.0))).points["intensity"].tolist() == [20.0]


def test_a_scan_without_intensities_or_times_has_none() -> None:
    sweep = decode(scan(intensities=(), time_increment=0.0))
    assert (sweep.time_field, len(sweep.points)) == (None, 3)


def test_clockwise_scans_turn_the_other_way() -> None:
    sweep = decode(scan(angle_min=np.pi / 2, angle_increment=-np.pi / 2))
    assert np.allclose(sweep.points["y"], [2, 0, -6], atol=1e-6)


def test_every_echo_is_a_point_at_the_time_of_its_ray() -> None:
    sweep = decode(multi_scan([[1.0, 2.0], [], [3.0]], [[5.0, 6.0], [], [7.0]]))
    assert np.allclose(np.hypot(sweep.points["x"], sweep.points["y"]), [1, 2, 3])
    assert sweep.points["echo"].tolist() == [0, 1, 0]
    assert sweep.points["intensity"].tolist() == [5, 6, 7]
    assert sweep.points["t"].tolist() == [0, 0, 20_000_000]


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        (scan(ranges=(np.inf, np.nan, 0.0)), "empty_cloud"),
        (scan(ranges=(), intensities=()), "empty_cloud"),
        (scan(intensities=(1.0,)), "damaged"),
        (scan(angle_increment=np.nan), "damaged"),
        (scan(time_increment=5.0), "damaged"),
        (multi_scan([[1.0], [2.0]], [[1.0], [2.0, 3.0]]), "damaged"),
    ],
)
def test_scans_that_cannot_be_used_say_why(message: Message, cause: str) -> None:
    with pytest.raises(CloudError) as caught:
        decode(message)
    assert caught.value.cause == cause


def test_a_cut_scan_is_refused_at_every_length() -> None:
    for message in (scan(), multi_scan([[1.0, 2.0], [3.0]], [[1.0, 2.0], [3.0]])):
        for length in range(len(message.data)):
            with pytest.raises(DecodeError):
                decode(Message(message.topic, message.type_name, 0, message.data[:length]))
