# SPDX-License-Identifier: Apache-2.0
"""Poses, mounts, transforms, events and signals in the configuration: what they become and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nucleus_bridge.config import Config, NamedTopic, config_from_values
from nucleus_bridge.errors import ConfigError

BASE: dict[str, Any] = {
    "lidar_names": ["top"],
    "lidars.top.topic": "/points",
    "camera_names": ["front"],
    "cameras.front.image_topic": "/front/image",
    "cameras.front.info_topic": "/front/info",
    "radar_names": ["nose"],
    "radars.nose.topic": "/radar",
    "gps.topic": "/fix",
}
MOUNT = {"mount_names": ["roof"], "mounts.roof.parent_frame": "base_link", "mounts.roof.child_frame": "lidar"}
POSE = {"pose_names": ["ego"]}
BRAKE = {"event_names": ["brake"], "events.brake.topic": "brake", "events.brake.when": "> 0.5"}
SPEED = {"metadata_from_names": ["speed"], "metadata_from.speed.topic": "/speed"}


def config(values: dict[str, Any], base_dir: Path | None = None) -> Config:
    return config_from_values({**BASE, **values}, base_dir=base_dir)


def test_all_sensors_tell_their_kind_and_topics() -> None:
    made = config({"lidars.top.metadata_topic": "metadata"})
    assert [(sensor.name, sensor.kind, sensor.topic) for sensor in made.sensors] == [
        ("top", "cloud", "/points"),
        ("front", "image", "/front/image"),
        ("nose", "radar", "/radar"),
    ]
    assert [sensor.name for sensor in made.matched] == ["front", "nose"]
    assert made.topics == (
        NamedTopic("/points", "lidars.top.topic", "cloud"),
        NamedTopic("/metadata", "lidars.top.metadata_topic", "calibration"),
        NamedTopic("/front/image", "cameras.front.image_topic", "image"),
        NamedTopic("/front/info", "cameras.front.info_topic", "calibration"),
        NamedTopic("/radar", "radars.nose.topic", "radar"),
        NamedTopic("/fix", "gps.topic", "fix"),
    )


def test_a_file_replaces_the_topic_that_it_stands_for(tmp_path: Path) -> None:
    (tmp_path / "front.yaml").write_text("calibration")
    made = config({"cameras.front.calibration_file": "front.yaml"}, tmp_path)
    assert [topic.name for topic in made.cameras[0].topics] == ["/front/image"]


def test_what_is_not_set_is_consistent_with_what_was_there_before() -> None:
    made = config({})
    assert made.transforms.topics == ("/tf",)
    assert made.transforms.static_topics == ("/tf_static",)
    assert (made.transforms.urdf_topic, made.transforms.urdf_file) == ("/robot_description", "")
    assert (made.poses, made.mounts, made.events, made.metadata_from, made.annotations) == ((), (), (), (), ())
    assert made.lidars[0].deskew
    assert (made.scene.select, made.sfs.lidars, made.sfs.images) == ("all", "separate", "files")
    assert (made.upload.job_timeout_s, made.ros.heal, made.metadata_builtin) == (3600.0, False, False)


@pytest.mark.parametrize(
    ("urdf", "topic", "file"),
    [
        ("none", "", ""),
        ("/r1/robot_description", "/r1/robot_description", ""),
        ("robot_description", "/robot_description", ""),
        ("../model/car.urdf", "", "../model/car.urdf"),
        ("CAR.URDF", "", "CAR.URDF"),
    ],
)
def test_a_robot_description_is_a_topic_or_a_file(tmp_path: Path, urdf: str, topic: str, file: str) -> None:
    folder = tmp_path / "config"
    folder.mkdir()
    if file:
        path = folder / file
        path.parent.mkdir(exist_ok=True)
        path.write_text("<robot/>")
    made = config({"transforms.urdf": urdf}, folder)
    assert (made.transforms.urdf_topic, made.transforms.urdf_file) == (topic, file)
    if file:
        path.write_text("<robot name='other'/>")
        assert config({"transforms.urdf": urdf}, folder).digest != made.digest


def test_files_count_by_content_wherever_they_are_named(tmp_path: Path) -> None:
    for name in ("traj.txt", "times.txt", "mounts.yaml", "metadata.json"):
        (tmp_path / name).write_text("one")
    values: dict[str, Any] = {
        "pose_names": ["ego"],
        "poses.ego.file": "traj.txt",
        "poses.ego.format": "kitti",
        "poses.ego.times_file": "times.txt",
        "mount_names": ["roof"],
        "mounts.roof.file": "mounts.yaml",
        "lidars.top.metadata_file": "metadata.json",
    }
    digests = {config(values, tmp_path).digest}
    for name in ("traj.txt", "times.txt", "mounts.yaml", "metadata.json"):
        (tmp_path / name).write_text("two")
        digests.add(config(values, tmp_path).digest)
    assert len(digests) == 5


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (POSE, "poses.ego.topic: set it or poses.ego.file, not neither"),
        ({**POSE, "poses.ego.topic": "/odom", "poses.ego.file": "a.tum"}, "not both, /odom and a.tum"),
        ({**POSE, "poses.ego.file": "a.txt", "poses.ego.format": "kitti"}, "poses.ego.times_file: set it"),
        (
            {**POSE, "poses.ego.file": "a", "poses.ego.format": "tum", "poses.ego.times_file": "t"},
            "poses.ego.times_file: goes with poses.ego.format: kitti, not tum",
        ),
        ({**POSE, "poses.ego.topic": "/odom", "poses.ego.columns": ["x=a"]}, "poses.ego.columns: goes with"),
        ({**POSE, "poses.ego.file": "a.csv", "poses.ego.columns": ["speed=v"]}, "not 'speed=v'"),
        ({**POSE, "poses.ego.file": "a.csv", "poses.ego.columns": ["x=a", "x=b"]}, "gives x twice"),
        (
            {**POSE, "poses.ego.topic": "/odom", "poses.ego.parent_frame": "a", "poses.ego.child_frame": "/a"},
            "poses.ego.child_frame: '/a' is the parent frame too",
        ),
        (MOUNT, "mounts.roof: set mounts.roof.xyz"),
        ({"mount_names": ["roof"], "mounts.roof.xyz": [1.0, 0.0, 0.0]}, "mounts.roof.parent_frame: must name a frame"),
        ({**MOUNT, "mounts.roof.xyz": [1.0, 2.0]}, "mounts.roof.xyz: must be 3 numbers, not [1.0, 2.0]"),
        ({**MOUNT, "mounts.roof.rpy": [1.0, 2.0, 3.0, 4.0]}, "mounts.roof.rpy: must be 3 numbers"),
        (
            {**MOUNT, "mounts.roof.rpy": [0.0, 0.0, 0.0], "mounts.roof.quaternion_xyzw": [0.0, 0.0, 0.0, 1.0]},
            "mounts.roof.rpy: mounts.roof.quaternion_xyzw gives the rotation",
        ),
        ({**MOUNT, "mounts.roof.quaternion_xyzw": [0.0, 0.0, 0.0, 0.0]}, "has no length"),
        ({**MOUNT, "mounts.roof.xyz": [1.0, 0.0, 0.0], "mounts.roof.file": "m.yaml"}, "leave one of them out"),
        ({**MOUNT, "mounts.roof.xyz": [1.0, 0.0, 0.0], "mounts.roof.key": "cam0"}, "mounts.roof.key: goes with"),
        (
            {**MOUNT, "mounts.roof.xyz": [1.0, 0.0, 0.0], "mounts.roof.child_frame": "base_link"},
            "'base_link' is the parent frame too",
        ),
        ({**SPEED, "metadata.speed": "fast"}, "metadata.speed: metadata_from.speed makes it too"),
        ({**SPEED, "metadata_from.speed.field": "a..b"}, "metadata_from.speed.field: must be a path such as"),
        ({**SPEED, "metadata_from.speed.reduce": "median"}, "must be one of last, first, mean, min, max"),
        ({"event_names": ["brake"]}, "events.brake.topic: must be set"),
        ({**BRAKE, "events.brake.when": ""}, "events.brake.when: must be set"),
        ({**BRAKE, "events.brake.when": "about 3"}, "events.brake.when: must be a condition such as"),
        ({**BRAKE, "events.brake.when": "abs > fast"}, "events.brake.when: must be a condition such as"),
        ({**BRAKE, "metadata.events": "x"}, "metadata.events: holds the names"),
        ({"annotation_names": ["boxes"]}, "annotations.boxes.topic: must be set"),
        ({"transforms.urdf": "car.urdf.xacro"}, "must be auto, none, a topic or a .urdf file"),
        ({"lidars.top.clock_offset_ms": float("inf")}, "lidars.top.clock_offset_ms: must be a number from"),
        ({"cameras.front.bayer": "rgbg"}, "must be one of '', rggb, bggr, gbrg, grbg, not 'rgbg'"),
        ({"radar_names": ["front"], "radars.front.topic": "/r"}, "'front' names two sensors"),
    ],
)
def test_what_contradicts_itself_is_refused(values: dict[str, Any], told: str, tmp_path: Path) -> None:
    for name in ("a", "t", "a.tum", "a.txt", "a.csv", "m.yaml"):
        (tmp_path / name).write_text("")
    raw = {**BASE, **values}
    if "radars.front.topic" in values:
        del raw["radars.nose.topic"]
    with pytest.raises(ConfigError) as caught:
        config_from_values(raw, base_dir=tmp_path)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "when", ["> 0.5", ">= -1e3", "== true", "!= AUTO DRIVE", "changes", "abs > 3.0", "norm >= .5", "<2"]
)
def test_conditions_of_events(when: str) -> None:
    (event,) = config({**BRAKE, "events.brake.when": when}).events
    assert (event.topic, event.when, event.before_s, event.after_s) == ("/brake", when, 10.0, 10.0)


def test_the_mark_of_the_recorder_needs_no_topic_and_places_and_poses_are_no_topics() -> None:
    made = config(
        {
            "event_names": ["mark", "depot", "hard"],
            "events.mark.before_s": 3.0,
            "events.depot.topic": "gps",
            "events.depot.field": "inside(48.1, 11.5, 200)",
            "events.hard.topic": "device",
            "events.hard.field": "acceleration",
            "events.hard.when": "abs > 3.0",
        }
    )
    assert [(event.name, event.topic) for event in made.events] == [("mark", ""), ("depot", "gps"), ("hard", "device")]


def test_metadata_keeps_its_type() -> None:
    made = config({"metadata.run": 7, "metadata.rain": True, "metadata.driver": "Ann", "metadata.grade": 1.0})
    assert [(key, value, type(value)) for key, value in made.metadata] == [
        ("driver", "Ann", str),
        ("grade", 1.0, float),
        ("rain", True, bool),
        ("run", 7, int),
    ]
