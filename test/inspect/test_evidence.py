# SPDX-License-Identifier: Apache-2.0
"""What is noted on the way is judged without alarms for what was left out of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drives import SHORT, make_drive

from nucleus_bridge.config import load_config
from nucleus_bridge.geometry import TransformTree
from nucleus_bridge.inspect.evidence import findings_of
from nucleus_bridge.model import Sweep
from nucleus_bridge.pipeline.evidence import MOST, Evidence
from nucleus_bridge.poses import Edge
from nucleus_bridge.warnings import Code

T0, STEP = 1_700_000_000_000_000_000, 17_000_000


def noted(tmp_path: Path, samples: int, aside_m: float = 0.0) -> set[Code]:
    config = load_config(make_drive(tmp_path, replace(SHORT, seconds=0.4, points=300, cameras=1)).config_path)
    evidence, tree = Evidence(), TransformTree()
    for number in range(samples):
        x, y = 0.2 * number, aside_m * (number % 2)
        edge = Edge(
            config.world_frame, config.device_frame, T0 + STEP * number, (x, y, 0.0), (0, 0, 0, 1), static=False
        )
        evidence.note_edge("/tf", edge, edge.stamp_ns + 2_000_000)
        tree.add(*edge)
    return {finding.code for finding in findings_of(evidence, config, tree)}


def test_a_long_consistent_drive_gives_no_warning(tmp_path: Path) -> None:
    assert noted(tmp_path, 4 * MOST) == set()


def test_two_answers_are_told(tmp_path: Path) -> None:
    assert Code.TF_CONFLICT in noted(tmp_path, 4 * MOST, aside_m=1.1)


def swept(
    tmp_path: Path, *, first_ms: float, span_ms: float, late_ms: float, period_ms: float = 100.0
) -> dict[Code, str]:
    """Judge sweeps: when their first point is from the stamp, how long they take, how late they are logged."""
    config = load_config(make_drive(tmp_path, replace(SHORT, seconds=0.4, points=300, cameras=1)).config_path)
    evidence, (lidar, *_) = Evidence(), config.lidars
    points = np.zeros(1, [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("t", "<f8")])
    for number in range(12):
        stamp_ns = T0 + round(number * period_ms * 1e6)
        first_ns = stamp_ns + round(first_ms * 1e6)
        sweep = Sweep(stamp_ns, "lidar", points, "t", first_ns, first_ns + round(span_ms * 1e6), 1, first_ms == 0)
        evidence.note_sweep(lidar.topic, sweep)
        evidence.note(lidar.topic, "sensor_msgs/msg/PointCloud2", stamp_ns, stamp_ns + round(late_ms * 1e6))
    return {finding.code: finding.remedy for finding in findings_of(evidence, config, TransformTree())}


def test_sweeps_logged_after_their_last_point_are_no_reason_to_warn(tmp_path: Path) -> None:
    assert swept(tmp_path, first_ms=0.0, span_ms=97.0, late_ms=104.0) == {}


def test_sweeps_logged_before_their_last_point_are_stamped_at_their_end(tmp_path: Path) -> None:
    assert swept(tmp_path, first_ms=0.0, span_ms=97.0, late_ms=6.0)[Code.STAMP_END].endswith(".stamp: end")


def test_point_times_of_another_clock_are_named(tmp_path: Path) -> None:
    found = swept(tmp_path, first_ms=-2400.0, span_ms=97.0, late_ms=104.0)
    assert found[Code.POINT_TIME_FAR].endswith(".time_field: none")


def test_sweeps_that_take_longer_than_they_are_apart_are_named(tmp_path: Path) -> None:
    found = swept(tmp_path, first_ms=0.0, span_ms=980.0, late_ms=1010.0)
    assert found[Code.POINT_TIME_SPAN].endswith(".time_field: none")


@pytest.mark.parametrize(
    ("type_name", "wanted"),
    [("ouster_sensor_msgs/msg/PacketMsg", set()), ("sensor_msgs/msg/PointCloud2", {Code.SENSOR_CLOCK})],
)
def test_stamps_that_were_not_set_are_named_where_a_type_has_stamps(
    tmp_path: Path, type_name: str, wanted: set[Code]
) -> None:
    config = load_config(make_drive(tmp_path, replace(SHORT, seconds=0.4, points=300, cameras=1)).config_path)
    evidence = Evidence()
    for number in range(9):
        evidence.note(config.lidars[0].topic, type_name, 0, T0 + STEP * number)
    assert {finding.code for finding in findings_of(evidence, config, TransformTree())} == wanted
