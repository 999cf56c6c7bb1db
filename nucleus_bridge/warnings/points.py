# SPDX-License-Identifier: Apache-2.0
"""Times of points, and clouds."""

from __future__ import annotations

from nucleus_bridge.warnings.finding import Code, Finding, Weight, length_of_time, number_of


def _in_field(field: str) -> str:
    return f"in field {field!r} " if field else ""


def point_time_span(topic: str, field: str, span: str, period_ms: float, remedy: str) -> Finding:
    """Point times of which no unit makes a sweep."""
    return Finding(
        Code.POINT_TIME_SPAN,
        "topic",
        topic,
        f"times {_in_field(field)}of {topic} run from {span} within a sweep, and sweeps come every {period_ms:.0f} "
        "ms: no unit makes one of the other, so points cannot be deskewed",
        remedy,
        Weight.LOSS,
    )


def point_times_equal(topic: str, field: str, period_ms: float, remedy: str, *, are_numbers: bool = True) -> Finding:
    """Point times that say nothing, of a lidar that turns."""
    what = "the same for all points of a sweep" if are_numbers else "not numbers (NaN)"
    return Finding(
        Code.POINT_TIME_SPAN,
        "topic",
        topic,
        f"times {_in_field(field)}of {topic} are {what}, and sweeps come every {period_ms:.0f} ms: points cannot be "
        "deskewed",
        remedy,
        Weight.LOSS,
    )


def points_left_out(topic: str, name: str, count: int) -> Finding:
    """Points that were left out for their times."""
    return Finding(
        Code.POINT_TIME_OUTLIERS,
        "topic",
        topic,
        f"{number_of(count, 'point')} of {topic} had impossible times and were left out (time_outlier_points)",
        f"fix the driver, or use no point times: lidars.{name}.time_field: none",
        Weight.LOSS,
    )


def point_time_outliers(topic: str, field: str, count: int, share: float, farthest_ms: float) -> Finding:
    """Some points whose time is impossible."""
    return Finding(
        Code.POINT_TIME_OUTLIERS,
        "topic",
        topic,
        f"{count} of the points looked at on {topic} ({share:.1%}) have times up to {length_of_time(farthest_ms)} "
        f"outside of their sweep in field {field!r}; they are left out and counted as time_outlier_points",
        "fix the driver, or use no point times: lidars.<name>.time_field: none",
        Weight.LOSS,
    )


def point_time_far(topic: str, field: str, apart_ms: float, remedy: str) -> Finding:
    """Absolute point times far from the stamp."""
    side = "before" if apart_ms < 0 else "after"
    return Finding(
        Code.POINT_TIME_FAR,
        "topic",
        topic,
        f"times {_in_field(field)}of {topic} lie {length_of_time(apart_ms)} {side} header.stamp: they "
        "belong to another clock, or to another moment",
        remedy,
        Weight.METRES,
    )


def point_time_suspect(topic: str, field: str, gap_m: float, change: str, changed_m: float, remedy: str) -> Finding:
    """Point times by which a turn of the lidar does not close; ``change`` is what would close it."""
    return Finding(
        Code.POINT_TIME_SUSPECT,
        "topic",
        topic,
        f"walls that {topic} sees at the beginning and at the end of a turn are {gap_m:.2f} m apart by its times in "
        f"field {field!r}, and {changed_m:.2f} m if those {change}",
        remedy,
    )


def stamp_end(topic: str, log_ms: float, sweep_ms: float, moment: str, remedy: str) -> Finding:
    """Stamps that cannot mark the start of the sweep."""
    return Finding(
        Code.STAMP_END,
        "topic",
        topic,
        f"{topic} is recorded {length_of_time(log_ms)} after its stamps, and a sweep takes "
        f"{length_of_time(sweep_ms)}: the stamp marks the {moment} of the sweep",
        remedy,
    )


def already_deskewed(topic: str, why: str, remedy: str) -> Finding:
    """A cloud that is corrected for motion already and has point times all the same."""
    return Finding(
        Code.ALREADY_DESKEWED,
        "topic",
        topic,
        f"{topic} is corrected for motion already ({why}); deskewing it again would displace its points",
        remedy,
    )


def sweep_in_parts(topic: str, parts: int, degrees: float, remedy: str) -> Finding:
    """A turn of the lidar in several messages."""
    return Finding(
        Code.SWEEP_IN_PARTS,
        "topic",
        topic,
        f"each message of {topic} covers {degrees:.0f} degrees, the next one goes on from there: {parts} messages "
        "make one turn of the lidar",
        remedy,
    )


def cloud_units(topic: str, unit: str, remedy: str) -> Finding:
    """A cloud whose coordinates are not metres."""
    return Finding(
        Code.CLOUD_UNITS,
        "topic",
        topic,
        f"coordinates of {topic} are not metres (REP 103): as {unit} its ranges are those of a lidar",
        remedy,
    )


def derived_cloud(topic: str, why: str) -> Finding:
    """A cloud that was computed from a lidar's."""
    return Finding(
        Code.DERIVED_CLOUD,
        "topic",
        topic,
        f"{topic} is not a lidar's own cloud: {why}",
        "leave it out of lidar_names",
        Weight.NOTE,
    )
