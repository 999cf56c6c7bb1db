# SPDX-License-Identifier: Apache-2.0
"""``nucleus-bridge validate``: check scenes against the format rules and their checksums."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nucleus_bridge.cli.progress import Bar, progress_bar
from nucleus_bridge.memory import keep_freed_memory
from nucleus_bridge.text import counted
from nucleus_bridge.validate.scenes import SceneReport, validate_path


def add_parser(commands: Any) -> argparse.ArgumentParser:  # noqa: ANN401 - argparse keeps its type private
    """Add the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "validate",
        help="check scenes against the format rules and their checksums",
        description="Check scenes, or all scenes of a spool, against the format rules and their checksums. "
        "Says each rule, each failure with file, frame and item, and ends with a count.",
        epilog="example: nucleus-bridge validate /data/spool",
    )
    parser.add_argument("paths", metavar="PATH", nargs="+", type=Path, help="scene folder or spool")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of lines")
    parser.set_defaults(run=run)
    return parser


def run(options: argparse.Namespace) -> int:
    """Validate every path."""
    keep_freed_memory()
    reports: list[SceneReport] = []
    for path in options.paths:
        with progress_bar(f"validate {path.name}") as bar:
            reports += validate_path(path, progress=_Share(bar))
    if options.json:
        print(json.dumps([asdict(report) for report in reports], indent=1, default=str))
    else:
        for report in reports:
            _print(report)
        failures = sum(len(rule.failures) for report in reports for rule in report.rules)
        bad = sum(not report.ok for report in reports)
        checked = counted(len(reports), "scene")
        print(f"{checked} checked, {len(reports) - bad} good, {bad} bad, {counted(failures, 'failure')}")
    return 0 if all(report.ok for report in reports) else 1


class _Share:
    """Turns counts into a share of the work."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar

    def __call__(self, done: int, total: int) -> None:
        self._bar(done / total)


def _print(report: SceneReport) -> None:
    print(f"{report.path}: {'good' if report.ok else 'BAD'}")
    for rule in report.rules:
        print(f"  {'ok  ' if not rule.failures else 'FAIL'} {rule.rule} ({rule.checked} checked): {rule.description}")
        for failure in rule.failures:
            where = [failure.file]
            if failure.frame is not None:
                where.append(f"frame {failure.frame}")
            if failure.item:
                where.append(failure.item)
            print(f"       {', '.join(where)}: {failure.text}")
