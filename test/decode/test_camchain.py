# SPDX-License-Identifier: Apache-2.0
"""A Kalibr chain is a calibration file for each of its cameras."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nucleus_bridge.decode.camera_info import camera_model, load_calibration
from nucleus_bridge.errors import ConfigError

CAMERA: dict[str, Any] = {
    "camera_model": "pinhole",
    "intrinsics": [460.0, 461.0, 320.5, 240.5],
    "distortion_model": "radtan",
    "distortion_coeffs": [-0.28, 0.07, 0.001, -0.002],
    "resolution": [640, 480],
    "rostopic": "/cam0/image_raw",
}


def write(folder: Path, *cameras: dict[str, Any]) -> Path:
    path = folder / "camchain.yaml"
    path.write_text(json.dumps({f"cam{number}": camera for number, camera in enumerate(cameras)}))
    return path


def test_the_cameras_of_the_drive(real_data: Path) -> None:
    folder = real_data / "inputs" / "made"
    truth = json.loads((folder / "base.truth.json").read_text())["cameras"]
    for name, camera in truth.items():
        info = load_calibration(folder / "calibration" / "camchain-imucam.yaml", camera["image_topic"])
        assert (info.width, info.height) == (camera["width"], camera["height"])
        assert info.k == pytest.approx(camera["k"], rel=1e-12)
        assert info.d == pytest.approx(camera["d"][:4], rel=1e-12), name


@pytest.mark.parametrize(
    "topic", ["/cam1/image_raw", "/cam1/image_raw/compressed", "/cam1/image_rect_color", "cam1/ffmpeg"]
)
def test_a_camera_is_known_by_its_namespace(tmp_path: Path, topic: str) -> None:
    other = {**CAMERA, "rostopic": "/cam1/image_raw", "intrinsics": [100.0, 101.0, 300.0, 200.0]}
    assert load_calibration(write(tmp_path, CAMERA, other), topic).k[0] == 100.0


def test_the_only_camera_needs_no_topic(tmp_path: Path) -> None:
    assert load_calibration(write(tmp_path, CAMERA), "/front/image").k[0] == 460.0


def test_a_camera_that_is_not_known_is_named_with_those_there_are(tmp_path: Path) -> None:
    path = write(tmp_path, CAMERA, {**CAMERA, "rostopic": "/cam1/image_raw"})
    with pytest.raises(ConfigError, match="cam0 of /cam0/image_raw, cam1 of /cam1/image_raw; set the rostopic"):
        load_calibration(path, "/front/image_raw")


@pytest.mark.parametrize(
    ("changes", "model", "distortion"),
    [
        ({}, "brown_conrady", {"k1": -0.28, "p2": -0.002}),
        ({"distortion_model": "none", "distortion_coeffs": []}, "brown_conrady", {"k1": 0.0}),
        ({"distortion_model": "equidistant", "distortion_coeffs": [0.1, 0.2, 0.3, 0.4]}, "fisheye", {"k4": 0.4}),
        ({"camera_model": "omni", "intrinsics": [1.5, 460.0, 461.0, 320.5, 240.5]}, "omnidirectional", {"xi": 1.5}),
    ],
)
def test_models_with_a_counterpart(tmp_path: Path, changes: Any, model: str, distortion: dict[str, float]) -> None:
    info = load_calibration(write(tmp_path, {**CAMERA, **changes}))
    found = camera_model(info, image_width=640, image_height=480, rectified=False)
    assert (found.model, found.fx, found.cy) == (model, 460.0, 240.5)
    assert {name: found.distortion[name] for name in distortion} == distortion


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"camera_model": "ds", "intrinsics": [0.1] * 6}, "'ds' .* no counterpart"),
        ({"distortion_model": "fov"}, "'fov' has no counterpart"),
        ({"intrinsics": [1.0, 2.0]}, "intrinsics is .* expected 4 numbers"),
        ({"resolution": "640x480"}, "resolution is .* expected 2 numbers"),
        ({"distortion_coeffs": ["a"]}, "expected a list of finite numbers"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, changes: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_calibration(write(tmp_path, {**CAMERA, **changes}))
