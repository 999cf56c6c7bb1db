# SPDX-License-Identifier: Apache-2.0
"""The recorder from outside: lifecycle, services, parameters, and the ends it can come to."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from drives import SHORT, Drive, make_drive

from nucleus_bridge.config import load_config

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("tf2_msgs", reason="needs tf2_msgs: nucleus-bridge ros-setup tf2_msgs")
from diagnostic_msgs.msg import KeyValue
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import GetState
from live_graph import (
    HERE,
    RECORDER,
    Observer,
    Program,
    new_domain,
    observing,
    recorder,
    replay,
    set_parameter,
    wait_until,
)
from rcl_interfaces.srv import DescribeParameters, GetParameters
from rclpy.executors import SingleThreadedExecutor
from test_live_equals_offline import with_radar_scans

from nucleus_bridge.ros.recorder import RecorderNode
from nucleus_bridge.ros.running import Stop

pytestmark = pytest.mark.live


@pytest.fixture
def observer() -> Iterator[Observer]:
    with observing() as made:
        yield made


def manifests(spool: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(spool.glob("scenes/*/manifest.json"))]


def state(observer: Observer) -> str:
    return str(observer.call(GetState, f"{RECORDER}/get_state", GetState.Request()).current_state.label)


def test_the_lifecycle_seals_and_starts_anew(drive: Drive, tmp_path: Path, observer: Observer) -> None:
    with recorder(drive.config_path, tmp_path / "live", autostart=False) as node:
        assert state(observer) == "unconfigured"
        assert observer.change_state(Transition.TRANSITION_CONFIGURE)
        assert not observer.trigger("pause").success
        assert observer.change_state(Transition.TRANSITION_ACTIVATE)
        with replay(drive.bag, flags=("--pause-at", "2")) as player:
            player.wait_for("paused")
            observer.value("scenes", "open_frames", lambda count: count not in ("", "0"))
            assert observer.change_state(Transition.TRANSITION_DEACTIVATE)
            assert state(observer) == "inactive"
            [sealed] = manifests(tmp_path / "live")
            assert sealed["end_reason"] == "end_of_data"
            assert 0 < sealed["frames"] < 40
            player.say("go on")
            player.wait_for("done")
        assert observer.change_state(Transition.TRANSITION_ACTIVATE)
        assert observer.change_state(Transition.TRANSITION_DEACTIVATE)
        assert observer.change_state(Transition.TRANSITION_CLEANUP)
        assert state(observer) == "unconfigured"
        assert observer.change_state(Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
        assert node.end() == 0


class CountingNode(RecorderNode):
    """Counts the turns that its executor makes without having been asked for."""

    turns = 0

    def _on_turn(self) -> None:
        self.turns += 1
        super()._on_turn()


def test_while_its_executor_rests_it_reports_as_often_and_hears_who_comes(
    drive: Drive, tmp_path: Path, observer: Observer
) -> None:
    given = [f"spool.path:={tmp_path}", "spool.min_free_bytes:=0", "autostart:=true", "queue.workers:=1"]
    flags = [flag for parameter in given for flag in ("-p", parameter)]
    arguments = ["--ros-args", "--params-file", str(drive.config_path), *flags]
    node = CountingNode(Stop(), context=observer.node.context, cli_args=arguments)
    executor = SingleThreadedExecutor(context=observer.node.context)
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    try:
        wait_until(lambda: node._rests, "its executor rests")
        topics = node._listening.topics.values()
        assert all("nobody publishes" in topic.missing for topic in topics if not topic.is_optional)
        turns = node.turns
        observer.hear("scenes", "active", times=12)
        assert node.turns - turns <= 3
        with replay(drive.bag) as player:
            player.wait_for("done")
        observer.value("scenes", "frames", lambda frames: int(frames or 0) > 30)
        wait_until(lambda: node._rests, "its executor rests again")
        assert observer.change_state(Transition.TRANSITION_DEACTIVATE)
        assert not node._rests
        observer.hear("scenes", "inactive: nothing is recorded", times=3)
    finally:
        executor.shutdown()
        thread.join()
        node.close()
        node.destroy_node()


def test_what_is_set_while_inactive_holds_from_the_next_activation_on(
    drive: Drive, tmp_path: Path, observer: Observer
) -> None:
    with recorder(drive.config_path, tmp_path / "first", autostart=False) as node:
        assert set_parameter(observer, "scene.max_frames", 15) == ""
        assert observer.change_state(Transition.TRANSITION_CONFIGURE)
        assert set_parameter(observer, "scene.prefix", "other") == ""
        assert set_parameter(observer, "spool.path", str(tmp_path / "second")) == ""
        assert set_parameter(observer, "autostart", value=True) != ""
        assert observer.change_state(Transition.TRANSITION_ACTIVATE)
        assert "deactivate" in set_parameter(observer, "scene.prefix", "third")
        with replay(drive.bag, flags=("--rate", "2")) as player:
            player.wait_for("done")
        assert observer.change_state(Transition.TRANSITION_DEACTIVATE)
        assert set_parameter(observer, "scene.prefix", "third") == ""
        assert node.end() == 0, node.output
    assert not manifests(tmp_path / "first")
    sealed = manifests(tmp_path / "second")
    assert [(one["frames"], one["reference_id"].partition("-")[0]) for one in sealed] == [
        (15, "other"),
        (15, "other"),
        (10, "other"),
    ]


def test_what_cannot_be_configured_says_why(drive: Drive, tmp_path: Path, observer: Observer) -> None:
    (tmp_path / "file").write_text("")
    with recorder(drive.config_path, tmp_path / "file" / "spool", autostart=False) as node:
        assert not observer.change_state(Transition.TRANSITION_CONFIGURE)
        assert state(observer) == "unconfigured"
        assert str(tmp_path / "file" / "spool") in node.wait_for("cannot be configured")
        observer.status("scenes", lambda status: "cannot be written to" in status.message)
        assert "OutputError: spool" in node.output
        assert node.end() == 0


def test_services_finish_pause_and_resume(drive: Drive, tmp_path: Path, observer: Observer) -> None:
    half = ("--pause-at", "2", "--rate", "2")
    with recorder(drive.config_path, tmp_path / "live") as node, replay(drive.bag, flags=half) as player:
        player.wait_for("paused")
        observer.value("scenes", "open_frames", lambda count: count not in ("", "0"))
        answer = observer.trigger("finish_scene")
        assert answer.success
        assert "is sealed" in answer.message
        assert observer.trigger("pause").success
        assert observer.trigger("pause").message == "was paused already"
        player.say("go on")
        player.wait_for("done")
        observer.value("scenes", "state", lambda text: text == "paused")
        assert observer.trigger("resume").message == "recording"
        assert observer.trigger("finish_scene").success
        assert node.end() == 0
    finished = manifests(tmp_path / "live")
    assert finished[0]["end_reason"] == "requested"
    lost = sum(sum(made["losses"].get("/lidar/top/points", {}).values()) for made in finished)
    paused = sum(made["losses"].get("/lidar/top/points", {}).get("paused", 0) for made in finished)
    assert sum(made["frames"] for made in finished) + lost == 40
    assert lost == paused > 0


def test_a_recorder_can_be_told_from_others_and_tells_of_its_scenes(
    drive: Drive, tmp_path: Path, observer: Observer
) -> None:
    heard: list[KeyValue] = []
    observer.node.create_subscription(KeyValue, f"{RECORDER}/scene_sealed", heard.append, 10)
    named = "ros.hardware_id:=truck 7"
    with recorder(drive.config_path, tmp_path / "live", named) as node, replay(drive.bag, seen_by=observer) as player:
        player.wait_for("done")
        assert observer.trigger("finish_scene").success
        [told] = wait_until(lambda: heard, "the sealed scene")
        assert observer.trigger("pause").success
        status = observer.value("scenes", "is_paused", lambda text: text == "True")
        assert (status.name, status.hardware_id) == ("/nucleus_recorder: scenes", "truck 7")
        assert observer.change_state(Transition.TRANSITION_DEACTIVATE)
        assert observer.status("scenes", lambda status: "nothing is recorded" in status.message).level == b"\x01"
        assert node.end() == 0
    assert told.key == manifests(tmp_path / "live")[0]["reference_id"]
    assert told.value == str(tmp_path / "live" / "scenes" / told.key)


def test_finish_scene_answers_while_the_spool_is_full(drive: Drive, tmp_path: Path, observer: Observer) -> None:
    full = f"spool.min_free_bytes:={2**62}"
    with recorder(drive.config_path, tmp_path / "live", full) as node, replay(drive.bag, flags=("--hold",)) as player:
        player.wait_for("ready")
        empty = observer.trigger("finish_scene")
        assert empty.success
        assert empty.message == "no open scene"
        player.say("go on")
        observer.status("spool", lambda status: "spool.when_full" in status.message)
        answer = observer.trigger("finish_scene")
        assert not answer.success
        assert "no room" in answer.message
        player.wait_for("done")
        node.end()


def test_a_pause_leaves_out_and_counts_every_kind_of_sensor(tmp_path: Path, observer: Observer) -> None:
    pytest.importorskip("radar_msgs", reason="nucleus-bridge ros-setup radar_msgs")
    made = make_drive(tmp_path, replace(SHORT, seconds=2.0, points=500, cameras=1, radars=1))
    bag = with_radar_scans(made.bag, tmp_path / "scans")
    topics = {sensor.topic for sensor in load_config(made.config_path).sensors}
    with recorder(made.config_path, tmp_path / "live") as node, replay(bag, flags=("--hold",)) as player:
        player.wait_for("ready")
        assert observer.trigger("pause").success
        player.say("go on")
        player.wait_for("done")
        for topic in topics:
            observer.value("scenes", f"{topic} paused", lambda count: count == "20")
        assert node.end() == 0
    assert len(topics) == 3


def test_parameters_are_described_checked_and_applied(drive: Drive, tmp_path: Path, observer: Observer) -> None:
    given = ("lidars.top.intensity_max:=255", "sync.wait_s:=2")
    with recorder(drive.config_path, tmp_path / "live", *given) as node:
        names = [
            "lidars.top.intensity_max",
            "sync.wait_s",
            "diagnostics.silent_s",
            "cameras.rear.rectify",
            "lidar_names",
        ]
        request = DescribeParameters.Request(names=names)
        described = observer.call(DescribeParameters, f"{RECORDER}/describe_parameters", request).descriptors
        assert [item.name for item in described] == names
        assert all(item.description for item in described)
        assert [item.read_only for item in described] == [False, False, False, False, True]
        assert described[1].floating_point_range[0].to_value == 60.0
        assert "never" in described[3].additional_constraints
        request = GetParameters.Request(names=["lidars.top.intensity_max", "lidars.top.max_range_m"])
        got = observer.call(GetParameters, f"{RECORDER}/get_parameters", request).values
        assert [item.double_value for item in got] == [255.0, float("inf")]
        assert set_parameter(observer, "diagnostics.silent_s", 1) == ""  # an integer for a double
        request = GetParameters.Request(names=["diagnostics.silent_s"])
        assert observer.call(GetParameters, f"{RECORDER}/get_parameters", request).values[0].double_value == 1.0
        assert set_parameter(observer, "diagnostics.silent_s", 0.05) == ""
        refused = "sync.wait_s: it is read when recording begins; deactivate the node first"
        assert set_parameter(observer, "sync.wait_s", 3.0) == refused
        assert set_parameter(observer, "sync.wait_s", 2) == ""  # as it is already
        assert "must be one of" in set_parameter(observer, "spool.when_full", "explode")
        with replay(drive.bag, seen_by=observer) as player:
            # At 10 Hz each report finds a silence of more than 0.05 s, which lasts or has ended.
            observer.status("sensor /lidar/top/points", lambda status: "silent for 0." in status.message)
            player.wait_for("done")
        assert node.end() == 0


@pytest.mark.parametrize(
    ("parameter", "words"),
    [
        ("scene.max_item:=3", ["scene.max_item: no such parameter", "'scene.max_items'"]),
        ("scene.max_items:=301", ["scene.max_items", "1 to 300", "301"]),
        ("image.quality:=high", ["image.quality", "'high'"]),
        ("cameras.roof.image_topic:=/x", ["'roof' is not in camera_names"]),
    ],
)
def test_wrong_parameters_end_the_program_with_a_line(
    drive: Drive, tmp_path: Path, parameter: str, words: list[str]
) -> None:
    new_domain()
    with recorder(drive.config_path, tmp_path / "live", parameter) as node:
        assert node.wait() == 2
        assert "Traceback" not in node.output
        assert all(word in node.output for word in words), node.output


def test_an_empty_list_in_the_file_is_a_list(drive: Drive, tmp_path: Path, observer: Observer) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(drive.config_path.read_text().replace("deskew: true", "radar_names: []"))
    with recorder(config, tmp_path / "live", "point_fields:=['']") as node:
        node.wait_for("recording to")
        request = GetParameters.Request(names=["radar_names", "point_fields"])
        got = observer.call(GetParameters, f"{RECORDER}/get_parameters", request).values
        assert [list(item.string_array_value) for item in got] == [[""], [""]]
        assert node.end() == 0


@pytest.mark.parametrize(
    ("text", "told"), [("deskew: [true", "parse"), ("deskew: true\n    deskew: false", "key 'deskew' is given twice")]
)
def test_a_parameter_file_that_cannot_be_used_ends_the_program_with_a_line(
    drive: Drive, tmp_path: Path, text: str, told: str
) -> None:
    new_domain()
    config = tmp_path / "config.yaml"
    config.write_text(drive.config_path.read_text().replace("deskew: true", text))
    with recorder(config, tmp_path / "live") as node:
        assert node.wait() == 2
        assert str(config) in node.output
        assert told in node.output
        assert "Traceback" not in node.output


def test_empty_mappings_may_stand_in_the_file_that_the_command_line_reads(
    drive: Drive, tmp_path: Path, observer: Observer
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(drive.config_path.read_text().replace("deskew: true", "radars: {}\n    metadata: {}"))
    load_config(config)
    with recorder(config, tmp_path / "live") as node:
        node.wait_for("recording to")
        request = GetParameters.Request(names=["world_frame", "deskew"])
        got = observer.call(GetParameters, f"{RECORDER}/get_parameters", request).values
        assert [got[0].string_value, got[1].bool_value] == ["map", True]
        assert node.end() == 0


def test_files_count_from_the_parameter_file_that_names_them(drive: Drive, tmp_path: Path, observer: Observer) -> None:
    (tmp_path / "vehicle").mkdir()
    (tmp_path / "vehicle" / "car.urdf").write_text('<robot name="car"/>')
    config = tmp_path / "vehicle" / "config.yaml"
    config.write_text(drive.config_path.read_text().replace("deskew: true", "transforms: {urdf: car.urdf}"))
    with recorder(config, tmp_path / "live") as node:
        node.wait_for("recording to")
        request = GetParameters.Request(names=["transforms.urdf"])
        got = observer.call(GetParameters, f"{RECORDER}/get_parameters", request).values
        assert got[0].string_value == str(config.parent / "car.urdf")
        assert node.end() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_comes_again_and_again_ends_it_as_cleanly(drive: Drive, tmp_path: Path, number: int) -> None:
    new_domain()
    with recorder(drive.config_path, tmp_path / "live") as node:
        node.wait_for("recording to")

        def ended() -> bool:
            node.process.send_signal(number)
            return node.process.poll() is not None

        wait_until(ended, "the end", lambda: node.output)
        assert node.wait() == 0, node.output


def test_a_callback_that_fails_again_and_again_costs_no_frame(drive: Drive, tmp_path: Path) -> None:
    new_domain()
    spool = tmp_path / "live"
    given = ("--ros-args", "--params-file", str(drive.config_path), "-p", f"spool.path:={spool}")
    program = Program(str(HERE / "failing_recorder.py"), *given, "-p", "autostart:=true")
    with program as node, replay(drive.bag) as player:
        player.wait_for("done")
        node.wait_for("the first frame is made, in the scene demo-")
        node.wait_for("a callback failed, everything else goes on: RuntimeError: as the test wants")
        assert node.end() == 0, node.output
    [sealed] = manifests(spool)
    assert sealed["frames"] == 40


def test_a_topic_whose_decoder_fails_is_named_and_the_others_are_recorded(
    drive: Drive, tmp_path: Path, observer: Observer
) -> None:
    config, rear = tmp_path / "config.yaml", "/camera/rear/image_raw/compressed"
    config.write_text(drive.config_path.read_text().replace("required: true", "required: false"))
    own = (f"spool.path:={tmp_path / 'live'}", "spool.min_free_bytes:=0", "queue.workers:=1", "autostart:=true")
    flags = ["--ros-args", "--params-file", str(config), *(f for one in own for f in ("-p", one))]
    with Program(str(HERE / "broken_recorder.py"), *flags) as node, replay(drive.bag, seen_by=observer) as player:
        text = "a message cannot be used, the other topics are recorded: ValueError: as the test wants"
        node.wait_for(f"{rear}: {text}")
        assert observer.status(f"sensor {rear}", lambda status: status.message == text).level == b"\x02"
        player.wait_for("done")
        observer.value("scenes", f"{rear} damaged", lambda count: count == "40")
        assert node.end() == 0
    [manifest] = manifests(tmp_path / "live")
    assert manifest["frames"] == 40
    assert manifest["losses"][rear] == {"damaged": 40}
    assert node.output.count(text) == 1


def test_a_middleware_that_never_lets_go_keeps_neither_scene_nor_process(drive: Drive, tmp_path: Path) -> None:
    new_domain()
    spool = tmp_path / "live"
    given = ("--ros-args", "--params-file", str(drive.config_path), "-p", f"spool.path:={spool}")
    program = Program(str(HERE / "hanging_recorder.py"), *given, "-p", "autostart:=true")
    with program as node, replay(drive.bag) as player:
        player.wait_for("done")
        node.wait_for("the first frame is made, in the scene demo-")
        assert node.end() == 1, node.output
        node.wait_for("warning: the middleware does not let go; everything is safe, and the process ends without")
    [sealed] = manifests(spool)
    assert sealed["frames"] == 40
    assert not list(spool.glob("open/*"))


def test_a_disk_that_cannot_be_written_stops_the_recording_with_the_reason(
    drive: Drive, tmp_path: Path, observer: Observer
) -> None:
    """The folder of open scenes is taken away, so that the scene cannot even be begun."""
    spool = tmp_path / "live"
    with recorder(drive.config_path, spool, autostart=False) as node:
        assert observer.change_state(Transition.TRANSITION_CONFIGURE)
        assert observer.change_state(Transition.TRANSITION_ACTIVATE)
        (spool / "open").rmdir()
        (spool / "open").write_text("")
        with replay(drive.bag):
            assert "cannot write" in node.wait_for("recording stopped:")
        assert state(observer) == "unconfigured"
        observer.status("scenes", lambda status: "cannot write" in status.message)
        assert node.end() == 0
