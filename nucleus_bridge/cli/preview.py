# SPDX-License-Identifier: Apache-2.0
"""``nucleus-bridge preview``: scenes to look at, as one HTML page each or for the Rerun viewer."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nucleus_bridge.cli.progress import Bar, progress_bar
from nucleus_bridge.errors import InputError
from nucleus_bridge.formats.interface import SceneReader
from nucleus_bridge.formats.reading import open_scene
from nucleus_bridge.memory import keep_freed_memory
from nucleus_bridge.preview.html_page import write_previews
from nucleus_bridge.preview.index import index_page
from nucleus_bridge.preview.labels import LabelFile, add_labels
from nucleus_bridge.preview.rerun import write_rerun
from nucleus_bridge.preview.template import write_page
from nucleus_bridge.spool import Spool
from nucleus_bridge.spool.manifest import MANIFEST_NAME
from nucleus_bridge.text import counted
from nucleus_bridge.warnings import Code


def add_parser(commands: Any) -> argparse.ArgumentParser:  # noqa: ANN401 - argparse keeps its type private
    """Add the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "preview",
        help="show a scene as one HTML page",
        description="Show a scene as one HTML page that needs no server and no network: its clouds in 3D and from "
        "above, the trajectory, and each image with the lidar points on it, projected with what will be uploaded. "
        "For a spool, a folder with an index and a page a scene.",
        epilog="example: nucleus-bridge preview /data/spool/scenes/drive-20260101T120000.000000000Z -o scene.html",
    )
    parser.add_argument("scene", metavar="SCENE", type=Path, help="scene folder, or spool")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        help="page; for a spool, folder (default: <id>.html, preview)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print what was seen as one JSON document instead of the pages' paths"
    )
    parser.add_argument("--rerun", metavar="FILE.rrd", type=Path, help="write a recording for the Rerun viewer instead")
    parser.add_argument(
        "--full-images",
        action="store_true",
        help="put images into the page at their full size, to zoom in on the bench; makes large pages",
    )
    parser.add_argument(
        "--labels", metavar="FILE.jsonl", type=Path, help="draw these labels, as labels --format json writes them"
    )
    parser.add_argument(
        "--no-calibration",
        action="store_false",
        dest="measures",
        help="do not measure whether the cameras fit the clouds",
    )
    parser.add_argument(
        "--deep", action="store_true", help="measure whether the cameras fit the clouds on all frames, not on a sample"
    )
    parser.set_defaults(run=run)
    return parser


def run(options: argparse.Namespace) -> int:
    """Write the pages."""
    keep_freed_memory()
    labels = LabelFile(options.labels) if options.labels is not None else None
    spool = Spool(options.scene)
    if spool.scenes_dir.is_dir() and not (options.scene / MANIFEST_NAME).exists():
        if options.rerun:
            raise InputError(f"{options.scene} is a spool; --rerun takes one scene, one of {spool.scenes_dir}")
        return _spool(spool, options, labels)
    if not (options.scene / MANIFEST_NAME).is_file():
        raise InputError(
            f"{options.scene} is not a scene and not a spool; give a spool, or a folder below SPOOL/scenes"
        )
    scene = open_scene(options.scene)
    with progress_bar(f"preview {scene.manifest.reference_id}") as bar:
        if options.rerun:
            write_rerun(scene, options.rerun, bar)
            if not options.json:
                print(options.rerun)
        if options.output or not options.rerun:
            name = f"{scene.folder.resolve().name}.html"
            path = options.output or Path(name)
            if path.is_dir():
                path /= name
            (checks,) = _written([(scene, path)], options, bar)
            _warn(scene, checks)
            _draw(labels, scene, path)
            print(_document([_seen(scene, path, checks)]) if options.json else path)
    return 0


def _written(
    scenes: Sequence[tuple[SceneReader, Path]], options: argparse.Namespace, progress: Bar
) -> Iterator[dict[str, Any]]:
    return write_previews(
        scenes, progress, full_images=options.full_images, measures=options.measures, deep=options.deep
    )


def _document(scenes: list[dict[str, Any]]) -> str:
    return json.dumps({"scenes": scenes}, indent=1, allow_nan=False)


def _seen(scene: SceneReader, path: Path, checks: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was seen of a scene as ``--json`` has it: its warnings, and the verdict on each camera."""
    return {
        "scene": scene.manifest.reference_id,
        "page": str(path),
        "warnings": [
            {"code": w.get("code"), "sensor": w["about"], "text": w["text"], "remedy": w.get("remedy")}
            for w in checks["warnings"]
        ],
        "calibrations": list(checks["calibration"].values()),
    }


def _warn(scene: SceneReader, checks: Mapping[str, Any]) -> None:
    """Name on stderr the cameras that are suspect: the pages' paths alone would say that all is well."""
    for warning in checks["warnings"]:
        if warning.get("code") == Code.CALIBRATION_SUSPECT.value:
            text = f"{warning['text']} [{warning['code']}] ({warning['remedy']})"
            print(f"nucleus-bridge: warning: {scene.manifest.reference_id}: {text}", file=sys.stderr)


def _draw(labels: LabelFile | None, scene: SceneReader, page: Path) -> None:
    if labels is not None:
        add_labels(page, labels.of_scene(scene.manifest.reference_id, scene.manifest.world_offset))


def _spool(spool: Spool, options: argparse.Namespace, labels: LabelFile | None) -> int:
    folder: Path = options.output or Path("preview")
    scenes = [(open_scene(path), f"{path.name}.html") for path in spool.scenes()]
    if not scenes:
        raise InputError(f"{spool.path} holds no sealed scene")
    seen = []
    with progress_bar(f"preview {counted(len(scenes), 'scene')}") as bar:
        made = _written([(scene, folder / name) for scene, name in scenes], options, bar)
        for (scene, name), checks in zip(scenes, made, strict=True):
            seen.append(checks)
            _warn(scene, checks)
            _draw(labels, scene, folder / name)
            if not options.json:
                print(folder / name)
    index = [(scene, name, checks) for (scene, name), checks in zip(scenes, seen, strict=True)]
    write_page(folder / "index.html", [index_page(index).encode()])
    print(
        _document([_seen(scene, folder / name, checks) for scene, name, checks in index])
        if options.json
        else folder / "index.html"
    )
    return 0
