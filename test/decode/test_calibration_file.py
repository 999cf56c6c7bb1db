# SPDX-License-Identifier: Apache-2.0
"""A calibration file says what the message says, or what is wrong with it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import yaml
from front_camera import BROWN, INFO, K, P, model_of

from nucleus_bridge.decode.camera_info import load_calibration
from nucleus_bridge.errors import CalibrationError, ConfigError


def matrix(rows: int, cols: int, data):
    return {"rows": rows, "cols": cols, "data": list(data)}


CALIBRATION = {
    "image_width": 1920,
    "image_height": 1080,
    "camera_name": "front",
    "camera_matrix": matrix(3, 3, K),
    "distortion_model": "plumb_bob",
    "distortion_coefficients": matrix(1, 5, BROWN),
    "rectification_matrix": matrix(3, 3, np.eye(3).ravel().tolist()),
    "projection_matrix": matrix(3, 4, P),
}


class TestFile:
    def write(self, folder, **changes):
        content = {key: value for key, value in {**CALIBRATION, **changes}.items() if value is not None}
        path = folder / "front.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    def test_a_file_says_what_the_message_says(self, tmp_path):
        info = load_calibration(self.write(tmp_path))
        assert info == replace(INFO, frame_id="")
        assert info.stamp_ns == 0

    def test_a_file_as_the_calibrator_prints_it_is_read(self, tmp_path):
        path = tmp_path / "printed.yaml"
        path.write_text(
            "image_width: 640\nimage_height: 480\ncamera_name: narrow_stereo\n"
            "camera_matrix:\n  rows: 3\n  cols: 3\n  data: [438.78, 0., 305.5, 0., 437.3, 243.7, 0, 0, 1]\n"
            "distortion_model: equidistant\n"
            "distortion_coefficients:\n  rows: 1\n  cols: 4\n  data: [-1.0e-2, 0.02, 0.003, 0.004]\n"
        )
        info = load_calibration(path)
        assert info.k[:3] == (438.78, 0.0, 305.5)
        assert info.d == (-0.01, 0.02, 0.003, 0.004)
        assert model_of(info, 640, 480).model == "fisheye"
        with pytest.raises(CalibrationError, match=r"P\[0\]"):
            model_of(info, 640, 480, rectified=True)

    @pytest.mark.parametrize(
        ("changes", "key"),
        [
            ({"image_width": None}, "image_width"),
            ({"image_height": "tall"}, "image_height"),
            ({"image_height": 0}, "image_height"),
            ({"image_width": True}, "image_width"),
            ({"distortion_model": None}, "distortion_model"),
            ({"camera_matrix": None}, "camera_matrix.data"),
            ({"camera_matrix": [1.0] * 9}, "camera_matrix.data"),
            ({"camera_matrix": matrix(3, 3, K[:8])}, "camera_matrix.data has 8 numbers, expected 9"),
            ({"distortion_coefficients": matrix(1, 2, [0.1, "a"])}, "distortion_coefficients.data"),
            ({"projection_matrix": matrix(3, 3, K)}, "projection_matrix.data has 9 numbers, expected 12"),
            ({"rectification_matrix": matrix(3, 3, [math.nan] * 9)}, "rectification_matrix.data"),
        ],
    )
    def test_a_wrong_key_is_named_with_the_file(self, tmp_path, changes, key):
        path = self.write(tmp_path, **changes)
        with pytest.raises(ConfigError, match=f"front.yaml: {key}"):
            load_calibration(path)

    @pytest.mark.parametrize("content", [b"", b"a list", b"- 1\n- 2", b"{", b"\xff\xfe\x00", b"%YAML:1.0\n---\n"])
    def test_a_file_that_is_no_calibration_is_named(self, tmp_path, content):
        path = tmp_path / "wrong.yaml"
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=r"wrong\.yaml"):
            load_calibration(path)

    def test_a_file_that_is_not_there_is_named(self, tmp_path):
        with pytest.raises(ConfigError, match=r"gone\.yaml"):
            load_calibration(tmp_path / "gone.yaml")
