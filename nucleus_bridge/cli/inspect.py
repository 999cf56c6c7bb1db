# SPDX-License-Identifier: Apache-2.0
"""``nucleus-bridge inspect``: what is in a recording and what it is good for."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from nucleus_bridge.cli.merge import add_recording_arguments, recording_of
from nucleus_bridge.cli.progress import progress_bar
from nucleus_bridge.config import load_config
from nucleus_bridge.errors import ConfigError
from nucleus_bridge.inspect.configured import Given
from nucleus_bridge.inspect.report import inspect_bag
from nucleus_bridge.inspect.text import Row, Section, plain, sections


def add_parser(commands: Any) -> argparse.ArgumentParser:  # noqa: ANN401 - argparse keeps its type private
    """Add the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "inspect",
        help="say what is in a recording and what it is good for",
        description="Say what is in a recording: topics, rates, gaps, clocks, transforms, lidars and cameras, whether "
        "each can be used or what is missing, and a health score. Large recordings are judged by their beginning.",
        epilog="example: nucleus-bridge inspect /data/drive_0412",
    )
    add_recording_arguments(parser)
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        help="judge the recording with a configuration: which of its topics are there, what comes of each in a trial "
        "run, which warnings remain and which it settles",
    )
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        dest="overrides",
        help="with --config: override a parameter, such as cameras.front.offset_ms=12 (repeatable)",
    )
    parser.add_argument("--full", action="store_true", help="read everything, however large it is")
    parser.add_argument(
        "--deep",
        action="store_true",
        help="decode every picture, not a sample of at most 12; measure calibrations on all frames",
    )
    parser.add_argument(
        "--trajectory",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        dest="trajectories",
        help="compare a file of poses, such as odometry writes, with the recording's (repeatable)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of tables")
    parser.set_defaults(run=run)
    return parser


def run(options: argparse.Namespace) -> int:
    """Inspect the recording."""
    bag = recording_of(options)
    given = _given(options)
    with progress_bar(f"inspect {bag.name}") as bar:
        report = inspect_bag(
            bag,
            full=options.full,
            deep=options.deep,
            progress=bar,
            trajectories=options.trajectories,
            given=given,
        )
    if options.json:
        print(json.dumps(report.as_json(), indent=1, allow_nan=False))
        return 0
    shown = list(sections(report))
    if sys.stdout.isatty():
        _print_rich(shown)
    else:
        print("\n\n".join(plain(section) for section in shown))
    return 0


def _given(options: argparse.Namespace) -> Given | None:
    """Return the configuration to judge with.

    Raises:
        ConfigError: It is not one, or options contradict each other.
    """
    if options.config is None:
        if options.overrides:
            raise ConfigError("--set: goes with --config FILE")
        return None
    if options.trajectories:
        raise ConfigError("--trajectory: is compared with the recording as it is; leave out --config")
    return Given(options.config, load_config(options.config, options.overrides))


def _print_rich(shown: list[Section]) -> None:
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 - only for people
    from rich.console import Console  # noqa: PLC0415 - only for people
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console()
    for section in shown:
        console.print(Text(section.title, style="bold"))
        if section.text:
            console.print(Text(section.text))
        if section.rows:
            table = Table(show_header=any(section.header), header_style="dim", box=SIMPLE_HEAD, pad_edge=False)
            for number, title in enumerate(section.header):
                table.add_column(title, overflow="fold", min_width=_narrowest(section, number))
            for row in section.rows:
                table.add_row(*(Text(cell, style=_style(row)) for cell in row.cells))
            console.print(table)
        console.print()


def _narrowest(section: Section, column: int) -> int:
    """Keep names readable where the terminal is narrow."""
    return min(max(len(row.cells[column]) for row in section.rows), 24 if column == 0 else 10)


def _style(row: Row) -> str:
    if row.good is not None:
        return "green" if row.good else "red"
    return "yellow" if row.is_warning else ""
