# SPDX-License-Identifier: Apache-2.0
"""One small drive that the tests of this room read, with plain readers and textbook rotations of their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore

from nucleus_bridge.testing.demo import DriveOptions, truth_path_of, write_demo_drive

TYPESTORE = get_typestore(Stores.ROS2_JAZZY)


@dataclass(frozen=True)
class Logged:
    """One message as the bag holds it."""

    topic: str
    type_name: str
    log_ns: int
    data: bytes

    @property
    def message(self) -> Any:
        return TYPESTORE.deserialize_cdr(self.data, self.type_name)

    @property
    def stamp_ns(self) -> int:
        message = self.message
        header = message.transforms[0].header if hasattr(message, "transforms") else message.header
        return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)


@dataclass(frozen=True)
class Drive:
    """A written drive: its options, its messages in the order of the file, and its truth as a user reads it."""

    options: DriveOptions
    path: Path
    logged: list[Logged]
    truth: dict[str, Any]

    def on(self, topic: str) -> list[Logged]:
        return [logged for logged in self.logged if logged.topic == topic]


class Rotations:
    """Quaternions x y z w by textbook formulas."""

    @staticmethod
    def rotate(rotation_xyzw: Any, points: Any) -> Any:
        rotation = np.asarray(rotation_xyzw, dtype=float)
        vector, scalar = rotation[..., :3], rotation[..., 3:]
        crossed = np.cross(vector, points)
        return points + 2 * scalar * crossed + 2 * np.cross(vector, crossed)

    @staticmethod
    def chain(left: Any, right: Any) -> Any:
        left, right = np.asarray(left, dtype=float), np.asarray(right, dtype=float)
        vector = (
            left[..., 3:] * right[..., :3] + right[..., 3:] * left[..., :3] + np.cross(left[..., :3], right[..., :3])
        )
        scalar = left[..., 3] * right[..., 3] - np.sum(left[..., :3] * right[..., :3], axis=-1)
        return np.concatenate([vector, scalar[..., None]], axis=-1)

    @staticmethod
    def angle(one: Any, other: Any) -> Any:
        """Return the angle between orientations, exact also where it is tiny."""
        inverse = np.asarray(one, dtype=float) * [-1, -1, -1, 1]
        return 2 * np.arcsin(np.minimum(1.0, np.linalg.norm(Rotations.chain(inverse, other)[..., :3], axis=-1)))

    @staticmethod
    def slerp(first: Any, last: Any, part: Any) -> Any:
        """Return the way along the shorter arc."""
        cosine = np.sum(first * last, axis=-1, keepdims=True)
        last, part = np.where(cosine < 0, -last, last), np.asarray(part)[..., None]
        angle = np.arctan2(np.linalg.norm(last - first, axis=-1), np.linalg.norm(last + first, axis=-1))[..., None] * 2
        sine = np.where(angle > 1e-9, np.sin(angle), 1.0)
        first_weight = np.where(angle > 1e-9, np.sin((1 - part) * angle) / sine, 1 - part)
        last_weight = np.where(angle > 1e-9, np.sin(part * angle) / sine, part)
        return first_weight * first + last_weight * last


@pytest.fixture(scope="session")
def rotations() -> type[Rotations]:
    return Rotations


@pytest.fixture(scope="session")
def read_drive() -> Callable[[Path, DriveOptions], Drive]:
    def read(path: Path, options: DriveOptions) -> Drive:
        with Reader(path) as reader:
            logged = [Logged(c.topic, c.msgtype, log_ns, bytes(data)) for c, log_ns, data in reader.messages()]
        return Drive(options, path, logged, json.loads(truth_path_of(path).read_text(encoding="utf-8")))

    return read


@pytest.fixture(scope="session")
def drive(tmp_path_factory: pytest.TempPathFactory, read_drive: Callable[[Path, DriveOptions], Drive]) -> Drive:
    """Return two seconds that begin at rest, with two lidars and three cameras of raw images."""
    options = DriveOptions(
        seconds=2.0, points=4_000, lidars=2, cameras=3, image="raw", image_width=640, image_height=400, standing_s=0.3
    )
    path = write_demo_drive(tmp_path_factory.mktemp("demo") / "drive", options)
    return read_drive(path, options)
