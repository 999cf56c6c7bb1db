# SPDX-License-Identifier: Apache-2.0
"""What /tf and /tf_static say, interpolated and chained by the test's own formulas, is the true pose."""

from __future__ import annotations

import numpy as np
import pytest

from nucleus_bridge.testing.demo import DriveOptions, true_poses, write_demo_drive

LIDARLESS = {"cameras": 0, "points": 100}


def edge(drive, parent, child, topic="/tf"):
    found = []
    for logged in drive.on(topic):
        for transform in logged.message.transforms:
            if (transform.header.frame_id, transform.child_frame_id) == (parent, child):
                stamp = transform.header.stamp
                move, turn = transform.transform.translation, transform.transform.rotation
                row = (move.x, move.y, move.z, turn.x, turn.y, turn.z, turn.w)
                found.append((stamp.sec * 1_000_000_000 + stamp.nanosec, row))
    stamps = np.array([stamp for stamp, _ in found], dtype=np.int64)
    rows = np.array([row for _, row in found])
    return stamps, rows[:, :3], rows[:, 3:]


def interpolated(rotations, samples, wanted):
    stamps, moves, turns = samples
    assert stamps[0] <= wanted.min()
    assert wanted.max() <= stamps[-1]
    after = np.clip(np.searchsorted(stamps, wanted), 1, len(stamps) - 1)
    before = after - 1
    part = (wanted - stamps[before]) / (stamps[after] - stamps[before])
    move = moves[before] + part[:, None] * (moves[after] - moves[before])
    return move, rotations.slerp(turns[before], turns[after], part)


def map_from_base(rotations, drive, wanted):
    odom_move, odom_turn = interpolated(rotations, edge(drive, "map", "odom"), wanted)
    base_move, base_turn = interpolated(rotations, edge(drive, "odom", "base_link"), wanted)
    return odom_move + rotations.rotate(odom_turn, base_move), rotations.chain(odom_turn, base_turn)


@pytest.fixture(scope="module")
def lap(tmp_path_factory, read_drive):
    """Return a longer drive, through the tightest curve, the fastest stretch and many corrections of the map."""
    options = DriveOptions(seconds=20.0, **LIDARLESS)
    return read_drive(write_demo_drive(tmp_path_factory.mktemp("lap") / "lap", options), options)


def test_interpolated_transforms_are_the_true_pose_at_any_time(lap, rotations):
    start, chance = lap.options.start_ns, np.random.default_rng(1)
    wanted = np.sort(start + chance.integers(-400_000_000, 20_400_000_000, 20_000))
    move, turn = map_from_base(rotations, lap, wanted)
    truth = true_poses(lap.options, wanted)
    assert np.linalg.norm(move - truth.translation, axis=1).max() < 5e-5
    assert rotations.angle(turn, truth.rotation_xyzw).max() < 5e-7


def test_published_stamps_carry_the_true_pose_exactly(lap, rotations):
    stamps = edge(lap, "odom", "base_link")[0]
    move, turn = map_from_base(rotations, lap, stamps)
    truth = true_poses(lap.options, stamps)
    assert np.linalg.norm(move - truth.translation, axis=1).max() < 1e-9
    assert rotations.angle(turn, truth.rotation_xyzw).max() < 1e-12


def test_the_map_corrects_the_odometry_in_small_steps(lap):
    stamps, moves, turns = edge(lap, "map", "odom")
    steps = np.linalg.norm(np.diff(moves, axis=0), axis=1)
    assert np.all(np.diff(stamps) == 100_000_000)
    assert 0.25 < steps.max() < 0.35
    assert 8 < np.count_nonzero(steps > 0.02) < 40
    assert np.ptp(turns, axis=0).max() == 0.0
    assert abs(turns[0, 2]) > 0.1


def test_odometry_comes_at_the_chosen_rate(lap, drive):
    for written in (lap, drive):
        assert np.all(np.diff(edge(written, "odom", "base_link")[0]) == 1_000_000_000 // written.options.tf_rate_hz)


def test_transforms_cover_every_sweep_and_image(drive):
    stamps = edge(drive, "map", "odom")[0]
    for lidar in drive.truth["lidars"].values():
        assert stamps[0] < lidar["sweeps"][0]["stamp_ns"]
        assert lidar["sweeps"][-1]["end_ns"] < stamps[-1]
    for camera in drive.truth["cameras"].values():
        assert stamps[0] < camera["images"][0]["stamp_ns"]
        assert camera["images"][-1]["stamp_ns"] < stamps[-1]


def test_no_sensor_is_stamped_like_a_transform_so_that_interpolation_matters(drive):
    stamps = set(edge(drive, "odom", "base_link")[0].tolist())
    for sensor in (*drive.truth["lidars"].values(), *drive.truth["cameras"].values()):
        for taken in sensor.get("sweeps", sensor.get("images")):
            assert taken["stamp_ns"] not in stamps


def test_static_transforms_are_the_extrinsics_in_the_truth(drive):
    expected = {sensor["frame_id"]: sensor["base_from_lidar"] for sensor in drive.truth["lidars"].values()}
    expected |= {sensor["frame_id"]: sensor["base_from_camera"] for sensor in drive.truth["cameras"].values()}
    expected[drive.truth["gps"]["frame_id"]] = drive.truth["gps"]["base_from_antenna"]
    for frame, extrinsics in expected.items():
        _, moves, turns = edge(drive, "base_link", frame, "/tf_static")
        np.testing.assert_array_equal(moves, [extrinsics["translation"]])
        np.testing.assert_array_equal(turns, [extrinsics["rotation_xyzw"]])


def test_optical_frames_look_forward_with_x_to_the_right_and_y_down(drive, rotations):
    front = drive.truth["cameras"]["front"]["base_from_camera"]["rotation_xyzw"]
    right, down, forward = (rotations.rotate(front, axis) for axis in np.eye(3))
    assert forward[0] > 0.99
    assert right[1] < -0.99
    assert down[2] < -0.99


def test_poses_in_the_truth_are_the_true_poses(drive, rotations):
    for lidar in drive.truth["lidars"].values():
        for sweep in lidar["sweeps"]:
            pose = true_poses(drive.options, np.array([sweep["stamp_ns"]]))
            assert sweep["map_from_base_link"]["translation"] == pose.translation[0].tolist()
            assert sweep["map_from_base_link"]["rotation_xyzw"] == pose.rotation_xyzw[0].tolist()
    for camera in drive.truth["cameras"].values():
        mount = camera["base_from_camera"]
        for image in camera["images"]:
            pose = true_poses(drive.options, np.array([image["stamp_ns"]]))
            move = pose.translation[0] + rotations.rotate(pose.rotation_xyzw[0], np.array(mount["translation"]))
            turn = rotations.chain(pose.rotation_xyzw[0], mount["rotation_xyzw"])
            np.testing.assert_allclose(image["map_from_camera"]["translation"], move, atol=1e-9)
            assert rotations.angle(turn, image["map_from_camera"]["rotation_xyzw"]) < 1e-12
