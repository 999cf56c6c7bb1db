# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from nucleus_bridge.decode.rectify import rectify
from nucleus_bridge.errors import ImageError
from nucleus_bridge.model import CameraModel

WIDTH, HEIGHT = 640, 480
BROWN = {"k1": -0.32, "k2": 0.11, "p1": 0.002, "p2": -0.003, "k3": -0.02}
RATIONAL = {**BROWN, "k1": 0.45, "k2": -0.2, "k4": 0.8, "k5": -0.15, "k6": -0.01}
THIN_PRISM = {**RATIONAL, "s1": 0.01, "s2": -0.004, "s3": -0.006, "s4": 0.003, "tau_x": 0.02, "tau_y": -0.03}
FISHEYE = {"k1": -0.03, "k2": 0.012, "k3": -0.006, "k4": 0.001}
UNIFIED = {"xi": 1.3, "k1": -0.21, "k2": 0.05, "p1": 0.002, "p2": -0.001}


def camera(model: str, distortion, **changes) -> CameraModel:
    base = CameraModel(model, WIDTH, HEIGHT, 420.0, 433.0, 327.3, 236.6, distortion=distortion)
    return replace(base, **changes)


CAMERAS = {
    "brown_conrady": camera("brown_conrady", BROWN),
    "skewed": camera("brown_conrady", BROWN, skew=25.0),
    "rational": camera("rational", RATIONAL),
    "thin_prism": camera("thin_prism", THIN_PRISM),
    "fisheye": camera("fisheye", FISHEYE, fx=250.0, fy=255.0),
    "skewed fisheye": camera("fisheye", FISHEYE, fx=250.0, fy=255.0, skew=-12.0),
    "omnidirectional": camera("omnidirectional", UNIFIED, fx=600.0, fy=610.0),
    "smaller than calibrated": camera(
        "rational", RATIONAL, width=1280, height=960, fx=840.0, fy=866.0, cx=654.6, cy=473.2, scale_factor=2.0
    ),
}


def distort(model: CameraModel, rays):
    """Where the camera sees points at (x, y, 1), in the normalised plane; by OpenCV, or on Mei's unit sphere."""
    points = np.column_stack([rays, np.ones(len(rays))])
    d = model.distortion
    if model.model == "omnidirectional":
        on_sphere = points / np.linalg.norm(points, axis=1)[:, None]
        x, y = (on_sphere[:, :2] / (on_sphere[:, 2:] + d["xi"])).T
        plane = np.column_stack([x, y, np.ones(len(x))])
        coefficients = np.array([d["k1"], d["k2"], d["p1"], d["p2"]])
        return cv2.projectPoints(plane, np.zeros(3), np.zeros(3), np.eye(3), coefficients)[0][:, 0]
    if model.model == "fisheye":
        coefficients = np.array(list(d.values()))
        return cv2.fisheye.projectPoints(points[:, None], np.zeros(3), np.zeros(3), np.eye(3), coefficients)[0][:, 0]
    return cv2.projectPoints(points, np.zeros(3), np.zeros(3), np.eye(3), np.array(list(d.values())))[0][:, 0]


def pixel(model: CameraModel, plane):
    x, y = np.transpose(plane)
    u, v = model.fx * x + model.skew * y + model.cx, model.fy * y + model.cy
    return np.column_stack([u, v]) / model.scale_factor


def spot_image(centres):
    """A black image with a small bright spot at each place."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    image = np.zeros((HEIGHT, WIDTH))
    for u, v in centres:
        image += 250 * np.exp(-((columns - u) ** 2 + (rows - v) ** 2) / (2 * 2.5**2))
    return np.clip(image, 0, 255).astype(np.uint8)


def spot_near(image, place, reach: int = 11):
    """Centre of the light within ``reach`` pixels of a place."""
    u, v = np.rint(place).astype(int)
    window = image[v - reach : v + reach + 1, u - reach : u + reach + 1].astype(float)
    rows, columns = np.mgrid[v - reach : v + reach + 1, u - reach : u + reach + 1]
    assert window.sum() > 1000
    return np.array([(window * columns).sum(), (window * rows).sum()]) / window.sum()


@pytest.mark.parametrize("name", CAMERAS)
def test_points_are_where_the_new_intrinsics_say(name):
    model = CAMERAS[name]
    blank = np.zeros((HEIGHT, WIDTH), np.uint8)
    target = rectify(blank, model)[1]
    # Rays through a grid of pixels of the rectified image, a spot's width and more apart.
    wanted = np.array([(u, v) for u in range(60, WIDTH - 59, 65) for v in range(60, HEIGHT - 59, 60)], float)
    rays = (wanted * target.scale_factor - [target.cx, target.cy]) / [target.fx, target.fy]
    seen = pixel(model, distort(model, rays))
    inside = ((seen > 15) & (seen < [WIDTH - 15, HEIGHT - 15])).all(axis=1)
    assert np.count_nonzero(inside) > 25
    assert np.abs(seen - wanted)[inside].max() > 10
    rectified, _ = rectify(spot_image(seen[inside]), model)
    for place in wanted[inside]:
        assert np.abs(spot_near(rectified, place) - place).max() < 0.5


@pytest.mark.parametrize("name", CAMERAS)
def test_the_rectified_camera_has_no_distortion_and_the_same_size(name):
    model = CAMERAS[name]
    image, target = rectify(np.zeros((HEIGHT, WIDTH, 3), np.uint8), model)
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert target.model == "brown_conrady"
    assert set(target.distortion.values()) == {0.0}
    assert target.skew == 0.0
    assert (target.width, target.height, target.scale_factor) == (model.width, model.height, model.scale_factor)
    assert (target.cx, target.cy) == (model.cx, model.cy)


@pytest.mark.parametrize("name", CAMERAS)
def test_the_middle_of_the_image_keeps_its_scale(name):
    model = CAMERAS[name]
    target = rectify(np.zeros((HEIGHT, WIDTH), np.uint8), model)[1]
    step = 1e-4
    seen = pixel(model, distort(model, np.array([[0.0, 0.0], [step, 0.0], [0.0, step]])))
    kept = pixel(target, np.array([[0.0, 0.0], [step, 0.0], [0.0, step]]))
    along_x, along_y = np.linalg.norm(seen[1:] - seen[0], axis=1) / np.linalg.norm(kept[1:] - kept[0], axis=1)
    assert along_x == pytest.approx(1.0, abs=0.05)
    assert along_y == pytest.approx(1.0, abs=0.05)


def test_an_image_without_distortion_stays_as_it_is():
    picture = np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    model = camera("brown_conrady", dict.fromkeys(BROWN, 0.0))
    image, target = rectify(picture, model)
    assert np.array_equal(image, picture)
    assert target == model


def test_cameras_are_not_mixed_up():
    """Maps are kept per camera, whatever of it differs."""
    picture = spot_image([(500, 100)])
    first = rectify(picture, CAMERAS["rational"])[0]
    other = replace(CAMERAS["rational"], distortion={**RATIONAL, "k1": 0.4})
    moved = replace(CAMERAS["rational"], cx=300.0)
    assert not np.array_equal(rectify(picture, other)[0], first)
    assert not np.array_equal(rectify(picture, moved)[0], first)
    assert np.array_equal(rectify(picture, CAMERAS["rational"])[0], first)


@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH + 1), (HEIGHT // 2, WIDTH // 2, 3), (WIDTH, HEIGHT)])
def test_an_image_of_another_size_is_refused(shape):
    with pytest.raises(ImageError, match=f"{shape[1]} x {shape[0]}"):
        rectify(np.zeros(shape, np.uint8), CAMERAS["rational"])
