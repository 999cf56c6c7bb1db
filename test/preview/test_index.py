# SPDX-License-Identifier: Apache-2.0
"""The page of many scenes, in a real browser: what it says, sorting, filters, keys, hostile names."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tabs import Tab

from nucleus_bridge.cli.main import main
from nucleus_bridge.convert import ConversionReport
from nucleus_bridge.formats.interface import SceneReader
from nucleus_bridge.formats.reading import open_scene
from nucleus_bridge.preview.index import index_page

EVIL = "</script><img src=https://example.invalid/x onerror=window.pwned=1><script>window.pwned=1</script>"
NOTHING: dict[str, Any] = {"warnings": [], "calibration": {}}


def seen(states: Mapping[str, str], *codes: str) -> dict[str, Any]:
    return {
        "warnings": [{"about": "x", "text": f"says {code}", "code": code} for code in codes],
        "calibration": {camera: {"state": state, "text": f"{camera} {state}"} for camera, state in states.items()},
    }


@pytest.fixture(scope="module")
def scenes(converted: ConversionReport) -> list[tuple[SceneReader, str, Mapping[str, Any]]]:
    """Four scenes made of a converted one: other names, lengths, losses, warnings and verdicts."""
    made = []
    for number, (name, losses, checks) in enumerate(
        [
            ("a", {}, seen({"front": "agrees", "rear": "agrees"})),
            ("b", {"/top": {"no_pose": 7, "surplus": 50}}, seen({"front": "suspect", "rear": "agrees"}, "tf_gap")),
            ("c", {"/top": {"surplus": 9}}, seen({"front": "not_measured"}, "tf_gap", "tf_gap", "image_dark")),
            (EVIL, {EVIL: {EVIL: 3}}, seen({"front": EVIL}, EVIL)),
        ]
    ):
        scene = open_scene(converted.scenes[0].folder)
        first = scene.manifest.first_stamp_ns + number * 10**10
        scene.manifest = replace(
            scene.manifest, reference_id=name, losses=losses, first_stamp_ns=first, frames=10 - number,
            last_stamp_ns=first + (number + 1) * 10**9, warnings=(),
        )  # fmt: skip
        made.append((scene, f"{name}.html", checks))
    return made


@pytest.fixture(scope="module")
def path(scenes: list[tuple[SceneReader, str, Mapping[str, Any]]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("index") / "index.html"
    path.write_text(index_page(scenes))
    return path


@pytest.fixture
def tab(browser: Any, path: Path) -> Any:
    opened = Tab(browser, path, ready="() => 1")
    yield opened
    assert (opened.complaints, opened.requests) == ([], [])
    opened.page.close()


def order(tab: Tab) -> str:
    return "".join(name[0] for name in tab.page.locator("#scenes tbody a").all_text_contents()).replace("<", "d")


def test_a_row_says_what_is_known_of_its_scene(tab: Tab, scenes: list[Any]) -> None:
    cells = {
        cell.get_attribute("data-name"): cell.text_content()
        for cell in tab.page.locator("#scenes tbody tr").nth(1).locator("td").all()
    }
    assert (cells["scene"], cells["frames"], cells["length"]) == ("b", "9", "2.0 s")
    assert cells["points"] == f"{scenes[1][0].manifest.points:,}"
    assert (cells["lost"], cells["warnings"]) == ("no_pose 7", "tf_gap 1")
    assert cells["calibration"] == "⚠ suspect: front✓ agrees: rear"
    assert tab.page.locator("#scenes tbody a").nth(1).get_attribute("href") == "b.html"


def test_each_column_sorts_both_ways(tab: Tab) -> None:
    wanted = {"start": "abcd", "scene": "dabc", "length": "abcd", "frames": "dcba", "warnings": "abdc", "lost": "acdb"}
    for column, expected in wanted.items():
        button = tab.page.locator("#scenes th button", has_text=column)
        if column != "start":
            button.click()
        assert order(tab) == expected, column
        button.click()
        assert tab.page.locator("#scenes th[aria-sort=descending]").text_content() == column
    tab.page.locator("#scenes th button", has_text="calibration").click()
    tab.page.locator("#scenes th button", has_text="calibration").click()
    assert order(tab).index("b") < order(tab).index("c") < order(tab).index("a")


def test_filters_narrow_the_table_and_the_map(tab: Tab) -> None:
    tab.page.keyboard.press("/")
    tab.page.keyboard.type("image_dark")
    assert order(tab) == "c"
    assert tab.page.locator("#shown").text_content() == "1 of 4"
    assert tab.page.locator("#map .line.away").count() == 3
    tab.page.keyboard.press("Escape")
    assert order(tab) == "abcd"
    tab.page.locator("#state").select_option("suspect")
    assert order(tab) == "b"
    tab.page.keyboard.press("Escape")
    tab.page.locator("#code").select_option("tf_gap")
    assert order(tab) == "bc"
    tab.page.locator("#code").select_option("")
    tab.page.locator("#lossy").check()
    assert order(tab) == "bd"


def test_keys_walk_through_the_rows_and_open_one(tab: Tab) -> None:
    name = "() => document.activeElement.textContent"
    for _ in range(3):
        tab.page.keyboard.press("ArrowDown")
    tab.page.keyboard.press("ArrowUp")
    assert tab.run(name) == "b"
    assert tab.page.locator("#map .line.now").count() == 1
    tab.page.keyboard.press("d")
    assert tab.run("() => document.documentElement.dataset.theme") == "dark"
    with tab.page.expect_request(lambda request: request.url.endswith("/b.html")):
        tab.page.keyboard.press("Enter")
    tab.requests.clear()


def test_names_are_never_read_as_markup(tab: Tab) -> None:
    assert tab.run("() => window.pwned === undefined")
    assert EVIL in tab.page.locator("#scenes tbody a").all_text_contents()


def test_the_map_has_the_way_and_the_picture_is_of_the_scene(tab: Tab, scenes: list[Any]) -> None:
    points = tab.page.locator("#map .line").first.get_attribute("points").split()
    scene = scenes[0][0]
    assert len(points) == len(scene)
    drawn = np.array([list(map(float, point.split(","))) for point in points])
    track = np.array([scene.frame(index, 1).position for index in range(len(scene))])
    one, other = (column[-1] - column[0] for column in (drawn, track))
    assert one[0] * other[1] + one[1] * other[0] == pytest.approx(
        0, abs=0.02 * float(np.hypot(*one) * np.hypot(*other[:2]))
    )
    row = json.loads(tab.run("() => document.getElementById('data').textContent"))[0]
    small = cv2.imdecode(np.frombuffer(base64.b64decode(row["picture"]), np.uint8), cv2.IMREAD_COLOR)
    image = scene.frame(len(scene) // 2, 1).images[0]
    full = cv2.imdecode(np.frombuffer(scene.image(image), np.uint8), cv2.IMREAD_COLOR)
    same = cv2.resize(full, small.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - same).mean() < 6


def test_it_fits_a_phone(browser: Any, path: Path) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto(path.as_uri())
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    assert page.locator("#scenes thead").is_hidden()
    page.emulate_media(media="print")
    assert page.locator("#filters").is_hidden()
    page.close()


def test_the_whole_table_is_seen_on_a_small_screen_with_six_cameras(
    browser: Any, converted: ConversionReport, tmp_path: Path
) -> None:
    cameras = dict.fromkeys(("front", "rear", "left", "front_left", "front_right"), "agrees") | {
        "right": "not_measured"
    }
    path = tmp_path / "index.html"
    scene = open_scene(converted.scenes[0].folder)
    path.write_text(index_page([(scene, "a.html", seen(cameras, "calibration_not_measured"))]))
    tab = Tab(browser, path, ready="() => 1")
    needed, there = tab.run(
        "() => { const box = document.querySelector('.scroll'); return [box.scrollWidth, box.clientWidth]; }"
    )
    assert needed <= there
    tab.page.close()


def test_the_command_writes_it(converted: ConversionReport, browser: Any, tmp_path: Path) -> None:
    spool = converted.scenes[0].folder.parent.parent
    assert main(["preview", str(spool), "-o", str(tmp_path / "pages")]) == 0
    opened = Tab(browser, tmp_path / "pages" / "index.html", ready="() => 1")
    assert opened.page.locator("#scenes tbody tr").count() == len(converted.scenes)
    opened.page.locator("#scenes tbody a").first.click()
    opened.page.wait_for_function("() => window.nucleusPreview")
    assert opened.page.locator("#title").text_content() == converted.scenes[0].folder.name
    assert opened.complaints == []
