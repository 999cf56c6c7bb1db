# SPDX-License-Identifier: Apache-2.0
"""The launch files: their arguments as ``--show-args`` tells them, and the nodes that they start."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import yaml
from drives import Drive

from nucleus_bridge.convert import convert_bag

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("launch", reason="needs the launch package of a ROS 2 installation")
pytest.importorskip("launch_ros", reason="needs the launch_ros package of a ROS 2 installation")
from launch.launch_description_sources import PythonLaunchDescriptionSource
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from live_graph import HERE, Program, new_domain, observing, replay, wait_until

from launch import LaunchContext

LAUNCH = HERE.parent.parent / "launch"
RECORD = ["config", "spool", "use_sim_time", "autostart", "upload", "log_level", "namespace"]
RESPAWN = ["respawn", "respawn_delay", "respawn_max_retries"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("record", [*RECORD, *RESPAWN]),
        ("replay", [*RECORD, *RESPAWN, "bag", "rate"]),
        ("upload", ["config", "spool", "log_level", "namespace"]),
    ],
)
def test_every_argument_is_declared_and_described(name: str, expected: list[str]) -> None:
    source = PythonLaunchDescriptionSource(str(LAUNCH / f"{name}.launch.py"))
    arguments = source.get_launch_description(LaunchContext()).get_launch_arguments()
    assert sorted(argument.name for argument in arguments) == sorted(expected)
    assert all(len(argument.description) > 10 for argument in arguments)
    required = {argument.name for argument in arguments if argument.default_value is None}
    assert required == {"config", "spool", "bag"} & set(expected)


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a prefix in which launch finds the package and its programs, as colcon does."""
    prefix = tmp_path / "prefix"
    for node in ("recorder", "uploader"):
        program = prefix / f"lib/nucleus_bridge/nucleus_{node}"
        program.parent.mkdir(parents=True, exist_ok=True)
        module = f"nucleus_bridge.ros.{node}"
        lines = [f"#!{sys.executable}", "import sys", f"from {module} import main", "if __name__ == '__main__':"]
        program.write_text("\n".join([*lines, "    sys.exit(main())", ""]))
        program.chmod(0o755)
    marker = prefix / "share/ament_index/resource_index/packages/nucleus_bridge"
    marker.parent.mkdir(parents=True)
    marker.touch()
    prefixes = [str(prefix), *filter(None, [os.environ.get("AMENT_PREFIX_PATH")])]
    monkeypatch.setenv("AMENT_PREFIX_PATH", os.pathsep.join(prefixes))


@contextmanager
def launched(name: str, **arguments: object) -> Iterator[Program]:
    given = [f"{argument}:={value}" for argument, value in arguments.items()]
    with Program(str(HERE / "launch_program.py"), str(LAUNCH / f"{name}.launch.py"), *given) as launch:
        try:
            yield launch
        finally:
            launch.end(signal.SIGINT)  # a launch that is killed leaves its nodes behind


def frames(spool: Path) -> list[int]:
    return [json.loads(path.read_text())["frames"] for path in sorted(spool.glob("scenes/*/manifest.json"))]


@pytest.mark.live
@pytest.mark.parametrize("name", ["record", "upload"])
def test_a_parameter_file_that_is_not_there_ends_the_launch(tmp_path: Path, name: str) -> None:
    new_domain()
    with launched(name, config=tmp_path / "nowhere.yaml", spool=tmp_path / "spool") as launch:
        assert launch.wait() == 1
        assert f"config:={tmp_path / 'nowhere.yaml'}: there is no such file" in launch.output
        assert "process started" not in launch.output


@pytest.mark.live
@pytest.mark.usefixtures("prefix")
def test_the_launched_recorder_starts_records_and_seals_at_the_end(drive: Drive, tmp_path: Path) -> None:
    with observing(), launched("record", config=drive.config_path, spool=tmp_path / "spool") as launch:
        launch.wait_for("recording to")
        with replay(drive.bag) as player:
            player.wait_for("done")
        assert launch.end(signal.SIGINT) == 0, launch.output
        assert "process has died" not in launch.output
    assert frames(tmp_path / "spool") == [40]


@pytest.mark.live
@pytest.mark.usefixtures("prefix")
def test_with_a_namespace_and_without_autostart_it_waits_for_its_manager(drive: Drive, tmp_path: Path) -> None:
    given = {"config": drive.config_path, "spool": tmp_path / "spool", "namespace": "robot", "autostart": "false"}
    name = "/robot/nucleus_recorder"
    with observing() as observer, launched("record", **given) as launch:

        def state() -> int:
            return int(observer.call(GetState, f"{name}/get_state", GetState.Request()).current_state.id)

        assert state() == State.PRIMARY_STATE_UNCONFIGURED
        for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            request = ChangeState.Request()
            request.transition.id = transition
            assert observer.call(ChangeState, f"{name}/change_state", request).success, launch.output
        assert state() == State.PRIMARY_STATE_ACTIVE
        assert launch.end(signal.SIGINT) == 0, launch.output


@pytest.mark.live
@pytest.mark.usefixtures("prefix")
def test_an_uploader_that_is_killed_is_started_again(
    drive: Drive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("obstore", reason="needs the extra 'cloud'")
    spool, store, config = tmp_path / "spool", f"file://{tmp_path / 'objects'}", tmp_path / "config.yaml"
    (tmp_path / "objects").mkdir()
    spool.mkdir()
    parameters = yaml.safe_load(drive.config_path.read_text())
    parameters["/**"]["ros__parameters"]["upload"] = {"store": store, "dataset_name": "launched"}
    config.write_text(yaml.safe_dump(parameters))
    monkeypatch.setenv("NUCLEUS_API_KEY", "key")
    new_domain()
    with Program("-m", "nucleus_bridge", "serve", str(tmp_path / "receiver"), "--store", store) as receiver:
        monkeypatch.setenv("NUCLEUS_ENDPOINT", receiver.wait_for("http://").strip())
        with launched("record", config=config, spool=spool, upload="true") as launch:
            launch.wait_for("recording to")

            def started() -> list[str]:
                return re.findall(r"nucleus_uploader-\d+\]: process started with pid \[(\d+)\]", launch.output)

            [first] = wait_until(started, "the uploader", lambda: launch.output)
            os.kill(int(first), signal.SIGKILL)
            wait_until(lambda: len(started()) == 2, "the uploader again", lambda: launch.output)
            report = convert_bag(drive.bag, drive.config, spool)
            launch.wait_for(f"{report.scenes[0].manifest.reference_id}: done")
            assert launch.end(signal.SIGINT) == 0, launch.output


@pytest.mark.live
@pytest.mark.usefixtures("prefix")
def test_a_recorder_that_is_killed_is_started_again_as_often_as_is_asked_for(drive: Drive, tmp_path: Path) -> None:
    new_domain()
    given = {"respawn": "true", "respawn_delay": "0.1", "respawn_max_retries": "1"}
    with launched("record", config=drive.config_path, spool=tmp_path / "spool", **given) as launch:

        def started() -> list[str]:
            return re.findall(r"nucleus_recorder-\d+\]: process started with pid \[(\d+)\]", launch.output)

        def is_recording(number: int) -> bool:
            return launch.output.count("recording to") == number

        for number in (1, 2):
            wait_until(partial(is_recording, number), "the recorder", lambda: launch.output)
            os.kill(int(started()[-1]), signal.SIGKILL)
        assert launch.wait() == 0, launch.output  # nothing is left to run
        assert len(started()) == 2


@pytest.mark.live
@pytest.mark.usefixtures("prefix")
def test_a_replayed_bag_is_recorded_whole_and_ends_everything(drive: Drive, tmp_path: Path) -> None:
    pytest.importorskip("rosbag2_py", reason="needs the rosbag2 of a ROS 2 installation")
    if not shutil.which("ros2"):
        pytest.skip("needs the ros2 command of a ROS 2 installation")
    new_domain()
    with launched("replay", config=drive.config_path, spool=tmp_path / "spool", bag=drive.bag) as launch:
        assert launch.wait() == 0, launch.output
    assert frames(tmp_path / "spool") == [40]
