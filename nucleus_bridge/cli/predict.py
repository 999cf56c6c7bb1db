# SPDX-License-Identifier: Apache-2.0
"""``nucleus-bridge predict``: detections, recorded or from a file, as predictions of a model in Nucleus."""

from __future__ import annotations

import argparse
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from nucleus_bridge.cli.labels import open_dataset
from nucleus_bridge.cli.upload import add_settings, need_spool, upload_settings
from nucleus_bridge.config import UploadConfig, load_config
from nucleus_bridge.errors import ConfigError, InputError
from nucleus_bridge.labels.fetch import scenes_there
from nucleus_bridge.labels.frames import TOLERANCE_NS, FrameIndex
from nucleus_bridge.labels.given import GivenDetections
from nucleus_bridge.labels.label import Label
from nucleus_bridge.labels.predictions import Held, Outcome, PredictionUpload, annotate, annotation, predictions
from nucleus_bridge.labels.recorded import RecordedDetections
from nucleus_bridge.recordings import open_recording
from nucleus_bridge.recordings.merged import Merged
from nucleus_bridge.spool import Spool
from nucleus_bridge.spool.destination import is_loopback
from nucleus_bridge.spool.state import StateBook
from nucleus_bridge.text import printable_lines
from nucleus_bridge.upload.choice import destination_for
from nucleus_bridge.upload.nucleus.client import NucleusClient
from nucleus_bridge.upload.retry import Retry

_SHOWN_ERRORS = 10


def add_parser(commands: Any) -> argparse.ArgumentParser:  # noqa: ANN401 - argparse keeps its type private
    """Add the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "predict",
        help="upload detections as predictions of a model",
        description="Put detections of a recording (Detection3DArray, Autoware's objects, cubes of a MarkerArray) or "
        "of a file (JSON lines as labels writes them) on the clouds of a spool's scenes, as predictions of a model in "
        "Nucleus. May be interrupted at any time and repeated: nothing is there twice.",
        epilog="example: nucleus-bridge predict /data/spool --from /perception/objects --recording drive "
        "--config drive.yaml --model centerpoint-7 --dataset town",
    )
    parser.add_argument("spool", metavar="SPOOL", type=Path, help="folder with the scenes")
    parser.add_argument("--from", metavar="TOPIC|FILE", dest="source", required=True, help="where the detections are")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", metavar="NAME", help="model; made when there is none of the name")
    what.add_argument(
        "--as-labels",
        action="store_true",
        help="rehearse: put them into the local receiver as what annotators made, for the command labels to fetch",
    )
    parser.add_argument(
        "--recording",
        metavar="BAG",
        type=Path,
        action="append",
        default=[],
        help="the recording, for a topic and for the poses of boxes; given several times, they are one drive",
    )
    parser.add_argument("--min-score", metavar="SCORE", type=float, default=0.0, help="leave out lower scores")
    add_settings(parser, of_config="its upload section, and with --recording what says where poses are,")
    parser.add_argument("--update", action="store_true", help="overwrite predictions that are there with other content")
    parser.add_argument(
        "--dry-run", action="store_true", help="ask the service what it holds, say what is new, send nothing"
    )
    parser.add_argument(
        "--reconcile",
        action="store_true",
        help="compare with what the service holds, also what nobody predicts now; with --repair send what differs",
    )
    parser.add_argument("--repair", action="store_true", help="with --reconcile: send what is missing or other there")
    parser.set_defaults(run=run, kept="what was sent is there; run it again for the rest, nothing is there twice")
    return parser


def _settings(options: argparse.Namespace) -> UploadConfig:
    """Return the settings.

    Raises:
        ConfigError: Options contradict each other.
    """
    settings = upload_settings(options)
    if settings.task_template:
        raise ConfigError("--task: predictions go to a Nucleus dataset; name it with --dataset")
    if options.repair and not options.reconcile:
        raise ConfigError("--repair: goes with --reconcile")
    if options.model is not None and not options.model.strip():
        raise ConfigError("--model: is empty; give the name of the model whose predictions they are")
    if options.as_labels and (options.dry_run or options.reconcile):
        raise ConfigError(
            f"{'--dry-run' if options.dry_run else '--reconcile'}: goes with --model, not with --as-labels"
        )
    if options.reconcile and options.dry_run:
        raise ConfigError("--reconcile: sends nothing without --repair; leave out --dry-run")
    return replace(settings, update=True) if options.update or options.repair else settings


def run(options: argparse.Namespace) -> int:
    """Upload the predictions."""
    settings = _settings(options)
    book = StateBook(Spool(need_spool(options.spool)))
    endpoint = destination_for(settings).endpoint(settings)
    if options.as_labels and not is_loopback(endpoint):
        raise ConfigError(
            f"--as-labels: {endpoint} is not the local receiver (nucleus-bridge serve), and only that gets labels so: "
            "set NUCLEUS_ENDPOINT to its URL"
        )
    client, dataset_id = open_dataset(settings, book, Retry(give_up_after_s=settings.timeout_s))
    refused: dict[str, str] = {}
    frames = FrameIndex(scenes_there(client, dataset_id, book, refused).values())
    for text in refused.values():
        _say(text)
    if not frames.scenes:
        raise InputError(f"{options.spool}: dataset {dataset_id} holds none of its scenes; upload them first")
    with _detections(options, frames) as found:
        counted = _Counted()
        if options.as_labels:
            rows = predictions(counted.through(found.labels()), frames.scenes, annotation)
            outcome = annotate(client, dataset_id, rows, update=settings.update)
            return _finished(
                outcome, counted.text_of("label"), f"dataset {dataset_id}", _status(found, counted, refused)
            )
        rows = predictions(counted.through(found.labels()), frames.scenes)
        model_id = client.find_model(options.model)
        held = Held(client, dataset_id, model_id)
        if options.dry_run:
            deque(held.differing(rows), maxlen=0)
            made = "" if model_id else " (does not exist; will be created)"
            print(f"{counted.text}, {held.text}, to model {options.model}{made} in dataset {dataset_id}; not done")
            return _status(found, counted, refused)
        if options.reconcile:
            repaired = _repaired(held, rows, client, settings, options)
            held.look_for_orphans(frames.scenes.values())
            return max(_reconciled(held, repaired, counted), _status(found, counted, refused))
        first = next(rows, None)
        if first is None:
            print(f"{counted.text}; nothing sent")
            return _status(found, counted, refused)
        model_id = model_id or client.create_model(options.model)
        outcome = PredictionUpload(client, dataset_id, model_id, settings, _say).send(chain([first], rows))
        where = f"model {options.model} ({model_id}) in dataset {dataset_id}"
        return _finished(outcome, counted.text, where, _status(found, counted, refused))


def _finished(outcome: Outcome, what: str, where: str, status: int) -> int:
    """Say what became of what was sent; return the exit status."""
    for text in outcome.errors[:_SHOWN_ERRORS]:
        _say(text)
    parts = [what]
    parts += [f"{outcome.there} were there"] if outcome.there else []
    parts += [f"{len(outcome.errors)} not taken"] if outcome.errors else []
    parts += [f"{outcome.failed} failed"] if outcome.failed else []
    print(f"{', '.join(parts)}; {where}")
    return 1 if outcome.errors or outcome.failed else status


def _repaired(
    held: Held,
    rows: Iterable[Mapping[str, Any]],
    client: NucleusClient,
    settings: UploadConfig,
    options: argparse.Namespace,
) -> Outcome | None:
    """Compare all, and where asked to send what differs; None where nothing was to be sent."""
    lacking = held.differing(rows)
    first = next(lacking, None)
    if first is None or not options.repair:
        deque(lacking, maxlen=0)
        return None
    model_id = held.model_id or client.create_model(options.model)
    return PredictionUpload(client, held.dataset_id, model_id, settings, _say).send(chain([first], lacking))


def _reconciled(held: Held, made: Outcome | None, counted: _Counted) -> int:
    """Say how detections and service differ, and what was set right; return the exit status."""
    print(f"{counted.text}, {held.text}")
    for scene, count in sorted(held.orphaned.items()):
        print(printable_lines(f"{scene}: {_number(count, 'prediction')} there without a detection; delete them there"))
    if made is not None:
        for text in made.errors[:_SHOWN_ERRORS]:
            _say(text)
    differing = held.missing + held.different
    right = 0 if made is None else max(0, made.sent - made.failed - len(made.errors))
    print(f"{differing + held.orphans} differences, {right} set right")
    return 1 if right < differing else 0


@contextmanager
def _detections(options: argparse.Namespace, frames: FrameIndex) -> Iterator[GivenDetections | RecordedDetections]:
    """Open where the detections are: a file of that name, else a topic of the recording."""
    config = load_config(options.config, options.overrides) if options.config is not None else None
    path, least = Path(options.source), options.min_score
    with ExitStack() as stack:
        recording = None
        if options.recording:
            place = Merged.of(options.recording) if len(options.recording) > 1 else options.recording[0]
            recording = stack.enter_context(open_recording(place))
        if path.is_file():
            yield GivenDetections(path, frames, recording, config, least)
        elif recording is not None:
            yield RecordedDetections(recording, options.source, frames, config, least)
        else:
            raise InputError(f"--from: {options.source} is not a file; for a topic give --recording BAG")


class _Counted:
    """Counts what goes by."""

    def __init__(self) -> None:
        self.labels = self.unsure = 0
        self._last: tuple[str, int] | None = None
        self._seen: set[tuple[str, int]] = set()

    def through(self, labels: Iterable[Label]) -> Iterator[Label]:
        for label in labels:
            self.labels += 1
            self.unsure += label.score is not None and not 0.0 <= label.score <= 1.0
            place = label.scene, label.frame
            if place != self._last:
                self._last = place
                self._seen.add(place)
            yield label

    @property
    def text(self) -> str:
        return self.text_of("prediction")

    def text_of(self, what: str) -> str:
        scenes = len({scene for scene, _ in self._seen})
        return f"{_number(self.labels, what)} on {_number(len(self._seen), 'frame')} of {_number(scenes, 'scene')}"


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _status(found: GivenDetections | RecordedDetections, counted: _Counted, refused: dict[str, str]) -> int:
    """Say what was not used; return the exit status."""
    what = "row" if isinstance(found, GivenDetections) else "message"
    if found.unmatched:
        within = f"{TOLERANCE_NS / 1e6:.0f} ms"
        first = f"; the first: {found.unmatched_first}" if isinstance(found, GivenDetections) else ""
        off = f"{_number(found.unmatched, what)} of {found.messages}"
        _say(f"{off} not within {within} of a frame of the scenes{first}")
    if counted.unsure:
        _say(f"{_number(counted.unsure, 'score')} not within 0 and 1: those predictions have no confidence")
    if not found.messages:
        _say("there are no detections, or none with a score of --min-score")
    for cause, count in sorted(found.lost.counts.items()):
        _say(f"{count} lost by {cause}: {found.lost.reasons[cause]}")
    lacks_rows = isinstance(found, GivenDetections) and found.unmatched
    return 1 if found.lost.counts or refused or lacks_rows or counted.unsure or not counted.labels else 0


def _say(text: str) -> None:
    print(printable_lines(text), file=sys.stderr)
