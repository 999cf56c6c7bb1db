# SPDX-License-Identifier: Apache-2.0
"""Sharpness of clouds: against walls and poles whose thickness is known, and by what is wrong with times and poses."""

from __future__ import annotations

import numpy as np
import pytest
from drives import Drive, make_drive

from nucleus_bridge.config import load_config
from nucleus_bridge.convert import convert_bag
from nucleus_bridge.formats.reading import open_scene
from nucleus_bridge.geometry.sharpness import Sharpness, blurs, moved_to_own_time, sharpness
from nucleus_bridge.model import Trajectory
from nucleus_bridge.preview.deskewed import DeskewCheck
from nucleus_bridge.testing.demo import DriveOptions

RNG = np.random.default_rng(4)


def wall(offset: float, noise: float, count: int = 4000) -> np.ndarray:
    """A wall of 20 m by 3 m that faces along x, ``offset`` from where it is."""
    x = 7.4 + offset + noise * RNG.standard_normal(count)
    return np.stack([x, RNG.uniform(0, 20, count), RNG.uniform(0, 3, count)], axis=1)


def poles(offset: float, radius: float) -> np.ndarray:
    angle, place = RNG.uniform(-np.pi / 2, np.pi / 2, 3000), RNG.integers(0, 8, 3000)
    x, y = place * 3 + 0.5 + offset + radius * np.sin(angle), 40.5 + radius * np.cos(angle)
    return np.stack([x, y, RNG.uniform(0, 3, 3000)], axis=1)


@pytest.mark.parametrize(("shift", "noise"), [(0.0, 0.01), (0.0, 0.03), (0.05, 0.01), (0.15, 0.02)])
def test_a_wall_is_as_thick_as_noise_and_misplacement_make_it(shift: float, noise: float) -> None:
    offsets = shift * np.array([-1.0, 0.0, 1.0, 0.5, -0.5])
    found = sharpness([wall(offset, noise) for offset in offsets])
    assert found.walls_m == pytest.approx(np.hypot(noise, offsets.std()), rel=0.05)
    assert found.walls == 60
    assert (found.poles, found.poles_m) == (0, None)


def test_a_pole_is_as_thick_as_it_is() -> None:
    offsets = np.array([-0.1, 0.0, 0.1])
    right, wrong = sharpness([poles(0, 0.1)] * 3), sharpness([poles(offset, 0.1) for offset in offsets])
    assert right.poles_m == pytest.approx(0.1 / np.sqrt(2), rel=0.1)
    assert wrong.poles_m == pytest.approx(np.hypot(0.1 / np.sqrt(2), offsets.std()), rel=0.1)


def test_the_ground_and_single_sweeps_say_nothing() -> None:
    ground = RNG.uniform(0, 30, (20_000, 3)) * [1, 1, 0]
    assert sharpness([ground] * 4) == Sharpness(None, None, 0, 0)
    assert sharpness([wall(0, 0.01)] * 2) == Sharpness(None, None, 0, 0)
    assert sharpness([]) == sharpness([np.full((9, 3), np.nan)]) == Sharpness(None, None, 0, 0)


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Drive:
    options = DriveOptions(seconds=2.5, points=20_000, cameras=0, standing_s=0.0, course="ring")
    drive = make_drive(tmp_path_factory.mktemp("moving"), options)
    text = drive.config_path.read_text()
    drive.config_path.write_text(text.replace("point_fields: [intensity]", "point_fields: [intensity, time]"))
    return drive


@pytest.mark.parametrize("deskew", ["true", "false"])
def test_deskewing_makes_a_moving_scene_sharp_whichever_way_it_was_written(
    moving: Drive, deskew: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("deskew")
    config = folder / "c.yaml"
    config.write_text(moving.config_path.read_text().replace("deskew: true", f"deskew: {deskew}"))
    scene = open_scene(convert_bag(moving.bag, load_config(config), folder / "spool").scenes[0].folder)
    check = DeskewCheck(scene)
    for index in range(len(scene)):
        check.add(scene.frame(index), measured=index % 2 == 0)
    found = check.results()
    assert found.deskewed.walls_m < 0.02
    assert found.as_measured.walls_m > 3 * found.deskewed.walls_m
    assert (found.blurs, found.why) == (False, "")


def test_point_times_that_run_backwards_are_seen(moving: Drive, tmp_path_factory: pytest.TempPathFactory) -> None:
    scene = open_scene(convert_bag(moving.bag, moving.config, tmp_path_factory.mktemp("b") / "spool").scenes[0].folder)
    frames = [scene.frame(index) for index in range(len(scene))]
    poses = Trajectory(
        np.array([frame.timestamp_ns for frame in frames]),
        np.array([frame.position for frame in frames]),
        np.array([frame.heading_xyzw for frame in frames]),
    )
    right, measured, wrong = [], [], []
    for frame, following in zip(frames[:-1:2], frames[1::2], strict=False):
        times, start, end = frame.points.time_ns, frame.timestamp_ns, following.timestamp_ns
        kept = (times >= start) & (times <= end)
        points, times = np.asarray(frame.points.xyz, np.float64)[kept], times[kept]
        raw = moved_to_own_time(points, times, start, poses, back=True)
        assert np.abs(moved_to_own_time(raw, times, start, poses, back=False) - points).max() < 1e-6
        right.append(points)
        measured.append(raw)
        wrong.append(moved_to_own_time(raw, start + end - times, start, poses, back=False))
    sharp, skewed, twisted = sharpness(right), sharpness(measured), sharpness(wrong)
    assert sharp.walls_m < skewed.walls_m / 3
    assert twisted.walls_m > 3 * sharp.walls_m
    assert not blurs(sharp, skewed)
    assert blurs(skewed, sharp)


def test_without_point_times_or_motion_it_says_why(moving: Drive, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("plain")
    config = folder / "c.yaml"
    config.write_text(moving.config_path.read_text().replace("[intensity, time]", "[intensity]"))
    scene = open_scene(convert_bag(moving.bag, load_config(config), folder / "spool").scenes[0].folder)
    check = DeskewCheck(scene)
    for index in range(len(scene)):
        check.add(scene.frame(index), measured=True)
    found = check.results()
    assert (found.as_measured, found.why) == (None, "the scene has no point times (point_fields: time)")
    assert found.deskewed.walls_m < 0.02
    few = DeskewCheck(scene)
    few.add(scene.frame(0), measured=True)
    assert few.results().why == "there is 1 sweep to compare, which is too few"
