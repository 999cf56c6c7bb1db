# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import yaml
from serialised import STAMP_NS, camera_info_message, header, recorded

from nucleus_bridge.decode.camera_info import (
    CameraInfo,
    RegionOfInterest,
    camera_model,
    decode_camera_info,
    is_rectified_topic,
    load_calibration,
    rectified_from_optical,
)
from nucleus_bridge.errors import CalibrationError, ConfigError

K = (1000.0, 0.0, 960.0, 0.0, 1001.0, 540.0, 0.0, 0.0, 1.0)
P = (900.0, 0.0, 950.0, 0.0, 0.0, 901.0, 530.0, 0.0, 0.0, 0.0, 1.0, 0.0)
BROWN = [-0.3, 0.1, 0.001, -0.002, 0.05]
INFO = CameraInfo(STAMP_NS, "front_optical", 1920, 1080, "plumb_bob", tuple(BROWN), K, p=P)


def model_of(info: CameraInfo, width: int = 1920, height: int = 1080, *, rectified: bool = False):
    return camera_model(info, image_width=width, image_height=height, rectified=rectified)


def distorted(distortion_model: str, *d: float) -> CameraInfo:
    return replace(INFO, distortion_model=distortion_model, d=d)


class TestMessage:
    def test_every_field_arrives(self):
        roi = {"x_offset": 100, "y_offset": 50, "width": 800, "height": 600, "do_rectify": True}
        message = camera_info_message(
            d=BROWN, roi=roi, binning_x=2, binning_y=1, header=header(STAMP_NS, "/front_optical")
        )
        info = decode_camera_info(message)
        assert info == replace(INFO, binning_x=2, binning_y=1, roi=RegionOfInterest(100, 50, 800, 600, True))
        assert info.stamp_ns == STAMP_NS
        assert hash(info) == hash(replace(info, stamp_ns=1))

    def test_infos_are_equal_when_they_say_the_same_at_another_time(self):
        one, later = (decode_camera_info(camera_info_message(header=header(stamp_ns=s))) for s in (5, 6))
        assert one == later
        assert one.stamp_ns != later.stamp_ns
        assert one != decode_camera_info(camera_info_message(d=[0.1, 0, 0, 0, 0]))

    @pytest.mark.parametrize("name", ["d", "k", "r", "p"])
    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_values_that_are_not_finite_are_refused(self, name, value):
        lengths = {"d": 5, "k": 9, "r": 9, "p": 12}
        values = np.ones(lengths[name])
        values[-1] = value
        with pytest.raises(CalibrationError, match=f"{name.upper()} of its calibration is not finite") as caught:
            decode_camera_info(camera_info_message(**{name: values}))
        assert caught.value.cause == "not_finite"

    def test_thousands_of_coefficients_are_refused(self):
        with pytest.raises(CalibrationError, match="5000 coefficients"):
            decode_camera_info(camera_info_message(d=np.zeros(5000)))


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

    @pytest.mark.parametrize("name", ["kannala_brandt", "ftheta", "PLUMB", "none"])
    def test_an_unknown_model_is_named_with_the_camera(self, name):
        with pytest.raises(CalibrationError, match=f"front_optical.*'{name}'.*plumb_bob") as caught:
            model_of(distorted(name, *BROWN))
        assert caught.value.cause == "unknown_distortion_model"

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


class TestIntrinsics:
    def test_raw_images_take_k_and_d(self):
        found = model_of(replace(INFO, k=(1000.0, 1.5, *K[2:])))
        assert (found.fx, found.fy, found.cx, found.cy, found.skew) == (1000.0, 1001.0, 960.0, 540.0, 1.5)
        assert (found.width, found.height, found.scale_factor) == (1920, 1080, 1.0)
        assert found.distortion["k1"] == -0.3

    def test_rectified_images_take_p_and_no_distortion(self):
        for info in (INFO, distorted("nobody_knows", 0.1)):
            found = model_of(info, rectified=True)
            assert (found.fx, found.fy, found.cx, found.cy, found.skew) == (900.0, 901.0, 950.0, 530.0, 0.0)
            assert found.model == "brown_conrady"
            assert set(found.distortion.values()) == {0.0}

    @pytest.mark.parametrize(
        ("topic", "rectified"),
        [
            ("/camera/image_raw", False),
            ("/camera/image_raw/compressed", False),
            ("/camera/image_color", False),
            ("/camera/image_rect", True),
            ("/camera/image_rect/compressed", True),
            ("/camera/image_rect_color", True),
            ("/camera/image_rect_color/compressed", True),
            ("/camera/depth/image_rect_raw", True),
            ("image_rect", True),
            ("/directory/image", False),
            ("/my_image_rectifier/image_raw", False),
        ],
    )
    def test_rectified_topics_are_known_by_name(self, topic, rectified):
        assert is_rectified_topic(topic) == rectified

    @pytest.mark.parametrize("rectified", [False, True])
    def test_an_uncalibrated_camera_is_named_with_the_remedy(self, rectified):
        zeros = replace(INFO, k=(0.0,) * 9, p=(0.0,) * 12)
        for info in (zeros, replace(zeros, p=P)):
            with pytest.raises(CalibrationError, match=r"front_optical.*K\[0\] is 0.*calibration_file") as caught:
                model_of(info, rectified=rectified)
            assert caught.value.cause == "uncalibrated"

    def test_a_rectified_image_needs_p(self):
        with pytest.raises(CalibrationError, match=r"P\[0\] is 0") as caught:
            model_of(replace(INFO, p=(0.0,) * 12), rectified=True)
        assert caught.value.cause == "uncalibrated"

    @pytest.mark.parametrize("k", [(-1000.0, *K[1:]), (*K[:4], 0.0, *K[5:]), (*K[:4], -5.0, *K[5:])])
    def test_focal_lengths_must_be_positive(self, k):
        with pytest.raises(CalibrationError, match="focal lengths") as caught:
            model_of(replace(INFO, k=k))
        assert caught.value.cause == "uncalibrated"

    @pytest.mark.parametrize("name", ["d", "k", "r", "p"])
    def test_values_that_are_not_finite_are_refused(self, name):
        values = (*getattr(INFO, name)[:-1], math.nan)
        with pytest.raises(CalibrationError, match=r"front_optical.*not finite"):
            model_of(replace(INFO, **{name: values}))


class TestRectification:
    QUARTER = (0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)

    @pytest.mark.parametrize("r", [(1.0, 0, 0, 0, 1, 0, 0, 0, 1), (0.0,) * 9])
    def test_no_turn_is_none(self, r):
        assert rectified_from_optical(replace(INFO, r=r)) is None

    def test_a_turn_is_given_as_published(self):
        assert rectified_from_optical(replace(INFO, r=self.QUARTER)) == self.QUARTER

    @pytest.mark.parametrize(
        "r",
        [
            (2.0, 0, 0, 0, 2, 0, 0, 0, 2),
            (1.0, 0, 0, 0, 1, 0, 0, 0, -1),
            (1.0, 0.1, 0, 0, 1, 0, 0, 0, 1),
            (1.0, 0, 0, 0, 0, 0, 0, 0, 0),
        ],
        ids=["scaled", "mirrored", "sheared", "half filled"],
    )
    def test_what_is_no_rotation_is_named_with_the_camera(self, r):
        with pytest.raises(CalibrationError, match=r"front_optical.*R of its calibration is no rotation") as caught:
            rectified_from_optical(replace(INFO, r=r))
        assert caught.value.cause == "rectification"


class TestRegionAndBinning:
    """A point of the sensor lands on the pixel that reading out a region and binning it puts it on."""

    ROI = RegionOfInterest(200, 100, 1200, 800)

    @pytest.mark.parametrize("rectified", [False, True])
    @pytest.mark.parametrize(("bin_x", "bin_y"), [(0, 0), (1, 1), (2, 2), (4, 2)])
    @pytest.mark.parametrize("roi", [RegionOfInterest(), ROI], ids=["whole", "region"])
    def test_projection_agrees_with_cropping_and_binning(self, rectified, bin_x, bin_y, roi):
        info = replace(INFO, binning_x=bin_x, binning_y=bin_y, roi=roi, k=(1000.0, 1.5, *K[2:]))
        bx, by = max(bin_x, 1), max(bin_y, 1)
        width, height = (roi.width or 1920) // bx, (roi.height or 1080) // by
        found = model_of(info, width, height, rectified=rectified)
        assert (found.width, found.height, found.scale_factor) == (width, height, 1.0)
        x, y = 0.25, -0.125
        full = np.array(P).reshape(3, 4)[:, :3] if rectified else np.array(info.k).reshape(3, 3)
        u, v, _ = full @ [x, y, 1.0]
        assert found.fx * x + found.skew * y + found.cx == pytest.approx((u - roi.x_offset) / bx)
        assert found.fy * y + found.cy == pytest.approx((v - roi.y_offset) / by)

    def test_a_region_without_a_size_reaches_to_the_edge(self):
        found = model_of(replace(INFO, roi=RegionOfInterest(120, 80)), 1800, 1000)
        assert (found.cx, found.cy) == (840.0, 460.0)

    def test_a_region_to_rectify_belongs_to_the_rectified_image(self):
        info = replace(INFO, roi=replace(self.ROI, do_rectify=True))
        rectified = model_of(info, 1200, 800, rectified=True)
        assert (rectified.cx, rectified.cy) == (750.0, 430.0)
        assert (model_of(info).cx, model_of(info).cy) == (960.0, 540.0)
        assert (model_of(info, 1200, 800).cx, model_of(info, 1200, 800).cy) == (760.0, 440.0)

    def test_a_whole_image_with_a_region_is_a_mismatch(self):
        with pytest.raises(CalibrationError, match="1200 x 800"):
            model_of(replace(INFO, roi=self.ROI))


class TestSizes:
    def test_an_image_made_smaller_by_one_factor_keeps_the_intrinsics(self):
        # The example of the format's own documentation.
        info = replace(INFO, width=1920, height=1208)
        found = model_of(info, 960, 604)
        assert found.scale_factor == 2.0
        assert (found.width, found.height) == (1920, 1208)
        assert (found.fx, found.fy, found.cx, found.cy) == (1000.0, 1001.0, 960.0, 540.0)

    @pytest.mark.parametrize(
        ("calibrated", "actual", "factor"),
        [
            ((1920, 1080), (1280, 720), 1.5),
            ((1920, 1080), (480, 270), 4.0),
            ((1241, 376), (620, 188), 2.0),
            ((1241, 377), (621, 189), 2.0),
            ((4000, 3000), (1000, 750), 4.0),
        ],
    )
    def test_sides_may_be_rounded(self, calibrated, actual, factor):
        info = replace(INFO, width=calibrated[0], height=calibrated[1])
        assert model_of(info, *actual).scale_factor == pytest.approx(factor)

    @pytest.mark.parametrize(
        "actual", [(1280, 1080), (1920, 720), (960, 500), (640, 480), (3840, 2160), (1080, 1920), (1919, 1080)]
    )
    def test_sizes_that_disagree_are_named(self, actual):
        with pytest.raises(CalibrationError, match=f"{actual[0]} x {actual[1]}.*1920 x 1080") as caught:
            model_of(INFO, *actual)
        assert caught.value.cause == "size_mismatch"

    def test_a_calibration_without_a_size_is_a_mismatch(self):
        with pytest.raises(CalibrationError) as caught:
            model_of(replace(INFO, width=0, height=0))
        assert caught.value.cause == "size_mismatch"

    def test_binning_and_a_smaller_image_add_up(self):
        found = model_of(replace(INFO, binning_x=2, binning_y=2), 480, 270)
        assert (found.fx, found.cx, found.scale_factor) == (500.0, 480.0, 2.0)


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


def test_recorded_calibrations_are_usable():
    messages = list(recorded("scale_sample", "sensor_msgs/msg/CameraInfo"))
    assert len(messages) == 15
    for message in messages:
        found = model_of(decode_camera_info(message))
        assert found.model in ("brown_conrady", "fisheye")
        assert 500 < found.fx < 5000
        assert found.scale_factor == 1.0


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
