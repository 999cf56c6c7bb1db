# SPDX-License-Identifier: Apache-2.0
"""A good scene passes every rule, and each single damage breaks the rules that it should."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from good_scene import CLOUDS, DELETE, FIRST_NS, SCENE_ID, Recording, broken, check, edit, edit_params, image


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
    ("metadata", [], {"metadata-scalars"}),
    ("metadata/city", [7], {"metadata-scalars"}),
    ("frames/0/top/metadata", None, {"metadata-scalars"}),
    ("frames/0/top/metadata", [1], {"metadata-scalars"}),
    ("frames/0/front/metadata/rain", None, {"metadata-scalars"}),
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


def test_every_rule_is_broken_by_some_test() -> None:
    """A rule that nothing breaks could be one that never fails."""
    tables = (SCENE_EDITS, PARAMS_EDITS, MANIFEST_EDITS, CLOUD_EDITS, FOLDER_EDITS, FILE_EDITS)
    tested = {rule for table in tables for row in table for rule in row[-1]}
    tested |= {"json-unambiguous", "manifest-files", "folder-name", "format-known", "reference-id-form", "item-count"}
    tested |= {"same-cloud-sensor", "sensor-names", "files-readable"}
    with tempfile.TemporaryDirectory() as parent:
        rules = {rule.rule for rule in check(Recording().write(Path(parent))).rules}
    assert rules == tested
