# SPDX-License-Identifier: Apache-2.0
"""The messages of our own .proto file, compiled by protoc and read and written by protobuf: not by our encoder."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from nucleus_bridge.formats import sensor_fusion

DOUBLES = {"timestamp", "t"}
PROTO = Path(sensor_fusion.__file__).with_name("lidar_frame.proto")


@lru_cache(maxsize=1)
def file_descriptor() -> descriptor_pb2.FileDescriptorProto:
    """Compile the .proto file with protoc."""
    with tempfile.TemporaryDirectory() as folder:
        compiled = Path(folder, "set.pb")
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO.parent}", f"--descriptor_set_out={compiled}"]
        subprocess.run([*command, PROTO.name], check=True)
        return descriptor_pb2.FileDescriptorSet.FromString(compiled.read_bytes()).file[0]


@lru_cache(maxsize=1)
def messages() -> dict[str, type[Any]]:
    """Return the message classes by name."""
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file_descriptor())
    found = message_factory.GetMessageClassesForFiles([PROTO.name], pool)
    return dict(found)


def parse(document: bytes) -> Any:
    """Read a frame; every required field must be there and no unknown one."""
    frame = messages()["LidarFrame"].FromString(document)
    assert frame.IsInitialized()
    assert frame.SerializeToString(deterministic=True) == document, "protobuf itself would write other bytes"
    return frame


def record_of(frame: Any) -> dict[str, Any]:
    """Return a frame as the JSON format has it, numbers as protobuf gives them."""
    record: dict[str, Any] = {"device_position": _numbers(frame.device_position)}
    record["device_heading"] = _numbers(frame.device_heading)
    if frame.HasField("device_gps_pose"):
        pose = frame.device_gps_pose
        record["device_gps_pose"] = {"lat": pose.lat, "lon": pose.long, "bearing": pose.bearing}
    record["points"] = [_numbers(point) for point in frame.points]
    record["radar_points"] = [_radar_point(point) for point in frame.radar_points]
    record["images"] = [_image(image) for image in frame.images]
    record["timestamp"] = frame.timestamp
    return record


def rounded_to_32_bits(value: Any, key: str = "") -> Any:
    """Return a JSON value with every number as protocol buffers can hold it."""
    if isinstance(value, dict):
        return {name: rounded_to_32_bits(entry, name) for name, entry in value.items()}
    if isinstance(value, list):
        return [rounded_to_32_bits(entry) for entry in value]
    if isinstance(value, bool | str):
        return value
    return float(value) if key in DOUBLES else float(np.float32(value))


def _numbers(message: Any) -> dict[str, Any]:
    return {field.name: value for field, value in message.ListFields()}


def _radar_point(point: Any) -> dict[str, Any]:
    record: dict[str, Any] = {"position": _numbers(point.position)}
    if point.HasField("direction"):
        record["direction"] = _numbers(point.direction)
    if point.HasField("size"):
        record["size"] = point.size
    return record


def _image(image: Any) -> dict[str, Any]:
    model = image.WhichOneof("camera_intrinsics")
    record = {field.name: value for field, value in image.ListFields() if not field.message_type}
    record |= {"position": _numbers(image.position), "heading": _numbers(image.heading), "camera_model": model}
    return record | _numbers(getattr(image, model))
