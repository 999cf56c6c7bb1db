# SPDX-License-Identifier: Apache-2.0
"""Submits stored scenes to Nucleus in batches and follows each job to its end."""

from __future__ import annotations

import json
import queue
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nucleus_bridge.config import UploadConfig
from nucleus_bridge.errors import RejectedError, SceneError, UnavailableError, UploadError
from nucleus_bridge.spool.failpoints import failpoint
from nucleus_bridge.spool.manifest import Manifest
from nucleus_bridge.spool.state import SceneState, StateBook, StateRecord
from nucleus_bridge.upload.destination import Changed, FrameKeys
from nucleus_bridge.upload.nucleus.client import COMPLETED, JobStatus, NucleusClient
from nucleus_bridge.upload.retry import TransientError
from nucleus_bridge.upload.scene_files import same_structure, scene_line
from nucleus_bridge.upload.store.objects import ObjectStore

BATCH_SCENES = 100
BATCH_BYTES = 32 << 20
BATCH_WAIT_S = 30.0
MAX_ATTEMPTS = 3
MAX_JOBS = 4
_LATE_LOOKS = 5


@dataclass
class _Job:
    """One job that is being followed."""

    job_id: str
    records: list[StateRecord]
    due: float
    failures: int = 0
    failing_since: float | None = None
    late_looks: int = 0


class SceneSubmitter:
    """Takes stored scenes from a queue; runs in a thread of its own."""

    def __init__(  # noqa: PLR0913 - it stands between all of them
        self,
        client: NucleusClient,
        store: ObjectStore,
        book: StateBook,
        settings: UploadConfig,
        dataset_id: str,
        *,
        changed: Changed,
        idle: Callable[[], bool],
    ) -> None:
        self._client = client
        self._store = store
        self._book = book
        self._settings = settings
        self._dataset_id = dataset_id
        self._changed = changed
        self._idle = idle
        self._incoming: queue.SimpleQueue[StateRecord | None] = queue.SimpleQueue()
        self._ready: list[StateRecord] = []
        self._waiting_since = 0.0
        self._jobs: list[_Job] = []
        self._closed = False

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
        while not (self._closed and not self._ready and not self._jobs):
            self._client.retry.check()
            self._take_in()
            if self._ready and len(self._jobs) < MAX_JOBS and self._batch_is_due():
                batch, self._ready = self._ready[:BATCH_SCENES], self._ready[BATCH_SCENES:]
                self._submit_known_apart(batch)
            for job in [job for job in self._jobs if job.due <= time.monotonic()]:
                self._look_at(job)

    def _batch_is_due(self) -> bool:
        waited = time.monotonic() - self._waiting_since
        return self._closed or len(self._ready) >= BATCH_SCENES or waited > BATCH_WAIT_S or self._idle()

    def _take_in(self) -> None:
        """Wait for the next scene or the next look at a job, whichever is first."""
        pause = min([0.25, *(max(0.0, job.due - time.monotonic()) for job in self._jobs)])
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
            self._jobs.append(_Job(record.job_id, [record], time.monotonic()))
        else:
            if not self._ready:
                self._waiting_since = time.monotonic()
            self._ready.append(record)

    def _submit_known_apart(self, records: Sequence[StateRecord]) -> None:
        """Submit scenes, except those that the dataset holds already."""
        try:
            known = self._client.scene_references(self._dataset_id)
            lines: list[tuple[StateRecord, bytes]] = []
            size = 0
            for number, record in enumerate(records):
                line = self._line(record)
                if line is None:
                    continue
                if record.reference_id in known and not self._settings.update:
                    self._settle_known(record, line)
                    continue
                lines.append((record, line))
                size += len(line)
                if size > BATCH_BYTES:
                    self._ready[:0] = records[number + 1 :]
                    break
            if lines:
                self._submit(lines)
        except UnavailableError as error:
            for record in records:
                if self._book.get(record.reference_id).state is SceneState.STORED:
                    self._write(record, SceneState.FAILED, error=str(error))
            self._ready = [record for record in self._ready if record not in records]

    def _line(self, record: StateRecord) -> bytes | None:
        folder = self._book.spool.scene_folder(record.reference_id)
        settings = self._settings

        def urls(paths: list[str]) -> list[str]:
            keys = [self._store.url.key(record.reference_id, path) for path in paths]
            base, life = settings.public_base_url, settings.url_expires_s
            return self._store.item_urls(keys, settings.url, public_base_url=base, expires_s=life)

        try:
            return scene_line(folder, Manifest.read(folder), urls)
        except SceneError as error:
            self._set_aside(record, str(error))
            return None

    def _settle_known(self, record: StateRecord, line: bytes) -> None:
        """The dataset holds a scene of this id: it is ours from an earlier try, or another one."""
        try:
            held = self._client.get_scene(self._dataset_id, record.reference_id)
        except RejectedError as error:
            self._write(record, SceneState.FAILED, error=str(error))
            return
        if same_structure(json.loads(line), held):
            self._write(record, SceneState.DONE, dataset_id=self._dataset_id)
        else:
            reason = f"dataset {self._dataset_id} holds another scene of the id {record.reference_id}: its frames or "
            self._set_aside(record, f"{reason}items differ; delete it there, or use another scene.prefix")

    def _submit(self, lines: list[tuple[StateRecord, bytes]]) -> None:
        """Put and start one job; a batch that is refused is halved until the scene that is refused stands alone."""
        try:
            request_id = self._client.put_scenes(self._dataset_id, b"".join(line for _, line in lines))
            failpoint("scenes_put")
            job_id = self._start_job(request_id, [record.reference_id for record, _ in lines])
        except RejectedError as error:
            if error.status == 404:
                raise UploadError(f"dataset {self._dataset_id} is not there any more: {error}") from None
            if len(lines) == 1:
                self._set_aside(lines[0][0], str(error))
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
                dataset_id=self._dataset_id,
                request_id=request_id,
                job_id=job_id,
                attempts=record.attempts + 1,
            )
            for record, _ in lines
        ]
        self._jobs.append(_Job(job_id, records, time.monotonic() + min(0.2, self._settings.poll_interval_s)))

    def _start_job(self, request_id: str, references: Sequence[str]) -> str:
        """Start the job; after an unclear answer the scenes are looked up before it is asked for again."""

        def done_already(error: TransientError) -> str | None:
            if not error.unclear or self._settings.update:
                return None
            return "" if self._client.scene_references(self._dataset_id).issuperset(references) else None

        def start() -> str:
            return self._client.start_job(self._dataset_id, request_id, update=self._settings.update)

        return self._client.retry.call(start, done_already)

    def _look_at(self, job: _Job) -> None:
        job.due = time.monotonic() + self._settings.poll_interval_s
        if not job.job_id:
            self._settle(job, JobStatus("", COMPLETED))
            return
        try:
            status = self._client.job_status(job.job_id)
        except TransientError as error:
            self._wait_longer(job, error)
            return
        except RejectedError as error:
            self._settle(job, JobStatus(job.job_id, f"unknown to the service ({error})"))
            return
        job.failures, job.failing_since = 0, None
        if status.ended:
            failpoint("job_ended")
            self._settle(job, status)

    def _wait_longer(self, job: _Job, error: TransientError) -> None:
        now, limit = time.monotonic(), self._settings.give_up_after_s
        job.failing_since = job.failing_since or now
        seconds = self._client.retry.backoff(job.failures, error.retry_after_s)
        job.failures += 1
        job.due = now + seconds
        self._client.retry.told(str(error), seconds)
        if limit and now - job.failing_since > limit:
            self._jobs.remove(job)
            for record in job.records:
                self._write(record, SceneState.FAILED, error=str(error))

    def _settle(self, job: _Job, status: JobStatus) -> None:
        """The job has ended: what counts is which scenes the dataset holds now, and what was said of each."""
        try:
            held = self._client.scene_references(self._dataset_id)
            errors = self._client.job_errors(job.job_id) if job.job_id else []
        except UnavailableError as error:
            self._jobs.remove(job)
            for record in job.records:
                self._write(record, SceneState.FAILED, error=str(error))
            return
        missing = [record for record in job.records if record.reference_id not in held]
        unexplained = [record for record in missing if not said_of(record.reference_id, errors)]
        if status.status == COMPLETED and unexplained and job.late_looks < _LATE_LOOKS:
            job.late_looks += 1  # what was taken in may show a little later
            return
        self._jobs.remove(job)
        for record in job.records:
            said = said_of(record.reference_id, errors)
            if record.reference_id in held and not (said and self._settings.update):
                self._write(record, SceneState.DONE)
            elif said:
                self._set_aside(record, said)
            else:
                heard = f" ({errors[0]})" if errors else ""
                self._try_again(record, f"job {job.job_id} ended as {status.status} without this scene{heard}")

    def _try_again(self, record: StateRecord, why: str) -> None:
        if record.attempts >= MAX_ATTEMPTS:
            self._write(record, SceneState.FAILED, error=f"{why}, {record.attempts} times")
            return
        record = self._write(record, SceneState.STORED, error=why)
        self._sort_in(record)

    def _write(self, record: StateRecord, state: SceneState, **changes: object) -> StateRecord:
        record = self._book.write(record, state, **changes)
        self._changed(record)
        return record

    def _set_aside(self, record: StateRecord, reason: str) -> None:
        self._changed(self._book.quarantine(record, reason))


def said_of(reference_id: str, errors: Sequence[str]) -> str:
    """Return the errors that name a scene, as one line."""
    name = re.compile(rf"(?<![\w.-]){re.escape(reference_id)}(?![\w-]|\.\w)")
    return "; ".join(text for text in errors if name.search(text))
