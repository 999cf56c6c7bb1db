# SPDX-License-Identifier: Apache-2.0
"""Jobs: queued on disk, worked off one after the other, reported the way the service reports them."""

from __future__ import annotations

import datetime as dt
import logging
import math
import queue
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nucleus_bridge.errors import InputError
from nucleus_bridge.testing.receiver.messages import Refusal
from nucleus_bridge.testing.receiver.state import load_record, new_id, now_text, parse_instant, write_state

QUEUED, RUNNING, COMPLETED = "Queued", "Running", "Completed"
ERRORED_USER, ERRORED_PARTIAL, ERRORED_SERVER = "Errored_User", "Errored_Partial", "Errored_Server"
SCENES, ITEMS, ANNOTATIONS, PREDICTIONS = (
    "uploadLidarScene",
    "uploadDatasetItems",
    "uploadAnnotations",
    "uploadPredictions",
)
DELETION, METADATA = "annotationDeletion", "metadataUpdate"
MAX_ERRORS = 10_000
MAX_LISTED = 50_000

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobPace:
    """How long a job is shown as Queued and then as Running, however quickly it was done.

    Both counts and both times must have passed. By default a job is never shown as Queued, since the service's own
    client takes that for the end of a job.
    """

    queued_polls: int = 0
    running_polls: int = 1
    queued_s: float = 0.0
    running_s: float = 0.0


@dataclass(frozen=True)
class JobEnd:
    """How a job is made to end, for rehearsals: the service ends jobs in more ways than ours do by themselves.

    Attributes:
        status: What it ends as, such as ``Cancelled`` or ``Errored_Hanging``; with ``Queued`` or ``Running`` it never
            ends.
        share: How much of its work is done before, 0..1, from the first object on.
    """

    status: str
    share: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not re.fullmatch(r"[A-Za-z][A-Za-z_]{0,63}", self.status):
            raise InputError(f"job end {self.status!r}: a status is a word such as Cancelled or Errored_Hanging")
        if not 0.0 <= self.share <= 1.0:
            raise InputError(f"job end {self.status}: share {self.share} must be within 0 and 1")


def parse_job_end(text: str) -> JobEnd:
    """Read ``STATUS`` or ``STATUS=share``.

    Raises:
        InputError: It is neither, or a part is out of range.
    """
    status, _, share = text.partition("=")
    try:
        return JobEnd(status, float(share or 0.0))
    except ValueError:
        raise InputError(f"job end {text!r} must be written STATUS or STATUS=share, such as Cancelled=0.5") from None


@dataclass(frozen=True)
class Job:
    """One job; ``status`` is Running until it ends.

    Attributes:
        request_id: The upload that it works off.
        kind: What it does, in the service's words.
        holder: The model run that predictions are for.
        processed: Objects other than scenes that were taken.
        ignored: Such objects that were there already.
        errored: Such objects that were refused.
        end: The status that it is made to end as; empty for none.
        end_share: How much of its work is done when ``end`` is given.
    """

    job_id: str
    dataset_id: str
    request_id: str
    update: bool
    created: str
    status: str = RUNNING
    total_steps: int = 0
    completed_steps: int = 0
    new_scenes: int = 0
    ignored_scenes: int = 0
    updated_scenes: int = 0
    scenes_errored: int = 0
    errors: tuple[str, ...] = ()
    kind: str = SCENES
    holder: str = ""
    processed: int = 0
    ignored: int = 0
    errored: int = 0
    end: str = ""
    end_share: float = 0.0

    @property
    def ended(self) -> bool:
        """Whether its status is final."""
        return self.status != RUNNING

    def steps_done(self, total: int) -> int:
        """Return how many of so many objects it works on before it ends."""
        return math.ceil(total * self.end_share) if self.end else total


Work = Callable[[Job, Callable[[Job], None]], Job]


class JobBoard:
    """All jobs of a receiver and the thread that works them off, in the order they came."""

    def __init__(
        self, directory: Path, pace: JobPace, work: Work, stopping: threading.Event, ends: Sequence[JobEnd] = ()
    ) -> None:
        self._folder = directory / "jobs"
        self._folder.mkdir(exist_ok=True)
        self._pace = pace
        self._work = work
        self._ends = deque(ends)
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}
        self._born: dict[str, float] = {}
        self._polls: Counter[str] = Counter()
        self._waiting: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._stopping = stopping
        self._thread = threading.Thread(target=self._run, name="receiver-jobs", daemon=True)
        for path in sorted(self._folder.glob("*.json")):
            job: Job = load_record(path, Job)
            self._jobs[job.job_id] = replace(job, errors=tuple(job.errors))
            if not job.ended:
                self._waiting.put(job.job_id)

    def start(self) -> None:
        """Begin to work; jobs that an earlier run left unfinished come first."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Wait for the end of work, after ``stopping`` was set; an unfinished job goes on at the next start."""
        self._waiting.put(None)
        self._thread.join(timeout_s)

    def create(
        self, dataset_id: str, request_id: str, *, update: bool = False, kind: str = SCENES, holder: str = ""
    ) -> Job:
        """Queue a job, durably."""
        with self._lock:
            end = self._ends.popleft() if self._ends else None
        job = Job(new_id("job"), dataset_id, request_id, update, now_text(), kind=kind, holder=holder)
        if end is not None:
            job = replace(job, end=end.status, end_share=end.share)
        write_state(self._path(job), asdict(job))
        with self._lock:
            self._jobs[job.job_id] = job
            self._born[job.job_id] = time.monotonic()
        self._waiting.put(job.job_id)
        return job

    def get(self, job_id: str) -> Job:
        """Return a job.

        Raises:
            Refusal: 404.
        """
        with self._lock:
            job = self._jobs.get(job_id)
        if job is None:
            raise Refusal(404, f"there is no job {job_id!r}")
        return job

    def poll(self, job_id: str) -> dict[str, Any]:
        """Return the answer to ``GET job/{id}``; counts as one poll."""
        job = self.get(job_id)
        shown = self._shown(job)
        with self._lock:
            self._polls[job_id] += 1
        if shown == QUEUED:
            waiting = Job(job.job_id, job.dataset_id, job.request_id, job.update, job.created, kind=job.kind)
            job = replace(waiting, total_steps=job.total_steps)
        return {
            **self._info(job, shown),
            "status": shown,
            "message": _message(job),
            "job_progress": f"{job.completed_steps / job.total_steps:.2f}" if job.total_steps else "NaN",
            "completed_steps": job.completed_steps,
            "total_steps": job.total_steps,
        }

    def info(self, job_id: str) -> dict[str, str]:
        """Return the answer to ``GET job/{id}/info``."""
        job = self.get(job_id)
        return self._info(job, self._shown(job))

    def listed(self, filters: Mapping[str, Any]) -> list[dict[str, str]]:
        """Return the answer to ``POST jobs/``, newest first.

        Raises:
            Refusal: 400 for a filter that cannot be understood.
        """
        limit = filters.get("limit")
        if limit is not None and (type(limit) is not int or not 0 < limit <= MAX_LISTED):
            raise Refusal(400, f"limit must be an integer within 1 and {MAX_LISTED}")
        earliest, latest = _instant(filters, "from_date"), _instant(filters, "to_date")
        types, dataset_id = filters.get("job_types"), filters.get("dataset_id")
        if types is not None and not isinstance(types, list):
            raise Refusal(400, "job_types must be an array")
        with self._lock:
            jobs = sorted(self._jobs.values(), key=lambda job: job.job_id, reverse=True)
        chosen = []
        for job in jobs:
            info = self._info(job, self._shown(job))
            created = parse_instant(job.created)
            if (
                (dataset_id is None or job.dataset_id == dataset_id)
                and (filters.get("show_completed") or info["job_last_known_status"] != COMPLETED)
                and (not types or job.kind in types)
                and (earliest is None or created >= earliest)
                and (latest is None or created <= latest)
            ):
                chosen.append(info)
        return chosen[:limit]

    def _info(self, job: Job, shown: str) -> dict[str, str]:
        return {
            "job_id": job.job_id,
            "job_last_known_status": shown,
            "job_type": job.kind,
            "job_creation_time": job.created,
        }

    def _shown(self, job: Job) -> str:
        with self._lock:
            polls, born = self._polls[job.job_id], self._born.get(job.job_id)
        if born is None:  # from an earlier run
            return job.status
        age_s, pace = time.monotonic() - born, self._pace
        if job.end == QUEUED or polls < pace.queued_polls or age_s < pace.queued_s:
            return QUEUED
        if polls < pace.queued_polls + pace.running_polls or age_s < pace.queued_s + pace.running_s:
            return RUNNING
        return job.status

    def _run(self) -> None:
        while (job_id := self._waiting.get()) is not None and not self._stopping.is_set():
            job = self.get(job_id)
            try:
                job = self._work(job, self._keep)
                if job.ended and job.end:
                    job = replace(job, status=job.end)
                if job.ended:
                    write_state(self._path(job), asdict(job))
            except Exception as error:
                logger.exception("job %s failed", job_id)
                errors = (f"internal error: {type(error).__name__}",)
                job = replace(self.get(job_id), status=ERRORED_SERVER, errors=errors)
            self._keep(job)

    def _keep(self, job: Job) -> None:
        with self._lock:
            self._jobs[job.job_id] = job

    def _path(self, job: Job) -> Path:
        return self._folder / f"{job.job_id}.json"


def with_error(job: Job, text: str) -> Job:
    """Return the job with one more error in its list."""
    return replace(job, errors=(*job.errors, text)[-MAX_ERRORS:])


def _message(job: Job) -> dict[str, Any]:
    """Return what the service says of a job of this kind, as far as it is known; a client does well to expect less."""
    if job.end and job.status == job.end and job.status.startswith("Errored"):
        return {"final_error": f"the job ended as {job.end} (rehearsed)"}
    counts = {"total": job.total_steps, "errored": job.errored, "ignored": job.ignored, "processed": job.processed}
    if job.kind == ANNOTATIONS:
        return {"annotation_upload": {**counts, "datasetId": job.dataset_id}}
    if job.kind == PREDICTIONS:
        return {"prediction_upload": {**counts, "datasetId": job.dataset_id, "modelRunId": job.holder}}
    if job.kind != SCENES:
        return {}
    return {"scene_upload_progress": _scene_progress(job)}


def _scene_progress(job: Job) -> dict[str, Any]:
    return {
        "dataset_id": job.dataset_id,
        "new_scenes": job.new_scenes,
        "ignored_scenes": job.ignored_scenes,
        "updated_scenes": job.updated_scenes,
        "scenes_errored": job.scenes_errored,
        "errors": list(job.errors),
    }


def _instant(filters: Mapping[str, Any], key: str) -> dt.datetime | None:
    text = filters.get(key)
    if text is None:
        return None
    try:
        return parse_instant(text)
    except (AttributeError, TypeError, ValueError):
        raise Refusal(400, f"{key} must be an ISO 8601 date or time") from None
