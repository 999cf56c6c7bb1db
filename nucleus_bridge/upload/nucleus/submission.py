# SPDX-License-Identifier: Apache-2.0
"""Submits stored scenes to Nucleus in batches and follows each job to its end.

The first scene to a destination that never took one goes alone. A batch whose job fails as a whole is halved until the
scene that does it stands alone. A job that was cancelled is not submitted again behind a person's back.
"""

from __future__ import annotations

import queue
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from nucleus_bridge.config import UploadConfig
from nucleus_bridge.errors import (
    JobCancelledError,
    RejectedError,
    SceneError,
    SceneUnreadableError,
    UnavailableError,
    UploadError,
)
from nucleus_bridge.formats.nucleus.payload import encode_payload
from nucleus_bridge.spool.failpoints import failpoint
from nucleus_bridge.spool.manifest import Manifest
from nucleus_bridge.spool.state import SceneState, StateBook, StateRecord
from nucleus_bridge.upload.destination import Changed, FrameKeys, Note
from nucleus_bridge.upload.doubt import Doubt
from nucleus_bridge.upload.http import concerns_all
from nucleus_bridge.upload.nucleus.client import COMPLETED, USUAL, JobStatus, NucleusClient
from nucleus_bridge.upload.nucleus.comparison import Comparison, Match, compare_scenes
from nucleus_bridge.upload.nucleus.payload import item_urls, items_of, sent_scene
from nucleus_bridge.upload.nucleus.provenance import PROVENANCE, Provenance
from nucleus_bridge.upload.retry import TransientError
from nucleus_bridge.upload.store.objects import ObjectStore


def renew_scene(client: NucleusClient, dataset_id: str, payload: Mapping[str, Any], found: Comparison) -> None:
    """Bring what the dataset says of a scene up to date; the scene's own metadata last, as it says what is there.

    Args:
        client: The service.
        dataset_id: The dataset.
        payload: The scene as it would be submitted.
        found: What the comparison found to differ.

    Raises:
        RejectedError: The service does not allow it.
        UnavailableError: It gives no answer.
    """
    entries = [
        {key: item[key] for key in ("reference_id", "metadata", "camera_params") if key in item}
        for frame in payload["frames"]
        for item in frame.values()
        if item["reference_id"] in found.items
    ]
    client.merge_metadata(dataset_id, "item", entries)
    scene = {"reference_id": payload["reference_id"], "metadata": payload["metadata"]}
    client.merge_metadata(dataset_id, "scene", [scene])


BATCH_SCENES = 100
BATCH_BYTES = 32 << 20
BATCH_WAIT_S = 30.0
MAX_ATTEMPTS = 3
MAX_JOBS = 4
FIRST_LOOK_S = 0.2
_LATE_LOOKS = 5
_WORD = re.compile(r"[\w.-]+")


@dataclass
class _Job:
    """One job that is being followed."""

    job_id: str
    records: list[StateRecord]
    due: float
    since: float
    shown: str = ""
    failures: int = 0
    failing_since: float | None = None
    looks: int = 0
    late_looks: int = 0


class SceneSubmitter:
    """Takes stored scenes from a queue; runs in a thread of its own.

    Args:
        client: The service.
        store: Where the scenes' files are.
        book: The scenes' states.
        settings: The ``upload`` group of the configuration.
        dataset: Returns the dataset's id; creates the dataset when it does not exist yet.
        changed: Is called with each new state.
        note: Is called with what a person should know.
        idle: Returns whether every scene that there is was handed in.
        watch: Whether there may be others later.
    """

    def __init__(  # noqa: PLR0913 - it stands between all of them
        self,
        client: NucleusClient,
        store: ObjectStore,
        book: StateBook,
        settings: UploadConfig,
        *,
        dataset: Callable[[], str],
        changed: Changed,
        note: Note,
        idle: Callable[[], bool],
        watch: bool,
    ) -> None:
        self._client = client
        self._store = store
        self._book = book
        self._provenance = Provenance(book.spool)
        self._settings = settings
        self._dataset = dataset
        self._dataset_id = ""
        self._changed = changed
        self._note = note
        self._idle = idle
        self._watch = watch
        self._incoming: queue.SimpleQueue[StateRecord | None] = queue.SimpleQueue()
        self._ready: list[StateRecord] = []
        self._halves: list[list[StateRecord]] = []
        self._waiting_since = 0.0
        self._jobs: list[_Job] = []
        self._closed = False
        self._proven: bool | None = None
        self._doubt = Doubt(self._settle_failure, self._blame)

    def add(self, record: StateRecord, frames: FrameKeys = ()) -> None:
        """Hand in a scene that is stored or submitted; all its URLs follow from its own ``scene.json``."""
        del frames
        self._incoming.put(record)

    def close(self) -> None:
        """End after what was handed in."""
        self._incoming.put(None)

    def run(self) -> None:
        """Work until closed and everything has ended.

        Raises:
            UploadError: Nothing can go on.
        """
        while not (self._closed and not self._ready and not self._halves and not self._jobs and not self._doubt):
            self._client.retry.check()
            is_last = self._idle() and not self._watch  # asked before they are taken in
            self._take_in()
            if not self._jobs and self._halves:
                self._submit_known_apart(self._halves.pop())
            elif self._ready and not self._halves and len(self._jobs) < self._jobs_at_once() and self._batch_is_due():
                batch, self._ready = self._ready[:BATCH_SCENES], self._ready[BATCH_SCENES:]
                self._submit_known_apart(batch)
            for job in [job for job in self._jobs if job.due <= time.monotonic()]:
                self._look_at(job)
            if (is_last or self._closed) and not (self._ready or self._halves or self._jobs):
                self._doubt.close()

    def _jobs_at_once(self) -> int:
        return MAX_JOBS if self._is_proven() else 1

    def _is_proven(self) -> bool:
        """Whether this destination ever took a scene."""
        if self._proven is None:
            self._proven = any(record.state is SceneState.DONE for record in self._book.all())
        return self._proven

    def _batch_is_due(self) -> bool:
        waited = time.monotonic() - self._waiting_since
        return self._closed or len(self._ready) >= BATCH_SCENES or waited > BATCH_WAIT_S or self._idle()

    def _take_in(self) -> None:
        """Wait for the next scene or the next look at a job, whichever is first."""
        pause = min([0.25, *(max(0.0, job.due - time.monotonic()) for job in self._jobs)])
        if (self._halves or self._ready) and not self._jobs:
            pause = min(pause, 0.05)
        try:
            record = self._incoming.get(timeout=pause)
            while True:
                self._sort_in(record)
                record = self._incoming.get_nowait()
        except queue.Empty:
            return

    def _sort_in(self, record: StateRecord | None) -> None:
        if record is None:
            self._closed = True
        elif record.state is SceneState.SUBMITTED:
            for job in self._jobs:
                if job.job_id == record.job_id:
                    job.records.append(record)
                    return
            self._jobs.append(_Job(record.job_id, [record], time.monotonic(), time.monotonic()))
        else:
            if not self._ready:
                self._waiting_since = time.monotonic()
            self._ready.append(record)

    def _submit_known_apart(self, records: Sequence[StateRecord]) -> None:
        """Submit scenes, except those that the dataset holds already."""
        try:
            self._dataset_id = self._dataset_id or self._dataset()
            known = self._client.scene_references(self._dataset_id)
            lines: list[tuple[StateRecord, bytes]] = []
            size = 0
            for number, record in enumerate(records):
                payload = self._payload(record)
                if payload is None:
                    continue
                if record.reference_id in known:
                    self._settle_known(record, payload)
                    continue
                line = encode_payload(payload)
                lines.append((record, line))
                size += len(line)
                if size > BATCH_BYTES or not self._is_proven():
                    self._ready[:0] = records[number + 1 :]
                    break
            if lines:
                self._submit(lines)
        except UnavailableError as error:
            for record in records:
                if self._book.get(record.reference_id).state is SceneState.STORED:
                    self._write(record, SceneState.FAILED, error=str(error))
            self._ready = [record for record in self._ready if record not in records]

    def _payload(self, record: StateRecord) -> dict[str, Any] | None:
        """Return the scene as it is submitted; None when it cannot be, and was left in another state."""
        try:
            return self._read_payload(record)
        except SceneUnreadableError as error:
            self._write(record, SceneState.FAILED, error=str(error))
        except SceneError as error:
            self._set_aside(record, str(error))
        return None

    def _read_payload(self, record: StateRecord) -> dict[str, Any]:
        folder = self._book.spool.scene_folder(record.reference_id)
        urls = partial(item_urls, record.reference_id, store=self._store, settings=self._settings)
        manifest = Manifest.read(folder)
        return sent_scene(folder, manifest, urls, self._provenance.of(manifest))

    def _settle_known(self, record: StateRecord, payload: Mapping[str, Any]) -> None:
        """Look at a scene of this id that the dataset holds: ours from an earlier try, another state of it, another."""
        found = self._compare(record, payload)
        if found.match is Match.DIFFERS and self._settings.update:
            try:
                renew_scene(self._client, self._dataset_id, payload, found)
            except RejectedError as error:
                self._write(record, SceneState.FAILED, error=f"the update was refused: {error}")
                return
            found = self._compare(record, payload)
        self._settle_comparison(record, found)

    def _compare(self, record: StateRecord, payload: Mapping[str, Any]) -> Comparison:
        try:
            held = self._client.get_scene(self._dataset_id, record.reference_id)
            return compare_scenes(payload, held, () if self._settings.update else PROVENANCE)
        except RejectedError as error:
            return Comparison(Match.INCOMPLETE, f"lists the scene and does not show it ({error})")

    def _settle_comparison(self, record: StateRecord, found: Comparison) -> None:
        text = f"dataset {self._dataset_id} {found.text}"
        if found.match is Match.EQUAL:
            self._succeed(record)
        elif found.match is Match.DIFFERS:
            self._write(record, SceneState.DIFFERS, error=f"{text}; upload --update renews them in place")
        elif found.match is Match.CONFLICT:
            remedy = "delete it there, or convert into another spool with another scene.prefix"
            self._write(record, SceneState.CONFLICT, error=f"{text}; {remedy}")
        else:
            self._write(record, SceneState.FAILED, error=f"{text}; delete it there and upload again")

    def _submit(self, lines: list[tuple[StateRecord, bytes]]) -> None:
        """Put and start one job; a batch that is refused is halved until the scene that is refused stands alone."""
        try:
            request_id = self._client.put_scenes(self._dataset_id, b"".join(line for _, line in lines))
            failpoint("scenes_put")
            job_id = self._start_job(request_id, [record.reference_id for record, _ in lines])
        except RejectedError as error:
            if error.status == 404:
                raise UploadError(f"dataset {self._dataset_id} is not there any more: {error}") from None
            if concerns_all(error.status):
                raise UploadError(f"nothing can be submitted, and every scene is left as it is: {error}") from None
            if len(lines) == 1:
                self._doubt.add(lines[0][0], SceneState.QUARANTINED, str(error))
                return
            middle = len(lines) // 2
            self._submit(lines[:middle])
            self._submit(lines[middle:])
            return
        failpoint("job_started")
        records = [
            self._write(
                record,
                SceneState.SUBMITTED,
                request_id=request_id,
                job_id=job_id,
                attempts=record.attempts + 1,
            )
            for record, _ in lines
        ]
        now = time.monotonic()
        self._jobs.append(_Job(job_id, records, now + min(FIRST_LOOK_S, self._settings.poll_interval_s), now))

    def _start_job(self, request_id: str, references: Sequence[str]) -> str:
        """Start the job; after an unclear answer the scenes are looked up before it is asked for again."""

        def done_already(error: TransientError) -> str | None:
            if not error.unclear:
                return None
            return "" if self._client.scene_references(self._dataset_id).issuperset(references) else None

        return self._client.retry.call(
            lambda: self._client.start_job(self._dataset_id, request_id, update=False), done_already
        )

    def _look_at(self, job: _Job) -> None:
        job.looks += 1  # a short job is seen to end soon
        job.due = time.monotonic() + min(self._settings.poll_interval_s, FIRST_LOOK_S * 2.0 ** min(job.looks, 16))
        if not job.job_id:
            self._settle(job, JobStatus("", COMPLETED))
            return
        try:
            status = self._client.job_status(job.job_id)
        except TransientError as error:
            self._wait_longer(job, error)
            return
        except RejectedError as error:
            if concerns_all(error.status):
                raise UploadError(
                    f"job {job.job_id} cannot be followed, its scenes are left as they are: {error}"
                ) from None
            self._settle(job, JobStatus(job.job_id, "unknown to the service", str(error), is_lost=True))
            return
        job.failures, job.failing_since = 0, None
        self._show(job, status)
        if status.ended:
            failpoint("job_ended")
            self._settle(job, status)
        elif 0 < self._settings.job_timeout_s < time.monotonic() - job.since:
            self._settle(job, status)

    def _show(self, job: _Job, status: JobStatus) -> None:
        """Tell a person of a status that is not one of the usual ones, once."""
        if status.status not in USUAL and status.status != job.shown:
            self._note(f"job {job.job_id} is {status.text}")
        job.shown = status.status

    def _wait_longer(self, job: _Job, error: TransientError) -> None:
        now, limit = time.monotonic(), self._settings.give_up_after_s
        job.failing_since = job.failing_since or now
        seconds = self._client.retry.backoff(job.failures, error.retry_after_s)
        job.failures += 1
        job.due = now + seconds
        if limit and job.due - job.failing_since > limit:
            self._jobs.remove(job)
            for record in job.records:
                self._write(record, SceneState.FAILED, error=f"{error}; given up after {job.failures} attempts")
            return
        self._client.retry.told(str(error), seconds)

    def _settle(self, job: _Job, status: JobStatus) -> None:
        """Settle a job that has ended, or did not end in time, by what the dataset holds now and what was said."""
        self._dataset_id = self._dataset_id or self._dataset()
        try:
            held = self._client.scene_references(self._dataset_id)
            errors = self._client.job_errors(job.job_id) if job.job_id else []
            found = self._findings(job.records, held, errors)
        except UnavailableError as error:
            self._jobs.remove(job)
            for record in job.records:
                self._write(record, SceneState.FAILED, error=str(error))
            return
        if not all(map(_is_settled, found.values())) and not status.failed and job.late_looks < _LATE_LOOKS:
            job.late_looks += 1  # what was taken in may show a little later
            job.due = time.monotonic() + self._settings.poll_interval_s
            return
        self._jobs.remove(job)
        missing = [record for record in job.records if found[record.reference_id] is None]
        for record in job.records:
            outcome = found[record.reference_id]
            if isinstance(outcome, str):
                self._fail(record, SceneState.QUARANTINED, outcome)
            elif outcome is not None:
                self._settle_comparison(record, outcome)
        if missing:
            self._settle_missing(missing, status, errors)
        elif status.cancelled:
            self._stop_for(status)

    def _findings(
        self, records: Iterable[StateRecord], held: set[str], errors: Sequence[str]
    ) -> dict[str, str | Comparison | None]:
        """Return for each scene what was said of it, else what the dataset holds, else None."""
        found: dict[str, str | Comparison | None] = {}
        words = [frozenset(word.strip(".") for word in _WORD.findall(text)) for text in errors]
        for record in records:
            try:
                payload = self._read_payload(record)
            except SceneError as error:
                found[record.reference_id] = Comparison(Match.INCOMPLETE, f"cannot be compared with the scene: {error}")
                continue
            names = {record.reference_id} | {item["reference_id"] for _, _, item in items_of(payload)}
            said = "; ".join(text for text, named in zip(errors, words, strict=True) if names & named)
            if said:
                found[record.reference_id] = said
            elif record.reference_id not in held:
                found[record.reference_id] = None
            else:
                found[record.reference_id] = self._compare(record, payload)
        return found

    def _settle_missing(self, records: list[StateRecord], status: JobStatus, errors: Sequence[str]) -> None:
        """Decide on scenes that a job left out without a word about them."""
        heard = f" ({errors[0]})" if errors else ""
        why = f"job {status.job_id} ended as {status.text} without this scene{heard}"
        if status.cancelled:
            for record in records:
                self._write(
                    record, SceneState.FAILED, error=f"job {status.job_id} was {status.text}; not submitted again"
                )
            self._stop_for(status)
        elif not status.ended and not status.is_lost:
            waited = f"is still {status.text} after {self._settings.job_timeout_s:.0f} s"
            why = f"job {status.job_id} {waited}, and the dataset does not hold the scene"
            for record in records:
                self._write(record, SceneState.FAILED, error=why)
        elif status.failed and len(records) > 1:
            middle = (len(records) + 1) // 2
            again = [self._write(record, SceneState.STORED, error=why, attempts=0) for record in records]
            self._halves += [again[middle:], again[:middle]]  # the last one is next
        else:
            for record in records:
                self._try_again(record, why, status)

    def _try_again(self, record: StateRecord, why: str, status: JobStatus) -> None:
        is_own = status.failed and not status.may_pass and status.status != "Errored_Partial"
        if is_own:
            self._fail(record, SceneState.QUARANTINED, why)
        elif record.attempts >= MAX_ATTEMPTS:
            self._fail(record, SceneState.FAILED, f"{why}, {record.attempts} times")
        else:
            self._sort_in(self._write(record, SceneState.STORED, error=why))

    def _stop_for(self, status: JobStatus) -> None:
        message = f"job {status.job_id} was {status.text}; nothing more is submitted"
        raise JobCancelledError(f"{message}; run upload again once the scenes may be submitted anew")

    def _fail(self, record: StateRecord, state: SceneState, reason: str) -> None:
        """Hold a failure of a submitted scene until it is clear whose fault it is."""
        if record.state is SceneState.SUBMITTED:
            record = self._write(record, SceneState.STORED, error=reason)
        self._doubt.add(record, state, reason)

    def _succeed(self, record: StateRecord) -> None:
        self._write(record, SceneState.DONE)
        self._proven = True
        self._doubt.clear()

    def _settle_failure(self, record: StateRecord, state: SceneState, reason: str) -> None:
        if state is SceneState.QUARANTINED:
            self._set_aside(record, reason)
        else:
            self._write(record, state, error=reason)

    def _blame(self, count: int, reason: str) -> UploadError:
        where = f"dataset {self._dataset_id} at {self._client.endpoint}"
        return UploadError(
            f"{where}: {count} scenes failed alike and none was taken; they are left as they are: {reason}"
        )

    def _write(self, record: StateRecord, state: SceneState, **changes: object) -> StateRecord:
        record = self._book.write(record, state, **changes)
        self._changed(record)
        return record

    def _set_aside(self, record: StateRecord, reason: str) -> None:
        self._changed(self._book.quarantine(record, reason))


def _is_settled(outcome: str | Comparison | None) -> bool:
    """Whether a later look would find nothing else."""
    return isinstance(outcome, str) or (outcome is not None and outcome.match is not Match.INCOMPLETE)
