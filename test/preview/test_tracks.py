# SPDX-License-Identifier: Apache-2.0
"""The page draws the trajectory of each source of poses and says which of them the scene uses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compared_drives import DRIFT_M_S, with_drifting_odometry
from drives import Drive
from pose_drives import config_with
from tabs import PAINTED, Tab

from nucleus_bridge.cli.main import main
from nucleus_bridge.convert import ConversionReport, convert_bag

POSITIONS = """() => { const { trajectories, look } = window.nucleusPreview;
  return trajectories.map(({ points }) => points); }"""


@pytest.fixture(scope="module")
def compared(drive: Drive, tmp_path_factory: pytest.TempPathFactory) -> ConversionReport:
    folder = tmp_path_factory.mktemp("compared")
    with_drifting_odometry(drive.bag, folder / "bag")
    lines = [
        "pose_names: [slam, wheels]",
        (
            "poses: {slam: {topic: /slam/odom, compare_only: true}, "
            "wheels: {topic: /slam/odom, child_frame: wheel, compare_only: true}}"
        ),
    ]
    return convert_bag(folder / "bag", config_with(drive.config_path, folder / "c.yaml", lines), folder / "spool")


@pytest.fixture(scope="module")
def tab(browser: Any, compared: ConversionReport, tmp_path_factory: pytest.TempPathFactory) -> Tab:
    path = tmp_path_factory.mktemp("page") / "page.html"
    assert main(["preview", str(compared.scenes[0].folder), "-o", str(path), "--no-calibration"]) == 0
    return Tab(browser, path)


def of_colour(shot: np.ndarray, colour: str) -> np.ndarray:
    """Where a picture (BGR) has a colour."""
    wanted = np.array([int(colour[start : start + 2], 16) for start in (5, 3, 1)])
    return np.abs(shot.astype(int) - wanted).max(axis=2) < 48  # edges of lines are blended with what lies below them


def test_each_source_has_a_line_and_the_one_in_use_is_marked(tab: Tab) -> None:
    lines = [" ".join(line.split()) for line in tab.page.locator("#tracks label").all_inner_texts()]
    assert (tab.complaints, tab.requests) == ([], [])
    assert lines[0] == "tf used by the scene"
    assert lines[1].startswith("poses.slam /slam/odom, up to 2.")
    assert lines[2] == "poses.wheels /slam/odom, nothing joins 'wheel' to 'base_link'"
    assert lines[3].startswith("GNSS laid over as a whole, up to 0.")
    assert [box.is_enabled() for box in tab.page.locator("#tracks input").all()] == [True, True, False, True]


def test_the_tracks_lie_where_the_drive_was(tab: Tab, drive: Drive, compared: ConversionReport) -> None:
    manifest = compared.scenes[0].manifest
    sweeps = drive.truth["lidars"]["top"]["sweeps"]
    offset = np.array([manifest.world_offset[axis] for axis in "xyz"])
    true = np.array([sweep["map_from_base_link"]["translation"] for sweep in sweeps])[: manifest.frames] - offset
    own, slam, nothing, fixes = (np.array(points) for points in tab.run(POSITIONS))
    assert np.abs(own - true).max() < 0.01
    end = np.linalg.norm(slam[-1] - true[-1])
    assert end == pytest.approx(DRIFT_M_S * (3.9 + 0.4979), abs=0.05)
    assert not len(nothing)
    nearest = np.linalg.norm(fixes[:, None] - true[None], axis=2).min(axis=1)
    assert nearest.max() < 0.05


@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_trajectory_comes_and_goes_in_the_view_from_above(tab: Tab, number: int) -> None:
    colour = tab.run("(i) => window.nucleusPreview.trajectories[i].colour", number)
    others = [box for box in tab.page.locator("#tracks input").all() if box.is_enabled()]
    for box in others:
        box.uncheck()
    tab.run("() => { const { viewTop } = window.nucleusPreview; viewTop.distance = 12; viewTop.draw(); }")
    tab.run(PAINTED)
    without = of_colour(tab.canvas("#viewTop"), colour).sum()
    tab.page.locator(f"#track-{number}").check()
    drawn = of_colour(tab.canvas("#viewTop"), colour).sum()
    for box in others:
        box.check()
    assert drawn > without + 100


def test_colours_are_told_apart_with_every_kind_of_colour_blindness(tab: Tab) -> None:
    """By the matrices of Machado, Oliveira and Fernandes (2009), in linear light."""
    kinds = {
        "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    }
    colours = tab.run("() => window.nucleusPreview.trajectories.map(({ colour }) => colour)")
    light = np.array([[int(colour[start : start + 2], 16) for start in (1, 3, 5)] for colour in colours]) / 255
    linear = np.where(light <= 0.04045, light / 12.92, ((light + 0.055) / 1.055) ** 2.4)
    for matrix in kinds.values():
        seen = np.clip(linear @ np.array(matrix).T, 0, 1) ** (1 / 2.4)
        apart = np.linalg.norm(seen[:, None] - seen[None], axis=2) + 9 * np.eye(len(seen))
        assert apart.min() > 0.12


def test_what_a_manifest_says_of_sources_is_never_read_as_markup_and_nonsense_is_passed_over(
    browser: Any, compared: ConversionReport, tmp_path: Path
) -> None:
    folder = tmp_path / "scene"
    shutil.copytree(compared.scenes[0].folder, folder)
    evil = "</script><img src=https://example.invalid/x onerror=window.pwned=1>"
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["poses"]["used"] = [evil]
    manifest["poses"]["compared"][0] |= {"source": evil, "topic": evil}
    manifest["poses"]["compared"][0]["samples"][:2] = ["nan 1 2 3", "1 2 3", 7]
    manifest["poses"]["compared"] += [5, {"samples": "1 2 3 4"}]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    path = tmp_path / "page.html"
    assert main(["preview", str(folder), "-o", str(path), "--no-calibration"]) == 0
    opened = Tab(browser, path)
    assert (opened.complaints, opened.requests) == ([], [])
    assert opened.run("() => window.pwned === undefined")
    assert opened.page.locator("#tracks b").inner_text() == evil
    assert opened.page.locator("#tracks label").count() == 5


def test_a_scene_of_one_source_names_it(browser: Any, converted: ConversionReport, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    assert main(["preview", str(converted.scenes[0].folder), "-o", str(path), "--no-calibration"]) == 0
    opened = Tab(browser, path)
    assert opened.page.locator("#tracks label").first.inner_text().split() == ["tf", "used", "by", "the", "scene"]
