# SPDX-License-Identifier: Apache-2.0
"""Labels as a recording that plays beside the original one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from nucleus_bridge.errors import OutputError
from nucleus_bridge.labels.label import Label, SceneStamps
from nucleus_bridge.labels.messages import DEFINITIONS, KINDS, Messages, Moment
from nucleus_bridge.labels.written import Written

RECORDING = "labels"
TOPICS = ("/labels/detections", "/labels/markers", "/labels/scene")


def write_recording(scenes: Iterable[list[Label]], folder: Path, stamps_of: Callable[[str], SceneStamps]) -> Written:
    """Write a rosbag2 (mcap) of the labels at the stamps and in the frames of the recording.

    Each frame of a scene is a ``vision_msgs/Detection3DArray``, a ``visualization_msgs/MarkerArray`` and a
    ``foxglove_msgs/SceneUpdate``, of which the latter two remove the boxes of the frame before; frames without labels
    have empty ones. The log time is the stamp.

    Args:
        scenes: Labels, scene by scene.
        folder: The recording is in ``labels`` below it.
        stamps_of: Gives the stamps of a scene.

    Raises:
        OutputError: It cannot be written.
    """
    from rosbags.rosbag2 import StoragePlugin, Writer  # noqa: PLC0415 - no other command needs it
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore  # noqa: PLC0415

    types = get_typestore(Stores.ROS2_HUMBLE)
    for kind, definition in DEFINITIONS.items():
        types.register(get_types_from_msg(definition, kind))
    make = Messages(types)
    count = 0
    temporary = folder / f".{RECORDING}.{os.getpid()}.tmp"
    try:
        temporary.mkdir(parents=True, exist_ok=True)
        with Writer(temporary / RECORDING, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            connections = [
                writer.add_connection(topic, kind, typestore=types) for topic, kind in zip(TOPICS, KINDS, strict=True)
            ]
            for labels in scenes:
                for moment in _moments(labels, stamps_of(labels[0].scene)):
                    for connection, message in zip(connections, make.all_of(moment), strict=True):
                        data = types.serialize_cdr(message, connection.msgtype)
                        writer.write(connection, moment.stamp_ns, data)
                count += len(labels)
        shutil.rmtree(folder / RECORDING, ignore_errors=True)
        (temporary / RECORDING).replace(folder / RECORDING)
    except OSError as error:
        raise OutputError(f"{folder / RECORDING}: cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Written(count)


def _moments(labels: list[Label], stamps: SceneStamps) -> Iterator[Moment]:
    """Yield every frame of a scene with its labels."""
    by_frame: dict[int, list[Label]] = {}
    for label in labels:
        by_frame.setdefault(label.frame, []).append(label)
    for frame, stamp_ns in enumerate(stamps.stamps_ns):
        yield Moment(stamp_ns, stamps.frame_id, by_frame.get(frame, []))
