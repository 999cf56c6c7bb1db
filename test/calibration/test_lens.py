# SPDX-License-Identifier: Apache-2.0
"""Every lens model against OpenCV's own projection; the omnidirectional one is compared with the demo drive's lens."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import pytest

from nucleus_bridge.calibration.lens import is_ahead, to_pixels
from nucleus_bridge.decode.distortion import BROWN_CONRADY, FISHEYE, RATIONAL, THIN_PRISM
from nucleus_bridge.model import CameraModel

COEFFICIENTS: Mapping[str, tuple[tuple[str, ...], tuple[float, ...]]] = {
    "brown_conrady": (BROWN_CONRADY, (-0.28, 0.085, 0.0008, -0.0005, -0.011)),
    "rational": (RATIONAL, (0.12, -0.01, 0.0006, -0.0004, 0.0002, 0.34, 0.002, 0.001)),
    "thin_prism": (
        THIN_PRISM,
        (0.1, -0.02, 6e-4, -4e-4, 2e-4, 0.3, 0.002, 0.001, 3e-3, -1e-3, 2e-3, 1e-3, 0.02, -0.03),
    ),
    "fisheye": (FISHEYE, (-0.018, 0.006, -0.0021, 0.0004)),
}


@pytest.mark.parametrize("name", COEFFICIENTS)
def test_points_fall_where_opencv_has_them(name: str) -> None:
    names, values = COEFFICIENTS[name]
    model = CameraModel(name, 960, 600, 560.0, 561.0, 480.5, 298.0, distortion=dict(zip(names, values, strict=True)))
    points = np.random.default_rng(0).uniform([-8, -8, 0.6], [8, 8, 20], (500, 3))
    points = points[is_ahead(*points.T)]
    matrix = np.array([[model.fx, 0, model.cx], [0, model.fy, model.cy], [0, 0, 1]])
    project = cv2.fisheye.projectPoints if name == "fisheye" else cv2.projectPoints
    still = np.zeros(3)
    if name == "fisheye":
        expected, _ = project(points[:, None], still, still, matrix, np.array(values))
    else:
        expected, _ = project(points, still, still, matrix, np.array(values))
    found = np.stack(to_pixels(*points.T, model), axis=1)
    assert np.abs(found - expected.reshape(-1, 2)).max() < 1e-6
