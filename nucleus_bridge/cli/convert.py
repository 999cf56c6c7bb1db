# SPDX-License-Identifier: Apache-2.0
"""``nucleus-bridge convert``: recordings to sealed scenes."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nucleus_bridge.cli.progress import Bar, progress_bar
from nucleus_bridge.config import FORMATS, load_config
from nucleus_bridge.convert import ConversionReport, Observer, convert_bag
from nucleus_bridge.errors import BridgeError, InputError
from nucleus_bridge.pipeline.losses import Table, is_expected, merge, ordered
from nucleus_bridge.spool import SealedScene


def add_parser(commands: Any) -> argparse.ArgumentParser:  # noqa: ANN401 - argparse keeps its type private
    """Add the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "convert",
        help="convert rosbag2 recordings to sealed scenes",
        description="Convert rosbag2 recordings to sealed scenes in a spool. Prints a line a scene and last the totals "
        "with every loss by cause.",
        epilog="example: nucleus-bridge convert drive_0412 --config drive.yaml --output /data/spool --workers 2",
    )
    parser.add_argument(
        "bags", metavar="BAG", nargs="+", type=Path, help="rosbag2 folder, or a bare .mcap or .db3 file"
    )
    parser.add_argument("--config", metavar="FILE", type=Path, required=True, help="ROS 2 parameter file")
    parser.add_argument("--output", metavar="SPOOL", type=Path, required=True, help="folder for the scenes")
    parser.add_argument("--workers", type=_positive, default=1, help="processes that render frames (default: 1)")
    parser.add_argument("--format", choices=FORMATS, help="what is written (default: scene.format, else nucleus)")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="overrides", help="override a parameter"
    )
    parser.add_argument("--force", action="store_true", help="replace scenes that exist with other content")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of lines")
    parser.set_defaults(run=run)
    return parser


class _Printer(Observer):
    def __init__(self, bar: Bar, *, quiet: bool) -> None:
        self._bar = bar
        self._quiet = quiet

    def progress(self, done_ns: int, total_ns: int) -> None:
        self._bar(min(1.0, done_ns / total_ns) if total_ns else 1.0)

    def sealed(self, scene: SealedScene) -> None:
        if not self._quiet:
            print(scene_line(scene), flush=True)


def run(options: argparse.Namespace) -> int:
    """Convert every bag; one that fails does not stop the others."""
    config = load_config(options.config, options.overrides)
    reports: list[ConversionReport] = []
    errors: list[tuple[Path, BridgeError]] = []
    for bag in options.bags:
        try:
            with progress_bar(bag.name) as bar:
                report = convert_bag(
                    bag,
                    config,
                    options.output,
                    format=options.format,
                    workers=options.workers,
                    force=options.force,
                    observer=_Printer(bar, quiet=options.json),
                )
        except BridgeError as error:
            if len(options.bags) == 1 and not options.json:
                raise
            errors.append((bag, error))
            print(f"nucleus-bridge: error: {error}", file=sys.stderr)
            continue
        reports.append(report)
        if report.skipped and not options.json:
            for scene in report.scenes:
                print(scene_line(scene))
    for warning in _warnings(reports):
        print(f"nucleus-bridge: warning: {warning}", file=sys.stderr)
    if options.json:
        print(json.dumps(_document(reports, errors), indent=1))
    elif reports:
        print(_totals(reports))
    if errors and not reports and all(isinstance(error, InputError) for _, error in errors):
        return 2
    return 0 if not errors and all(report.complete for report in reports) else 1


def scene_line(scene: SealedScene) -> str:
    """Describe a scene in one line."""
    manifest = scene.manifest
    seconds = (manifest.last_stamp_ns - manifest.first_stamp_ns) / 1e9
    note = "  (was there)" if scene.existed else ""
    return (
        f"{manifest.reference_id}  {manifest.frames} frames  {manifest.items} items  {seconds:.1f} s  "
        f"{scene.bytes / 1e6:.1f} MB  {manifest.end_reason}{note}"
    )


def _totals(reports: list[ConversionReport]) -> str:
    scenes = [scene for report in reports for scene in report.scenes]
    made = [scene for scene in scenes if not scene.existed]
    frames, items = sum(scene.manifest.frames for scene in scenes), sum(scene.manifest.items for scene in scenes)
    size = sum(scene.bytes for scene in scenes) / 1e6
    lines = [f"{len(scenes)} scenes ({len(made)} new), {frames} frames, {items} items, {size:.1f} MB"]
    losses: Table = {}
    for report in reports:
        merge(losses, report.losses)
        lines += [f"damaged: {damage}" for damage in report.damage]
    lost = _by_cause(losses, expected=False)
    reasons = {
        cause: reason for report in reports for cause, reason in report.reasons.items() if not is_expected(cause)
    }
    lines += [f"{cause}: {reason}" for cause, reason in sorted(reasons.items())]
    left_out = _by_cause(losses, expected=True)
    if left_out:
        lines.append(f"left out by choice: {left_out}")
    lines.append(f"lost: {lost or 'nothing'}")
    return "\n".join(lines)


def _warnings(reports: list[ConversionReport]) -> list[str]:
    """What the manifests say is unlikely about sensors, each once."""
    manifests = [scene.manifest for report in reports for scene in report.scenes]
    sensors = [(name, record) for manifest in manifests for name, record in manifest.sensors.items()]
    return list(dict.fromkeys(f"{name}: {record['warning']}" for name, record in sensors if record.get("warning")))


def _by_cause(losses: Mapping[str, Mapping[str, int]], *, expected: bool) -> str:
    parts = []
    for topic, causes in ordered(losses).items():
        chosen = [f"{count} {cause}" for cause, count in causes.items() if is_expected(cause) is expected]
        if chosen:
            parts.append(f"{topic}: {', '.join(chosen)}")
    return "; ".join(parts)


def _document(reports: list[ConversionReport], errors: list[tuple[Path, BridgeError]]) -> dict[str, Any]:
    return {
        "bags": [
            {
                "bag": str(report.bag),
                "skipped": report.skipped,
                "scenes": [
                    {
                        "reference_id": scene.manifest.reference_id,
                        "path": str(scene.folder),
                        "existed": scene.existed,
                        "frames": scene.manifest.frames,
                        "items": scene.manifest.items,
                        "points": scene.manifest.points,
                        "bytes": scene.bytes,
                        "end_reason": scene.manifest.end_reason,
                    }
                    for scene in report.scenes
                ],
                "losses": report.losses,
                "reasons": report.reasons,
                "damage": [str(damage) for damage in report.damage],
            }
            for report in reports
        ],
        "errors": [{"bag": str(bag), "error": str(error)} for bag, error in errors],
    }


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return number
