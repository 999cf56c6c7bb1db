# SPDX-License-Identifier: Apache-2.0
"""The sun's elevation against published values."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from nucleus_bridge.pipeline.sun import is_day, sun_elevation_deg

GOLDEN = (39.742476, -105.1786)
LONDON = (51.5085, -0.1257)


def ns(moment: str) -> int:
    return int(datetime.fromisoformat(moment).replace(tzinfo=timezone.utc).timestamp()) * 10**9


@pytest.mark.parametrize(
    ("place", "moment", "elevation", "tolerance"),
    [
        # NREL/TP-560-34302 (Reda, Andreas: Solar Position Algorithm), appendix A.5: 12:30:30 local time, UTC - 7 h;
        # zenith 50.11162 with a refraction of 0.01633, and a sunrise at 6:12:43, when the elevation is -0.8333
        (GOLDEN, "2003-10-17T19:30:30", 90.0 - 50.11162 - 0.01633, 0.01),
        (GOLDEN, "2003-10-17T13:12:43", -0.8333, 0.01),
        # Civil dawn in London, when the elevation is -6, as almanacs give it to the minute, in which it rises 0.15
        (LONDON, "2015-12-01T07:04:00", -6.0, 0.15),
        (LONDON, "2015-12-12T07:16:00", -6.0, 0.15),
        (LONDON, "2015-12-25T07:25:00", -6.0, 0.15),
        # Solstice and equinox of 2024 (20 June 20:51, 20 March 03:06 UTC): seen from a pole the elevation is the
        # declination, 23.4382 (the obliquity of the date) and 0; a minute of the equinox is 0.0003 degrees
        ((90.0, 0.0), "2024-06-20T20:51:00", 23.4382, 0.01),
        ((-90.0, 0.0), "2024-06-20T20:51:00", -23.4382, 0.01),
        ((90.0, 77.0), "2024-03-20T03:06:00", 0.0, 0.01),
        # Meeus, Astronomical Algorithms, example 25.a: declination -7.78507 on 1992 October 13, 0 h
        ((90.0, 0.0), "1992-10-13T00:00:00", -7.78507, 0.001),
    ],
)
def test_the_elevation_is_the_published_one(
    place: tuple[float, float], moment: str, elevation: float, tolerance: float
) -> None:
    assert sun_elevation_deg(*place, ns(moment)) == pytest.approx(elevation, abs=tolerance)


def test_the_day_begins_at_the_sunrise_of_the_almanac() -> None:
    sunrise = ns("2003-10-17T13:12:43")
    minute = 60 * 10**9
    assert not is_day(sun_elevation_deg(*GOLDEN, sunrise - minute))
    assert is_day(sun_elevation_deg(*GOLDEN, sunrise + minute))


def test_the_sun_stands_opposite_on_the_other_side_of_the_earth() -> None:
    for hour in range(24):
        moment = ns(f"2026-05-05T{hour:02d}:00:00")
        here = sun_elevation_deg(48.1374, 11.5755, moment)
        assert sun_elevation_deg(-48.1374, 11.5755 - 180.0, moment) == pytest.approx(-here, abs=1e-9)
