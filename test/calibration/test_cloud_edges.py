# SPDX-License-Identifier: Apache-2.0
"""Edges of clouds against the world that the rays were cast into: a box before a far wall, on flat ground."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nucleus_bridge.calibration.cloud_edges import CloudEdges, cloud_edges
from nucleus_bridge.model import FloatArray

UP = np.array([0.0, 0.0, 1.0])
EYE_M = 1.8
BOX_M, SIDE_M, TOP_M = 11.0, 2.0, 2.6  # how far ahead, half its width, how high
WALL_M = 30.0
STEP_DEG, RINGS_DEG = 0.2, 0.5


def swept(*, wall: bool = True, box: bool = True) -> FloatArray:
    """Cast the rays of a lidar at the origin; what hits nothing is not there."""
    azimuth, elevation = np.meshgrid(
        np.radians(np.arange(-60, 60, STEP_DEG)), np.radians(np.arange(-20, 10, RINGS_DEG))
    )
    azimuth, elevation = azimuth.ravel(), elevation.ravel()
    rays = np.stack(
        [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)], axis=1
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        ranges = np.where(rays[:, 2] < 0, -EYE_M / rays[:, 2], np.inf)
        if wall:
            ranges = np.minimum(ranges, WALL_M / rays[:, 0])
        if box:
            there = BOX_M / rays[:, 0]
            hit = there[:, None] * rays
            on_box = (np.abs(hit[:, 1]) < SIDE_M) & (hit[:, 2] < TOP_M - EYE_M) & (there < ranges)
            ranges = np.where(on_box, there, ranges)
    return rays[np.isfinite(ranges)] * ranges[np.isfinite(ranges)][:, None]


def angles(edges: CloudEdges) -> tuple[FloatArray, FloatArray]:
    x, y, z = edges.points.T
    return np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y)))


def test_a_box_has_its_two_sides_its_top_and_its_foot() -> None:
    points = swept()
    edges = cloud_edges(points, UP)
    near = edges.points[:, 0] < 15.0
    box = CloudEdges(edges.points[near], edges.across[near], edges.apart[near], edges.numbers[near])
    azimuth, elevation = angles(box)
    is_level = (np.abs(box.across[:, 2]) < 0.1) & (elevation < 3.5)  # higher up, rings cross the top as well
    side = np.degrees(np.arctan2(SIDE_M, BOX_M))
    assert np.abs(np.abs(azimuth[is_level]) - side).max() < STEP_DEG
    assert {-1.0, 1.0} == set(np.sign(azimuth[is_level]))
    assert (np.sign(box.across[is_level, 1]) == np.sign(azimuth[is_level])).all()  # away from the box
    foot = (np.abs(box.across[:, 2]) > 0.9) & (elevation < 0)
    assert np.abs(box.points[foot, 2] + EYE_M).max() < 0.02
    assert np.abs(box.points[foot, 0] - BOX_M).max() < 0.05
    top = (np.abs(box.across[:, 2]) > 0.9) & (elevation >= 0)
    expected = np.degrees(np.arctan2(TOP_M - EYE_M, np.hypot(BOX_M, box.points[top, 1])))
    assert np.abs(elevation[top] - expected).max() < RINGS_DEG
    assert min(is_level.sum(), foot.sum(), top.sum()) > 20
    assert np.abs(points[box.numbers, 0] - BOX_M).max() < 1e-6  # the points on the near side are the box's own
    apart = np.degrees(box.apart)
    assert apart[is_level] == pytest.approx(STEP_DEG, abs=0.01)
    assert apart[top] == pytest.approx(RINGS_DEG, abs=0.02)
    assert not apart[foot].any()


def test_what_was_filtered_out_does_not_shift_the_numbers_of_points() -> None:
    points = swept()
    with_gaps = np.concatenate([np.full((7, 3), np.nan), np.zeros((5, 3)), points])
    assert (cloud_edges(with_gaps, UP).numbers == cloud_edges(points, UP).numbers + 12).all()


def test_a_little_beyond_an_edge_is_away_from_what_it_belongs_to() -> None:
    edges = cloud_edges(swept(), UP)
    beyond = edges.points + 0.01 * np.linalg.norm(edges.points, axis=1, keepdims=True) * edges.across
    sides = (edges.points[:, 0] < 15.0) & (np.abs(edges.across[:, 2]) < 0.1)
    assert (np.abs(beyond[sides, 1]) > np.abs(edges.points[sides, 1])).all()
    ways = np.linalg.norm(beyond - edges.points, axis=1) / np.linalg.norm(edges.points, axis=1)
    assert ways == pytest.approx(0.01, rel=1e-3)


def test_bare_ground_and_a_wall_alone_have_no_edge_above_the_foot() -> None:
    assert len(cloud_edges(swept(wall=False, box=False), UP)) == 0
    wall = cloud_edges(swept(box=False), UP)
    assert np.abs(wall.points[:, 2] + EYE_M).max(initial=0.0) < 0.05


@pytest.mark.parametrize("turn_deg", [0.0, 8.0])
def test_a_tilted_lidar_sees_the_same_edges(turn_deg: float) -> None:
    angle = np.radians(turn_deg)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    edges = cloud_edges(swept() @ turn, UP @ turn)
    azimuth, _ = angles(replace(edges, points=edges.points @ turn.T))
    is_level = np.abs((edges.across @ turn.T)[:, 1]) > 0.9
    assert np.median(np.abs(np.abs(azimuth[is_level]) - np.degrees(np.arctan2(SIDE_M, BOX_M)))) < 0.3


def test_what_is_not_finite_or_too_little_has_no_edges() -> None:
    broken = swept()
    broken[::3] = np.nan
    assert np.isfinite(cloud_edges(broken, UP).points).all()
    assert len(cloud_edges(np.zeros((10, 3)), UP)) == 0
