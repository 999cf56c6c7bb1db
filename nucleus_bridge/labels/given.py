# SPDX-License-Identifier: Apache-2.0
"""Detections from a file of JSON lines in the form of ``labels.jsonl``, put on the frames of a spool's scenes.

A row names its frame by ``scene`` and ``frame``, or else by ``stamp_ns``: the nearest sweep gets it. Boxes in another
frame than the world's need the poses of the recording. ``score`` (or ``confidence``) says how sure each is.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nucleus_bridge.config import Config
from nucleus_bridge.errors import InputError
from nucleus_bridge.geometry import quaternion
from nucleus_bridge.labels.frames import FrameAt, FrameIndex
from nucleus_bridge.labels.label import Label
from nucleus_bridge.labels.recorded import Lost, Waiting, WorldPoses, label_of_detection, place
from nucleus_bridge.model import Detection, Detections, Transform
from nucleus_bridge.recordings import Recording
from nucleus_bridge.strict_text import loads
from nucleus_bridge.text import why_not

SOURCE = "file"
_NEAREST_TO_UNIT = 1e-3
_NOWHERE = Transform(np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]))


class GivenDetections:
    """The rows of a file.

    Args:
        path: The file.
        frames: The frames that they are put on.
        recording: Has the poses of boxes that are not in the world's frame.
        config: Says where those poses come from.
        min_score: Rows of a lower score are left out.

    Raises:
        InputError: The file cannot be read, a row is wrong, or poses are needed and there is no recording.
    """

    def __init__(
        self, path: Path, frames: FrameIndex, recording: Recording | None, config: Config | None, min_score: float
    ) -> None:
        self._path, self._frames, self._recording, self._config = path, frames, recording, config
        self._min_score = min_score
        self.lost = Lost()
        self.messages = 0
        self.unmatched = 0
        self.unmatched_first = ""
        self._elsewhere = 0
        for found, frame, _ in self._rows():  # all of them are looked at before any is used
            self.messages += 1
            self.unmatched += frame is None
            self._elsewhere += frame is not None and found.frame_id not in ("", frame.stamps.frame_id)

    def labels(self) -> Iterator[Label]:
        """Yield them as labels in the frame and at the stamp of the sweep that each is put on."""
        elsewhere = []
        for found, frame, own in self._rows():
            if frame is None:
                continue
            if found.frame_id not in ("", frame.stamps.frame_id):
                elsewhere.append(Waiting(found, frame, found.stamp_ns, (own,)))
                continue
            yield from (label_of_detection(frame, box, _NOWHERE, SOURCE, own) for box in found.boxes)
        if elsewhere and self._recording is not None:
            yield from self._posed(elsewhere, self._recording)

    def _posed(self, rows: list[Waiting], recording: Recording) -> Iterator[Label]:
        to_come = deque(sorted(rows, key=lambda one: one.pose_ns))
        poses = WorldPoses(self._config, to_come[0].frame.stamps.frame_id)
        poses.prime(recording)
        waiting: deque[Waiting] = deque()
        for message in recording.messages(poses.topics & {topic.name for topic in recording.topics}):
            poses.take(message)
            while to_come and to_come[0].pose_ns <= message.log_ns:
                waiting.append(to_come.popleft())
            yield from place(waiting, poses, message.log_ns - poses.wait_ns, self.lost, SOURCE)
        waiting.extend(to_come)
        yield from place(waiting, poses, None, self.lost, SOURCE)

    def _rows(self) -> Iterator[tuple[Detections, FrameAt | None, str]]:
        try:
            with self._path.open(encoding="utf-8") as file:
                for number, line in enumerate(file, 1):
                    if not line.strip():
                        continue
                    where = f"{self._path}:{number}"
                    row = _object(where, line)
                    found, own = _detections(where, row)
                    frame = self._frame(where, row, found.stamp_ns)
                    self._check_poses(where, found, frame)
                    if found.boxes[0].score >= self._min_score:
                        yield found, frame, own
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{self._path} cannot be read: {why_not(error)}") from None

    def _frame(self, where: str, row: Mapping[str, Any], stamp_ns: int) -> FrameAt | None:
        if "scene" not in row and "frame" not in row:
            if not stamp_ns:
                raise InputError(f"{where}: has neither stamp_ns nor scene and frame")
            frame = self._frames.nearest(stamp_ns)
            if frame is None:
                self._note_unmatched(f"{where}: no sweep is near stamp_ns {stamp_ns}")
            return frame
        scene, number = row.get("scene"), row.get("frame")
        if not isinstance(scene, str) or type(number) is not int:
            raise InputError(
                f"{where}: scene and frame are {scene!r:.80} and {number!r:.40}; expected text and a number"
            )
        frame = self._frames.at(scene, number)
        if frame is None:
            stamps = self._frames.scenes.get(scene)
            there = "is not in the dataset" if stamps is None else f"has {len(stamps.stamps_ns)} frames, counted from 0"
            self._note_unmatched(f"{where}: frame {number} of {scene!r:.80}, which {there}")
        return frame

    def _note_unmatched(self, why: str) -> None:
        self.unmatched_first = self.unmatched_first or why

    def _check_poses(self, where: str, found: Detections, frame: FrameAt | None) -> None:
        if frame is None or found.frame_id in ("", frame.stamps.frame_id) or self._recording is not None:
            return
        raise InputError(
            f"{where}: the box is in {found.frame_id!r}, the scene in {frame.stamps.frame_id!r}; "
            "give the recording that has their poses with --recording"
        )


def _object(where: str, line: str) -> Mapping[str, Any]:
    try:
        row = loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: is not JSON: {error}") from None
    if not isinstance(row, dict):
        raise InputError(f"{where}: is not a JSON object")
    return row


def _detections(where: str, row: Mapping[str, Any]) -> tuple[Detections, str]:
    try:
        box = Detection(
            _text(row, "label") or "unknown",
            _number("score", row.get("score", row.get("confidence", 1.0))),
            _text(row, "track"),
            np.array(_numbers(row, "position", ("x", "y", "z"))),
            quaternion.normalise(_rotation(row)),
            np.array(_size(row)),
            _attributes(row),
        )
        return Detections(_stamp(row), _text(row, "frame_id").lstrip("/"), (box,)), _text(row, "id")
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _stamp(row: Mapping[str, Any]) -> int:
    value = row.get("stamp_ns", 0)
    if type(value) is not int:
        raise InputError(f"stamp_ns is {value!r:.40}; expected whole nanoseconds")
    return value


def _rotation(row: Mapping[str, Any]) -> list[float]:
    turn = _numbers(row, "rotation", ("x", "y", "z", "w"))
    if abs(math.hypot(*turn) - 1.0) > _NEAREST_TO_UNIT:
        raise InputError(f"rotation is {turn}; expected a unit quaternion")
    return turn


def _size(row: Mapping[str, Any]) -> list[float]:
    size = _numbers(row, "size", ("length", "width", "height"))
    if min(size) <= 0.0:
        raise InputError(f"size is {size}; expected numbers above 0")
    return size


def _attributes(row: Mapping[str, Any]) -> dict[str, Any]:
    value = row.get("attributes", {})
    if not isinstance(value, dict):
        raise InputError(f"attributes is {value!r:.80}; expected an object")
    return value


def _text(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key, "")
    if not isinstance(value, str):
        raise InputError(f"{key} is {value!r:.40}; expected text")
    return value


def _numbers(row: Mapping[str, Any], key: str, names: tuple[str, ...]) -> list[float]:
    value = row.get(key)
    if not isinstance(value, dict) or not all(name in value for name in names):
        raise InputError(f"{key} is {value!r:.80}; expected an object with {', '.join(names)}")
    return [_number(f"{key}.{name}", value[name]) for name in names]


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InputError(f"{name} is {value!r:.40}; expected a finite number")
    return float(value)
