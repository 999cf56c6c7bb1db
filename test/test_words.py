# SPDX-License-Identifier: Apache-2.0
"""The word checker finds what it names, and nothing else."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import nucleus_bridge

ROOT = Path(nucleus_bridge.__file__).parent.parent
PROGRAM = ROOT / "tools/words.py"
pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason="not a source checkout")


@pytest.fixture(scope="module")
def words() -> ModuleType:
    spec = importlib.util.spec_from_file_location("words", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "line",
    [
        "the observer is told of each scene",  # words: as is
        "A frame that was never heard of",  # words: as is
        "it would wait for ever",  # words: as is
        "Mends what differs",  # words: as is
        "least processor time",  # words: as is
        "a hole between two sweeps",  # words: as is
        "every so many-th is kept",  # words: as is
        "`/data` is no spool",  # words: as is
        "these bytes are no CDR",  # words: as is
        "f'{path} is no {kind}'",  # words: as is
        "1 scenes, 91.0 MB",  # words: as is
    ],
)
def test_what_came_back_too_often_is_found(words: ModuleType, line: str) -> None:
    assert [number for number, _, _ in words.findings(["fine", line])] == [2]


@pytest.mark.parametrize(
    "line",
    [
        "there is no scene",
        "it is no longer there",
        "a stamp is no later than the next",
        "11 scenes, 1 scene",
        "ROS 1 messages",
        "hole_ns and recommended",
        "is no scene  # words: as is",
    ],
)
def test_what_is_right_is_not_found(words: ModuleType, line: str) -> None:
    assert list(words.findings([line])) == []


def test_the_repository_has_none() -> None:
    done = subprocess.run([sys.executable, str(PROGRAM)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_a_file_that_has_one_is_named_with_the_line(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("fine\nit waits for ever\n")  # words: as is
    done = subprocess.run([sys.executable, str(PROGRAM), str(page)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout.startswith(f"{page}:2: 'for ever': ")  # words: as is
