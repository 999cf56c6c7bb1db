# SPDX-License-Identifier: Apache-2.0
"""Sensor-fusion scenes on disk: good ones pass every rule, and each single damage breaks the rules that it should."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from drives import make_drive
from lidar_frame_messages import messages

from nucleus_bridge.cli.main import main
from nucleus_bridge.config import load_config
from nucleus_bridge.convert import convert_bag
from nucleus_bridge.formats.sensor_fusion.frame_json import points_span, without_points
from nucleus_bridge.testing.demo import DriveOptions
from nucleus_bridge.validate.scenes import validate_path

JSON, PROTOBUF = "sensor_fusion_json", "sensor_fusion_protobuf"
OPTIONS = DriveOptions(seconds=0.3, points=150, cameras=2, radars=1, image_width=64, image_height=64)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("good")
    drive = make_drive(folder, OPTIONS)
    config = load_config(drive.config_path, ["point_fields=[intensity,device,time]"])
    made = {name: convert_bag(drive.bag, config, folder / name, format=name) for name in (JSON, PROTOBUF)}
    return {name: report.scenes[0].folder for name, report in made.items()}


class Damaged:
    """A copy of a good scene; what is changed is listed with its new size and checksum."""

    def __init__(self, original: Path, folder: Path) -> None:
        self.folder = Path(shutil.copytree(original, folder / original.name))

    def write(self, path: str, data: bytes) -> None:
        (self.folder / path).write_bytes(data)
        self.relist()

    def relist(self, **changes: Any) -> None:
        manifest = json.loads((self.folder / "manifest.json").read_text())
        files = sorted(
            str(path.relative_to(self.folder))
            for path in self.folder.rglob("*")
            if path.is_file() and path.name != "manifest.json"
        )
        contents = {path: (self.folder / path).read_bytes() for path in files}
        manifest["files"] = [
            {"path": path, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for path, data in contents.items()
        ]
        (self.folder / "manifest.json").write_text(json.dumps({**manifest, **changes}))

    def frame(self, change: Callable[[Any], None], number: int = 1) -> None:
        """Change a JSON frame in everything but its points."""
        path = f"frames/{number:06d}.json"
        data = (self.folder / path).read_bytes()
        points = points_span(data)
        record = without_points(data, points)
        change(record)
        text = json.dumps(record).encode()
        if "points" in record:
            text = text.replace(b'"points": []', b'"points": ' + data[points])
        self.write(path, text)

    def text(self, old: str, new: str, number: int = 1) -> None:
        path = self.folder / f"frames/{number:06d}.json"
        text = path.read_text()
        assert old in text
        self.write(str(path.relative_to(self.folder)), text.replace(old, new, 1).encode())

    def message(self, change: Callable[[Any], None], number: int = 1) -> None:
        path = f"frames/{number:06d}.pb"
        frame = messages()["LidarFrame"].FromString((self.folder / path).read_bytes())
        change(frame)
        self.write(path, frame.SerializePartialToString())

    def broken(self) -> set[str]:
        (report,) = validate_path(self.folder)
        return {rule.rule for rule in report.rules if not rule.ok}


@pytest.fixture
def scene(originals: dict[str, Path], tmp_path: Path) -> Iterator[Damaged]:
    return Damaged(originals[JSON], tmp_path)


@pytest.mark.parametrize("name", [JSON, PROTOBUF])
def test_a_good_scene_passes_and_every_rule_was_looked_at(originals: dict[str, Path], name: str) -> None:
    (report,) = validate_path(originals[name])
    assert report.ok, [rule for rule in report.rules if not rule.ok]
    unchecked = {rule.rule for rule in report.rules if not rule.checked}
    assert unchecked == (set() if name == JSON else {"point-values", "point-decimals"})


def set_(*path: Any, value: Any) -> Callable[[Any], None]:
    def change(record: Any) -> None:
        for step in path[:-1]:
            record = record[step]
        record[path[-1]] = value

    return change


def delete(*path: Any) -> Callable[[Any], None]:
    def change(record: Any) -> None:
        for step in path[:-1]:
            record = record[step]
        del record[path[-1]]

    return change


DAMAGES: dict[str, tuple[Callable[[Any], None], set[str]]] = {
    "more keys": (set_("more", value=1), {"frame-keys"}),
    "no device_heading": (delete("device_heading"), {"frame-keys", "heading-keys"}),
    "no points": (delete("points"), {"frame-readable", "manifest-counts", "files-used"}),
    "zero heading": (set_("device_heading", "w", value=9.0), {"unit-quaternions"}),
    "far away": (set_("device_position", "x", value=2e5), {"coordinate-range"}),
    "latitude": (set_("device_gps_pose", "lat", value=91), {"gps-range"}),
    "stamp goes back": (set_("timestamp", value=1_699_999_999_000_000_000), {"timestamps"}),
    "stamp is a float": (set_("timestamp", value=1.5e18), {"timestamps"}),
    "images are none": (set_("images", value=None), {"images-listed", "manifest-counts", "files-used"}),
    "image without url": (delete("images", 0, "image_url"), {"images-listed", "manifest-counts", "files-used"}),
    "url leads out": (
        set_("images", 0, "image_url", value="../front/000001.jpg"),
        {"image-url-form", "image-urls-relative-exist", "manifest-counts", "files-used"},
    ),
    "url of another frame": (
        set_("images", 0, "image_url", value="front/000002.jpg"),
        {"image-url-form", "files-used"},
    ),
    "one url twice": (
        set_("images", 1, "image_url", value="front/000001.jpg"),
        {"image-url-form", "files-used", "manifest-counts"},
    ),
    "no fx": (delete("images", 0, "fx"), {"camera-params-required"}),
    "unknown coefficient": (set_("images", 0, "k7", value=0.1), {"camera-params-keys"}),
    "coefficient of another model": (set_("images", 0, "xi", value=0.1), {"camera-values"}),
    "unknown model": (set_("images", 0, "camera_model", value="mei"), {"camera-model-known"}),
    "heading of a camera": (set_("images", 0, "heading", "x", value=2.0), {"unit-quaternions"}),
    "stamp of an image": (set_("images", 0, "timestamp", value=5), {"camera-timestamps"}),
    "priority": (set_("images", 0, "priority", value=-1), {"camera-values"}),
    "radar is an object": (set_("radar_points", value={}), {"radar-points", "manifest-counts"}),
    "radar size": (set_("radar_points", 0, "size", value=1.5), {"radar-points"}),
    "radar keys": (set_("radar_points", 0, "speed", value=1.5), {"radar-points"}),
    "radar position": (set_("radar_points", 0, "position", value={"x": 1}), {"position-keys"}),
    "radar direction": (set_("radar_points", 0, "direction", "y", value=None), {"radar-points"}),
    "a radar point less": (delete("radar_points", 0), {"manifest-counts"}),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_single_damage_is_found(scene: Damaged, name: str) -> None:
    change, rules = DAMAGES[name]
    scene.frame(change)
    assert scene.broken() == rules


def test_damaged_points_are_found(scene: Damaged) -> None:
    scene.text('"i":', '"I":')
    assert scene.broken() >= {"point-keys-and-order"}


def test_an_intensity_above_one_is_found(scene: Damaged) -> None:
    path = scene.folder / "frames/000001.json"
    text = path.read_text()
    start = text.index('"i":') + 4
    scene.write("frames/000001.json", (text[:start] + "7.000" + text[start + 5 :]).encode())
    assert scene.broken() == {"intensity-range"}


def test_nan_and_keys_given_twice_are_found(scene: Damaged) -> None:
    scene.text('"device_position":{"x":', '"device_position":{"x":NaN,"x":')
    assert scene.broken() == {"no-nan", "json-unambiguous"}


def test_a_frame_that_is_no_json_is_found(scene: Damaged) -> None:
    scene.write("frames/000001.json", b'{"points":[')
    assert "frame-readable" in scene.broken()


def test_the_manifest_is_held_against_the_frames(scene: Damaged) -> None:
    scene.relist(frames=4, points=1, items=0)
    (report,) = validate_path(scene.folder)
    texts = [failure.text for rule in report.rules for failure in rule.failures]
    assert len(texts) == 3
    scene.relist(frames=3, metadata={"weather": [7]}, points=-1, items=9, sensors={})
    assert scene.broken() == {"manifest-fields", "manifest-counts", "manifest-sensors", "metadata-scalars"}


def test_a_missing_image_and_a_file_of_no_use_are_found(scene: Damaged) -> None:
    (scene.folder / "front/000001.jpg").rename(scene.folder / "front/000007.jpg")
    scene.relist()
    assert scene.broken() == {"image-urls-relative-exist", "files-used", "manifest-counts"}


def test_an_image_that_is_none_is_found(scene: Damaged) -> None:
    scene.write("front/000001.jpg", b"picture")
    assert scene.broken() == {"image-bytes-match-suffix"}


def test_a_scene_without_frames_is_found(scene: Damaged) -> None:
    shutil.rmtree(scene.folder / "frames")
    scene.relist()
    assert "frames-present" in scene.broken()


MESSAGE_DAMAGES: dict[str, tuple[Callable[[Any], None], set[str]]] = {
    "no device_position": (lambda frame: frame.ClearField("device_position"), {"frame-readable"}),
    "no device_heading": (lambda frame: frame.ClearField("device_heading"), {"frame-keys", "heading-keys"}),
    "extra": (lambda frame: setattr(frame, "extra", b"x"), {"frame-keys"}),
    "not a number": (lambda frame: setattr(frame.points[3], "x", float("nan")), {"coordinate-range"}),
    "intensity": (lambda frame: setattr(frame.points[3], "i", 1.5), {"intensity-range"}),
    "a point without intensity": (lambda frame: frame.points[3].ClearField("i"), {"point-keys-and-order"}),
    "point time": (lambda frame: setattr(frame.points[3], "t", 1.0), {"point-times"}),
    "no points": (lambda frame: frame.ClearField("points"), {"cloud-not-empty", "manifest-counts"}),
    "timestamp": (lambda frame: setattr(frame, "timestamp", 1.7e18 + 0.5e18), {"timestamps", "point-times"}),
    "no camera model": (lambda frame: frame.images[0].ClearField("brown_conrady"), {"frame-readable"}),
    "radar size": (lambda frame: setattr(frame.radar_points[0], "size", float("inf")), {"radar-points"}),
    "priority": (lambda frame: setattr(frame.images[0], "priority", -1), {"camera-values"}),
}


@pytest.mark.parametrize("name", MESSAGE_DAMAGES)
def test_a_single_damage_of_a_message_is_found(originals: dict[str, Path], tmp_path: Path, name: str) -> None:
    change, rules = MESSAGE_DAMAGES[name]
    scene = Damaged(originals[PROTOBUF], tmp_path)
    scene.message(change)
    assert scene.broken() >= rules
    if "frame-readable" not in rules:
        assert scene.broken() == rules


def test_a_message_cut_off_is_found(originals: dict[str, Path], tmp_path: Path) -> None:
    scene = Damaged(originals[PROTOBUF], tmp_path)
    scene.write("frames/000001.pb", (scene.folder / "frames/000001.pb").read_bytes()[:-3])
    assert "frame-readable" in scene.broken()


def test_the_command_line_checks_both_formats(
    originals: dict[str, Path], scene: Damaged, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", *map(str, originals.values())]) == 0
    assert "2 scenes checked, 2 good" in capsys.readouterr().out
    scene.frame(set_("images", 0, "fx", value=0))
    assert main(["validate", str(scene.folder)]) == 1
    assert "frames/000001.json, frame 1, front: camera_params.fx is 0" in capsys.readouterr().out
