# SPDX-License-Identifier: Apache-2.0
"""What comes out, and what the diagnostics say, when sensors, transforms or the clock misbehave."""

from __future__ import annotations

import filecmp
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from bags import MS, OPTICAL, TYPES, Recording, compressed, info, jpeg, transforms
from bags import START_NS as SMALL_START_NS
from drives import SHORT, Drive, make_drive
from small_drive import Camera, Lidar, SmallDrive, Tf

from nucleus_bridge.cli.main import main
from nucleus_bridge.config import load_config
from nucleus_bridge.convert import convert_bag
from nucleus_bridge.decode.cdr import peek_header, with_stamp
from nucleus_bridge.model import Message
from nucleus_bridge.recordings import open_recording
from nucleus_bridge.validate.scenes import validate_path
from nucleus_bridge.warnings import Code

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("tf2_msgs", reason="needs tf2_msgs: nucleus-bridge ros-setup tf2_msgs")
from diagnostic_msgs.msg import DiagnosticStatus
from live_graph import Observer, Program, new_domain, observing, recorder, replay, set_parameter, values, wait_until

pytestmark = pytest.mark.live

WARN, ERROR = DiagnosticStatus.WARN, DiagnosticStatus.ERROR
SMALL = replace(SHORT, points=2000, image_width=320, image_height=200)
START_NS = SMALL.start_ns
SECOND = 10**9
LIDAR, REAR = "/lidar/top/points", "/camera/rear/image_raw/compressed"


@pytest.fixture
def observer() -> Iterator[Observer]:
    with observing() as made:
        yield made


def with_messages(drive: Drive, path: Path, keep: Callable[[Message], bool]) -> Path:
    """Write the drive again without the messages that are not to be kept."""
    made = Recording()
    with open_recording(drive.bag) as bag:
        for message in bag.messages([topic.name for topic in bag.topics]):
            if keep(message):
                made.add_raw(message.topic, message.type_name, message.data, message.log_ns)
    return made.write(path)


def silent(topic: str, from_s: float, to_s: float = 1e9) -> Callable[[Message], bool]:
    return lambda message: (
        message.topic != topic or not START_NS + from_s * SECOND <= message.log_ns < START_NS + min(to_s, 1e6) * SECOND
    )


def optional_cameras(drive: Drive, path: Path) -> Path:
    path.write_text(drive.config_path.read_text().replace("required: true", "required: false"))
    return path


def scenes(spool: Path) -> list[Path]:
    return sorted((spool / "scenes").iterdir())


def manifest(scene: Path) -> dict:
    return json.loads((scene / "manifest.json").read_text())


def cloud(scene: Path, index: int) -> dict:
    """Read a cloud without its GPS pose: the fix after the last sweeps may not have come."""
    document = json.loads((scene / f"top/{index:06d}.json").read_text())
    document.pop("device_gps_pose", None)
    return document


def assert_same_scenes(spool: Path, other: Path, *, but: tuple[str, ...] = ()) -> None:
    assert [scene.name for scene in scenes(spool)] == [scene.name for scene in scenes(other)]
    for one, two in zip(scenes(spool), scenes(other), strict=True):
        assert {**manifest(one), **dict.fromkeys(but)} == {**manifest(two), **dict.fromkeys(but)}
    assert_valid(spool)


def assert_valid(spool: Path) -> None:
    reports = validate_path(spool)
    assert reports
    assert all(report.ok for report in reports), reports


def test_a_lidar_that_stops(drive: Drive, tmp_path: Path, observer: Observer) -> None:
    bag = with_messages(drive, tmp_path / "bag", silent(LIDAR, 2.0))
    convert_bag(bag, drive.config, tmp_path / "offline")
    with recorder(drive.config_path, tmp_path / "live") as node, replay(bag, seen_by=observer) as player:
        player.wait_for("done")
        status = observer.status(f"sensor {LIDAR}", lambda status: status.message.startswith("silent"))
        assert status.level == ERROR
        assert node.end() == 0
    assert_same_scenes(tmp_path / "live", tmp_path / "offline")
    [scene] = scenes(tmp_path / "live")
    assert 18 <= manifest(scene)["frames"] <= 20


def test_a_camera_that_stops_and_comes_back(drive: Drive, tmp_path: Path, observer: Observer) -> None:
    config = optional_cameras(drive, tmp_path / "config.yaml")
    bag = with_messages(drive, tmp_path / "bag", silent(REAR, 0.5, 3.0))
    convert_bag(bag, config, tmp_path / "offline")
    with recorder(config, tmp_path / "live") as node, replay(bag, seen_by=observer) as player:
        status = observer.status(f"sensor {REAR}", lambda status: "silent for" in status.message)
        assert status.level == WARN
        player.wait_for("done")
        assert node.end() == 0
    assert_same_scenes(tmp_path / "live", tmp_path / "offline")
    [scene] = scenes(tmp_path / "live")
    assert manifest(scene)["frames"] == 40
    assert manifest(scene)["missing"] == {"rear": 25}


def test_transforms_that_stop_for_three_seconds(drive: Drive, tmp_path: Path, observer: Observer) -> None:
    bag = with_messages(drive, tmp_path / "bag", silent("/tf", 0.5, 3.46))
    convert_bag(bag, drive.config, tmp_path / "offline")
    with recorder(drive.config_path, tmp_path / "live") as node, replay(bag, seen_by=observer) as player:
        waiting = observer.status("tf", lambda status: "frames wait for" in status.message)
        assert waiting.level in (WARN, ERROR)
        assert float(values(waiting)["longest_wait_s"]) > 1.0
        assert "map" in values(waiting)["waited_for"]
        player.wait_for("done")
        lost = observer.status("tf", lambda status: status.message.startswith("frames are lost"))
        assert lost.level == ERROR
        assert node.end() == 0
    assert_same_scenes(tmp_path / "live", tmp_path / "offline")
    losses = [manifest(scene)["losses"] for scene in scenes(tmp_path / "live")]
    assert sum(loss.get(LIDAR, {}).get("after_last_transform", 0) for loss in losses) > 5


def test_a_publisher_that_comes_late(drive: Drive, tmp_path: Path, observer: Observer) -> None:
    convert_bag(drive.bag, drive.config, tmp_path / "offline")
    with recorder(drive.config_path, tmp_path / "live") as node:
        status = observer.status(f"sensor {LIDAR}", lambda status: "nobody publishes" in status.message)
        assert status.level == ERROR
        told = node.wait_for("nobody publishes /lidar")
        assert "lidars.top.topic: nobody publishes" in told
        assert "another type that is read here: none" in told  # what the recorder shows is not a lidar
        with replay(drive.bag, flags=("--rate", "2")) as player:
            player.wait_for("done")
            status = observer.value(f"sensor {LIDAR}", "received", lambda count: count == "40")
            assert "nobody publishes" not in status.message
            assert node.end() == 0
    assert_same_scenes(tmp_path / "live", tmp_path / "offline")


@pytest.mark.parametrize(("late_s", "lost"), [(1.0, False), (3.0, True)])
def test_static_transforms_that_come_late(tmp_path: Path, observer: Observer, late_s: float, lost: bool) -> None:
    """Much later than ``sync.wait_s`` the frames from before are lost; a recording is looked through beforehand."""
    drive = make_drive(tmp_path, replace(SMALL, late_static_s=late_s))
    convert_bag(drive.bag, drive.config, tmp_path / "offline")
    held = ("--pause-at", str(late_s + 0.45))  # counted from the first transform, half a second before the first sweep
    with recorder(drive.config_path, tmp_path / "live") as node, replay(drive.bag, flags=held) as player:
        player.wait_for("paused")
        before = str(round(10 * late_s) - 1)
        observer.value(f"sensor {LIDAR}", "received", lambda count: count == before)
        player.say("go on")
        player.wait_for("done")
        observer.value("tf", "/tf_static received", lambda count: count not in ("", "0"))
        assert node.end() == 0
    if not lost:
        assert_same_scenes(tmp_path / "live", tmp_path / "offline")
        return
    [scene] = scenes(tmp_path / "live")
    causes = manifest(scene)["losses"][LIDAR]
    assert set(causes) <= {"unknown_frame", "unconnected_frames"}
    assert manifest(scene)["frames"] == 40 - sum(causes.values())
    assert 1 <= sum(causes.values()) <= 7
    assert_valid(tmp_path / "live")


def back(node: Program) -> int:
    return node.output.count("clock went back by")


def test_a_clock_that_goes_back(tmp_path: Path, observer: Observer) -> None:
    folders = [tmp_path / "later", tmp_path / "earlier"]
    options = replace(SMALL, seconds=2.0, cameras=1)
    drives = []
    for folder, shift_s in zip(folders, (10, 0), strict=True):
        folder.mkdir()
        drives.append(make_drive(folder, replace(options, start_ns=START_NS + shift_s * SECOND)))
        convert_bag(drives[-1].bag, drives[-1].config, tmp_path / "offline")
    config = drives[0].config_path
    later, earlier = drives[0].bag, drives[1].bag
    with (
        recorder(config, tmp_path / "live", "use_sim_time:=true") as node,
        replay(later, earlier, earlier, flags=("--clock", "--pause-between")) as player,
    ):
        for jump in (1, 2):
            wait_until(lambda jump=jump: player.lines.count("paused") == jump, "the next bag", lambda: player.output)
            wait_until(lambda jump=jump: back(node) == jump, "the clock went back", lambda: node.output)
            player.say("go on")
        player.wait_for("done")
        assert "the open scene ends" in node.wait_for("clock went back by")
        observer.value("scenes", f"{LIDAR} scene_exists", lambda count: count == "")
        assert node.end() == 0
        assert back(node) == 2
    assert_same_scenes(tmp_path / "live", tmp_path / "offline", but=("end_reason", "losses", "warnings"))
    assert [manifest(scene)["end_reason"] for scene in scenes(tmp_path / "live")] == ["clock_jump", "clock_jump"]


def test_stamps_that_step_back_give_the_same_scenes_live_and_offline(tmp_path: Path, observer: Observer) -> None:
    """The computer's clock is set back by 1.3 s in mid drive; log times go on."""
    options = replace(SMALL, seconds=2.0, cameras=1)
    made, log_ns = Recording(), 0
    drives = []
    for name, shift_ns in (("before", 7 * SECOND), ("after", 7 * SECOND + 700_000_000)):
        folder = tmp_path / name
        folder.mkdir()
        drives.append(make_drive(folder, replace(options, start_ns=START_NS + shift_ns)))
        with open_recording(drives[-1].bag) as bag:
            offset_ns = log_ns + 20_000_000 - bag.start_ns if log_ns else 0
            for message in bag.messages([topic.name for topic in bag.topics]):
                made.add_raw(message.topic, message.type_name, message.data, message.log_ns + offset_ns)
            log_ns = bag.end_ns + offset_ns
    stepped = made.write(tmp_path / "stepped")
    report = convert_bag(stepped, drives[0].config, tmp_path / "offline")
    assert "clock_step" in {finding.code.value for finding in report.findings}
    with recorder(drives[0].config_path, tmp_path / "live") as node, replay(stepped) as player:
        player.wait_for("done")
        node.wait_for("clock_step")
        assert node.end() == 0
    assert_same_scenes(tmp_path / "live", tmp_path / "offline", but=("losses", "end_reason"))
    assert manifest(scenes(tmp_path / "live")[0])["end_reason"] == "clock_jump"


def test_two_answers_for_one_transform_are_told_live_as_offline(tmp_path: Path, observer: Observer) -> None:
    """Each pose of the device comes twice, the second time 0.9 m to the side."""
    drive = make_drive(tmp_path, replace(SMALL, seconds=2.0, cameras=1))
    made = Recording()
    with open_recording(drive.bag) as bag:
        for message in bag.messages([topic.name for topic in bag.topics]):
            made.add_raw(message.topic, message.type_name, message.data, message.log_ns)
            if message.topic == "/tf":
                aside = TYPES.deserialize_cdr(message.data, message.type_name)
                for transform in aside.transforms:
                    transform.transform.translation.y += 0.9
                made.add("/tf", aside, message.log_ns + 1_000_000)
    bag = made.write(tmp_path / "twice")
    report = convert_bag(bag, drive.config, tmp_path / "offline")
    told = [finding for finding in report.findings if finding.code.value == "tf_conflict"]
    assert {finding.name for finding in told} == {"odom", "base_link"}
    with recorder(drive.config_path, tmp_path / "live") as node, replay(bag) as player:
        player.wait_for("done")
        assert node.end() == 0
        assert all(f"two answers for the pose of {finding.name!r}" in node.output for finding in told)
    assert_same_scenes(tmp_path / "live", tmp_path / "offline", but=("warnings",))


Bend = Callable[[Message, str], Message]
"""Bends a message of the demo drive; the second argument is the topic of its camera."""


def ahead(message: Message, camera: str) -> Message:
    """Transforms 260 ms ahead of the log, pictures 190 ms."""
    if message.topic == camera:
        return stamped_later(message, 190_000_000)
    return moved_transforms(message, 260_000_000) if message.topic == "/tf" else message


def forward(message: Message, camera: str) -> Message:
    """The vehicle's clock is set forward by 0.64 s; the recorder's goes on."""
    if message.log_ns < START_NS + 1_130_000_000 or message.topic == "/tf_static":
        return message
    if message.topic == "/tf":
        return moved_transforms(message, 640_000_000)
    return stamped_later(message, 640_000_000)


def moved_transforms(message: Message, by_ns: int) -> Message:
    content = TYPES.deserialize_cdr(message.data, message.type_name)
    for transform in content.transforms:
        at_ns = transform.header.stamp.sec * SECOND + transform.header.stamp.nanosec + by_ns
        transform.header.stamp.sec, transform.header.stamp.nanosec = divmod(at_ns, SECOND)
    return replace(message, data=bytes(TYPES.serialize_cdr(content, message.type_name)))


def stamped_later(message: Message, by_ns: int) -> Message:
    return replace(message, data=with_stamp(message.data, peek_header(message.data)[0] + by_ns))


@pytest.mark.parametrize(
    ("bend", "told"),
    [(ahead, {"tf_clock": "base_link", "sensor_clock": "camera"}), (forward, {"clock_step": LIDAR})],
    ids=["ahead", "forward"],
)
def test_clocks_that_are_wrong_are_told_live_as_offline(tmp_path: Path, bend: Bend, told: dict[str, str]) -> None:
    """Log times are those of a clock that is replayed with the recording."""
    drive = make_drive(tmp_path, replace(SMALL, seconds=3.0, cameras=1))
    config = optional_cameras(drive, tmp_path / "optional.yaml")
    camera = load_config(config).cameras[0].image_topic
    names = {name: camera if subject == "camera" else subject for name, subject in told.items()}
    made = Recording()
    with open_recording(drive.bag) as bag:
        for message in bag.messages([topic.name for topic in bag.topics]):
            bent = bend(message, camera)
            made.add_raw(bent.topic, bent.type_name, bent.data, bent.log_ns)
    bag = made.write(tmp_path / "bent")
    report = convert_bag(bag, load_config(config), tmp_path / "offline")
    found = {(finding.code.value, finding.name) for finding in report.findings}
    assert set(names.items()) <= found
    with (
        recorder(config, tmp_path / "live", "use_sim_time:=true") as node,
        replay(bag, flags=("--clock", "--rate", "0.5")) as player,
    ):
        player.wait_for("done")
        assert node.end() == 0
        lines = node.output.splitlines()
    for code, name in names.items():
        assert any(f"[{code}]" in line and name in line for line in lines), (code, lines)
    assert_same_scenes(tmp_path / "live", tmp_path / "offline", but=("warnings",))


def mount_moves(_: SmallDrive, made: Recording) -> None:
    """Give the camera another mount, 0.25 m to the side, in mid drive."""
    moved = ("base_link", Camera().frame, SMALL_START_NS, (1.2, 0.25, 1.3), OPTICAL)
    made.add("/tf_static", transforms(moved), SMALL_START_NS + 750 * MS)


def too_bright(number: int) -> bytes:
    picture = np.full((48, 64, 3), 255, np.uint8)
    picture[::7, number % 60] = 251
    return bytes(cv2.imencode(".png", picture)[1].tobytes())


def zoomed(at: int) -> np.ndarray:
    focal = 50.0 if at < SMALL_START_NS + 1_150 * MS else 57.0
    return np.array([focal, 0, 32, 0, focal, 24, 0, 0, 1])


PLAIN = SmallDrive()
WALLED = SmallDrive(speed=10.0, yaw_rate=0.5, lidars=(Lidar(columns=240, wall=(-36.0, 25.0)),))
CONTRADICTIONS: dict[str, tuple[SmallDrive, dict[str, str]]] = {
    "stamps of the end, and a mount that moves": (
        PLAIN.but(lidars=(Lidar(moment="end", reference="start", rate=20.0),), more=mount_moves),
        {"stamp_end": "lidars.os.stamp: end", "static_changed": Camera().frame},
    ),
    "three transforms a second in a bend, and clouds that are corrected by name": (
        PLAIN.but(seconds=3.0, yaw_rate=1.2, tf=(Tf(rate=3.0),), lidars=(Lidar(topic="/undistorted/cloud"),)),
        {"tf_sparse": "base_link", "already_deskewed": "lidars.os.deskew: false"},
    ),
    "clouds that agree less once they are corrected": (
        PLAIN.but(lidars=(Lidar(deskewed=True, columns=90),)),
        {"already_deskewed": "lidars.os.deskew: false"},
    ),
    "a camera that has stopped, and a lidar that writes centimetres": (
        PLAIN.but(
            seconds=2.4,
            cameras=(Camera(image=lambda at, number: compressed(at, jpeg(shift=min(number, 7)), Camera().frame)),),
            lidars=(Lidar(per_metre=100.0),),
        ),
        {"image_frozen": Camera().topic, "cloud_units": "lidars.os.scale: 0.01"},
    ),
    "a lidar that has stopped": (
        PLAIN.but(seconds=2.4, lidars=(Lidar(stops_at=8),)),
        {"cloud_frozen": Lidar().topic},
    ),
    "point times that run backwards": (
        WALLED.but(lidars=(replace(WALLED.lidars[0], bend=lambda times: times.max() - times),)),
        {"point_time_suspect": "lidars.os.time_field: none"},
    ),
    "a cloud whose left and right are exchanged": (
        WALLED.but(lidars=(replace(WALLED.lidars[0], is_left_handed=True),)),
        {"axes_mirrored": Lidar().topic},
    ),
    "a camera that begins late": (
        PLAIN.but(seconds=3.4, cameras=(Camera(sends=lambda at: at > SMALL_START_NS + 1_700 * MS),)),
        {"sensor_silent": Camera().topic},
    ),
    "pictures that are white, and a calibration that changes": (
        PLAIN.but(
            seconds=2.4,
            cameras=(
                Camera(
                    image=lambda at, number: compressed(at, too_bright(number), Camera().frame),
                    info=lambda at: info(at, Camera().frame, k=zoomed(at)),
                ),
            ),
        ),
        {"image_blank": Camera().topic, "camera_info_changes": "cameras.front.calibration_file"},
    ),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_what_contradicts_itself_is_told_live_as_offline(tmp_path: Path, case: str) -> None:
    """The configuration is one for the same vehicle before anything was wrong with it."""
    drive, told = CONTRADICTIONS[case]
    config = tmp_path / "config.yaml"
    assert main(["init", str(PLAIN.write(tmp_path / "plain")), "-o", str(config)]) == 0
    config.write_text(config.read_text().replace(Lidar().topic, drive.lidars[0].topic))
    bag = drive.write(tmp_path / "lies")
    findings = {finding.code.value: finding for finding in convert_bag(bag, config, tmp_path / "offline").findings}
    assert findings.keys() == told.keys()
    new_domain()
    with (
        recorder(config, tmp_path / "live", "use_sim_time:=true") as node,
        replay(bag, flags=("--clock", "--rate", "0.5")) as player,
    ):
        player.wait_for("done")
        assert node.end() == 0
        lines = [line for line in node.lines if "[WARN]" in line]
    for code, named in told.items():
        [line] = [line for line in lines if f"[{code}]" in line]
        assert named in line
        assert line.endswith(f"({findings[code].remedy})")
    assert not [line for line in lines if any(f"[{code.value}]" in line for code in Code if code.value not in told)]
    assert_same_scenes(tmp_path / "live", tmp_path / "offline", but=("warnings",))


def test_images_later_than_they_are_waited_for_are_lost_and_told_live_as_offline(
    tmp_path: Path, observer: Observer
) -> None:
    """The images cross a link that takes 1.6 s; the synchroniser waits 0.8 s."""
    drive = make_drive(tmp_path, replace(SMALL, seconds=3.0, cameras=1))
    config = optional_cameras(drive, tmp_path / "optional.yaml")
    config.write_text(config.read_text() + "    sync: {wait_s: 0.8}\n")
    made, camera = Recording(), load_config(config).cameras[0].image_topic
    with open_recording(drive.bag) as bag:
        for message in bag.messages([topic.name for topic in bag.topics]):
            late_ns = 1_600_000_000 if message.topic == camera else 0
            made.add_raw(message.topic, message.type_name, message.data, message.log_ns + late_ns)
    bag = made.write(tmp_path / "late")
    report = convert_bag(bag, load_config(config), tmp_path / "offline")
    assert report.losses[camera]["late"] > 10
    assert "late_messages" in {finding.code.value for finding in report.findings}
    with recorder(config, tmp_path / "live") as node, replay(bag) as player:
        player.wait_for("done")
        assert camera in node.wait_for("[late_messages]")
        assert node.end() == 0
    assert_same_scenes(tmp_path / "live", tmp_path / "offline", but=("warnings",))


def test_nothing_is_recorded_before_the_first_clock(drive: Drive, tmp_path: Path, observer: Observer) -> None:
    with (
        recorder(drive.config_path, tmp_path / "live", "use_sim_time:=true") as node,
        replay(drive.bag, seen_by=observer) as player,
    ):
        player.wait_for("done")
        observer.value("scenes", f"{LIDAR} no_clock", lambda count: count == "40")
        assert node.end() == 0
    assert not scenes(tmp_path / "live")


def test_sigterm_in_mid_scene_keeps_every_whole_frame(drive: Drive, tmp_path: Path, observer: Observer) -> None:
    convert_bag(drive.bag, drive.config, tmp_path / "offline")
    half = ("--pause-at", "2")
    with recorder(drive.config_path, tmp_path / "live") as node, replay(drive.bag, flags=half) as player:
        player.wait_for("paused")
        observer.value("scenes", "open_frames", lambda count: count not in ("", "0"))
        assert node.end() == 0
    assert_valid(tmp_path / "live")
    [scene], [whole] = scenes(tmp_path / "live"), scenes(tmp_path / "offline")
    frames = manifest(scene)["frames"]
    assert 0 < frames < 40
    assert manifest(scene)["end_reason"] == "end_of_data"
    for index in range(frames):
        for path in (f"front/{index:06d}.jpg", f"rear/{index:06d}.jpg"):
            assert filecmp.cmp(scene / path, whole / path, shallow=False), path
        assert cloud(scene, index) == cloud(whole, index)
    assert not list((tmp_path / "live" / "open").iterdir())


def test_a_disk_without_room_thins_then_pauses_and_counts_every_loss(tmp_path: Path, observer: Observer) -> None:
    """While the spool has no room the queue fills; then every fourth frame of it is kept until it is short again."""
    drive = make_drive(tmp_path, replace(SMALL, points=6000, cameras=1))
    tight = ("queue.max_bytes:=2000000", f"spool.min_free_bytes:={2**62}", "diagnostics.recent_s:=60.0")
    with recorder(drive.config_path, tmp_path / "live", *tight) as node:
        with replay(drive.bag, seen_by=observer, flags=("--rate", "2")) as player:
            player.wait_for("done")
            full = observer.status("spool", lambda status: status.level == ERROR)
            assert "spool.when_full is block" in full.message
            node.wait_for("lost: ")
            set_parameter(observer, "spool.min_free_bytes", 0)
            paused = observer.status("scenes", lambda status: "recording pauses" in status.message)
            assert paused.level == ERROR
            counted = observer.status("scenes", lambda status: accounted(status) == 40)
        assert node.end() == 0
        assert node.output.count("lost: ") == 1
    assert int(values(counted)[f"{LIDAR} overload"]) > 0
    assert int(values(counted)[f"{LIDAR} queue_full"]) > 0
    losses = [manifest(scene)["losses"].get(LIDAR, {}) for scene in scenes(tmp_path / "live")]
    assert sum(loss.get("overload", 0) for loss in losses) == int(values(counted)[f"{LIDAR} overload"])
    assert_valid(tmp_path / "live")


def accounted(status: DiagnosticStatus) -> int:
    """Count the sweeps that are in a frame or lost."""
    counts = values(status)
    return int(counts["frames"]) + sum(int(n) for name, n in counts.items() if name.startswith(f"{LIDAR} "))


def test_static_transforms_published_as_volatile_are_explained(
    drive: Drive, tmp_path: Path, observer: Observer
) -> None:
    flags = ("--volatile-static", "--eager", "--hold")
    with recorder(drive.config_path, tmp_path / "live") as node, replay(drive.bag, flags=flags):
        line = node.wait_for("/tf_static: a publisher offers another durability")
        assert "publish /tf_static as transient local" in line
        status = observer.status("tf", lambda status: "durability" in status.message)
        assert status.level in (WARN, ERROR)
        assert node.end() == 0


def test_quality_of_service_follows_the_publishers(drive: Drive, tmp_path: Path, observer: Observer) -> None:
    everything_reliable = replay(drive.bag, flags=("--hold",))
    with recorder(drive.config_path, tmp_path / "live") as node, everything_reliable:
        observer.value(f"sensor {LIDAR}", "qos", lambda qos: qos.startswith("reliable"))
        with replay(drive.bag, flags=("--best-effort", "--hold")):
            observer.value(f"sensor {LIDAR}", "qos", lambda qos: qos.startswith("best effort"))
        assert "subscribed again as best effort" in node.wait_for(f"{LIDAR}: subscribed again")
        assert node.end() == 0


def test_overridden_quality_of_service_wins(drive: Drive, tmp_path: Path, observer: Observer) -> None:
    override = f"qos_overrides.{LIDAR}.subscription.reliability:=reliable"
    with recorder(drive.config_path, tmp_path / "live", override) as node:
        with replay(drive.bag, flags=("--best-effort", "--eager", "--hold")):
            line = node.wait_for(f"{LIDAR}: a publisher offers another reliability")
        assert f"remove qos_overrides.{LIDAR}.subscription.reliability" in line
        status = observer.status(f"sensor {LIDAR}", lambda status: status.level == ERROR)
        assert values(status)["received"] == "0"
        assert node.end() == 0
