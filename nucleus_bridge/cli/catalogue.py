# SPDX-License-Identifier: Apache-2.0
"""``nucleus-bridge catalogue``: one file to query about all scenes of a spool."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nucleus_bridge.archive.catalogue import update_catalogue
from nucleus_bridge.archive.library import open_library
from nucleus_bridge.cli.progress import progress_bar
from nucleus_bridge.text import counted, printable_lines


def add_parser(commands: Any) -> argparse.ArgumentParser:  # noqa: ANN401 - argparse keeps its type private
    """Add the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "catalogue",
        help="list the scenes of a spool in one SQLite file",
        description="Write a SQLite file of all scenes of a spool: drive, recording, time, place, distance, sensors, "
        "losses and state. Run again, it reads only what changed.",
        epilog="example: nucleus-bridge catalogue /data/spool -o drives.sqlite",
    )
    parser.add_argument("spool", metavar="SPOOL", help="folder with the scenes, or URL of a store")
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, required=True, help="catalogue to write or to update"
    )
    parser.add_argument("--rebuild", action="store_true", help="read every scene again")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of lines")
    parser.set_defaults(run=run)
    return parser


def run(options: argparse.Namespace) -> int:
    """Bring the catalogue up to date."""
    library = open_library(options.spool)
    with progress_bar("catalogue") as bar:
        changes = update_catalogue(library, options.output, rebuild=options.rebuild, progress=bar)
    for reason in changes.unreadable:
        print(printable_lines(f"nucleus-bridge: error: {reason}"), file=sys.stderr)
    if options.json:
        print(json.dumps(asdict(changes), indent=1))
    else:
        what = f"{changes.added} added, {changes.changed} changed, {changes.removed} removed"
        print(f"{options.output}: {counted(changes.scenes, 'scene')} ({what})")
    return 1 if changes.unreadable else 0
