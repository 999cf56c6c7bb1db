# SPDX-License-Identifier: Apache-2.0
"""Points drawn for the vehicle lie where the review page draws them, judged by the page's own program."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import nucleus_bridge.preview.page
from nucleus_bridge.model import CameraModel, Transform
from nucleus_bridge.preview.overlay import draw_points, project_cloud

PAGE = Path(nucleus_bridge.preview.page.__file__).parent
WIDTH, HEIGHT = 800, 500
MODELS = {
    "plain": ("brown_conrady", {}),
    "brown_conrady": ("brown_conrady", {"k1": -0.31, "k2": 0.11, "p1": 0.001, "p2": -0.002, "k3": -0.02}),
    "fisheye": ("fisheye", {"k1": -0.04, "k2": 0.01, "k3": -0.006, "k4": 0.001}),
    "omnidirectional": ("omnidirectional", {"xi": 1.7, "k1": -0.2, "k2": 0.05, "p1": 0.001, "p2": 0.0005}),
    "rational": (
        "rational",
        {"k1": 1.1, "k2": 0.2, "p1": 0.001, "p2": 0.0, "k3": 0.0, "k4": 1.4, "k5": 0.5, "k6": 0.06},
    ),
    "half size": ("brown_conrady", {"k1": 0.1}),
}
POSE = Transform(np.array([3.0, -2.0, 1.5]), np.array([0.5, -0.5, 0.5, -0.5]))


def camera(name: str) -> CameraModel:
    model, distortion = MODELS[name]
    scale = 2.0 if name == "half size" else 1.0
    return CameraModel(model, WIDTH, HEIGHT, 420.0 * scale, 415.0, 399.0, 251.0, 0.3, distortion, scale)


def points() -> np.ndarray:
    return POSE.translation + np.random.default_rng(3).normal(scale=15.0, size=(4000, 3))


@pytest.mark.parametrize("name", MODELS)
def test_points_fall_where_the_page_puts_them(name: str, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node, which runs the page's own program")
    model, cloud = camera(name), points()
    params = {
        **{key: getattr(model, key) for key in ("fx", "fy", "cx", "cy", "skew", "scale_factor")},
        **model.distortion,
        "camera_model": model.model,
    }
    image = {"params": params, "width": WIDTH, "height": HEIGHT}
    pose = {"turn": POSE.rotation_xyzw.tolist(), "at": POSE.translation.tolist()}
    asked = {"count": len(cloud), "xyz": cloud.ravel().tolist()}, image, pose
    program = tmp_path / "program.js"
    sources = "\n".join((PAGE / name).read_text() for name in ("poses.js", "projection.js"))
    says = "[...found.u].slice(0, n), [...found.v].slice(0, n), [...found.depth].slice(0, n)"
    call = f"const found = projectCloud(...{json.dumps(asked)}), n = found.count;"
    program.write_text(f"{sources}\n{call}\nconsole.log(JSON.stringify([{says}]));\n")
    told = subprocess.run([node, str(program)], capture_output=True, text=True, check=True, timeout=60)
    expected = np.array(json.loads(told.stdout)).T
    found = np.stack(project_cloud(cloud, POSE, model, WIDTH, HEIGHT), axis=1)
    assert len(expected) > 100
    np.testing.assert_allclose(found, expected, atol=1e-3, rtol=0)


def test_a_rational_lens_ends_where_its_image_turns_back() -> None:
    """Beyond its pole or its turning point such a lens would show what is far outside in the middle of the image."""
    lens = {"k1": 1.1, "k2": 0.2, "p1": 0.0, "p2": 0.0, "k3": 0.0, "k4": 1.4, "k5": 0.5, "k6": 0.06}
    model = CameraModel("rational", WIDTH, HEIGHT, 420.0, 420.0, 400.0, 250.0, 0.0, lens)
    ahead = np.linspace(0.0, 30.0, 3001)
    square = ahead**2
    bent = ahead * (1 + square * (1.1 + square * 0.2)) / (1 + square * (1.4 + square * (0.5 + square * 0.06)))
    turns_at = ahead[np.argmax(np.diff(bent) <= 0)]
    cloud = np.stack([ahead, np.zeros_like(ahead), np.ones_like(ahead)], axis=1)
    still = Transform(np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]))
    u, _, _ = project_cloud(cloud, still, model, 10**6, HEIGHT)
    assert (np.diff(u)[:-2] > 0).all()
    assert len(u) == pytest.approx(turns_at * 100, abs=2)


def test_near_points_hide_far_ones_and_colours_run_from_red_to_blue() -> None:
    picture = np.full((50, 100), 90, np.uint8)
    u, v = np.array([20.0, 20.0, 60.0]), np.array([25.0, 25.0, 10.0])
    drawn = draw_points(picture, 100, u, v, np.array([2.0, 70.0, 70.0]))
    assert drawn.shape == (50, 100, 3)
    assert drawn[25, 20].argmax() == 2  # the near one, red
    assert drawn[10, 60].argmax() == 0  # the far one, blue
    assert (drawn != 90).any(axis=2).sum() == 2


def test_a_smaller_picture_has_its_points_at_the_same_places() -> None:
    picture = np.zeros((540, 960, 3), np.uint8)
    drawn = draw_points(picture, 1920, np.array([1000.0, 0.0]), np.array([700.0, 0.0]), np.array([5.0, 5.0]))
    rows, columns = np.nonzero(drawn.any(axis=2))
    shown = rows > 10
    assert (rows[shown].mean(), columns[shown].mean()) == pytest.approx((350.25 - 0.5, 500.25 - 0.5), abs=0.5)
    assert not picture.any()
