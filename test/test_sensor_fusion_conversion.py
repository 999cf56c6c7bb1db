# SPDX-License-Identifier: Apache-2.0
"""Recordings to sensor-fusion scenes: the same frames as in Nucleus scenes, with what those cannot hold."""

from __future__ import annotations

import filecmp
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bags import OPTICAL, START_NS, UNIT, recording, transforms, write_config
from drives import Drive, make_drive
from fusion_frames import schema_errors
from lidar_frame_messages import parse, record_of, rounded_to_32_bits

from nucleus_bridge.cli.main import main
from nucleus_bridge.convert import ConversionReport, convert_bag
from nucleus_bridge.errors import ConfigError, SceneExistsError
from nucleus_bridge.formats import registry
from nucleus_bridge.testing.demo import DriveOptions

FORMATS = ("nucleus", "sensor_fusion_json", "sensor_fusion_protobuf")
OPTIONS = DriveOptions(
    seconds=1.0,
    points=400,
    cameras=4,
    lidars=2,
    radars=1,
    image_width=160,
    image_height=100,
    camera_model="plumb_bob,rational_polynomial,equidistant,omnidirectional",
)
FIELDS = ["point_fields=[intensity,device,time]", "metadata.weather=rain", "cameras.rear.priority=3"]


class Converted:
    """One drive in every format."""

    def __init__(self, folder: Path) -> None:
        self.drive: Drive = make_drive(folder, OPTIONS)
        self.reports: dict[str, ConversionReport] = {}
        for name in FORMATS:
            self.reports[name] = self.convert(folder / name, name)

    def convert(self, spool: Path, name: str, **options: Any) -> ConversionReport:
        from nucleus_bridge.config import load_config

        return convert_bag(self.drive.bag, load_config(self.drive.config_path, FIELDS), spool, format=name, **options)

    def folder(self, name: str) -> Path:
        (scene,) = self.reports[name].scenes
        return scene.folder


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Converted:
    return Converted(tmp_path_factory.mktemp("fusion"))


def json_frames(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_bytes()) for path in sorted((folder / "frames").iterdir())]


def test_a_scene_has_frames_and_images_and_no_payload(converted: Converted) -> None:
    for name, suffix in zip(FORMATS[1:], (".json", ".pb"), strict=True):
        (scene,) = converted.reports[name].scenes
        folder, manifest = scene.folder, scene.manifest
        assert not (folder / "scene.json").exists()
        assert sorted(path.name for path in (folder / "frames").iterdir()) == [f"{n:06d}{suffix}" for n in range(10)]
        assert (manifest.format, manifest.frames, manifest.items) == (name, 10, 50)
        assert manifest.metadata == {"weather": "rain"}
        assert {record.path for record in manifest.files} == {
            str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
        } - {"manifest.json"}


def test_frames_fit_the_schema_and_both_formats_are_one(converted: Converted) -> None:
    frames = json_frames(converted.folder("sensor_fusion_json"))
    messages = sorted((converted.folder("sensor_fusion_protobuf") / "frames").iterdir())
    for frame, message in zip(frames, messages, strict=True):
        assert schema_errors(frame) == []
        assert record_of(parse(message.read_bytes())) == rounded_to_32_bits(frame)


def test_frames_say_what_the_nucleus_scene_says(converted: Converted) -> None:
    nucleus = converted.folder("nucleus")
    scene = json.loads((nucleus / "scene.json").read_text())
    frames = json_frames(converted.folder("sensor_fusion_json"))
    for items, frame in zip(scene["frames"], frames, strict=True):
        cloud = json.loads((nucleus / items["lidar"]["url"]).read_text())
        assert {key: frame[key] for key in cloud} == cloud
        images = {image["image_url"].split("/")[0]: image for image in frame["images"]}
        assert list(images) == ["front", "rear", "left", "right"]
        for camera in ("front", "rear", "left"):
            image = dict(images[camera])
            url = image.pop("image_url")
            assert image == items[camera]["metadata"]["camera_params"]
            assert filecmp.cmp(nucleus / url, converted.folder("sensor_fusion_json") / url, shallow=False)


def test_each_camera_model_is_expressed_as_it_is_if_the_format_can(converted: Converted) -> None:
    (image, *_), *_ = zip(
        *(frame["images"] for frame in json_frames(converted.folder("sensor_fusion_json"))), strict=True
    )
    assert image["camera_model"] == "brown_conrady"
    front, rear, left, right = json_frames(converted.folder("sensor_fusion_json"))[0]["images"]
    truth = converted.drive.truth["cameras"]
    assert [front[key] for key in ("k1", "k2", "p1", "p2", "k3")] == truth["front"]["d"]
    assert not any(rear[key] for key in ("k1", "k2", "p1", "p2", "k3"))  # rational: rectified
    assert rear["priority"] == 3
    assert [left[key] for key in ("k1", "k2", "k3", "k4")] == truth["left"]["d"]
    assert right["camera_model"] == "omnidirectional"
    assert sorted(right[key] for key in ("xi", "k1", "k2", "p1", "p2")) == sorted(truth["right"]["d"])
    # The image itself is the camera's own; for Nucleus it had to be rectified.
    one, other = (converted.folder(name) / "right/000000.jpg" for name in FORMATS[:2])
    assert not filecmp.cmp(one, other, shallow=False)


def test_radar_points_are_where_the_truth_has_them(converted: Converted) -> None:
    (scene,) = converted.reports["sensor_fusion_json"].scenes
    offset = np.array([scene.manifest.world_offset[axis] for axis in "xyz"])
    frames = json_frames(scene.folder)
    scans = converted.drive.truth["radars"]["front"]["scans"]
    fastest = 0.0
    for frame in frames:
        scan = min(scans, key=lambda scan: abs(scan["stamp_ns"] - frame["timestamp"]))
        assert len(frame["radar_points"]) == len(scan["positions"])
        for point, position, velocity, rcs in zip(
            frame["radar_points"], scan["positions"], scan["velocities"], scan["rcs"], strict=True
        ):
            assert np.abs([point["position"][axis] for axis in "xyz"] - (np.array(position) - offset)).max() < 0.01
            assert np.abs(np.array([point["direction"][axis] for axis in "xyz"]) - velocity).max() < 0.05
            assert point["size"] == pytest.approx((rcs + 20.0) / 60.0, abs=0.0005)
            fastest = max(fastest, float(np.hypot(point["direction"]["x"], point["direction"]["y"])))
    assert fastest > 4.9
    assert scene.manifest.sensors["front_radar"]["points"] == sum(len(frame["radar_points"]) for frame in frames)


def test_radar_points_beyond_all_bounds_are_left_out_and_counted(converted: Converted, tmp_path: Path) -> None:
    from nucleus_bridge.config import load_config
    from nucleus_bridge.model import RadarPoints
    from nucleus_bridge.pipeline.losses import Table
    from nucleus_bridge.render.frame import radars_in_reach

    position = np.array([[500_000.0, 0.0, 0.0], [500_010.0, 5.0, 0.0], [700_000.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    seen = RadarPoints("front_radar", 5, "radar", position, position * 1e-5, np.arange(4.0) / 4)
    offset = np.array([500_000.0, 0.0, 0.0])
    losses: Table = {}
    (near,) = radars_in_reach([seen], offset, load_config(converted.drive.config_path), losses)
    assert losses == {"/radar/front/points": {"coordinate_range": 2}}
    assert near.position.tolist() == (position[:2] - offset).tolist()
    assert near.size is not None
    assert near.size.tolist() == [0.0, 0.25]


@pytest.mark.parametrize("name", FORMATS[1:])
def test_the_bytes_do_not_depend_on_the_number_of_workers(converted: Converted, tmp_path: Path, name: str) -> None:
    (scene,) = converted.convert(tmp_path / "spool", name, workers=2).scenes
    first, second = converted.reports[name].scenes[0].manifest, scene.manifest
    assert first == second


def test_a_conversion_is_skipped_only_in_the_format_it_was_made_in(converted: Converted, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    assert not converted.convert(spool, "sensor_fusion_json").skipped
    assert converted.convert(spool, "sensor_fusion_json").skipped
    with pytest.raises(SceneExistsError, match=r"sensor_fusion_json.*sensor_fusion_protobuf.*spool of its own"):
        converted.convert(spool, "sensor_fusion_protobuf")
    with pytest.raises(SceneExistsError, match=r"sensor_fusion_json.*nucleus.*--force"):
        converted.convert(spool, "nucleus")
    (scene,) = converted.convert(spool, "nucleus", force=True).scenes
    assert scene.manifest == converted.reports["nucleus"].scenes[0].manifest


def test_an_unknown_format_is_refused_by_name(converted: Converted, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"must be one of nucleus, .*, not 'pcd'"):
        converted.convert(tmp_path / "spool", "pcd")


def test_every_room_knows_the_same_formats() -> None:
    names = registry.names()
    assert names[: len(FORMATS)] == FORMATS
    assert names == tuple(registry.of(name).name for name in names)


LOOKING_ALONG_X = {"x": -0.5, "y": 0.5, "z": -0.5, "w": 0.5}


def looking_along_x() -> Any:
    """A device that stands at the origin of the map, its camera's optical axis along +x and upright."""
    made = recording(frames=2, speed=0.0).without("/tf_static")
    made.add(
        "/tf_static",
        transforms(
            ("base_link", "lidar", START_NS, (0, 0, 2), UNIT), ("base_link", "camera", START_NS, (1, 2, 3), OPTICAL)
        ),
        START_NS - 1,
    )
    return made


@pytest.mark.parametrize("name", FORMATS[1:])
def test_a_camera_along_x_has_the_heading_of_the_format_page(tmp_path: Path, name: str) -> None:
    bag = looking_along_x().write(tmp_path / "bag")
    (scene,) = convert_bag(bag, write_config(tmp_path), tmp_path / "spool", format=name).scenes
    for path in (scene.folder / "frames").iterdir():
        data = path.read_bytes()
        (image,) = (json.loads(data) if name == "sensor_fusion_json" else record_of(parse(data)))["images"]
        assert image["heading"] == LOOKING_ALONG_X
        assert image["position"] == {"x": 1.0, "y": 2.0, "z": 3.0}


def with_ground(stamp_ns: int) -> Any:
    from bags import TYPES, cloud

    rows = np.array([[5, 1, 0, 100, 40], [6, -1, 1, 255, 50], [7, 0, 0, 0, 44]], dtype="<f4")
    message = cloud(stamp_ns, rows[:, :4])
    field = TYPES.types["sensor_msgs/msg/PointField"]
    names = ("x", "y", "z", "intensity", "label")
    return replace(
        message,
        fields=[field(name, 4 * number, 7, 1) for number, name in enumerate(names)],
        point_step=20,
        row_step=60,
        data=rows.reshape(-1).view(np.uint8),
    )


@pytest.mark.parametrize("name", FORMATS[1:])
def test_ground_is_told_by_a_class(tmp_path: Path, name: str) -> None:
    made = recording(frames=2).without("/points")
    for number in range(2):
        stamp = START_NS + 100_000_000 * number
        made.add("/points", with_ground(stamp), stamp)
    config = write_config(tmp_path)
    bag = made.write(tmp_path / "bag")
    text = config.read_text().replace(
        "{topic: /points}", "{topic: /points, ground_field: label, ground_classes: ['40', '44']}"
    )
    config.write_text(text + "    point_fields: [intensity, is_ground]\n")
    (scene,) = convert_bag(bag, config, tmp_path / "spool", format=name).scenes
    for path in (scene.folder / "frames").iterdir():
        data = path.read_bytes()
        frame = json.loads(data) if name == "sensor_fusion_json" else record_of(parse(data))
        assert [point["is_ground"] for point in frame["points"]] == [True, False, True]


@pytest.fixture
def small(tmp_path: Path) -> list[str]:
    bag = recording(frames=2).write(tmp_path / "bag")
    return [str(bag), "--config", str(write_config(tmp_path)), "--output", str(tmp_path / "spool")]


def test_the_command_line_and_the_configuration_choose_the_format(
    small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", *small, "--format", "sensor_fusion_json"]) == 0
    assert main(["convert", *small, "--set", "scene.format=sensor_fusion_json"]) == 0
    assert "(was there)" in capsys.readouterr().out
    assert main(["convert", *small, "--set", "scene.format=sensor_fusion_json", "--format", "nucleus"]) == 2
    assert "spool of its own" in capsys.readouterr().err
    assert len(list((tmp_path / "spool/scenes").glob("*/frames/*.json"))) == 2
    with pytest.raises(SystemExit) as left:
        main(["convert", *small, "--format", "pcd"])
    assert left.value.code == 2
