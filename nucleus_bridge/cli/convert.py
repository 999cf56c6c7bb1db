# SPDX-License-Identifier: Apache-2.0
"""``nucleus-bridge convert``: recordings to sealed scenes."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from nucleus_bridge.archive.find import find_bags, is_url, merged, merged_by
from nucleus_bridge.around import read_around
from nucleus_bridge.cli.convert_report import failed, finish, print_scenes, result_of, scene_line
from nucleus_bridge.cli.merge import add_merge_argument
from nucleus_bridge.cli.progress import Bar, progress_bar
from nucleus_bridge.config import Config, load_config, with_format, with_given
from nucleus_bridge.convert import Observer, convert_bag
from nucleus_bridge.errors import BridgeError, InputError
from nucleus_bridge.formats import registry
from nucleus_bridge.recordings import Merged
from nucleus_bridge.spool import SealedScene
from nucleus_bridge.spool.conversions import SceneSummary


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
        "bags",
        metavar="BAG",
        nargs="+",
        help="rosbag2 folder, bare .mcap, .db3 or .bag file, folder of such, pattern, or URL such as s3://bucket/drives/**",
    )
    parser.add_argument(
        "--where",
        metavar="CONDITION",
        help="BAG is a catalogue: convert its recordings that fit a condition in SQL on its table drives, such as "
        "\"max_speed_mps > 15 AND day_night = 'night'\"",
    )
    parser.add_argument("--config", metavar="FILE", type=Path, required=True, help="ROS 2 parameter file")
    parser.add_argument("--output", metavar="SPOOL", required=True, help="folder for the scenes, or URL of a store")
    parser.add_argument(
        "--workers",
        type=_positive,
        default=1,
        help="processes that work in parallel; of several recordings each converts one at a time (default: 1)",
    )
    parser.add_argument(
        "--format", choices=registry.names(), help=f"what is written (default: scene.format, else {registry.DEFAULT})"
    )
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        dest="overrides",
        help="override a parameter, such as scene.max_frames=20 (repeatable)",
    )
    parser.add_argument(
        "--around",
        metavar="FILE",
        type=Path,
        help="keep what lies around the times in a CSV file, such as the recorder's marks.csv, or a recording of marks",
    )
    add_merge_argument(parser, by_pattern=True)
    parser.add_argument("--force", action="store_true", help="replace scenes that exist with other content")
    parser.add_argument(
        "--verify-images", action="store_true", help="decode every picture: damaged ones are lost and counted"
    )
    _add_archive_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of lines")
    parser.set_defaults(run=run, kept="scenes that were sealed are kept; run it again for the others")
    return parser


def _add_archive_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only many or long recordings need."""
    parser.add_argument(
        "--cluster", metavar="URL", help="have the work done by a Dask cluster, such as tcp://scheduler:8786"
    )
    parser.add_argument(
        "--chunk",
        metavar="MINUTES",
        type=_minutes,
        default=0.0,
        help="cut longer recordings into parts that are rendered independently (default: do not)",
    )
    parser.add_argument(
        "--scratch", metavar="DIR", type=Path, help="folder for temporary copies of recordings (default: the system's)"
    )
    parser.add_argument(
        "--scratch-limit",
        metavar="GB",
        type=_gigabytes,
        default=0,
        help="limit for the temporary copies of one recording (default: the free space of the disk)",
    )


class _Printer(Observer):
    def __init__(self, bar: Bar, *, quiet: bool) -> None:
        self._bar = bar
        self._quiet = quiet

    def progress(self, done_ns: int, total_ns: int) -> None:
        self._bar(min(1.0, done_ns / total_ns) if total_ns else 1.0)

    def sealed(self, scene: SealedScene) -> None:
        if not self._quiet:
            print(scene_line(SceneSummary.of(scene.manifest), existed=scene.existed), flush=True)


def run(options: argparse.Namespace) -> int:
    """Convert every recording; one that fails does not stop the others."""
    config = load_config(options.config, options.overrides)
    if options.format:
        config = with_format(config, options.format)
    if options.where is not None:
        options.bags = _named(options)
    if options.around:
        config = with_given(config, read_around(options.around, config))
    found = find_bags(options.bags)
    if options.merge:
        found = replace(found, bags=(merged(options.bags, found),))
    elif options.merge_by is not None:
        found = merged_by(options.merge_by, found)
    is_archive = len(found.bags) + len(found.problems) > 1 or options.cluster or options.chunk
    if (
        not is_archive
        and not is_url(options.output)
        and isinstance(bag := next(iter(found.bags), None), (Path, Merged))
    ):
        return _convert_one(options, config, bag)
    from nucleus_bridge.cli.convert_many import convert_many  # noqa: PLC0415 - it loads what one recording has no use for

    return convert_many(options, config, found)


def _named(options: argparse.Namespace) -> list[str]:
    """Return the recordings of a catalogue that a condition names.

    Raises:
        InputError: There is no such catalogue, the condition is none, or no recording fits it.
    """
    from nucleus_bridge.archive.choice import choose  # noqa: PLC0415 - most conversions ask no catalogue

    places: list[str] = []
    total = 0
    for catalogue in options.bags:
        choice = choose(Path(catalogue), options.where)
        places += choice.places
        total += choice.of
    if not places:
        raise InputError(f"--where {options.where!r:.200}: fits none of {total} recordings")
    print(f"{len(places)} of {total} recordings fit", file=sys.stderr)
    return places


def _convert_one(options: argparse.Namespace, config: Config, bag: Path | Merged) -> int:
    results = []
    try:
        with progress_bar(bag.name) as bar:
            report = convert_bag(
                bag,
                config,
                options.output,
                workers=options.workers,
                force=options.force,
                verify_images=options.verify_images,
                observer=_Printer(bar, quiet=options.json),
            )
    except BridgeError as error:
        if not options.json:
            raise
        results.append(failed(str(bag), error))
    else:
        results.append(result_of(report))
        if report.skipped and not options.json:
            print_scenes(results[0])
    return finish(results, options)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return number


def _minutes(text: str) -> float:
    minutes = float(text)
    if not 0.0 < minutes <= 100_000.0:
        raise argparse.ArgumentTypeError(f"must be more than 0, not {text}")
    return minutes


def _gigabytes(text: str) -> int:
    size = round(float(text) * 1e9)
    if size <= 0:
        raise argparse.ArgumentTypeError(f"must be more than 0, not {text}")
    return size
