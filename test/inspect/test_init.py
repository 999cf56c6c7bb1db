# SPDX-License-Identifier: Apache-2.0
"""``init`` writes configurations that convert untouched whatever ``inspect`` calls usable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import toy_camera
import yaml
from bags import MS, START_NS, Recording, cloud, compressed, info, recording, transforms
from drives import make_drive

from nucleus_bridge.cli.main import main
from nucleus_bridge.config import load_config
from nucleus_bridge.decode import registry
from nucleus_bridge.inspect.report import inspect_bag
from nucleus_bridge.testing.demo import DriveOptions
from nucleus_bridge.warnings import Code

VARIANTS: dict[str, dict[str, Any]] = {
    "raw": {"image": "raw"},
    "sqlite3": {"storage": "sqlite3"},
    "ouster": {"driver": "ouster"},
    "hesai": {"driver": "hesai"},
    "fisheye": {"camera_model": "equidistant"},
    "rational": {"camera_model": "rational_polynomial"},
    "three lidars": {"lidars": 3, "cameras": 4},
    "no camera": {"cameras": 0},
    "late static": {"late_static_s": 0.7},
}


def init(bag: Path, folder: Path) -> Path:
    path = folder / "made.yaml"
    assert main(["init", str(bag), "-o", str(path)]) == 0
    return path


def convert(bag: Path, config: Path, folder: Path) -> int:
    return main(["convert", str(bag), "--config", str(config), "--output", str(folder / "spool")])


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_demo_drive_converts_untouched(tmp_path: Path, variant: str) -> None:
    small = {"seconds": 1.5, "points": 2000, "cameras": 2, "image_width": 320, "image_height": 200}
    drive = make_drive(tmp_path, DriveOptions(**{**small, **VARIANTS[variant]}))
    assert inspect_bag(drive.bag).usable
    path = init(drive.bag, tmp_path)
    config = load_config(path)
    assert (config.world_frame, config.device_frame) == ("map", "base_link")
    assert {lidar.topic for lidar in config.lidars} == {entry["topic"] for entry in drive.truth["lidars"].values()}
    pairs = {(camera.image_topic, camera.info_topic) for camera in config.cameras}
    assert pairs == {(entry["image_topic"], entry["info_topic"]) for entry in drive.truth["cameras"].values()}
    assert config.gps.topic == drive.truth["gps"]["fix_topic"]
    assert convert(drive.bag, path, tmp_path) == 0


def test_a_radar_is_offered_judged_and_tried(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = DriveOptions(seconds=1.0, points=1000, cameras=1, radars=1, image_width=320, image_height=200)
    drive = make_drive(tmp_path, options)
    (radar,) = load_config(init(drive.bag, tmp_path)).radars
    assert radar.topic == drive.truth["radars"]["front"]["topic"]
    report = inspect_bag(drive.bag)
    (seen,) = (sensor for sensor in report.sensors if sensor.kind == "radar")
    assert (seen.name, seen.usable) == (radar.name, True)
    assert report.trial.used[radar.name] == report.trial.frames
    assert {finding.code for finding in report.warnings} <= {Code.CALIBRATION_NOT_MEASURED}


def test_a_camera_of_a_type_that_only_this_test_knows_is_listed_offered_and_converted(tmp_path: Path) -> None:
    bag = toy_camera.toy_recording(6).write(tmp_path / "bag")
    with registry.added(toy_camera.INTERFACE):
        path = init(bag, tmp_path)
        (camera,) = load_config(path).cameras
        assert camera.image_topic == "/image"
        report = inspect_bag(bag)
        assert [sensor.usable for sensor in report.sensors if sensor.topic == "/image"] == [True]
        assert report.trial.used[camera.name] == report.trial.frames
        assert convert(bag, path, tmp_path) == 0


def test_a_recording_of_which_no_frame_comes_is_status_1_and_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = recording().without("/tf_static").write(tmp_path / "bag")
    path = tmp_path / "made.yaml"
    assert main(["init", str(bag), "-o", str(path)]) == 1
    said = capsys.readouterr().err
    assert "missing: the trial run makes no frame" in said
    assert "[no_mount]" in said
    assert "# mount_names: [lidar]" in path.read_text()  # only to be uncommented
    assert load_config(path).world_frame == "map"


def test_offsets_are_those_that_the_cameras_have(tmp_path: Path) -> None:
    drive = make_drive(tmp_path, DriveOptions(seconds=1.5, points=2000, cameras=2, image_width=320, image_height=200))
    config = load_config(init(drive.bag, tmp_path))
    sweep = drive.truth["lidars"]["top"]["sweeps"][0]["stamp_ns"]
    for camera in config.cameras:
        true_ms = (drive.truth["cameras"][camera.name]["images"][0]["stamp_ns"] - sweep) / 1e6
        assert camera.offset_ms == pytest.approx(true_ms, abs=0.1)


@pytest.mark.parametrize(("largest", "full"), [(0.8, 1.0), (1.0, 1.0), (200, 255.0), (3000, 4095.0), (60000, 65535.0)])
def test_full_intensity_follows_the_data(tmp_path: Path, largest: float, full: float) -> None:
    import numpy as np

    points = np.array([[5, 1, 0, 0.1], [6, -1, 1, largest]])
    made = recording().without("/points")
    for number in range(5):
        stamp = START_NS + 100 * number * MS
        made.add("/points", cloud(stamp, points), stamp + 3 * MS)
    config = load_config(init(made.write(tmp_path / "bag"), tmp_path))
    assert config.lidars[0].intensity_max == full


def test_clouds_without_intensity_convert_untouched(tmp_path: Path) -> None:
    made = recording().without("/points")
    fields = cloud(START_NS).fields[:3]
    for number in range(5):
        stamp = START_NS + 100 * number * MS
        made.add("/points", cloud(stamp, fields=fields), stamp + 3 * MS)
    bag = made.write(tmp_path / "bag")
    path = init(bag, tmp_path)
    assert load_config(path).point_fields == ()
    assert convert(bag, path, tmp_path) == 0


def test_points_of_several_lidars_say_which_they_are_of(tmp_path: Path) -> None:
    drive = make_drive(tmp_path, DriveOptions(seconds=0.5, points=500, cameras=0, lidars=2))
    path = init(drive.bag, tmp_path)
    assert load_config(path).point_fields == ("intensity", "device")
    assert load_config(path).lidars[0].name == "top"


def test_of_several_image_topics_of_a_camera_one_is_chosen_and_the_others_are_named(tmp_path: Path) -> None:
    made = recording().without("/image").without("/info")
    for number in range(5):
        stamp = START_NS + 100 * number * MS
        for topic in ("/cam/image_raw/compressed", "/cam/image_rect/compressed"):
            made.add(topic, compressed(stamp), stamp + 5 * MS)
        made.add("/cam/camera_info", info(stamp), stamp + 4 * MS)
    bag = made.write(tmp_path / "bag")
    path = init(bag, tmp_path)
    (camera,) = load_config(path).cameras
    assert camera.image_topic == "/cam/image_raw/compressed"
    assert "alternatives: /cam/image_rect/compressed" in path.read_text()
    assert convert(bag, path, tmp_path) == 0


def test_a_camera_with_a_body_frame_gets_the_optical_one_below_it(tmp_path: Path) -> None:
    made = recording()
    optical = (-0.5, 0.5, -0.5, 0.5)
    made.add("/tf_static", transforms(("camera", "camera_optical", START_NS, (0, 0, 0), optical)), START_NS)
    config = load_config(init(made.write(tmp_path / "bag"), tmp_path))
    assert config.cameras[0].optical_frame == "camera_optical"


def test_without_any_transform_it_converts_in_the_sensors_frame_and_says_so_loudly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Recording()
    for number in range(3):
        made.add("/points", cloud(START_NS + 100 * number * MS), START_NS + 100 * number * MS)
    bag = made.write(tmp_path / "bag")
    path = init(bag, tmp_path)
    assert "missing: no pose" in capsys.readouterr().err
    assert path.read_text().splitlines()[2].startswith("# MISSING: no pose")
    assert load_config(path).world_frame == "lidar"
    assert convert(bag, path, tmp_path) == 0


def test_without_a_lidar_it_fails_as_bad_input_and_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = recording().without("/points").write(tmp_path / "bag")
    assert main(["init", str(bag)]) == 2
    assert "missing: a lidar" in capsys.readouterr().err


def test_an_existing_file_is_not_replaced_unasked(tmp_path: Path) -> None:
    bag = recording().write(tmp_path / "bag")
    path = init(bag, tmp_path)
    path.write_text("mine")
    assert main(["init", str(bag), "-o", str(path)]) == 2
    assert path.read_text() == "mine"
    assert main(["init", str(bag), "-o", str(path), "--force"]) == 0
    assert path.read_text() != "mine"


def test_every_value_has_its_place_in_the_file_and_reasons_stand_above(tmp_path: Path) -> None:
    text = init(recording().write(tmp_path / "bag"), tmp_path).read_text()
    values = yaml.safe_load(text)["/**"]["ros__parameters"]
    assert values["lidars"]["points"]["topic"] == "/points" if "points" in values["lidars"] else values["lidars"]
    lines = text.splitlines()
    for key in ("world_frame:", "intensity_field:", "time_field:", "tolerance_ms:"):
        place = next(i for i, line in enumerate(lines) if key in line)
        assert lines[place - 1].lstrip().startswith("#")


def test_names_in_a_recording_cannot_break_the_file(tmp_path: Path) -> None:
    made = Recording()
    frame = "lidar\n    device_frame: evil # 'x'"
    for number in range(3):
        made.add("/points", cloud(START_NS + 100 * number * MS, frame_id=frame), START_NS + 100 * number * MS)
    bag = made.write(tmp_path / "bag")
    path = init(bag, tmp_path)
    assert load_config(path).device_frame == frame
    assert convert(bag, path, tmp_path) == 0


@pytest.mark.parametrize("name", ["scale_sample", "ouster_os1"])
def test_real_recordings_convert_untouched(real_data: Path, tmp_path: Path, name: str) -> None:
    path = init(real_data / name, tmp_path)
    assert convert(real_data / name, path, tmp_path) == 0


def test_an_ouster_takes_its_calibrated_reflectivity(real_data: Path, tmp_path: Path) -> None:
    (lidar,) = load_config(init(real_data / "ouster_os1", tmp_path)).lidars
    assert lidar.intensity_field == "reflectivity"
