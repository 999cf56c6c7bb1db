# SPDX-License-Identifier: Apache-2.0
"""The page shows its first frame before the others are there, and draws the same with and without a graphics card."""

from __future__ import annotations

import base64
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tabs import PAINTED, Tab

from nucleus_bridge.cli.main import main
from nucleus_bridge.convert import ConversionReport

REST = '<script type="application/json" id="frame-{}">'
PAINTER = "() => window.nucleusPreview.view3d.painter.constructor.name"


@pytest.fixture(scope="module")
def page(converted: ConversionReport, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    assert main(["preview", str(converted.scenes[0].folder), "-o", str(path), "--no-calibration"]) == 0
    return path


@contextmanager
def halting(content: bytes, at: int) -> Iterator[tuple[str, threading.Event]]:
    """Serve a page up to some byte, and the rest when it is told to go on."""
    goes_on = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[:at])
            self.wfile.flush()
            goes_on.wait(60)
            self.wfile.write(content[at:])

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/", goes_on
    finally:
        goes_on.set()
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_first_frame_is_shown_and_others_are_waited_for(browser: Any, page: Path) -> None:
    content = page.read_bytes()
    at = content.index(REST.format(5).encode()) + 200  # within the fifth, which is not whole then
    tab = browser.new_page(viewport={"width": 1280, "height": 800})
    complaints: list[str] = []
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    with halting(content, at) as (address, goes_on):
        tab.goto(address, wait_until="commit")
        tab.wait_for_function("() => window.nucleusPreview?.ready")
        tab.evaluate("() => window.nucleusPreview.ready")
        first = "() => window.nucleusPreview.look.cloud(0).count"
        assert tab.evaluate("() => window.nucleusPreview.projected('front').length") > 100
        assert tab.evaluate("() => window.nucleusPreview.look.has(4)")
        assert not tab.evaluate("() => window.nucleusPreview.look.has(5)")
        tab.evaluate("() => { window.nucleusPreview.setFrame(4); window.nucleusPreview.setFrame(7); }")
        tab.locator("#world").check()
        tab.evaluate(PAINTED)
        assert tab.evaluate("() => window.nucleusPreview.frame") == 4
        assert tab.evaluate("() => window.nucleusPreview.drawn") < 6 * tab.evaluate(first)
        goes_on.set()
        tab.wait_for_function("() => window.nucleusPreview.frame === 7")
        whole = tab.evaluate("() => window.nucleusPreview.look.count") * 0.9 * tab.evaluate(first)
        tab.wait_for_function("(whole) => window.nucleusPreview.drawn > whole", arg=whole)
    assert complaints == []
    tab.close()


def test_it_opens_on_the_first_frame_with_the_most_images(
    browser: Any, converted: ConversionReport, tmp_path: Path
) -> None:
    folder, path = tmp_path / "scene", tmp_path / "page.html"
    shutil.copytree(converted.scenes[0].folder, folder)
    scene = json.loads((folder / "scene.json").read_text())
    for number, cameras in enumerate((["front"], ["front", "rear"], ["rear"], [], ["front"])):
        for camera in cameras:
            del scene["frames"][number][camera]
    (folder / "scene.json").write_text(json.dumps(scene))
    assert main(["preview", str(folder), "-o", str(path), "--no-calibration"]) == 0
    content = path.read_bytes()
    at = content.index(REST.format(5).encode()) + 200  # the third stands before the scripts, the fourth is whole
    tab = browser.new_page(viewport={"width": 1280, "height": 800})
    with halting(content, at) as (address, goes_on):
        tab.goto(address, wait_until="commit")
        tab.wait_for_function("() => window.nucleusPreview?.ready")
        tab.evaluate("() => window.nucleusPreview.ready")
        assert tab.evaluate("() => window.nucleusPreview.frame") == 3
        assert tab.locator("#frameLabel").text_content().startswith("4 of ")
        assert [
            tab.evaluate("(name) => window.nucleusPreview.projected(name).length", name) > 100
            for name in ("front", "rear")
        ] == [True, True]
        there = tab.evaluate("() => [0, 1, 2, 3, 4, 5].map((index) => window.nucleusPreview.look.has(index))")
        assert there == [True, True, True, True, True, False]
        goes_on.set()
    tab.evaluate("() => window.nucleusPreview.setFrame(0)")
    assert tab.evaluate("() => window.nucleusPreview.frame") == 0
    tab.close()


@pytest.fixture(scope="module")
def both(browser: Any, page: Path) -> Iterator[list[Tab]]:
    """The page as a graphics card draws it, and pixel by pixel."""
    tabs = []
    for how in ("#webgl", "#pixels"):
        tab = Tab(browser, page)
        tab.page.goto("about:blank")
        tab.page.goto(page.as_uri() + how)
        tab.run("() => window.nucleusPreview.ready")
        tabs.append(tab)
    yield tabs
    for tab in tabs:
        tab.page.close()


def test_it_draws_by_webgl_only_where_that_is_quicker(browser: Any, page: Path, both: list[Tab]) -> None:
    assert [tab.run(PAINTER) for tab in both] == ["GlPainter", "SoftPainter"]
    assert Tab(browser, page).run(PAINTER) == "SoftPainter"  # the tests run on software rendering


def lit(shot: np.ndarray) -> np.ndarray:
    return shot.max(axis=2) > 50


@pytest.mark.parametrize("selector", ["#view3d", "#viewTop"])
@pytest.mark.parametrize(
    ("mode", "size", "fade", "world"), [("0", "1", "0", False), ("2", "3", "0.6", False), ("4", "2", "0", True)]
)
def test_both_ways_of_drawing_make_the_same_picture(
    both: list[Tab], selector: str, mode: str, size: str, fade: str, *, world: bool
) -> None:
    shots = []
    for tab in both:
        tab.page.locator("#colour").select_option(mode)
        tab.page.locator("#cloudSize").fill(size)
        tab.page.locator("#cloudFade").fill(fade)
        tab.page.locator("#world").set_checked(world)
        shots.append(tab.canvas(selector))
    gl, soft = shots
    assert gl.shape == soft.shape
    share = lit(gl).mean()
    assert share > 0.01
    assert lit(soft).mean() == pytest.approx(share, rel=0.35)  # points lie up to half a pixel apart
    near = np.zeros_like(lit(gl))
    for down in (-1, 0, 1):
        for across in (-1, 0, 1):
            near |= np.roll(lit(gl), (down, across), axis=(0, 1))
    assert near[lit(soft)].mean() > 0.99
    both_lit = lit(gl) & lit(soft)
    assert (np.abs(gl.astype(int) - soft).max(axis=2)[both_lit] < 40).mean() > 0.8


@pytest.mark.parametrize("share", [0.02, 0.3])
def test_a_share_of_the_points_is_spread_over_the_whole_cloud(both: list[Tab], share: float) -> None:
    """In each part of the picture that many points fall on some of the share are seen."""
    for tab in both:
        tab.page.locator("#world").set_checked(False)
        tab.page.locator("#cloudFade").fill("0")
        tab.page.locator("#cloudSize").fill("1")
        pictures = []
        for part in (1.0, share):
            drawn, url = tab.run(
                """(share) => { const { viewTop } = window.nucleusPreview;
                viewTop.paint(share); return [viewTop.drawn, viewTop.canvas.toDataURL()]; }""",
                part,
            )
            content = np.frombuffer(base64.b64decode(url.partition(",")[2]), np.uint8)
            pictures.append((drawn, lit(cv2.imdecode(content, cv2.IMREAD_COLOR))))
        (count, whole), (drawn, some) = pictures
        assert count == tab.run("() => window.nucleusPreview.look.cloud(window.nucleusPreview.frame).count")
        assert share * count * 0.9 < drawn < max(2 * share, 0.04) * count
        full = [part for row in np.array_split(whole, 6) for part in np.array_split(row, 6, axis=1)]
        thin = [part for row in np.array_split(some, 6) for part in np.array_split(row, 6, axis=1)]
        crowded = [(one.sum(), other.sum()) for one, other in zip(full, thin, strict=True) if one.sum() > 4 / share]
        assert len(crowded) > 4
        assert all(left > 0 for _, left in crowded)
