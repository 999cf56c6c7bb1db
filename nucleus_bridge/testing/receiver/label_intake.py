# SPDX-License-Identifier: Apache-2.0
"""Takes annotations and predictions, from a request or as a job, and does the other jobs on what a dataset holds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from nucleus_bridge.errors import SceneError
from nucleus_bridge.testing.receiver.datasets import Store
from nucleus_bridge.testing.receiver.jobs import (
    COMPLETED,
    DELETION,
    ERRORED_USER,
    METADATA,
    PREDICTIONS,
    Job,
    with_error,
)
from nucleus_bridge.testing.receiver.label_rules import check_label, label_error
from nucleus_bridge.testing.receiver.labels import GROUND_TRUTH, Label, LabelStore
from nucleus_bridge.testing.receiver.lines import Line, LineWork, parse_line, work_off
from nucleus_bridge.testing.receiver.metadata import merge_metadata
from nucleus_bridge.testing.receiver.scene_rules import SceneRules
from nucleus_bridge.testing.receiver.state import derived_id, new_id
from nucleus_bridge.testing.receiver.strict_json import is_text

_BATCH = 500


@dataclass(frozen=True)
class Taken:
    """What became of the labels of one request or batch."""

    processed: int
    ignored: int
    errors: tuple[str, ...]


class LabelIntake:
    """Checks labels and keeps the good ones."""

    def __init__(self, store: Store, labels: LabelStore, rules: SceneRules, stopping: threading.Event) -> None:
        self._store = store
        self._labels = labels
        self._rules = rules
        self._stopping = stopping

    def take(
        self,
        dataset_id: str,
        holder: str,
        documents: Sequence[object],
        *,
        update: bool,
        job_id: str = "",
        numbers: Sequence[int] = (),
    ) -> Taken:
        """Take labels of a dataset: annotations, or the predictions of the model run ``holder``.

        Args:
            dataset_id: Of the dataset.
            holder: GROUND_TRUTH, or the id of a run.
            documents: As the client sent them.
            update: Overwrite what is there already instead of ignoring it.
            job_id: Of the job that they came with.
            numbers: Their lines in that job's upload.

        Raises:
            Refusal: 404 for the dataset.
        """
        scenes = {entry.reference_id for entry in self._store.entries(dataset_id)}

        def place_of(reference_id: str) -> str | None:
            kind = self._store.item_kind(dataset_id, reference_id)
            return kind or ("scene" if reference_id in scenes else None)

        good: list[Label] = []
        errors: list[str] = []
        predicted = holder != GROUND_TRUTH
        for index, document in enumerate(self._with_references(dataset_id, documents)):
            ids = partial(derived_id, "ann", job_id, str(numbers[index])) if numbers else partial(new_id, "ann")
            try:
                good.append(check_label(document, place_of, self._rules, predicted=predicted, spare_id=ids))
            except SceneError as error:
                errors.append(label_error(document, str(error)))
        outcome = self._labels.put(dataset_id, holder, good, update=update, job_id=job_id)
        errors += [label_error(label.document, reason) for label, reason in outcome.refused]
        return Taken(outcome.kept, outcome.ignored, tuple(errors))

    def run(self, job: Job, report: Callable[[Job], None]) -> Job:
        """Work off a job and return it ended; unended when it was told to stop.

        Objects that were refused leave a job Completed, as the service does, unless there are no others.
        """
        take = {DELETION: self._delete, METADATA: self._merge}.get(job.kind, self._take_lines)
        return work_off(job, self._store, LineWork(take, _ended, _BATCH), report, self._stopping)

    def _with_references(self, dataset_id: str, documents: Sequence[object]) -> list[object]:
        """Return the labels, those that name their item by our id alone with its reference id."""

        def item_id(document: object) -> str:
            named = document.get("item_id") if isinstance(document, dict) and "reference_id" not in document else None
            return named if is_text(named) else ""

        wanted = {item_id(document) for document in documents} - {""}
        reference_of = self._store.references_of(dataset_id, wanted) if wanted else {}
        return [
            {**document, "reference_id": reference_of[item_id(document)]}
            if isinstance(document, dict) and item_id(document) in reference_of
            else document
            for document in documents
        ]

    def _take_lines(self, job: Job, lines: list[Line]) -> Job:
        documents, numbers = [], []
        for number, line in lines:
            try:
                documents.append(parse_line(line))
                numbers.append(number)
            except SceneError as error:
                job = with_error(replace(job, errored=job.errored + 1), f"line {number}: {error}")
        holder = job.holder if job.kind == PREDICTIONS else GROUND_TRUTH
        taken = self.take(job.dataset_id, holder, documents, update=job.update, job_id=job.job_id, numbers=numbers)
        for text in taken.errors:
            job = with_error(job, text)
        return replace(
            job,
            processed=job.processed + taken.processed,
            ignored=job.ignored + taken.ignored,
            errored=job.errored + len(taken.errors),
        )

    def _delete(self, job: Job, lines: list[Line]) -> Job:
        for _, line in lines:
            references = parse_line(line)["reference_ids"]
            deleted = self._labels.delete(job.dataset_id, GROUND_TRUTH, references or None)
            job = replace(job, processed=job.processed + deleted)
        return job

    def _merge(self, job: Job, lines: list[Line]) -> Job:
        merges = [parse_line(line) for _, line in lines]
        for level in ("scene", "item"):
            some = [merge["merge"] for merge in merges if merge["level"] == level]
            errors = merge_metadata(self._store, job.dataset_id, level, some, partly=True)
            for error in errors:
                job = with_error(job, error)
            done = len(some) - len(errors)
            job = replace(job, processed=job.processed + done, errored=job.errored + len(errors))
        return job


def _ended(job: Job) -> Job:
    if not job.total_steps:
        job = with_error(job, "the upload holds nothing")
    is_bad = bool(job.errored or not job.total_steps) and not job.processed + job.ignored
    return replace(job, status=ERRORED_USER if is_bad else COMPLETED)
