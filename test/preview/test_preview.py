# SPDX-License-Identifier: Apache-2.0
"""The page of a scene: what it says without a browser, and what it does in one."""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from drives import Drive, make_drive
from tabs import PAINTED, Tab

from nucleus_bridge.calibration.check import SHIFTS_MS
from nucleus_bridge.calibration.looks import looked_at_width
from nucleus_bridge.cli.main import main
from nucleus_bridge.config import load_config
from nucleus_bridge.convert import ConversionReport, convert_bag
from nucleus_bridge.formats.content import SceneFrame
from nucleus_bridge.formats.interface import SceneReader
from nucleus_bridge.formats.reading import open_scene
from nucleus_bridge.preview.checks import SceneChecks
from nucleus_bridge.preview.pack import decoded, look_at, pack_cloud, picture_width
from nucleus_bridge.spool import Spool, conversions
from nucleus_bridge.testing.demo import DriveOptions


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> tuple[Drive, ConversionReport]:
    """Two seconds of driving past poles, with one pinhole and one fisheye camera."""
    folder = tmp_path_factory.mktemp("town")
    options = DriveOptions(seconds=3.0, points=30_000, cameras=2, camera_model="plumb_bob,equidistant", standing_s=0.0)
    drive = make_drive(folder, options)
    return drive, convert_bag(drive.bag, drive.config, folder / "spool")


@pytest.fixture(scope="module")
def town_page(town: tuple[Drive, ConversionReport], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "town.html"
    assert main(["preview", str(town[1].scenes[0].folder), "-o", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def tab(browser: Any, town_page: Path) -> Tab:
    return Tab(browser, town_page)


def test_the_page_complains_of_nothing_and_asks_the_network_for_nothing(tab: Tab) -> None:
    assert tab.complaints == []
    assert tab.requests == []


def test_the_slider_the_buttons_and_the_keys_move_through_the_frames(tab: Tab) -> None:
    tab.run("() => window.nucleusPreview.setFrame(0)")
    tab.page.locator("#frame").fill("7")
    assert tab.run("() => window.nucleusPreview.frame") == 7
    tab.page.locator("#next").click()
    assert tab.run("() => window.nucleusPreview.frame") == 8
    tab.page.keyboard.press("ArrowLeft")
    tab.page.keyboard.press("ArrowLeft")
    assert tab.run("() => window.nucleusPreview.frame") == 6
    assert tab.page.locator("#frameLabel").text_content().startswith("7 of 30")
    tab.page.keyboard.press("End")
    tab.page.keyboard.press("ArrowRight")
    assert tab.run("() => window.nucleusPreview.frame") == 29


def test_playing_moves_on_and_stops(tab: Tab) -> None:
    tab.run("() => window.nucleusPreview.setFrame(0)")
    tab.page.locator("#play").click()
    tab.page.wait_for_function("() => window.nucleusPreview.frame >= 2")
    tab.page.locator("#play").click()
    assert "play" in tab.page.locator("#play").text_content()


def test_the_points_on_the_images_come_and_go(tab: Tab) -> None:
    tab.run("() => window.nucleusPreview.setFrame(3)")
    with_points = tab.pixels("front")
    tab.page.locator("#overlay").uncheck()
    tab.run("() => window.nucleusPreview.setFrame(3)")
    without = tab.pixels("front")
    tab.page.locator("#overlay").check()
    tab.run("() => window.nucleusPreview.setFrame(3)")
    assert (with_points != without).any(axis=2).mean() > 0.01
    assert (tab.pixels("front") == with_points).mean() > 0.999


@pytest.mark.parametrize("selector", ["#view3d", "#viewTop"])
def test_the_clouds_are_drawn_and_change_with_colour_and_world(tab: Tab, selector: str) -> None:
    shots = []
    for key in ("", "c", "w"):
        if key:
            tab.page.keyboard.press(key)
        tab.run("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        shots.append(tab.canvas(selector))
    tab.page.keyboard.press("w")
    while tab.run("() => window.nucleusPreview.look.mode") != 0:
        tab.page.keyboard.press("c")
    assert (shots[0].max(axis=2) > 60).mean() > 0.01
    assert (shots[0] != shots[1]).any()
    assert (shots[2].max(axis=2) > 60).mean() > (shots[1].max(axis=2) > 60).mean()


def test_dragging_turns_the_view(tab: Tab) -> None:
    before = tab.canvas("#view3d")
    box = tab.page.locator("#view3d").bounding_box()
    tab.page.mouse.move(box["x"] + 100, box["y"] + 100)
    tab.page.mouse.down()
    tab.page.mouse.move(box["x"] + 250, box["y"] + 140)
    tab.page.mouse.up()
    tab.run("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert (before != tab.canvas("#view3d")).any(axis=2).mean() > 0.01


def test_a_view_draws_fewer_points_while_it_moves_and_all_once_it_stands(tab: Tab) -> None:
    whole = tab.run("() => window.nucleusPreview.look.cloud(window.nucleusPreview.frame).count")
    tab.run("() => { const { view3d } = window.nucleusPreview; view3d.share = 0.1; view3d.draw(true); }")
    tab.run(PAINTED)
    tab.page.wait_for_function("(whole) => window.nucleusPreview.drawn === whole", arg=whole)
    few = tab.run(
        """() => new Promise((done) => { const { view3d } = window.nucleusPreview;
        Object.assign(view3d, { share: 0.1, moving: false });
        view3d.draw(true); requestAnimationFrame(() => done(view3d.drawn)); })"""
    )
    assert 0.09 * whole < few < 0.2 * whole


def test_arrows_turn_the_view_that_has_the_focus_and_points_fade(tab: Tab) -> None:
    tab.run("() => { window.turned = window.nucleusPreview.view3d.turn; }")
    tab.page.locator("#view3d").focus()
    tab.page.keyboard.press("ArrowLeft")
    assert tab.run("() => window.nucleusPreview.view3d.turn !== window.turned")
    tab.page.keyboard.press("0")
    tab.page.locator("#cloudSize").focus()
    before = tab.canvas("#view3d")
    tab.page.locator("#cloudFade").fill("1")
    assert tab.canvas("#view3d").mean() < 0.97 * before.mean()
    tab.page.locator("#cloudFade").fill("0")


def test_the_theme_turns_dark_and_light(tab: Tab) -> None:
    colour = "() => getComputedStyle(document.body).backgroundColor"
    before = tab.run(colour)
    tab.page.locator("#theme").click()
    assert tab.run(colour) != before
    tab.page.locator("#theme").click()
    assert tab.run(colour) == before


@pytest.mark.parametrize("camera", ["front", "rear"])
def test_projected_points_of_a_pole_lie_on_the_poles_pixels(
    tab: Tab, town: tuple[Drive, ConversionReport], camera: str
) -> None:
    drive, report = town
    checked = hits = 0
    for index in range(0, 30, 3):
        tab.run("(i) => window.nucleusPreview.setFrame(i)", index)
        projected = np.array(tab.run("(camera) => window.nucleusPreview.projected(camera)", camera))
        image = cv2.imread(str(report.scenes[0].folder / camera / f"{index:06d}.jpg"))
        for pole in drive.truth["poles"]:
            band = true_band(drive.truth, camera, index, pole)
            if band is None:
                continue
            left, right, top, bottom, depth = band
            u, v, found_depth = projected.T
            near = np.abs(found_depth - depth) < 0.05 * depth
            inside = near & (u > left + 2) & (u < right - 2) & (v > top + 6) & (v < bottom - 6)
            rows, columns = np.rint(v[inside]).astype(int), np.rint(u[inside]).astype(int)
            away = np.abs(image[rows, columns].astype(int) - np.array(pole["color"])[::-1]).max(axis=1)
            checked += len(away)
            hits += int((away < 60).sum())
    assert checked > 20
    assert hits > 0.9 * checked


def true_band(truth: dict[str, Any], camera: str, index: int, pole: dict[str, Any]) -> tuple[float, ...] | None:
    """Where a pole is in an image by the truth alone: left, right, top, bottom in pixels, and depth in metres."""
    lens, pose = truth["cameras"][camera], truth["cameras"][camera]["images"][index]["map_from_camera"]
    x, y, z, w = pose["rotation_xyzw"]
    turn = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    ends = np.array([[pole["x"], pole["y"], 0.3], [pole["x"], pole["y"], pole["height"]]])
    seen = (ends - pose["translation"]) @ turn
    depth = float(seen[0, 2])
    if depth < 4 or depth > 25 or abs(seen[0, 0]) > 0.6 * depth:
        return None
    side = np.array([pole["radius"], 0, 0])
    sides = np.concatenate([seen - side, seen + side])
    k, d = np.array(lens["k"]).reshape(3, 3), np.array(lens["d"])
    if lens["distortion_model"] == "equidistant":
        flat = (sides[:, :2] / sides[:, 2:])[:, None]
        pixels = cv2.fisheye.distortPoints(flat, k, d)[:, 0]
        depth = float(np.linalg.norm(seen[0]))
    else:
        pixels = cv2.projectPoints(sides, np.zeros(3), np.zeros(3), k, d)[0][:, 0]
    (u0, v0), (u1, v1) = pixels.min(axis=0), pixels.max(axis=0)
    return (u0, u1, v0, v1, depth) if u0 > 5 and u1 < lens["width"] - 5 else None


def test_names_from_a_recording_are_never_read_as_markup(
    browser: Any, town: tuple[Drive, ConversionReport], tmp_path: Path
) -> None:
    folder = tmp_path / "scene"
    shutil.copytree(town[1].scenes[0].folder, folder)
    evil = "</script><img src=https://example.invalid/x onerror=window.pwned=1><script>window.pwned=1</script>"
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["reference_id"] = evil
    manifest["sensors"]["top"]["topic"] = evil
    manifest["losses"] = {evil: {evil: 3}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    path = tmp_path / "page.html"
    assert main(["preview", str(folder), "-o", str(path)]) == 0
    opened = Tab(browser, path)
    assert opened.run("() => window.pwned === undefined")
    assert (opened.complaints, opened.requests) == ([], [])
    assert opened.page.locator("#title").text_content() == evil
    assert opened.page.title() == evil


def test_scales_sample_opens(browser: Any, real_data: Path, tmp_path: Path) -> None:
    config, path = tmp_path / "made.yaml", tmp_path / "page.html"
    assert main(["init", str(real_data / "scale_sample"), "-o", str(config)]) == 0
    report = convert_bag(real_data / "scale_sample", config, tmp_path / "spool")
    assert main(["preview", str(report.scenes[0].folder), "-o", str(path)]) == 0
    opened = Tab(browser, path)
    assert (opened.complaints, opened.requests) == ([], [])
    for camera in ("front", "front_left", "back"):
        assert len(opened.run("(camera) => window.nucleusPreview.projected(camera)", camera)) > 1000
    for index in range(5):
        opened.run("(i) => window.nucleusPreview.setFrame(i)", index)
    assert opened.page.locator(".check.good").count() == 1


def test_the_page_names_no_address(town_page: Path) -> None:
    text = town_page.read_text()
    head = text[: text.index('<script type="application/json"')] + text[text.rindex("<script>") :]
    assert head.count("http") == head.count("http://www.w3.org/2000/svg") + head.count("http-equiv")


def test_packed_points_are_where_they_were(town: tuple[Drive, ConversionReport]) -> None:
    import base64

    points = open_scene(town[1].scenes[0].folder).frame(5).points
    packed = pack_cloud(points, 10**6)
    data = np.frombuffer(base64.b64decode(packed["data"]), np.uint8)
    count = packed["count"]
    columns = data[: 6 * count].view("<u2").reshape(3, count).T
    xyz = columns * np.array(packed["step"]) + np.array(packed["low"])
    assert count == len(points)
    assert np.abs(xyz - points.xyz).max() < 0.005
    assert np.abs(data[6 * count : 7 * count] / 255 - points.intensity).max() < 0.003


def test_pictures_shrink_as_there_are_more_of_them() -> None:
    widths = [picture_width(count) for count in (1, 60, 120, 252, 300)]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] >= 960
    assert widths[-1] >= 320


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Drive:
    """Three seconds of driving, with a camera that looks to the side, past which everything moves fast."""
    options = DriveOptions(seconds=3.0, points=30_000, cameras=3, image_width=640, image_height=400, standing_s=0.0)
    return make_drive(tmp_path_factory.mktemp("street"), options)


def checks_of(scene: SceneReader, frames: list[SceneFrame] | None = None) -> dict[str, Any]:
    """What a page says of a scene, or of other frames than it has."""
    checks = SceneChecks(scene)
    for frame in frames or [scene.frame(index) for index in range(len(scene))]:
        pictures, widths = {}, {}
        for image in frame.images:
            if checks.edges.wants_next():
                content = scene.image(image)
                header = look_at(content, image)
                pictures[image.camera] = decoded(content, header, image, looked_at_width(image.model, header.width))
                widths[image.camera] = header.width
        checks.add(frame, pictures, widths)
    return checks.results()


def test_a_sound_scene_has_no_warning_and_its_edges_fit_best_unshifted(street: Drive, tmp_path: Path) -> None:
    scene = open_scene(convert_bag(street.bag, street.config, tmp_path / "spool").scenes[0].folder)
    checks = checks_of(scene)
    assert checks["warnings"] == []
    left = checks["edges"]["curves"]["left"]
    known = {shift: score for shift, score in zip(SHIFTS_MS, left, strict=True) if score is not None}
    assert max(known, key=lambda shift: known[shift]) == 0


def test_what_was_said_of_the_recording_stands_on_the_page_of_its_scenes(
    converted: ConversionReport, tmp_path: Path
) -> None:
    made = converted.scenes[0].folder
    spool = Spool(tmp_path / "spool")
    shutil.copytree(made, spool.scene_folder(made.name))
    told = {
        "code": "tf_clock",
        "frame": "base_link",
        "text": "its clock is behind",
        "remedy": "transforms.topics: [/tf]",
    }
    note = replace(converted.conversion, findings=(told, told))
    conversions.note(spool, "one", note)
    other = replace(note, scenes=(), findings=({**told, "text": "of another recording"},))
    conversions.note(spool, "two", other)
    warnings = checks_of(open_scene(spool.scene_folder(made.name)))["warnings"]
    assert [w for w in warnings if w.get("code") == "tf_clock"] == [
        {"about": "base_link", "code": "tf_clock", "text": told["text"], "remedy": told["remedy"]}
    ]
    assert not any(w["text"] == "of another recording" for w in warnings)


def test_a_device_that_never_moves_is_named(converted: ConversionReport) -> None:
    scene = open_scene(converted.scenes[0].folder)
    still = [scene.frame(0)] * len(scene)
    about = {w["about"] for w in checks_of(scene, still)["warnings"] if "never moves" in w["text"]}
    assert about == {"device"}


@pytest.mark.parametrize("shift_ms", [100, -100])
def test_a_camera_clock_that_is_off_by_a_tenth_of_a_second_is_seen_in_the_edges(
    street: Drive, tmp_path: Path, shift_ms: int
) -> None:
    from bags import MS, TYPES, Recording

    from nucleus_bridge.recordings import open_recording

    copy = Recording()
    with open_recording(street.bag) as source:
        for message in source.messages([info.name for info in source.topics]):
            data = message.data
            if message.topic == "/camera/left/image_raw/compressed":
                content = TYPES.deserialize_cdr(data, message.type_name)
                stamp = content.header.stamp
                stamp.sec, stamp.nanosec = divmod(stamp.sec * 10**9 + stamp.nanosec + shift_ms * MS, 10**9)
                data = bytes(TYPES.serialize_cdr(content, message.type_name))
            copy.add_raw(message.topic, message.type_name, data, message.log_ns)
    bag = copy.write(tmp_path / "bag")
    scene = open_scene(convert_bag(bag, street.config, tmp_path / "spool").scenes[0].folder)
    verdicts = checks_of(scene)["calibration"]
    assert verdicts["left"]["state"] == "suspect"
    assert verdicts["left"]["correction"]["kind"] == "time"
    assert verdicts["left"]["correction"]["time_ms"] == pytest.approx(-shift_ms, abs=10)
    assert verdicts["rear"]["state"] != "suspect"


def test_the_remedy_of_a_camera_counts_with_what_is_configured(
    street: Drive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = load_config(street.config_path, ["cameras.left.clock_offset_ms=60.0"])
    scene = convert_bag(street.bag, wrong, tmp_path / "spool").scenes[0].folder
    assert main(["preview", str(scene), "-o", str(tmp_path / "page.html")]) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "calibration_suspect" in line]
    found = re.search(r"\(cameras\.left\.clock_offset_ms: (-?[\d.]+)\)", line)
    assert found, line
    assert abs(float(found[1])) < 10.0


def test_a_cloud_without_point_times_does_not_tell_a_cameras_clock(street: Drive, tmp_path: Path) -> None:
    config = load_config(street.config_path, ["lidars.top.time_field=none"])
    scene = open_scene(convert_bag(street.bag, config, tmp_path / "spool").scenes[0].folder)
    verdicts = checks_of(scene)["calibration"]
    assert {camera for camera, verdict in verdicts.items() if verdict["state"] == "suspect"} == set()
    doubted = [verdict["text"] for verdict in verdicts.values() if "points have no times" in verdict["text"]]
    assert doubted


def test_cameras_that_are_swapped_in_a_scene_are_named(town: tuple[Drive, ConversionReport], tmp_path: Path) -> None:
    folder = tmp_path / "scene"
    shutil.copytree(town[1].scenes[0].folder, folder)
    scene = json.loads((folder / "scene.json").read_text())
    for frame in scene["frames"]:
        one, other = (frame[name]["metadata"]["camera_params"] for name in ("front", "rear"))
        for key in ("position", "heading"):
            one[key], other[key] = other[key], one[key]
    (folder / "scene.json").write_text(json.dumps(scene))
    changed = open_scene(folder)
    warnings = checks_of(changed)["warnings"]
    assert {w["about"] for w in warnings if "swapped" in w["text"]} == {"front", "rear"}


def test_a_spool_gets_an_index_that_links_to_a_page_for_each_scene(converted: ConversionReport, tmp_path: Path) -> None:
    spool = converted.scenes[0].folder.parent.parent
    assert main(["preview", str(spool), "-o", str(tmp_path / "pages")]) == 0
    names = [f"{scene.manifest.reference_id}.html" for scene in converted.scenes]
    index = (tmp_path / "pages" / "index.html").read_text()
    for name in names:
        assert f'"page":"{name}"' in index
        assert (tmp_path / "pages" / name).stat().st_size > 100_000


def test_what_is_no_scene_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["preview", str(tmp_path), "-o", str(tmp_path / "page.html")]) == 2
    assert "not a scene and not a spool" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["../../outside.jpg", "front/none.jpg", "https://example.invalid/a.jpg"])
def test_a_file_that_is_not_in_the_scene_is_refused_by_name(
    converted: ConversionReport, tmp_path: Path, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    folder = tmp_path / "scene"
    shutil.copytree(converted.scenes[0].folder, folder)
    scene = json.loads((folder / "scene.json").read_text())
    scene["frames"][0]["front"]["url"] = url
    (folder / "scene.json").write_text(json.dumps(scene))
    assert main(["preview", str(folder), "-o", str(tmp_path / "page.html")]) == 1
    assert url in capsys.readouterr().err


def test_without_rerun_its_flag_names_the_extra(
    converted: ConversionReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    assert main(["preview", str(converted.scenes[0].folder), "--rerun", str(tmp_path / "x.rrd")]) == 2
    assert "nucleus-bridge[rerun]" in capsys.readouterr().err
    assert not (tmp_path / "x.rrd").exists()


def test_a_rerun_recording_holds_every_frame(converted: ConversionReport, tmp_path: Path) -> None:
    pytest.importorskip("rerun", reason="rerun-sdk is not installed")
    path = tmp_path / "x.rrd"
    assert main(["preview", str(converted.scenes[0].folder), "--rerun", str(path)]) == 0
    content = path.read_bytes()
    assert content[:3] == b"RRF"
    assert b"world/front" in content
    assert len(content) > sum(f.stat().st_size for f in (converted.scenes[0].folder / "front").iterdir())
