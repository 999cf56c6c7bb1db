# SPDX-License-Identifier: Apache-2.0
"""The causes of losses: which of them are no fault."""

from __future__ import annotations

from collections.abc import Mapping

EXPECTED = frozenset(
    {
        "surplus",  # another image of that camera is nearer to the frame
        "no_frame",  # no sweep within the tolerance
        "frame_stride",
        "min_distance",
        "no_event",  # outside of the windows of events
        "paused",
        "before_keyframe",  # of a video whose recording begins between two key pictures
        "nan_points",
        "zero_points",
        "range_points",
        "gps_implausible",  # a fix that the transforms contradict; frames take the others
        "heading_disagrees",
        "time_outlier_points",  # a time that cannot be one of its sweep
        "sweep_lacks_parts",  # kept; of lidars.<name>.accumulate_ms
        "box_points",  # inside a lidar's crop_box
        "voxel_points",  # another point of the same cloud.voxel_m
        "limit_points",  # beyond cloud.max_points
        "clipped_intensities",
        "not_in_source",  # radar detections, where a Nucleus scene, which cannot hold them, was exported
    }
)
"""Causes that follow from the configuration or from the sensors' rates; every other cause is a loss."""


def is_expected(cause: str) -> bool:
    """Whether a cause is no fault."""
    return cause in EXPECTED


def faults(table: Mapping[str, Mapping[str, int]]) -> int:
    """Count what was lost by fault."""
    return sum(count for causes in table.values() for cause, count in causes.items() if not is_expected(cause))
