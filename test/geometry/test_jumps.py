# SPDX-License-Identifier: Apache-2.0
"""Jumps are told from motion, each once; on made-up drives whose jumps are known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from trees import LEVEL, MS, START_NS

from nucleus_bridge.errors import UnknownFrameError
from nucleus_bridge.geometry import TransformTree
from nucleus_bridge.geometry.edge import unexplained_steps


def drive(rate_hz, speed, jumps=(), samples=40):
    """Return a straight drive along x, with (sample, metres) jumps to the side that last."""
    stamps = np.arange(samples) * round(1e9 / rate_hz)
    positions = np.zeros((samples, 3))
    positions[:, 0] = speed * stamps * 1e-9
    for sample, metres in jumps:
        positions[sample:, 1] += metres
    return stamps, positions


def unexplained(stamps, positions):
    return unexplained_steps(stamps, positions, np.ones(len(stamps) - 1, dtype=bool))


@pytest.mark.parametrize(("rate_hz", "speed"), [(2, 30.0), (10, 15.0), (100, 60.0), (0.5, 40.0)])
def test_steady_motion_is_explained_from_the_first_pair_on(rate_hz, speed):
    assert unexplained(*drive(rate_hz, speed)).max() < 1e-9


def test_braking_is_explained():
    stamps = np.arange(40) * 100_000_000
    seconds = np.minimum(stamps * 1e-9, 3.0)
    positions = np.stack([30 * seconds - 5 * seconds**2, 0 * seconds, 0 * seconds], axis=-1)
    assert unexplained(stamps, positions).max() < 0.11  # 10 m/s^2 over 0.1 s intervals


def test_a_map_correction_has_its_size():
    steps = unexplained(*drive(1, 0.0, [(20, 10.0)]))
    assert np.flatnonzero(steps).tolist() == [19]
    assert steps[19] == 10.0


@pytest.mark.parametrize(("rate_hz", "speed"), [(10, 15.0), (2, 30.0), (1, 40.0)])
def test_a_jump_while_driving_is_reported_once(rate_hz, speed):
    steps = unexplained(*drive(rate_hz, speed, [(20, 10.0)]))
    assert steps[19] == pytest.approx(10.0, abs=1e-9)
    assert np.delete(steps, 19).max() < 1e-9


def test_two_jumps_are_two():
    steps = unexplained(*drive(10, 15.0, [(15, 10.0), (25, -8.0)]))
    assert np.flatnonzero(steps > 1.0).tolist() == [14, 24]
    assert steps[[14, 24]] == pytest.approx([10.0, 8.0], abs=1e-9)


def test_flipping_between_two_places_never_counts_as_motion():
    stamps, positions = drive(10, 0.0)
    positions[1::2, 1] = 10.0
    assert unexplained(stamps, positions)[3:].min() == 10.0


def test_two_poses_of_one_stamp_are_a_jump_and_no_velocity():
    stamps, positions = drive(10, 15.0)
    stamps = np.insert(stamps, 20, stamps[20])
    positions = np.insert(positions, 20, positions[20], axis=0)
    positions[21:, 1] += 7.0
    steps = unexplained(stamps, positions)
    assert np.flatnonzero(steps > 1e-6).tolist() == [20]
    assert steps[20] == pytest.approx(7.0)


def test_a_change_of_the_parent_frame_is_no_jump_and_starts_anew():
    stamps, positions = drive(10, 15.0)
    positions[20:] += 1000.0
    comparable = np.arange(len(stamps) - 1) != 19
    assert unexplained_steps(stamps, positions, comparable).max() < 1e-9


def test_the_largest_jump_of_the_way_counts():
    tree = TransformTree()
    tree.add("base_link", "lidar", 0, (1, 0, 2), LEVEL, static=True)
    for i in range(30):
        tree.add("map", "odom", START_NS + i * 1000 * MS, (0, 10 if i > 20 else 0, 0), LEVEL)
    for i in range(60):
        tree.add("odom", "base_link", START_NS + i * 500 * MS, (15 * i, 3 if i > 30 else 0, 0), LEVEL)
    end = START_NS + 30_000 * MS
    assert tree.largest_jump("map", "lidar", START_NS, end) == 10.0
    assert tree.largest_jump("odom", "lidar", START_NS, end) == pytest.approx(3.0)
    assert tree.largest_jump("map", "lidar", START_NS + 16_000 * MS, START_NS + 20_000 * MS) < 1e-9
    assert tree.largest_jump("base_link", "lidar", START_NS, end) == 0.0
    with pytest.raises(UnknownFrameError):
        tree.largest_jump("map", "radar", START_NS, end)


def test_a_jump_in_a_single_edge_at_15_m_a_second_is_found_once():
    tree = TransformTree()
    for i in range(100):
        x = 1.5 * i + (8 if i >= 50 else 0)
        tree.add("map", "base_link", START_NS + i * 100 * MS, (x, 0, 0), LEVEL)
    frames = [START_NS + i * 100 * MS for i in range(100)]
    jumps = [tree.largest_jump("map", "base_link", a, b) for a, b in itertools.pairwise(frames)]
    assert [i for i, jump in enumerate(jumps) if jump > 5.0] == [49]
    assert jumps[49] == pytest.approx(8.0)
