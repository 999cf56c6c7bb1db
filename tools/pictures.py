# SPDX-License-Identifier: Apache-2.0
"""Make the pictures of the documents anew from demo drives: tools/pictures.py [FOLDER], as `make pictures` calls it.

Needs Chromium (NUCLEUS_BRIDGE_CHROMIUM says where it is) and playwright.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

PICTURES = Path(__file__).parent.parent / "docs" / "pictures"
FLAGS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
DRIVE = ("--seconds", "6", "--points", "60000", "--cameras", "3")
SWAPPED = {"camera_front_optical": "camera_left_optical", "camera_left_optical": "camera_front_optical"}
PAINTED = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


def bridge(*arguments: object) -> None:
    """Run the command line; it says what it does, and its warnings belong to what is shown."""
    subprocess.run([sys.executable, "-m", "nucleus_bridge", *map(str, arguments)], check=True)


def make_page(folder: Path, frame_ids: dict[str, str]) -> Path:
    """Write a drive, convert it with other names for its cameras' frames, and make the page of its first scene."""
    drive, config, page = folder / "drive", folder / "drive.yaml", folder / "page.html"
    bridge("demo-drive", drive, *DRIVE)
    text = config.read_text()
    for frame_id, other in frame_ids.items():
        camera = frame_id.removeprefix("camera_").removesuffix("_optical")
        text = text.replace(f"      {camera}:\n", f"      {camera}:\n        optical_frame: {other}\n", 1)
    config.write_text(text)
    bridge("convert", drive, "--config", config, "--output", folder / "spool")
    bridge("preview", min((folder / "spool" / "scenes").iterdir()), "-o", page)
    return page


def opened(browser: Browser, page: Path, width: int, height: int) -> Page:
    """Open a page and wait until it is drawn."""
    tab = browser.new_page(viewport={"width": width, "height": height})
    tab.goto(page.as_uri())
    tab.evaluate("() => window.nucleusPreview.ready")
    return tab


def shoot(tab: Page, name: str, selector: str = "") -> None:
    """Write what the window shows, or one element of it; nothing is under the pointer."""
    tab.mouse.move(1, 1)
    tab.evaluate(PAINTED)
    (tab.locator(selector) if selector else tab).screenshot(path=PICTURES / name)


def main() -> None:
    """Make them all."""
    with tempfile.TemporaryDirectory(prefix="pictures-") as name, sync_playwright() as tools:
        right, swapped = Path(name) / "right", Path(name) / "swapped"
        for folder in (right, swapped):
            folder.mkdir()
        pages = make_page(right, {}), make_page(swapped, SWAPPED)
        browser = tools.chromium.launch(
            executable_path=os.environ.get("NUCLEUS_BRIDGE_CHROMIUM", "/usr/bin/chromium"), args=FLAGS
        )
        tab = opened(browser, pages[0], 1200, 1092)
        tab.evaluate("() => window.nucleusPreview.setFrame(30)")
        shoot(tab, "preview.png")
        tab.locator("#world").check()
        tab.locator("#colour").select_option(label="intensity")
        shoot(tab, "world.png", ".views")
        tab.locator("#world").uncheck()
        shoot(tab, "facts.png", ".facts")
        tab.set_viewport_size({"width": 1280, "height": 800})
        tab.evaluate("() => window.nucleusPreview.setFrame(32)")
        tab.evaluate("() => window.nucleusPreview.bench.open('left')")
        tab.locator("#bench-yaw-exact").fill("2")
        tab.locator("#bench-ms-exact").fill("12")
        tab.evaluate("() => window.nucleusPreview.bench.draw()")
        shoot(tab, "bench.png")
        tab = opened(browser, pages[1], 1200, 1190)
        tab.evaluate("() => window.nucleusPreview.setFrame(24)")
        shoot(tab, "swapped.png")
        browser.close()


if __name__ == "__main__":
    main()
