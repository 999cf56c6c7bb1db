# SPDX-License-Identifier: Apache-2.0
"""What ``convert`` says: a line a scene, a table of recordings, the totals with every loss by cause."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from nucleus_bridge.archive.result import DONE, FAILED, SKIPPED, BagResult
from nucleus_bridge.causes import is_expected
from nucleus_bridge.convert import ConversionReport, NoSceneError
from nucleus_bridge.errors import BridgeError, InputError
from nucleus_bridge.pipeline.losses import Table, merge, ordered
from nucleus_bridge.spool.conversions import Conversion, DamageNote, SceneSummary, each_once
from nucleus_bridge.text import counted, printable_lines
from nucleus_bridge.warnings import Code, says_incomplete


def result_of(report: ConversionReport) -> BagResult:
    """Describe a recording that was converted in this process."""
    new = frozenset(scene.manifest.reference_id for scene in report.scenes if not scene.existed)
    return BagResult(str(report.bag), SKIPPED if report.skipped else DONE, report.conversion, new)


def failed(bag: str, error: BridgeError) -> BagResult:
    """Describe a recording that could not be converted."""
    found = tuple(finding.as_json() for finding in error.findings) if isinstance(error, NoSceneError) else ()
    return BagResult(bag, FAILED, error=str(error), is_input_error=isinstance(error, InputError), warnings=found)


def scene_line(scene: SceneSummary, *, existed: bool) -> str:
    """Describe a scene in one line."""
    seconds = (scene.last_stamp_ns - scene.first_stamp_ns) / 1e9
    note = "  (was there)" if existed else ""
    return (
        f"{scene.reference_id}  {counted(scene.frames, 'frame')}  {counted(scene.items, 'item')}  {seconds:.1f} s  "
        f"{scene.bytes / 1e6:.1f} MB  {scene.end_reason}{note}"
    )


def print_scenes(result: BagResult) -> None:
    """Print a line for each scene of a recording."""
    for scene in result.conversion.scenes if result.conversion else ():
        print(scene_line(scene, existed=scene.reference_id not in result.new), flush=True)


def print_error(result: BagResult) -> None:
    """Say why a recording failed."""
    if result.state == FAILED:
        print(printable_lines(f"nucleus-bridge: error: {result.error}"), file=sys.stderr, flush=True)


def finish(results: Sequence[BagResult], options: argparse.Namespace, *, table: bool = False) -> int:
    """Print totals, warnings and losses at the end; return the exit status."""
    made = [result.conversion for result in results if result.conversion]
    for warning in dict.fromkeys(warning for conversion in made for warning in conversion.warnings):
        print(printable_lines(f"nucleus-bridge: warning: {warning}"), file=sys.stderr)
    told = each_once(finding for conversion in made for finding in conversion.findings)
    for finding in told:
        print(printable_lines(_told(finding)), file=sys.stderr)
    if options.json:
        print(json.dumps(_document(results, str(options.output), told), indent=1))
    else:
        if table:
            print_table(results)
        if made:
            print(printable_lines(_totals(results, made)))
    errors = [result for result in results if result.state == FAILED]
    if errors and not made and all(result.is_input_error for result in errors):
        return 2
    return 0 if all(result.complete for result in results) else 1


def _told(finding: Mapping[str, str]) -> str:
    return f"warning: {finding['text']} [{finding['code']}] ({finding['remedy']})"


def print_table(results: Sequence[BagResult]) -> None:
    """Print a line for each recording."""
    print()
    for result in results:
        scenes = result.conversion.scenes if result.conversion else ()
        frames, size = sum(scene.frames for scene in scenes), sum(scene.bytes for scene in scenes) / 1e6
        lost = any(part.loses_messages for part in result.conversion.damage) if result.conversion else False
        note = result.error or ("damaged" if lost else "")
        line = f"{result.state:8}{len(scenes):4} scenes{frames:8} frames{size:10.1f} MB  {result.bag}  {note}"
        print(printable_lines(line.rstrip()))
    counts = Counter(result.state for result in results)
    states = ", ".join(f"{counts[state]} {state}" for state in (DONE, SKIPPED, FAILED) if counts[state])
    print(f"{counted(len(results), 'recording')}: {states}")


def _totals(results: Sequence[BagResult], made: Sequence[Conversion]) -> str:
    scenes = [scene for conversion in made for scene in conversion.scenes]
    new = sum(len(result.new) for result in results)
    frames, items = sum(scene.frames for scene in scenes), sum(scene.items for scene in scenes)
    size = sum(scene.bytes for scene in scenes) / 1e6
    made_of = f"{counted(frames, 'frame')}, {counted(items, 'item')}, {size:.1f} MB"
    lines = [f"{counted(len(scenes), 'scene')} ({new} new), {made_of}"]
    losses: Table = {}
    reasons: dict[str, str] = {}
    for conversion in made:
        merge(losses, conversion.losses)
        reasons.update({cause: text for cause, text in conversion.reasons.items() if not is_expected(cause)})
        lines += [f"damaged: {damage_text(part)}" for part in conversion.damage]
    lines += [f"{cause}: {reason}" for cause, reason in sorted(reasons.items())]
    left_out = _by_cause(losses, expected=True)
    if left_out:
        lines.append(f"left out by choice: {left_out}")
    lost = [_by_cause(losses, expected=False)]
    missing = [warning for conversion in made for warning in conversion.findings if says_incomplete(warning)]
    lost += [
        _what_is_missing(warning)
        for warning in each_once(missing)
        if "late" not in losses.get(warning.get("topic", ""), {})
    ]
    if any(part.loses_messages for conversion in made for part in conversion.damage):
        lost.append("what was in the damaged parts")
    lines.append(f"lost: {'; '.join(filter(None, lost)) or 'nothing'}")
    return "\n".join(lines)


def _what_is_missing(warning: Mapping[str, str]) -> str:
    if warning["code"] == Code.NO_POSE.value:
        return f"the motion of the device: {warning['text']} [{warning['code']}]"
    return f"{warning.get('topic') or warning.get('recording')}: {warning['code']}"


def damage_text(part: DamageNote) -> str:
    """Say what could not be read, and where."""
    where = "" if part.offset is None else f" at byte {part.offset}"
    return f"{part.file}{where}: {part.what}"


def _by_cause(losses: Mapping[str, Mapping[str, int]], *, expected: bool) -> str:
    parts = []
    for topic, causes in ordered(losses).items():
        chosen = [f"{count} {cause}" for cause, count in causes.items() if is_expected(cause) is expected]
        if chosen:
            parts.append(f"{topic}: {', '.join(chosen)}")
    return "; ".join(parts)


def _document(results: Sequence[BagResult], output: str, told: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    return {
        "bags": [_bag(result, result.conversion, output) for result in results if result.conversion],
        "errors": [{"bag": result.bag, "error": result.error} for result in results if result.state == FAILED],
        "warnings": [*told, *each_once(warning for result in results for warning in result.warnings)],
        "counts": dict(Counter(result.state for result in results)),
    }


def _bag(result: BagResult, conversion: Conversion, output: str) -> dict[str, Any]:
    return {
        "bag": result.bag,
        "state": result.state,
        "skipped": result.state == SKIPPED,
        "scenes": [
            {
                "reference_id": scene.reference_id,
                "path": f"{output.partition('?')[0].rstrip('/')}/scenes/{scene.reference_id}",
                "existed": scene.reference_id not in result.new,
                "frames": scene.frames,
                "items": scene.items,
                "points": scene.points,
                "bytes": scene.bytes,
                "end_reason": scene.end_reason,
            }
            for scene in conversion.scenes
        ],
        "losses": conversion.losses,
        "reasons": conversion.reasons,
        "damage": [damage_text(part) for part in conversion.damage],
        "warnings": [dict(finding) for finding in conversion.findings],
    }
