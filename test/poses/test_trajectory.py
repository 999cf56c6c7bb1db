# SPDX-License-Identifier: Apache-2.0
"""Trajectory files of every form hold the same poses; what is wrong with one is named with what to set."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nucleus_bridge.config import PoseConfig
from nucleus_bridge.errors import ConfigError
from nucleus_bridge.model import FloatArray
from nucleus_bridge.poses.trajectory import LEAD_NS, FilePoses

START_NS = 1_710_000_000_123_456_789
TUM_BY_NUMBER = ("stamp=1", "x=2", "y=3", "z=4", "qx=5", "qy=6", "qz=7", "qw=8")


def bend(count: int = 400, level: float = 0.02) -> FloatArray:
    """A vehicle that drives bends at 15 m/s, 100 poses a second: x y z qx qy qz qw."""
    yaw = 0.3 + 0.8 * np.sin(np.arange(count) * 0.01)
    steps = 0.15 * np.stack((np.cos(yaw), np.sin(yaw), 0.02 * np.sin(3.0 * yaw)), axis=1)
    place = np.array([20.0, -7.0, 1.0]) + np.cumsum(steps, axis=0)
    turn = Rotation.from_euler("xyz", np.stack((np.full(count, level), 0.01 * np.sin(yaw), yaw), axis=1)).as_quat()
    return np.concatenate((place, turn), axis=1)


def stamps(count: int = 400, start_ns: int = START_NS) -> list[int]:
    return [start_ns + 10_000_000 * i for i in range(count)]


def seconds(ns: int) -> str:
    return f"{ns // 10**9}.{ns % 10**9:09d}"


def tum(poses: FloatArray, times: list[str] | None = None) -> str:
    times = times or [seconds(ns) for ns in stamps(len(poses))]
    rows = [" ".join([time, *map(repr, row)]) for time, row in zip(times, poses.tolist(), strict=True)]
    return "\n".join(rows) + "\n"


def opened(folder: Path, text: str, **settings: Any) -> FilePoses:
    (folder / "poses.txt").write_text(text)
    return FilePoses(PoseConfig("ego", file="poses.txt", **settings), "map", "base_link", folder)


def same_turns(one: FloatArray, other: FloatArray) -> float:
    """The largest angle between rotations, radians, by scipy."""
    return float((Rotation.from_quat(one).inv() * Rotation.from_quat(other)).magnitude().max())


def test_tum_stamps_are_exact_and_poses_are_the_bits_of_the_file(tmp_path: Path) -> None:
    poses = bend()
    source = opened(tmp_path, "# anything at all\n" + tum(poses))
    stamps_ns, read = source.trajectory
    assert stamps_ns.tolist() == stamps()
    assert np.array_equal(read, poses)
    assert source.findings == ()


@pytest.mark.parametrize("separator", [" ", ",", ";", "\t", ", ", "   "])
def test_any_separator_will_do(tmp_path: Path, separator: str) -> None:
    source = opened(tmp_path, tum(bend(20)).replace(" ", separator))
    assert np.array_equal(source.trajectory[1], bend(20))


@pytest.mark.parametrize(
    ("unit", "text"),
    [
        ("ns", str),
        ("us", lambda ns: f"{Decimal(ns) / 10**3}"),
        ("ms", lambda ns: f"{Decimal(ns) / 10**6}"),
        ("s", lambda ns: f"{Decimal(ns) / 10**9}"),
        ("s", lambda ns: f"{Decimal(ns) / 10**9:.18e}"),
    ],
)
def test_the_unit_of_stamps_is_told_from_their_size(tmp_path: Path, unit: str, text: Any) -> None:
    del unit
    source = opened(tmp_path, tum(bend(30), [text(ns) for ns in stamps(30)]))
    assert source.trajectory[0].tolist() == stamps(30)


def test_kitti_matrices_with_times(tmp_path: Path) -> None:
    poses = bend(50)
    matrices = np.concatenate((Rotation.from_quat(poses[:, 3:]).as_matrix(), poses[:, :3, None]), axis=2)
    rows = "\n".join(" ".join(map(repr, row)) for row in matrices.reshape(-1, 12).tolist())
    (tmp_path / "times.txt").write_text("\n".join(seconds(ns) for ns in stamps(50)) + "\n")
    source = opened(tmp_path, rows, times_file="times.txt")
    assert source.trajectory[0].tolist() == stamps(50)
    assert np.abs(source.trajectory[1][:, :3] - poses[:, :3]).max() == 0.0
    assert same_turns(source.trajectory[1][:, 3:], poses[:, 3:]) < 1e-12
    with pytest.raises(ConfigError, match=r"set poses\.ego\.times_file"):
        opened(tmp_path, rows)
    (tmp_path / "times.txt").write_text("1.0\n2.0\n")
    with pytest.raises(ConfigError, match=r"2 times, .* 50 poses"):
        opened(tmp_path, rows, times_file="times.txt")


@pytest.mark.parametrize("width", [13, 17])
def test_matrices_with_a_stamp_in_front(tmp_path: Path, width: int) -> None:
    poses = bend(50)
    matrices = np.tile(np.eye(4), (50, 1, 1))
    matrices[:, :3, :3], matrices[:, :3, 3] = Rotation.from_quat(poses[:, 3:]).as_matrix(), poses[:, :3]
    flat = matrices.reshape(50, 16)[:, : width - 1].tolist()
    text = "\n".join(",".join([str(ns), *map(repr, row)]) for ns, row in zip(stamps(50), flat, strict=True))
    source = opened(tmp_path, text)
    assert source.trajectory[0].tolist() == stamps(50)
    assert np.array_equal(source.trajectory[1][:, :3], poses[:, :3])


def test_columns_named_by_the_user_in_any_order(tmp_path: Path) -> None:
    poses = bend(20)
    lines = ["note;up;north;east;qw;qz;qy;qx;t_s"]
    for ns, (x, y, z, qx, qy, qz, qw) in zip(stamps(20), poses.tolist(), strict=True):
        lines.append(f"7;{z!r};{y!r};{x!r};{qw!r};{qz!r};{qy!r};{qx!r};{seconds(ns)}")
    columns = ("stamp=t_s", "x=east", "y=north", "z=up", "qx=qx", "qy=qy", "qz=qz", "qw=qw")
    for given in (columns, ()):  # the names are understood, too
        source = opened(tmp_path, "\n".join(lines), columns=given)
        assert source.trajectory[0].tolist() == stamps(20)
        assert np.array_equal(source.trajectory[1], poses)


def test_columns_by_number_and_quaternions_with_w_first(tmp_path: Path) -> None:
    poses = bend(300)
    w_first = tum(poses[:, [0, 1, 2, 6, 3, 4, 5]])
    with pytest.raises(ConfigError, match="w first") as caught:
        opened(tmp_path, w_first)
    remedy = str(caught.value).partition("columns: [")[2].partition("]")[0]
    source = opened(tmp_path, w_first, columns=tuple(part.strip(" '") for part in remedy.split(",")))
    assert np.array_equal(source.trajectory[1], poses)


def test_w_first_is_seen_by_the_motion_where_the_vehicle_drives_straight_back(tmp_path: Path) -> None:
    yaw = math.pi + 0.02
    place = np.outer(np.arange(300) * 0.15, (math.cos(yaw), math.sin(yaw), 0.0))
    turn = np.tile(Rotation.from_euler("z", yaw).as_quat(), (300, 1))
    poses = np.concatenate((place, turn), axis=1)
    assert np.array_equal(opened(tmp_path, tum(poses)).trajectory[1], poses)
    (finding,) = opened(tmp_path, tum(poses[:, [0, 1, 2, 6, 3, 4, 5]])).findings
    assert (finding.code, "'qw=5'" in finding.remedy) == ("pose_attitude", True)


def drive_towards(yaw_deg: float, level: float = 0.015, turn: float = 0.1) -> FloatArray:
    """Thirty metres in one direction, nearly: a vehicle on a road that is a little uneven."""
    yaw = math.radians(yaw_deg) + turn * np.sin(np.arange(400) * 0.011)
    steps = 0.08 * np.stack((np.cos(yaw), np.sin(yaw), np.zeros(400)), axis=1)
    turns = Rotation.from_euler("xyz", np.stack((np.full(400, level), -level * np.cos(yaw), yaw), axis=1)).as_quat()
    return np.concatenate((np.array([8.0, 31.0, 2.0]) + np.cumsum(steps, axis=0), turns), axis=1)


@pytest.mark.parametrize("yaw_deg", [-20.0, 65.0, -118.0, 131.0, 158.0])
def test_w_first_is_refused_however_much_the_vehicle_would_lean(tmp_path: Path, yaw_deg: float) -> None:
    poses = drive_towards(yaw_deg)
    assert opened(tmp_path, tum(poses)).findings == ()
    with pytest.raises(ConfigError, match=r"w first.*columns: \['stamp=1'.*'qw=5'"):
        opened(tmp_path, tum(poses[:, [0, 1, 2, 6, 3, 4, 5]]))


@pytest.mark.parametrize("tilt_deg", [14.0, 25.0, 38.0])
def test_a_body_that_is_mounted_at_an_angle_is_not_taken_for_w_first(tmp_path: Path, tilt_deg: float) -> None:
    poses = drive_towards(0.0, level=0.0, turn=0.0)
    for axis in "xy":
        tilted = poses.copy()
        tilted[:, 3:] = (Rotation.from_quat(poses[:, 3:]) * Rotation.from_euler(axis, tilt_deg, degrees=True)).as_quat()
        assert opened(tmp_path, tum(tilted)).findings == ()


def turned_round(poses: FloatArray) -> FloatArray:
    back = Rotation.from_quat(poses[:, 3:]).inv()
    return np.concatenate((-back.apply(poses[:, :3]), back.as_quat()), axis=1)


@pytest.mark.parametrize("where", [(70.0, -22.0), (-900.0, 4_000.0), (3.0, 12.0)])
@pytest.mark.parametrize("ahead_m", [0.0, 1.7])
@pytest.mark.parametrize("turn_deg", [25.0, 80.0, 190.0])
def test_an_inverse_of_a_drive_with_a_bend_is_named_and_the_drive_itself_is_not(
    tmp_path: Path, where: tuple[float, float], ahead_m: float, turn_deg: float
) -> None:
    """``ahead_m``: the poses are of a point before the rear axle, which goes sideways on a bend."""
    yaw = -0.7 + math.radians(turn_deg) * np.linspace(0.0, 1.0, 500) ** 2
    axle = np.array([*where, 0.0]) + np.cumsum(0.07 * np.stack((np.cos(yaw), np.sin(yaw), 0.0 * yaw), axis=1), axis=0)
    turns = Rotation.from_euler("z", yaw[:, None])
    noise = np.random.default_rng(11).normal(0.0, 0.004, (500, 3))
    poses = np.concatenate((axle + turns.apply([ahead_m, 0.0, 0.3]) + noise, turns.as_quat()), axis=1)
    assert opened(tmp_path, tum(poses)).findings == ()
    (finding,) = opened(tmp_path, tum(turned_round(poses))).findings
    assert (finding.code, finding.remedy) == (
        "pose_inverse",
        "poses.ego.parent_frame: base_link, poses.ego.child_frame: map",
    )


def test_an_inverse_that_only_drives_backwards_is_noted(tmp_path: Path) -> None:
    yaw = np.linspace(0.0, 1.3, 400)
    arc = 26.0 * np.stack((np.sin(yaw), 1.0 - np.cos(yaw), 0.0 * yaw), axis=1)
    poses = np.concatenate((arc, Rotation.from_euler("z", yaw[:, None]).as_quat()), axis=1)
    assert opened(tmp_path, tum(poses)).findings == ()
    (finding,) = opened(tmp_path, tum(turned_round(poses))).findings
    assert (finding.code, finding.weight.value) == ("pose_inverse", "note")


def test_a_table_that_is_not_understood_lists_its_columns_and_the_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a, b, c.*qx.*set poses\.ego\.columns"):
        opened(tmp_path, "a,b,c\n1,2,3\n")
    with pytest.raises(ConfigError, match="no column 'nothing', but t, x"):
        opened(tmp_path, "t,x\n1,2\n", columns=("stamp=nothing",))
    with pytest.raises(ConfigError, match="role=column"):
        opened(tmp_path, "t,x\n1,2\n", columns=("speed=t",))


def test_ins_exports_are_in_a_local_level_frame_at_their_first_pose(real_data: Path) -> None:
    """Against the truth of the drive: positions in map, and what an INS at the antenna's place wrote."""
    folder = real_data / "inputs" / "made"
    truth = FilePoses(PoseConfig("t", file="tum.txt"), "map", "base_link", folder / "trajectories").trajectory
    ins = FilePoses(PoseConfig("ins", file="ins_gpsweek.csv"), "map", "base_link", folder / "trajectories")
    assert ins.trajectory[0].tolist() == truth[0].tolist()
    assert same_turns(ins.trajectory[1][:, 3:], truth[1][:, 3:]) < 1e-5  # north differs over 40 m
    lever = Rotation.from_quat(truth[1][:, 3:]).apply(_antenna(folder))
    wanted = truth[1][:, :3] + lever
    assert np.abs(ins.trajectory[1][:, :3] - (wanted - wanted[0])).max() < 2e-4  # the file's last digit is 0.1 mm
    assert ins.origin is not None
    assert ins.origin.latitude == 48.1371220108


def _antenna(folder: Path) -> FloatArray:
    gps = json.loads((folder / "base.truth.json").read_text())["gps"]
    return np.array(gps["base_from_antenna"]["translation"])


@pytest.mark.parametrize(
    ("scale", "unit", "good"), [(1.0, "rad", True), (57.29577951308232, "deg", True), (1.0, "", False)]
)
def test_angles_say_their_unit_or_are_asked_for_it(tmp_path: Path, scale: float, unit: str, good: bool) -> None:
    poses = bend(100)
    angles = Rotation.from_quat(poses[:, 3:]).as_euler("xyz") * scale
    rows = [
        ",".join(map(repr, [ns, *place, *turn]))
        for ns, place, turn in zip(stamps(100), poses[:, :3].tolist(), angles.tolist(), strict=True)
    ]
    text = "\n".join(["stamp,x,y,z,r,p,w", *rows])
    suffix = f":{unit}" if unit else ""
    columns = ("stamp=stamp", "x=x", "y=y", "z=z", f"roll{suffix}=r", f"pitch{suffix}=p", f"yaw{suffix}=w")
    if good:
        read = opened(tmp_path, text, columns=columns).trajectory[1]
        assert same_turns(read[:, 3:], poses[:, 3:]) < 1e-12
    else:
        with pytest.raises(ConfigError, match="does not say the unit of roll"):
            opened(tmp_path, text, columns=columns)


def test_degrees_that_are_called_radians_are_refused(tmp_path: Path) -> None:
    text = "stamp,x,y,z,roll_rad,pitch_rad,yaw_rad\n" + "".join(f"{ns},0,0,0,1,2,90\n" for ns in stamps(5))
    columns = ("stamp=stamp", "x=x", "y=y", "z=z", "roll=roll_rad", "pitch=pitch_rad", "yaw=yaw_rad")
    with pytest.raises(ConfigError, match="90 rad for yaw; are these degrees"):
        opened(tmp_path, text, columns=columns)


def test_order_duplicates_and_gaps_are_reported_and_put_right(tmp_path: Path) -> None:
    poses, times = bend(100), stamps(100)
    del times[50:60]
    kept = np.delete(poses, slice(50, 60), axis=0)
    order = np.random.default_rng(1).permutation(90)
    rows = tum(kept[order], [seconds(times[i]) for i in order]) + tum(kept[:1], [seconds(times[0])])
    source = opened(tmp_path, rows)
    assert source.trajectory[0].tolist() == times
    assert np.array_equal(source.trajectory[1], kept)
    assert (source.spacing.is_sorted, source.spacing.duplicates, source.spacing.gaps) == (False, 1, 1)
    assert source.spacing.longest_s == pytest.approx(0.11)
    assert {finding.code for finding in source.findings} == {"pose_duplicates", "pose_gaps"}


def test_poses_are_handed_out_once_in_order_and_again_after_a_reset(tmp_path: Path) -> None:
    source = opened(tmp_path, tum(bend()))
    times = stamps()
    first = list(source.until(times[100] - 1))
    assert [edge.stamp_ns for edge in first] == times[:101]
    assert [edge.stamp_ns for edge in source.until(times[100])] == []
    assert [edge.stamp_ns for edge in source.until(times[100] + 1)] == [times[101]]
    assert [edge.stamp_ns for edge in source.until(2**62)] == times[102:]
    assert list(source.until(2**62)) == []
    source.reset("clock_step")
    assert [edge.stamp_ns for edge in source.until(times[3])] == times[:4]
    assert first[7].translation == tuple(bend()[7, :3].tolist())
    assert (first[7].parent, first[7].child, first[7].static) == ("map", "base_link", False)


def test_a_long_file_begins_where_the_recording_does(tmp_path: Path) -> None:
    times = [START_NS + 10**9 * i for i in range(1000)]
    source = opened(tmp_path, tum(np.tile(bend(1), (1000, 1)), [seconds(ns) for ns in times]))
    edges = list(source.until(times[500]))
    assert edges[0].stamp_ns == times[500] - LEAD_NS
    assert edges[-1].stamp_ns == times[500]


def test_frames_and_clock_can_be_set(tmp_path: Path) -> None:
    source = opened(tmp_path, tum(bend(5)), parent_frame="/odom", child_frame="imu", clock_offset_ms=1.5)
    (edge,) = list(source.until(START_NS))[:1]
    assert (edge.parent, edge.child, edge.stamp_ns) == ("odom", "imu", START_NS + 1_500_000)


@pytest.mark.parametrize(
    ("shift_ns", "said"),
    [
        (-3_600 * 10**9, r"set poses\.ego\.clock_offset_ms: 3600000\.0"),
        (9_900 * 10**9, r"set poses\.ego\.clock_offset_ms: -9900000\.0"),
        (5 * 86_400 * 10**9, "another drive"),
        (-START_NS, "since 1970"),
    ],
    ids=["an hour", "two hours and three quarters", "days", "from zero"],
)
def test_a_file_that_has_no_moment_in_common_says_what_would_explain_it(
    tmp_path: Path, shift_ns: int, said: str
) -> None:
    source = opened(tmp_path, tum(bend(), [seconds(ns + shift_ns) for ns in stamps()]))
    with pytest.raises(ConfigError, match=said):
        source.check_overlap(START_NS + 10**9, START_NS + 2 * 10**9)
    opened(tmp_path, tum(bend())).check_overlap(START_NS + 10**9, START_NS + 2 * 10**9)


def test_poses_the_wrong_way_round_are_named_with_the_frames_to_set(tmp_path: Path) -> None:
    poses = bend()
    back = Rotation.from_quat(poses[:, 3:]).inv()
    turned = np.concatenate((-back.apply(poses[:, :3]), back.as_quat()), axis=1)
    (finding,) = opened(tmp_path, tum(turned)).findings
    assert finding.code == "pose_inverse"
    assert finding.remedy == "poses.ego.parent_frame: base_link, poses.ego.child_frame: map"
    assert opened(tmp_path, tum(turned), parent_frame="base_link", child_frame="map").findings == ()
    (finding,) = opened(tmp_path, tum(poses), parent_frame="base_link", child_frame="map").findings
    assert finding.code == "pose_inverse"


def test_a_device_that_lies_on_its_side_is_named(tmp_path: Path) -> None:
    poses = bend()
    poses[:, 3:] = (Rotation.from_quat(poses[:, 3:]) * Rotation.from_euler("x", 90, degrees=True)).as_quat()
    (finding,) = opened(tmp_path, tum(poses)).findings
    assert finding.code == "pose_attitude"
    assert opened(tmp_path, tum(poses), child_frame="camera").findings == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("# only a comment\n", "no row of numbers"),
        ("1 2 3\n", "numbers 1 to 3"),
        ("1 0 0 0 0 0 0 1\n2 0 0 0 0 0 1\n", "line 2 has 7 columns"),
        ("1 0 0 0 0 0 0 1\n2 0 0 zero 0 0 0 1\n", "line 2 holds something other"),
        ("1 0 0 0 0 0 0 1\n2 0 0 nan 0 0 0 1\n", "not finite"),
        ("1 0 0 0 0 0 0 1\n2 0 0 0 0 0 0 0\n", "row 2: 0 0 0 0 is not a unit quaternion"),
        ("1 0 0 0 3 4 5 6\n", "not a unit quaternion"),
        ("1e300 0 0 0 0 0 0 1\n", "line 1"),
        ("1e999999999 0 0 0 0 0 0 1\n", "line 1"),
        (" ".join(["1"] * 12), "times_file"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        opened(tmp_path, text)


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        FilePoses(PoseConfig("ego", file="none.txt"), "map", "base_link", tmp_path)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00\x80" * 20)
    with pytest.raises(ConfigError, match="not a text file"):
        FilePoses(PoseConfig("ego", file="bytes"), "map", "base_link", tmp_path)


def test_poses_of_a_frame_in_itself_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="set world_frame to the frame that they are in"):
        opened(tmp_path, tum(bend(5)), parent_frame="/base_link")


@pytest.mark.parametrize("name", ["tum_float_microseconds.txt", "euroc.csv"])
def test_files_of_other_tools_hold_the_drive(real_data: Path, name: str) -> None:
    folder = real_data / "inputs" / "made" / "trajectories"
    truth = FilePoses(PoseConfig("t", file="tum.txt"), "map", "base_link", folder).trajectory
    read = FilePoses(PoseConfig("t", file=name), "map", "base_link", folder).trajectory
    assert read[0].tolist() == truth[0].tolist()
    assert np.abs(read[1][:, :3] - truth[1][:, :3]).max() < 1e-6
    assert same_turns(read[1][:, 3:], truth[1][:, 3:]) < 2e-6


def test_kitti_poses_are_relative_to_the_first(real_data: Path) -> None:
    folder = real_data / "inputs" / "made" / "trajectories"
    stamps_ns, poses = FilePoses(PoseConfig("t", file="tum.txt"), "map", "base_link", folder).trajectory
    start = Rotation.from_quat(poses[0, 3:]).inv()
    settings = PoseConfig("k", file="kitti_poses.txt", times_file="kitti_times.txt")
    times_ns, read = FilePoses(settings, "map", "base_link", folder).trajectory
    assert times_ns.tolist() == (stamps_ns - stamps_ns[0]).tolist()
    assert np.abs(read[:, :3] - start.apply(poses[:, :3] - poses[0, :3])).max() < 1e-8
    assert same_turns(read[:, 3:], (start * Rotation.from_quat(poses[:, 3:])).as_quat()) < 1e-8
