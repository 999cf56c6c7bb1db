# SPDX-License-Identifier: Apache-2.0
"""The written bag: reproducible, whole or absent, in a recorder's order, and described by its truth and config."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import yaml

from nucleus_bridge.config import load_config
from nucleus_bridge.errors import InputError, OutputError
from nucleus_bridge.testing.demo import DriveOptions, demo_config, truth_path_of, write_demo_drive

SMALL = DriveOptions(seconds=1.0, points=2_000, cameras=1, image_width=160, image_height=100, standing_s=0.0)


def with_options(**changes):
    return dataclasses.replace(SMALL, **changes)


@pytest.fixture(scope="module")
def write(tmp_path_factory, read_drive):
    def written(options):
        return read_drive(write_demo_drive(tmp_path_factory.mktemp("written") / "drive", options), options)

    return written


@pytest.fixture(scope="module")
def small(write):
    return write(SMALL)


def contents(drive):
    return [(logged.topic, logged.type_name, logged.log_ns, logged.data) for logged in drive.logged]


def test_equal_options_give_equal_files(small, write):
    again = write(SMALL)
    assert contents(again) == contents(small)
    assert (again.path / "drive.mcap").read_bytes() == (small.path / "drive.mcap").read_bytes()
    assert truth_path_of(again.path).read_bytes() == truth_path_of(small.path).read_bytes()


def test_both_storages_hold_the_same_messages(small, write):
    other = write(with_options(storage="sqlite3"))
    assert (other.path / "drive.db3").is_file()
    assert sorted(contents(other)) == sorted(contents(small))


def test_another_seed_changes_log_times_only(small, write):
    other = write(with_options(seed=1))
    assert sorted((log.topic, log.stamp_ns, log.data) for log in other.logged) == sorted(
        (log.topic, log.stamp_ns, log.data) for log in small.logged
    )
    assert [log.log_ns for log in other.logged] != [log.log_ns for log in small.logged]


def test_a_longer_drive_begins_like_a_shorter_one(small, write):
    longer = write(with_options(seconds=1.5))
    for topic in {logged.topic for logged in small.logged}:
        shorter = small.on(topic)
        assert [log.data for log in longer.on(topic)[: len(shorter)]] == [log.data for log in shorter]


def test_the_file_is_in_the_order_of_log_times(drive):
    logged = [log.log_ns for log in drive.logged]
    assert logged == sorted(logged)


def test_stamps_are_out_of_order_across_topics_and_in_order_within(drive):
    stamps = [logged.stamp_ns for logged in drive.logged]
    back = np.maximum.accumulate(stamps) - np.array(stamps)
    assert 20_000_000 < back.max() < 200_000_000
    for topic in {logged.topic for logged in drive.logged}:
        on_topic = drive.on(topic)
        assert np.all(np.diff([logged.stamp_ns for logged in on_topic]) > 0)
        assert np.all(np.diff([logged.log_ns for logged in on_topic]) > 0)


def test_nothing_is_logged_before_it_is_measured(drive):
    assert all(logged.log_ns > logged.stamp_ns for logged in drive.logged)
    for logged in drive.on("/lidar/top/points"):
        assert logged.log_ns > logged.stamp_ns + 100_000_000


def test_shuffling_disorders_clouds_and_images_within_their_topics(write):
    shuffled = write(with_options(shuffle=True))
    for topic, disorderly in (
        ("/lidar/top/points", True),
        ("/camera/front/image_raw/compressed", True),
        ("/camera/front/camera_info", False),
        ("/tf", False),
    ):
        stamps = [logged.stamp_ns for logged in shuffled.on(topic)]
        assert (stamps != sorted(stamps)) is disorderly


def test_static_transforms_are_logged_first_or_as_late_as_asked(small, write):
    assert small.logged[0].topic == "/tf_static"
    late = write(with_options(late_static_s=0.7))
    (static,) = late.on("/tf_static")
    assert static.log_ns == SMALL.start_ns + 700_000_000
    assert static.data == small.on("/tf_static")[0].data


def test_topics_and_rates_are_those_of_a_vehicle(drive):
    counts = {topic: len(drive.on(topic)) for topic in {logged.topic for logged in drive.logged}}
    sensors = [f"/lidar/{name}/points" for name in ("top", "left")]
    for name in ("front", "rear", "left"):
        sensors += [f"/camera/{name}/image_raw", f"/camera/{name}/camera_info"]
    assert set(counts) == {*sensors, "/tf", "/tf_static", "/gnss/fix", "/gnss/heading"}
    assert {counts[topic] for topic in sensors} == {20}
    assert counts["/tf_static"] == 1
    assert counts["/tf"] == 601
    assert 10 <= counts["/gnss/fix"] <= 15
    assert 20 <= counts["/gnss/heading"] <= 30


def enu_of_fix(origin, fix):
    """Return a fix in metres east, north, up of the origin, by way of earth-centred coordinates (WGS 84)."""

    def earth_centred(latitude, longitude, altitude):
        lat, lon = np.radians([latitude, longitude])
        major, minor = 6378137.0, 6356752.314245179
        normal = major**2 / np.hypot(major * np.cos(lat), minor * np.sin(lat))
        across = (normal + altitude) * np.cos(lat)
        polar = ((minor / major) ** 2 * normal + altitude) * np.sin(lat)
        return np.array([across * np.cos(lon), across * np.sin(lon), polar])

    away = earth_centred(*fix) - earth_centred(*origin)
    lat, lon = np.radians(origin[:2])
    east = np.array([-np.sin(lon), np.cos(lon), 0])
    up = np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    return np.array([east, np.cross(up, east), up]) @ away


def test_fixes_are_where_the_antenna_is(drive, rotations):
    from nucleus_bridge.testing.demo import true_pose

    gps = drive.truth["gps"]
    origin = [gps["origin"][name] for name in ("latitude", "longitude", "altitude")]
    arm = np.array(gps["base_from_antenna"]["translation"])

    def antenna(pose):
        return pose.translation + rotations.rotate(pose.rotation_xyzw, arm)

    for logged in drive.on(gps["fix_topic"]):
        fix = logged.message
        assert fix.status.status == 0
        there = enu_of_fix(origin, (fix.latitude, fix.longitude, fix.altitude))
        np.testing.assert_allclose(there, antenna(true_pose(drive.options, logged.stamp_ns)), atol=1e-6)
    for sweep in drive.truth["lidars"]["top"]["sweeps"]:
        there = enu_of_fix(origin, tuple(sweep["antenna"].values()))
        np.testing.assert_allclose(there, antenna(true_pose(drive.options, sweep["stamp_ns"])), atol=1e-6)


def test_headings_are_the_yaw_from_east_and_bearings_count_from_north(drive, rotations):
    from nucleus_bridge.testing.demo import true_pose

    for logged in drive.on(drive.truth["gps"]["heading_topic"]):
        turn = logged.message.orientation
        said = rotations.rotate([turn.x, turn.y, turn.z, turn.w], np.array([1.0, 0.0, 0.0]))
        forward = rotations.rotate(true_pose(drive.options, logged.stamp_ns).rotation_xyzw, np.array([1.0, 0.0, 0.0]))
        np.testing.assert_allclose(said[:2], forward[:2] / np.linalg.norm(forward[:2]), atol=1e-12)
    for sweep in drive.truth["lidars"]["top"]["sweeps"]:
        forward = rotations.rotate(sweep["map_from_base_link"]["rotation_xyzw"], np.array([1.0, 0.0, 0.0]))
        east, north = np.sin(np.radians(sweep["bearing"])), np.cos(np.radians(sweep["bearing"]))
        assert east * forward[1] == pytest.approx(north * forward[0], abs=1e-9)
        assert east * forward[0] + north * forward[1] > 0
        assert 0 <= sweep["bearing"] < 360


def test_the_truth_repeats_the_options(drive):
    assert DriveOptions(**drive.truth["options"]) == drive.options


def test_the_config_names_what_the_bag_holds(drive):
    parameters = yaml.safe_load(demo_config(drive.options))["/**"]["ros__parameters"]
    topics = {logged.topic for logged in drive.logged}
    assert parameters["lidar_names"] == ["top", "lidar_left"] == list(parameters["lidars"])
    assert parameters["camera_names"] == list(drive.truth["cameras"]) == list(parameters["cameras"])
    said = [lidar["topic"] for lidar in parameters["lidars"].values()]
    assert said == [lidar["topic"] for lidar in drive.truth["lidars"].values()]
    assert set(said) <= topics
    for camera in parameters["cameras"].values():
        assert {camera["image_topic"], camera["info_topic"]} <= topics
    assert set(parameters["gps"].values()) <= topics
    assert (parameters["world_frame"], parameters["device_frame"]) == ("map", "base_link")


@pytest.mark.parametrize("changes", [{}, {"cameras": 0}, {"cameras": 6, "lidars": 3, "driver": "ouster"}])
def test_the_config_is_accepted(changes, tmp_path):
    path = tmp_path / "drive.yaml"
    path.write_text(demo_config(with_options(**changes)), encoding="utf-8")
    assert load_config(path).world_frame == "map"


@pytest.mark.parametrize("driver", ["velodyne", "ouster", "hesai", "robosense", "livox", "autoware"])
def test_the_config_names_an_intensity_that_reaches_255_at_most(driver, write):
    options = with_options(driver=driver, seconds=0.2, cameras=0)
    lidar = yaml.safe_load(demo_config(options))["/**"]["ros__parameters"]["lidars"]["top"]
    fields = {field.name: field for field in write(options).on("/lidar/top/points")[0].message.fields}
    assert lidar["intensity_field"] == ("reflectivity" if driver == "ouster" else "intensity")
    assert lidar["intensity_field"] in fields
    assert lidar["intensity_max"] == 255.0


def test_progress_rises_to_the_end(tmp_path):
    done = []
    write_demo_drive(tmp_path / "drive", SMALL, done.append)
    assert done == sorted(done)
    assert done[-1] == 1.0
    assert len(done) > 10


def test_a_bag_that_exists_is_kept_unless_replacing_is_asked_for(tmp_path, read_drive):
    bag = write_demo_drive(tmp_path / "drive", SMALL)
    before = (bag / "drive.mcap").read_bytes()
    other = with_options(driver="hesai")
    with pytest.raises(OutputError, match=r"drive exists already"):
        write_demo_drive(bag, other)
    assert (bag / "drive.mcap").read_bytes() == before
    write_demo_drive(bag, other, force=True)
    assert read_drive(bag, other).truth["options"]["driver"] == "hesai"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["drive", "drive.truth.json"]


def test_a_folder_that_is_no_bag_is_never_replaced(tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="is not a rosbag2 folder"):
        write_demo_drive(precious, SMALL, force=True)
    assert (precious / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_an_interrupted_drive_leaves_nothing(error, storage, tmp_path):
    def interrupt(done):
        if done > 0.5:
            raise error

    with pytest.raises(error):
        write_demo_drive(tmp_path / "drive", with_options(storage=storage), interrupt)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_replacement_keeps_the_old_bag(tmp_path):
    bag = write_demo_drive(tmp_path / "drive", SMALL)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_demo_drive(bag, with_options(driver="hesai"), interrupt, force=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_place_that_cannot_be_written_is_an_error_that_names_it(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        write_demo_drive(tmp_path / "file" / "drive", SMALL)


def test_missing_parents_are_made(tmp_path):
    assert write_demo_drive(tmp_path / "a" / "b" / "drive", SMALL).is_dir()


def test_the_truth_is_strict_json_with_exact_stamps(small):
    text = truth_path_of(small.path).read_text(encoding="utf-8")
    truth = json.loads(text, parse_constant=pytest.fail)
    stamps = [sweep["stamp_ns"] for sweep in truth["lidars"]["top"]["sweeps"]]
    assert stamps == [logged.stamp_ns for logged in small.on("/lidar/top/points")]
    stamps = [image["stamp_ns"] for image in truth["cameras"]["front"]["images"]]
    assert stamps == [logged.stamp_ns for logged in small.on("/camera/front/image_raw/compressed")]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"seconds": 0.0}, "seconds is 0"),
        ({"seconds": float("nan")}, "seconds is nan"),
        ({"points": 10}, "points is 10"),
        ({"points": "many"}, "points is 'many'"),
        ({"points": 2.5e4}, "points is 25000.0; it must be a whole number"),
        ({"cameras": 7}, "cameras is 7"),
        ({"cameras": True}, "cameras is True"),
        ({"lidars": 0}, "lidars is 0"),
        ({"image": "png"}, "jpeg, raw"),
        ({"storage": "hdf5"}, "mcap, sqlite3"),
        ({"driver": "Velodyne"}, "velodyne, ouster"),
        ({"camera_model": "pinhole"}, "plumb_bob"),
        ({"camera_model": "plumb_bob,equidistant,plumb_bob"}, "3 models for 2 cameras"),
        ({"image_width": 10}, "image_width is 10"),
        ({"standing_s": -1.0}, "standing_s is -1"),
        ({"start_ns": -5}, "start_ns is -5"),
        ({"tf_rate_hz": 30}, "divides 1000"),
        ({"tf_rate_hz": 125}, "multiple of 10"),
        ({"seed": -1}, "seed is -1"),
        ({"range_noise_m": -0.1}, "range_noise_m is -0.1"),
        ({"late_static_s": -1.0}, "late_static_s is -1"),
    ],
)
def test_options_out_of_range_are_refused_by_name(wrong, said):
    with pytest.raises(InputError, match=said):
        DriveOptions(**wrong)
