# SPDX-License-Identifier: Apache-2.0
"""``nucleus-bridge labels``: brings the labels of a spool's scenes home."""

from __future__ import annotations

import argparse
import gc
import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from nucleus_bridge.cli.upload import add_settings, need_spool, upload_settings
from nucleus_bridge.config import UploadConfig
from nucleus_bridge.config.task_template import TaskTemplate, load_task_template
from nucleus_bridge.errors import ConfigError, InputError
from nucleus_bridge.labels.compare import CHANGES, Difference, compared, labels_of_file
from nucleus_bridge.labels.fetch import Fetched, cameras_of, dataset_labels, file_labels, scenes_there, task_labels
from nucleus_bridge.labels.files import JSON_LINES, TABLE, sorted_labels, write_json_lines, write_table
from nucleus_bridge.labels.kitti import FRAMES, write_kitti
from nucleus_bridge.labels.label import Label, SceneStamps
from nucleus_bridge.labels.nuscenes import VERSION, write_nuscenes
from nucleus_bridge.labels.other_labels import BOXES, POINTS, OtherLabels
from nucleus_bridge.labels.recording import RECORDING, write_recording
from nucleus_bridge.labels.unchanged import Answers, LastTime, clear_leftovers, known_of
from nucleus_bridge.labels.written import Written
from nucleus_bridge.spool import Spool
from nucleus_bridge.spool.state import StateBook, StateRecord
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


ROOTS = {
    "json": (JSON_LINES,),
    "csv": (TABLE,),
    "mcap": (RECORDING,),
    "nuscenes": (VERSION, "samples"),
    "kitti": ("training", FRAMES),
}
"""What each of them writes into the folder, besides what ``OtherLabels`` does."""


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
    parser.set_defaults(run=run, kept="run it again; what is complete is not written twice")
    return parser


def run(options: argparse.Namespace) -> int:
    """Fetch and write the labels."""
    settings = upload_settings(options)
    book = StateBook(Spool(need_spool(options.spool)))
    _check_camera(options, book)
    fetched, difference = Fetched(), Difference()
    clear_leftovers(options.output)
    known = known_of(options.spool, options.output)
    last_time = LastTime(options.output, known, options.format, ROOTS[options.format])
    other = OtherLabels(options.output)
    labels = (
        file_labels(options.sfs, book, fetched, other)
        if options.sfs
        else _labels(options, settings, book, fetched, other)
    )
    with _seldom_collected(), other, ExitStack() as stack:
        before: Iterable[list[Label]] | None = None
        if options.compare is not None:
            before = stack.enter_context(sorted_labels(labels_of_file(_earlier(options)), options.output))
        found = stack.enter_context(sorted_labels(labels, options.output))
        for scene in fetched.refused:
            found.leave_out(scene)  # those before the one that could not be read
        digests = found.digests
        given = _given(options, book, digests)
        unchanged = last_time.unchanged(digests)
        is_same = last_time.wrote_the_same(digests, given)
        if is_same and before is None:
            written = Written(found.count)
        else:
            scenes: Iterable[list[Label]] = found
            if before is not None:
                difference.scenes = fetched.scenes
                scenes = compared(scenes, before, options.output, difference)
            last_time.forget()
            written = WRITERS[options.format](scenes, options)
            if not (written.left_out or written.notes):
                last_time.note(digests, given)
    if options.compare is not None:
        print(f"{difference.text}; {options.output / CHANGES}")
    _report(options, fetched, written, other)
    count = written.labels
    parts = [f"{count} {'label' if count == 1 else 'labels'} of {_scenes(len(fetched.scenes))}"]
    if last_time.exists:
        parts += [f"{len(unchanged)} unchanged" if not is_same or other.changed else "unchanged"]
    parts += [f"{other.boxes} boxes on images"] if other.boxes else []
    parts += [f"classes of the points of {other.clouds} clouds"] if other.clouds else []
    parts += [f"{_scenes(len(fetched.waiting))} not finished"] if fetched.waiting else []
    parts += [f"{_scenes(len(fetched.refused))} refused"] if fetched.refused else []
    parts += _absent(options, settings, book, fetched)
    parts += [f"{_scenes(len(written.left_out))} not written"] if written.left_out else []
    print(f"{', '.join(parts)}; {options.output}")
    return 1 if fetched.refused or fetched.waiting or written.left_out else 0


def _earlier(options: argparse.Namespace) -> Path:
    """Return the file that labels are compared with.

    Raises:
        InputError: None is named, and there is none in the folder.
    """
    if options.compare.name:
        return Path(options.compare)
    earlier: Path = options.output / JSON_LINES
    if not earlier.is_file():
        raise InputError(f"--compare: there is no {earlier} yet; run it once without --compare, or name a file")
    return earlier


def _absent(options: argparse.Namespace, settings: UploadConfig, book: StateBook, fetched: Fetched) -> list[str]:
    """Say how many scenes were not asked about, as the service has nothing of them."""
    if options.sfs:
        return []
    count = len(set(book.references()) - fetched.scenes - {*fetched.waiting, *fetched.refused})
    what = "without a task" if settings.task_template else "not in the dataset"
    return [f"{_scenes(count)} {what}"] if count else []


def _check_camera(options: argparse.Namespace, book: StateBook) -> None:
    """Check that some scene has the camera of a training set.

    Raises:
        ConfigError: None has it, or the format has no use for one.
    """
    if not options.camera:
        return
    if options.format != "kitti":
        raise ConfigError(f"--camera: goes with --format kitti, not with {options.format}")
    cameras = sorted(cameras_of(book))
    if options.camera not in cameras:
        there = ", ".join(cameras) or "none"
        raise ConfigError(f"--camera: no scene of {options.spool} has a camera {options.camera!r}; there: {there}")


def _given(options: argparse.Namespace, book: StateBook, scenes: Iterable[str]) -> list[str]:
    """Return what else than labels decides what is written."""
    if options.format in {"json", "csv"}:
        return []
    given = [options.camera]
    for scene in scenes:
        folder = book.spool.scene_folder(scene)
        is_there = folder.is_dir()
        given.append(f"{scene} {is_there} {hashlib.sha256(repr(book.manifest(scene)).encode()).hexdigest()}")
    return given


def _report(options: argparse.Namespace, fetched: Fetched, written: Written, other: OtherLabels) -> None:
    """Say what a person should know besides."""
    for scene, status in sorted(fetched.waiting.items()):
        print(printable_lines(f"{scene}: its task is {status}"), file=sys.stderr)
    for text in (*map(fetched.refused.get, sorted(fetched.refused)), *written.left_out.values(), *written.notes):
        print(printable_lines(str(text)), file=sys.stderr)
    if options.format != "json":
        if other.boxes:
            where = options.output / BOXES
            print(
                f"{options.format} has no place for {other.boxes} boxes on images: they are in {where}", file=sys.stderr
            )
        if other.clouds:
            what, where = f"the classes of the points of {other.clouds} clouds", options.output / POINTS
            print(f"{options.format} has no place for {what}: they are in {where}", file=sys.stderr)
    for kind, count in sorted(other.unread.items()):
        print(printable_lines(f"{count} annotations of kind {kind} are not read"), file=sys.stderr)


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


def _labels(
    options: argparse.Namespace, settings: UploadConfig, book: StateBook, fetched: Fetched, other: OtherLabels
) -> Iterator[Label]:
    retry = Retry(give_up_after_s=settings.timeout_s)
    if settings.task_template:
        endpoint = destination_for(settings).endpoint(settings)
        client = TaskClient(endpoint, key_for(settings), timeout_s=settings.timeout_s, retry=retry)
        here = tasks_of(book, client.endpoint, load_task_template(Path(settings.task_template)))
        if not here:
            known = _number_of_scenes(options.spool, book)
            raise InputError(
                f"{options.spool}: none of its {known} has a task at {client.endpoint}; "
                f"nucleus-bridge upload {options.spool} --task {settings.task_template} makes them"
            )
        answers = Answers(known_of(options.spool, options.output), client)
        yield from task_labels(client, here, book, fetched, other, answers)
        answers.forget_others()
        kept = sum(record.task_id not in answers.fetched and record.reference_id in fetched.scenes for record in here)
        if kept:
            print(f"{_scenes(kept)} not fetched again: the task has not changed", file=sys.stderr)
        return
    nucleus, dataset_id = open_dataset(settings, book, retry)
    scenes = scenes_there(nucleus, dataset_id, book, fetched.refused)
    if not scenes and not fetched.refused:
        known = _number_of_scenes(options.spool, book)
        raise InputError(
            f"{options.spool}: dataset {dataset_id} at {nucleus.endpoint} holds none of its {known}; upload them first"
        )
    yield from dataset_labels(nucleus, dataset_id, scenes, fetched, other)


def _number_of_scenes(spool: Path, book: StateBook) -> str:
    """Count the scenes of a spool.

    Raises:
        InputError: There is none.
    """
    count = sum(1 for _ in book.references())
    if not count:
        raise InputError(f"{spool}: has no scene; convert or record into it first")
    return _scenes(count)


def tasks_of(book: StateBook, endpoint: str, template: TaskTemplate) -> list[StateRecord]:
    """Return the scenes' tasks; of several of a scene those of the template, else of its project, else all."""
    found = []
    for name in book.references():
        tasks = [one for one in book.everywhere(name) if one.task_id and one.endpoint in ("", endpoint)]
        of_template = [one for one in tasks if one.template == template.digest]
        of_project = [one for one in tasks if template.project and one.project == template.project]
        found += of_template or of_project or tasks
    return found


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
        raise ConfigError(
            f"--dataset: there is no dataset {wanted!r} at {nucleus.endpoint}; {_uploaded_to(book, nucleus.endpoint)}"
        )
    return nucleus, dataset_id


def _only_dataset(book: StateBook, endpoint: str) -> str:
    """Return the one dataset that the spool's scenes went to."""
    found = _datasets(book, endpoint)
    if len(found) != 1:
        raise ConfigError(f"--dataset: name the dataset; {_uploaded_to(book, endpoint)}")
    return found.pop()


def _datasets(book: StateBook, endpoint: str) -> set[str]:
    """Return the datasets that the spool's scenes went to."""
    return {
        record.dataset_id
        for name in book.references()
        for record in book.everywhere(name)
        if record.dataset_id and record.endpoint in ("", endpoint)
    }


def _uploaded_to(book: StateBook, endpoint: str) -> str:
    """Say which datasets the spool's scenes went to, or what to do where they went nowhere."""
    spool, found = book.spool.path, sorted(_datasets(book, endpoint))
    if found:
        return f"{spool} was uploaded there to {', '.join(found)}"
    return f"{spool} was never uploaded there: nucleus-bridge upload {spool} --dataset NAME does it"
