# SPDX-License-Identifier: Apache-2.0
"""What is noted on the way is judged without alarms for what was left out of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from drives import SHORT, make_drive

from nucleus_bridge.config import load_config
from nucleus_bridge.geometry import TransformTree
from nucleus_bridge.inspect.evidence import findings_of
from nucleus_bridge.pipeline.evidence import MOST, Evidence
from nucleus_bridge.poses import Edge
from nucleus_bridge.warnings import Code

T0, STEP = 1_700_000_000_000_000_000, 17_000_000


def noted(tmp_path: Path, samples: int, aside_m: float = 0.0) -> set[Code]:
    config = load_config(make_drive(tmp_path, replace(SHORT, seconds=0.4, points=300, cameras=1)).config_path)
    evidence, tree = Evidence(), TransformTree()
    for number in range(samples):
        x, y = 0.2 * number, aside_m * (number % 2)
        edge = Edge(
            config.world_frame, config.device_frame, T0 + STEP * number, (x, y, 0.0), (0, 0, 0, 1), static=False
        )
        evidence.note_edge("/tf", edge, edge.stamp_ns + 2_000_000)
        tree.add(*edge)
    return {finding.code for finding in findings_of(evidence, config, tree)}


def test_a_long_consistent_drive_gives_no_warning(tmp_path: Path) -> None:
    assert noted(tmp_path, 4 * MOST) == set()


def test_two_answers_are_told(tmp_path: Path) -> None:
    assert Code.TF_CONFLICT in noted(tmp_path, 4 * MOST, aside_m=1.1)
