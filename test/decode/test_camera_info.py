# SPDX-License-Identifier: Apache-2.0
"""A calibration becomes the model of an image: rectified or not, of a region, binned or made smaller."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from front_camera import BROWN, INFO, K, P, distorted, model_of
from serialised import STAMP_NS, camera_info_message, header, recorded

from nucleus_bridge.decode.camera_info import (
    RegionOfInterest,
    decode_camera_info,
    is_rectified_topic,
    rectified_from_optical,
)
from nucleus_bridge.errors import CalibrationError


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
        with pytest.raises(CalibrationError, match=r"front_optical.*[KP]\[0\] is 0.*calibration_file") as caught:
            model_of(zeros, rectified=rectified)
        assert caught.value.cause == "uncalibrated"

    def test_a_rectified_image_needs_no_k(self):
        model = model_of(replace(INFO, k=(0.0,) * 9, p=P), rectified=True)
        assert (model.fx, model.fy, model.cx, model.cy) == (P[0], P[5], P[2], P[6])
        with pytest.raises(CalibrationError, match=r"K\[0\] is 0"):
            model_of(replace(INFO, k=(0.0,) * 9, p=P), rectified=False)

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
        with pytest.raises(CalibrationError, match=r"front_optical.*R of its calibration is not a rotation") as caught:
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


def test_recorded_calibrations_are_usable():
    messages = list(recorded("scale_sample", "sensor_msgs/msg/CameraInfo"))
    assert len(messages) == 15
    for message in messages:
        found = model_of(decode_camera_info(message))
        assert found.model in ("brown_conrady", "fisheye")
        assert 500 < found.fx < 5000
        assert found.scale_factor == 1.0
