# SPDX-License-Identifier: Apache-2.0
"""Each fault of a recording is named by its code and ``init`` writes its remedy; a consistent drive gives none."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from bags import MS, OPTICAL, START_NS, TYPES, Recording, compressed, header, info, jpeg, transforms
from small_drive import Camera, Lidar, S, SmallDrive, Tf, cloud

from nucleus_bridge import convert_bag
from nucleus_bridge.convert import NoSceneError
from nucleus_bridge.inspect.report import BagReport, study
from nucleus_bridge.inspect.suggestion import Suggestion
from nucleus_bridge.warnings import Code, Finding, Weight

PLAIN = SmallDrive()
LIDAR, CAMERA, TF = Lidar(), Camera(), Tf()


def late(seconds: float) -> Callable[[int], int]:
    return lambda true: true - round(seconds * S)


def lidar(**changes: Any) -> SmallDrive:
    return PLAIN.but(lidars=(replace(LIDAR, **changes),))


def camera(**changes: Any) -> SmallDrive:
    return PLAIN.but(cameras=(replace(CAMERA, **changes),))


def tf(*edges: Tf) -> SmallDrive:
    return PLAIN.but(tf=edges)


def looked_at(drive: SmallDrive, folder: Path, storage: str = "mcap") -> tuple[BagReport, Suggestion]:
    return study(drive.write(folder, storage))


def warned(report: BagReport) -> list[Finding]:
    """What is warned of, but that calibrations were not measured: the pictures show nothing of the clouds."""
    return [finding for finding in report.warnings if finding.code is not Code.CALIBRATION_NOT_MEASURED]


def codes(report: BagReport) -> dict[str, Weight]:
    return {finding.code.value: finding.weight for finding in warned(report)}


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_consistent_drive_gives_no_warning(tmp_path: Path, storage: str) -> None:
    report, _ = looked_at(PLAIN, tmp_path, storage)
    assert codes(report) == {}
    assert [finding.code for finding in report.warnings] == [Code.CALIBRATION_NOT_MEASURED]
    assert report.score == 99


NONE = object()
FAULTS: dict[str, tuple[SmallDrive, str, str, object]] = {
    "transforms behind": (tf(replace(TF, clock=late(0.7))), "tf_clock", "transforms.clock_offset_ms", NONE),
    "transforms ahead": (tf(replace(TF, clock=late(-0.24))), "tf_clock", "transforms.clock_offset_ms", -240.0),
    "transforms three hours behind": (
        tf(replace(TF, clock=late(10_800))),
        "tf_clock",
        "transforms.clock_offset_ms",
        10_800_000.0,
    ),
    "transforms on GPS time": (tf(replace(TF, clock=late(-18))), "tf_clock", "transforms.clock_offset_ms", -18_000.0),
    "lidar 0.23 s behind": (lidar(clock=late(0.23)), "sensor_clock", "lidars.os.clock_offset_ms", NONE),
    "two publishers": (tf(TF, replace(TF, rate=30, aside=(0, 0.7, 0), phase_ms=5)), "tf_conflict", "", NONE),
    "stamps twice": (tf(TF, replace(TF, aside=(0.2, 0, 0), delay_ms=6)), "tf_conflict", "", NONE),
    "two parents": (tf(TF, replace(TF, parent="map", rate=20, phase_ms=3)), "tf_conflict", "", NONE),
    "a transform a second": (PLAIN.but(seconds=4.0, tf=(replace(TF, rate=1.0),)), "tf_sparse", "", NONE),
    "lidar on GPS time": (lidar(clock=late(-18)), "sensor_clock", "lidars.os.clock_offset_ms", -18_000.0),
    "lidar two hours behind": (lidar(clock=late(7200)), "sensor_clock", "lidars.os.clock_offset_ms", 7_200_000.0),
    "lidar 3.4 s ahead": (lidar(clock=late(-3.4)), "sensor_clock", "lidars.os.clock_offset_ms", -3_400.0),
    "camera without stamps": (camera(clock=lambda _: 0), "sensor_clock", "cameras.front.stamp_source", "log"),
    "lidar without stamps": (lidar(clock=lambda _: 0), "sensor_clock", "lidars.os.stamp_source", "log"),
    "camera counts from its boot": (
        camera(clock=lambda true: true - START_NS + 90 * S),
        "sensor_clock",
        "cameras.front.stamp_source",
        "log",
    ),
    "images 4 s late": (
        PLAIN.but(seconds=6.0, cameras=(replace(CAMERA, delay_ms=4000),)),
        "late_messages",
        "sync.wait_s",
        6.0,
    ),
    "stamps of the end": (lidar(moment="end", reference="start", rate=20), "stamp_end", "lidars.os.stamp", "end"),
    "stamps of the middle": (lidar(moment="middle", reference="start"), "stamp_end", "lidars.os.stamp", "middle"),
    "times of 0 to 1": (
        lidar(dtype="f4", unit="s", bend=lambda v: v / v.max()),
        "point_time_span",
        "lidars.os.time_field",
        "none",
    ),
    "times of nothing": (
        lidar(dtype="f4", unit="s", bend=np.zeros_like),
        "point_time_span",
        "lidars.os.time_field",
        "none",
    ),
    "times that are not numbers": (
        lidar(dtype="f4", unit="s", bend=lambda v: np.full_like(v, np.nan)),
        "point_time_span",
        "lidars.os.time_field",
        "none",
    ),
    "stray times": (
        lidar(bend=lambda v: np.where(np.arange(len(v)) % 90 == 7, 2.5e9, v)),
        "point_time_outliers",
        "",
        NONE,
    ),
    "times of another clock": (
        lidar(dtype="f8", unit="s", reference="absolute", bend=lambda v: v + 2.6),
        "point_time_far",
        "lidars.os.time_field",
        "none",
    ),
    "corrected by name": (
        lidar(topic="/top/undistorted/points", deskewed=True),
        "already_deskewed",
        "lidars.top.deskew",
        False,
    ),
    "corrected by evidence": (lidar(deskewed=True, columns=90), "already_deskewed", "lidars.os.deskew", False),
    "corrected by evidence, not turning": (
        lidar(deskewed=True, turns=False, columns=300),
        "already_deskewed",
        "lidars.os.deskew",
        False,
    ),
    "millimetres": (lidar(per_metre=1e3), "cloud_units", "lidars.os.scale", 0.001),
    "centimetres": (lidar(per_metre=100.0, rate=20), "cloud_units", "lidars.os.scale", 0.01),
    "four parts": (lidar(parts=4), "sweep_in_parts", "lidars.os.accumulate_ms", 100.0),
    "body frame": (
        camera(frame="cam_mount", rotation=(0.0, 0.0, 0.0, 1.0)),
        "camera_body_frame",
        "cameras.front.frame_convention",
        "body",
    ),
    "cx and cy exchanged": (
        camera(info=lambda at: info(at, CAMERA.frame, k=np.array([50.0, 0, 24.5, 0, 50, 31.5, 0, 0, 1]))),
        "camera_info_implausible",
        "",
        NONE,
    ),
    "calibration of a larger image": (
        camera(info=lambda at: info(at, CAMERA.frame, k=np.array([100.0, 0, 64, 0, 100, 48, 0, 0, 1]))),
        "camera_info_implausible",
        "",
        NONE,
    ),
}


def stopped(sensor: str, from_number: int, speed: float) -> SmallDrive:
    """A drive whose camera or lidar sends what it had at that number again and again; the lidar's times go on."""

    def image(at: int, number: int) -> Any:
        return compressed(at, jpeg(shift=min(number, from_number)), CAMERA.frame)

    frozen = replace(LIDAR, time="stamp", dtype="f8", unit="s", reference="absolute", stops_at=from_number)
    held = replace(CAMERA, image=image)
    drive = PLAIN.but(seconds=3.0, speed=speed, yaw_rate=max(speed, 1e-9) / 30)
    return drive.but(lidars=(frozen,)) if sensor == "cloud" else drive.but(cameras=(held,))


@pytest.mark.parametrize(("speed", "share"), [(1.4, "19 of 30"), (24.0, "19 of 30")])
@pytest.mark.parametrize("sensor", ["cloud", "image"])
def test_a_sensor_that_has_stopped_is_named_by_inspect_and_convert(
    tmp_path: Path, sensor: str, speed: float, share: str
) -> None:
    path = stopped(sensor, 10, speed).write(tmp_path)
    report, made = study(path)
    config = made.config()
    assert config is not None
    for number, found in enumerate((report.warnings, convert_bag(path, config, tmp_path / "spool").findings)):
        (finding,) = (finding for finding in found if finding.code.value == f"{sensor}_frozen")
        assert finding.name == (LIDAR.topic if sensor == "cloud" else CAMERA.topic)
        assert finding.weight is Weight.METRES
        if number or sensor == "image":  # inspect decodes a sample of the clouds
            assert finding.text.startswith(share)


def test_a_sensor_that_repeats_itself_while_the_device_stands_is_not_named(tmp_path: Path) -> None:
    path = stopped("image", 0, 0.0).write(tmp_path)
    report, made = study(path)
    config = made.config()
    assert config is not None
    for found in (report.warnings, convert_bag(path, config, tmp_path / "spool").findings):
        assert Code.IMAGE_FROZEN not in {finding.code for finding in found}


@pytest.mark.parametrize("focal", [0.0, -52.0, math.nan])
def test_a_calibration_without_focal_lengths_is_named_and_remedied_by_a_file(tmp_path: Path, focal: float) -> None:
    k = np.array([focal, 0, 32, 0, focal, 24, 0, 0, 1])
    path = camera(info=lambda at: info(at, CAMERA.frame, k=k)).write(tmp_path / "changed")
    (finding,) = (finding for finding in study(path)[0].warnings if finding.code is Code.CAMERA_INFO_IMPLAUSIBLE)
    assert finding.name == CAMERA.info_topic
    config = study(PLAIN.write(tmp_path / "plain"))[1].config()
    assert config is not None
    found = {finding.code: finding.remedy for finding in convert_bag(path, config, tmp_path / "spool").findings}
    file = "cameras.front.calibration_file: a camera_info YAML of this camera at this size"
    assert found[Code.CAMERA_INFO_IMPLAUSIBLE] == found[Code.CAMERA_UNUSED] == file


def test_a_camera_is_not_blamed_where_the_lidar_makes_no_frame(tmp_path: Path) -> None:
    config = study(PLAIN.write(tmp_path / "plain"))[1].config()
    assert config is not None
    path = lidar(clock=late(95)).write(tmp_path / "changed")
    with pytest.raises(NoSceneError) as refused:
        convert_bag(path, config, tmp_path / "spool")
    assert Code.SENSOR_UNUSED in {finding.code for finding in refused.value.findings}
    assert all(finding.name != CAMERA.topic for finding in refused.value.findings)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_and_init_writes_its_remedy(tmp_path: Path, fault: str) -> None:
    drive, code, key, value = FAULTS[fault]
    report, made = looked_at(drive, tmp_path)
    assert code in codes(report)
    assert report.score < 100
    assert all(finding.text and finding.remedy for finding in report.warnings)
    if value is NONE:
        assert key not in made.values
        assert codes(report)[code] is not Weight.NOTE
    else:
        assert made.values[key] == value


@pytest.mark.parametrize(
    ("dtype", "unit", "reference"),
    [
        ("u4", "us", "stamp"),
        ("i4", "ns", "stamp"),
        ("u2", "ms", "stamp"),
        ("f4", "ms", "stamp"),
        ("f8", "us", "absolute"),
    ],
)
def test_unit_and_reference_of_point_times_follow_from_the_period_of_sweeps(
    tmp_path: Path, dtype: str, unit: str, reference: str
) -> None:
    report, made = looked_at(lidar(dtype=dtype, unit=unit, reference=reference), tmp_path)
    assert codes(report) == {}
    assert (made.values["lidars.os.time_unit"], made.values["lidars.os.time_reference"]) == (unit, reference)


@pytest.mark.parametrize(
    ("name", "dtype", "unit", "reference"),
    [("tick", "u4", "us", "stamp"), ("dt", "f4", "s", "stamp"), ("when", "f8", "s", "absolute")],
)
def test_a_column_by_which_the_lidar_turns_holds_times_whatever_its_name(
    tmp_path: Path, name: str, dtype: str, unit: str, reference: str
) -> None:
    _, made = looked_at(lidar(time=name, dtype=dtype, unit=unit, reference=reference, rate=20), tmp_path)
    assert made.values["lidars.os.time_field"] == name
    assert (made.values["lidars.os.time_unit"], made.values["lidars.os.time_reference"]) == (unit, reference)


@pytest.mark.parametrize("bend", [lambda v: v * 0.6, lambda v: np.arange(len(v)) * 65_535 // len(v)])
def test_times_by_which_the_lidar_would_turn_too_fast_are_none(
    tmp_path: Path, bend: Callable[[np.ndarray], np.ndarray]
) -> None:
    report, made = looked_at(lidar(dtype="u2", unit="us", rate=10, bend=bend), tmp_path)
    assert made.values["lidars.os.time_field"] == "none"
    assert "point_time_span" in codes(report)


@pytest.mark.parametrize("yaw_rate", [0.3, -0.7])
def test_a_lidar_that_does_not_turn_is_taken_as_it_is(tmp_path: Path, yaw_rate: float) -> None:
    report, made = looked_at(lidar(turns=False, columns=300).but(yaw_rate=yaw_rate), tmp_path)
    assert set(codes(report)) <= {"calibration_not_measured"}  # its pictures are drawn
    assert made.values.get("lidars.os.deskew", True) is True


def test_every_second_sweep_left_out_is_no_fault_of_its_times(tmp_path: Path) -> None:
    seen = iter(range(1_000))

    def thin(_: SmallDrive, made: Recording) -> None:
        made.rows[:] = [row for row in made.rows if row[1] != LIDAR.topic or next(seen) % 2]

    report, made = looked_at(PLAIN.but(seconds=3.0, more=thin), tmp_path)
    assert set(codes(report)) <= {"calibration_not_measured"}
    assert made.values["lidars.os.time_field"] == "t"


def test_many_stray_times_are_named_and_the_others_kept(tmp_path: Path) -> None:
    drive = lidar(bend=lambda v: np.where(np.arange(len(v)) % 9 == 4, 2.2e9, v))
    report, made = looked_at(drive, tmp_path)
    assert "point_time_outliers" in codes(report)
    assert (made.values["lidars.os.time_field"], made.values["lidars.os.time_unit"]) == ("t", "ns")


def test_a_mount_that_changes_is_named_with_how_far(tmp_path: Path) -> None:
    def again(_: SmallDrive, made: Recording) -> None:
        moved = ("base_link", CAMERA.frame, START_NS, (1.2, 0.25, 1.3), OPTICAL)
        made.add("/tf_static", transforms(moved), START_NS + 700 * MS)

    report, _ = looked_at(PLAIN.but(more=again), tmp_path)
    (finding,) = warned(report)
    assert (finding.code, finding.name) == (Code.STATIC_CHANGED, CAMERA.frame)
    assert "0.250 m" in finding.text


def test_transforms_in_a_namespace_are_found(tmp_path: Path) -> None:
    drive = PLAIN.but(tf=(replace(TF, topic="/car4/tf"),), static_topic="/car4/tf_static")
    report, made = looked_at(drive, tmp_path)
    assert codes(report) == {}
    assert made.values["transforms.topics"] == ["/car4/tf"]
    assert made.values["transforms.static_topics"] == ["/car4/tf_static"]


def test_of_two_robots_with_the_same_frames_the_one_with_more_sensors_is_taken(tmp_path: Path) -> None:
    own = replace(TF, topic="/zeta/tf")
    other = replace(TF, topic="/alpha/tf", aside=(55.0, -4.0, 0.0))
    lidars = (replace(LIDAR, topic="/zeta/points"), replace(LIDAR, topic="/alpha/points"))
    cameras = (replace(CAMERA, topic="/zeta/front/compressed", info_topic="/zeta/front/camera_info"),)

    def statics(drive: SmallDrive, made: Recording) -> None:
        made.add("/alpha/tf_static", transforms(*drive.mounts()), START_NS - 900 * MS)

    drive = PLAIN.but(tf=(own, other), lidars=lidars, cameras=cameras, static_topic="/zeta/tf_static", more=statics)
    report, made = looked_at(drive, tmp_path)
    assert "tf_conflict" not in codes(report)
    assert made.values["transforms.topics"] == ["/zeta/tf"]
    assert made.values["transforms.static_topics"] == ["/zeta/tf_static"]
    assert list(made.lidar_names) == ["/zeta/points"]


def test_poses_of_a_topic_stand_for_transforms(tmp_path: Path) -> None:
    def odometry(drive: SmallDrive, made: Recording) -> None:
        for at in drive.times(40, 0.8, 1.0):
            (place,), (yaw,) = drive.pose(at)
            made.add("/pose", pose_stamped(at, "map", place, yaw), at + 4 * MS)

    report, made = looked_at(PLAIN.but(tf=(), more=odometry), tmp_path)
    assert codes(report) == {}
    assert report.trial.frames == 16
    assert made.values["poses.ego.topic"] == "/pose"
    assert (made.values["world_frame"], made.values["device_frame"]) == ("map", "base_link")


def pose_stamped(at: int, frame: str, place: np.ndarray, yaw: float) -> Any:
    types = TYPES.types
    position = types["geometry_msgs/msg/Point"](*map(float, place))
    rotation = types["geometry_msgs/msg/Quaternion"](0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2))
    return types["geometry_msgs/msg/PoseStamped"](
        header(at, frame), types["geometry_msgs/msg/Pose"](position, rotation)
    )


def beside(topic: str, frame: str, points: Callable[[SmallDrive, int, list[np.ndarray]], np.ndarray]) -> SmallDrive:
    """Add a cloud for each sweep, made of the world points of the sweeps so far."""

    def add(drive: SmallDrive, made: Recording) -> None:
        seen: list[np.ndarray] = []
        for start in drive.times(LIDAR.rate):
            seen.append(drive.sweep(LIDAR, start)[2])
            made_of = points(drive, start, seen)
            ring = np.zeros(len(made_of))
            message = cloud(start, frame, made_of, ring, replace(LIDAR, time=""), ring)
            made.add(topic, message, start + 150 * MS)

    return PLAIN.but(more=add)


def in_device(drive: SmallDrive, start: int, seen: list[np.ndarray]) -> np.ndarray:
    return drive._in_lidar(replace(LIDAR, mount=(0, 0, 0)), seen[-1][::2], start)


@pytest.mark.parametrize(
    ("topic", "frame", "points"),
    [
        ("/aligned", "odom", lambda _d, _s, seen: seen[-1][::2]),
        ("/mapper/all", "odom", lambda _d, _s, seen: np.concatenate(seen)),
        ("/tracker/cloud", "base_link", in_device),
        ("/os/cloud_cropped", LIDAR.frame, lambda d, s, seen: d._in_lidar(LIDAR, seen[-1][::2], s)),
        ("/again", CAMERA.frame, in_device),
    ],
    ids=["registered", "growing map", "device frame", "same frame", "a camera's frame"],
)
def test_a_cloud_that_no_lidar_sent_is_left_out_with_its_reason(
    tmp_path: Path, topic: str, frame: str, points: Callable[[SmallDrive, int, list[np.ndarray]], np.ndarray]
) -> None:
    report, made = looked_at(beside(topic, frame, points), tmp_path)
    assert list(made.lidar_names) == [LIDAR.topic]
    assert [(f.code, f.name) for f in warned(report)] == [(Code.DERIVED_CLOUD, topic)]
    assert report.left_out[topic]


def test_of_two_clouds_in_one_frame_the_one_with_times_is_the_lidars(tmp_path: Path) -> None:
    """A registered cloud that says it is in the lidar's frame has more points, and is named first."""

    def registered(_drive: SmallDrive, _start: int, seen: list[np.ndarray]) -> np.ndarray:
        return np.concatenate((seen[-1], seen[-1] + 0.3))

    _, made = looked_at(beside("/a/cloud", LIDAR.frame, registered), tmp_path)
    assert list(made.lidar_names) == [LIDAR.topic]
    assert list(made.left_out) == ["/a/cloud"]


def test_all_lidars_in_one_cloud_are_left_out_in_the_frame_of_one_of_them_too(tmp_path: Path) -> None:
    left, right = (
        replace(LIDAR, topic=f"/{side}/points", frame=side, mount=(0.4, y, 1.7), columns=columns)
        for side, y, columns in (("left", 0.9, 50), ("right", -0.9, 40))
    )

    def join(drive: SmallDrive, made: Recording) -> None:
        for start in drive.times(LIDAR.rate):
            seen = [drive.sweep(one, start) for one in (left, right)]
            points = np.concatenate([world for _, _, world, _ in seen])
            ring = np.concatenate([ring for _, _, _, ring in seen])
            message = cloud(start, "left", points, ring, LIDAR, np.zeros(len(points)))
            made.add("/every/points", message, start + 130 * MS)

    _, made = looked_at(PLAIN.but(lidars=(left, right), more=join), tmp_path)
    assert set(made.lidar_names) == {left.topic, right.topic}
    assert "in one" in made.left_out["/every/points"].text


def stereo(at: int, tx: float) -> Any:
    p = np.array([50.0, 0, 32, tx, 0, 50, 24, 0, 0, 0, 1, 0])
    return info(at, CAMERA.frame, p=p)


def test_the_second_camera_of_a_stereo_pair_gets_its_baseline(tmp_path: Path) -> None:
    left = replace(
        CAMERA, topic="/s/left/image_rect", info_topic="/s/left/camera_info", info=lambda at: stereo(at, 0.0)
    )
    right = replace(
        left, topic="/s/right/image_rect", info_topic="/s/right/camera_info", info=lambda at: stereo(at, -9.5)
    )
    report, made = looked_at(PLAIN.but(cameras=(left, right)), tmp_path)
    assert Code.STEREO_ONE_FRAME in {finding.code for finding in report.warnings}
    assert made.values["mounts.right.parent_frame"] == CAMERA.frame
    assert made.values["mounts.right.xyz"] == [0.19, 0.0, 0.0]
    assert made.values["cameras.right.optical_frame"] == made.values["mounts.right.child_frame"]
    assert report.trial.used["right"] == report.trial.frames


def gradient(number: int) -> np.ndarray:
    y, x = np.mgrid[0:96, 0:128]
    return np.stack([30 + x + number % 3, 200 - y + number % 3, 60 + (x + y + number) // 2], axis=2).astype(np.uint8)


def png(picture: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".png", picture)[1].tobytes())


def mosaic(picture: np.ndarray) -> np.ndarray:
    out = picture[:, :, 1].copy()
    out[0::2, 1::2], out[1::2, 0::2] = picture[0::2, 1::2, 2], picture[1::2, 0::2, 0]
    return out


def unlit(number: int, lamp: int = 0) -> np.ndarray:
    """What a sensor sees behind a cap: noise, and a lamp of so many pixels."""
    picture = np.random.default_rng(number).integers(0, 9, (96, 128, 3)).astype(np.uint8)
    picture[40 : 40 + lamp, 60 + number : 60 + number + lamp] = 240
    return picture


def raw_rgb(at: int, picture: np.ndarray) -> Any:
    height, width, _ = picture.shape
    data = np.frombuffer(picture.tobytes(), np.uint8)
    return TYPES.types["sensor_msgs/msg/Image"](header(at, CAMERA.frame), height, width, "rgb8", 0, 3 * width, data)


def test_a_night_with_a_lamp_is_not_black(tmp_path: Path) -> None:
    path = camera(image=lambda at, number: raw_rgb(at, unlit(number, lamp=5))).write(tmp_path)
    report, made = study(path)
    config = made.config()
    assert config is not None
    assert "image_dark" not in codes(report)
    assert Code.IMAGE_DARK not in {finding.code for finding in convert_bag(path, config, tmp_path / "spool").findings}


def cut(number: int) -> bytes:
    whole = bytes(cv2.imencode(".jpg", gradient(number))[1].tobytes())
    return whole[: len(whole) * 6 // 10] + b"\xff\xd9" if number % 3 == 1 else whole


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (lambda number: png(mosaic(gradient(number))), "image_mosaic"),
        (cut, "image_damaged"),
        (lambda number: png(gradient(number)[:, :, 0].astype(np.uint16) * 5), "image_dark"),
        (lambda number: png(unlit(number)), "image_dark"),
        (lambda number: bytes(cv2.imencode(".jpg", unlit(number))[1].tobytes()), "image_dark"),
        (lambda number: png(255 - unlit(number) // 3), "image_blank"),
        (lambda number: png(np.full((96, 128, 3), (30 + number, 140, 20), np.uint8)), "image_blank"),
    ],
    ids=["mosaic", "damaged", "dark", "black png", "black jpeg", "white png", "green png"],
)
def test_what_is_wrong_with_pictures_is_found_in_a_sample(
    tmp_path: Path, data: Callable[[int], bytes], code: str
) -> None:
    large = replace(
        CAMERA,
        image=lambda at, number: compressed(at, data(number), CAMERA.frame),
        info=lambda at: info(at, CAMERA.frame, width=128, height=96, k=np.array([90.0, 0, 64, 0, 90, 48, 0, 0, 1])),
    )
    report, _ = looked_at(PLAIN.but(cameras=(large,)), tmp_path)
    assert set(codes(report)) == {code}


def gray16(number: int, factor: int) -> np.ndarray:
    return np.asarray(gradient(number)[:, :, 0].astype(np.uint16) * factor)


def sixteen_bits(at: int, number: int, factor: int) -> Any:
    """A raw picture of 16 bits in big-endian order."""
    picture = gray16(number, factor).clip(0, 1000)
    height, width = picture.shape
    data = np.frombuffer(picture.astype(">u2").tobytes(), np.uint8)
    return TYPES.types["sensor_msgs/msg/Image"](header(at, CAMERA.frame), height, width, "mono16", 1, 2 * width, data)


@pytest.mark.parametrize(
    ("changed", "code", "remedy"),
    [
        (
            camera(frame="cam_link", rotation=(0.0, 0.0, 0.0, 1.0)),
            "camera_body_frame",
            "cameras.front.frame_convention: body",
        ),
        (
            camera(image=lambda at, number: compressed(at, png(mosaic(gradient(number))), CAMERA.frame)),
            "image_mosaic",
            "cameras.front.bayer: gbrg",
        ),
        (camera(image=lambda at, number: sixteen_bits(at, number, 9)), "image_dark", "cameras.front.bit_depth: 10"),
        (
            camera(image=lambda at, number: compressed(at, png(gray16(number, 3)), CAMERA.frame)),
            "image_dark",
            "cameras.front.bit_depth: 10",
        ),
        (
            camera(
                info=lambda at: info(
                    at, CAMERA.frame, k=np.array([51.0 + at // (100 * MS) % 2, 0, 32, 0, 51, 24, 0, 0, 1])
                )
            ),
            "camera_info_implausible",
            "cameras.front.calibration_file: a camera_info YAML of this camera at this size",
        ),
        (
            camera(image=lambda at, number: raw_rgb(at, unlit(number))),
            "image_dark",
            "look at the camera, or leave it out of camera_names",
        ),
        (
            camera(image=lambda at, number: compressed(at, png(unlit(number) * 0), CAMERA.frame)),
            "image_dark",
            "look at the camera, or leave it out of camera_names",
        ),
        (
            camera(image=lambda at, number: raw_rgb(at, 255 - unlit(number) // 3)),
            "image_blank",
            "look at the camera, or leave it out of camera_names",
        ),
        (
            camera(
                image=lambda at, number: compressed(at, png(np.full((48, 64), 90 + number, np.uint8)), CAMERA.frame)
            ),
            "image_blank",
            "look at the camera, or leave it out of camera_names",
        ),
        (
            camera(image=lambda at, number: sixteen_bits(at, number, 0)),
            "image_dark",
            "look at the camera, or leave it out of camera_names",
        ),
        (lidar(deskewed=True, columns=90), "already_deskewed", "lidars.os.deskew: false"),
        (lidar(per_metre=1e3), "cloud_units", "lidars.os.scale: 0.001"),
        (lidar(parts=6), "sweep_in_parts", "lidars.os.accumulate_ms: 100.0"),
    ],
)
def test_convert_names_it_too_where_the_configuration_does_not_allow_for_it(
    tmp_path: Path, changed: SmallDrive, code: str, remedy: str
) -> None:
    config = study(PLAIN.write(tmp_path / "plain"))[1].config()
    assert config is not None
    for number, path in enumerate((changed.write(tmp_path / "changed"), PLAIN.write(tmp_path / "same"))):
        spool = tmp_path / f"spool{number}"
        found = {f.code.value: f.remedy for f in convert_bag(path, config, spool).findings}
        assert found.get(code) == (None if number else remedy)


def test_whole_gray_and_flat_pictures_are_not_called_damaged(tmp_path: Path) -> None:
    def flat(number: int) -> bytes:
        picture = gradient(number)
        picture[40:] = 128
        return bytes(cv2.imencode(".jpg", picture)[1].tobytes())

    large = replace(
        CAMERA,
        image=lambda at, number: compressed(at, flat(number), CAMERA.frame),
        info=lambda at: info(at, CAMERA.frame, width=128, height=96, k=np.array([90.0, 0, 64, 0, 90, 48, 0, 0, 1])),
    )
    assert not warned(looked_at(PLAIN.but(cameras=(large,)), tmp_path)[0])


@pytest.mark.parametrize("back_s", [0.35, 0.8, 7.0])
def test_a_clock_that_was_set_back_is_named_whatever_the_log_times_do(tmp_path: Path, back_s: float) -> None:
    def host(true: int) -> int:
        return true if true < START_NS + 1_510 * MS else true - round(back_s * S)

    drive = SmallDrive(
        seconds=3.0,
        lidars=(replace(LIDAR, clock=host),),
        cameras=(replace(CAMERA, clock=host),),
        tf=(replace(TF, clock=host),),
    )
    report, _ = looked_at(drive, tmp_path)
    assert set(codes(report)) == {"clock_step"}
    assert {finding.name for finding in report.warnings} == {LIDAR.topic, CAMERA.topic, "base_link"}


@pytest.mark.parametrize("back_s", [0.45, 2.2, 250.0])
@pytest.mark.parametrize("which", ["camera", "transforms", "lidar", "everything"])
def test_a_clock_that_was_set_back_alone_is_not_taken_for_that_of_all(
    tmp_path: Path, which: str, back_s: float
) -> None:
    def host(true: int) -> int:
        return true if true < START_NS + 1_630 * MS else true - round(back_s * S)

    drive = SmallDrive(
        seconds=3.0,
        lidars=(replace(LIDAR, clock=host),) if which in ("lidar", "everything") else (LIDAR,),
        cameras=(replace(CAMERA, clock=host),) if which in ("camera", "everything") else (CAMERA,),
        tf=(replace(TF, clock=host),) if which in ("transforms", "everything") else (TF,),
    )
    path = drive.write(tmp_path)
    report, made = study(path)
    config = made.config()
    assert config is not None
    converted = convert_bag(path, config, tmp_path / "spool")
    for findings in (report.warnings, converted.findings):
        steps = {finding.name: finding for finding in findings if finding.code is Code.CLOCK_STEP}
        assert steps.keys() >= {{"camera": CAMERA.topic, "lidar": LIDAR.topic}.get(which, "base_link")}
        assert {"alone was set" in finding.text for finding in steps.values()} == {which != "everything"}
        assert {finding.weight for finding in steps.values()} == {
            Weight.LOSS if which == "everything" else Weight.METRES
        }
    if which == "camera":
        assert converted.losses[CAMERA.topic].keys() == {"clock_step"}
        assert not converted.complete


def fixes(drive: SmallDrive, made: Recording, bend: Callable[[int, float, float], tuple[float, float]]) -> None:
    fix, status = TYPES.types["sensor_msgs/msg/NavSatFix"], TYPES.types["sensor_msgs/msg/NavSatStatus"]
    for number, at in enumerate(drive.times(10, 0.4, 0.4)):
        ((x, y, _),), _ = drive.pose(at)
        latitude, longitude = bend(number, 50.0 + y / 111_200, 8.0 + x / (111_200 * math.cos(math.radians(50.0))))
        made.add(
            "/fix", fix(header(at, "base_link"), status(0, 1), latitude, longitude, 90.0, np.zeros(9), 0), at + 5 * MS
        )


def headings(drive: SmallDrive, made: Recording, yaw_of: Callable[[float], float], unknown: float = 0.0) -> None:
    types = TYPES.types
    vector = types["geometry_msgs/msg/Vector3"]
    for at in drive.times(20, 0.4, 0.4):
        yaw = yaw_of(float(drive.pose(at)[1][0]))
        q = types["geometry_msgs/msg/Quaternion"](0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2))
        covariance = np.array([unknown] + [0.0] * 8)
        imu = types["sensor_msgs/msg/Imu"](
            header(at, "base_link"),
            q,
            covariance,
            vector(0.0, 0.0, 0.0),
            np.zeros(9),
            vector(0.0, 0.0, 9.8),
            np.zeros(9),
        )
        made.add("/gnss/heading", imu, at + 5 * MS)


def unbent(_number: int, latitude: float, longitude: float) -> tuple[float, float]:
    return latitude, longitude


@pytest.mark.parametrize("back_s", [0.28, 40.0])
@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_log_that_was_set_back_alone_is_no_reason_to_warn(tmp_path: Path, storage: str, back_s: float) -> None:
    def log(true: int) -> int:
        return true if true < START_NS + 1_240 * MS else true - round(back_s * S)

    path = PLAIN.but(seconds=2.5, log=log).write(tmp_path, storage)
    report, made = study(path)
    config = made.config()
    assert config is not None
    converted = convert_bag(path, config, tmp_path / "spool")
    assert codes(report) == {}
    assert converted.findings == ()
    assert converted.complete


def test_a_vehicle_whose_clock_and_log_were_set_back_has_one_publisher_of_its_pose(tmp_path: Path) -> None:
    def host(true: int) -> int:
        return true if true < START_NS + 1_310 * MS else true - 340 * MS

    drive = SmallDrive(
        seconds=2.6,
        lidars=(replace(LIDAR, clock=host),),
        cameras=(replace(CAMERA, clock=host),),
        tf=(replace(TF, clock=host),),
        log=host,
    )
    path = drive.write(tmp_path)
    report, made = study(path)
    config = made.config()
    assert config is not None
    converted = convert_bag(path, config, tmp_path / "spool")
    assert set(codes(report)) == {finding.code.value for finding in converted.findings} == {"clock_step"}


class Stuck:
    """A receiver that gives its eighth fix six times more."""

    def __init__(self) -> None:
        self.place = (0.0, 0.0)

    def __call__(self, number: int, latitude: float, longitude: float) -> tuple[float, float]:
        if not 7 < number < 14:
            self.place = latitude, longitude
        return self.place


@pytest.mark.parametrize(
    ("bend", "yaw_of", "unknown", "wanted"),
    [
        (unbent, lambda yaw: yaw, 0.0, set()),
        (lambda n, lat, lon: (0.0, 0.0) if n % 4 == 2 else (lat, lon), lambda yaw: yaw, 0.0, {"gps_implausible"}),
        (lambda n, lat, lon: (lat, lon + 0.02) if n == 9 else (lat, lon), lambda yaw: yaw, 0.0, {"gps_implausible"}),
        (Stuck(), lambda yaw: yaw, 0.0, {"gps_implausible"}),
        (unbent, lambda yaw: math.pi / 2 - yaw, 0.0, {"heading_disagrees"}),
        (unbent, lambda yaw: yaw - math.pi / 2, 0.0, {"heading_disagrees"}),
        (unbent, lambda yaw: yaw + math.radians(21), 0.0, {"heading_disagrees"}),
        (unbent, lambda _yaw: 0.0, -1.0, {"heading_invalid"}),
    ],
    ids=[
        "good",
        "zeros",
        "a jump",
        "stuck",
        "clockwise from north",
        "a quarter off",
        "21 degrees off",
        "marked unknown",
    ],
)
def test_fixes_and_headings_are_judged_by_each_other_and_by_the_transforms(
    tmp_path: Path,
    bend: Callable[[int, float, float], tuple[float, float]],
    yaw_of: Callable[[float], float],
    unknown: float,
    wanted: set[str],
) -> None:
    def add(drive: SmallDrive, made: Recording) -> None:
        fixes(drive, made, bend)
        headings(drive, made, yaw_of, unknown)

    report, made = looked_at(PLAIN.but(seconds=2.0, speed=14.0, more=add), tmp_path)
    assert set(codes(report)) == wanted
    assert made.values["gps.topic"] == "/fix"
    is_used = made.values["gps.heading_topic"] == "/gnss/heading"
    assert is_used is not bool(wanted & {"heading_disagrees", "heading_invalid"})


@pytest.mark.parametrize(
    "bend",
    [
        lambda _n, _lat, _lon: (50.00004, 8.00007),
        lambda _n, lat, lon: (math.radians(lat), math.radians(lon)),
        lambda _n, lat, lon: (lon, lat),
        lambda _n, lat, lon: (lat, -lon),
    ],
    ids=["frozen", "radians", "exchanged", "mirrored"],
)
def test_fixes_that_all_contradict_the_transforms_are_left_out_by_init_and_named_by_convert(
    tmp_path: Path, bend: Callable[[int, float, float], tuple[float, float]]
) -> None:
    drives = [PLAIN.but(seconds=3.0, speed=13.0, more=lambda d, r, b=b: fixes(d, r, b)) for b in (unbent, bend)]
    bags = [drive.write(tmp_path / str(number)) for number, drive in enumerate(drives)]
    config = study(bags[0])[1].config()
    assert config is not None
    assert config.gps.topic == "/fix"
    report, made = study(bags[1])
    assert set(codes(report)) == {"gps_implausible"}
    assert "gps.topic" not in made.values or not made.values["gps.topic"]
    for number, bag in enumerate(bags):
        found = {finding.code.value for finding in convert_bag(bag, config, tmp_path / f"spool{number}").findings}
        assert ("gps_implausible" in found) is bool(number)


@pytest.mark.parametrize("seed", range(3))
def test_fixes_that_wander_while_the_device_stands_say_nothing_about_its_heading(tmp_path: Path, seed: int) -> None:
    wander = np.random.default_rng(seed).normal(0.0, 1.2e-5, (400, 2))

    def add(drive: SmallDrive, made: Recording) -> None:
        fixes(drive, made, lambda n, latitude, longitude: (latitude + wander[n, 0], longitude + wander[n, 1]))
        headings(drive, made, lambda yaw: yaw)

    report, made = looked_at(PLAIN.but(seconds=2.0, speed=1e-6, yaw_rate=1e-6, more=add), tmp_path)
    assert "heading_disagrees" not in codes(report)
    assert made.values["gps.heading_topic"] == "/gnss/heading"


def test_a_robot_description_fills_in_what_no_transform_says(tmp_path: Path) -> None:
    def describe(drive: SmallDrive, made: Recording) -> None:
        joints = "".join(
            f'<joint name="j{k}" type="fixed"><parent link="base_link"/><child link="{child}"/>'
            f'<origin xyz="{x} {y} {z}"/></joint><link name="{child}"/>'
            for k, (_, child, _, (x, y, z), _) in enumerate(drive.mounts())
        )
        text = f'<robot name="r"><link name="base_link"/>{joints}</robot>'
        made.add("/car/robot_description", TYPES.types["std_msgs/msg/String"](text), START_NS - 800 * MS)

    report, made = looked_at(PLAIN.but(static_topic=None, cameras=(), more=describe), tmp_path)
    assert made.values["transforms.urdf"] == "/car/robot_description"
    assert report.trial.frames == 16


def test_images_that_no_calibration_goes_with_and_calibrations_without_images_are_named(tmp_path: Path) -> None:
    def add(drive: SmallDrive, made: Recording) -> None:
        made.add("/alone/camera_info", info(START_NS, "x"), START_NS)
        for at in drive.times(10):
            made.add("/bare/image/compressed", compressed(at, jpeg(), "y"), at + 9 * MS)

    report, _ = looked_at(PLAIN.but(more=add), tmp_path)
    assert any("/alone/camera_info" in text for text in report.missing)
    assert any("/bare/image/compressed" in text for text in report.missing)


def test_every_code_has_its_row_in_the_troubleshooting_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text()
    assert [code.value for code in Code if f"`{code.value}`" not in page] == []
