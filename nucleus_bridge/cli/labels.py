# SPDX-License-Identifier: Apache-2.0
"""``nucleus-bridge labels``: brings the labels of a spool's scenes home."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from nucleus_bridge.cli.upload import add_settings, need_spool, upload_settings
from nucleus_bridge.config import UploadConfig
from nucleus_bridge.errors import ConfigError
from nucleus_bridge.labels.compare import CHANGES, Difference, compared, labels_of_file
from nucleus_bridge.labels.fetch import Fetched, dataset_labels, file_labels, task_labels
from nucleus_bridge.labels.files import JSON_LINES, sorted_labels, write_json_lines, write_table
from nucleus_bridge.labels.kitti import write_kitti
from nucleus_bridge.labels.label import Label, SceneStamps
from nucleus_bridge.labels.nuscenes import write_nuscenes
from nucleus_bridge.labels.other_labels import OtherLabels
from nucleus_bridge.labels.recording import write_recording
from nucleus_bridge.labels.written import Written
from nucleus_bridge.spool import Spool
from nucleus_bridge.spool.state import StateBook
from nucleus_bridge.text import printable_lines
from nucleus_bridge.upload.choice import destination_for, key_for
from nucleus_bridge.upload.nucleus.client import NucleusClient
from nucleus_bridge.upload.retry import Retry
from nucleus_bridge.upload.tasks.client import TaskClient

Writer = Callable[[Iterable[list[Label]], argparse.Namespace], Written]
WRITERS: dict[str, Writer] = {
    "json": lambda scenes, options: write_json_lines(scenes, options.output),
    "csv": lambda scenes, options: write_table(scenes, options.output),
    "mcap": lambda scenes, options: write_recording(
        scenes, options.output, lambda name: SceneStamps.of(StateBook(Spool(options.spool)).manifest(name))
    ),
    "nuscenes": lambda scenes, options: write_nuscenes(scenes, options.output, Spool(options.spool)),
    "kitti": lambda scenes, options: write_kitti(scenes, options.output, Spool(options.spool), options.camera),
}


def add_parser(commands: Any) -> argparse.ArgumentParser:  # noqa: ANN401 - argparse keeps its type private
    """Add the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "labels",
        help="bring labels home",
        description="Fetch what Nucleus and finished annotation tasks hold for the scenes of a spool, and write it in "
        "the recording's own frame and stamps.",
        epilog="example: nucleus-bridge labels /data/spool -o /data/labels --format mcap --dataset town",
    )
    parser.add_argument("spool", metavar="SPOOL", type=Path, help="folder with the scenes")
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, required=True, help="folder for the labels")
    parser.add_argument("--format", choices=tuple(WRITERS), default="json", help="what is written (default: json)")
    parser.add_argument(
        "--camera", metavar="NAME", default="", help="with --format kitti: whose images (default: the first camera's)"
    )
    parser.add_argument(
        "--sfs",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="take an annotated .sfs file instead of asking; may be given several times",
    )
    parser.add_argument(
        "--compare",
        metavar="FILE",
        nargs="?",
        type=Path,
        const=Path(),
        help="say how they differ from those of FILE (default: the labels.jsonl that is in DIR)",
    )
    add_settings(parser)
    parser.set_defaults(run=run)
    return parser


def run(options: argparse.Namespace) -> int:
    """Fetch and write the labels."""
    settings = upload_settings(options)
    book = StateBook(Spool(need_spool(options.spool)))
    fetched = Fetched()
    other = OtherLabels(options.output if options.format == "json" else None)
    labels = file_labels(options.sfs, book, fetched) if options.sfs else _labels(settings, book, fetched, other)
    difference = Difference()
    with _seldom_collected(), other, ExitStack() as stack:
        before: Iterable[list[Label]] | None = None
        if options.compare is not None:
            earlier = options.compare if options.compare.name else options.output / JSON_LINES
            before = stack.enter_context(sorted_labels(labels_of_file(earlier)))
        scenes: Iterable[list[Label]] = stack.enter_context(sorted_labels(labels))
        if before is not None:
            difference.scenes = fetched.scenes
            scenes = compared(scenes, before, options.output, difference)
        written = WRITERS[options.format](scenes, options)
    if options.compare is not None:
        print(f"{difference.text}; {options.output / CHANGES}")
    for scene, status in sorted(fetched.waiting.items()):
        print(printable_lines(f"{scene}: its task is {status}"), file=sys.stderr)
    for text in (*map(fetched.refused.get, sorted(fetched.refused)), *written.left_out.values(), *written.notes):
        print(printable_lines(str(text)), file=sys.stderr)
    count = written.labels
    if other.folder is None and (other.boxes or other.clouds):
        print(f"{options.format} has no place for boxes on images and classes of points; json has", file=sys.stderr)
    parts = [f"{count} {'label' if count == 1 else 'labels'} of {_scenes(len(fetched.scenes))}"]
    parts += [f"{other.boxes} boxes on images"] if other.boxes else []
    parts += [f"classes of the points of {other.clouds} clouds"] if other.clouds else []
    parts += [f"{_scenes(len(fetched.waiting))} not finished"] if fetched.waiting else []
    parts += [f"{_scenes(len(fetched.refused))} refused"] if fetched.refused else []
    parts += [f"{_scenes(len(written.left_out))} not written"] if written.left_out else []
    print(f"{', '.join(parts)}; {options.output}")
    return 1 if fetched.refused or fetched.waiting or written.left_out else 0


@contextmanager
def _seldom_collected() -> Iterator[None]:
    """Have cycles looked for less often: labels are many, make none, and a third of the time went there."""
    before = gc.get_threshold()
    gc.set_threshold(200_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _scenes(count: int) -> str:
    return "1 scene" if count == 1 else f"{count} scenes"


def _labels(settings: UploadConfig, book: StateBook, fetched: Fetched, other: OtherLabels) -> Iterator[Label]:
    retry = Retry(give_up_after_s=settings.timeout_s)
    if settings.task_template:
        endpoint = destination_for(settings).endpoint(settings)
        client = TaskClient(endpoint, key_for(settings), timeout_s=settings.timeout_s, retry=retry)
        tasks = [record for name in book.references() for record in book.everywhere(name) if record.task_id]
        here = [record for record in tasks if record.endpoint in ("", client.endpoint)]
        yield from task_labels(client, here, book, fetched, other)
        return
    nucleus, dataset_id = open_dataset(settings, book, retry)
    yield from dataset_labels(nucleus, dataset_id, book, fetched, other)


def open_dataset(settings: UploadConfig, book: StateBook, retry: Retry) -> tuple[NucleusClient, str]:
    """Return a client and the id of the dataset that is named, or else the one that the spool's scenes went to.

    Raises:
        ConfigError: There is no such dataset, or none is named and there are several.
    """
    endpoint = destination_for(settings).endpoint(settings)
    nucleus = NucleusClient(endpoint, key_for(settings), timeout_s=settings.timeout_s, retry=retry)
    wanted = settings.dataset_id or settings.dataset_name or _only_dataset(book, nucleus.endpoint)
    dataset_id = nucleus.find_dataset(wanted)
    if dataset_id is None:
        raise ConfigError(f"upload.dataset_name: there is no dataset {wanted!r} at {nucleus.endpoint}")
    return nucleus, dataset_id


def _only_dataset(book: StateBook, endpoint: str) -> str:
    """Return the one dataset that the spool's scenes went to."""
    found = {
        record.dataset_id
        for name in book.references()
        for record in book.everywhere(name)
        if record.dataset_id and record.endpoint in ("", endpoint)
    }
    if len(found) != 1:
        there = ", ".join(sorted(found)) or "none"
        raise ConfigError(f"--dataset: name the dataset; those that the spool was uploaded to at {endpoint}: {there}")
    return found.pop()
