# SPDX-License-Identifier: Apache-2.0
"""Recordings that contradict themselves in transforms, cameras and spans of time: inspect and convert say the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from bags import MS, START_NS, UNIT, Recording, compressed, info, transforms
from small_drive import Camera, Lidar, S, SmallDrive, Tf

from nucleus_bridge import convert_bag
from nucleus_bridge.config import Config
from nucleus_bridge.decode.calibration_check import implausible
from nucleus_bridge.decode.camera_info import CameraInfo
from nucleus_bridge.inspect.report import BagReport, study
from nucleus_bridge.warnings import Code, Finding, Weight

PLAIN = SmallDrive()
LIDAR, CAMERA, TF = Lidar(), Camera(), Tf()
Quaternion = tuple[float, float, float, float]
More = Callable[[SmallDrive, Recording], None]


def said(folder: Path, drive: SmallDrive) -> tuple[BagReport, dict[Code, Finding], dict[Code, Finding]]:
    """What inspect says of a drive, and convert with the configuration of one without a fault."""
    config = config_of(PLAIN, folder / "plain")
    bag = drive.write(folder / "bent")
    report = study(bag)[0]
    by_inspect = {f.code: f for f in report.warnings if f.code is not Code.CALIBRATION_NOT_MEASURED}
    by_convert = {f.code: f for f in convert_bag(bag, config, folder / "spool").findings}
    return report, by_inspect, by_convert


def config_of(drive: SmallDrive, folder: Path) -> Config:
    config = study(drive.write(folder))[1].config()
    assert config is not None
    return config


def edges(
    of: Callable[[SmallDrive, int], tuple[str, str, Any, Quaternion]], rate: float = 40.0, log_ms: int = 4
) -> More:
    """Publish an edge: parent, child, place and rotation at a time."""

    def add(drive: SmallDrive, made: Recording) -> None:
        for at in drive.times(rate, 0.8, 1.0):
            parent, child, place, rotation = of(drive, at)
            made.add("/tf", transforms((parent, child, at, tuple(place), rotation)), at + log_ms * MS)

    return add


def posed(drive: SmallDrive, at: int) -> tuple[np.ndarray, float]:
    (place,), (yaw,) = drive.pose(at)
    return place, float(yaw)


def about_z(yaw: float) -> Quaternion:
    return 0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2)


def beside_its_mount(drive: SmallDrive, at: int) -> tuple[str, str, Any, Quaternion]:
    """The lidar's mount again, 0.35 m higher than the static one."""
    x, y, z = LIDAR.mount
    return "base_link", LIDAR.frame, (x, y, z + 0.35), UNIT


def with_mounts(move: float) -> SmallDrive:
    """Mounts among the moving transforms; the camera's is another one after 0.9 s."""

    def add(drive: SmallDrive, made: Recording) -> None:
        for at in drive.times(12, 0.8, 1.0):
            x, y, z = CAMERA.mount
            moved = (x, y + (move if at > START_NS + 900 * MS else 0.0), z)
            rows = (
                ("base_link", LIDAR.frame, at, LIDAR.mount, UNIT),
                ("base_link", CAMERA.frame, at, moved, CAMERA.rotation),
            )
            made.add("/tf", transforms(*rows), at + 3 * MS)

    return PLAIN.but(static_topic=None, more=add)


def mirrored(drive: SmallDrive, at: int) -> tuple[str, str, Any, Quaternion]:
    place, yaw = posed(drive, at)
    return "odom", "base_link", place, about_z(-yaw)


def w_first(drive: SmallDrive, at: int) -> tuple[str, str, Any, Quaternion]:
    place, yaw = posed(drive, at)
    x, y, z, w = about_z(yaw)
    return "odom", "base_link", place, (w, x, y, z)


def inverse(drive: SmallDrive, at: int) -> tuple[np.ndarray, float]:
    place, yaw = posed(drive, at)
    cos, sin = math.cos(yaw), math.sin(yaw)
    return -np.array([cos * place[0] + sin * place[1], -sin * place[0] + cos * place[1], place[2]]), -yaw


def values_of_the_inverse(drive: SmallDrive, at: int) -> tuple[str, str, Any, Quaternion]:
    """As if the circle's middle were 60 m beside the origin, so that the inverse goes sideways."""
    far = drive.but(speed=drive.speed)
    place, yaw = posed(far, at)
    cos, sin = math.cos(yaw), math.sin(yaw)
    x, y = place[0] + 60.0, place[1]
    return "odom", "base_link", (-(cos * x + sin * y), sin * x - cos * y, 0.0), about_z(-yaw)


@pytest.mark.parametrize(
    ("drive", "code", "name", "words"),
    [
        (PLAIN.but(more=edges(beside_its_mount, rate=9)), Code.TF_CONFLICT, LIDAR.frame, "0.35 m"),
        (with_mounts(0.28), Code.STATIC_CHANGED, CAMERA.frame, "0.280 m"),
        (PLAIN.but(tf=(), yaw_rate=0.45, more=edges(mirrored)), Code.TF_IMPLAUSIBLE, "base_link", "against its course"),
        (PLAIN.but(tf=(), more=edges(w_first)), Code.DEVICE_AXES, "base_link", "w first"),
        (PLAIN.but(tf=(), more=edges(values_of_the_inverse)), Code.POSE_INVERSE, "base_link", "inverse"),
    ],
    ids=["a static transform and others", "a mount that moves", "mirrored", "w first", "inverse"],
)
def test_transforms_that_cannot_be_are_named_by_inspect_and_convert(
    tmp_path: Path, drive: SmallDrive, code: Code, name: str, words: str
) -> None:
    report, by_inspect, by_convert = said(tmp_path, drive)
    assert report.score < 100
    for found in (by_inspect, by_convert):
        assert code in found
        assert found[code].name == name
        assert words in found[code].text


def test_mounts_among_the_moving_transforms_that_stay_are_not_named(tmp_path: Path) -> None:
    _, by_inspect, by_convert = said(tmp_path, with_mounts(0.0))
    assert by_inspect == by_convert == {}


def test_a_localisation_that_corrects_itself_is_not_taken_for_a_mount(tmp_path: Path) -> None:
    def corrected(_drive: SmallDrive, at: int) -> tuple[str, str, Any, Quaternion]:
        return "map", "odom", (0.0, 0.0 if at < START_NS + 800 * MS else 0.05, 0.0), UNIT

    _, by_inspect, by_convert = said(tmp_path, PLAIN.but(more=edges(corrected, rate=10)))
    assert by_inspect == by_convert == {}


def test_a_world_below_the_device_is_the_world_all_the_same(tmp_path: Path) -> None:
    """What publishes the pose publishes its inverse, as some localisations do for want of a place in the tree."""

    def upside_down(drive: SmallDrive, at: int) -> tuple[str, str, Any, Quaternion]:
        place, yaw = inverse(drive, at)
        return "base_link", "odom", place, about_z(yaw)

    report, made = study(PLAIN.but(tf=(), more=edges(upside_down)).write(tmp_path))
    assert (made.values["world_frame"], made.values["device_frame"]) == ("odom", "base_link")
    assert report.trial.frames == 16
    assert {f.code for f in report.warnings} == {Code.CALIBRATION_NOT_MEASURED}


def test_transforms_without_stamps_have_no_second_publisher(tmp_path: Path) -> None:
    report, made = study(PLAIN.but(tf=(replace(TF, clock=lambda _: 0),)).write(tmp_path))
    assert {f.code: f.name for f in report.warnings} == {Code.TF_CLOCK: "base_link"}
    assert made.config() is not None


def test_transforms_on_a_slow_link_are_waited_for(tmp_path: Path) -> None:
    drive = PLAIN.but(seconds=4.0, tf=(replace(TF, delay_ms=2_600.0),))
    bag = drive.write(tmp_path / "late")
    report, made = study(bag)
    (finding,) = (f for f in report.warnings if f.code is not Code.CALIBRATION_NOT_MEASURED)
    assert (finding.code, finding.name) == (Code.LATE_MESSAGES, "/tf")
    config = made.config()
    assert config is not None
    assert config.sync.wait_s > 2.6
    assert convert_bag(bag, config, tmp_path / "waited").complete
    hasty = convert_bag(bag, config_of(PLAIN, tmp_path / "plain"), tmp_path / "hasty")
    assert (Code.LATE_MESSAGES, "/tf") in {(f.code, f.name) for f in hasty.findings}
    assert not hasty.complete


def within(first_s: float, last_s: float) -> Callable[[int], bool]:
    return lambda true: first_s <= (true - START_NS) / S < last_s


@pytest.mark.parametrize(
    ("drive", "name", "words"),
    [
        (PLAIN.but(cameras=(replace(CAMERA, sends=within(1.35, 9.0)),)), CAMERA.topic, "in the first 1.4 s"),
        (PLAIN.but(cameras=(replace(CAMERA, sends=within(0.0, 1.85)),)), CAMERA.topic, "in the last"),
        (
            PLAIN.but(cameras=(replace(CAMERA, sends=lambda at: not within(0.7, 2.1)(at)),)),
            CAMERA.topic,
            "for 1.5 s from 0.6 s on",
        ),
        (PLAIN.but(lidars=(replace(LIDAR, sends=within(0.0, 1.6)),)), LIDAR.topic, "there are no frames of that time"),
    ],
    ids=["late", "early", "a pause", "the lidar"],
)
def test_a_sensor_that_sends_for_a_part_of_the_time_is_named(
    tmp_path: Path, drive: SmallDrive, name: str, words: str
) -> None:
    _, by_inspect, by_convert = said(tmp_path, drive.but(seconds=3.3))
    for found in (by_inspect, by_convert):
        assert list(found) == [Code.SENSOR_SILENT]
        assert found[Code.SENSOR_SILENT].name == name
        assert words in found[Code.SENSOR_SILENT].text


def test_a_sensor_that_sends_a_second_time_in_two_is_not_named(tmp_path: Path) -> None:
    slow = PLAIN.but(seconds=4.0, cameras=(replace(CAMERA, rate=2.0),))
    _, by_inspect, by_convert = said(tmp_path, slow)
    assert by_inspect == by_convert == {}


def calibrated(focal: Callable[[int], float]) -> SmallDrive:
    def made(at: int) -> Any:
        f = focal(at)
        return info(at, CAMERA.frame, k=np.array([f, 0, 32, 0, f, 24, 0, 0, 1.0]))

    return PLAIN.but(seconds=2.4, cameras=(replace(CAMERA, info=made),))


def test_a_calibration_that_changes_is_named_with_by_how_much(tmp_path: Path) -> None:
    _, by_inspect, by_convert = said(tmp_path, calibrated(lambda at: 50.0 if at < START_NS + 1_300 * MS else 61.0))
    for found in (by_inspect, by_convert):
        assert list(found) == [Code.CAMERA_INFO_CHANGES]
        assert "from focal length 50" in found[Code.CAMERA_INFO_CHANGES].text
        assert found[Code.CAMERA_INFO_CHANGES].remedy.startswith("one calibration")


def test_a_lens_that_breathes_as_it_focuses_is_not_named(tmp_path: Path) -> None:
    _, by_inspect, by_convert = said(tmp_path, calibrated(lambda at: 50.0 + 0.4 * math.sin((at - START_NS) / S)))
    assert by_inspect == by_convert == {}


def test_a_calibration_that_comes_after_empty_ones_is_taken(tmp_path: Path) -> None:
    report, _ = study(calibrated(lambda at: 0.0 if at < START_NS + 420 * MS else 50.0).write(tmp_path))
    assert report.trial.used["front"] == report.trial.frames - 4


@pytest.mark.parametrize(
    ("model", "d", "words"),
    [
        ("plumb_bob", (-0.31, 0.12, 0.0008, -0.0011, -0.02), ""),
        ("plumb_bob", (0.14, -0.29, 0.001, 0.0, 0.17), ""),
        ("rational_polynomial", (9.3, 4.2, -1e-4, 2e-5, 0.2, 9.6, 7.1, 1.2), ""),
        ("equidistant", (-0.02, 0.41, -0.6, 0.3), ""),
        ("plumb_bob", (-0.02, 0.41, -0.6, 0.3), "tangential"),
        ("radtan", (0.03, -0.01, 0.21, -0.15, 0.0), "tangential"),
        ("plumb_bob", (-2.2, -1.4, 0.0, 0.0, 0.0), "folds"),
    ],
)
def test_distortion_that_no_lens_has_is_told_from_that_of_lenses(model: str, d: tuple[float, ...], words: str) -> None:
    k = (620.0, 0.0, 640.0, 0.0, 620.0, 360.0, 0.0, 0.0, 1.0)
    p = (620.0, 0.0, 640.0, 0.0, 0.0, 620.0, 360.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    made = CameraInfo(START_NS, "cam", 1280, 720, model, d, k, tuple(np.eye(3).ravel()), p)
    why = implausible(made, 1280, 720, rectified=False)
    assert (words in why) if words else why == ""


def cut(number: int, every: int) -> bytes:
    y, x = np.mgrid[0:96, 0:128]
    picture = np.stack([30 + x + number % 3, 200 - y, 60 + (x + y + number) // 2], axis=2).astype(np.uint8)
    whole = bytes(cv2.imencode(".jpg", picture)[1].tobytes())
    return whole[: len(whole) * 7 // 10] + b"\xff\xd9" if number % every == every - 1 else whole


@pytest.mark.parametrize("every", [1, 9])
def test_convert_looks_at_a_few_pictures_and_at_the_smallest(tmp_path: Path, every: int) -> None:
    camera = replace(
        CAMERA,
        image=lambda at, number: compressed(at, cut(number, every), CAMERA.frame),
        info=lambda at: info(at, CAMERA.frame, width=128, height=96, k=np.array([90.0, 0, 64, 0, 90, 48, 0, 0, 1])),
    )
    _, _, by_convert = said(tmp_path, PLAIN.but(cameras=(camera,)))
    assert list(by_convert) == [Code.IMAGE_DAMAGED]
    assert "rows above the lower edge" in by_convert[Code.IMAGE_DAMAGED].text
    assert by_convert[Code.IMAGE_DAMAGED].weight is Weight.LOSS
