# SPDX-License-Identifier: Apache-2.0
"""What the messages of a topic hold: the one list of kinds, for settings, decoders, pose sources and reports."""

from __future__ import annotations

from typing import Literal

Kind = Literal[
    "cloud",
    "image",
    "radar",
    "calibration",
    "transforms",
    "pose",
    "description",
    "fix",
    "heading",
    "value",
    "detections",
]
"""What a message type holds. One type may be of several kinds: a PointCloud2 is a cloud and may be a radar scan."""
