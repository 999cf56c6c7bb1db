# SPDX-License-Identifier: Apache-2.0
"""The bench of the review page in a real browser: what its controls do, and that what is read off it is right."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from drives import Drive, make_drive
from tabs import PAINTED, Tab

from nucleus_bridge.cli.main import main
from nucleus_bridge.config import load_config
from nucleus_bridge.convert import convert_bag
from nucleus_bridge.formats.content import SceneImage
from nucleus_bridge.formats.interface import SceneReader
from nucleus_bridge.formats.reading import open_scene
from nucleus_bridge.preview.checks import calibration_check
from nucleus_bridge.preview.pack import as_gray, decoded, look_at
from nucleus_bridge.preview.silhouettes import Outlines, with_feet
from nucleus_bridge.testing.demo import DriveOptions

AXES = ("pitch", "yaw", "roll", "right", "down", "ahead", "ms")
NOTHING = "# move a slider"


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Drive:
    """Three seconds of driving past poles, vans and houses; the lidar's point times reach the scene."""
    options = DriveOptions(seconds=3.0, points=30_000, cameras=3, image_width=640, image_height=400, standing_s=0.0)
    drive = make_drive(tmp_path_factory.mktemp("street"), options)
    text = drive.config_path.read_text()
    drive.config_path.write_text(text.replace("point_fields: [intensity]", "point_fields: [intensity, time]"))
    return drive


def page_of(drive: Drive, config: Path, folder: Path) -> tuple[Path, Path]:
    """Convert with a configuration; return the scene's folder and its page."""
    scene = convert_bag(drive.bag, load_config(config), folder / "spool").scenes[0].folder
    path = folder / "page.html"
    assert main(["preview", str(scene), "-o", str(path)]) == 0
    return scene, path


@pytest.fixture(scope="module")
def right(street: Drive, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return page_of(street, street.config_path, tmp_path_factory.mktemp("right"))


@pytest.fixture(scope="module")
def shared(browser: Any, right: tuple[Path, Path]) -> Tab:
    return Tab(browser, right[1])


@pytest.fixture
def bench(shared: Tab) -> Iterator[Tab]:
    """The bench, open on the camera that looks ahead, with nothing changed."""
    shared.run("() => window.nucleusPreview.setFrame(12)")
    shared.run("() => window.nucleusPreview.bench.open('front')")
    shared.page.locator("#benchReset").click()
    yield shared
    if shared.run("() => window.nucleusPreview.bench.isOpen"):
        shared.page.locator("#benchReset").click()
        shared.page.locator("#benchKeep").click()
        shared.page.locator("#benchFit").click()
        shared.page.locator("#benchClose").click()
    assert shared.complaints == []


def settle(tab: Tab) -> None:
    tab.run("() => window.nucleusPreview.bench.draw()")
    tab.run(PAINTED)


def shot(tab: Tab, selector: str = "#benchMain") -> np.ndarray:
    settle(tab)
    return tab.canvas(selector)


def lines_of(tab: Tab) -> str:
    return str(tab.page.locator("#benchConfig").input_value())


# --- what is read off is right


def rotation(quaternion: Any) -> np.ndarray:
    x, y, z, w = quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def degrees_between(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.degrees(np.linalg.norm(cv2.Rodrigues(one.T @ other)[0])))


def away_from_truth(scene: Path, camera: str, truth: dict[str, Any]) -> list[float]:
    """By how many degrees a camera's poses in a scene are off, by the truth alone."""
    known = {image["stamp_ns"]: image["map_from_camera"] for image in truth["cameras"][camera]["images"]}
    payload = json.loads((scene / "scene.json").read_text())
    found = []
    for frame in payload["frames"]:
        params = frame[camera]["metadata"]["camera_params"]
        heading = rotation([params["heading"][axis] for axis in "xyzw"])
        found.append(degrees_between(rotation(known[params["timestamp"]]["rotation_xyzw"]), heading))
    return found


def pasted(config: Path, lines: str, to: Path) -> Path:
    """Paste lines below ``ros__parameters`` as a person would."""
    text = config.read_text()
    to.write_text(text + ("" if text.endswith("\n") else "\n") + lines)
    return to


def corrections_of(tab: Tab, camera: str) -> list[dict[str, Any] | None]:
    """The poses that the page draws a camera's frames with."""
    return tab.run(
        """(camera) => { const p = window.nucleusPreview, found = [];
        for (let i = 0; i < p.frames; i++) { p.look.frame = i; found.push(p.corrected(camera)); }
        return found; }""",
        camera,
    )


def test_pasted_lines_give_the_poses_that_the_bench_showed(
    bench: Tab, street: Drive, right: tuple[Path, Path], tmp_path: Path
) -> None:
    change = {"pitch": 1.2, "yaw": -3.0, "roll": 0.7, "right": 0.12, "down": -0.05, "ahead": 0.3}
    for key, value in change.items():
        bench.page.locator(f"#bench-{key}-exact").fill(str(value))
    lines = lines_of(bench)
    bench.page.locator("#benchCamera").select_option("left")
    bench.page.locator("#bench-ms-exact").fill("40")
    lines += lines_of(bench)
    shown = {camera: corrections_of(bench, camera) for camera in ("front", "left")}
    bench.page.locator("#benchReset").click()
    converted = convert_bag(
        street.bag, load_config(pasted(street.config_path, lines, tmp_path / "c.yaml")), tmp_path / "spool"
    )
    new, old = open_scene(converted.scenes[0].folder), open_scene(right[0])
    moved = offset_of(old) - offset_of(new)
    for camera, by_ms in (("front", 0), ("left", 40)):
        before, after = images_of(old, camera), {image.stamp_ns: image for image in images_of(new, camera)}
        compared = 0
        for image, pose in zip(before, shown[camera], strict=True):
            found = after.get(image.stamp_ns + by_ms * 10**6)
            if found is None or pose is None:
                continue
            compared += 1
            assert np.abs(found.position - moved - pose["at"]).max() < 0.01
            assert degrees_between(rotation(pose["turn"]), rotation(found.heading_xyzw)) < 0.05
        assert compared > 25


def images_of(scene: SceneReader, camera: str) -> list[SceneImage]:
    frames = (scene.frame(index, 1) for index in range(len(scene)))
    return [image for frame in frames for image in frame.images if image.camera == camera]


def offset_of(scene: SceneReader) -> np.ndarray:
    return np.array([scene.manifest.world_offset[axis] for axis in "xyz"])


def test_lines_for_a_frame_with_body_axes_give_the_same_pose(
    browser: Any, street: Drive, right: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "scene"
    shutil.copytree(right[0], folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sensors"]["front"]["frame_convention"] = "body"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert main(["preview", str(folder), "-o", str(tmp_path / "page.html")]) == 0
    tab = Tab(browser, tmp_path / "page.html")
    tab.run("() => window.nucleusPreview.bench.open('front')")
    tab.page.locator("#bench-pitch-exact").fill("-1.5")
    lines = lines_of(tab) + "    cameras.front.frame_convention: body\n"
    shown = corrections_of(tab, "front")
    tab.page.close()
    config = pasted(street.config_path, lines, tmp_path / "c.yaml")
    scene = open_scene(convert_bag(street.bag, load_config(config), tmp_path / "spool").scenes[0].folder)
    assert scene.manifest.sensors["front"]["frame_convention"] == "body"
    for image, pose in zip(images_of(scene, "front"), shown, strict=True):
        assert pose is not None
        assert np.abs(image.position - pose["at"]).max() < 0.01
        assert degrees_between(rotation(pose["turn"]), rotation(image.heading_xyzw)) < 0.05


@pytest.mark.parametrize(("camera", "wrong"), [("front", {"pitch": 3.0}), ("left", {"yaw": 2.2, "roll": -2.0})])
def test_a_calibration_that_is_three_degrees_off_is_brought_back(
    browser: Any, bench: Tab, street: Drive, tmp_path: Path, camera: str, wrong: dict[str, float]
) -> None:
    bench.page.locator("#benchCamera").select_option(camera)
    for key, value in wrong.items():
        bench.page.locator(f"#bench-{key}-exact").fill(str(value))
    config = pasted(street.config_path, lines_of(bench), tmp_path / "wrong.yaml")
    bench.page.locator("#benchReset").click()
    scene, page = page_of(street, config, tmp_path / "wrong")
    size = math.sqrt(sum(value * value for value in wrong.values()))
    assert np.abs(np.array(away_from_truth(scene, camera, street.truth)) - size).max() < 0.05
    tab = Tab(browser, page)
    tab.run("(camera) => window.nucleusPreview.bench.open(camera)", camera)
    tab.page.locator("#findRotation").click()
    tab.page.wait_for_function("() => !document.getElementById('findRotation').disabled", timeout=240_000)
    assert "found" in tab.page.locator("#benchFinding").text_content()
    repaired = pasted(street.config_path, lines_of(tab), tmp_path / "repaired.yaml")
    tab.page.close()
    scene = convert_bag(street.bag, load_config(repaired), tmp_path / "spool").scenes[0].folder
    assert max(away_from_truth(scene, camera, street.truth)) < 0.2


def test_a_measured_correction_is_taken_over(bench: Tab) -> None:
    before = bench.run("() => window.nucleusPreview.corrected('front')")
    correction = {"rotation_deg": [1.5, -2.0, 0.8], "shift_m": [0.1, -0.2, 0.05], "time_ms": 0}
    assert not bench.page.locator("#benchTake").is_visible()
    bench.run("(correction) => window.nucleusPreview.bench.take(correction)", correction)
    after = bench.run("() => window.nucleusPreview.corrected('front')")
    turn = cv2.Rodrigues(np.radians(correction["rotation_deg"]))[0]
    heading = rotation(before["turn"])
    assert degrees_between(heading @ turn, rotation(after["turn"])) < 0.002
    assert np.abs(heading @ correction["shift_m"] + before["at"] - after["at"]).max() < 1e-3


def test_feet_of_walls_that_were_found_to_measure_cameras_are_outlines_too(right: tuple[Path, Path]) -> None:
    """They lie on the ground of the demo, which is flat, and each has a direction: upwards."""
    scene = open_scene(right[0])
    check, outlines = calibration_check(scene, len(scene), None), Outlines()
    frames = [scene.frame(index) for index in range(10, 16)]
    for frame in frames:
        pictures = {}
        for image in frame.images:
            content = scene.image(image)
            header = look_at(content, image)
            pictures[image.camera] = as_gray(decoded(content, header, image, 640)), header.width
        check.add(frame, pictures)
        outlines.passed(frame)
    assert check.scanner.found_in(frames[0]) == []
    alone = outlines.of(frames[-1], 3_000)
    found = with_feet(alone, check.scanner.found_in(frames[-1]))
    count = len(alone.points)
    assert np.array_equal(found.points[:count], alone.points)
    feet, beyond = found.points[count:], found.beyond[count:]
    ground = np.percentile(np.asarray(frames[-1].points.xyz)[:, 2], 20)
    assert len(feet) > 50
    assert np.percentile(np.abs(feet[:, 2] - ground), 90) < 0.15
    assert ((beyond - feet)[:, 2] > 0).all()
    assert (found.weights[count:] == 1).all()
    assert with_feet(alone, []) is alone


def test_stamps_that_are_off_are_found(bench: Tab) -> None:
    bench.page.locator("#benchCamera").select_option("left")
    bench.page.locator("#bench-ms-exact").fill("-80")
    bench.page.locator("#findTime").click()
    bench.page.wait_for_function("() => !document.getElementById('findTime').disabled", timeout=240_000)
    assert abs(float(bench.page.locator("#bench-ms-exact").input_value())) < 15


def test_a_position_that_is_off_is_found(bench: Tab) -> None:
    bench.page.locator("#benchCamera").select_option("left")
    bench.page.locator("#bench-ahead-exact").fill("0.1")
    bench.page.locator("#bench-right-exact").fill("0.3")
    bench.page.locator("#findPosition").click()
    bench.page.wait_for_function("() => !document.getElementById('findPosition').disabled", timeout=240_000)
    assert abs(float(bench.page.locator("#bench-right-exact").input_value())) < 0.1


def test_lines_are_yaml_whatever_a_frame_is_called(browser: Any, right: tuple[Path, Path], tmp_path: Path) -> None:
    evil = 'x"\n    upload: {store: "s3://theirs"} </textarea><script>window.pwned=1</script>'
    folder = tmp_path / "scene"
    shutil.copytree(right[0], folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sensors"]["front"]["frame_id"] = evil
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert main(["preview", str(folder), "-o", str(tmp_path / "page.html")]) == 0
    tab = Tab(browser, tmp_path / "page.html")
    tab.run("() => window.nucleusPreview.bench.open('front')")
    tab.page.locator("#bench-yaw-exact").fill("1")
    read = yaml.safe_load(lines_of(tab))
    assert set(read) == {"mount_names", "mounts"}
    assert read["mounts"]["front_corrected"]["child_frame"] == evil
    assert tab.run("() => window.pwned === undefined")
    assert tab.complaints == []
    tab.page.close()


# --- what the controls do


@pytest.mark.parametrize("axis", AXES)
def test_each_slider_moves_the_points_on_all_frames_at_once(bench: Tab, axis: str) -> None:
    before, strip = shot(bench), shot(bench, "#benchStrip")
    most = float(bench.page.locator(f"#bench-{axis}").get_attribute("max"))
    bench.page.locator(f"#bench-{axis}").fill(str(most / 2))
    assert float(bench.page.locator(f"#bench-{axis}-exact").input_value()) == most / 2
    assert (shot(bench) != before).any(axis=2).mean() > 0.005
    after = shot(bench, "#benchStrip")
    images = bench.page.locator("#benchStrip canvas").count()
    changed = (after != strip).any(axis=(0, 2))
    shares = [part.mean() for part in np.array_split(changed, images)]
    assert images == 12
    assert min(shares[1:-1]) > 0.05
    assert NOTHING not in lines_of(bench)
    bench.page.locator("#benchReset").click()
    assert NOTHING in lines_of(bench)
    assert (shot(bench) != before).any(axis=2).mean() < 0.001


def test_the_score_is_best_where_the_calibration_is_right(bench: Tab) -> None:
    score = "() => window.nucleusPreview.bench.result"
    right = bench.run(score)["B"]
    for axis, value in (("pitch", 1), ("yaw", -1), ("roll", 2)):
        bench.page.locator(f"#bench-{axis}-exact").fill(str(value))
        assert bench.run(score)["B"] < right - 0.05
        assert bench.run(score)["A"] == right
        bench.page.locator("#benchReset").click()
    assert f"A {right:.2f}" in bench.page.locator("#benchScore").text_content()
    drawn = bench.run("() => window.nucleusPreview.bench.drawnCurves")
    bench.page.locator("#bench-yaw-exact").fill("0.5")
    bench.page.wait_for_function("(drawn) => window.nucleusPreview.bench.drawnCurves > drawn", arg=drawn)


def test_keys_choose_a_slider_and_move_it(bench: Tab) -> None:
    value = "(key) => window.nucleusPreview.bench.setting.B[key]"
    for number, axis in enumerate(AXES, 1):
        step = float(bench.page.locator(f"#bench-{axis}").get_attribute("step"))
        bench.page.keyboard.press(str(number))
        for key in ("]", "]", "[", "}", "{", "]"):
            bench.page.keyboard.press(key)
        assert bench.run(value, axis) == pytest.approx(2 * step)
    bench.page.keyboard.press("ArrowRight")  # the slider has the focus
    assert bench.run(value, "ms") == pytest.approx(3)
    assert bench.run("() => window.nucleusPreview.frame") == 12
    bench.page.keyboard.press("r")
    assert bench.run(value, "ms") == 0
    bench.page.locator("#bench").focus()
    bench.page.keyboard.press("ArrowRight")
    assert bench.run("() => window.nucleusPreview.frame") == 13


def test_a_and_b_swap_and_blink(bench: Tab) -> None:
    as_it_was = shot(bench)
    bench.page.locator("#bench-yaw-exact").fill("2")
    moved = shot(bench)
    bench.page.locator("#benchSwap").click()
    assert (shot(bench) != as_it_was).any(axis=2).mean() < 0.001
    bench.page.keyboard.press("b")
    assert (shot(bench) != moved).any(axis=2).mean() < 0.001
    bench.page.locator("#benchBlink").click()
    for shows in ("A", "B", "A"):
        bench.page.wait_for_function("(shows) => window.nucleusPreview.bench.setting.shows === shows", arg=shows)
    bench.page.keyboard.press("k")
    assert bench.page.locator("#benchBlink").get_attribute("aria-pressed") == "false"
    bench.page.locator("#bench-yaw-exact").fill("2")
    bench.page.locator("#benchKeep").click()
    bench.page.locator("#benchReset").click()
    assert "yaw +2" in bench.page.locator("#benchA").text_content()
    bench.page.locator("#benchSwap").click()
    assert (shot(bench) != moved).any(axis=2).mean() < 0.001


def test_two_frames_stand_side_by_side(bench: Tab) -> None:
    assert not bench.page.locator("#benchBeside").is_visible()
    bench.page.locator("#benchSide").click()
    bench.page.locator("#benchOther").fill("3")
    one, other = shot(bench), shot(bench, "#benchBeside")
    assert one.shape == other.shape
    assert (one != other).any(axis=2).mean() > 0.05
    assert "frame 4" in bench.page.locator("#benchBesideNote").text_content()
    bench.page.keyboard.press("v")
    assert not bench.page.locator("#benchBeside").is_visible()


def test_the_image_is_zoomed_and_moved(bench: Tab) -> None:
    note = bench.page.locator("#benchMainNote")
    whole = shot(bench)
    bench.page.locator("#benchIn").click()
    bench.page.keyboard.press("+")
    closer = shot(bench)
    assert (closer != whole).any(axis=2).mean() > 0.2
    bench.page.keyboard.press("-")
    bench.page.locator("#benchOut").click()
    assert (shot(bench) != whole).any(axis=2).mean() < 0.1
    bench.page.locator("#benchFull").click()
    settle(bench)
    assert " 100 %" in note.text_content()
    box = bench.page.locator("#benchMain").bounding_box()
    bench.page.mouse.move(box["x"] + 300, box["y"] + 200)
    bench.page.mouse.wheel(0, -500)
    bench.page.wait_for_function("() => window.nucleusPreview.bench.view.scale > 1.5")
    before = shot(bench)
    bench.page.mouse.down()
    bench.page.mouse.move(box["x"] + 360, box["y"] + 250, steps=3)
    bench.page.mouse.up()
    after = shot(bench)
    same = (after[60:300, 70:400].astype(int) - before[10:250, 10:340]).__abs__().max(axis=2) < 30
    assert same.mean() > 0.9
    bench.page.locator("#benchMain").dblclick()
    assert (shot(bench) != whole).any(axis=2).mean() < 0.001


@pytest.mark.parametrize("colour", ["height", "intensity", "time", "lidar"])
def test_points_are_coloured_by_what_is_chosen(bench: Tab, colour: str) -> None:
    by_depth = shot(bench)
    bench.page.locator("#imageColour").select_option(colour)
    assert (shot(bench) != by_depth).any(axis=2).mean() > 0.005
    bench.page.locator("#imageColour").select_option("depth")
    assert (shot(bench) != by_depth).any(axis=2).mean() < 0.001


def test_points_grow_fade_and_go(bench: Tab) -> None:
    before = shot(bench)
    for control, value in (("overlaySize", "6"), ("imageFade", "1")):
        usual = bench.page.locator(f"#{control}").input_value()
        bench.page.locator(f"#{control}").fill(value)
        assert (shot(bench) != before).any(axis=2).mean() > 0.01
        bench.page.locator(f"#{control}").fill(usual)
    bench.page.keyboard.press("p")
    assert (shot(bench) != before).any(axis=2).mean() > 0.01
    bench.page.keyboard.press("p")
    assert (shot(bench) != before).any(axis=2).mean() < 0.001


def test_points_behind_nearer_ones_are_hidden(bench: Tab) -> None:
    """Each hidden point has a much nearer one beside it, and no point that is hidden is nearer than all around it."""
    before = shot(bench)
    bench.page.keyboard.press("o")
    assert (shot(bench) != before).any(axis=2).mean() > 0.0005
    bench.page.keyboard.press("o")
    points = np.array(bench.run("() => window.nucleusPreview.projected('front')"))
    hidden = np.array(bench.run("() => window.nucleusPreview.hidden('front')"), bool)
    assert 20 < hidden.sum() < 0.5 * len(points)
    size = 2.5 * 1.2 * math.sqrt(640 * 400 / len(points))
    for u, v, depth in points[hidden][::7]:
        near = points[(np.abs(points[:, 0] - u) < size) & (np.abs(points[:, 1] - v) < size)]
        assert near[:, 2].min() < 0.95 * depth - 0.4
    shown = points[~hidden]
    for u, v, depth in shown[::97]:
        beside = points[(np.abs(points[:, 0] - u) < 1.5) & (np.abs(points[:, 1] - v) < 1.5)]
        assert beside[:, 2].min() > depth / 1.1 - 0.6


def test_layers_are_drawn_on_images_and_in_the_cloud(bench: Tab) -> None:
    before = shot(bench)
    bench.page.locator("#layer-track").check()
    assert (shot(bench) != before).any(axis=2).mean() > 0.001
    bench.page.locator("#layer-track").uncheck()
    bench.run(
        """() => { const { layers } = window.nucleusPreview;
        layers.push({ name: 'test', title: 'test', shown: true, onImage(pen, frame, camera) {
          window.layered = [frame, camera];
          pen.line([-9, -9, 0], [9, 9, 3], '#ff00ff', 9); pen.text([0, 0, 1], '<b>', '#ff00ff'); },
          inScene(line, frame) { window.inScene = frame; line([0, 0, 0], [5, 5, 5], [1, 0, 1]); } }); }"""
    )
    settle(bench)
    assert bench.run("() => window.layered") == [12, "front"]
    bench.page.locator("#benchClose").click()
    bench.run(PAINTED)
    assert bench.run("() => window.inScene") == 12
    bench.run("() => { window.nucleusPreview.layers.pop(); }")


def test_the_bench_opens_and_closes_everywhere(shared: Tab) -> None:
    page, is_open = shared.page, "() => window.nucleusPreview.bench.isOpen && window.nucleusPreview.bench.camera"
    page.locator("canvas[data-camera=rear]").click()
    assert shared.run(is_open) == "rear"
    page.keyboard.press("n")
    assert shared.run(is_open) == "left"
    page.keyboard.press("N")
    assert shared.run(is_open) == "rear"
    page.keyboard.press("Escape")
    assert shared.run(is_open) is False
    assert shared.run("() => document.activeElement.dataset.camera") == "rear"
    page.keyboard.press("Enter")
    assert shared.run(is_open) == "rear"
    page.locator("#benchClose").click()
    page.locator("figure button.open").last.click()
    assert shared.run(is_open) == "left"
    page.keyboard.press("Escape")
    page.keyboard.press("e")
    assert shared.run(is_open) == "front"
    page.locator("#benchStrip button").nth(4).click()
    settle(shared)
    assert shared.run("() => window.nucleusPreview.frame") == int(
        page.locator("#benchStrip button span").nth(4).text_content()
    ) - 1  # fmt: skip
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert page.locator("#helpText").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#helpText").is_visible()
    assert shared.complaints == []


def test_lines_are_copied(browser: Any, right: tuple[Path, Path]) -> None:
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    tab = Tab(browser, right[1], page=context.new_page())
    tab.run("() => window.nucleusPreview.bench.open('front')")
    tab.page.locator("#bench-yaw-exact").fill("1.5")
    tab.page.locator("#benchCopy").click()
    tab.page.wait_for_function("() => document.getElementById('benchCopy').textContent === 'copied'")
    assert tab.run("() => navigator.clipboard.readText()").strip() == lines_of(tab).strip()
    context.close()


def test_a_corrected_camera_is_marked_on_the_page(bench: Tab) -> None:
    bench.page.locator("#bench-yaw-exact").fill("2")
    bench.page.locator("#benchClose").click()
    bench.run("() => window.nucleusPreview.setFrame(12)")
    assert bench.page.locator("figure.changed").count() == 1
    bench.run("() => window.nucleusPreview.bench.open('front')")


def test_full_images_are_the_files_themselves(right: tuple[Path, Path], tmp_path: Path) -> None:
    import base64

    path = tmp_path / "full.html"
    assert main(["preview", str(right[0]), "-o", str(path), "--full-images"]) == 0
    text = path.read_text()
    for name in ("front/000003.jpg", "left/000007.jpg"):
        assert base64.b64encode((right[0] / name).read_bytes()).decode() in text
