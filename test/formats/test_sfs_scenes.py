# SPDX-License-Identifier: Apache-2.0
"""Drives as .sfs scenes: accepted by Scale's validator, read equal by its loader, true to the drive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from bags import MS, START_NS, compressed, jpeg, recording, write_config
from bags import info as camera_info
from drives import Drive, make_drive
from scale_sfs import assert_same, flat, leaves, verdicts

from nucleus_bridge.config import Config, config_from_values, load_config
from nucleus_bridge.convert import convert_bag
from nucleus_bridge.errors import InputError
from nucleus_bridge.export import export_scene
from nucleus_bridge.formats import registry
from nucleus_bridge.formats.content import SceneFrame
from nucleus_bridge.formats.interface import SceneReader
from nucleus_bridge.formats.reading import open_scene
from nucleus_bridge.formats.sfs.container import open_tree
from nucleus_bridge.formats.sfs.scene_tree import SCENE_FILE
from nucleus_bridge.preview.html_page import preview_page
from nucleus_bridge.testing.demo import DriveOptions
from nucleus_bridge.validate.scenes import validate_path

SAMPLE = {
    "lidar_names": ["lidar"],
    "lidars.lidar.topic": "/lidar/points",
    "camera_names": ["front", "front_left", "back"],
    **{f"cameras.{c}.image_topic": f"/camera/{c}/image_raw/compressed" for c in ("front", "front_left", "back")},
    **{f"cameras.{c}.info_topic": f"/camera/{c}/camera_info" for c in ("front", "front_left", "back")},
    "scene.format": "sfs",
}
MODELS = ("plumb_bob", "rational_polynomial", "equidistant", "omnidirectional")
OPTIONS = DriveOptions(
    seconds=0.7, points=1500, cameras=4, lidars=3, radars=1, image="jpeg", camera_model=",".join(MODELS)
)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Drive:
    """Three lidars, a radar, and a camera of every lens model."""
    return make_drive(tmp_path_factory.mktemp("mixed"), OPTIONS)


def convert(drive: Drive, spool: Path, *settings: str, workers: int = 1) -> Path:
    config: Config = load_config(drive.config_path, ["scene.format=sfs", *settings])
    report = convert_bag(drive.bag, config, spool, workers=workers)
    (folder,) = (scene.folder for scene in report.scenes)
    return Path(folder)


@pytest.fixture(scope="module")
def scene(mixed: Drive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert(mixed, tmp_path_factory.mktemp("sfs"))


@pytest.fixture(scope="module")
def tree(scene: Path) -> dict[str, Any]:
    return open_tree(scene / SCENE_FILE)


def sensors_of(tree: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    return {sensor["id"]: sensor for sensor in tree["sensors"] if sensor["type"] == kind}


def bad_rules(folder: Path) -> list[str]:
    (report,) = validate_path(folder)
    return [f"{result.rule}: {result.failures[0].text}" for result in report.rules if not result.ok]


SETTINGS = {
    "separate lidars": (),
    "merged lidars": ("sfs.lidars=merged",),
    "merged lidars that begin before the first one": (
        "sfs.lidars=merged",
        "lidar_names=[lidar_right,top,lidar_left]",
        "lidars.top.tolerance_ms=70",
    ),
    "voxels": ("sfs.voxel_m=0.5",),
    "all point fields": ("point_fields=[intensity,device,time]",),
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_scale_accepts_the_scene_and_reads_it_equal(mixed: Drive, tmp_path: Path, settings: tuple[str, ...]) -> None:
    file = convert(mixed, tmp_path / "spool", *settings) / SCENE_FILE
    assert bad_rules(file.parent) == []
    assert verdicts(file) == [{"validator": "accepts", "says": ""}]
    ours = {path: leaf for path, leaf in flat(open_tree(file)).items() if known_to_scale(path)}
    found = leaves("load", file, tmp_path)
    assert_same({path: leaf for path, leaf in found.items() if not path.startswith("/metadata")}, ours)


def known_to_scale(path: str) -> bool:
    """Tell whether the specification has a key; the loader drops the rest."""
    return not path.startswith("/metadata") and path.rpartition("/")[2] not in ("sizes", "device", "is_ground")


def test_every_lidar_has_its_sweeps_poses_and_point_times(mixed: Drive, tree: dict[str, Any]) -> None:
    start_ns = tree["metadata"]["nucleus_bridge"]["start_ns"]
    offset = np.array(list(tree["metadata"]["nucleus_bridge"]["world_offset"].values()))
    lidars = sensors_of(tree, "lidar")
    assert len(lidars) == 3
    truths = {truth["frame_id"]: truth for truth in mixed.truth["lidars"].values()}
    for name, lidar in lidars.items():
        truth = next(truth for frame_id, truth in truths.items() if frame_id.removeprefix("lidar_") in name)
        stamps = {(sweep["stamp_ns"] - start_ns) // 1000: sweep for sweep in truth["sweeps"]}
        for frame in lidar["frames"]:
            sweep = stamps[frame["timestamp"]]
            times = frame["points"]["timestamps"]
            assert frame["timestamp"] <= times.min() <= times.max() <= (sweep["end_ns"] - start_ns) // 1000
            assert times.max() - times.min() > 50_000
            at = lidar["poses"]["timestamps"].index(frame["timestamp"])
            expected = composed(sweep["map_from_base_link"], truth["base_from_lidar"]) - offset
            np.testing.assert_allclose(lidar["poses"]["values"][at][:3], expected, atol=0.01)
        assert len(lidar["poses"]["timestamps"]) > 5 * len(lidar["frames"])


def composed(a_from_b: dict[str, Any], b_from_c: dict[str, Any]) -> np.ndarray:
    x, y, z, w = a_from_b["rotation_xyzw"]
    axis, vector = np.array([x, y, z]), np.array(b_from_c["translation"])
    turned = vector + 2 * np.cross(axis, np.cross(axis, vector) + w * vector)
    return np.asarray(turned + a_from_b["translation"])


@pytest.mark.parametrize("model", MODELS)
def test_projecting_with_the_written_parameters_agrees_with_the_drive(
    mixed: Drive, tree: dict[str, Any], model: str
) -> None:
    """Corners of boxes, whose places in the world are known, through the truth's lens and through the file's."""
    start_ns = tree["metadata"]["nucleus_bridge"]["start_ns"]
    offset = np.array(list(tree["metadata"]["nucleus_bridge"]["world_offset"].values()))
    name, truth = next(
        (name, lens) for name, lens in mixed.truth["cameras"].items() if lens["distortion_model"] == model
    )
    camera = sensors_of(tree, "camera")[name]
    written = camera["intrinsics"]
    assert (written["width"], written["height"]) == (truth["width"], truth["height"])
    seen = 0
    for image, stamp, pose in zip(
        camera["images"], camera["poses"]["timestamps"], camera["poses"]["values"], strict=True
    ):
        assert image["timestamp"] == stamp
        true_pose = next(
            shot["map_from_camera"] for shot in truth["images"] if (shot["stamp_ns"] - start_ns) // 1000 == stamp
        )
        grid = rays(truth)
        world = rotated(true_pose["rotation_xyzw"], grid) * 12.0 + true_pose["translation"]
        expected = projected(truth["distortion_model"], truth["d"], truth["k"], grid)
        local = rotated(conjugate(pose[3:]), world - offset - pose[:3])
        k = [written["fx"], 0, written["cx"], 0, written["fy"], written["cy"], 0, 0, 1]
        found = projected(*opencv_lens(written["distortion"]), k, local)
        inside = ((expected >= 0) & (expected < (truth["width"], truth["height"]))).all(axis=1)
        assert np.abs(found - expected)[inside].max() < 0.5
        seen += int(inside.sum())
    assert seen > 1000


def rays(truth: dict[str, Any]) -> np.ndarray:
    x, y = np.meshgrid(np.linspace(-0.6, 0.6, 15), np.linspace(-0.4, 0.4, 11))
    return np.stack([x.ravel(), y.ravel(), np.ones(x.size)], axis=1)


def opencv_lens(distortion: dict[str, Any]) -> tuple[str, list[float]]:
    """Return the file's model under its name in ROS, with D in OpenCV's order."""
    params = distortion["params"]
    if distortion["model"] == "omnidirectional":
        k1, k2, _, _, p1, p2, xi = params[:7]
        return "omnidirectional", [xi, k1, k2, p1, p2]
    return {"brown_conrady": "plumb_bob", "fisheye": "equidistant"}[distortion["model"]], params


def projected(model: str, d: list[float], k: list[float], points: np.ndarray) -> np.ndarray:
    matrix, still = np.array(k, float).reshape(3, 3), np.zeros(3)
    if model == "equidistant":
        return cv2.fisheye.projectPoints(points[:, None], still, still, matrix, np.array(d))[0].reshape(-1, 2)
    if model == "omnidirectional":  # Mei's model: OpenCV's own from behind the centre of the unit sphere
        points = points / np.linalg.norm(points, axis=1, keepdims=True) + (0.0, 0.0, d[0])
        d = [*d[1:], 0.0]
    return cv2.projectPoints(points, still, still, matrix, np.array(d))[0].reshape(-1, 2)


def conjugate(xyzw: list[float]) -> list[float]:
    return [-xyzw[0], -xyzw[1], -xyzw[2], xyzw[3]]


def rotated(xyzw: list[float], vectors: np.ndarray) -> np.ndarray:
    axis, w = np.array(xyzw[:3]), xyzw[3]
    return np.asarray(vectors + 2 * np.cross(axis, np.cross(axis, vectors) + w * vectors))


def test_images_are_the_recorded_files(mixed: Drive, tree: dict[str, Any], tmp_path: Path) -> None:
    nucleus = convert_bag(mixed.bag, mixed.config, tmp_path / "nucleus").scenes[0].folder
    for name in ("front", "left"):  # plumb_bob and equidistant, which neither format rectifies
        files = [path.read_bytes() for path in sorted((Path(nucleus) / name).iterdir())]
        assert [bytes(image["content"]) for image in sensors_of(tree, "camera")[name]["images"]] == files


def test_lenses_are_written_as_they_were_calibrated(mixed: Drive, tree: dict[str, Any]) -> None:
    cameras = sensors_of(tree, "camera")
    for name, truth in mixed.truth["cameras"].items():
        params = cameras[name]["intrinsics"]["distortion"]["params"]
        assert "rectified_from" not in tree["metadata"]["nucleus_bridge"]["sensors"][name]
        if truth["distortion_model"] != "omnidirectional":
            assert params == truth["d"]


def test_radars_have_their_own_poses_and_velocities(mixed: Drive, tree: dict[str, Any]) -> None:
    (radar,) = sensors_of(tree, "radar").values()
    start_ns = tree["metadata"]["nucleus_bridge"]["start_ns"]
    (truth,) = mixed.truth["radars"].values()
    stamps = {(scan["stamp_ns"] - start_ns) // 1000 for scan in truth["scans"]}
    assert {frame["timestamp"] for frame in radar["frames"]} <= stamps
    assert radar["poses"]["timestamps"] == [frame["timestamp"] for frame in radar["frames"]]
    lidar = sensors_of(tree, "lidar")["top"]
    assert np.abs(np.array(radar["poses"]["values"][0][:3]) - lidar["poses"]["values"][0][:3]).max() > 0.2
    assert all(frame["points"]["directions"].shape == frame["points"]["positions"].shape for frame in radar["frames"])


@pytest.mark.parametrize("settings", [(), ("sfs.lidars=merged",)], ids=["separate", "merged"])
def test_the_reader_gives_back_what_the_frames_held(mixed: Drive, tmp_path: Path, settings: tuple[str, ...]) -> None:
    other = ("point_fields=[intensity,device,time]",)
    reader = open_scene(convert(mixed, tmp_path / "sfs", *other, *settings))
    config = load_config(mixed.config_path, ["scene.format=sensor_fusion_json", *other])
    expected = open_scene(Path(convert_bag(mixed.bag, config, tmp_path / "json").scenes[0].folder))
    assert (len(reader), reader.cameras, reader.lidar) == (len(expected), expected.cameras, expected.lidar)
    for index in range(len(reader)):
        assert_equal_frames(reader, reader.frame(index), expected.frame(index))


def assert_equal_frames(reader: SceneReader, found: SceneFrame, expected: SceneFrame) -> None:
    assert (found.number, found.timestamp_ns, found.gps) == (expected.number, expected.timestamp_ns, expected.gps)
    np.testing.assert_allclose(found.position, expected.position, atol=2e-6)
    np.testing.assert_allclose(found.heading_xyzw, expected.heading_xyzw, atol=2e-9)
    points, wanted = found.points, expected.points
    assert len(points) == len(wanted)
    np.testing.assert_allclose(points.xyz, wanted.xyz, atol=0.6e-3)
    np.testing.assert_allclose(points.intensity, wanted.intensity, atol=0.51 / 255 + 1e-3)  # type: ignore[arg-type]
    np.testing.assert_array_equal(points.device, wanted.device)  # type: ignore[arg-type]
    assert points.time_ns is not None
    assert wanted.time_ns is not None
    assert (np.abs(points.time_ns - wanted.time_ns) < 1000).all()
    assert [image.stamp_ns for image in found.images] == [image.stamp_ns for image in expected.images]
    for image, other in zip(found.images, expected.images, strict=True):
        np.testing.assert_allclose(image.position, other.position, atol=2e-6)
        assert cv2.imdecode(np.frombuffer(reader.image(image), np.uint8), 1).shape[:2] == (
            image.model.height,
            image.model.width,
        )
    detections = np.concatenate([radar.position for radar in found.radars])
    np.testing.assert_allclose(detections, np.concatenate([radar.position for radar in expected.radars]), atol=2e-3)


def test_bytes_do_not_depend_on_the_number_of_workers(mixed: Drive, scene: Path, tmp_path: Path) -> None:
    again = convert(mixed, tmp_path / "spool", workers=3)
    assert (again / SCENE_FILE).read_bytes() == (scene / SCENE_FILE).read_bytes()
    assert sorted(path.name for path in again.iterdir()) == ["manifest.json", SCENE_FILE]


def test_video_has_a_picture_and_a_stamp_an_image(mixed: Drive, scene: Path, tmp_path: Path) -> None:
    folder = convert(mixed, tmp_path / "spool", "sfs.images=video")
    again = convert(mixed, tmp_path / "again", "sfs.images=video", workers=2)
    assert (again / SCENE_FILE).read_bytes() == (folder / SCENE_FILE).read_bytes()
    assert bad_rules(folder) == []
    assert verdicts(folder / SCENE_FILE) == [{"validator": "accepts", "says": ""}]
    videos, stills = open_scene(folder), open_scene(scene)
    camera = sensors_of(open_tree(folder / SCENE_FILE), "camera")["front"]
    (tmp_path / "front.mp4").write_bytes(bytes(camera["video"]["content"]))
    with av.open(str(tmp_path / "front.mp4")) as file:
        pictures = list(file.decode(video=0))
        assert file.streams.video[0].codec_context.name == "h264"
    assert len(pictures) == len(camera["video"]["timestamps"]) == len(stills)
    assert camera["video"]["fps"] == pytest.approx(10.0, rel=0.05)
    for index in (0, 4, 2):
        for image, still in zip(videos.frame(index).images, stills.frame(index).images, strict=True):
            assert image.stamp_ns == still.stamp_ns
            found = cv2.imdecode(np.frombuffer(videos.image(image), np.uint8), 1).astype(int)
            expected = cv2.imdecode(np.frombuffer(stills.image(still), np.uint8), 1).astype(int)
            assert np.abs(found - expected).mean() < 6


def test_previews_and_tracks_are_as_of_the_other_formats(mixed: Drive, scene: Path, tmp_path: Path) -> None:
    assert "front" in preview_page(open_scene(scene), lambda _: None)
    nucleus = open_scene(Path(convert_bag(mixed.bag, mixed.config, tmp_path / "nucleus").scenes[0].folder))
    found = registry.of("sfs").track(scene, nucleus.manifest)
    expected = registry.of("nucleus").track(nucleus.folder, nucleus.manifest)
    np.testing.assert_allclose(found.positions, expected.positions, atol=2e-6)
    np.testing.assert_allclose(found.fixes, expected.fixes, atol=1e-9)


def test_a_nucleus_scene_is_exported_and_the_way_back_is_refused(mixed: Drive, scene: Path, tmp_path: Path) -> None:
    nucleus = Path(convert_bag(mixed.bag, mixed.config, tmp_path / "nucleus").scenes[0].folder)
    exported = export_scene(nucleus, "sfs", tmp_path / "exported")
    assert bad_rules(Path(exported.folder)) == []
    assert verdicts(Path(exported.folder) / SCENE_FILE) == [{"validator": "accepts", "says": ""}]
    before, after = open_scene(nucleus), open_scene(Path(exported.folder))
    assert dict(after.metadata) == dict(before.metadata)
    for index in range(len(before)):
        np.testing.assert_allclose(after.frame(index).points.xyz, before.frame(index).points.xyz, atol=1e-4)
    with pytest.raises(InputError, match="8 bits"):
        export_scene(scene, "nucleus", tmp_path / "back")


def test_scene_metadata_stands_beside_ours(mixed: Drive, tmp_path: Path) -> None:
    folder = convert(mixed, tmp_path / "spool", "metadata.vehicle=van", "metadata.run=7")
    assert dict(open_scene(folder).metadata) == {"vehicle": "van", "run": 7}
    assert open_tree(folder / SCENE_FILE)["metadata"]["vehicle"] == "van"


def test_a_lens_that_the_format_cannot_express_is_rectified_and_said_so(mixed: Drive, tmp_path: Path) -> None:
    front = mixed.truth["cameras"]["front"]
    calibration = tmp_path / "front.yaml"
    d = [*front["d"], 0.0, 0.0, 0.0, 0.001, 0.0, 0.002, 0.0]
    calibration.write_text(
        f"image_width: {front['width']}\nimage_height: {front['height']}\ncamera_name: front\n"
        f"camera_matrix: {{rows: 3, cols: 3, data: {front['k']}}}\n"
        f"distortion_model: thin_prism\ndistortion_coefficients: {{rows: 1, cols: {len(d)}, data: {d}}}\n"
        "rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}\n"
        "projection_matrix: {rows: 3, cols: 4, data: [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]}\n"
    )
    tree = open_tree(convert(mixed, tmp_path / "spool", f"cameras.front.calibration_file={calibration}") / SCENE_FILE)
    assert tree["metadata"]["nucleus_bridge"]["sensors"]["front"]["rectified_from"] == "thin_prism"
    assert not any(sensors_of(tree, "camera")["front"]["intrinsics"]["distortion"]["params"])


def test_clouds_are_a_third_of_their_size_in_a_nucleus_scene(
    mixed: Drive, tree: dict[str, Any], tmp_path: Path
) -> None:
    nucleus = Path(convert_bag(mixed.bag, mixed.config, tmp_path / "nucleus").scenes[0].folder)
    before = sum(path.stat().st_size for path in (nucleus / "lidar").iterdir())
    columns = [frame["points"] for lidar in sensors_of(tree, "lidar").values() for frame in lidar["frames"]]
    with_times = sum(array.nbytes for points in columns for array in points.values())
    without = with_times - sum(points["timestamps"].nbytes for points in columns)
    assert with_times <= 0.40 * before
    assert without <= 0.30 * before


def test_a_scene_that_is_larger_than_scale_advises_is_noted(tmp_path: Path) -> None:
    drive = make_drive(tmp_path, DriveOptions(seconds=1.0, points=115_000, cameras=0))
    for scene_format, settings in (("sfs", []), ("sfs", ["cloud.max_points=100000"]), ("nucleus", [])):
        config = load_config(drive.config_path, [f"scene.format={scene_format}", *settings])
        report = convert_bag(drive.bag, config, tmp_path / f"{scene_format}{len(settings)}")
        (made,) = report.scenes
        average = made.manifest.points / made.manifest.frames
        codes = [warning["code"] for warning in made.manifest.warnings]
        assert ("scene_large" in codes) == (scene_format == "sfs" and average > 100_000)
        assert (average > 100_000) == (not settings)


@pytest.mark.parametrize("change", ["calibration", "size"])
def test_a_scene_ends_where_a_calibration_changes(tmp_path: Path, change: str) -> None:
    drive = recording(frames=6).without("/info").without("/image")
    for number in range(6):
        stamp, is_later = START_NS + 100 * number * MS, number > 2
        lens = {"k": np.array([60.0 + is_later, 0, 32, 0, 60, 24, 0, 0, 1])} if change == "calibration" else {}
        size = (32, 24) if is_later and change == "size" else (64, 48)
        drive.add("/info", camera_info(stamp, **lens), stamp + 4 * MS)
        drive.add("/image", compressed(stamp, jpeg(*size)), stamp + 5 * MS)
    bag = drive.write(tmp_path / "bag")
    for scene_format, frames in (("sfs", [3, 3]), ("nucleus", [6])):
        config = load_config(write_config(tmp_path), [f"scene.format={scene_format}"])
        scenes = convert_bag(bag, config, tmp_path / scene_format).scenes
        assert [scene.manifest.frames for scene in scenes] == frames
        assert scenes[0].manifest.end_reason == ("calibration_change" if scene_format == "sfs" else "end_of_data")
        assert all(bad_rules(Path(scene.folder)) == [] for scene in scenes)
        if scene_format == "sfs":
            lenses = [sensors_of(open_tree(Path(made.folder) / SCENE_FILE), "camera")["front"] for made in scenes]
            assert lenses[0]["intrinsics"] != lenses[1]["intrinsics"]


def test_damage_is_named_with_the_place(scene: Path, tmp_path: Path) -> None:
    content = (scene / SCENE_FILE).read_bytes()
    damaged = tmp_path / scene.name
    damaged.mkdir()
    (damaged / "manifest.json").write_bytes((scene / "manifest.json").read_bytes())
    (damaged / SCENE_FILE).write_bytes(content[: len(content) // 2])
    assert any("sfs-readable" in rule and "cut" in rule for rule in bad_rules(damaged))
    (damaged / SCENE_FILE).unlink()
    assert any(rule == "sfs-readable: is missing" for rule in bad_rules(damaged))


def test_a_real_recording_is_accepted_too(real_data: Path, tmp_path: Path) -> None:
    config = config_from_values(SAMPLE)
    for number, scene in enumerate(convert_bag(real_data / "scale_sample", config, tmp_path / "spool").scenes):
        file = Path(scene.folder) / SCENE_FILE
        assert bad_rules(file.parent) == []
        assert verdicts(file) == [{"validator": "accepts", "says": ""}], number


def test_the_example_configuration_is_one() -> None:
    config = load_config(Path(__file__).parent.parent.parent / "config/sensor_fusion_scene.yaml")
    assert (config.scene.format, config.sfs.lidars) == ("sfs", "separate")
