# SPDX-License-Identifier: Apache-2.0
"""Fuzzed: what people and other programs write for us: parameter files, overrides, calibrations, sealed scenes."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import yaml
from bags import CONFIG, recording, write_config
from harness import Target, is_refused, scratch_folder
from recording_targets import YAML

from nucleus_bridge.config import load_config
from nucleus_bridge.config.task_template import load_task_template
from nucleus_bridge.convert import convert_bag
from nucleus_bridge.decode.camera_info import load_calibration
from nucleus_bridge.errors import BridgeError, ConfigError, SceneError
from nucleus_bridge.formats import registry
from nucleus_bridge.formats.reading import open_scene
from nucleus_bridge.preview.html_page import preview_page
from nucleus_bridge.spool import Manifest, Spool, conversions
from nucleus_bridge.spool.quota import read_drops
from nucleus_bridge.spool.state import SceneState, StateBook
from nucleus_bridge.testing.demo import DriveOptions, demo_config
from nucleus_bridge.testing.receiver.content import check_cloud
from nucleus_bridge.upload.nucleus.payload import sent_scene
from nucleus_bridge.validate.scenes import validate_path

SCRATCH = scratch_folder("fuzzed-texts-")
CALIBRATION = b"""image_width: 640
image_height: 480
camera_name: front
camera_matrix: {rows: 3, cols: 3, data: [500.0, 0, 320, 0, 500.5, 240, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0.1, -0.2, 1e-3, 0, 0]}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [490.0, 0, 320, 0, 0, 490, 240, 0, 0, 0, 1, 0]}
"""
JSON = (b"NaN", b"Infinity", b"1e999", b"-0.0", b"9" * 400, b"null", b"true", b"{}", b"[]", b'""', b'"', b"[" * 2000)
JSON += (b"\\ud800", b"\\u0000", b"../", b"/etc/passwd", b',"points":', b'"url":', b'"reference_id":', b"1.", b"\xff")


def use_config(data: bytes) -> None:
    path = SCRATCH / "config.yaml"
    path.write_bytes(data)
    config = load_config(path)
    assert config.digest
    assert len({sensor.name for sensor in config.lidars}) == len(config.lidars)


def use_override(data: bytes) -> None:
    load_config(write_config(SCRATCH), [data.decode(errors="surrogateescape")])


def use_calibration(data: bytes) -> None:
    path = SCRATCH / "calibration.yaml"
    path.write_bytes(data)
    info = load_calibration(path)
    assert info.width > 0
    assert len(info.k) == 9


@cache
def spool() -> Spool:
    """Give a spool with one scene that was once uploaded."""
    bag = recording(frames=2).write(SCRATCH / "bag")
    convert_bag(bag, write_config(SCRATCH), SCRATCH / "spool")
    made = Spool(SCRATCH / "spool")
    book = StateBook(made)
    book.create()
    book.write(book.get(made.scenes()[0].name), SceneState.STORING, store="file:///tmp/store")
    return made


def scene_file(path: str) -> Path:
    return spool().scenes()[0] / path


def cloud_path() -> Path:
    return scene_file("top/000000.json")


def with_file(path: Callable[[], Path], use: Callable[[], object], data: bytes) -> None:
    """Put the bytes in the place of a file of the scene while it is used."""
    file = path()
    whole = file.read_bytes()
    file.write_bytes(data)
    try:
        use()
    finally:
        file.write_bytes(whole)


def use_template(name: str, data: bytes) -> None:
    path = SCRATCH / name
    path.write_bytes(data)
    request = load_task_template(path).request(
        "drive", ["s3://bucket/drive/0.json"], {"attachment_type": "json"}, "0" * 64
    )
    assert json.loads(json.dumps(request, allow_nan=False))["unique_id"] == "drive"


def use_scene() -> int:
    """Read a scene in every way there is; each may refuse it, returns how many did."""
    folder = spool().scenes()[0]
    (report,) = validate_path(folder)
    assert not any("Traceback" in str(failure) for rule in report.rules for failure in rule.failures)
    reads = (
        lambda: StateBook(spool()).get(folder.name),
        lambda: sent_scene(folder, Manifest.read(folder), lambda paths: [f"s3://bucket/{path}" for path in paths]),
        lambda: preview_page(open_scene(folder), lambda _: None),
    )
    return sum(is_refused(read, (BridgeError,)) for read in reads)


def use_cloud(data: bytes) -> None:
    with_file(cloud_path, use_scene, data)
    check_cloud(data, strict=True)


@cache
def frame_scene(scene_format: str) -> Path:
    """Give a scene of frame files."""
    bag = recording(frames=2).write(SCRATCH / f"bag-{scene_format}")
    return convert_bag(bag, write_config(SCRATCH), SCRATCH / scene_format, format=scene_format).scenes[0].folder


def use_frame(scene_format: str, suffix: str, data: bytes) -> None:
    """Read a scene with such a frame in the ways that need no upload."""
    folder = frame_scene(scene_format)

    def use() -> None:
        (report,) = validate_path(folder)
        assert not any("Traceback" in str(failure) for rule in report.rules for failure in rule.failures)
        manifest = Manifest.read(folder)
        registry.of(scene_format).track(folder, manifest)
        preview_page(open_scene(folder), lambda _: None)

    with_file(lambda: folder / f"frames/000000{suffix}", use, data)


def frame_target(kind: str, suffix: str) -> Target:
    name = f"sensor_fusion_{kind}"
    seeds = lambda: [(frame_scene(name) / f"frames/000000{suffix}").read_bytes()]  # noqa: E731 - made when asked for
    return Target(f"frame_{kind}", partial(use_frame, name, suffix), seeds, (BridgeError,), tokens=JSON, cases=300)


def use_state_files() -> None:
    folder = spool().scenes()[0]
    record = StateBook(spool()).get(folder.name)
    assert record.state in (SceneState.SEALED, SceneState.UNVERIFIED, SceneState.STORING)
    assert all(isinstance(row.state, SceneState) for row in StateBook(spool()).all())


def use_notes(data: bytes) -> None:
    """The small files that the spool keeps for itself: a damaged one counts as absent."""
    place = spool().path
    (place / "drops.json").write_bytes(data)
    assert all(isinstance(count, int) for count in read_drops(spool()).values())
    (note,) = (place / conversions.FOLDER).glob("*.json")
    with_file(lambda: note, lambda: conversions.find(spool(), note.stem), data)
    (state,) = (place / "state").glob("*.json")
    with_file(lambda: state, use_state_files, data)


def file_target(name: str, path: str, cases: int) -> Target:
    return Target(
        name,
        partial(with_file, lambda: scene_file(path), use_scene),
        lambda: [scene_file(path).read_bytes()],
        (),
        tokens=JSON,
        cases=cases,
    )


def notes() -> list[bytes]:
    place = spool().path
    files = [*(place / conversions.FOLDER).glob("*.json"), *(place / "state").glob("*.json")]
    return [b'{"dropped_oldest": 2}', *(file.read_bytes() for file in files)]


def long_config() -> bytes:
    return demo_config(DriveOptions(lidars=2, cameras=2)).encode()


TEMPLATE = {
    "labels": ["car", {"choice": "vehicle", "subchoices": ["bus", "truck"]}],
    "instruction": "Mark what moves.",
    "metadata": {"route": 7},
    "extra": {"new_setting": [1.5, None]},
}
TARGETS = [
    Target(
        "task_template",
        partial(use_template, "template.yaml"),
        lambda: [yaml.safe_dump(TEMPLATE).encode(), b"labels: [car]\npriority: 20\n"],
        (ConfigError,),
        tokens=YAML,
        cases=1_000,
    ),
    Target(
        "task_template_json",
        partial(use_template, "template.json"),
        lambda: [json.dumps(TEMPLATE).encode()],
        (ConfigError,),
        tokens=JSON,
        cases=1_000,
    ),
    Target("config", use_config, lambda: [CONFIG.encode(), long_config()], (ConfigError,), tokens=YAML, cases=1_000),
    Target(
        "override",
        use_override,
        lambda: [b"scene.prefix=tuesday", b"lidar_names=[top]", b"lidars.top.max_range_m=1e2", b"metadata.a=b"],
        (ConfigError,),
        tokens=[*YAML, b"=", b"cameras.front.", b"lidars.top."],
        cases=500,
    ),
    Target("calibration", use_calibration, lambda: [CALIBRATION], (ConfigError,), tokens=YAML, cases=1_000),
    file_target("manifest", "manifest.json", 300),
    file_target("scene", "scene.json", 300),
    Target("cloud", use_cloud, lambda: [cloud_path().read_bytes()], (SceneError,), tokens=JSON, cases=300),
    frame_target("json", ".json"),
    frame_target("protobuf", ".pb"),
    Target("notes", use_notes, notes, (), tokens=JSON, cases=500),
]
