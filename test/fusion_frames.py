# SPDX-License-Identifier: Apache-2.0
"""Sensor-fusion frames for tests, with everything that a frame may have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from jsonschema import Draft202012Validator

from nucleus_bridge.formats import point_json, sensor_fusion
from nucleus_bridge.formats.content import Points, SceneFrame, SceneImage
from nucleus_bridge.formats.sensor_fusion import frame_json, frame_protobuf, point_protobuf
from nucleus_bridge.model import CameraModel, GpsPose, RadarPoints

SCHEMA = json.loads(Path(sensor_fusion.__file__).with_name("sensor_fusion_frame.schema.json").read_text())
START_NS = 1_541_196_976_735_462_123


def schema_errors(document: Any) -> list[str]:
    Draft202012Validator.check_schema(SCHEMA)
    return [f"{error.json_path}: {error.message}" for error in Draft202012Validator(SCHEMA).iter_errors(document)]


def image(number: int, model: CameraModel, priority: int = 0) -> SceneImage:
    heading = np.array([0.1, -0.7, 0.3, 0.5]) * (1, number + 1, 1, 1)
    return SceneImage(
        f"camera_{number}",
        f"camera_{number}/000000.jpg",
        START_NS + 1_000_001 * number,
        np.array([1.2345678 * number, -0.1, 1e-7]),
        heading / np.linalg.norm(heading),
        model,
        number,
        priority,
    )


MODELS = (
    CameraModel(
        "brown_conrady",
        1920,
        1080,
        1001.25,
        1002.5,
        960.1,
        540.2,
        0.25,
        {"k1": -0.28, "k2": 0.085, "p1": 0.0008, "p2": -0.0005, "k3": -0.011},
        2.0,
    ),
    CameraModel("fisheye", 640, 480, 300.5, 301.5, 320.0, 240.0, 0.0, {"k1": 0.1, "k2": 0.02, "k3": 0.003, "k4": 4e-4}),
    CameraModel(
        "omnidirectional",
        640,
        480,
        900.5,
        901.5,
        320.0,
        240.0,
        -0.5,
        {"xi": 1.2, "k1": -0.2, "k2": 0.1, "p1": 1e-3, "p2": -2e-3},
    ),
)


def radar(position: list[float], direction: list[float] | None = None, size: float | None = None) -> RadarPoints:
    """One detection as all that a radar saw."""
    return RadarPoints(
        "radar",
        START_NS,
        "radar",
        np.array([position]),
        None if direction is None else np.array([direction]),
        None if size is None else np.array([size]),
    )


NO_POINTS = Points(np.zeros((0, 3)))
FULL = SceneFrame(
    0,
    START_NS,
    np.array([12.3456789, -0.0000001, 3.0]),
    np.array([0.1, 0.2, 0.3, 0.9]) / np.linalg.norm([0.1, 0.2, 0.3, 0.9]),
    GpsPose(48.1371222164, 11.5749314381, 214.42707113),
    NO_POINTS,
    tuple(image(number, model, priority=number) for number, model in enumerate(MODELS)),
    (radar([100.1234, 150.12, 200.2], [1.0, 0.0, -0.00001], 0.5), radar([-3.0, 4.0, 0.25])),
)
BARE = SceneFrame(0, START_NS, np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]), None, NO_POINTS)


def columns(count: int, seed: int = 0, spread: float = 40.0, devices: int = 3) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "xyz": random.normal(0.0, spread, (count, 3)),
        "intensity": random.random(count).astype(np.float32),
        "device": random.integers(0, devices, count).astype(np.uint8),
        "time_ns": START_NS + np.sort(random.integers(0, 10**8, count)),
        "is_ground": random.random(count) < 0.4,
    }


def as_json(frame: SceneFrame, given: dict[str, np.ndarray]) -> bytes:
    return b"".join(frame_json.encode_frame(frame, point_json.encode_points(**given)))


def as_protobuf(frame: SceneFrame, given: dict[str, np.ndarray]) -> bytes:
    return b"".join(frame_protobuf.encode_frame(frame, point_protobuf.encode_points(**given)))
