# SPDX-License-Identifier: Apache-2.0
"""Labels as files: JSON lines, and a recording that plays beside the original one."""

from __future__ import annotations

import json
import marshal
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

from nucleus_bridge.errors import OutputError
from nucleus_bridge.labels.label import Label
from nucleus_bridge.labels.written import Written

JSON_LINES = "labels.jsonl"
RECORDING = "labels"
_IN_MEMORY = 20_000
TOPICS = ("/labels/detections", "/labels/markers")

_DETECTIONS = """std_msgs/Header header
vision_msgs/Detection3D[] detections
================================================================================
MSG: vision_msgs/Detection3D
std_msgs/Header header
vision_msgs/ObjectHypothesisWithPose[] results
vision_msgs/BoundingBox3D bbox
string id
================================================================================
MSG: vision_msgs/ObjectHypothesisWithPose
vision_msgs/ObjectHypothesis hypothesis
geometry_msgs/PoseWithCovariance pose
================================================================================
MSG: vision_msgs/ObjectHypothesis
string class_id
float64 score
================================================================================
MSG: vision_msgs/BoundingBox3D
geometry_msgs/Pose center
geometry_msgs/Vector3 size
"""
_CUBE, _DELETE_ALL, _ADD = 1, 3, 0
_ALPHA = 0.35


@contextmanager
def sorted_labels(labels: Iterable[Label]) -> Iterator[Iterator[list[Label]]]:
    """Give the labels scene by scene, by frame, track and id; about one scene of them is in memory."""
    with tempfile.TemporaryDirectory(prefix="labels-") as folder:
        names: dict[str, Path] = {}
        waiting: dict[str, list[Label]] = {}
        count = 0
        for label in labels:
            waiting.setdefault(label.scene, []).append(label)
            count += 1
            if count >= _IN_MEMORY:
                _put_aside(waiting, names, Path(folder))
                waiting, count = {}, 0
        _put_aside(waiting, names, Path(folder))
        del waiting
        yield (_read(names[scene]) for scene in sorted(names))


def _put_aside(waiting: dict[str, list[Label]], names: dict[str, Path], folder: Path) -> None:
    for scene, some in waiting.items():
        path = names.setdefault(scene, folder / f"{len(names):06d}")
        with path.open("ab") as file:
            content = marshal.dumps([_row(label) for label in some])
            file.write(len(content).to_bytes(8, "little") + content)


def _row(label: Label) -> tuple[Any, ...]:
    return (
        label.scene,
        label.frame,
        label.stamp_ns,
        label.frame_id,
        label.label,
        label.track,
        label.id,
        label.position,
        label.size,
        label.rotation,
        label.source,
        label.attributes,
        label.score,
    )


def _read(path: Path) -> list[Label]:
    labels: list[Label] = []
    with path.open("rb") as file:
        while size := int.from_bytes(file.read(8), "little"):
            rows = marshal.loads(file.read(size))  # noqa: S302 - this process wrote it
            labels += [Label(*row) for row in rows]
    return sorted(labels, key=_order)


def _order(label: Label) -> tuple[Any, ...]:
    return label.frame, label.source, label.track, label.id, label.label, label.position


def write_json_lines(scenes: Iterable[list[Label]], folder: Path) -> Written:
    """Write ``labels.jsonl``, one object a label.

    Raises:
        OutputError: It cannot be written.
    """
    count = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / JSON_LINES
        temporary = path.with_name(f".{JSON_LINES}.{os.getpid()}.tmp")
        encode = json.JSONEncoder(allow_nan=False).encode
        with temporary.open("w", encoding="utf-8") as file:
            for labels in scenes:
                file.writelines(f"{encode(label.as_json())}\n" for label in labels)
                count += len(labels)
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{folder / JSON_LINES}: cannot be written: {error.strerror}") from None
    return Written(count)


def write_recording(scenes: Iterable[list[Label]], folder: Path) -> Written:
    """Write a rosbag2 (mcap) of the labels at the stamps and in the frames of the recording.

    Each frame is one ``vision_msgs/Detection3DArray`` and one ``visualization_msgs/MarkerArray``, which removes the
    boxes of the frame before. The log time is the stamp.

    Raises:
        OutputError: It cannot be written.
    """
    from rosbags.rosbag2 import StoragePlugin, Writer  # noqa: PLC0415 - no other command needs it
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore  # noqa: PLC0415

    types = get_typestore(Stores.ROS2_HUMBLE)
    types.register(get_types_from_msg(_DETECTIONS, "vision_msgs/msg/Detection3DArray"))
    make = _Messages(types)
    count = 0
    temporary = folder / f".{RECORDING}.{os.getpid()}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with Writer(temporary, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            kinds = ("vision_msgs/msg/Detection3DArray", "visualization_msgs/msg/MarkerArray")
            connections = [
                writer.add_connection(topic, kind, typestore=types) for topic, kind in zip(TOPICS, kinds, strict=True)
            ]
            for labels in scenes:
                for stamp_ns, group in groupby(labels, key=lambda label: label.stamp_ns):
                    there = list(group)
                    for connection, kind, message in zip(
                        connections, kinds, (make.detections(there), make.markers(there)), strict=True
                    ):
                        writer.write(connection, stamp_ns, types.serialize_cdr(message, kind))
                    count += len(there)
        shutil.rmtree(folder / RECORDING, ignore_errors=True)
        temporary.replace(folder / RECORDING)
    except OSError as error:
        raise OutputError(f"{folder / RECORDING}: cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Written(count)


class _Messages:
    """Makes ROS messages of labels."""

    def __init__(self, types: Any) -> None:  # noqa: ANN401 - a store of rosbags
        self._types = types.types
        self._numbers: dict[str, int] = {}

    def _new(self, name: str, **fields: Any) -> Any:  # noqa: ANN401 - a message
        return self._types[name](**fields)

    def detections(self, labels: list[Label]) -> Any:  # noqa: ANN401
        """Return one ``Detection3DArray`` of labels of one stamp."""
        import numpy as np  # noqa: PLC0415

        header = self._header(labels[0])
        made = []
        for label in labels:
            hypothesis = self._new("vision_msgs/msg/ObjectHypothesis", class_id=label.label, score=1.0)
            pose = self._pose(label)
            result = self._new(
                "vision_msgs/msg/ObjectHypothesisWithPose",
                hypothesis=hypothesis,
                pose=self._new("geometry_msgs/msg/PoseWithCovariance", pose=pose, covariance=np.zeros(36)),
            )
            box = self._new("vision_msgs/msg/BoundingBox3D", center=pose, size=self._vector(label.size))
            made.append(
                self._new(
                    "vision_msgs/msg/Detection3D", header=header, results=[result], bbox=box, id=label.track or label.id
                )
            )
        return self._new("vision_msgs/msg/Detection3DArray", header=header, detections=made)

    def markers(self, labels: list[Label]) -> Any:  # noqa: ANN401
        """Return one ``MarkerArray`` of labels of one stamp; it begins by removing what was shown before."""
        return self._new(
            "visualization_msgs/msg/MarkerArray",
            markers=[self._marker(labels[0], _DELETE_ALL), *(self._marker(label, _ADD) for label in labels)],
        )

    def _marker(self, label: Label, action: int) -> Any:  # noqa: ANN401
        import numpy as np  # noqa: PLC0415

        red, green, blue = _colour(label.label)
        is_box = action == _ADD
        number = (
            self._numbers.setdefault(f"{label.scene}/{label.track or label.id}", len(self._numbers)) if is_box else 0
        )
        duration = self._new("builtin_interfaces/msg/Duration", sec=0, nanosec=0)
        return self._new(
            "visualization_msgs/msg/Marker",
            header=self._header(label),
            ns=label.label if is_box else "",
            id=number,
            type=_CUBE,
            action=action,
            pose=self._pose(label),
            scale=self._vector(label.size),
            color=self._new("std_msgs/msg/ColorRGBA", r=red, g=green, b=blue, a=_ALPHA),
            lifetime=duration,
            frame_locked=False,
            points=[],
            colors=[],
            texture_resource="",
            texture=self._new(
                "sensor_msgs/msg/CompressedImage",
                header=self._header(label),
                format="",
                data=np.zeros(0, np.uint8),
            ),
            uv_coordinates=[],
            text="",
            mesh_resource="",
            mesh_file=self._new("visualization_msgs/msg/MeshFile", filename="", data=np.zeros(0, np.uint8)),
            mesh_use_embedded_materials=False,
        )

    def _header(self, label: Label) -> Any:  # noqa: ANN401
        sec, nanosec = divmod(label.stamp_ns, 1_000_000_000)
        stamp = self._new("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)
        return self._new("std_msgs/msg/Header", stamp=stamp, frame_id=label.frame_id)

    def _pose(self, label: Label) -> Any:  # noqa: ANN401
        x, y, z, w = label.rotation
        return self._new(
            "geometry_msgs/msg/Pose",
            position=self._new(
                "geometry_msgs/msg/Point", x=label.position[0], y=label.position[1], z=label.position[2]
            ),
            orientation=self._new("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w),
        )

    def _vector(self, values: tuple[float, float, float]) -> Any:  # noqa: ANN401
        return self._new("geometry_msgs/msg/Vector3", x=values[0], y=values[1], z=values[2])


def _colour(text: str) -> tuple[float, float, float]:
    """Return the colour of a class: always the same one for the same text."""
    digest = sum((index + 1) * byte for index, byte in enumerate(text.encode()))
    return tuple(0.25 + 0.75 * ((digest * factor) % 97) / 96 for factor in (37, 61, 89))  # type: ignore[return-value]
