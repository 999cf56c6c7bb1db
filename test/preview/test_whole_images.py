# SPDX-License-Identifier: Apache-2.0
"""A page beside its spool shows images as they were taken when they are magnified; elsewhere those that it holds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from drives import make_drive
from tabs import Tab

from nucleus_bridge.cli.main import main
from nucleus_bridge.convert import convert_bag
from nucleus_bridge.preview import html_page
from nucleus_bridge.testing.demo import DriveOptions

SHOWN = "() => Boolean(window.nucleusPreview.bench.painters[0].shown)"
WHOLE = "() => window.nucleusPreview.bench.painters[0].shown?.isWhole"


@pytest.fixture(scope="module")
def spool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spool with its pages beside it; they hold the images, 1280 wide, with 960."""
    folder = tmp_path_factory.mktemp("wide #1")
    options = DriveOptions(
        seconds=0.6, points=2_000, cameras=2, image_width=1280, image_height=800, image="raw", standing_s=0.0
    )
    drive = make_drive(folder, options)
    config = folder / "png.yaml"
    config.write_text(f"{drive.config_path.read_text().rstrip()}\n    image: {{format: png}}\n")
    convert_bag(drive.bag, config, folder / "spool")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(html_page, "KEPT_BYTES", 0)
        assert main(["preview", str(folder / "spool"), "-o", str(folder / "preview"), "--no-calibration"]) == 0
    return folder / "spool"


def magnified(browser: Any, page: Path) -> Tab:
    tab = Tab(browser, page)
    tab.page.locator("#overlay").uncheck()
    tab.run("() => window.nucleusPreview.bench.open('front')")
    tab.page.wait_for_function(SHOWN)
    assert tab.requests == []
    tab.page.locator("#benchFull").click()
    tab.page.wait_for_function("() => window.nucleusPreview.bench.view?.scale === 1")
    return tab


def away(tab: Tab, file: Path) -> float:
    """How far the pixels on the bench are from those of a file, on average; the bench may begin between two of them."""
    shot, image = tab.canvas("#benchMain").astype(int), cv2.imread(str(file)).astype(int)
    place = tab.run("() => window.nucleusPreview.bench.place()")
    left, top = round(-place["x"]), round(-place["y"])
    assert left > 0
    assert top > 0
    rows, columns = shot.shape[0] - 60, shot.shape[1]  # without the note at the bottom
    parts = [image[top + shift : top + shift + rows, left : left + columns] for shift in (-1, 0, 1)]
    return min(float(np.abs(shot[:rows] - part).mean()) for part in parts)


def first_image(spool: Path) -> Path:
    return next((spool / "scenes").iterdir()) / "front" / "000000.png"


def page_of(spool: Path) -> Path:
    return next(path for path in (spool.parent / "preview").iterdir() if path.name != "index.html")


def test_beside_its_spool_magnified_images_have_the_pixels_of_their_files(browser: Any, spool: Path) -> None:
    tab = magnified(browser, page_of(spool))
    tab.page.wait_for_function(WHOLE)
    assert tab.complaints == []
    assert tab.requests == [first_image(spool).as_uri()]
    assert away(tab, first_image(spool)) < 0.2
    assert "smaller than taken" not in tab.page.locator("#benchMainNote").inner_text()


def test_elsewhere_the_images_of_the_page_are_shown(browser: Any, spool: Path, tmp_path: Path) -> None:
    page = tmp_path / "far" / "away" / "page.html"
    page.parent.mkdir(parents=True)
    shutil.copy(page_of(spool), page)
    tab = magnified(browser, page)
    tab.page.wait_for_function(f"() => ({WHOLE})() === false")
    tab.page.wait_for_function("() => document.getElementById('benchMainNote').textContent.includes('smaller than')")
    assert 0.3 < away(tab, first_image(spool)) < 12
    tab.run("() => window.nucleusPreview.setFrame(2)")
    assert len(tab.requests) == 1
    assert len(tab.complaints) == 1
    assert "ERR_FILE_NOT_FOUND" in tab.complaints[0]


def test_a_file_of_another_size_is_not_taken(browser: Any, spool: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(spool.parent / "preview", moved / "preview")
    shutil.copytree(spool, moved / "spool")
    other = cv2.resize(cv2.imread(str(first_image(spool))), (400, 250))
    cv2.imwrite(str(first_image(moved / "spool")), other)
    tab = magnified(browser, page_of(moved / "spool"))
    tab.page.wait_for_function(f"() => ({WHOLE})() === false")
    assert 0.3 < away(tab, first_image(spool)) < 12


def test_scripts_of_other_places_and_addresses_stay_forbidden(browser: Any, spool: Path) -> None:
    tab = Tab(browser, page_of(spool))
    for source in ("https://example.invalid/x.png", "http://127.0.0.1:1/x.png"):
        tab.run(
            """(source) => new Promise((done) => { const picture = new Image();
            picture.onerror = done; picture.onload = done; picture.src = source; })""",
            source,
        )
    asked = tab.run("() => fetch(location.href).then(() => 'read', () => 'refused')")
    assert asked == "refused"
    assert len([text for text in tab.complaints if "Content Security Policy" in text]) >= 2


def test_a_page_that_holds_images_as_they_are_names_no_file(spool: Path, tmp_path: Path) -> None:
    scene = next((spool / "scenes").iterdir())
    for option, is_named in ((["--full-images"], False), ([], True)):
        path = tmp_path / "page.html"
        assert main(["preview", str(scene), "-o", str(path), "--no-calibration", *option]) == 0
        text = path.read_text()
        data = text[text.index('<script type="application/json"') :]
        page = json.loads(data[data.index(">") + 1 : data.index("</script>")])
        assert bool(page["frames"][0]["images"]["front"].get("file")) is is_named
