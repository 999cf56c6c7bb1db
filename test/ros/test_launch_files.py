# SPDX-License-Identifier: Apache-2.0
"""The launch files: their arguments as ``--show-args`` tells them, and a recorder that they start."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from drives import Drive

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("launch", reason="needs the launch package of a ROS 2 installation")
pytest.importorskip("launch_ros", reason="needs the launch_ros package of a ROS 2 installation")
from launch.launch_description_sources import PythonLaunchDescriptionSource
from live_graph import HERE, Program, observing, replay

from launch import LaunchContext

LAUNCH = HERE.parent.parent / "launch"
RECORD = ["config", "spool", "use_sim_time", "autostart", "upload", "log_level", "namespace"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("record", RECORD),
        ("replay", [*RECORD, "bag", "rate"]),
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


def install(prefix: Path, executable: str, module: str) -> None:
    """Make a prefix in which launch finds the package and its program."""
    marker = prefix / "share/ament_index/resource_index/packages/nucleus_bridge"
    program = prefix / "lib/nucleus_bridge" / executable
    for path in (marker, program):
        path.parent.mkdir(parents=True)
    marker.touch()
    lines = [f"#!{sys.executable}", "import sys", f"from {module} import main", "if __name__ == '__main__':"]
    program.write_text("\n".join([*lines, "    sys.exit(main())", ""]))
    program.chmod(0o755)


@pytest.mark.live
def test_the_launched_recorder_starts_records_and_seals_at_the_end(
    drive: Drive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "prefix", "nucleus_recorder", "nucleus_bridge.ros.recorder")
    prefixes = [str(tmp_path / "prefix"), *filter(None, [os.environ.get("AMENT_PREFIX_PATH")])]
    monkeypatch.setenv("AMENT_PREFIX_PATH", os.pathsep.join(prefixes))
    spool = tmp_path / "spool"
    arguments = [f"config:={drive.config_path}", f"spool:={spool}"]
    with observing(), Program(str(HERE / "launch_program.py"), str(LAUNCH / "record.launch.py"), *arguments) as launch:
        launch.wait_for("recording to")
        with replay(drive.bag) as player:
            player.wait_for("done")
        assert launch.end(2) == 0, launch.output
        assert "process has died" not in launch.output
    [manifest] = [json.loads(path.read_text()) for path in spool.glob("scenes/*/manifest.json")]
    assert manifest["frames"] == 40
