# SPDX-License-Identifier: Apache-2.0
"""The page of a scene says which events it holds and when; the times are those at which they were made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bags import recording
from event_drives import boolean, settings, signal

from nucleus_bridge.cli.main import main
from nucleus_bridge.convert import convert_bag

TABLE = "figure:has(figcaption:text-is('Events, from the first frame'))"


def shown(browser: Any, scene: Path, out: Path) -> list[list[str]]:
    """Return the rows of the table of events on a scene's page."""
    assert main(["preview", str(scene), "-o", str(out), "--no-calibration"]) == 0
    page = browser.new_page()
    page.goto(out.as_uri())
    page.wait_for_selector("figcaption:text-is('Scene')", state="attached")
    rows = page.locator(f"{TABLE} tr").all()
    return [[cell.strip() for cell in row.locator("th, td").all_text_contents()] for row in rows]


def test_the_page_shows_the_events_of_its_scene(browser: Any, tmp_path: Path) -> None:
    bag = recording(80)
    signal(bag, [(2.0, 2.5), (5.0, 5.2)], 8.0, lambda _stamp_ns, is_high: boolean(is_high))
    signal(bag, [(2.2, 2.3)], 8.0, lambda _stamp_ns, is_high: boolean(is_high), topic="/button")
    window = "when: == true, before_s: 0.5, after_s: 0.5"
    config = settings(tmp_path, f"brake: {{topic: /signal, {window}}}\nbutton: {{topic: /button, {window}}}")
    scenes = convert_bag(bag.write(tmp_path / "bag"), config, tmp_path / "spool").scenes
    pages = [shown(browser, scene.folder, tmp_path / f"{number}.html") for number, scene in enumerate(scenes)]
    # The first window begins at 1.5 s with its scene's first frame, the second one at 4.5 s.
    assert pages == [
        [["brake", "0.50 s to 1.00 s"], ["button", "0.70 s to 0.80 s"]],
        [["brake", "0.50 s to 0.70 s"]],
    ]


def test_a_scene_without_events_has_no_table_of_them(browser: Any, tmp_path: Path) -> None:
    config = settings(tmp_path, "brake: {topic: /signal, when: == true}", "scene.select=all")
    bag = signal(recording(10), [], 1.0, lambda _stamp_ns, is_high: boolean(is_high))
    (scene,) = convert_bag(bag.write(tmp_path / "bag"), config, tmp_path / "spool").scenes
    assert shown(browser, scene.folder, tmp_path / "page.html") == []
