# SPDX-License-Identifier: Apache-2.0
"""A vehicle that moved and stands in the scenes, or moves as an inverse would, is named before all else."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bags import MS, START_NS, Recording, cloud, transforms
from event_drives import fix
from pose_messages import odometry
from scipy.spatial.transform import Rotation

from nucleus_bridge.cli.main import main

Place = Callable[[float], tuple[float, float, float]]
"""x, y and yaw at a time in seconds."""
SECONDS = 4
STATIC = transforms(("base_link", "lidar", START_NS, (0.4, 0.0, 1.7), (0.0, 0.0, 0.0, 1.0)))


def bend(at: float) -> tuple[float, float, float]:
    """A bend of 7 m/s far from the origin."""
    yaw = 0.5 + 0.25 * at
    return 60.0 + 28.0 * (math.sin(yaw) - math.sin(0.5)), 25.0 - 28.0 * (math.cos(yaw) - math.cos(0.5)), yaw


def circle_from_origin(at: float) -> tuple[float, float, float]:
    yaw = 0.3 * at
    return 24.0 * math.sin(yaw), 24.0 * (1.0 - math.cos(yaw)), yaw


def standing(_at: float) -> tuple[float, float, float]:
    return 3.0, -4.0, 1.1


def bag_of(folder: Path, place: Place, *, has_fixes: bool = True, odometry_topic: str = "") -> Path:
    made = Recording()
    made.add("/tf_static", STATIC, START_NS - 100 * MS)
    for number in range(10 * SECONDS):
        stamp_ns = START_NS + 100 * MS * number
        made.add("/points", cloud(stamp_ns), stamp_ns)
    for number in range(-10, 20 * SECONDS + 10):
        stamp_ns = START_NS + 50 * MS * number
        x, y, yaw = place(number * 0.05)
        if has_fixes and not number % 4:
            degree = 111_200.0
            made.add("/fix", fix(stamp_ns, 3.0 + y / degree, 5.0 + x / degree), stamp_ns)
        if odometry_topic:
            turn = Rotation.from_euler("z", yaw).as_quat().tolist()
            made.add(odometry_topic, odometry(stamp_ns, (x, y, 0.0), tuple(turn)), stamp_ns)
    return made.write(folder / "bag")


def config_of(folder: Path, *lines: str, world: str = "base_link") -> Path:
    path = folder / "c.yaml"
    rows = [
        f"world_frame: {world}",
        "device_frame: base_link",
        "lidar_names: [top]",
        "lidars: {top: {topic: /points, intensity_max: 255.0}}",
        *lines,
    ]
    path.write_text("/**:\n  ros__parameters:\n" + "".join(f"    {row}\n" for row in rows))
    return path


def trajectory(place: Place, *, inverted: bool) -> str:
    rows = []
    for number in range(-20, 50 * SECONDS + 20):
        x, y, yaw = place(number * 0.02)
        turn, where = Rotation.from_euler("z", yaw), np.array([x, y, 0.2])
        if inverted:
            turn, where = turn.inv(), -turn.inv().apply(where)
        ns = START_NS + 20 * MS * number
        numbers = [*where.tolist(), *turn.as_quat().tolist()]
        rows.append(f"{ns // 10**9}.{ns % 10**9:09d} " + " ".join(map(repr, numbers)))
    return "\n".join(rows) + "\n"


def converted(
    bag: Path, config: Path, spool: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, list[dict[str, Any]]]:
    """Return status, the last line and the warnings of --json."""
    status = main(["convert", str(bag), "--config", str(config), "--output", str(spool)])
    last = capsys.readouterr().out.splitlines()[-1]
    again = main(["convert", str(bag), "--config", str(config), "--output", str(spool) + "2", "--json"])
    assert again == status
    return status, last, json.loads(capsys.readouterr().out)["warnings"]


GPS = "gps: {topic: /fix}"


def test_a_vehicle_that_moves_by_its_fixes_and_stands_in_the_scenes_is_status_1_with_the_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag, config = bag_of(tmp_path, bend), config_of(tmp_path, GPS)
    status, last, told = converted(bag, config, tmp_path / "spool", capsys)
    (finding,) = [one for one in told if one["code"] == "no_pose"]
    assert status == 1
    metres = float(finding["text"].partition("move ")[2].partition(" m")[0])
    assert metres == pytest.approx(7.0 * (SECONDS - 0.1), rel=0.1)
    assert last.startswith("lost: ")
    assert "[no_pose]" in last
    again = main(["convert", str(bag), "--config", str(config), "--output", str(tmp_path / "spool")])
    assert (again, "[no_pose]" in capsys.readouterr().out) == (1, True)  # what was converted before is no better


def test_a_topic_of_poses_that_is_not_used_proves_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = bag_of(tmp_path, circle_from_origin, has_fixes=False, odometry_topic="/wheels")
    status, last, told = converted(bag, config_of(tmp_path), tmp_path / "spool", capsys)
    assert status == 1
    assert [one["topic"] for one in told if one["code"] == "no_pose"] == ["/wheels"]
    assert "/wheels" not in last or "[no_pose]" in last


@pytest.mark.parametrize("odometry_topic", ["", "/wheels"])
def test_a_vehicle_that_stands_is_warned_of_and_status_0(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], odometry_topic: str
) -> None:
    bag = bag_of(tmp_path, standing, odometry_topic=odometry_topic)
    status, last, told = converted(bag, config_of(tmp_path, GPS), tmp_path / "spool", capsys)
    assert (status, last) == (0, "lost: nothing")
    assert [(one["code"], one["frame"]) for one in told if one["code"] == "no_pose"] == [("no_pose", "base_link")]


def test_init_says_it_once_on_top_and_offers_the_lines_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag, path = bag_of(tmp_path, bend), tmp_path / "made.yaml"
    assert main(["init", str(bag), "-o", str(path)]) == 0
    text = path.read_text()
    assert (text.count("no pose over time"), text.count("[no_pose]"), text.count("# MISSING: no pose")) == (1, 1, 1)
    assert (
        text.count("To use a trajectory: set world_frame to map and uncomment:"),
        text.count("trajectory.tum\n"),
    ) == (
        1,
        1,
    )
    assert "missing: no pose over time" in capsys.readouterr().err
    metres = float(" ".join(text.replace("#", " ").split()).partition("the fixes of /fix move ")[2].partition(" m")[0])
    assert metres == pytest.approx(7.0 * (SECONDS + 0.9), rel=0.1)


@pytest.mark.parametrize("place", [bend, circle_from_origin])
def test_an_inverse_trajectory_is_named_by_motion_or_fixes_and_before_the_gps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: Place
) -> None:
    bag = bag_of(tmp_path, place)
    lines = [GPS, "pose_names: [ego]", "poses: {ego: {file: t.tum}}"]
    (tmp_path / "t.tum").write_text(trajectory(place, inverted=True))
    _, _, told = converted(bag, config_of(tmp_path, *lines, world="map"), tmp_path / "bad", capsys)
    assert told[0]["code"] == "pose_inverse"
    assert [one["code"] for one in told].count("pose_inverse") == 1
    assert told[0]["remedy"] == "poses.ego.parent_frame: base_link, poses.ego.child_frame: map"
    remedied = ["poses: {ego: {file: t.tum, parent_frame: base_link, child_frame: map}}"]
    config = config_of(tmp_path, *lines[:2], *remedied, world="map")
    assert converted(bag, config, tmp_path / "good", capsys) == (0, "lost: nothing", [])


@pytest.mark.parametrize("place", [bend, circle_from_origin])
def test_a_right_trajectory_gives_no_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str], place: Place) -> None:
    (tmp_path / "t.tum").write_text(trajectory(place, inverted=False))
    config = config_of(tmp_path, GPS, "pose_names: [ego]", "poses: {ego: {file: t.tum}}", world="map")
    assert converted(bag_of(tmp_path, place), config, tmp_path / "spool", capsys) == (0, "lost: nothing", [])
