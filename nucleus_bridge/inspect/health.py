# SPDX-License-Identifier: Apache-2.0
"""The health score of a recording: how much of it comes out as scenes, in parts that add up to 100."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nucleus_bridge.convert import CLOUD, IMAGE
from nucleus_bridge.inspect.suggest import Suggestion
from nucleus_bridge.inspect.trial import Trial

if TYPE_CHECKING:
    from nucleus_bridge.inspect.report import SensorReport, TopicReport


@dataclass(frozen=True)
class Part:
    """One part of the score: so many points of at most so many, and why."""

    name: str
    points: float
    most: int
    why: str


def health(
    topics: Sequence[TopicReport],
    sensors: Sequence[SensorReport],
    warnings: Sequence[str],
    damage: Sequence[str],
    suggestion: Suggestion,
    trial: Trial,
) -> list[Part]:
    """Give each part its points."""
    return [
        _share("lidars", 25, [s.usable for s in sensors if s.kind == "lidar" and s.name], "usable"),
        _poses(suggestion, trial),
        _cameras(sensors),
        _completeness(topics),
        _likelihood(sensors, warnings),
        Part("undamaged", 0 if damage else 10, 10, damage[0] if damage else "everything can be read"),
    ]


def _share(name: str, most: int, good: list[bool], what: str) -> Part:
    share = sum(good) / len(good) if good else 0.0
    return Part(name, most * share, most, f"{sum(good)} of {len(good)} {what}")


def _poses(suggestion: Suggestion, trial: Trial) -> Part:
    """Sweeps that became frames, of all sweeps that went in; nothing without a pose."""
    lost = sum(sum(trial.losses.get(topic, {}).values()) for topic in suggestion.lidar_names)
    if suggestion.no_pose:
        return Part("poses", 0, 25, "the lidar has no pose over time")
    total = trial.frames + lost
    share = trial.frames / total if total else 0.0
    return Part("poses", 25 * share, 25, f"{trial.frames} frames, {lost} sweeps lost in the trial run")


def _cameras(sensors: Sequence[SensorReport]) -> Part:
    duplicates = ("the same camera", "not used: depth")
    cameras = [s for s in sensors if s.kind == "camera" and not any(text in s.verdict for text in duplicates)]
    if not cameras:
        return Part("cameras", 0, 15, "no images were recorded")
    return _share("cameras", 15, [camera.usable for camera in cameras], "usable")


def _completeness(topics: Sequence[TopicReport]) -> Part:
    """Messages there, of those that should be; each percent missing costs a tenth."""
    sensors = [topic for topic in topics if topic.type in (*CLOUD, *IMAGE)]
    drops, read = sum(topic.drops for topic in sensors), sum(topic.read for topic in sensors)
    share = drops / (drops + read) if drops + read else 0.0
    points = 15 * max(0.0, 1 - 10 * share)
    return Part("completeness", points, 15, f"{drops} clouds and images missing of {drops + read}")


def _likelihood(sensors: Sequence[SensorReport], warnings: Sequence[str]) -> Part:
    count = len(warnings) + sum(len(sensor.warnings) for sensor in sensors if sensor.name)
    return Part("likelihood", max(0, 10 - 5 * count), 10, f"{count} warnings" if count else "nothing looks unlikely")
