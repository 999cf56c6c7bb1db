# SPDX-License-Identifier: Apache-2.0
"""The seam for sensors over real DDS: a message type of the test's own, whose decoder keeps state."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from bags import write_config
from toy_camera import DEFINITION, INTERFACE, TYPE, toy_recording

from nucleus_bridge.cli.main import main
from nucleus_bridge.convert import convert_bag
from nucleus_bridge.decode import registry

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("tf2_msgs", reason="needs tf2_msgs: nucleus-bridge ros-setup tf2_msgs")
from live_graph import HERE, Observer, Program, observing, replay, values
from test_live_equals_offline import assert_same_tree

pytestmark = pytest.mark.live


@pytest.fixture(autouse=True)
def _known() -> Iterator[None]:
    with registry.added(INTERFACE):
        yield


@pytest.fixture(scope="module", autouse=True)
def _built(tmp_path_factory: pytest.TempPathFactory) -> None:
    package, _, name = TYPE.partition("/msg/")
    folder = tmp_path_factory.mktemp(package)
    (folder / f"{name}.msg").write_text(DEFINITION)
    assert main(["ros-setup", "--package", package, "--msg-dir", str(folder)]) == 0


@pytest.fixture
def observer() -> Iterator[Observer]:
    with observing() as made:
        yield made


def toy_recorder(config: Path, spool: Path, *options: str) -> Program:
    own = (f"spool.path:={spool}", "spool.min_free_bytes:=0", "autostart:=true", "queue.workers:=1")
    flags = [flag for parameter in own for flag in ("-p", parameter)]
    return Program(str(HERE / "toy_recorder.py"), *options, "--ros-args", "--params-file", str(config), *flags)


def test_keys_and_deltas_of_a_live_camera_become_the_same_images(tmp_path: Path, observer: Observer) -> None:
    bag, config = toy_recording(20).write(tmp_path / "bag"), write_config(tmp_path)
    convert_bag(bag, config, tmp_path / "offline")
    with toy_recorder(config, tmp_path / "live") as node, replay(bag, seen_by=observer) as player:
        player.wait_for("done")
        observer.value("sensor /image", "received", lambda count: count == "20")
        assert node.end() == 0, node.output
    assert_same_tree(tmp_path / "offline" / "scenes", tmp_path / "live" / "scenes")


def test_after_a_pause_deltas_are_lost_up_to_the_next_key(tmp_path: Path, observer: Observer) -> None:
    """What was left out in the pause is missing under the deltas that follow: they must not build on older images."""
    bag, config = toy_recording(40, key_every=20).write(tmp_path / "bag"), write_config(tmp_path)
    flags = ("--pause-at", "1.05", "--pause-at", "1.55")  # the recording begins half a second before its images
    with toy_recorder(config, tmp_path / "live") as node, replay(bag, flags=flags, seen_by=observer) as player:
        player.wait_for("paused")
        observer.value("sensor /image", "received", lambda count: count == "6")
        assert observer.trigger("pause").success
        player.say("go on")
        observer.value("sensor /image", "received", lambda count: count == "11")
        assert observer.trigger("resume").success
        player.say("go on")
        player.wait_for("done")
        counted = values(observer.value("scenes", "/image broken_gop", lambda count: count == "9"))
        assert node.end() == 0, node.output
    assert counted["/image paused"] == counted["/points paused"] == "5"


def test_a_type_that_is_not_installed_is_named_with_its_package(tmp_path: Path, observer: Observer) -> None:
    bag, config = toy_recording(4).write(tmp_path / "bag"), write_config(tmp_path)
    flags = ("--eager", "--hold")
    with toy_recorder(config, tmp_path / "live", "--hide") as node, replay(bag, flags=flags, seen_by=observer):
        line = node.wait_for("cameras.front.image_topic: /image cannot be used")
        assert f"{TYPE} is not installed here" in line
        assert "install the ROS 2 package toy_msgs" in line
        observer.status("sensor /image", lambda status: "not installed" in status.message)
        assert node.end() == 0, node.output
