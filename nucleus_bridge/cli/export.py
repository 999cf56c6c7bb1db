# SPDX-License-Identifier: Apache-2.0
"""``nucleus-bridge export``: sealed scenes to another format, without converting the recording again."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from nucleus_bridge.cli.convert_report import scene_line
from nucleus_bridge.cli.progress import progress_bar
from nucleus_bridge.export import NOT_IN_SOURCE, export_scene
from nucleus_bridge.formats import registry
from nucleus_bridge.spool import SealedScene
from nucleus_bridge.spool.conversions import SceneSummary


def add_parser(commands: Any) -> argparse.ArgumentParser:  # noqa: ANN401 - argparse keeps its type private
    """Add the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "export",
        help="write sealed scenes in another format",
        description="Write sealed scenes in another format to a spool of their own, as a conversion of the recording "
        "would. Images are shared. What the other format cannot hold is named and refused.",
        epilog="example: nucleus-bridge export /data/spool/scenes/* --format sensor_fusion_json --output /data/tasks",
    )
    parser.add_argument("scenes", metavar="SCENE", nargs="+", type=Path, help="folder of a scene")
    parser.add_argument("--format", choices=registry.names(), required=True, help="what is written")
    parser.add_argument("--output", metavar="SPOOL", type=Path, required=True, help="spool for the result")
    parser.add_argument("--force", action="store_true", help="replace scenes that exist with other content")
    parser.set_defaults(run=run)
    return parser


def run(options: argparse.Namespace) -> int:
    """Export every scene; the first that cannot be exported stops it."""
    for folder in options.scenes:
        with progress_bar(f"export {folder.name}") as bar:
            scene = export_scene(folder, options.format, options.output, force=options.force, progress=bar)
        print(scene_line(SceneSummary.of(scene.manifest), existed=scene.existed), flush=True)
        for topic, count in _left_out(scene).items():
            print(
                f"nucleus-bridge: warning: {count} radar detections of {topic} are not in the Nucleus scene; convert "
                "the recording to get them",
                file=sys.stderr,
            )
    return 0


def _left_out(scene: SealedScene) -> dict[str, int]:
    losses = scene.manifest.losses
    return {topic: causes[NOT_IN_SOURCE] for topic, causes in losses.items() if NOT_IN_SOURCE in causes}
