# SPDX-License-Identifier: Apache-2.0
"""A clock that is set forward by less than what ends a scene is named; messages that are missing or held up are not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bags import MS, START_NS
from small_drive import Camera, Lidar, S, SmallDrive, Tf

from nucleus_bridge import convert_bag
from nucleus_bridge.inspect.forward_steps import find_forward_steps
from nucleus_bridge.inspect.report import study
from nucleus_bridge.warnings import Code

PERIOD = 50 * MS
STAMPS = START_NS + PERIOD * np.arange(60)


def leaps(stamps: np.ndarray, logs: np.ndarray) -> list[int]:
    return [round(step.by_ns / MS) for step in find_forward_steps("/points", stamps, logs, is_frame=False)]


@pytest.mark.parametrize("by_ms", [110, 390, 2600])
def test_stamps_that_leap_while_the_log_goes_on_are_a_step(by_ms: int) -> None:
    stepped = STAMPS + by_ms * MS * (np.arange(60) >= 23)
    assert leaps(stepped, STAMPS + 4 * MS) == [by_ms]


def test_messages_that_are_missing_are_none() -> None:
    there = np.r_[0:20, 31:60]
    assert leaps(STAMPS[there], STAMPS[there] + 4 * MS) == []


def test_messages_that_were_held_up_and_come_at_once_are_none() -> None:
    logs = STAMPS + 4 * MS
    logs[15:28] = logs[28] - MS * np.arange(13, 0, -1)
    assert leaps(STAMPS, logs) == []


def test_messages_that_come_with_many_delays_are_none() -> None:
    noise = np.random.default_rng(4).exponential(30 * MS, 60).astype(np.int64)
    assert leaps(STAMPS, STAMPS + noise) == []


def test_a_message_that_is_stamped_ahead_once_is_none() -> None:
    stamps = STAMPS.copy()
    stamps[30:32] += 240 * MS
    assert leaps(stamps, STAMPS + 4 * MS) == []


def drive(by_ms: int) -> SmallDrive:
    """A drive whose computer sets its clock forward; the recorder's goes on."""

    def host(true: int) -> int:
        return true if true < START_NS + 1_430 * MS else true + by_ms * MS

    parts = {"lidars": (Lidar(clock=host),), "cameras": (Camera(clock=host),), "tf": (Tf(clock=host),)}
    return SmallDrive(seconds=2.6, **parts)


@pytest.mark.parametrize("by_ms", [260, 710])
def test_init_ends_the_scene_at_the_step_and_convert_names_it_where_it_does_not(tmp_path: Path, by_ms: int) -> None:
    bag = drive(by_ms).write(tmp_path / "bag")
    report, made = study(bag)
    names = {finding.name for finding in report.warnings if finding.code is Code.CLOCK_STEP}
    assert names == {Lidar().topic, Camera().topic, "base_link"}
    config = made.config()
    assert config is not None
    assert by_ms / 1000 * 0.8 < config.scene.max_gap_s < (by_ms + 100) / 1000
    right = convert_bag(bag, config, tmp_path / "right")
    assert len(right.scenes) == 2
    assert Code.CLOCK_STEP not in {finding.code for finding in right.findings}
    wide = replace(config, scene=replace(config.scene, max_gap_s=1.0))
    told = convert_bag(bag, wide, tmp_path / "wide")
    assert len(told.scenes) == 1
    remedies = {finding.remedy for finding in told.findings if finding.code is Code.CLOCK_STEP}
    assert remedies == {f"scene.max_gap_s: {config.scene.max_gap_s}"}


def test_one_camera_alone_is_named_without_a_remedy_that_would_not_help(tmp_path: Path) -> None:
    plain = drive(0)
    stepped = replace(Camera(), clock=lambda true: true if true < START_NS + S else true + 640 * MS)
    report, made = study(plain.but(cameras=(stepped,)).write(tmp_path / "bag"))
    found = [finding for finding in report.warnings if finding.code is Code.CLOCK_STEP]
    assert [finding.name for finding in found] == [Camera().topic]
    assert "max_gap_s" not in found[0].remedy
    assert "scene.max_gap_s" not in made.values
