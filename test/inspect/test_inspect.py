# SPDX-License-Identifier: Apache-2.0
"""What ``inspect`` says about recordings whose faults are known."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bags import MS, START_NS, TYPES, Recording, cloud, compressed, info, recording, transforms
from drives import Drive, make_drive

from nucleus_bridge.cli.main import main
from nucleus_bridge.inspect.report import BagReport, SensorReport, Verdict, inspect_bag
from nucleus_bridge.inspect.text import plain, sections
from nucleus_bridge.recordings import open_recording
from nucleus_bridge.testing.demo import DriveOptions
from nucleus_bridge.warnings import Code, Finding

STATIC, IMAGE = "/tf_static", "/camera/front/image_raw/compressed"


@pytest.fixture(scope="module")
def three_cameras(tmp_path_factory: pytest.TempPathFactory) -> Drive:
    options = DriveOptions(seconds=1.5, points=2000, cameras=3, image_width=320, image_height=200, standing_s=0.0)
    return make_drive(tmp_path_factory.mktemp("three"), options)


def changed(bag: Path, topic: str, change: Callable[[Any], None]) -> Recording:
    """Copy a recording, each message of a topic changed."""
    copy = Recording()
    with open_recording(bag) as source:
        for message in source.messages([info.name for info in source.topics]):
            data = message.data
            if message.topic == topic:
                content = TYPES.deserialize_cdr(data, message.type_name)
                change(content)
                data = bytes(TYPES.serialize_cdr(content, message.type_name))
            copy.add_raw(message.topic, message.type_name, data, message.log_ns)
    return copy


def sensor(report: BagReport, name: str) -> SensorReport:
    return next(sensor for sensor in report.sensors if sensor.name == name)


def texts(report: BagReport, name: str) -> str:
    """Everything that is said about a sensor."""
    about = sensor(report, name)
    return "\n".join([*about.notes, *(finding.text for finding in about.warnings)])


def others(report: BagReport, name: str) -> list[Finding]:
    """What is said about a sensor, its calibration aside: these drives are too short to measure it."""
    measured = (Code.CALIBRATION_SUSPECT, Code.CALIBRATION_NOT_MEASURED)
    return [finding for finding in sensor(report, name).warnings if finding.code not in measured]


def codes(report: BagReport) -> set[Code]:
    return {finding.code for finding in report.warnings}


def stamped(message: Any, child: str) -> Any:
    return next(item for item in message.transforms if item.child_frame_id == child)


def set_rotation(message: Any, child: str, xyzw: tuple[float, ...]) -> None:
    rotation = stamped(message, child).transform.rotation
    rotation.x, rotation.y, rotation.z, rotation.w = xyzw


def rotation_of(message: Any, child: str) -> tuple[float, ...]:
    rotation = stamped(message, child).transform.rotation
    return rotation.x, rotation.y, rotation.z, rotation.w


def test_a_sound_drive_is_usable_in_every_sensor_and_scores_everything(drive: Drive) -> None:
    report = inspect_bag(drive.bag)
    assert report.whole
    assert {s.name: s.verdict for s in report.sensors} == dict.fromkeys(("top", "front", "rear"), Verdict.USABLE)
    assert all(not s.warnings for s in report.sensors)
    assert report.score == 100
    rates = {topic.topic: round(topic.rate_hz) for topic in report.topics}
    assert rates["/lidar/top/points"] == rates[IMAGE] == 10
    assert rates["/tf"] == pytest.approx(drive.truth["options"]["tf_rate_hz"], abs=2)
    frames = {topic.topic: topic.frames for topic in report.topics}
    assert frames["/lidar/top/points"] == (drive.truth["lidars"]["top"]["frame_id"],)
    sweeps = len(drive.truth["lidars"]["top"]["sweeps"])
    assert sensor(report, "top").facts["poses"] == f"{sweeps} of {sweeps} sweeps have their poses in 'map'"
    assert report.tree.splitlines()[0] == "map"
    assert "lidar_top  static" in report.tree


def test_missing_messages_are_counted_where_the_stamps_leave_holes(tmp_path: Path) -> None:
    made = Recording()
    for number in range(30):
        if number not in (7, 8, 20):
            made.add("/points", cloud(START_NS + 100 * number * MS), START_NS + (100 * number + 3) * MS)
    report = inspect_bag(made.write(tmp_path / "bag"))
    topic = next(topic for topic in report.topics if topic.topic == "/points")
    assert (topic.gaps, topic.drops, round(topic.largest_gap_ms)) == (2, 3, 300)


def test_a_step_of_the_clock_and_stamps_never_set_are_no_missing_messages(tmp_path: Path) -> None:
    made = Recording()
    for number in range(20):
        jump = 3_600_000 * MS if number >= 10 else 0
        stamp = 0 if number == 5 else START_NS + 100 * number * MS + jump
        made.add("/points", cloud(stamp), START_NS + 100 * number * MS)
    topic = inspect_bag(made.write(tmp_path / "bag")).topics[0]
    assert (topic.gaps, topic.drops) == (2, 1)


def test_a_cloud_layout_that_changes_on_the_way_is_no_failure(tmp_path: Path) -> None:
    made = recording()
    fields = cloud(START_NS).fields[:3]
    made.add("/points", cloud(START_NS - 50 * MS, fields=fields), START_NS - 50 * MS)
    report = inspect_bag(made.write(tmp_path / "bag"))
    assert sensor(report, "lidar").facts["layout"].startswith("x float32, y float32, z float32")


def test_parts_of_the_tree_that_nothing_connects_are_named(tmp_path: Path) -> None:
    made = recording()
    made.add(STATIC, transforms(("island", "hut", START_NS, (0, 0, 0), (0, 0, 0, 1))), START_NS)
    report = inspect_bag(made.write(tmp_path / "bag"))
    assert report.tree.splitlines()[0] == "2 parts that nothing connects: island, map"
    assert ["hut", "island"] in report.tree_parts


def test_swapped_cameras_are_named(three_cameras: Drive, tmp_path: Path) -> None:
    def swap(message: Any) -> None:
        one, other = stamped(message, "camera_front_optical"), stamped(message, "camera_left_optical")
        one.child_frame_id, other.child_frame_id = other.child_frame_id, one.child_frame_id

    report = inspect_bag(changed(three_cameras.bag, STATIC, swap).write(tmp_path / "bag"))
    assert re.search("'left'.*swapped", texts(report, "front"))
    assert re.search("'front'.*swapped", texts(report, "left"))
    assert not others(report, "rear")


@pytest.mark.parametrize("camera", ["front", "rear", "left"])
def test_an_inverted_extrinsic_is_named(three_cameras: Drive, tmp_path: Path, camera: str) -> None:
    def invert(message: Any) -> None:
        x, y, z, w = rotation_of(message, f"camera_{camera}_optical")
        set_rotation(message, f"camera_{camera}_optical", (-x, -y, -z, w))

    report = inspect_bag(changed(three_cameras.bag, STATIC, invert).write(tmp_path / "bag"))
    text = texts(report, camera)
    # The orientation of a camera to the left is nearly its own inverse turned round: there the side it looks to tells.
    assert "inverted" in text or "looks" in text
    if camera == "front":
        assert "inverted" in text


def test_a_quaternion_with_w_first_is_named(three_cameras: Drive, tmp_path: Path) -> None:
    def roll(message: Any) -> None:
        x, y, z, w = rotation_of(message, "camera_left_optical")
        set_rotation(message, "camera_left_optical", (w, x, y, z))

    report = inspect_bag(changed(three_cameras.bag, STATIC, roll).write(tmp_path / "bag"))
    assert "w first" in texts(report, "left")


def test_a_device_pose_with_w_first_is_named(three_cameras: Drive, tmp_path: Path) -> None:
    def roll(message: Any) -> None:
        for item in message.transforms:
            x, y, z, w = rotation_of(message, item.child_frame_id)
            set_rotation(message, item.child_frame_id, (w, x, y, z))

    report = inspect_bag(changed(three_cameras.bag, "/tf", roll).write(tmp_path / "bag"))
    assert any("w first" in finding.text for finding in report.warnings if finding.code is Code.DEVICE_AXES)


def test_a_body_frame_under_an_optical_name_is_named(three_cameras: Drive, tmp_path: Path) -> None:
    def body(message: Any) -> None:
        set_rotation(message, "camera_front_optical", (0.0, 0.0, 0.0, 1.0))

    report = inspect_bag(changed(three_cameras.bag, STATIC, body).write(tmp_path / "bag"))
    assert "body frame" in texts(report, "front")


@pytest.mark.parametrize("shift_ms", [100, -100])
def test_a_time_offset_of_a_tenth_of_a_second_is_named(three_cameras: Drive, tmp_path: Path, shift_ms: int) -> None:
    def shift(message: Any) -> None:
        stamp = message.header.stamp
        moved = stamp.sec * 10**9 + stamp.nanosec + shift_ms * MS
        stamp.sec, stamp.nanosec = divmod(moved, 10**9)

    report = inspect_bag(changed(three_cameras.bag, IMAGE, shift).write(tmp_path / "bag"))
    if shift_ms > 0:  # a stamp after the log time is a proof
        (finding,) = others(report, "front")
        assert finding.code is Code.SENSOR_CLOCK
        assert re.search(r"cameras\.front\.clock_offset_ms: -?[\d.]+", finding.remedy)
    else:
        off = re.search(r"off by ([+-]\d+) ms", "".join(sensor(report, "front").notes))
        assert off is not None
        assert int(off[1]) == pytest.approx(-shift_ms, abs=30)  # the drive's own delays differ by some milliseconds
    assert not others(report, "rear")
    assert not sensor(report, "rear").notes


def test_images_and_camera_info_in_different_frames_are_named(three_cameras: Drive, tmp_path: Path) -> None:
    def rename(message: Any) -> None:
        message.header.frame_id = "elsewhere"

    report = inspect_bag(changed(three_cameras.bag, "/camera/front/camera_info", rename).write(tmp_path / "bag"))
    assert "'elsewhere'" in texts(report, "front")


def test_a_calibration_of_another_size_makes_a_camera_unusable_and_says_both_sizes(tmp_path: Path) -> None:
    made = recording().without("/info")
    made.add("/info", info(START_NS, width=100, height=48), START_NS)
    report = inspect_bag(made.write(tmp_path / "bag"))
    camera = next(sensor for sensor in report.sensors if sensor.kind == "camera")
    assert not camera.usable
    assert "64 x 48" in camera.why
    assert "100 x 48" in camera.why


def test_a_camera_without_info_says_what_to_record(tmp_path: Path) -> None:
    report = inspect_bag(recording().without("/info").write(tmp_path / "bag"))
    camera = next(sensor for sensor in report.sensors if sensor.kind == "camera")
    assert not camera.usable
    assert "calibration_file" in camera.why
    assert report.score < 90


def test_nan_and_zero_points_and_the_range_of_intensity_are_measured(tmp_path: Path) -> None:
    points = np.zeros((100, 4))
    points[:40] = (5, 1, 0, 7)
    points[40:50, 0] = np.nan
    points[0, 3] = 900
    made = Recording()
    for number in range(3):
        made.add("/points", cloud(START_NS + 100 * number * MS, points), START_NS + 100 * number * MS)
    facts = inspect_bag(made.write(tmp_path / "bag")).sensors[0].facts
    assert facts["points a sweep"] == "100, 10.0% NaN, 50.0% at the origin"
    assert facts["intensity"] == "intensity: 7 to 900"


def test_a_lidar_that_nothing_connects_with_the_moving_device_makes_no_frame_and_says_why(tmp_path: Path) -> None:
    made = recording().without(STATIC)
    report = inspect_bag(made.write(tmp_path / "bag"))
    lidar = next(sensor for sensor in report.sensors if sensor.kind == "lidar")
    assert lidar.verdict is Verdict.NOT_USABLE
    assert Code.NO_MOUNT in codes(report)
    assert any("'lidar'" in text for text in report.missing)
    assert report.score == 0


def test_a_recording_without_lidar_is_not_usable_and_says_so(tmp_path: Path) -> None:
    report = inspect_bag(recording().without("/points").write(tmp_path / "bag"))
    assert not report.usable
    assert any(text.startswith("a lidar") for text in report.missing)
    assert report.score == 0


def test_what_is_read_of_a_large_recording_is_its_beginning_unless_all_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bag = recording(frames=40).write(tmp_path / "bag")
    monkeypatch.setattr("nucleus_bridge.inspect.scan.MAX_BYTES", 20_000)
    part, whole = inspect_bag(bag), inspect_bag(bag, full=True)
    assert not part.whole
    assert part.read_s < whole.read_s == pytest.approx(whole.duration_s)
    points = {report.whole: next(t for t in report.topics if t.topic == "/points") for report in (part, whole)}
    assert points[False].count == points[True].count == points[True].read == 40
    assert points[False].read < 40
    assert part.usable
    assert "--full" in "\n".join(plain(section) for section in sections(part))


def test_the_parts_of_the_score_add_up_to_a_hundred_at_most(drive: Drive) -> None:
    assert sum(part.most for part in inspect_bag(drive.bag).parts) == 100


def test_json_holds_the_whole_report(drive: Drive, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(drive.bag), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["score"] == 100
    assert {entry["name"] for entry in document["sensors"]} == {"top", "front", "rear"}
    assert document["trial"]["frames"] == len(drive.truth["lidars"]["top"]["sweeps"])


def test_plain_output_has_every_topic_and_no_terminal_codes(drive: Drive, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(drive.bag)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "Health 100 of 100" in out
    assert "images agree with the cloud for 2 of 2 cameras" in out
    for topic in ("/lidar/top/points", "/tf", IMAGE):
        assert topic in out


def test_something_that_is_no_bag_is_an_error_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "note.txt"
    path.write_text("hello")
    assert main(["inspect", str(path)]) == 2
    assert "rosbag2" in capsys.readouterr().err


def test_damaged_clouds_and_images_are_told_not_raised(tmp_path: Path) -> None:
    made = recording()
    for number in range(5):
        made.add_raw("/broken", "sensor_msgs/msg/PointCloud2", b"\x00\x01\x00\x00abc", START_NS + number * MS)
    made.add("/odd", compressed(START_NS, b"no picture"), START_NS)
    report = inspect_bag(made.write(tmp_path / "bag"))
    verdicts = {sensor.topic: sensor.verdict for sensor in report.sensors}
    assert verdicts["/broken"] is verdicts["/odd"] is Verdict.NOT_USED
    assert verdicts["/points"] is Verdict.USABLE
    assert {finding.name for finding in report.warnings} >= {"/broken", "/odd"}


def test_scales_sample_is_usable_and_its_device_axis_is_named(real_data: Path) -> None:
    report = inspect_bag(real_data / "scale_sample")
    assert {s.name for s in report.sensors if s.usable} == {"lidar", "front", "front_left", "back"}
    assert [finding.code for finding in report.warnings if "+y axis" in finding.text] == [Code.DEVICE_AXES]


def test_an_ouster_recording_without_poses_says_what_is_missing(real_data: Path) -> None:
    report = inspect_bag(real_data / "ouster_os1")
    assert any("no pose" in text and "os1_lidar" in text for text in report.missing)
    assert any("camera_info" in text for text in report.missing)
