# SPDX-License-Identifier: Apache-2.0
"""Sources of poses are listed with what they are like and how far they are from each other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from drives import make_drive
from scipy.spatial.transform import Rotation

from nucleus_bridge.cli.main import main
from nucleus_bridge.geometry.agreement import agreement, level_agreement, top_speed, trajectory_of
from nucleus_bridge.model import Trajectory
from nucleus_bridge.testing.demo import DriveOptions, true_poses


def drive(count: int = 200, late_ns: int = 0) -> Trajectory:
    stamps = 10**18 + 50_000_000 * np.arange(count, dtype=np.int64) + late_ns
    t = (stamps - 10**18) / 1e9
    places = np.stack((10.0 * t, 5.0 * np.sin(t), 0.1 * t), axis=1)
    return Trajectory(stamps, places, Rotation.from_rotvec(np.outer(0.2 * t, (0.0, 0.0, 1.0))).as_quat())


def test_the_same_motion_in_another_frame_is_laid_over() -> None:
    one, turn = drive(), Rotation.from_euler("zyx", (2.0, 0.1, -0.05))
    other = drive(late_ns=7_000_000)
    moved = Trajectory(
        other.stamps_ns,
        turn.apply(other.translations) + np.array((100.0, -50.0, 3.0)),
        (turn * Rotation.from_quat(other.rotations_xyzw)).as_quat(),
    )
    found = agreement(one, moved, in_one_frame=False)
    assert found is not None
    assert found.is_aligned
    assert (found.largest_m, found.median_deg) == pytest.approx((0.0, 0.0), abs=0.01)
    apart = agreement(one, moved, in_one_frame=True)
    assert apart is not None
    assert apart.median_m > 20.0


def test_residuals_are_in_metres_and_degrees() -> None:
    one = drive()
    turned = (Rotation.from_quat(one.rotations_xyzw) * Rotation.from_euler("x", 3.0, degrees=True)).as_quat()
    found = agreement(
        one, Trajectory(one.stamps_ns, one.translations + np.array((0.3, 0.4, 0.0)), turned), in_one_frame=True
    )
    assert found is not None
    assert (found.median_m, found.largest_m, found.median_deg) == pytest.approx((0.5, 0.5, 3.0))


def test_from_above_heights_and_tilts_do_not_count() -> None:
    one = drive()
    tilt = Rotation.from_euler("zyx", (5.0, 0.0, 8.0), degrees=True)
    tilted = (Rotation.from_quat(one.rotations_xyzw) * tilt).as_quat()
    other = Trajectory(one.stamps_ns, one.translations * (1.0, 1.0, 40.0), tilted)
    found = level_agreement(one, other)
    assert found is not None
    assert found.largest_m < 0.001
    assert found.median_deg == pytest.approx(5.0, abs=0.2)


def test_inspect_compares_the_moving_edge_with_the_fixes_and_their_course(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drive = make_drive(tmp_path, DriveOptions(seconds=10.0, points=200, cameras=0))
    assert main(["inspect", str(drive.bag), "--json"]) == 0
    sources = {source["child"]: source for source in json.loads(capsys.readouterr().out)["pose_sources"]}
    median_m, _, median_deg, is_aligned = sources["base_link"]["agrees"]["/gnss/fix"]
    assert is_aligned
    assert median_m < 0.3  # odometry that is corrected by steps of up to 0.3 m
    assert median_deg < 5.0
    assert "/gnss/fix" not in sources["odom"]["agrees"]
    assert main(["inspect", str(drive.bag)]) == 0
    assert "from /gnss/fix" in capsys.readouterr().out


def test_what_has_no_moment_in_common_is_not_compared() -> None:
    assert agreement(drive(), drive(late_ns=10**12), in_one_frame=True) is None


def test_speed_and_order_of_what_was_published() -> None:
    one = drive()
    order = np.random.default_rng(1).permutation(200)
    rotations = 3.0 * one.rotations_xyzw[order]
    rotations[5] = 0.0
    made = trajectory_of(one.stamps_ns[order], one.translations[order], rotations)
    assert len(made.stamps_ns) == 199
    assert (np.diff(made.stamps_ns) > 0).all()
    assert top_speed(made) == pytest.approx(11.1, abs=0.2)


@pytest.mark.parametrize("poses", [1, 2, 5])
def test_a_trajectory_of_less_than_half_a_second_has_the_speed_of_all_of_it(poses: int) -> None:
    """A recording of five sweeps stood still, by the table of inspect, that went at 8 m/s."""
    stamps = 10**18 + 100_000_000 * np.arange(poses)
    places = np.stack([0.8 * np.arange(poses), np.zeros(poses), np.zeros(poses)], axis=1)
    made = trajectory_of(stamps, places, np.tile([0.0, 0.0, 0.0, 1.0], (poses, 1)))
    assert top_speed(made) == pytest.approx(8.0 if poses > 1 else 0.0)


def test_inspect_lists_every_source(real_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = real_data / "inputs" / "made" / "pose_topics"
    assert main(["inspect", str(bag), "--json"]) == 0
    sources = {source["topic"]: source for source in json.loads(capsys.readouterr().out)["pose_sources"]}
    assert sources["/odom"]["child"] == "base_link"
    assert sources["/odom"]["rate_hz"] == pytest.approx(100.0)
    assert sources.keys() == {
        *("/odom", "/path", "/vicon/vehicle", "/localization/pose", "/localization/pose_with_covariance")
    }
    assert sources["/localization/pose"]["agrees"]["/odom"][1] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("stretched", [1.0, 1.2])
def test_a_file_of_poses_is_compared_with_the_recordings_where_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], stretched: float
) -> None:
    options = DriveOptions(seconds=10.0, points=200, cameras=0)
    drive = make_drive(tmp_path, options)
    stamps_ns = options.start_ns + np.arange(0, 10 * 10**9, 10**8)
    true, turn = true_poses(options, stamps_ns), Rotation.from_euler("z", 1.0)
    places = turn.apply(stretched * true.translation) + np.array([30.0, -4.0, 1.0])
    turns = (turn * Rotation.from_matrix(true.matrix)).as_quat()
    file = tmp_path / "slam.tum"
    rows = zip(stamps_ns.tolist(), np.concatenate([places, turns], axis=1).tolist(), strict=True)
    file.write_text("".join(f"{ns / 1e9:.9f} {' '.join(map(str, pose))}\n" for ns, pose in rows))
    assert main(["inspect", str(drive.bag), "--json", "--trajectory", str(file)]) == 0
    sources = json.loads(capsys.readouterr().out)["pose_sources"]
    (found,) = [source for source in sources if source["topic"] == str(file)]
    assert found["poses"] == 100
    median_m, _, median_deg, is_aligned = found["agrees"]["/gnss/fix"]
    assert is_aligned
    assert (median_m < 0.05) is (stretched == 1.0)
    assert median_deg < 5.0
    assert main(["inspect", str(drive.bag), "--trajectory", str(drive.config_path)]) == 2
    assert "holds no row of numbers" in capsys.readouterr().err
