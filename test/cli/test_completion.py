# SPDX-License-Identifier: Apache-2.0
"""A shell completes commands, options and choices."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nucleus_bridge.cli.main import COMMANDS, build_parser

NAMES = ["demo-drive", "inspect", "init", "convert", "export", "validate", "preview", "upload", "status", "labels"]
NAMES += ["predict", "reconcile", "catalogue", "odometry", "serve", "ros-setup"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("nucleus-bridge con", {"convert "}),
        ("nucleus-bridge convert bag --wor", {"--workers "}),
        ("nucleus-bridge demo-drive out --storage ", {"mcap", "sqlite3"}),
    ],
)
def test_completes(tmp_path: Path, line: str, expected: set[str]) -> None:
    pytest.importorskip("argcomplete")
    answer = tmp_path / "answer"
    completing = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_TYPE": "9"}
    subprocess.run(
        [sys.executable, "-m", "nucleus_bridge"],
        env={**os.environ, **completing, "_ARGCOMPLETE_STDOUT_FILENAME": str(answer), "_ARGCOMPLETE_IFS": "\n"},
        check=True,
        timeout=120,
    )
    assert set(answer.read_text().split("\n")) == expected


def test_every_command_is_there_with_an_example() -> None:
    assert list(COMMANDS) == NAMES
    choices = next(action.choices for action in build_parser()._actions if action.choices)
    for name in NAMES:
        assert f"example: nucleus-bridge {name}" in choices[name].format_help().replace("\n", " ").replace("  ", " ")
