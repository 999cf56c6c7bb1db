# SPDX-License-Identifier: Apache-2.0
"""``nucleus-bridge init``: write a working configuration for a recording."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from nucleus_bridge.cli.merge import add_recording_arguments, recording_of
from nucleus_bridge.cli.progress import progress_bar
from nucleus_bridge.errors import InputError, OutputError
from nucleus_bridge.inspect.report import BagReport, study
from nucleus_bridge.inspect.text import config_text, missing_and_rest
from nucleus_bridge.text import printable_lines


def add_parser(commands: Any) -> argparse.ArgumentParser:  # noqa: ANN401 - argparse keeps its type private
    """Add the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "init",
        help="write a working configuration for a recording",
        description="Write a configuration that converts a recording as it is; every choice says why, and what else "
        "there is. What is missing for a full scene is said on stderr and at the top of the file.",
        epilog="example: nucleus-bridge init /data/drive_0412 -o drive.yaml",
    )
    add_recording_arguments(parser)
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="where to write it (default: stdout)")
    parser.add_argument("--full", action="store_true", help="read everything, however large it is")
    parser.add_argument("--force", action="store_true", help="replace FILE")
    parser.set_defaults(run=run)
    return parser


def run(options: argparse.Namespace) -> int:
    """Write the configuration."""
    if options.output is not None and options.output.exists() and not options.force:
        raise OutputError(f"{options.output} exists; use --force to replace it")
    bag = recording_of(options)
    with progress_bar(f"init {bag.name}") as bar:
        report, suggestion = study(bag, full=options.full, progress=bar)
    _tell(report)
    if not suggestion.lidar_names:
        raise InputError(f"{bag}: no configuration can be made without a lidar")
    text = config_text(report, suggestion)
    if options.output is None:
        print(text, end="")
    else:
        try:
            options.output.write_text(text, encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{options.output} cannot be written: {error.strerror}") from None
        print(options.output)
    return 0 if report.trial.frames else 1


def _tell(report: BagReport) -> None:
    """Say on stderr what is missing and what contradicts itself."""
    missing, rest = missing_and_rest(report.missing, report.warnings)
    for text in missing:
        print(printable_lines(f"missing: {text}"), file=sys.stderr)
    for finding in rest:
        print(printable_lines(str(finding)), file=sys.stderr)
