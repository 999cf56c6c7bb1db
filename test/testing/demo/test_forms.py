# SPDX-License-Identifier: Apache-2.0
"""The demo drive in each form that vehicles record: the same scenes as the plain one, as far as the encoding allows."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from nucleus_bridge.config.settings import LidarConfig
from nucleus_bridge.convert import ConversionReport, convert_bag
from nucleus_bridge.decode.velodyne import VELODYNE_SCAN, VelodyneDecoder
from nucleus_bridge.errors import InputError, OutputError
from nucleus_bridge.model import Message
from nucleus_bridge.testing.demo import DriveOptions, demo_config, write_demo_drive
from nucleus_bridge.testing.demo.lidar import LIDARS
from nucleus_bridge.testing.demo.packets import firings, velodyne_scan

COMMON = {"seconds": 2.0, "points": 2_000, "cameras": 1, "image_width": 320, "image_height": 200}
LEAST_DB = 30.0


def made(folder: Path, **choices: object) -> ConversionReport:
    """Write the drive in a form, and convert it."""
    folder.mkdir(exist_ok=True)
    options = DriveOptions(**{**COMMON, **choices})  # type: ignore[arg-type]
    bag = write_demo_drive(folder / ("drive.bag" if options.format == "ros1" else "drive"), options)
    config = folder / "drive.yaml"
    config.write_text(demo_config(options), encoding="utf-8")
    return convert_bag(bag, config, folder / "spool")


def scene_of(folder: Path, **choices: object) -> Path:
    """Write the drive in a form, convert it without a loss, and return its one scene."""
    report = made(folder, **choices)
    assert report.losses == {}
    assert report.complete
    (scene,) = report.scenes
    return scene.folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scene_of(tmp_path_factory.mktemp("plain"), image="raw")


def files(scene: Path, pattern: str) -> Iterator[tuple[str, Path]]:
    return ((path.name, path) for path in sorted(scene.glob(pattern)))


def points(path: Path) -> np.ndarray:
    return np.array([[p["x"], p["y"], p["z"], p["i"]] for p in json.loads(path.read_text())["points"]])


def assert_same_poses(scene: Path, plain: Path) -> None:
    frames, true = (json.loads((folder / "scene.json").read_text())["frames"] for folder in (scene, plain))
    assert len(frames) == len(true) == 20
    for frame, true_frame in zip(frames, true, strict=True):
        assert frame["front"]["metadata"] == true_frame["front"]["metadata"]


@pytest.mark.parametrize("choices", [{"cloud": "zlib"}, {"cloud": "zstd"}, {"cloud": "draco"}, {"format": "ros1"}])
def test_forms_without_loss_give_the_same_bytes(tmp_path: Path, plain: Path, choices: dict[str, object]) -> None:
    scene = scene_of(tmp_path, image="raw", **choices)
    for pattern in ("top/*", "front/*", "scene.json"):
        for name, path in files(scene, pattern):
            assert (
                path.read_bytes() == next(true for other, true in files(plain, pattern) if other == name).read_bytes()
            )


@pytest.mark.parametrize("driver", ["hesai", "livox", "ouster"])
def test_draco_keeps_the_points_and_times_of_every_driver(tmp_path: Path, driver: str) -> None:
    """Absolute times are 64-bit floats; of an organised cloud the points that are nowhere are left out."""
    written = [made(tmp_path / cloud, driver=driver, cloud=cloud, cameras=0) for cloud in ("raw", "draco")]
    assert "nan_points" not in str(written[1].losses)
    plain, scene = (report.scenes[0].folder for report in written)
    assert (scene / "scene.json").read_bytes() == (plain / "scene.json").read_bytes()
    assert json.loads((scene / "manifest.json").read_text())["sensors"]["top"]["deskewed"] is True
    names = [path.name for path in sorted(plain.glob("top/*"))]
    assert len(names) == 20
    assert [(scene / "top" / name).read_bytes() for name in names] == [
        (plain / "top" / name).read_bytes() for name in names
    ]


def test_livox_messages_give_the_same_points(tmp_path: Path, plain: Path) -> None:
    scene = scene_of(tmp_path, image="raw", driver="livox-custommsg")
    assert_same_poses(scene, plain)
    for name, path in files(scene, "top/*"):
        assert np.abs(points(path) - points(plain / "top" / name)).max() < 0.0021


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_videos_give_the_same_poses_and_pictures(tmp_path: Path, plain: Path, codec: str) -> None:
    scene = scene_of(tmp_path, camera=codec)
    assert_same_poses(scene, plain)
    for name, path in files(scene, "top/*"):
        assert path.read_bytes() == (plain / "top" / name).read_bytes()
    for name, path in files(scene, "front/*"):
        assert cv2.PSNR(cv2.imread(str(path)), cv2.imread(str(plain / "front" / name))) >= LEAST_DB


def test_equal_options_make_equal_videos(tmp_path: Path) -> None:
    options = DriveOptions(seconds=0.5, points=500, cameras=1, image_width=128, image_height=64, camera="h264")
    drives = [write_demo_drive(tmp_path / name / "drive", options) for name in ("a", "b")]
    first, second = (next(drive.glob("*.mcap")).read_bytes() for drive in drives)
    assert first == second


def test_a_bag_replaces_a_bag_only_where_it_may(tmp_path: Path) -> None:
    options = DriveOptions(seconds=0.3, points=500, cameras=0, format="ros1")
    bag = write_demo_drive(tmp_path / "drive.bag", options)
    with pytest.raises(OutputError):
        write_demo_drive(bag, options)
    assert write_demo_drive(bag, options, force=True).read_bytes().startswith(b"#ROSBAG")


def test_choices_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(InputError, match="livox-custommsg"):
        DriveOptions(driver="livox-custommsg", cloud="zlib")
    with pytest.raises(InputError, match="h264, h265"):
        DriveOptions(camera="mpeg2")


def test_a_video_without_its_library_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r"pip install 'nucleus-bridge\[video\]'"):
        write_demo_drive(tmp_path / "drive", DriveOptions(seconds=0.3, points=500, camera="h264"))


def test_a_packed_cloud_without_its_library_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "DracoPy", None)
    with pytest.raises(InputError, match=r"pip install 'nucleus-bridge\[draco\]'"):
        write_demo_drive(tmp_path / "drive", DriveOptions(seconds=0.3, points=500, cameras=0, cloud="draco"))


def test_packets_of_a_vlp_16_give_each_firing_at_its_place_and_time() -> None:
    """Its unit is 2 mm and its azimuths are in steps of 0.01 degrees, which is 17 mm at 100 m."""
    options = DriveOptions(seconds=1.0, driver="velodyne-packets", standing_s=0.0)
    mount, decoder = LIDARS[0], VelodyneDecoder(LidarConfig("top", "/lidar/top/points"))
    stamp_ns = options.start_ns + mount.phase_ns + 500_000_000
    message = Message("/lidar/top/points", VELODYNE_SCAN, 0, velodyne_scan(mount, options, stamp_ns))
    (sweep,) = decoder.decode(message)
    seen = firings(mount, options, stamp_ns)
    there = np.isfinite(seen.distance)
    assert len(sweep.points) == np.count_nonzero(there) > 10_000
    order = np.argsort(sweep.points["t"], kind="stable")
    true = np.argsort(seen.since_ns[there], kind="stable")
    assert np.abs(sweep.points["t"][order] - seen.since_ns[there][true]).max() < 1_500  # the clock counts microseconds
    xyz = np.stack([sweep.points[axis] for axis in "xyz"], axis=1)[order]
    error = np.linalg.norm(xyz - seen.xyz[there][true], axis=1)
    assert np.median(error) < 0.003
    assert (error < 0.004 + 0.0003 * seen.distance[there][true]).all()


def test_packets_of_a_vlp_16_give_the_frames_and_poses_of_the_plain_drive(tmp_path: Path, plain: Path) -> None:
    scene = scene_of(tmp_path, image="raw", driver="velodyne-packets")
    assert_same_poses(scene, plain)
    for name, path in files(scene, "top/*"):
        clouds = [json.loads(file.read_text()) for file in (path, plain / "top" / name)]
        assert clouds[0]["device_position"] == clouds[1]["device_position"]
