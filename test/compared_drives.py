# SPDX-License-Identifier: Apache-2.0
"""The demo drive with further sources of poses: one that drifts by a known speed, one in a frame of its own."""

from __future__ import annotations

from pathlib import Path

from bags import Recording
from pose_drives import TF, edges_of, is_moving
from pose_messages import odometry
from scipy.spatial.transform import Rotation

from nucleus_bridge.poses.source import Edge
from nucleus_bridge.recordings import open_recording

DRIFT_M_S = 0.5
"""To the left of where ``odom`` looks."""
SLAM_FROM_ODOM = Rotation.from_euler("z", 70.0, degrees=True), (120.0, -40.0, 3.0)


def with_drifting_odometry(bag: Path, output: Path, *, late_ns: int = 0) -> list[Edge]:
    """Copy a recording and add ``/slam/odom``, logged later by so much; return the transforms that it drifts from."""
    made, told = Recording(), []
    with open_recording(bag) as recording:
        for message in recording.messages([topic.name for topic in recording.topics]):
            made.add_raw(message.topic, message.type_name, message.data, message.log_ns)
            for edge in edges_of(message) if message.type_name == TF else ():
                if is_moving(edge):
                    told.append(edge)
                    x, y, z = edge.translation
                    there = (x, y + DRIFT_M_S * (edge.stamp_ns - told[0].stamp_ns) / 1e9, z)
                    made.add("/slam/odom", odometry(edge.stamp_ns, there, edge.rotation_xyzw), message.log_ns + late_ns)
    made.write(output)
    return told


def write_slam_file(edges: list[Edge], path: Path) -> None:
    """Write poses as TUM, in a frame that nothing joins to the world."""
    turn, shift = SLAM_FROM_ODOM
    rows = []
    for edge in edges:
        place = turn.apply(edge.translation) + shift
        rotation = (turn * Rotation.from_quat(edge.rotation_xyzw)).as_quat()
        stamp = f"{edge.stamp_ns // 10**9}.{edge.stamp_ns % 10**9:09d}"
        rows.append(" ".join([stamp, *map(repr, [*place.tolist(), *rotation.tolist()])]))
    path.write_text("\n".join(rows) + "\n")
