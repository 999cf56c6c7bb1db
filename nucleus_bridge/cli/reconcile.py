# SPDX-License-Identifier: Apache-2.0
"""``nucleus-bridge reconcile``: compare spool, object store and service."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nucleus_bridge.cli.progress import progress_bar
from nucleus_bridge.cli.upload import add_settings, need_spool, upload_settings
from nucleus_bridge.text import printable_lines
from nucleus_bridge.upload.choice import destination_for, key_for
from nucleus_bridge.upload.plan import check_settings
from nucleus_bridge.upload.reconcile import reconcile
from nucleus_bridge.upload.retry import Retry
from nucleus_bridge.upload.store.objects import open_store

_HARMLESS = frozenset({"orphaned object", "orphaned scene"})


def add_parser(commands: Any) -> argparse.ArgumentParser:  # noqa: ANN401 - argparse keeps its type private
    """Add the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "reconcile",
        help="compare spool, object store and service, and repair what differs",
        description="Compare what spool, object store and Nucleus say of each scene, or with --task the service's "
        "annotation tasks. Prints a line a difference. "
        "With --repair the states in the spool are set right; the next upload does what is missing. "
        "Nothing is ever deleted or overwritten.",
        epilog="example: nucleus-bridge reconcile /data/spool --config drive.yaml --repair",
    )
    parser.add_argument("spool", metavar="SPOOL", type=Path, help="folder with the scenes")
    add_settings(parser)
    parser.add_argument("--repair", action="store_true", help="correct the states in the spool")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of lines")
    parser.set_defaults(run=run)
    return parser


def run(options: argparse.Namespace) -> int:
    """Compare, and repair if asked to."""
    settings = upload_settings(options)
    check_settings(settings)
    need_spool(options.spool)
    retry = Retry(give_up_after_s=settings.give_up_after_s)
    destination = destination_for(settings)(settings, key_for(settings), retry)
    store = open_store(settings.store, timeout_s=settings.timeout_s, retry=retry)
    holdings = destination.holdings(store)
    with progress_bar("reconcile") as bar:
        findings = reconcile(
            options.spool,
            store,
            holdings,
            destination=destination.key,
            repair=options.repair,
            progress=lambda done, total: bar(done / total if total else 1.0),
        )
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            after = "  (set right)" if finding.repaired else ""
            print(printable_lines(f"{finding.reference_id}  {finding.kind}  {finding.text}{after}"))
        repaired = sum(finding.repaired for finding in findings)
        after = "; run upload to do what is missing" if repaired else ""
        print(f"{len(findings)} differences, {repaired} set right{after}")
    return 0 if all(finding.repaired or finding.kind in _HARMLESS for finding in findings) else 1
