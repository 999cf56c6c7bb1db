# SPDX-License-Identifier: Apache-2.0
"""Fixes, headings and axes."""

from __future__ import annotations

from nucleus_bridge.warnings.finding import Code, Finding, Weight, number_of


def gps_implausible(topic: str, count: int, total: int, why: str) -> Finding:
    """Fixes that cannot be."""
    return Finding(
        Code.GPS_IMPLAUSIBLE,
        "topic",
        topic,
        f"{count} of {number_of(total, 'fix', 'fixes')} on {topic} cannot be: {why}; they are not used",
        "gps.topic: '' leaves fixes out",
        Weight.LOSS,
    )


def gps_track_implausible(topic: str, total: int, why: str) -> Finding:
    """Fixes that all together contradict the transforms."""
    return Finding(
        Code.GPS_IMPLAUSIBLE,
        "topic",
        topic,
        f"all of {number_of(total, 'fix', 'fixes')} on {topic} contradict the transforms: {why}",
        "gps.topic: '' leaves fixes out",
    )


def heading_invalid(topic: str, count: int, total: int) -> Finding:
    """An Imu whose orientation is marked as unknown."""
    return Finding(
        Code.HEADING_INVALID,
        "topic",
        topic,
        f"{count} of {number_of(total, 'message')} on {topic} have no orientation (orientation_covariance begins with "
        "-1, or the quaternion is zero)",
        "gps.heading_topic: '' takes the bearing from the course over ground",
        Weight.NOTE if count < total else Weight.LOSS,
    )


def heading_disagrees(topic: str, off_deg: float, why: str) -> Finding:
    """A heading that the course over ground contradicts."""
    return Finding(
        Code.HEADING_DISAGREES,
        "topic",
        topic,
        f"the heading on {topic} is {off_deg:.0f} degrees away from where the device moves{why}",
        "gps.heading_topic: ''",
    )


def headings_left_out(topic: str, count: int, why: str) -> Finding:
    """Headings that were not taken, as fixes and transforms contradict them."""
    return Finding(
        Code.HEADING_DISAGREES,
        "topic",
        topic,
        f"{number_of(count, 'heading')} of {topic} {'was' if count == 1 else 'were'} not taken: {why}",
        "gps.heading_topic: ''",
    )


def device_axes(frame: str, text: str, weight: Weight) -> Finding:
    """A device frame whose axes are not those of REP 103."""
    return Finding(
        Code.DEVICE_AXES, "frame", frame, text, "fix the transform of the device, or set device_frame", weight
    )


def axes_mirrored(topic: str, gap_m: float, mirrored_m: float) -> Finding:
    """A cloud and poses whose axes are not of the same hand."""
    return Finding(
        Code.AXES_MIRRORED,
        "topic",
        topic,
        f"walls that {topic} sees at the beginning and at the end of a turn are {gap_m:.2f} m apart, and "
        f"{mirrored_m:.2f} m if left and right are exchanged: the axes of the cloud are left-handed, or "
        "those of the poses have z down (north, east, down)",
        "publish both with z up (REP 103: x forward, y left; x east, y north)",
    )
