# SPDX-License-Identifier: Apache-2.0
"""What a person reads when a recorder cannot start as configured, and the status that service managers go by."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from bags import write_config
from drives import SHORT, Drive, make_drive

from nucleus_bridge.config import load_config
from nucleus_bridge.convert import convert_bag
from nucleus_bridge.errors import ConfigError

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("tf2_msgs", reason="needs tf2_msgs: nucleus-bridge ros-setup tf2_msgs")
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from live_graph import Observer, Program, new_domain, observing, recorder, replay
from test_live_equals_offline import with_radar_scans

from nucleus_bridge.pipeline import Pipeline
from nucleus_bridge.ros.first_start import check_first_start


@pytest.fixture
def observer() -> Iterator[Observer]:
    with observing() as made:
        yield made


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"/point.subscription.depth": 5}, "/point is not subscribed to; did you mean /points?"),
        ({"/points.subscription.reliabilty": "reliable"}, "no such policy; it is one of history, depth, reliability"),
        ({"/points.subscription.reliability": "best-effort"}, "'best-effort' must be one of"),
        ({"/points.subscription.depth": 0}, "0 must be a whole number of at least 1"),
        ({"/points.subscription.depth": True}, "True must be a whole number"),
        ({"/points.reliability": "reliable"}, "must be qos_overrides.<topic>.subscription.<policy>"),
    ],
)
def test_an_override_that_would_do_nothing_or_fail_later_is_an_error(
    tmp_path: Path, given: dict[str, object], told: str
) -> None:
    wanted = Pipeline(load_config(write_config(tmp_path))).wanted
    with pytest.raises(ConfigError, match=re.escape(told)) as raised:
        check_first_start(wanted, {f"qos_overrides.{name}": value for name, value in given.items()}, str)
    assert str(raised.value).startswith("qos_overrides./point")


def test_overrides_that_ros_2_takes_are_taken(tmp_path: Path) -> None:
    given = {
        "qos_overrides./points.subscription.reliability": "best_effort",
        "qos_overrides./points.subscription.depth": 50,
        "qos_overrides./tf_static.subscription.durability": "volatile",
        "qos_overrides./clock.subscription.depth": 5,
        "qos_overrides./parameter_events.publisher.history": "keep_last",
        "scene.max_items": 3,
    }
    check_first_start(Pipeline(load_config(write_config(tmp_path))).wanted, given, str)


def test_names_count_as_they_are_after_remapping(tmp_path: Path) -> None:
    wanted = Pipeline(load_config(write_config(tmp_path))).wanted
    given = {"qos_overrides./robot/points.subscription.depth": 5}
    check_first_start(wanted, given, lambda name: f"/robot{name}")
    with pytest.raises(ConfigError, match="'/points' is not a topic name"):
        check_first_start(wanted, {}, lambda name: f"/a robot{name}")


def without_package(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let programs that are started find an empty package instead of the messages."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))


def install_package(folder: Path, name: str) -> None:
    """Put the messages into the empty package, also for programs that run already."""
    [installed] = import_module(name).__path__
    for path in Path(installed).iterdir():
        if path.name not in ("__init__.py", "__pycache__"):
            (folder / name / path.name).symlink_to(path)


@pytest.mark.live
def test_everything_that_a_person_has_to_correct_is_told_at_once(
    drive: Drive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_package(tmp_path / "shadow", "tf2_msgs", monkeypatch)
    new_domain()
    wrong = "qos_overrides./lidar/top/points.subscription.reliability:=best-effort"
    with recorder(drive.config_path, tmp_path / "live", wrong) as node:
        assert node.wait() == 2
        assert "cannot be configured: ConfigError: qos_overrides./lidar/top/points" in node.output
        assert "nucleus-bridge ros-setup tf2_msgs" in node.output
        assert "Traceback" not in node.output


@pytest.mark.live
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("/lidar//top", "topic name must not contain repeated '/'"),
        ("/lidar top", "topic name must not contain characters other than alphanumerics, '_', '~', '{', or '}'"),
        ("/lidar/{top}", "unknown substitution: {top}"),
    ],
)
def test_a_topic_name_that_ros_2_refuses_is_named_with_its_parameter(
    drive: Drive, tmp_path: Path, name: str, reason: str
) -> None:
    new_domain()
    with recorder(drive.config_path, tmp_path / "live", f"lidars.top.topic:='{name}'") as node:
        assert node.wait() == 2, node.output
        assert (
            f"cannot be configured: ConfigError: lidars.top.topic: {name!r} is not a topic name: {reason}"
            in node.output
        )


@pytest.mark.live
def test_two_recorders_do_not_share_a_spool(
    drive: Drive, tmp_path: Path, observer: Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with recorder(drive.config_path, Path("~/live"), autostart=False) as first:
        assert "autostart is false" in first.wait_for("waiting to be configured")
        assert observer.change_state(Transition.TRANSITION_CONFIGURE)
        assert f"records to {tmp_path}/live once it is activated" in first.wait_for("inactive:")
        with recorder(drive.config_path, tmp_path / "live", workers=2) as second:
            assert second.wait() == 1
            assert "another recorder is using it" in second.output
        assert observer.change_state(Transition.TRANSITION_CLEANUP)
        assert first.end() == 0
    with recorder(drive.config_path, tmp_path / "live") as third:
        third.wait_for(f"recording to {tmp_path}/live")
        assert third.end() == 0


def recorder_without_radar_msgs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Drive, Path, str, Program]:
    """Make a drive with a radar; return it, its bag, the radar's topic, and a recorder that lacks its messages."""
    pytest.importorskip("radar_msgs", reason="needs radar_msgs: nucleus-bridge ros-setup radar_msgs")
    made = make_drive(folder, replace(SHORT, seconds=2.0, points=500, cameras=1, radars=1))
    bag = with_radar_scans(made.bag, folder / "scans")
    [radar] = [sensor.topic for sensor in load_config(made.config_path).sensors if "radar" in sensor.topic]
    with monkeypatch.context() as patched:
        without_package(folder / "shadow", "radar_msgs", patched)
        return made, bag, radar, recorder(made.config_path, folder / "live")


@pytest.mark.live
def test_a_topic_whose_type_is_not_installed_fails_alone(
    tmp_path: Path, observer: Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, bag, radar, node = recorder_without_radar_msgs(tmp_path, monkeypatch)
    with node, replay(bag, flags=("--eager", "--hold"), seen_by=observer) as player:
        status = observer.status(f"sensor {radar}", lambda status: "cannot be used" in status.message)
        assert status.level == DiagnosticStatus.ERROR
        assert "nucleus-bridge ros-setup radar_msgs" in status.message
        assert "the other topics are recorded" in node.wait_for("cannot be used")
        player.say("go on")
        player.wait_for("done")
        node.wait_for("/lidar/top/points: the first message has come (sensor_msgs/msg/PointCloud2; ")
        assert node.end() == 0
        assert "sealed demo-" in node.output


@pytest.mark.live
def test_a_topic_that_could_not_be_used_is_tried_again_when_its_publisher_comes_anew(
    tmp_path: Path, observer: Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, bag, radar, node = recorder_without_radar_msgs(tmp_path, monkeypatch)
    with node:
        driver = observer.node.create_publisher(import_module("radar_msgs.msg").RadarScan, radar, 10)
        assert "it is tried again when its publisher comes anew" in node.wait_for(f"{radar} cannot be used")
        observer.forget()
        observer.node.destroy_publisher(driver)
        observer.value(f"sensor {radar}", "publishers", lambda count: count == "0")
        install_package(tmp_path / "shadow", "radar_msgs")
        with replay(bag) as player:  # begins once every topic has a subscriber
            player.wait_for("done")
            status = observer.value(f"sensor {radar}", "received", lambda count: count == "20")
            assert "cannot be used" not in status.message
            assert node.end() == 0
    convert_bag(bag, made.config, tmp_path / "offline")
    live, offline = (
        [json.loads(path.read_text()) for path in sorted((tmp_path / name).glob("scenes/*/manifest.json"))]
        for name in ("live", "offline")
    )
    assert [manifest["frames"] for manifest in live] == [20]
    assert [manifest["files"] for manifest in live] == [manifest["files"] for manifest in offline]


@pytest.mark.live
@pytest.mark.parametrize("program", ["recorder", "uploader"])
@pytest.mark.parametrize(
    ("argument", "status", "told"),
    [("--help", 0, "docs/parameters.md"), ("--autostart", 2, "unrecognized arguments: --autostart")],
)
def test_help_explains_and_an_unknown_argument_is_an_error(program: str, argument: str, status: int, told: str) -> None:
    with Program("-m", f"nucleus_bridge.ros.{program}", argument) as node:
        assert node.wait() == status
        assert told in node.output


@pytest.mark.live
def test_an_unknown_argument_of_ros_is_an_error() -> None:
    with Program("-m", "nucleus_bridge.ros.recorder", "--ros-args", "--autostart") as node:
        assert node.wait() == 2
        assert "the arguments after --ros-args cannot be used: ['--autostart']" in node.output
