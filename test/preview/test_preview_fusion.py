# SPDX-License-Identifier: Apache-2.0
"""Sensor-fusion scenes as a page: the same as the Nucleus scene of the drive, and omnidirectional cameras besides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsers import chromium
from drives import Drive, make_drive

from nucleus_bridge.calibration.lens import project
from nucleus_bridge.cli.main import main
from nucleus_bridge.convert import convert_bag
from nucleus_bridge.errors import SceneError
from nucleus_bridge.formats.content import SceneImage
from nucleus_bridge.formats.interface import SceneReader
from nucleus_bridge.formats.reading import open_scene
from nucleus_bridge.model import Transform
from nucleus_bridge.testing.demo import DriveOptions
from nucleus_bridge.testing.demo.cameras import cameras_of

FORMATS = ("nucleus", "sensor_fusion_json", "sensor_fusion_protobuf")
OPTIONS = DriveOptions(
    seconds=0.3,
    points=3_000,
    cameras=3,
    lidars=2,
    image_width=320,
    image_height=200,
    camera_model="plumb_bob,equidistant,omnidirectional",
)


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Drive:
    return make_drive(tmp_path_factory.mktemp("fusion"), OPTIONS)


@pytest.fixture(scope="module")
def scenes(drive: Drive) -> dict[str, SceneReader]:
    folder = drive.bag.parent
    made = {name: convert_bag(drive.bag, drive.config, folder / name, format=name) for name in FORMATS}
    return {name: open_scene(report.scenes[0].folder) for name, report in made.items()}


@pytest.mark.parametrize("name", FORMATS[1:])
def test_what_is_shown_is_what_the_nucleus_scene_shows(scenes: dict[str, SceneReader], name: str) -> None:
    nucleus, fusion = scenes["nucleus"], scenes[name]
    assert (len(fusion), fusion.cameras) == (len(nucleus), nucleus.cameras)
    for index in range(len(nucleus)):
        one, other = nucleus.frame(index), fusion.frame(index)
        assert np.abs(one.points.xyz - other.points.xyz).max() < 1e-4
        assert np.array_equal(one.points.intensity, other.points.intensity)
        assert np.abs(one.heading_xyzw - other.heading_xyzw).max() < 1e-6
        assert np.abs(one.position - other.position).max() < 1e-4
        assert abs(one.timestamp_ns - other.timestamp_ns) <= 128
        assert other.gps is not None
        assert [image.camera for image in other.images] == [image.camera for image in one.images]
        for mine, other_image in zip(one.images, other.images, strict=True):
            assert other_image.path.partition("/")[0] == other_image.camera
            assert (mine.path, mine.camera_index) == (other_image.path, other_image.camera_index)


def test_a_page_of_either_format_is_written(scenes: dict[str, SceneReader], tmp_path: Path) -> None:
    pages = {}
    for name, scene in scenes.items():
        path = tmp_path / f"{name}.html"
        assert main(["preview", str(scene.folder), "-o", str(path)]) == 0
        text = path.read_text()
        data = text[text.index('<script type="application/json"') :]
        pages[name] = json.loads(data[data.index(">") + 1 : data.index("</script>")])
    for page in pages.values():
        assert [frame["points"] for frame in page["frames"]] == [
            frame["points"] for frame in pages["nucleus"]["frames"]
        ]
        assert page["cameras"] == pages["nucleus"]["cameras"]
    assert pages["sensor_fusion_json"]["frames"][0]["images"]["left"]["params"]["camera_model"] == "omnidirectional"


def seen_by(drive: Drive, scene: SceneReader, camera: str) -> tuple[np.ndarray, np.ndarray, SceneImage]:
    """Return a frame's points in a camera's frame, the pixels that the demo's own lens gives them, and the image."""
    frame = scene.frame(0)
    image = next(image for image in frame.images if image.camera == camera)
    heading, at = image.heading_xyzw, image.position
    x, y, z, w = heading
    turn = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    local = (frame.points.xyz - at) @ turn
    lens = next(entry.lens for entry in cameras_of(OPTIONS) if entry.name == camera)
    return local, lens.pixels(local[local[:, 2] > 0.05]), image


def test_an_omnidirectional_camera_is_projected_as_its_lens_does(drive: Drive, scenes: dict[str, SceneReader]) -> None:
    local, _, image = seen_by(drive, scenes["sensor_fusion_json"], "left")
    ahead = local[(local[:, 2] > 0.5) & (np.hypot(local[:, 0], local[:, 1]) < 1.5 * local[:, 2])]
    lens = next(entry.lens for entry in cameras_of(OPTIONS) if entry.name == "left")
    still = Transform(np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]))
    found = project(local, still, image.model)
    assert len(found) == len(ahead) > 100
    assert np.abs(found - lens.pixels(ahead)).max() < 1e-6


def test_the_page_draws_points_where_the_lens_has_them(
    drive: Drive, scenes: dict[str, SceneReader], tmp_path: Path
) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: no browser here")
    program = chromium()
    scene, path = scenes["sensor_fusion_json"], tmp_path / "page.html"
    assert main(["preview", str(scene.folder), "-o", str(path)]) == 0
    with playwright.sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=program, args=["--no-sandbox", "--use-gl=swiftshader"])
        page = browser.new_page()
        page.goto(path.as_uri())
        page.evaluate("() => window.nucleusPreview.ready")
        page.evaluate("() => window.nucleusPreview.setFrame(0)")
        drawn = {
            camera: np.array(page.evaluate("(camera) => window.nucleusPreview.projected(camera)", camera))
            for camera in scene.cameras
        }
        browser.close()
    for camera, pixels in drawn.items():
        _, truth, _ = seen_by(drive, scene, camera)
        assert len(pixels) > 100
        nearest = np.sqrt(((pixels[:, None, :2] - truth[None]) ** 2).sum(axis=2)).min(axis=1)
        assert np.quantile(nearest, 0.99) < 1.0


def test_a_damaged_frame_is_named(scenes: dict[str, SceneReader], tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(scenes["sensor_fusion_protobuf"].folder, tmp_path / "scene"))
    (folder / "frames/000001.pb").write_bytes(b"\x09")
    with pytest.raises(SceneError, match=r"000001\.pb"):
        open_scene(folder).frame(1)
    folder = Path(shutil.copytree(scenes["sensor_fusion_json"].folder, tmp_path / "other"))
    frame: dict[str, Any] = {"points": [], "images": []}
    (folder / "frames/000001.json").write_text(json.dumps(frame).replace(" ", ""))
    with pytest.raises(SceneError, match=r"000001\.json: is not a frame"):
        open_scene(folder).frame(1)
