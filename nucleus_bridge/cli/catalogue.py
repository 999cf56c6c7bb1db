# SPDX-License-Identifier: Apache-2.0
"""``nucleus-bridge catalogue``: one file to query about scenes and recordings."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nucleus_bridge.archive.catalogue import update_catalogue
from nucleus_bridge.archive.drives import How, update_drives
from nucleus_bridge.archive.executors import Workplace, local_processes
from nucleus_bridge.archive.find import find_bags
from nucleus_bridge.archive.library import Library, find_library
from nucleus_bridge.cli.progress import progress_bar
from nucleus_bridge.config import load_config
from nucleus_bridge.errors import InputError
from nucleus_bridge.render.workers import InlineExecutor
from nucleus_bridge.text import counted, printable_lines


def add_parser(commands: Any) -> argparse.ArgumentParser:  # noqa: ANN401 - argparse keeps its type private
    """Add the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "catalogue",
        help="list recordings and scenes in one SQLite file",
        description="Write a SQLite file of recordings (when, where, how fast, which sensors, what is wrong with them) "
        "and of the scenes of spools (drive, recording, place, distance, sensors, losses, state). Run again, it reads "
        "only what changed. convert --where converts what a condition names.",
        epilog="example: nucleus-bridge catalogue /data/drives /data/spool -o drives.sqlite",
    )
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="+",
        help="spool, recording, folder or pattern of recordings, or URL of either in a store",
    )
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, required=True, help="the catalogue")
    parser.add_argument("--config", metavar="FILE", type=Path, help="parameter file whose events are looked for")
    parser.add_argument("--rebuild", action="store_true", help="read everything again")
    parser.add_argument("--workers", type=_positive, default=1, help="processes that read recordings (default: 1)")
    parser.add_argument(
        "--scratch", metavar="DIR", type=Path, help="folder for temporary copies of recordings (default: the system's)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of lines")
    parser.set_defaults(run=run)
    return parser


def run(options: argparse.Namespace) -> int:
    """Bring the catalogue up to date."""
    found = {path: find_library(path) for path in options.paths}
    libraries = [library for library in found.values() if library is not None]
    if len(libraries) > 1:
        raise InputError("a catalogue is of one spool; give each its own, and ATTACH them in SQLite")
    recordings = [path for path, library in found.items() if library is None]
    unreadable: list[str] = []
    document: dict[str, Any] = {}
    lines = []
    for library in libraries:
        part, line = _scenes(options, library)
        document |= part
        lines.append(line)
    if recordings:
        part, line = _drives(options, recordings)
        unreadable += part.pop("unreadable")
        document |= part
        lines.append(line)
    unreadable = [*document.pop("unreadable", ()), *unreadable]
    for reason in unreadable:
        print(printable_lines(f"nucleus-bridge: error: {reason}"), file=sys.stderr)
    if options.json:
        print(json.dumps({**document, "unreadable": unreadable}, indent=1))
    else:
        print("\n".join(lines))
    return 1 if unreadable else 0


def _scenes(options: argparse.Namespace, library: Library) -> tuple[dict[str, Any], str]:
    with progress_bar("catalogue") as bar:
        changes = update_catalogue(library, options.output, rebuild=options.rebuild, progress=bar)
    what = f"{changes.added} added, {changes.changed} changed, {changes.removed} removed"
    return asdict(changes), f"{options.output}: {counted(changes.scenes, 'scene')} ({what})"


def _drives(options: argparse.Namespace, paths: Sequence[str]) -> tuple[dict[str, Any], str]:
    found = find_bags(paths)
    missing = [f"{argument}: {reason}" for argument, reason in found.problems]
    if missing and not found.bags:
        raise InputError("\n".join(missing))
    place = Workplace(InlineExecutor, 1) if options.workers == 1 else local_processes(options.workers)
    with progress_bar(f"{len(found.bags)} recordings") as bar:
        changes = update_drives(
            found.bags,
            options.output,
            place,
            how=How(load_config(options.config) if options.config else None, options.scratch),
            rebuild=options.rebuild,
            progress=bar,
        )
    document = {
        "drives": changes.drives,
        "drives_read": changes.read,
        "drives_removed": changes.removed,
        "unreadable": [*missing, *changes.unreadable],
    }
    return (
        document,
        f"{options.output}: {counted(changes.drives, 'recording')} ({changes.read} read, {changes.removed} removed)",
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return number
