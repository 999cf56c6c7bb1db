# SPDX-License-Identifier: Apache-2.0
"""Quaternions, rigid transforms, the transform tree and deskewing; numpy only."""

from nucleus_bridge.geometry.deskew import knot_stamps, points_in_world
from nucleus_bridge.geometry.edge import Insertion
from nucleus_bridge.geometry.transform_tree import TransformTree

__all__ = ["Insertion", "TransformTree", "knot_stamps", "points_in_world"]
