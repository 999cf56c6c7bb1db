# SPDX-License-Identifier: Apache-2.0
"""The pose on the globe through the whole converter: of the device and not of the antenna, between fixes, in curves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bags import TYPES
from moments import FAST_S, FAST_TURN_S, Moments, clouds_of, record
from rosbags.rosbag2 import Reader

from nucleus_bridge.config import load_config
from nucleus_bridge.convert import ConversionReport
from nucleus_bridge.decode.navsat import Fix
from nucleus_bridge.model import GpsPose, Message
from nucleus_bridge.pipeline import FrameReady, Pipeline
from nucleus_bridge.pipeline.gps import GpsTrack
from nucleus_bridge.testing.demo import DriveOptions, Pose, true_pose
from nucleus_bridge.testing.demo.gnss import geodetic
from nucleus_bridge.testing.demo.rigid import from_roll_pitch_yaw

OPTIONS = DriveOptions(seconds=12.0, points=400, cameras=0, standing_s=0.0)
LEVER = Pose(np.array([-0.8, 0.45, 1.5]), from_roll_pitch_yaw(0.0, 0.0, np.radians(75.0)))
"""An antenna (and its heading's x axis) far from the device's origin, turned to the left."""
BY_MOVEMENT = "gps.heading_topic=''"
SHORT_WAIT = "sync.wait_s=0.25"
"""Fixes of so short a time judge a heading; the device goes three to four metres in it."""


def with_antenna(mount: Pose, known: bool = True) -> Callable[[str, int, bytes], bytes]:
    """Move the antenna: its fixes, its headings and, where it is known, its static transform."""

    def change(topic: str, stamp_ns: int, data: bytes) -> bytes:
        if topic == "/tf_static":
            message = TYPES.deserialize_cdr(data, "tf2_msgs/msg/TFMessage")
            message.transforms = [t for t in message.transforms if known or t.child_frame_id != "gnss"]
            for stamped in message.transforms:
                if stamped.child_frame_id == "gnss":
                    _fill(stamped.transform.translation, "xyz", mount.translation)
                    _fill(stamped.transform.rotation, "xyzw", mount.rotation_xyzw)
            return bytes(TYPES.serialize_cdr(message, "tf2_msgs/msg/TFMessage"))
        pose = true_pose(OPTIONS, stamp_ns) @ mount
        if topic == "/gnss/fix":
            message = TYPES.deserialize_cdr(data, "sensor_msgs/msg/NavSatFix")
            message.latitude, message.longitude, message.altitude = geodetic(pose.translation[None])[0].tolist()
            return bytes(TYPES.serialize_cdr(message, "sensor_msgs/msg/NavSatFix"))
        if topic == "/gnss/heading":
            message = TYPES.deserialize_cdr(data, "sensor_msgs/msg/Imu")
            _fill(message.orientation, "xyzw", pose.rotation_xyzw)
            return bytes(TYPES.serialize_cdr(message, "sensor_msgs/msg/Imu"))
        return data

    return change


def _fill(target: Any, names: str, values: np.ndarray) -> None:
    for name, value in zip(names, values, strict=True):
        setattr(target, name, float(value))


@dataclass(frozen=True)
class Errors:
    metres: np.ndarray
    degrees: np.ndarray


def errors_of(report: ConversionReport, *, lacking: int = 0) -> Errors:
    """Compare every cloud's device_gps_pose with where the device frame's origin truly was; some may lack it."""
    metres, degrees = [], []
    clouds = clouds_of(report)
    there = [cloud for cloud in clouds if "device_gps_pose" in cloud.document]
    assert len(there) >= len(clouds) - lacking
    for cloud in there:
        truth = true_pose(OPTIONS, cloud.document["timestamp"])
        latitude, longitude, _ = geodetic(truth.translation[None])[0]
        pose = cloud.document["device_gps_pose"]
        north, east = (pose["lat"] - latitude) * 111_200, (pose["lon"] - longitude) * 111_320 * np.cos(np.radians(48))
        metres.append(np.hypot(north, east))
        bearing = 90.0 - np.degrees(np.arctan2(truth.matrix[1, 0], truth.matrix[0, 0]))
        degrees.append(abs((pose["bearing"] - bearing + 180) % 360 - 180))
    return Errors(np.array(metres), np.array(degrees))


@pytest.fixture(scope="module")
def levered(tmp_path_factory: pytest.TempPathFactory) -> Moments:
    return record(tmp_path_factory.mktemp("levered"), OPTIONS, (FAST_TURN_S, FAST_S), with_antenna(LEVER))


@pytest.mark.parametrize("bearing_from", ["heading", "map", "movement"])
def test_the_pose_is_that_of_the_device_frame_to_a_centimetre_and_a_tenth_of_a_degree(
    levered: Moments, bearing_from: str
) -> None:
    overrides = {"heading": [], "map": [BY_MOVEMENT, "gps.map_is_enu=true"], "movement": [BY_MOVEMENT]}
    errors = errors_of(levered.convert(bearing_from, *overrides[bearing_from]))
    assert len(errors.metres) >= 13
    assert errors.metres.max() < 0.01
    assert errors.degrees.max() < 0.1


def test_an_antenna_whose_place_is_unknown_stands_for_the_device(tmp_path: Path) -> None:
    drive = record(tmp_path, OPTIONS, (FAST_TURN_S,), with_antenna(Pose(LEVER.translation, np.eye(4)[3]), known=False))
    errors = errors_of(drive.convert("unknown"))
    lever_m = np.hypot(*LEVER.translation[:2])
    assert errors.degrees.max() < 0.1
    assert np.abs(errors.metres - lever_m).max() < 0.1


def test_a_vehicle_that_reverses_faces_the_other_way_than_it_moves(tmp_path: Path) -> None:
    """The device frame is turned about in the transforms: then the vehicle moves backwards."""
    turned = Pose(np.zeros(3), from_roll_pitch_yaw(0.0, 0.0, np.pi))

    def change(topic: str, stamp_ns: int, data: bytes) -> bytes:
        if topic != "/tf_static":
            return data
        message = TYPES.deserialize_cdr(data, "tf2_msgs/msg/TFMessage")
        about = TYPES.deserialize_cdr(data, "tf2_msgs/msg/TFMessage").transforms[0]
        about.header.frame_id, about.child_frame_id = "base_link", "reversed"
        _fill(about.transform.translation, "xyz", turned.translation)
        _fill(about.transform.rotation, "xyzw", turned.rotation_xyzw)
        message.transforms.append(about)
        return bytes(TYPES.serialize_cdr(message, "tf2_msgs/msg/TFMessage"))

    drive = record(tmp_path, OPTIONS, (FAST_TURN_S,), change)
    errors = errors_of(drive.convert("reverse", BY_MOVEMENT, "device_frame=reversed"))
    assert np.abs(errors.degrees - 180.0).max() < 0.1


@pytest.mark.parametrize("broken", ["no_fix", "gap"])
def test_without_a_fix_on_both_sides_there_is_no_pose(tmp_path: Path, broken: str) -> None:
    last_ns = OPTIONS.start_ns + 6_000_000_000

    def change(topic: str, stamp_ns: int, data: bytes) -> bytes | None:
        if topic != "/gnss/fix" or stamp_ns < last_ns:
            return data
        if broken == "gap":
            return None
        message = TYPES.deserialize_cdr(data, "sensor_msgs/msg/NavSatFix")
        message.status.status = -1
        return bytes(TYPES.serialize_cdr(message, "sensor_msgs/msg/NavSatFix"))

    drive = record(tmp_path, OPTIONS, (FAST_TURN_S,), change)
    for cloud in clouds_of(drive.convert(broken)):
        has_pose = "device_gps_pose" in cloud.document
        assert has_pose == (cloud.document["timestamp"] <= last_ns - 200_000_000 + 33_000_000)


def test_standing_still_without_a_heading_there_is_no_bearing_and_no_pose(tmp_path: Path) -> None:
    standing = DriveOptions(seconds=2.0, points=400, cameras=0, standing_s=10.0)
    drive = record(tmp_path, standing, ((0.0, 2.0),))
    assert not any("device_gps_pose" in cloud.document for cloud in clouds_of(drive.convert("still", BY_MOVEMENT)))
    with_map = clouds_of(drive.convert("enu", BY_MOVEMENT, "gps.map_is_enu=true"))
    assert any("device_gps_pose" in cloud.document for cloud in with_map)


def test_a_map_that_jumps_between_two_fixes_does_not_bend_the_way_on_the_globe(tmp_path: Path) -> None:
    """From one stamp on the map is 4 m off, within half a second of transforms."""
    jump_ns = OPTIONS.start_ns + 6_150_000_000

    def change(topic: str, stamp_ns: int, data: bytes) -> bytes:
        if topic != "/tf":
            return data
        message = TYPES.deserialize_cdr(data, "tf2_msgs/msg/TFMessage")
        for stamped in message.transforms:
            if stamped.child_frame_id == "odom" and stamp_ns >= jump_ns:
                stamped.transform.translation.x += 4.0
        return bytes(TYPES.serialize_cdr(message, "tf2_msgs/msg/TFMessage"))

    drive = record(tmp_path, OPTIONS, (FAST_TURN_S,), change)
    errors = errors_of(drive.convert("jump"))
    assert errors.metres.max() < 0.06  # the straight line between two fixes, nothing worse
    assert errors.degrees.max() < 0.1


@pytest.mark.parametrize("late", ["/tf", "/gnss/fix", "/gnss/heading"])
def test_the_pose_does_not_depend_on_what_comes_late(levered: Moments, late: str) -> None:
    """A frame waits for fixes, headings and transforms around them, as far as they may still come."""
    with Reader(levered.bag) as reader:
        logged = [Message(c.topic, c.msgtype, log_ns, bytes(data)) for c, log_ns, data in reader.messages()]
    delayed = sorted(logged, key=lambda message: message.log_ns + 400_000_000 * (message.topic == late))

    def poses(messages: list[Message]) -> list[tuple[int, GpsPose | None]]:
        pipeline = Pipeline(levered_config)
        events = [event for message in messages for event in pipeline.add(message)] + pipeline.finish()
        return [(event.frame.stamp_ns, event.frame.gps) for event in events if isinstance(event, FrameReady)]

    levered_config = load_config(levered.config_path)
    assert poses(delayed) == poses(logged)
    assert all(pose is not None for _, pose in poses(logged))


def _every(number: int, topic: str, change: Callable[[Any], None]) -> Callable[[str, int, bytes], bytes]:
    """Change every n-th message of a topic, by its stamp."""
    types = {"/gnss/fix": "sensor_msgs/msg/NavSatFix", "/gnss/heading": "sensor_msgs/msg/Imu"}
    straight = with_antenna(LEVER)

    def changed(name: str, stamp_ns: int, data: bytes) -> bytes:
        data = straight(name, stamp_ns, data)
        if name != topic or (stamp_ns // 200_000_000) % number:
            return data
        message = TYPES.deserialize_cdr(data, types[topic])
        change(message)
        return bytes(TYPES.serialize_cdr(message, types[topic]))

    return changed


def _null_island(fix: Any) -> None:
    fix.latitude = fix.longitude = fix.altitude = 0.0


def _elsewhere(fix: Any) -> None:
    fix.longitude += 0.001


@pytest.mark.parametrize("wrong", [_null_island, _elsewhere])
def test_fixes_that_cannot_be_are_counted_and_the_others_taken(tmp_path: Path, wrong: Callable[[Any], None]) -> None:
    drive = record(tmp_path, OPTIONS, (FAST_TURN_S, FAST_S), _every(4, "/gnss/fix", wrong))
    report = drive.convert("wrong")
    errors = errors_of(report)
    assert errors.metres.max() < 0.2
    assert report.losses["/gnss/fix"]["gps_implausible"] >= 3


def test_fixes_that_stand_while_the_device_goes_on_are_counted_and_those_before_and_after_taken(tmp_path: Path) -> None:
    straight = with_antenna(LEVER)
    before: list[float] = []

    def stuck(name: str, stamp_ns: int, data: bytes) -> bytes:
        data = straight(name, stamp_ns, data)
        if name != "/gnss/fix":
            return data
        fix = TYPES.deserialize_cdr(data, "sensor_msgs/msg/NavSatFix")
        if stamp_ns // 200_000_000 % 7 < 3 or not before:
            before[:] = fix.latitude, fix.longitude
        fix.latitude, fix.longitude = before
        return bytes(TYPES.serialize_cdr(fix, "sensor_msgs/msg/NavSatFix"))

    report = record(tmp_path, OPTIONS, ((9.0, 11.9),), stuck).convert("stuck")
    errors = errors_of(report, lacking=12)  # where the receiver still stood when the recording ended
    assert len(errors.metres) >= 12
    assert errors.metres.max() < 0.5  # half of what the map was corrected by; it goes 12 m while they stand
    assert report.losses["/gnss/fix"]["gps_implausible"] >= 6
    (finding,) = [finding for finding in report.findings if finding.code.value == "gps_implausible"]
    assert "repeats those before it" in finding.text


def test_a_way_between_fixes_passes_over_messages_without_one_as_far_as_all_are_known() -> None:
    track = GpsTrack(has_fixes=True, has_headings=False)
    fixes = {at: Fix(at, 47.0 + at * 1e-12, 9.0, 410.0) for at in (0, 400_000_000, 1_200_000_000)}
    for at in range(0, 1_300_000_000, 200_000_000):
        track.add_fix(at, fixes.get(at))

    def stamps(at: int, until: int) -> tuple[int, ...] | None:
        step = track.step_up_to(at, lambda _: True, until)
        return step and tuple(fix.stamp_ns for fix in step)

    assert stamps(400_000_000, 900_000_000) == (0, 400_000_000)
    assert stamps(700_000_000, 1_200_000_000) == (400_000_000, 1_200_000_000)
    assert stamps(700_000_000, 1_199_999_999) is None
    assert track.fixes_around(700_000_000, lambda _: True) is None  # a place is not known there


def test_headings_without_an_orientation_leave_the_bearing_to_the_movement(tmp_path: Path) -> None:
    def invalid(imu: Any) -> None:
        imu.orientation_covariance = np.array([-1.0, *imu.orientation_covariance[1:]])

    drive = record(tmp_path, OPTIONS, (FAST_TURN_S,), _every(1, "/gnss/heading", invalid))
    errors = errors_of(drive.convert("invalid"))
    assert (errors.metres.max() < 0.01, errors.degrees.max() < 0.1) == (True, True)


def test_headings_that_the_movement_contradicts_do_not_count(tmp_path: Path) -> None:
    def clockwise(imu: Any) -> None:
        imu.orientation.z, imu.orientation.w = imu.orientation.w, imu.orientation.z

    drive = record(tmp_path, OPTIONS, (FAST_S,), _every(1, "/gnss/heading", clockwise))
    report = drive.convert("clockwise")
    assert np.median(errors_of(report).degrees) < 0.1  # where data ends there is no longer way to judge by
    assert report.losses["/gnss/heading"]["heading_disagrees"] > 0


def test_headings_a_quarter_off_are_contradicted_by_a_few_metres_of_way(tmp_path: Path) -> None:
    def aside(imu: Any) -> None:
        z, w, half = imu.orientation.z, imu.orientation.w, np.sqrt(0.5)
        imu.orientation.z, imu.orientation.w = half * (z + w), half * (w - z)

    drive = record(tmp_path, OPTIONS, (FAST_S,), _every(1, "/gnss/heading", aside))
    report = drive.convert("aside", SHORT_WAIT)
    assert report.losses["/gnss/heading"]["heading_disagrees"] > 0
    (tmp_path / "good").mkdir()
    good = record(tmp_path / "good", OPTIONS, (FAST_S,)).convert("good", SHORT_WAIT)
    assert "heading_disagrees" not in good.losses.get("/gnss/heading", {})
