# SPDX-License-Identifier: Apache-2.0
"""Small recordings, message by message, for tests of single faults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

TYPES = get_typestore(Stores.ROS2_JAZZY)
START_NS = 1_700_000_000_000_000_000
MS = 1_000_000

CONFIG = """
/**:
  ros__parameters:
    world_frame: map
    device_frame: base_link
    lidar_names: [top]
    lidars:
      top: {topic: /points}
    camera_names: [front]
    cameras:
      front: {image_topic: /image, info_topic: /info}
"""


def header(stamp_ns: int, frame_id: str) -> Any:
    time = TYPES.types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    return TYPES.types["std_msgs/msg/Header"](stamp=time, frame_id=frame_id)


def cloud(stamp_ns: int, points: np.ndarray | None = None, frame_id: str = "lidar", **changes: Any) -> Any:
    rows = np.array([[5, 1, 0, 100], [6, -1, 1, 255]], dtype="<f4") if points is None else points.astype("<f4")
    field_type = TYPES.types["sensor_msgs/msg/PointField"]
    fields = [field_type(name, 4 * i, 7, 1) for i, name in enumerate(("x", "y", "z", "intensity"))]
    content = {
        "header": header(stamp_ns, frame_id),
        "height": 1,
        "width": len(rows),
        "fields": fields,
        "is_bigendian": False,
        "point_step": 16,
        "row_step": 16 * len(rows),
        "data": np.frombuffer(rows.tobytes(), np.uint8),
        "is_dense": True,
    }
    return TYPES.types["sensor_msgs/msg/PointCloud2"](**{**content, **changes})


def jpeg(width: int = 64, height: int = 48, shift: int = 0) -> bytes:
    picture = np.tile(np.roll(np.arange(width, dtype=np.uint8), shift)[None, :, None], (height, 1, 3))
    return bytes(cv2.imencode(".jpg", picture)[1].tobytes())


def compressed(stamp_ns: int, data: bytes | None = None, frame_id: str = "camera") -> Any:
    content = np.frombuffer(jpeg() if data is None else data, np.uint8)
    return TYPES.types["sensor_msgs/msg/CompressedImage"](header(stamp_ns, frame_id), "jpeg", content)


def raw_image(
    stamp_ns: int, encoding: str = "rgb8", frame_id: str = "camera", width: int = 64, height: int = 48
) -> Any:
    data = np.zeros(width * height * 3, np.uint8)
    return TYPES.types["sensor_msgs/msg/Image"](header(stamp_ns, frame_id), height, width, encoding, 0, 3 * width, data)


def info(stamp_ns: int, frame_id: str = "camera", **changes: Any) -> Any:
    roi = TYPES.types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
    content = {
        "header": header(stamp_ns, frame_id),
        "height": 48,
        "width": 64,
        "distortion_model": "plumb_bob",
        "d": np.zeros(5),
        "k": np.array([50.0, 0, 32, 0, 50, 24, 0, 0, 1]),
        "r": np.eye(3).ravel(),
        "p": np.array([50.0, 0, 32, 0, 0, 50, 24, 0, 0, 0, 1, 0]),
        "binning_x": 0,
        "binning_y": 0,
        "roi": roi,
    }
    return TYPES.types["sensor_msgs/msg/CameraInfo"](**{**content, **changes})


def transforms(*rows: tuple[str, str, int, tuple[float, ...], tuple[float, ...]]) -> Any:
    vector, quaternion = TYPES.types["geometry_msgs/msg/Vector3"], TYPES.types["geometry_msgs/msg/Quaternion"]
    transform, stamped = TYPES.types["geometry_msgs/msg/Transform"], TYPES.types["geometry_msgs/msg/TransformStamped"]
    return TYPES.types["tf2_msgs/msg/TFMessage"](
        [
            stamped(header(stamp_ns, parent), child, transform(vector(*xyz), quaternion(*xyzw)))
            for parent, child, stamp_ns, xyz, xyzw in rows
        ]
    )


UNIT = (0.0, 0.0, 0.0, 1.0)
OPTICAL = (-0.5, 0.5, -0.5, 0.5)


@dataclass
class Recording:
    """Messages to be written, each with topic and log time."""

    rows: list[tuple[int, str, str, bytes]] = field(default_factory=list)

    def add(self, topic: str, message: Any, log_ns: int) -> None:
        self.rows.append((log_ns, topic, message.__msgtype__, bytes(TYPES.serialize_cdr(message, message.__msgtype__))))

    def add_raw(self, topic: str, type_name: str, data: bytes, log_ns: int) -> None:
        self.rows.append((log_ns, topic, type_name, data))

    def without(self, topic: str) -> Recording:
        return Recording([row for row in self.rows if row[1] != topic])

    def write(self, path: Path, storage: str = "mcap", log: Callable[[int], int] = lambda at_ns: at_ns) -> Path:
        """Write the messages in the order of their log times; ``log`` is what the recorder's clock makes of those."""
        plugin = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}[storage]
        with Writer(path, version=9, storage_plugin=plugin) as writer:
            connections = {}
            for log_ns, topic, type_name, data in sorted(self.rows, key=lambda row: row[0]):
                if topic not in connections:
                    connections[topic] = writer.add_connection(topic, type_name, typestore=TYPES)
                writer.write(connections[topic], log(log_ns), data)
        return path


def recording(frames: int = 5, speed: float = 1.0, start_ns: int = START_NS) -> Recording:
    """A lidar, a camera and poses at 10 Hz that make one scene without a loss."""
    made = Recording()
    made.add(
        "/tf_static",
        transforms(
            ("base_link", "lidar", start_ns, (0, 0, 2), UNIT), ("base_link", "camera", start_ns, (1, 0, 1), OPTICAL)
        ),
        start_ns - 500 * MS,
    )
    for number in range(-1, 10 * frames + 2):
        stamp = start_ns + 10 * number * MS
        pose = ("map", "base_link", stamp, (speed * number * 0.01, 0.0, 0.0), UNIT)
        made.add("/tf", transforms(pose), stamp + MS)
    for number in range(frames):
        stamp = start_ns + 100 * number * MS
        made.add("/points", cloud(stamp), stamp + 3 * MS)
        made.add("/info", info(stamp), stamp + 4 * MS)
        made.add("/image", compressed(stamp), stamp + 5 * MS)
    return made


def write_config(folder: Path, text: str = CONFIG) -> Path:
    path = folder / "config.yaml"
    path.write_text(text)
    return path
