# SPDX-License-Identifier: Apache-2.0
"""The synthetic drive with known ground truth: sensors, transforms and images of a small town, as a rosbag2."""

from __future__ import annotations

from nucleus_bridge.testing.demo.config import demo_config
from nucleus_bridge.testing.demo.course import true_pose, true_poses
from nucleus_bridge.testing.demo.drive import truth_path_of, write_demo_drive
from nucleus_bridge.testing.demo.options import DriveOptions
from nucleus_bridge.testing.demo.rigid import Pose
from nucleus_bridge.testing.demo.truth import truth_of

__all__ = [
    "DriveOptions",
    "Pose",
    "demo_config",
    "true_pose",
    "true_poses",
    "truth_of",
    "truth_path_of",
    "write_demo_drive",
]
