# SPDX-License-Identifier: Apache-2.0
"""``nucleus-bridge status``: one line a scene of a spool, where it was worked on last or at a destination."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nucleus_bridge.cli.upload import need_spool, task_note
from nucleus_bridge.errors import ConfigError
from nucleus_bridge.spool import Spool
from nucleus_bridge.spool.destination import DestinationKey
from nucleus_bridge.spool.leases import Leases
from nucleus_bridge.spool.quota import read_drops
from nucleus_bridge.spool.state import SceneState, StateBook, StateRecord
from nucleus_bridge.text import counted, printable_lines

ALL = ""
_SENT = frozenset({SceneState.STORED, SceneState.SUBMITTED, SceneState.DONE})


def add_parser(commands: Any) -> argparse.ArgumentParser:  # noqa: ANN401 - argparse keeps its type private
    """Add the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "status",
        help="show where each scene of a spool stands",
        description="Print one line a scene: state, frames, items, bytes, how much of it was sent, the last error. "
        "The state is the one at the destination that was worked on last; each destination has its own.",
        epilog="example: nucleus-bridge status /data/spool --destination ds_bwhjbyfb8mjj0ykagxf0",
    )
    parser.add_argument("spool", metavar="SPOOL", type=Path, nargs="?", help="folder with the scenes")
    parser.add_argument(
        "--destination",
        metavar="TEXT",
        nargs="?",
        const=ALL,
        help="states at the one destination whose endpoint, dataset, project or store contains TEXT; "
        "without TEXT those of every destination",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of lines")
    parser.set_defaults(run=run)
    return parser


def run(options: argparse.Namespace) -> int:
    """Show the spool."""
    path, wanted = options.spool, options.destination
    if path is None and wanted:
        path, wanted = Path(wanted), ALL  # the folder stood behind --destination
    if path is None:
        raise ConfigError("name the spool: nucleus-bridge status SPOOL")
    spool = Spool(need_spool(path))
    sending: dict[str, Any] = {}
    for other in Leases(spool).others():
        sending.update(other.get("progress") or {})
    book = StateBook(spool)
    destinations = _destinations(book)
    if wanted:
        book.destination = _chosen(destinations, wanted)
    rows = [(record, _progress(record, sending)) for record in book.all()]
    drops = read_drops(spool)
    if options.json:
        scenes = [_scene(book, record, progress) for record, progress in rows]
        print(json.dumps({"scenes": scenes, "dropped": drops}, indent=1))
        return 0
    for record, progress in rows:
        note = f"  {record.error}" if record.error else ""
        numbers = f"{counted(record.frames, 'frame')}  {counted(record.items, 'item')}  {record.bytes / 1e6:.1f} MB"
        line = f"{record.reference_id}  {record.state.value}  {numbers}  {progress:.0%}{task_note(record)}{note}"
        print(printable_lines(line))
        if wanted == ALL:
            for there in book.everywhere(record.reference_id):
                print(printable_lines(f"  {there.state.value}  {there.destination.text}"))
    counts = Counter(record.state for record, _ in rows)
    where = f" ({book.destination.text})" if book.destination is not None else ""
    shown = ", ".join(f"{counts[state]} {state.value}" for state in SceneState if counts[state])
    print(f"{counted(len(rows), 'scene')}: {shown}{where}")
    if drops:
        print(f"dropped for lack of room: {', '.join(f'{count} {cause}' for cause, count in sorted(drops.items()))}")
    return 0


def _destinations(book: StateBook) -> list[DestinationKey]:
    """Return every destination that some scene was on its way to."""
    found: dict[tuple[str, ...], DestinationKey] = {}
    for reference_id in book.references():
        for record in book.everywhere(reference_id):
            if record.endpoint:
                found.setdefault(record.destination.identity, record.destination)
    return list(found.values())


def _chosen(destinations: Iterable[DestinationKey], text: str) -> DestinationKey:
    known = list(destinations)
    fitting = [key for key in known if text in key.text or text in (key.dataset_name, key.dataset_id)]
    if len(fitting) == 1:
        return fitting[0]
    shown = "; ".join(key.text for key in fitting or known) or "none"
    how_many = f"{len(fitting)} destinations fit" if fitting else "no destination fits"
    raise ConfigError(f"--destination {text!r}: {how_many}; there are: {shown}")


def _scene(book: StateBook, record: StateRecord, progress: float) -> dict[str, Any]:
    everywhere = [
        {**asdict(other.destination), "state": other.state.value, "error": other.error, "updated": other.updated}
        for other in book.everywhere(record.reference_id)
    ]
    return {**asdict(record), "state": record.state.value, "progress": progress, "destinations": everywhere}


def _progress(record: StateRecord, sending: Mapping[str, Any]) -> float:
    if record.state in _SENT:
        return 1.0
    sent, total = sending.get(record.reference_id, (0, 0))
    return min(1.0, sent / total) if total else 0.0
