# SPDX-License-Identifier: Apache-2.0
"""Distortion models and their coefficients get their names, or are refused."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from front_camera import BROWN, K, distorted, model_of

from nucleus_bridge.errors import CalibrationError

BROWN_NAMES = ("k1", "k2", "p1", "p2", "k3")
RATIONAL_NAMES = (*BROWN_NAMES, "k4", "k5", "k6")
THIN_PRISM_NAMES = (*RATIONAL_NAMES, "s1", "s2", "s3", "s4", "tau_x", "tau_y")
TAIL = [0.2, 0.1, 0.01]
PRISM = [0.001, 0.002, 0.003, 0.004]


class TestDistortion:
    @pytest.mark.parametrize(
        ("name", "d", "model", "coefficients"),
        [
            ("plumb_bob", BROWN, "brown_conrady", BROWN),
            ("plumb_bob", BROWN[:4], "brown_conrady", [*BROWN[:4], 0]),
            ("plumb_bob", [], "brown_conrady", [0] * 5),
            ("plumb_bob", [*BROWN, 0, 0, 0], "brown_conrady", BROWN),
            ("", [], "brown_conrady", [0] * 5),
            ("", [0] * 5, "brown_conrady", [0] * 5),
            ("", [0] * 8, "brown_conrady", [0] * 5),
            ("equidistant", [0.1, 0.2, 0.3, 0.4], "fisheye", [0.1, 0.2, 0.3, 0.4]),
            ("fisheye", [0.1, 0.2, 0.3, 0.4], "fisheye", [0.1, 0.2, 0.3, 0.4]),
            ("equidistant", [0, 0, 0, 0], "fisheye", [0] * 4),
            ("equidistant", [0.1, 0.2, 0.3, 0.4, 0], "fisheye", [0.1, 0.2, 0.3, 0.4]),
            ("rational_polynomial", [*BROWN, 0, 0, 0], "brown_conrady", BROWN),
            ("rational_polynomial", BROWN, "brown_conrady", BROWN),
            ("rational_polynomial", [*BROWN, *TAIL], "rational", [*BROWN, *TAIL]),
            ("rational_polynomial", [*BROWN, *TAIL, 0, 0, 0, 0], "rational", [*BROWN, *TAIL]),
            ("thin_prism", [*BROWN, *TAIL, *PRISM], "thin_prism", [*BROWN, *TAIL, *PRISM, 0, 0]),
            ("thin_prism_fisheye", [*BROWN, *TAIL, *PRISM, 0.1, 0.2], "thin_prism", [*BROWN, *TAIL, *PRISM, 0.1, 0.2]),
            ("thin_prism", [*BROWN, 0, 0, 0, *PRISM], "thin_prism", [*BROWN, 0, 0, 0, *PRISM, 0, 0]),
            ("mei", [1.2, -0.3, 0.1, 0.001, 0.002], "omnidirectional", [1.2, -0.3, 0.1, 0.001, 0.002]),
            ("mei", [-0.3, 0.1, 0.001, 0.002, 1.2], "omnidirectional", [1.2, -0.3, 0.1, 0.001, 0.002]),
            ("omnidirectional", [0.9], "omnidirectional", [0.9, 0, 0, 0, 0]),
            ("cata", [2.9, 0.2, -6.7, 0.004, -0.001], "omnidirectional", [2.9, 0.2, -6.7, 0.004, -0.001]),
        ],
    )
    def test_models_and_coefficients_get_their_names(self, name, d, model, coefficients):
        names = {
            "brown_conrady": BROWN_NAMES,
            "fisheye": ("k1", "k2", "k3", "k4"),
            "rational": RATIONAL_NAMES,
            "thin_prism": THIN_PRISM_NAMES,
            "omnidirectional": ("xi", "k1", "k2", "p1", "p2"),
        }[model]
        found = model_of(distorted(name, *d))
        assert found.model == model
        assert dict(found.distortion) == dict(zip(names, coefficients, strict=True))

    @pytest.mark.parametrize("name", ["ftheta", "Inverse Brown Conrady", "cylindrical", "none"])
    def test_an_unknown_model_is_named_with_the_camera(self, name):
        with pytest.raises(CalibrationError, match=f"front_optical.*'{name}'.*plumb_bob") as caught:
            model_of(distorted(name, *BROWN))
        assert caught.value.cause == "unknown_distortion_model"

    @pytest.mark.parametrize(
        ("name", "d", "model"),
        [
            ("Brown Conrady", BROWN, "brown_conrady"),
            ("Modified Brown-Conrady", BROWN, "brown_conrady"),
            ("RadTan", BROWN[:4], "brown_conrady"),
            ("radial_tangential", BROWN, "brown_conrady"),
            ("Plumb Bob", BROWN, "brown_conrady"),
            ("Kannala Brandt4", BROWN[:4], "fisheye"),
            ("kannala_brandt", BROWN[:4], "fisheye"),
            ("equi", BROWN[:4], "fisheye"),
            ("Rational Polynomial", (*BROWN, 0.1, 0.2, 0.3), "rational"),
            ("none", (), "brown_conrady"),
            ("None", (0.0,) * 5, "brown_conrady"),
            ("Inverse Brown Conrady", (0.0,) * 5, "brown_conrady"),
        ],
    )
    def test_models_are_known_by_the_names_that_drivers_have_for_them(self, name, d, model):
        assert model_of(distorted(name, *d)).model == model

    def test_no_model_with_coefficients_is_unknown(self):
        with pytest.raises(CalibrationError) as caught:
            model_of(distorted("", *BROWN))
        assert caught.value.cause == "unknown_distortion_model"

    @pytest.mark.parametrize(
        ("name", "d"),
        [
            ("plumb_bob", [0.1, 0.2, 0.3]),
            ("plumb_bob", [*BROWN, *TAIL]),
            ("equidistant", []),
            ("equidistant", [0.1, 0.2]),
            ("equidistant", [0.1, 0.2, 0.3, 0.4, 0.5]),
            ("rational_polynomial", [*BROWN, 0.1]),
            ("rational_polynomial", []),
            ("thin_prism", [*BROWN, *TAIL, *PRISM, 0.1]),
            ("mei", [0.1, 0.2, 0.3, 0.4]),
            ("mei", [-0.3, 0.1, 0.001, 0.002, 0.003]),
            ("mei", []),
        ],
    )
    def test_coefficients_that_do_not_suit_the_model_are_shown(self, name, d):
        with pytest.raises(CalibrationError, match=rf"front_optical.*'{name}'.*{len(d)} coefficients D = \[") as caught:
            model_of(distorted(name, *d))
        assert caught.value.cause == "distortion"


def test_named_coefficients_project_as_opencv_projects_d():
    """The order of names follows OpenCV's order of D, checked through its own projection."""
    info = distorted("rational_polynomial", *BROWN, *TAIL)
    d = model_of(info).distortion
    x, y = 0.31, -0.22
    r2 = x * x + y * y
    radial = (1 + d["k1"] * r2 + d["k2"] * r2**2 + d["k3"] * r2**3) / (
        1 + d["k4"] * r2 + d["k5"] * r2**2 + d["k6"] * r2**3
    )
    u = x * radial + 2 * d["p1"] * x * y + d["p2"] * (r2 + 2 * x * x)
    v = y * radial + d["p1"] * (r2 + 2 * y * y) + 2 * d["p2"] * x * y
    point = np.array([[[x, y, 1.0]]])
    projected, _ = cv2.projectPoints(point, np.zeros(3), np.zeros(3), np.array(K).reshape(3, 3), np.array(info.d))
    np.testing.assert_allclose(projected.ravel(), [1000 * u + 960, 1001 * v + 540], atol=1e-9)
