# SPDX-License-Identifier: Apache-2.0
"""Why something does not reach a scene, and why a scene ends: the two lists of words that manifests and reports use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

ExpectedCause = Literal[
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
]
"""Causes that follow from the configuration or from the sensors' rates; every other cause is a loss."""

DecodeCause = Literal[
    "b_frames",
    "bad_definition",
    "bad_description",
    "bad_detection",
    "before_keyframe",
    "broken_gop",
    "damaged",
    "device",
    "distortion",
    "empty_cloud",
    "empty_frame_id",
    "encode",
    "image_damaged",
    "intensity",
    "late",
    "late_part",
    "metadata",
    "missing_extra",
    "missing_field",
    "model",
    "no_calibration",
    "no_field",
    "no_frame",
    "no_metadata",
    "no_pose",
    "not_expressible",
    "not_finite",
    "part_differs",
    "point_time",
    "rectification",
    "shape",
    "size_mismatch",
    "sweep_lacks_parts",
    "time",
    "too_large",
    "uncalibrated",
    "unknown_distortion_model",
    "unknown_encoding",
    "unknown_field",
    "unknown_type",
    "wrong_type",
    "zero_stamp",
]
"""What can be wrong with one message."""

LossCause = Literal[
    "after_last_transform",
    "bad_transform",
    "before_first_transform",
    "clock_step",
    "coordinate_range",
    "duplicate_stamp",
    "frame_dropped",
    "look_back_full",
    "lost_in_transport",
    "no_clock",
    "no_transform",
    "overload",
    "queue_full",
    "required_missing",
    "scene_exists",
    "spool_full",
    "stopping",
    "tf_gap",
    "unconnected_frames",
    "unknown_frame",
]
"""What can go wrong between a message that was read and its frame."""

Cause = Literal[ExpectedCause, DecodeCause, LossCause]
"""Why something does not reach a scene."""

EndReason = Literal[
    "calibration_change",
    "clock_jump",
    "end_of_data",
    "gap",
    "graph_rebuilt",
    "max_duration",
    "max_frames",
    "max_items",
    "pose_jump",
    "requested",
    "window_end",
]
"""Why a scene ends."""

EXPECTED: frozenset[str] = frozenset(get_args(ExpectedCause))


def is_expected(cause: str) -> bool:
    """Whether a cause is not a fault."""
    return cause in EXPECTED


def faults(table: Mapping[str, Mapping[str, int]]) -> int:
    """Count what was lost by fault, in counts by topic and cause."""
    return sum(count for causes in table.values() for cause, count in causes.items() if not is_expected(cause))
