# SPDX-License-Identifier: Apache-2.0
"""``nucleus-bridge upload``: sealed scenes to the object store and to Nucleus."""

from __future__ import annotations

import argparse
import json
import queue
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from nucleus_bridge.config import UploadConfig, load_config
from nucleus_bridge.config.loader import check_values, parse_override
from nucleus_bridge.config.settings import TABLE
from nucleus_bridge.errors import ConfigError, SceneError
from nucleus_bridge.spool import Spool
from nucleus_bridge.spool.manifest import MANIFEST_NAME
from nucleus_bridge.spool.state import SceneState, StateBook, StateRecord
from nucleus_bridge.text import printable_lines
from nucleus_bridge.upload.board import Summary
from nucleus_bridge.upload.choice import destination_for, key_for
from nucleus_bridge.upload.observer import UploadObserver
from nucleus_bridge.upload.plan import LEAVE_ALONE, check_formats, check_settings, plan
from nucleus_bridge.upload.retry import Retry
from nucleus_bridge.upload.store.objects import open_store
from nucleus_bridge.upload.store.url import parse_store_url
from nucleus_bridge.upload.tasks.destination import planned_request
from nucleus_bridge.upload.uploader import Uploader

_OF_A_SPOOL = {"scenes", "open", "quarantine"}
_OF_A_RECORDING = {".mcap", ".db3", ".bag"}
_TOLD = (SceneState.DONE, SceneState.FAILED, SceneState.QUARANTINED, SceneState.CONFLICT, SceneState.DIFFERS)


def add_parser(commands: Any) -> argparse.ArgumentParser:  # noqa: ANN401 - argparse keeps its type private
    """Add the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "upload",
        help="upload sealed scenes and follow each job to its end",
        description="Send sealed scenes to the object store, submit them to Nucleus and follow each job to its end. "
        "With --task each sensor-fusion scene becomes an annotation task instead. May be interrupted at any time and "
        "goes on where it was. The API key is taken from NUCLEUS_API_KEY, for tasks from SCALE_API_KEY.",
        epilog="example: nucleus-bridge upload /data/spool --store s3://bucket/drives --dataset my_drives; "
        "nucleus-bridge upload /data/fusion --store s3://bucket/drives --task cuboids.yaml",
    )
    parser.add_argument("spool", metavar="SPOOL", type=Path, help="folder with the scenes")
    add_settings(parser, dataset="; created when none has the name")
    parser.add_argument("--watch", action="store_true", help="keep going and take up new scenes until interrupted")
    parser.add_argument("--dry-run", action="store_true", help="ask the service, say what would be done, do nothing")
    parser.add_argument(
        "--update", action="store_true", help="renew metadata and cameras of scenes that the dataset holds, in place"
    )
    parser.add_argument(
        "--retry-quarantined", action="store_true", help="take up again what was set aside, once its cause is gone"
    )
    parser.set_defaults(run=run)
    return parser


def add_settings(parser: argparse.ArgumentParser, *, of_config: str = "its upload section", dataset: str = "") -> None:
    """Add the options that say where scenes go; ``of_config`` says what is read of the file, ``dataset`` what else."""
    parser.add_argument("--config", metavar="FILE", type=Path, help=f"ROS 2 parameter file; {of_config} counts")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--dataset", metavar="NAME_OR_ID", help=f"Nucleus dataset{dataset}")
    where.add_argument("--task", metavar="FILE", help="annotation tasks; FILE holds their labels and other free fields")
    parser.add_argument("--store", metavar="URL", help="s3://bucket/prefix, gs://..., az://... or file:///folder")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        dest="overrides",
        help="override a parameter (repeatable)",
    )


def upload_settings(options: argparse.Namespace) -> UploadConfig:
    """Return the upload settings from file and options.

    Raises:
        ConfigError: They cannot be used.
    """
    overrides: Sequence[str] = options.overrides
    if options.config is not None:
        config = load_config(options.config, overrides)
        settings = config.upload
        if settings.task_template:
            settings = replace(settings, task_template=str(config.base_dir / settings.task_template))
    else:
        values = check_values(dict(parse_override(text) for text in overrides))
        settings = TABLE.built(values).upload
    if options.store is not None:
        settings = replace(settings, store=options.store)
    if options.task is not None:
        settings = replace(settings, task_template=options.task)
    if options.dataset is not None:
        by_id = options.dataset.startswith("ds_")
        settings = replace(
            settings,
            dataset_id=options.dataset if by_id else "",
            dataset_name="" if by_id else options.dataset,
            task_template="",
        )
    return settings


def run(options: argparse.Namespace) -> int:
    """Upload the spool."""
    settings = upload_settings(options)
    if options.update:
        settings = replace(settings, update=True)
    if options.dry_run:
        return _dry_run(options.spool, settings)
    if options.spool.exists():
        check_is_spool(options.spool)
    with _observer() as observer:
        uploader = Uploader(
            options.spool,
            settings,
            key=key_for(settings),
            observer=observer,
            retry_quarantined=options.retry_quarantined,
        )
        with _stopped_by_signals(uploader):
            summary = uploader.run(watch=options.watch)
    print(totals(summary))
    return 0 if summary.complete or (options.watch and not _bad(summary)) else 1


@contextmanager
def _stopped_by_signals(uploader: Uploader) -> Iterator[None]:
    """Let SIGINT and SIGTERM end the upload well.

    A handler may interrupt the very lock that stop() needs, so it only leaves a note, which another thread reads.
    """
    notes: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def stop_when_noted() -> None:
        if notes.get():
            uploader.stop()

    threading.Thread(target=stop_when_noted, name="upload-stop", daemon=True).start()
    before = {number: signal.signal(number, lambda *_: notes.put(True)) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        notes.put(False)


def totals(summary: Summary) -> str:
    """Describe what was done in one line."""
    parts = [f"{summary.ended[state]} {state.value}" for state in _TOLD if summary.ended[state]]
    text = f"{', '.join(parts) or 'nothing to do'}; {summary.sent / 1e6:.1f} MB sent"
    if summary.skipped:
        text += f", {summary.skipped / 1e6:.1f} MB were there"
    if summary.held:
        text += f"; {_scenes(summary.held)} being uploaded by another process"
    if summary.foreign:
        text += f"; {_scenes(summary.foreign)} left alone, of a format that is not uploaded this way"
    if summary.kept:
        text += f"; {_scenes(summary.kept)} not deleted, as the destination was not seen to hold all of it"
    return text + ("; stopped, the next upload goes on from here" if summary.stopped else "")


def _scenes(count: int) -> str:
    return "1 scene is" if count == 1 else f"{count} scenes are"


def _bad(summary: Summary) -> int:
    return sum(summary.ended[state] for state in _TOLD if state is not SceneState.DONE)


def _dry_run(path: Path, settings: UploadConfig) -> int:
    check_settings(settings)
    need_spool(path)
    retry = Retry(give_up_after_s=settings.timeout_s)
    try:
        key, unasked = key_for(settings), ""
    except ConfigError as error:
        key, unasked = "", f"; the service was not asked: {error}"
    destination = destination_for(settings)(settings, key, retry)
    store = None
    if not unasked:
        destination.open()
        store = open_store(settings.store, timeout_s=settings.timeout_s, retry=retry)
        if settings.url == "presigned":
            store.check_signing()
    book = StateBook(Spool(path), destination.key)
    check_formats(book, destination.kind, destination.remedy)
    records = []
    for record, action in plan(book, destination.kind):
        found = ""
        if action != LEAVE_ALONE:
            records.append(record)
            if store is not None:
                with suppress(SceneError):
                    found = destination.outlook(record, book.spool.scene_folder(record.reference_id), store)
        note = f"  ({found})" if found else ""
        line = f"{record.reference_id}  {action}  {record.items} items  {record.bytes / 1e6:.1f} MB{note}"
        print(printable_lines(line))
    where = f"dataset {settings.dataset_id or settings.dataset_name}"
    if settings.task_template:
        where = f"annotation tasks at {destination.endpoint(settings)}"
        if records:
            url, request = planned_request(path, records[0].reference_id, settings)
            print(f"POST {url}\n{json.dumps(request, indent=1)}")
    elif not unasked and not destination.key.dataset_id:
        where += f" (does not exist; will be created{' in privacy mode' * settings.privacy_mode})"
    size = sum(record.bytes for record in records)
    count = "1 scene" if len(records) == 1 else f"{len(records)} scenes"
    print(f"{count}, {size / 1e6:.1f} MB to {parse_store_url(settings.store).text} and {where}; not done{unasked}")
    return 0


def task_note(record: StateRecord) -> str:
    """Return a scene's task and how it stands, in the service's own word."""
    status = f" ({record.task_status})" if record.task_status else ""
    return f"  task {record.task_id}{status}" if record.task_id else ""


class _Lines(UploadObserver):
    """Prints a line a scene that has come to an end."""

    def changed(self, record: StateRecord) -> None:
        if record.state in _TOLD:
            note = f"  {record.error}" if record.error else ""
            line = f"{record.reference_id}  {record.state.value}  {record.bytes / 1e6:.1f} MB{task_note(record)}{note}"
            print(printable_lines(line), flush=True)

    def noted(self, text: str) -> None:
        print(printable_lines(text), file=sys.stderr, flush=True)

    def waiting(self, reason: str, seconds: float) -> None:
        if seconds >= 1.0:
            print(printable_lines(f"waiting {seconds:.0f} s: {reason}"), file=sys.stderr, flush=True)


class _Bar(_Lines):
    """Shows bytes and the time that is left besides."""

    def __init__(self, progress: Any) -> None:  # noqa: ANN401 - rich's Progress
        self._progress = progress
        self._total = 0
        self._task = progress.add_task("upload", total=None)

    def planned(self, scenes: int, size: int) -> None:  # noqa: ARG002 - as inherited
        self._total += size
        self._progress.update(self._task, total=self._total)

    def sent(self, size: int, *, skipped: bool) -> None:  # noqa: ARG002 - as inherited
        self._progress.advance(self._task, size)

    def waiting(self, reason: str, seconds: float) -> None:
        self._progress.update(self._task, description=f"waiting: {reason[:60]}" if seconds >= 1.0 else "upload")


@contextmanager
def _observer() -> Iterator[UploadObserver]:
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console  # noqa: PLC0415 - only for people
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _Bar(progress)


def need_spool(path: Path) -> Path:
    """Return the spool's folder.

    Raises:
        ConfigError: There is none.
    """
    if not path.is_dir():
        raise ConfigError(f"spool {path}: there is no such folder; convert or record into it first")
    check_is_spool(path)
    return path


def check_is_spool(path: Path) -> None:
    """Check that a folder is not what people take for a spool: a recording, a scene, or the folder of the scenes.

    Raises:
        ConfigError: It is one of those, or cannot be read.
    """
    try:
        entries = list(path.iterdir())
    except OSError as error:
        raise ConfigError(f"spool {path}: cannot be read: {error.strerror}") from None
    names = {entry.name for entry in entries}
    if names & _OF_A_SPOOL:
        return
    if "metadata.yaml" in names or any(entry.suffix in _OF_A_RECORDING for entry in entries):
        raise ConfigError(f"spool {path}: is a recording; give the folder that its scenes were written into")
    if MANIFEST_NAME in names:
        raise ConfigError(f"spool {path}: is a scene; give its spool, two folders above")
    if any((entry / MANIFEST_NAME).is_file() for entry in entries):
        raise ConfigError(f"spool {path}: is the folder of a spool's scenes; give the one above")
