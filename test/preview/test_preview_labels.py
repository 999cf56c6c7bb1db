# SPDX-License-Identifier: Apache-2.0
"""Labels on the page: boxes of the drive's truth fall on the pixels where the true cameras see them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from browsers import chromium
from drives import Drive, make_drive

from nucleus_bridge.cli.main import main
from nucleus_bridge.convert import ConversionReport, convert_bag
from nucleus_bridge.testing.demo import DriveOptions
from nucleus_bridge.testing.receiver.ground_truth import TrueBox, boxes_of_drive

FLAGS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
FRAME = 6


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> tuple[Drive, ConversionReport]:
    """A second of driving, with one pinhole and one fisheye camera."""
    folder = tmp_path_factory.mktemp("street")
    options = DriveOptions(seconds=1.0, points=10_000, cameras=2, camera_model="plumb_bob,equidistant", standing_s=0.0)
    drive = make_drive(folder, options)
    return drive, convert_bag(drive.bag, drive.config, folder / "spool")


def write_labels(path: Path, report: ConversionReport, boxes: list[TrueBox]) -> Path:
    rows = [
        {
            "scene": report.scenes[0].manifest.reference_id,
            "frame": frame,
            "label": box.label,
            "position": dict(zip("xyz", box.center, strict=True)),
            "size": dict(zip(("length", "width", "height"), box.size, strict=True)),
            "rotation": {"x": 0.0, "y": 0.0, "z": math.sin(box.heading / 2), "w": math.cos(box.heading / 2)},
        }
        for frame in range(report.scenes[0].manifest.frames)
        for box in boxes
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def true_corners(box: TrueBox) -> np.ndarray:
    signs = np.array([[x, y, z] for x in (1, -1) for y in (1, -1) for z in (1, -1)], float)
    sides = signs * np.array(box.size) / 2
    sine, cosine = math.sin(box.heading), math.cos(box.heading)
    turned = np.stack([cosine * sides[:, 0] - sine * sides[:, 1], sine * sides[:, 0] + cosine * sides[:, 1]], 1)
    return np.hstack([turned, sides[:, 2:]]) + np.array(box.center)


def seen_at(points: np.ndarray, camera: dict[str, Any], pose: dict[str, Any]) -> np.ndarray | None:
    """Return the pixels of points of the world by OpenCV's models, or None where one is not well in front."""
    x, y, z, w = pose["rotation_xyzw"]
    turn = cv2.Rodrigues(2 * math.acos(min(1.0, abs(w))) * unit(np.array([x, y, z]) * (1 if w >= 0 else -1)))[0]
    local = (points - np.array(pose["translation"])) @ turn
    if local[:, 2].min() < 0.5 or np.abs(local[:, :2] / local[:, 2:]).max() > 1.2:
        return None
    matrix, coefficients = np.array(camera["k"]).reshape(3, 3), np.array(camera["d"], float)
    still = np.zeros(3)
    if camera["distortion_model"] == "equidistant":
        pixels = cv2.fisheye.projectPoints(local[:, None], still, still, matrix, coefficients[:4])[0]
    else:
        pixels = cv2.projectPoints(local[:, None], still, still, matrix, coefficients)[0]
    return np.asarray(pixels[:, 0])


def unit(vector: np.ndarray) -> np.ndarray:
    length = float(np.linalg.norm(vector))
    return np.asarray(vector / length if length else vector)


def test_boxes_are_drawn_where_the_true_cameras_see_them(
    street: tuple[Drive, ConversionReport], tmp_path: Path
) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: no browser here")
    program = chromium()
    drive, report = street
    boxes = boxes_of_drive(drive.truth)
    labels = write_labels(tmp_path / "labels.jsonl", report, boxes)
    page_path = tmp_path / "page.html"
    assert main(["preview", str(report.scenes[0].folder), "-o", str(page_path), "--labels", str(labels)]) == 0
    with playwright.sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=program, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(page_path.as_uri())
        page.evaluate("() => window.nucleusPreview.ready")
        page.evaluate(f"() => window.nucleusPreview.setFrame({FRAME})")
        compared = 0
        for name, camera in drive.truth["cameras"].items():
            segments = page.evaluate("(camera) => window.nucleusPreview.labelSegments(camera)", name)
            ends = np.array([end for segment in segments for end in segment[:2]], float).reshape(-1, 3)[:, :2]
            image = camera["images"][FRAME]
            for box in boxes:
                pixels = seen_at(true_corners(box), camera, image["map_from_camera"])
                if pixels is None:
                    continue
                away = np.linalg.norm(ends[None] - pixels[:, None], axis=2).min(axis=1)
                assert away.max() < 0.5
                compared += 1
        assert compared > 5

        def shots() -> dict[str, np.ndarray]:
            places = {"3d": "#view3d", "top": "#viewTop"}
            places |= {name: f"canvas[data-camera={name}]" for name in drive.truth["cameras"]}
            raw = {name: np.frombuffer(page.locator(place).screenshot(), np.uint8) for name, place in places.items()}
            return {name: cv2.imdecode(data, cv2.IMREAD_COLOR).astype(int) for name, data in raw.items()}

        shown = shots()
        page.locator("#labelsShown").click()
        page.evaluate(f"() => window.nucleusPreview.setFrame({FRAME})")
        page.wait_for_function("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        hidden = shots()
        for name, picture in shown.items():
            assert (np.abs(picture - hidden[name]).max(axis=2) > 60).sum() > 100, name
        browser.close()
    assert complaints == []


def test_a_page_without_labels_has_none_and_the_world_offset_is_taken_off(
    street: tuple[Drive, ConversionReport], tmp_path: Path
) -> None:
    _, report = street
    manifest = report.scenes[0].manifest
    box = TrueBox("t", "car </script>", (1.0, 2.0, 3.0), (4.0, 2.0, 1.5), 0.0)
    labels = write_labels(tmp_path / "labels.jsonl", report, [box])
    pages = {}
    for name, more in (("with", ["--labels", str(labels)]), ("without", [])):
        assert main(["preview", str(report.scenes[0].folder), "-o", str(tmp_path / f"{name}.html"), *more]) == 0
        pages[name] = (tmp_path / f"{name}.html").read_text()
    assert 'id="labels"' not in pages["without"]
    text = pages["with"].partition('id="labels">')[2].partition("</script>")[0]
    shown = json.loads(text)
    assert shown["classes"] == ["car </script>"]
    offset = np.array([manifest.world_offset[axis] for axis in "xyz"])
    for frame in range(manifest.frames):
        (row,) = shown["frames"][str(frame)]
        assert np.array(row[1:4]) + offset == pytest.approx(box.center, abs=1e-3)
        assert row[8:] == [4.0, 2.0, 1.5]


def test_a_file_that_holds_no_labels_is_named(
    street: tuple[Drive, ConversionReport], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text('{"scene": "s"}\n')
    assert (
        main(["preview", str(street[1].scenes[0].folder), "-o", str(tmp_path / "p.html"), "--labels", str(path)]) == 2
    )
    assert "labels.jsonl:1" in capsys.readouterr().err
