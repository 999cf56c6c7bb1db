# SPDX-License-Identifier: Apache-2.0
"""Transform trees to look things up in: of a vehicle, of a cup that is carried, of two frames that change places."""

from __future__ import annotations

import math

from nucleus_bridge.geometry import TransformTree

LEVEL = (0, 0, 0, 1)
START_NS = 1_700_000_000_000_000_000
MS = 1_000_000


def vehicle(**limits):
    """Return map -> odom at 10 Hz for 2 s, odom -> base_link at 100 Hz for 1 s, and two fixed sensors."""
    tree = TransformTree(**limits)
    tree.add("base_link", "lidar", 0, (1, 0, 2), LEVEL, static=True)
    tree.add("base_link", "camera", 0, (2, 0, 1), (-0.5, 0.5, -0.5, 0.5), static=True)
    for i in range(21):
        tree.add("map", "odom", START_NS + i * 100 * MS, (100, i, 0), LEVEL)
    for i in range(101):
        half = 0.002 * i
        tree.add("odom", "base_link", START_NS + i * 10 * MS, (0.1 * i, 0, 0), (0, 0, math.sin(half), math.cos(half)))
    return tree


def carried_cup():
    """Return a cup that is on the table in [10, 20) and in the hand in [20, 30], at 40 on the floor."""
    tree = TransformTree()
    tree.add("room", "table", 0, (10, 0, 0), LEVEL, static=True)
    for stamp in range(12, 50, 2):
        tree.add("room", "hand", stamp, (stamp, 0, 0), LEVEL)
    for stamp, parent in ((10, "table"), (15, "table"), (20, "hand"), (30, "hand"), (40, "floor")):
        tree.add(parent, "cup", stamp, (0, 1, 0), LEVEL)
    return tree


def turned_around():
    """Return two frames whose parent and child change places: b in a at [10, 20], a in b at [30, 40]."""
    tree = TransformTree()
    for stamp, (parent, child) in ((10, "ab"), (20, "ab"), (30, "ba"), (40, "ba")):
        tree.add(parent, child, stamp, (stamp, 0, 0), LEVEL)
    return tree
