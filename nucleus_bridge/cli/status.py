# SPDX-License-Identifier: Apache-2.0
"""``nucleus-bridge status``: one line a scene of a spool."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nucleus_bridge.cli.upload import need_spool
from nucleus_bridge.spool import Spool
from nucleus_bridge.spool.leases import Leases
from nucleus_bridge.spool.quota import read_drops
from nucleus_bridge.spool.state import SceneState, StateBook, StateRecord
from nucleus_bridge.text import printable_lines

_SENT = frozenset({SceneState.STORED, SceneState.SUBMITTED, SceneState.DONE})


def add_parser(commands: Any) -> argparse.ArgumentParser:  # noqa: ANN401 - argparse keeps its type private
    """Add the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "status",
        help="show where each scene of a spool stands",
        description="Print one line a scene: state, frames, items, bytes, how much of it was sent, the last error.",
        epilog="example: nucleus-bridge status /data/spool",
    )
    parser.add_argument("spool", metavar="SPOOL", type=Path, help="folder with the scenes")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of lines")
    parser.set_defaults(run=run)
    return parser


def run(options: argparse.Namespace) -> int:
    """Show the spool."""
    spool = Spool(need_spool(options.spool))
    sending: dict[str, Any] = {}
    for other in Leases(spool).others():
        sending.update(other.get("progress") or {})
    rows = [(record, _progress(record, sending)) for record in StateBook(spool).all()]
    drops = read_drops(spool)
    if options.json:
        scenes = [{**asdict(record), "state": record.state.value, "progress": progress} for record, progress in rows]
        print(json.dumps({"scenes": scenes, "dropped": drops}, indent=1))
        return 0
    for record, progress in rows:
        task = f"  task {record.task_id}" if record.task_id else ""
        note = f"  {record.error}" if record.error else ""
        numbers = f"{record.frames} frames  {record.items} items  {record.bytes / 1e6:.1f} MB"
        print(printable_lines(f"{record.reference_id}  {record.state.value}  {numbers}  {progress:.0%}{task}{note}"))
    counts = Counter(record.state for record, _ in rows)
    print(f"{len(rows)} scenes: {', '.join(f'{counts[state]} {state.value}' for state in SceneState if counts[state])}")
    if drops:
        print(f"dropped for lack of room: {', '.join(f'{count} {cause}' for cause, count in sorted(drops.items()))}")
    return 0


def _progress(record: StateRecord, sending: Mapping[str, Any]) -> float:
    if record.state in _SENT:
        return 1.0
    sent, total = sending.get(record.reference_id, (0, 0))
    return min(1.0, sent / total) if total else 0.0
