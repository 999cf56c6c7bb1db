# SPDX-License-Identifier: Apache-2.0
"""Frames around events, live over DDS: the same bytes as offline, the operator's mark, wrong fields."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from bags import CONFIG, MS, Recording, compressed, jpeg, recording, write_config

from nucleus_bridge.config import load_config
from nucleus_bridge.convert import convert_bag
from nucleus_bridge.decode.fields import paths_of

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("tf2_msgs", reason="needs tf2_msgs: nucleus-bridge ros-setup tf2_msgs")
from event_drives import at, braking, diagnostics, frames_in, named, signal, twist
from live_graph import Observer, observing, recorder, replay
from test_live_equals_offline import assert_live_equals_offline, assert_same_tree

from nucleus_bridge.ros.definitions import definition_of
from nucleus_bridge.spool import Manifest

pytestmark = pytest.mark.live


@pytest.fixture
def observer() -> Iterator[Observer]:
    with observing() as one:
        yield one


FRAMES = 120
EVENTS = """
    event_names: [hit, brake, alarm]
    events:
      hit: {topic: /signal, field: twist.linear.x, when: "> 0", before_s: 1.0, after_s: 0.5}
      brake: {topic: device, field: acceleration, when: "< -2.5", before_s: 0.5, after_s: 0.5}
      alarm: {topic: /alarms, field: "status[0].level", when: ">= 2", before_s: 0.2, after_s: 0.2}
    scene: {select: events}
    look_back: {memory_bytes: 2000}
"""


def drive() -> Recording:
    """A braking, a signal that is high three times (at both ends as well), and an alarm."""
    bag = braking(FRAMES, (6.0, 7.0), 12.0, 5.0).without("/image")
    for count in range(FRAMES):  # a camera that moves never sends the same file twice
        comment = b"\xff\xfe\x00\x06" + count.to_bytes(4, "big")
        bag.add("/image", compressed(at(count / 10), jpeg()[:2] + comment + jpeg()[2:]), at(count / 10) + 5 * MS)
    signal(bag, [(0.0, 0.3), (3.0, 3.4), (11.7, 12.0)], 12.0, lambda stamp, on: twist(stamp, float(on)))
    for count in range(12):
        stamp_ns = at(count + 0.04)
        bag.add("/alarms", diagnostics(stamp_ns, 2 if count == 9 else 0), stamp_ns + 3 * MS)
    return bag


@pytest.mark.parametrize("flags", [(), ("--delay-ms", "300", "--seed", "3")])
def test_windows_are_the_same_live_and_offline(tmp_path: Path, flags: tuple[str, ...]) -> None:
    bag = drive().write(tmp_path / "bag")
    assert_live_equals_offline(bag, write_config(tmp_path, CONFIG + EVENTS), tmp_path, "--rate", "2", *flags)
    manifests = [Manifest.read(folder) for folder in sorted((tmp_path / "live" / "scenes").iterdir())]
    times = [[(stamp["stamp_ns"] - at(0.0)) / 1e9 for stamp in manifest.stamps] for manifest in manifests]
    hits = frames_in([(0.0, 0.8), (2.0, 3.9), (8.84, 10.24), (10.7, 11.9)], FRAMES)
    assert [*times[:2], *times[3:]] == hits
    assert [[name for name, *_ in named(manifest)] for manifest in manifests] == [
        ["hit"],
        ["hit"],
        ["brake"],
        ["alarm"],
        ["hit"],
    ]


def without_digest(scenes: Path) -> list[str]:
    """Take the configuration's digest out of manifests; return it."""
    found = []
    for path in sorted(scenes.glob("*/manifest.json")):
        manifest = json.loads(path.read_text())
        found.append(manifest.pop("config_digest"))
        path.write_text(json.dumps(manifest))
    return found


def test_a_mark_selects_what_convert_selects_around_it(tmp_path: Path, observer: Observer) -> None:
    bag = recording(80, speed=2.0).write(tmp_path / "bag")
    marks = (
        "    event_names: [mark]\n    events:\n      mark: {before_s: 1.5, after_s: 1.0}\n    scene: {select: events}\n"
    )
    config = write_config(tmp_path, CONFIG + marks)
    with (
        recorder(config, tmp_path / "live", "use_sim_time:=true") as node,
        replay(bag, flags=("--clock", "--pause-at", "4.3"), seen_by=observer) as player,
    ):
        player.wait_for("paused")
        armed = observer.value("events", "reach_s", lambda value: float(value or 0) > 1.0)
        assert "armed: mark" in armed.message
        answer = observer.trigger("mark")
        player.say("go on")
        player.wait_for("done")
        assert node.end() == 0, node.output
    assert answer.success, answer.message
    [line] = (tmp_path / "live" / "marks.csv").read_text().splitlines()[1:]
    identity, name, stamp = line.split(",")
    assert (identity, name) == (answer.message, "mark")
    report = convert_bag(bag, load_config(config), tmp_path / "offline", around=tmp_path / "live" / "marks.csv")
    digests = [without_digest(tmp_path / spool / "scenes") for spool in ("offline", "live")]
    assert digests[0] != digests[1]  # the list of times counts in it, and the recorder was given none
    assert_same_tree(tmp_path / "offline" / "scenes", tmp_path / "live" / "scenes")
    [scene] = report.scenes
    kept = [entry["stamp_ns"] for entry in scene.manifest.stamps]
    expected = [at(count / 10) for count in range(80)]
    assert kept == [one for one in expected if int(stamp) - 1_500_000_000 <= one <= int(stamp) + 1_000_000_000]
    assert json.loads((scene.folder / "scene.json").read_text())["metadata"]["events"] == "mark"


def test_a_field_that_is_not_there_is_refused_before_recording_starts(tmp_path: Path, observer: Observer) -> None:
    bag = drive().write(tmp_path / "bag")
    config = write_config(tmp_path, (CONFIG + EVENTS).replace("twist.linear.x", "twist.lineer.x"))
    del observer
    with replay(bag, flags=("--hold", "--eager")) as player:
        player.wait_for("ready")
        with recorder(config, tmp_path / "spool") as node:
            assert node.wait() == 2, node.output
    assert "the nearest field of geometry_msgs/msg/TwistStamped is twist.linear.x (float64)" in node.output
    assert "events.hit.field" in node.output


def test_definitions_of_installed_types_are_those_of_recordings() -> None:
    for type_name in ("sensor_msgs/msg/Imu", "diagnostic_msgs/msg/DiagnosticArray", "sensor_msgs/msg/CameraInfo"):
        assert paths_of(type_name, definition_of(type_name)) == paths_of(type_name)
