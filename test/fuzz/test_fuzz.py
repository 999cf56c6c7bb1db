# SPDX-License-Identifier: Apache-2.0
"""Whatever bytes come from outside, they are used or politely refused: no other exception, no hang, no 1 GB."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import message_targets
import pytest
import text_targets
from harness import CORPUS, Target
from hypothesis import given, settings
from hypothesis import strategies as st
from mutation import mutate
from targets import TARGETS

EFFORT = int(os.environ.get("NUCLEUS_BRIDGE_TEST_EFFORT", "1"))
EDITS = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 40), st.binary(max_size=40)), min_size=1, max_size=4
)


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_input_is_used_or_refused(name: str, tmp_path: Path) -> None:
    """In a process of its own, whose memory is limited: cases that were found before, then new ones."""
    program = Path(__file__).with_name("run.py")
    runs = max(50, TARGETS[name].cases // 2) * EFFORT  # starting it takes half of the time
    command = [sys.executable, str(program), name, "--runs", str(runs), "--keep", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=600 * EFFORT, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert f"{name}: {runs} cases" in done.stdout


@pytest.mark.parametrize("target", message_targets.TARGETS, ids=lambda target: target.name)
@settings(max_examples=100 * EFFORT, deadline=None)
@given(number=st.integers(0, 100), edits=EDITS)
def test_edited_messages_are_used_or_refused(
    target: Target, number: int, edits: list[tuple[float, int, bytes]]
) -> None:
    data = bytearray(target.seeds[number % len(target.seeds)])
    for place, length, patch in edits:
        at = int(place * (len(data) + 1))
        data[at : at + length] = patch
    target.run(bytes(data))


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_good_input_is_not_refused(target: Target) -> None:
    for seed in target.seeds:
        target.use(seed)


def test_a_good_scene_is_read_in_every_way() -> None:
    assert text_targets.use_scene() == 0


def test_every_case_that_was_found_has_a_target() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} <= set(TARGETS)


def test_damage_differs_and_comes_again() -> None:
    data = bytes(range(256))
    first, again = ([mutate(data, [data], [b"word"], random.Random(seed)) for seed in range(200)] for _ in range(2))
    assert first == again
    assert len(set(first)) > 150
