# SPDX-License-Identifier: Apache-2.0
"""Scenes on disk: a good one passes every rule, and each single damage breaks the rules that it should."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleus_bridge.errors import InputError
from nucleus_bridge.review.rules_points import KEYS, Points, read_any_form, read_promised_form
from nucleus_bridge.review.validate import SceneReport, validate_path

SCENE_ID = "drive-20231114T221320.100000000Z"
FIRST_NS = 1_700_000_000_100_000_000


class DELETE:
    """Stands for a value that is taken away."""


FIRST_CLOUD = (
    '{"points":[{"x":  1.250,"y": -2.000,"z":  0.125,"i":0.500,"d":0,"t":1700000000100000000,"is_ground": true},'
    '{"x":-31.007,"y":100.999,"z": -0.000,"i":1.000,"d":1,"t":1700000000199999999,"is_ground":false}],'
    '"device_position":{"x":0.0,"y":0.0,"z":0.0},"device_heading":{"x":0.0,"y":0.0,"z":0.0,"w":1.0},'
    '"device_gps_pose":{"lat":48.137,"lon":11.575,"bearing":359.5},"timestamp":1700000000100000000}\n'
)
SECOND_CLOUD = (
    '{"points":[{"x":12.000,"y":0.100,"z":7.000,"i":0.001}],"device_position":{"x":1.5,"y":-0.25,"z":0.01},'
    '"device_heading":{"x":0.0,"y":0.0,"z":0.5,"w":-0.8660254037844386},"timestamp":1700000000200000000}\n'
)
CLOUDS = (FIRST_CLOUD, SECOND_CLOUD)


def image(suffix: str) -> bytes:
    picture = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    return bytes(cv2.imencode(suffix, picture)[1])


def image_item(number: int, camera: str, suffix: str, params: dict[str, Any], kept: str) -> dict[str, Any]:
    return {
        "metadata": {"camera_params": params},
        "reference_id": f"{SCENE_ID}-{camera}-{number:06d}",
        "url": f"{camera}/{number:06d}{suffix}",
        "type": "image",
        "camera_params": {key: copy.deepcopy(params[key]) for key in kept.split()},
    }


def front(number: int) -> dict[str, Any]:
    params = {
        "position": {"x": 1.5, "y": 0.0, "z": 1.7},
        "heading": {"x": -0.5, "y": 0.5, "z": -0.5, "w": 0.5},
        "fx": 900.0,
        "fy": 901.5,
        "cx": 4.0,
        "cy": 3,
        "skew": 0.0,
        "k1": -0.31,
        "k2": 0.0,
        "p1": 0.0012,
        "p2": 0.0,
        "k3": 0.0,
        "camera_model": "brown_conrady",
        "timestamp": FIRST_NS + 5_000_000 + number * 100_000_000,
        "camera_index": 0,
    }
    return image_item(number, "front", ".jpg", params, "position heading fx fy cx cy k1 p1 camera_model")


def rear(number: int) -> dict[str, Any]:
    params = {
        "position": {"x": -0.5, "y": 0.0, "z": 1.7},
        "heading": {"x": 0.5, "y": 0.5, "z": -0.5, "w": -0.5},
        "fx": 300.0,
        "fy": 300.0,
        "cx": 4.0,
        "cy": 3.0,
        "skew": 0.1,
        "k1": 0.1,
        "k2": 0.02,
        "k3": 0.0,
        "k4": -0.004,
        "camera_model": "fisheye",
        "timestamp": FIRST_NS,
        "camera_index": 1,
        "scale_factor": 2.0,
    }
    kept = "position heading fx fy cx cy k1 k2 k4 camera_model"
    return {**image_item(number, "rear", ".png", params, kept), "width": 8, "height": 6}


def cloud(number: int) -> dict[str, Any]:
    return {
        "metadata": {},
        "reference_id": f"{SCENE_ID}-top-{number:06d}",
        "url": f"top/{number:06d}.json",
        "type": "pointcloud",
    }


@dataclass
class Recording:
    """A scene of two frames that breaks no rule, to be damaged before or after it is written."""

    scene: dict[str, Any] = field(
        default_factory=lambda: {
            "reference_id": SCENE_ID,
            "frames": [{"top": cloud(0), "front": front(0), "rear": rear(0)}, {"top": cloud(1), "front": front(1)}],
            "metadata": {"city": "Tübingen"},
        }
    )
    manifest: dict[str, Any] = field(
        default_factory=lambda: {
            "format_version": 1,
            "reference_id": SCENE_ID,
            "format": "nucleus",
            "frames": 2,
            "items": 5,
            "points": 3,
            "first_stamp_ns": FIRST_NS,
            "last_stamp_ns": FIRST_NS + 100_000_000,
            "world_frame": "map",
            "device_frame": "base_link",
            "world_offset": {"x": 690123.25, "y": 5335678.5, "z": 512.0},
            "sensors": {"front": {"kind": "camera"}, "rear": {"kind": "camera"}, "top": {"kind": "lidar"}},
            "sync": {"front": {"mean_ms": 5.0, "max_ms": 5.0}, "rear": {"mean_ms": 0.0, "max_ms": 0.0}},
            "missing": {"rear": 1},
            "losses": {"/camera/rear/image_raw": {"surplus": 1}},
            "end_reason": "end_of_input",
            "config_digest": "0" * 63 + "a",
            "software": "someone 1.0",
        }
    )
    files: dict[str, bytes] = field(
        default_factory=lambda: {
            "top/000000.json": CLOUDS[0].encode(),
            "top/000001.json": CLOUDS[1].encode(),
            "front/000000.jpg": image(".jpg"),
            "front/000001.jpg": image(".jpg"),
            "rear/000000.png": image(".png"),
        }
    )

    def write(self, parent: Path) -> Path:
        """Write the files and a manifest that lists them; what the manifest already says stays."""
        folder = parent / SCENE_ID
        files = {"scene.json": json.dumps(self.scene).encode(), **self.files}
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        records = [
            {"path": name, "bytes": len(files[name]), "sha256": hashlib.sha256(files[name]).hexdigest()}
            for name in sorted(files)
        ]
        manifest = {**self.manifest, "files": self.manifest.get("files", records)}
        content = files.get("manifest.json", json.dumps(manifest).encode())
        (folder / "manifest.json").write_bytes(content)
        return folder

    def edit_file(self, name: str, old: str, new: str) -> None:
        """Replace a text in a file that must contain it."""
        text = self.files[name].decode()
        assert text.count(old) >= 1
        self.files[name] = text.replace(old, new, 1).encode()


def edit(document: Any, path: str, value: object) -> None:
    """Set, or delete, what a path with slashes leads to."""
    *way, last = [int(step) if step.isdigit() else step for step in path.split("/")]
    for step in way:
        document = document[step]
    if value is DELETE:
        del document[last]
    else:
        document[last] = value


def edit_params(scene: dict[str, Any], path: str, value: object) -> None:
    """Change the first front image's camera_params in both places."""
    item = scene["frames"][0]["front"]
    edit(item["metadata"]["camera_params"], path, copy.deepcopy(value))
    edit(item["camera_params"], path, value)


def broken(report: SceneReport) -> set[str]:
    return {rule.rule for rule in report.rules if not rule.ok}


def check(folder: Path) -> SceneReport:
    (report,) = validate_path(folder)
    return report


@pytest.fixture
def recording() -> Recording:
    return Recording()


def test_a_good_scene_passes_and_every_rule_is_really_checked(recording: Recording, tmp_path: Path) -> None:
    report = check(recording.write(tmp_path))
    assert report.ok, [rule for rule in report.rules if not rule.ok]
    assert report.reference_id == SCENE_ID
    assert report.path == tmp_path / SCENE_ID
    assert [rule.rule for rule in report.rules if rule.checked == 0] == []


# What is edited in scene.json, its new value, and the rules that must break: these and no others.
SCENE_EDITS: list[tuple[str, object, set[str]]] = [
    ("reference_id", "another", {"scene-id"}),
    ("reference_id", DELETE, {"scene-id", "scene-keys"}),
    ("index", 0, {"scene-keys"}),
    ("tracks", [{"reference_id": "t"}], {"scene-keys"}),
    ("tracks", "t", {"scene-keys"}),
    ("frames", [], {"frames-present", "manifest-counts", "files-used"}),
    ("frames", {}, {"scene-keys", "frames-present", "manifest-counts", "files-used"}),
    ("frames/1", {}, {"frames-present", "one-cloud-per-frame", "manifest-counts", "files-used"}),
    ("frames/1", [], {"frames-present", "one-cloud-per-frame", "manifest-counts", "files-used"}),
    ("metadata", [], {"metadata-strings"}),
    ("metadata/city", 7, {"metadata-strings"}),
    ("frames/0/top/metadata", None, {"metadata-strings"}),
    ("frames/0/top/metadata", [1], {"metadata-strings"}),
    ("frames/0/front/metadata/rain", False, {"metadata-strings"}),
    ("frames/0/rear", [], {"item-keys", "files-used"}),
    ("frames/0/top/embedding_info", {"index_id": "i", "embedding_vector": [1.0]}, {"item-keys"}),
    ("frames/0/top/camera_params", {}, {"item-keys"}),
    ("frames/0/front/pointcloud_url", "top/000000.json", {"item-keys"}),
    ("frames/0/front/type", "picture", {"item-keys"}),
    ("frames/0/front/reference_id", DELETE, {"item-keys"}),
    ("frames/0/front/reference_id", 17, {"item-keys"}),
    ("frames/0/front/reference_id", ["a"], {"item-keys"}),
    ("frames/0/front/url", None, {"item-keys", "files-used"}),
    ("frames/0/top", DELETE, {"one-cloud-per-frame", "manifest-counts", "files-used"}),
    ("frames/1/top/reference_id", f"{SCENE_ID}-top-000000", {"unique-reference-ids", "url-form", "frame-numbers"}),
    ("frames/1/top/reference_id", f"{SCENE_ID}-top-000002", {"url-form", "frame-numbers"}),
    ("frames/1/top/reference_id", f"{SCENE_ID}-top-1", {"item-id-form"}),
    ("frames/1/top/reference_id", f"{SCENE_ID}-top a-000001", {"item-id-form", "reference-id-characters"}),
    ("frames/0/front/url", "front/000000.jpeg", {"url-suffixes", "urls-relative-exist", "files-used"}),
    ("frames/0/front/url", "front/000000.jpg?x=1", {"url-suffixes", "urls-relative-exist", "files-used"}),
    ("frames/0/front/url", "front/000009.jpg", {"url-form", "urls-relative-exist", "files-used"}),
    ("frames/0/front/url", "/etc/000000.jpg", {"url-form", "urls-relative-exist", "files-used"}),
    ("frames/0/front/url", "front/../front/000000.jpg", {"url-form", "urls-relative-exist", "files-used"}),
    ("frames/0/front/url", "https://h/front/000000.jpg", {"url-form", "urls-relative-exist", "files-used"}),
    ("frames/0/front/url", "front/000000.jpg\x00", {"url-suffixes", "urls-relative-exist", "files-used"}),
    ("frames/0/front/url", "front/000001.jpg", {"url-form", "one-file-per-item", "files-used"}),
    ("frames/0/front/metadata/camera_params", DELETE, {"camera-params-required"}),
    ("frames/0/front/metadata/camera_params", [], {"camera-params-required"}),
    ("frames/0/front/camera_params", DELETE, {"camera-params-copies-agree"}),
    ("frames/0/front/camera_params/k2", 0.0, {"camera-params-copies-agree"}),
    ("frames/0/front/camera_params/k1", 0.31, {"camera-params-copies-agree"}),
    ("frames/0/front/camera_params/position/x", 1.0, {"camera-params-copies-agree"}),
    ("frames/0/front/metadata/camera_params/image_url", "x", {"camera-params-keys"}),
    ("frames/0/front/metadata/camera_params/skew", "0", {"camera-values"}),
    ("frames/0/front/metadata/camera_params/k3", [], {"camera-values"}),
    ("frames/0/front/metadata/camera_params/k4", 0.5, {"camera-values", "camera-params-copies-agree"}),
    ("frames/0/front/metadata/camera_params/xi", 0.5, {"camera-values"}),
    ("frames/0/front/metadata/camera_params/camera_index", -1, {"camera-values"}),
    ("frames/0/rear/metadata/camera_params/scale_factor", 0, {"camera-values"}),
    ("frames/0/front/metadata/camera_params/timestamp", DELETE, {"camera-timestamps"}),
    ("frames/0/front/metadata/camera_params/timestamp", 1.7e18, {"camera-timestamps"}),
    ("frames/1/front/metadata/camera_params/timestamp", FIRST_NS + 5_000_000, {"camera-timestamps"}),
    ("frames/0/rear/width", 9, {"image-size"}),
    ("frames/0/rear/height", 6.0, {"image-size"}),
]

PARAMS_EDITS: list[tuple[str, object, set[str]]] = [
    *[(key, DELETE, {"camera-params-required"}) for key in ("position", "heading", "fx", "fy", "cx", "cy")],
    ("camera_model", "plumb_bob", {"camera-model-known"}),
    ("camera_model", "omnidirectional", {"camera-model-known"}),
    ("fx", 0.0, {"camera-values"}),
    ("fy", "901", {"camera-values"}),
    ("cx", True, {"camera-values", "camera-params-copies-agree"}),
    ("position", [1.5, 0.0, 1.7], {"position-keys", "camera-params-copies-agree"}),
    ("position/z", DELETE, {"position-keys"}),
    ("position/w", 1.0, {"position-keys"}),
    ("position/x", 100_000.0, {"coordinate-range"}),
    ("heading", [0, 0, 0, 1], {"heading-keys", "camera-params-copies-agree"}),
    ("heading/w", DELETE, {"heading-keys"}),
    ("heading/w", "0.5", {"heading-keys"}),
    ("heading/w", 0.501, {"unit-quaternions"}),
    ("heading", {"x": 0.0, "y": 0.0, "z": 0.0, "w": 0.0}, {"unit-quaternions"}),
    ("fx", float("nan"), {"no-nan", "camera-values", "camera-params-copies-agree"}),
    ("fx", float("inf"), {"no-nan", "camera-values", "camera-params-copies-agree"}),
    ("fx", 10**400, {"no-nan", "camera-values", "camera-params-copies-agree"}),
]

MANIFEST_EDITS: list[tuple[str, object, set[str]]] = [
    ("format_version", 2, {"manifest-fields"}),
    ("format_version", True, {"manifest-fields"}),
    ("reference_id", None, {"manifest-fields", "scene-id", "item-id-form"}),
    ("frames", 3, {"manifest-counts"}),
    ("frames", "2", {"manifest-fields"}),
    ("items", 4, {"manifest-counts"}),
    ("points", 4, {"manifest-counts"}),
    ("points", -3, {"manifest-fields"}),
    ("missing", {}, {"manifest-counts"}),
    ("missing", {"rear": 1, "front": 1}, {"manifest-counts"}),
    ("missing", {"rear": "1"}, {"manifest-fields"}),
    ("first_stamp_ns", FIRST_NS - 1, {"reference-id-form", "timestamps"}),
    ("first_stamp_ns", FIRST_NS + 1, {"reference-id-form"}),
    ("first_stamp_ns", float(FIRST_NS), {"manifest-fields", "reference-id-form"}),
    ("last_stamp_ns", FIRST_NS - 1, {"manifest-fields", "timestamps"}),
    ("last_stamp_ns", FIRST_NS + 61_000_000_000, {"timestamps"}),
    ("world_frame", "", {"manifest-fields"}),
    ("device_frame", DELETE, {"manifest-fields"}),
    ("world_offset", [0, 0, 0], {"manifest-fields"}),
    ("world_offset/x", float("nan"), {"manifest-fields", "no-nan"}),
    ("sensors", {"top": []}, {"manifest-fields", "manifest-sensors"}),
    ("sensors/front", DELETE, {"manifest-sensors"}),
    ("sensors/top", DELETE, {"manifest-sensors"}),
    ("sensors/left", {"kind": "lidar"}, {"manifest-sensors"}),
    ("sync/front/mean_ms", 6.0, {"manifest-fields"}),
    ("losses", {"/t": {"late": -1}}, {"manifest-fields"}),
    ("losses", {"/t": 1}, {"manifest-fields"}),
    ("end_reason", 4, {"manifest-fields"}),
    ("config_digest", "abc", {"manifest-fields"}),
    ("software", None, {"manifest-fields"}),
    ("files", {}, {"manifest-fields", "no-stray-files", "urls-relative-exist"}),
]

# Frame, what is replaced in its cloud, by what, and the rules that must break.
CLOUD_EDITS: list[tuple[int, str, str, set[str]]] = [
    (0, '"points":[', '"points":', {"cloud-readable"}),
    (1, CLOUDS[1], "[1]", {"cloud-readable"}),
    (1, '"points"', '"dots"', {"cloud-readable"}),
    (1, '"points":[{"x":12.000,"y":0.100,"z":7.000,"i":0.001}]', '"points":{}', {"cloud-readable"}),
    (1, '{"x":12.000,"y":0.100,"z":7.000,"i":0.001}', "", {"cloud-not-empty", "manifest-counts"}),
    (1, '}],"device_position"', '}],"frame":1,"device_position"', {"cloud-keys"}),
    (1, '"timestamp"', '"device_gps_pose":{"lat":-90,"lon":180,"bearing":360},"stamp"', {"cloud-keys", "timestamps"}),
    (0, '"lat":48.137,', "", {"gps-range"}),
    (0, '"lat":48.137', '"lat":90.5', {"gps-range"}),
    (0, '"lon":11.575', '"lon":-180.1', {"gps-range"}),
    (0, '"bearing":359.5', '"bearing":-0.5', {"gps-range"}),
    (0, '"bearing":359.5', '"bearing":"north"', {"gps-range"}),
    (0, '"device_position":{"x":0.0', '"device_position":{"x":0.5', {"world-offset"}),
    (1, '"device_position":{"x":1.5', '"device_position":{"x":1e5', {"coordinate-range"}),
    (1, '"device_position":{"x":1.5,', '"device_position":{', {"position-keys"}),
    (1, '"z":0.5,"w":-0.8660254037844386', '"z":0.0,"w":0.0', {"unit-quaternions"}),
    (1, '"w":-0.8660254037844386', '"q":-0.8660254037844386', {"heading-keys"}),
    (1, "1700000000200000000", "1700000000200000000.0", {"timestamps"}),
    (1, "1700000000200000000", "1700000000100000000", {"timestamps"}),
    (1, "1700000000200000000", "1700000000200000001", {"timestamps"}),
    (0, '"x":-31.007,"y":100.999', '"y":100.999,"x":-31.007', {"point-keys-and-order"}),
    (0, ',"is_ground":false', "", {"point-keys-and-order"}),
    (0, '"i":1.000', '"intensity":1.000', {"point-keys-and-order"}),
    (0, '{"x":-31.007', '7,{"x":-31.007', {"point-keys-and-order", "manifest-counts"}),
    (0, '"d":1', '"d":-1', {"point-values"}),
    (0, '"d":1', '"d":1.0', {"point-values"}),
    (0, '"is_ground":false', '"is_ground":0', {"point-values"}),
    (0, '"x":-31.007', '"x":"-31.007"', {"point-values"}),
    (0, '"x":-31.007', '"x":true', {"point-values"}),
    (0, '"x":-31.007', '"x":NaN', {"point-values", "no-nan"}),
    (0, '"x":-31.007', '"x":1e999', {"point-values", "no-nan"}),
    (0, '"x":-31.007', '"x":-31.01', {"point-decimals"}),
    (0, '"x":-31.007', '"x":-31', {"point-decimals"}),
    (0, '"x":-31.007', '"x":-3.1007e1', {"point-decimals"}),
    (1, '"i":0.001', '"i":0.0009', {"point-decimals"}),
    (1, '"i":0.001', '"i":1.001', {"intensity-range"}),
    (1, '"i":0.001', '"i":-0.001', {"intensity-range"}),
    (0, '"x":-31.007', '"x":100000.000', {"coordinate-range"}),
    (0, '"z": -0.000', '"z":-123456789.000', {"coordinate-range"}),
    (0, '"t":1700000000199999999', '"t":99999999', {"point-times"}),
    (0, '"t":1700000000199999999', '"t":9999999999999999999', {"point-times"}),
    (1, '{"points"', '{"points":[],"points"', {"json-unambiguous"}),
    (1, '"y":0.100', '"y":0.200,"y":0.100', {"json-unambiguous"}),
]


# What is done to the folder of a good scene, and the rules that must break.
def append(name: str, content: bytes) -> Callable[[Path], None]:
    def append_to(folder: Path) -> None:
        with (folder / name).open("ab") as file:
            file.write(content)

    return append_to


def replace_with_link(folder: Path) -> None:
    (folder / "top/000000.json").rename(folder.parent / "elsewhere.json")
    (folder / "top/000000.json").symlink_to(folder.parent / "elsewhere.json")


def replace_with_pipe(folder: Path) -> None:
    (folder / "top/000000.json").unlink()
    os.mkfifo(folder / "top/000000.json")


def flip_a_bit(name: str) -> Callable[[Path], None]:
    def flip(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[-4] ^= 1
        (folder / name).write_bytes(content)

    return flip


def oversize(name: str) -> Callable[[Path], None]:
    return lambda folder: os.truncate(folder / name, 0x1FFFFFE8 + 1)


NO_CLOUD = {"files-present", "urls-relative-exist"}
FOLDER_EDITS: list[tuple[str, Callable[[Path], None], set[str]]] = [
    ("image longer", append("front/000000.jpg", b"\0"), {"file-sizes"}),
    ("image changed", flip_a_bit("rear/000000.png"), {"checksums", "image-bytes-match-suffix"}),
    ("scene changed", flip_a_bit("scene.json"), {"checksums"}),
    ("scene gone", lambda folder: (folder / "scene.json").unlink(), {"files-present", "scene-readable"}),
    ("scene too large", oversize("scene.json"), {"file-sizes", "scene-readable"}),
    ("cloud too large", oversize("top/000001.json"), {"file-sizes", "cloud-readable"}),
    ("image gone", lambda folder: (folder / "rear/000000.png").unlink(), NO_CLOUD),
    ("cloud is a link", replace_with_link, NO_CLOUD),
    ("cloud is a pipe", replace_with_pipe, NO_CLOUD),
    ("stray file", append("top/notes.txt", b"hello"), {"no-stray-files"}),
    ("lock left", append(".lock", b" "), {"nothing-left-open"}),
    ("temporary file left", append("front/.000000.jpg.17.tmp", b" "), {"nothing-left-open"}),
    ("manifest gone", lambda folder: (folder / "manifest.json").unlink(), {"manifest-readable"}),
    ("manifest cut off", lambda folder: os.truncate(folder / "manifest.json", 100), {"manifest-readable"}),
]

JPEG, PNG = image(".jpg"), image(".png")
FILE_EDITS: list[tuple[str, bytes, set[str]]] = [
    ("front/000000.jpg", PNG, {"image-bytes-match-suffix"}),
    ("front/000000.jpg", JPEG[:-2], {"image-bytes-match-suffix"}),
    ("front/000000.jpg", b"", {"image-bytes-match-suffix"}),
    ("front/000000.jpg", b"GIF89a", {"image-bytes-match-suffix"}),
    ("rear/000000.png", JPEG, {"image-bytes-match-suffix"}),
    ("rear/000000.png", PNG[:40], {"image-bytes-match-suffix"}),
    ("top/000001.json", b"\xff\xfe", {"cloud-readable"}),
    ("top/000001.json", b"\xef\xbb\xbf" + CLOUDS[1].encode(), {"cloud-readable"}),
    ("top/000001.json", b"[" * 100_000, {"cloud-readable"}),
    ("scene.json", b"[]", {"scene-readable"}),
    ("scene.json", b'{"a":' * 100_000, {"scene-readable"}),
    ("scene.json", b"", {"scene-readable"}),
    ("manifest.json", b"null", {"manifest-readable"}),
    ("manifest.json", b"[" * 100_000, {"manifest-readable"}),
    ("manifest.json", b'{"format": "nucleus"', {"manifest-readable"}),
    ("left/000000.jpg", JPEG, {"files-used"}),
]


@pytest.mark.parametrize(("path", "value", "rules"), SCENE_EDITS)
def test_an_edited_scene_breaks_these_rules(
    recording: Recording, tmp_path: Path, path: str, value: object, rules: set[str]
) -> None:
    edit(recording.scene, path, value)
    assert broken(check(recording.write(tmp_path))) == rules


@pytest.mark.parametrize(("path", "value", "rules"), PARAMS_EDITS)
def test_edited_camera_params_break_these_rules(
    recording: Recording, tmp_path: Path, path: str, value: object, rules: set[str]
) -> None:
    edit_params(recording.scene, path, value)
    assert broken(check(recording.write(tmp_path))) == rules


@pytest.mark.parametrize(("path", "value", "rules"), MANIFEST_EDITS)
def test_an_edited_manifest_breaks_these_rules(
    recording: Recording, tmp_path: Path, path: str, value: object, rules: set[str]
) -> None:
    edit(recording.manifest, path, value)
    assert broken(check(recording.write(tmp_path))) == rules


@pytest.mark.parametrize(("frame", "old", "new", "rules"), CLOUD_EDITS)
def test_an_edited_cloud_breaks_these_rules(
    recording: Recording, tmp_path: Path, frame: int, old: str, new: str, rules: set[str]
) -> None:
    name = f"top/{frame:06d}.json"
    text = recording.files[name].decode()
    assert old in text
    recording.files[name] = text.replace(old, new, 1).encode()
    assert broken(check(recording.write(tmp_path))) == rules


@pytest.mark.parametrize(("name", "content", "rules"), FILE_EDITS)
def test_another_file_content_breaks_these_rules(
    recording: Recording, tmp_path: Path, name: str, content: bytes, rules: set[str]
) -> None:
    recording.files[name] = content
    assert broken(check(recording.write(tmp_path))) == rules


@pytest.mark.parametrize(("what", "damage", "rules"), FOLDER_EDITS)
def test_a_damaged_folder_breaks_these_rules(
    recording: Recording, tmp_path: Path, what: str, damage: Callable[[Path], None], rules: set[str]
) -> None:
    folder = recording.write(tmp_path)
    damage(folder)
    assert broken(check(folder)) == rules, what


def test_a_key_written_twice_breaks_the_rule_of_unambiguous_json(recording: Recording, tmp_path: Path) -> None:
    text = json.dumps(recording.scene)
    recording.files["scene.json"] = text.replace(
        '{"reference_id"', '{"reference_id": "first", "reference_id"', 1
    ).encode()
    assert broken(check(recording.write(tmp_path))) == {"json-unambiguous"}


@pytest.mark.parametrize(
    ("number", "record"),
    [
        (0, {"path": "../front/000000.jpg"}),
        (0, {"path": "/etc/passwd"}),
        (0, {"path": "front//000000.jpg"}),
        (0, {"path": "manifest.json"}),
        (0, {"bytes": "7"}),
        (0, {"sha256": "x" * 64}),
        (0, {"sha256": None}),
    ],
)
def test_an_unusable_entry_in_the_list_of_files_is_a_failure(
    recording: Recording, tmp_path: Path, number: int, record: dict[str, object]
) -> None:
    folder = recording.write(tmp_path)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["files"][number].update(record)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert broken(check(folder)) == {"manifest-files", "no-stray-files", "urls-relative-exist"}


def test_a_list_of_files_must_be_sorted_and_free_of_repetitions(recording: Recording, tmp_path: Path) -> None:
    folder = recording.write(tmp_path)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["files"].append(manifest["files"][0])
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert broken(check(folder)) == {"manifest-files"}


@pytest.mark.parametrize(
    ("scene_id", "rules"),
    [
        ("drive 20231114T221320.100000000Z", {"reference-id-characters", "reference-id-form"}),
        ("-20231114T221320.100000000Z", {"reference-id-form"}),
        ("drive-20231314T221320.100000000Z", {"reference-id-form"}),
        ("drive-20231114T221320.100Z", {"reference-id-form"}),
        ("drive-20231114T221320.100000001Z", {"reference-id-form"}),
        ("dri/ve-20231114T221320.100000000Z", {"reference-id-characters", "folder-name"}),
    ],
)
def test_a_scene_id_must_name_its_first_stamp(
    recording: Recording, tmp_path: Path, scene_id: str, rules: set[str]
) -> None:
    text = json.dumps([recording.scene, recording.manifest]).replace(SCENE_ID, scene_id)
    recording.scene, recording.manifest = json.loads(text)
    folder = recording.write(tmp_path)
    if "/" in scene_id:
        assert "reference-id-characters" in broken(check(folder))
        return
    folder = folder.rename(tmp_path / scene_id)
    assert broken(check(folder)) - {"item-id-form"} == rules


def test_a_folder_of_another_name_is_a_failure(recording: Recording, tmp_path: Path) -> None:
    folder = recording.write(tmp_path).rename(tmp_path / "copy")
    assert broken(check(folder)) == {"folder-name"}


@pytest.mark.parametrize("name", ["las", "pcd", 7, None])
def test_a_format_without_rules_is_a_failure(recording: Recording, tmp_path: Path, name: object) -> None:
    recording.manifest["format"] = name
    assert "format-known" in broken(check(recording.write(tmp_path)))


def test_two_clouds_in_a_frame_are_too_many(recording: Recording, tmp_path: Path) -> None:
    second = {**cloud(1), "reference_id": f"{SCENE_ID}-left-000001", "url": "left/000001.json"}
    recording.scene["frames"][1]["left"] = second
    recording.files["left/000001.json"] = CLOUDS[1].encode()
    rules = broken(check(recording.write(tmp_path)))
    assert rules == {"one-cloud-per-frame", "same-cloud-sensor", "manifest-sensors", "manifest-counts", "timestamps"}


@pytest.mark.parametrize("sensor", ["self", "front left", "..", ""])
def test_some_names_cannot_be_sensors(recording: Recording, tmp_path: Path, sensor: str) -> None:
    recording.scene["frames"][0][sensor] = recording.scene["frames"][0].pop("rear")
    assert "sensor-names" in broken(check(recording.write(tmp_path)))


def test_several_lidars_make_one_cloud_named_lidar(recording: Recording, tmp_path: Path) -> None:
    text = json.dumps(recording.scene).replace("-top-", "-lidar-").replace("top/", "lidar/").replace('"top"', '"lidar"')
    recording.scene = json.loads(text)
    recording.files = {name.replace("top/", "lidar/"): content for name, content in recording.files.items()}
    recording.manifest["sensors"]["left"] = {"kind": "lidar"}
    assert check(recording.write(tmp_path)).ok
    del recording.manifest["sensors"]["left"], recording.manifest["sensors"]["top"]
    assert broken(check(recording.write(tmp_path))) == {"manifest-sensors"}


def test_frames_stand_in_the_order_of_time(recording: Recording, tmp_path: Path) -> None:
    recording.scene["frames"].reverse()
    rules = broken(check(recording.write(tmp_path)))
    assert rules == {"frame-numbers", "timestamps", "camera-timestamps", "world-offset"}


def test_a_scene_may_have_300_items_and_no_more(recording: Recording, tmp_path: Path) -> None:
    def fill(frames: int) -> set[str]:
        recording.scene["frames"] = [{"top": cloud(number)} for number in range(frames)]
        recording.files = {}
        for number in range(frames):
            timestamp = str(FIRST_NS + number)
            text = (
                CLOUDS[1]
                .replace("1700000000200000000", timestamp)
                .replace('"x":1.5,"y":-0.25,"z":0.01', '"x":0,"y":0,"z":0')
            )
            recording.files[f"top/{number:06d}.json"] = text.encode()
        recording.manifest |= {"frames": frames, "items": frames, "points": frames, "missing": {}}
        return broken(check(recording.write(tmp_path / str(frames))))

    assert fill(300) == set()
    assert fill(301) == {"item-count"}


def test_a_failure_names_file_frame_and_item(recording: Recording, tmp_path: Path) -> None:
    recording.edit_file("top/000000.json", '"i":1.000', '"i":7.000')
    report = check(recording.write(tmp_path))
    (rule,) = (rule for rule in report.rules if not rule.ok)
    (failure,) = rule.failures
    assert (rule.rule, failure.file, failure.frame) == ("intensity-range", "top/000000.json", 0)
    assert failure.item == f"{SCENE_ID}-top-000000"
    assert failure.text == "point 1 has i = 7"


def test_one_failure_stands_for_all_points_of_a_file(recording: Recording, tmp_path: Path) -> None:
    text = recording.files["top/000000.json"].decode()
    recording.files["top/000000.json"] = text.replace('"i":0.5', '"i":1.5').replace('"i":1.0', '"i":2.0').encode()
    report = check(recording.write(tmp_path))
    (rule,) = (rule for rule in report.rules if not rule.ok)
    assert [failure.text for failure in rule.failures] == ["point 0 has i = 1.5, and so on in 2 points"]


def test_foreign_text_reaches_a_terminal_escaped(recording: Recording, tmp_path: Path) -> None:
    recording.scene["frames"][0]["front"]["reference_id"] = "\x1b[2J\ud800" + "a" * 10_000
    report = check(recording.write(tmp_path))
    for rule in report.rules:
        for failure in rule.failures:
            text = f"{failure.file} {failure.item} {failure.text}"
            assert text.isprintable()
            assert len(text) < 1000
            text.encode()


def test_all_scenes_of_a_spool_are_checked_and_counted(recording: Recording, tmp_path: Path) -> None:
    good = recording.write(tmp_path / "scenes")
    (tmp_path / "scenes" / "broken").mkdir()
    (tmp_path / "scenes" / ".hidden").mkdir()
    (tmp_path / "open" / "unfinished").mkdir(parents=True)
    calls: list[tuple[int, int]] = []
    reports = validate_path(tmp_path, progress=lambda done, total: calls.append((done, total)))
    assert [(report.path, report.ok) for report in reports] == [(tmp_path / "scenes" / "broken", False), (good, True)]
    assert calls == [(1, 2), (2, 2)]
    assert [report.path for report in validate_path(tmp_path / "scenes")] == [report.path for report in reports]


def test_an_empty_spool_has_no_scenes(tmp_path: Path) -> None:
    (tmp_path / "scenes").mkdir()
    assert validate_path(tmp_path) == []


@pytest.mark.parametrize("name", ["nowhere", "file", "empty"])
def test_anything_else_is_an_input_error_that_names_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "empty" / "folder").mkdir(parents=True)
    with pytest.raises(InputError, match=name):
        validate_path(tmp_path / name)


def test_every_rule_is_broken_by_some_test() -> None:
    """A rule that nothing breaks could be one that never fails."""
    tables = (SCENE_EDITS, PARAMS_EDITS, MANIFEST_EDITS, CLOUD_EDITS, FOLDER_EDITS, FILE_EDITS)
    tested = {rule for table in tables for row in table for rule in row[-1]}
    tested |= {"json-unambiguous", "manifest-files", "folder-name", "format-known", "reference-id-form", "item-count"}
    tested |= {"same-cloud-sensor", "sensor-names", "files-readable"}
    with tempfile.TemporaryDirectory() as parent:
        rules = {rule.rule for rule in check(Recording().write(Path(parent))).rules}
    assert rules == tested


def test_a_subfolder_that_cannot_be_listed_is_a_failure(recording: Recording, tmp_path: Path) -> None:
    folder = recording.write(tmp_path)
    opened = [os.open(folder, os.O_RDONLY)]
    for _ in range(20):  # longer than any path may be, so that nobody, not even root, can list it by its path
        os.mkdir("d" * 250, dir_fd=opened[-1])
        opened.append(os.open("d" * 250, os.O_RDONLY, dir_fd=opened[-1]))
    for descriptor in opened:
        os.close(descriptor)
    report = check(folder)
    shutil.rmtree(folder)
    assert broken(report) == {"files-readable"}


# Two ways to read a cloud: one regular expression over bytes of the promised form, and a JSON parser for every form.


@st.composite
def promised_clouds(draw: st.DrawFn) -> tuple[list[tuple[int, ...]], tuple[str, ...], str]:
    """Points as integers (thousandths, where there are decimals), their keys, and the text of the cloud."""
    keys = ("x", "y", "z", *(key for key in KEYS[3:] if draw(st.booleans())))
    values = {
        **dict.fromkeys(("x", "y", "z"), st.integers(-99_999_999, 99_999_999)),
        "i": st.integers(0, 1000),
        "d": st.integers(0, 255),
        "t": st.integers(0, 2**62),
        "is_ground": st.integers(0, 1),
    }
    points = draw(st.lists(st.tuples(*(values[key] for key in keys)), min_size=1, max_size=5))
    padding = draw(st.integers(0, 12))
    texts = [
        ",".join(f'"{key}":{written(key, value, padding)}' for key, value in zip(keys, row, strict=True))
        for row in points
    ]
    body = "},{".join(texts)
    return points, keys, f'{{"points":[{{{body}}}],"timestamp":17}}'


def written(key: str, value: int, padding: int) -> str:
    if key == "is_ground":
        return ["false", "true"][value].rjust(padding)
    if key in "dt":
        return str(value).rjust(padding)
    return f"{'-' if value < 0 else ''}{abs(value) // 1000}.{abs(value) % 1000:03d}".rjust(padding)


def assert_same(points: Points, others: Points) -> None:
    assert points.total == others.total
    assert list(points.numbers) == list(others.numbers)
    assert list(points.columns) == list(others.columns)
    for key, column in points.columns.items():
        np.testing.assert_array_equal(column, others.columns[key])


@given(promised_clouds())
def test_both_ways_of_reading_a_cloud_return_what_was_written(
    cloud_text: tuple[list[tuple[int, ...]], tuple[str, ...], str],
) -> None:
    rows, keys, text = cloud_text
    quick = read_promised_form(text.encode())
    assert quick is not None
    document, points = quick
    assert document.value == {"points": [], "timestamp": 17}
    assert not points.faults
    for column, key in enumerate(keys):
        scale = 1000 if key in ("x", "y", "z", "i") else 1
        np.testing.assert_array_equal(points.columns[key], [float(row[column]) / scale for row in rows])
    _, others = read_any_form(text.encode())
    assert not others.faults
    assert_same(points, others)


@settings(max_examples=400)
@given(st.sampled_from(CLOUDS), st.data())
def test_what_is_read_the_quick_way_is_faultless_the_thorough_way(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 3)))
    inserted = data.draw(st.text(st.sampled_from('0123456789.-+eE{}[],:" xyzidt_truefalsNI\n'), max_size=3))
    damaged = (text[:start] + inserted + text[end:]).encode()
    quick = read_promised_form(damaged)
    if quick is None:
        return
    document, others = read_any_form(damaged)
    assert not others.faults
    assert_same(quick[1], others)
    assert isinstance(document.value, dict)
    assert quick[0].value == {**document.value, "points": []}
    assert quick[0].duplicate_keys == document.duplicate_keys


# Whatever stands in the files, the answer is a report.

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([2**63, 10**308, 10**400, -0.0, 1e-320, 1.5, float("nan"), float("inf"), -float("inf")])
    | st.sampled_from(["", "a", "1.0", "\ud800", "\x00", "../x", "top/000000.json", "image", "fisheye", SCENE_ID])
    | st.text(max_size=5)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


def places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a document with each of its keys."""
    entries = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in list(entries):
        yield document, key
        if isinstance(value, (dict, list)):
            yield from places(value)


def mutate(document: Any, data: st.DataObject) -> None:
    """Replace, remove, rename or double something anywhere in a document."""
    container, key = data.draw(st.sampled_from(list(places(document))))
    action = data.draw(st.sampled_from(["replace", "remove", "copy", "add"]))
    if action == "remove":
        del container[key]
    elif action == "replace":
        container[key] = data.draw(VALUES)
    else:
        value = copy.deepcopy(container[key]) if action == "copy" else data.draw(VALUES)
        if isinstance(container, dict):
            other = data.draw(st.sampled_from(sorted(container)) | st.text(max_size=4) | st.just("self"))
            container[other] = value
        else:
            container.append(value)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_change_of_structure_gives_a_report(data: st.DataObject) -> None:
    recording = Recording()
    name = data.draw(st.sampled_from(["scene", "manifest", "top/000000.json", "top/000001.json"]))
    document = getattr(recording, name) if name in ("scene", "manifest") else json.loads(recording.files[name])
    for _ in range(data.draw(st.integers(1, 3))):
        if any(places(document)):
            mutate(document, data)
    if name not in ("scene", "manifest"):
        recording.files[name] = json.dumps(document).encode()
    with tempfile.TemporaryDirectory() as parent:
        report = check(recording.write(Path(parent)))
    assert_printable(report)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_change_of_bytes_gives_a_report_and_is_noticed(data: st.DataObject) -> None:
    recording = Recording()
    with tempfile.TemporaryDirectory() as parent:
        folder = recording.write(Path(parent))
        name = data.draw(st.sampled_from([*sorted(recording.files), "scene.json", "manifest.json"]))
        content = (folder / name).read_bytes()
        start = data.draw(st.integers(0, len(content)))
        end = data.draw(st.integers(start, len(content)))
        inserted = data.draw(st.binary(max_size=8) | st.sampled_from([b"[" * 50_000, b'"', b"9" * 5000, b"NaN", b"{}"]))
        damaged = content[:start] + inserted + content[end:]
        (folder / name).write_bytes(damaged)
        report = check(folder)
    assert_printable(report)
    assert damaged == content or name == "manifest.json" or not report.ok


def assert_printable(report: SceneReport) -> None:
    for rule in report.rules:
        for failure in rule.failures:
            assert f"{failure.file}{failure.item}{failure.text}".isprintable()


# What the service's own client refuses must be refused here.

CLIENT = """
import json, sys
from nucleus import LidarScene
for line in sys.stdin:
    try:
        print(json.dumps(json.loads(LidarScene.from_json(json.loads(json.loads(line))).to_json())), flush=True)
    except Exception as error:
        print(json.dumps(f"{type(error).__name__}: {error}"), flush=True)
"""

Client = Callable[[dict[str, Any]], Any]
"""Answers with the scene as it would be sent, or with a text that says why it is refused."""


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    python = os.environ.get("NUCLEUS_BRIDGE_CLIENT_PYTHON")
    if not python:
        pytest.skip("NUCLEUS_BRIDGE_CLIENT_PYTHON names no Python that has scale-nucleus")
    with subprocess.Popen(
        [python, "-c", CLIENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def ask(scene: dict[str, Any]) -> Any:
            process.stdin.write(json.dumps(json.dumps(scene)) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield ask
        process.stdin.close()


def twice_in_a_frame(scene: dict[str, Any]) -> None:
    scene["frames"][0]["rear"]["reference_id"] = scene["frames"][0]["front"]["reference_id"]


def twice_in_a_scene(scene: dict[str, Any]) -> None:
    scene["frames"][1]["front"]["reference_id"] = scene["frames"][0]["front"]["reference_id"]


def two_clouds(scene: dict[str, Any]) -> None:
    scene["frames"][0]["left"] = {**cloud(0), "reference_id": f"{SCENE_ID}-left-000000"}


def another_lidar(scene: dict[str, Any]) -> None:
    scene["frames"][1]["left"] = scene["frames"][1].pop("top")


def sensor_self(scene: dict[str, Any]) -> None:
    scene["frames"][0]["self"] = scene["frames"][0].pop("front")


def no_cloud(scene: dict[str, Any]) -> None:
    del scene["frames"][1]["top"]


def of(edit_one: Callable[[Any, str, object], None], path: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda scene: edit_one(scene, path, value)


REFUSED: list[Callable[[dict[str, Any]], None]] = [
    twice_in_a_frame,
    twice_in_a_scene,
    two_clouds,
    another_lidar,
    sensor_self,
    no_cloud,
    of(edit, "reference_id", DELETE),
    of(edit, "frames", []),
    of(edit, "frames", 3),
    of(edit, "frames/0", None),
    of(edit, "frames/0/top", "top/000000.json"),
    of(edit, "frames/0/front/reference_id", None),
    of(edit, "frames/0/front/reference_id", []),
    of(edit, "frames/0/front/url", DELETE),
    of(edit, "frames/0/front/url", "front/000000.jpeg"),
    of(edit, "frames/0/front/url", "front/000000.jpg?version=2"),
    of(edit, "frames/0/front/pointcloud_url", "top/000000.json"),
    of(edit, "frames/0/front/metadata", ["camera_params"]),
    *[
        of(edit_params, key, DELETE)
        for key in ("position", "heading", "fx", "fy", "cx", "cy", "position/x", "heading/w")
    ],
    of(edit_params, "position", [1.0, 2.0, 3.0]),
    of(edit_params, "heading", [0.0, 0.0, 0.0, 1.0]),
    *[of(edit_params, "camera_model", model) for model in ("omnidirectional", "cylindrical", "plumb_bob", "", 3)],
    of(edit_params, "fx", float("nan")),
    of(edit, "frames/0/front/metadata/camera_params/skew", float("inf")),
]

ACCOUNTS = {"manifest-counts", "manifest-sensors", "files-used"}
"""Rules that notice any change of structure, so that they prove nothing here."""


def broken_by_itself(scene: dict[str, Any]) -> set[str]:
    recording = Recording(scene=scene)
    with tempfile.TemporaryDirectory() as parent:
        return broken(check(recording.write(Path(parent)))) - ACCOUNTS


def test_the_client_reads_the_good_scene_and_would_send_it_unchanged(client: Client) -> None:
    scene = Recording().scene
    del scene["frames"][0]["rear"]["width"], scene["frames"][0]["rear"]["height"]  # it forgets them when it reads
    assert client(scene) == scene


@pytest.mark.parametrize("damage", REFUSED)
def test_what_the_client_refuses_is_a_failure(client: Client, damage: Callable[[dict[str, Any]], None]) -> None:
    scene = Recording().scene
    damage(scene)
    assert isinstance(client(scene), str)
    assert broken_by_itself(scene) != set()


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_whatever_else_the_client_refuses_is_a_failure_too(client: Client, data: st.DataObject) -> None:
    scene = Recording().scene
    mutate(scene, data)
    answer = client(scene)
    assert isinstance(answer, dict) or broken_by_itself(scene) != set(), answer
