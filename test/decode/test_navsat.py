# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serialised import STAMP_NS, fix_message, imu_message

from nucleus_bridge.decode.navsat import (
    Fix,
    Heading,
    decode_fix,
    decode_heading,
    interpolate_bearing,
    interpolate_fix,
)
from nucleus_bridge.errors import DecodeError, ExtrapolationError

NO_ORIENTATION = (-1.0, *[0.0] * 8)


def yawed(degrees: float, scale: float = 1.0):
    half = math.radians(degrees) / 2
    return (0.0, 0.0, scale * math.sin(half), scale * math.cos(half))


def turn_between(one: float, other: float) -> float:
    """Angle between two bearings, by the angle between their directions."""
    a, b = math.radians(one), math.radians(other)
    return math.degrees(math.acos(max(-1.0, min(1.0, math.cos(a) * math.cos(b) + math.sin(a) * math.sin(b)))))


class TestFix:
    @pytest.mark.parametrize("status", [0, 1, 2])
    def test_a_fix_is_read(self, status):
        assert decode_fix(fix_message(48.25, -11.5, status=status)) == Fix(STAMP_NS, 48.25, -11.5, 31.5)

    @pytest.mark.parametrize("status", [-1, -2])
    def test_no_fix_is_none(self, status):
        assert decode_fix(fix_message(48.25, 11.5, status=status)) is None

    @pytest.mark.parametrize(
        ("latitude", "longitude"),
        [(math.nan, 11.0), (48.0, math.nan), (90.1, 0.0), (-90.1, 0.0), (0.0, 180.1), (0.0, -180.1), (math.inf, 0.0)],
    )
    def test_coordinates_not_on_the_globe_are_none(self, latitude, longitude):
        assert decode_fix(fix_message(latitude, longitude)) is None

    @pytest.mark.parametrize(("latitude", "longitude"), [(90.0, 180.0), (-90.0, -180.0)])
    def test_the_ends_of_the_globe_belong_to_it(self, latitude, longitude):
        assert decode_fix(fix_message(latitude, longitude)).latitude == latitude

    def test_a_zero_stamp_is_refused(self):
        with pytest.raises(DecodeError, match="/gps/fix") as caught:
            decode_fix(fix_message(48.0, 11.0, stamp_ns=0))
        assert caught.value.cause == "zero_stamp"


class TestHeading:
    @pytest.mark.parametrize(
        ("yaw", "bearing"), [(90, 0), (0, 90), (-90, 180), (180, 270), (45, 45), (135, 315), (-45, 135), (91, 359)]
    )
    @pytest.mark.parametrize("scale", [1.0, 0.5, -1.0])
    def test_bearing_counts_clockwise_from_north(self, yaw, bearing, scale):
        heading = decode_heading(imu_message(yawed(yaw, scale)))
        assert heading.stamp_ns == STAMP_NS
        assert heading.bearing_deg == pytest.approx(bearing, abs=1e-9)

    def test_pitch_and_roll_do_not_turn_it(self):
        # Yaw 30 degrees, then pitch 20 down: nose over x axis at east by north 30, seen from above.
        yaw, pitch = math.radians(30) / 2, math.radians(20) / 2
        q = (
            -math.sin(yaw) * math.sin(pitch),
            math.cos(yaw) * math.sin(pitch),
            math.sin(yaw) * math.cos(pitch),
            math.cos(yaw) * math.cos(pitch),
        )
        assert decode_heading(imu_message(q)).bearing_deg == pytest.approx(60.0)

    @given(st.floats(-1e-13, 1e-13))
    @settings(deadline=None)
    def test_bearing_is_below_360(self, tiny):
        assert 0.0 <= decode_heading(imu_message(yawed(90.0 + tiny))).bearing_deg < 360.0

    @pytest.mark.parametrize("xyzw", [(0.0,) * 4, (math.nan, 0.0, 0.0, 1.0), (math.inf, 0.0, 0.0, 1.0)])
    def test_a_quaternion_that_is_none_gives_none(self, xyzw):
        assert decode_heading(imu_message(xyzw)) is None

    def test_an_imu_without_orientation_gives_none(self):
        assert decode_heading(imu_message(yawed(10.0), covariance=NO_ORIENTATION)) is None

    def test_a_zero_stamp_is_refused(self):
        with pytest.raises(DecodeError) as caught:
            decode_heading(imu_message(yawed(0.0), stamp_ns=0))
        assert caught.value.cause == "zero_stamp"


class TestBetween:
    def test_a_fix_in_between_is_linear(self):
        found = interpolate_fix(Fix(100, 48.0, 11.0, 500.0), Fix(200, 48.5, 12.0, 520.0), 125)
        assert found == Fix(125, 48.125, 11.25, 505.0)

    @pytest.mark.parametrize(
        ("before", "after", "expected"),
        [(179.5, -179.5, 179.75), (-179.5, 179.5, -179.75), (179.0, -178.0, 179.75), (-178.0, 179.0, -178.75)],
    )
    def test_the_antimeridian_is_crossed_the_short_way(self, before, after, expected):
        found = interpolate_fix(Fix(0, 0.0, before, 0.0), Fix(4, 0.0, after, 0.0), 1)
        assert found.longitude == pytest.approx(expected)

    @given(st.floats(-180, 180), st.floats(-180, 180), st.integers(0, 1000))
    @settings(deadline=None)
    def test_longitude_stays_on_the_globe_and_between(self, before, after, stamp):
        found = interpolate_fix(Fix(0, 0.0, before, 0.0), Fix(1000, 0.0, after, 0.0), stamp).longitude
        assert -180.0 <= found <= 180.0
        whole = turn_between(before, after)
        assert turn_between(before, found) == pytest.approx(whole * stamp / 1000, abs=1e-4)
        assert turn_between(found, after) == pytest.approx(whole * (1 - stamp / 1000), abs=1e-4)

    @pytest.mark.parametrize(
        ("before", "after", "expected"),
        [(350.0, 10.0, 355.0), (10.0, 350.0, 5.0), (80.0, 100.0, 85.0), (1.0, 357.0, 0.0)],
    )
    def test_bearings_turn_the_short_way_round(self, before, after, expected):
        assert interpolate_bearing(Heading(0, before), Heading(4, after), 1) == pytest.approx(expected)

    @given(st.floats(0, 360, exclude_max=True), st.floats(0, 360, exclude_max=True), st.integers(0, 1000))
    @settings(deadline=None)
    def test_a_bearing_stays_in_its_range_and_between(self, before, after, stamp):
        found = interpolate_bearing(Heading(0, before), Heading(1000, after), stamp)
        assert 0.0 <= found < 360.0
        whole = turn_between(before, after)
        assert turn_between(before, found) == pytest.approx(whole * stamp / 1000, abs=1e-4)

    def test_the_ends_are_given_back(self):
        before, after = Fix(100, 48.0, 180.0, 500.0), Fix(200, 48.5, -179.0, 520.0)
        assert interpolate_fix(before, after, 100) == before
        assert interpolate_fix(before, after, 200) == after
        assert interpolate_fix(before, before, 100) == before

    @pytest.mark.parametrize(("stamp", "direction"), [(99, "past"), (201, "future")])
    def test_nothing_is_extrapolated(self, stamp, direction):
        with pytest.raises(ExtrapolationError) as caught:
            interpolate_fix(Fix(100, 48.0, 11.0, 0.0), Fix(200, 48.0, 11.0, 0.0), stamp)
        assert caught.value.direction == direction
        with pytest.raises(ExtrapolationError):
            interpolate_bearing(Heading(100, 0.0), Heading(200, 1.0), stamp)
