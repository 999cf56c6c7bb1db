# SPDX-License-Identifier: Apache-2.0
"""Goes through the lines of an upload, as every job does that works one off."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from nucleus_bridge.errors import SceneError
from nucleus_bridge.testing.receiver.datasets import Store
from nucleus_bridge.testing.receiver.jobs import ERRORED_USER, Job, with_error
from nucleus_bridge.testing.receiver.messages import Refusal
from nucleus_bridge.testing.receiver.strict_json import check_tree, is_text, parse_json

MAX_LINE_BYTES = 64 << 20

Line = tuple[int, bytes]
"""Number, from 1, and content."""


class JobInterruptedError(Exception):
    """The receiver is being stopped; the job goes on at the next start."""


@dataclass(frozen=True)
class LineWork:
    """How a kind of job works off the lines of its upload.

    Attributes:
        take: Takes some lines and returns the job with its counts and errors.
        end: Returns the job ended, once every line was taken.
        batch: How many lines are taken at a time.
    """

    take: Callable[[Job, list[Line]], Job]
    end: Callable[[Job], Job]
    batch: int = 1


def work_off(job: Job, store: Store, work: LineWork, report: Callable[[Job], None], stopping: threading.Event) -> Job:
    """Work off a job's upload as far as the job goes, and return it ended; unended when ``stopping`` is set."""
    try:
        return work.end(_take_lines(job, store.upload_path(job.dataset_id, job.request_id), work, report, stopping))
    except (FileNotFoundError, Refusal):
        return replace(with_error(job, "the dataset was deleted"), status=ERRORED_USER)
    except JobInterruptedError:
        return job


def _take_lines(job: Job, path: Path, work: LineWork, report: Callable[[Job], None], stopping: threading.Event) -> Job:
    with path.open("rb") as upload:
        job = replace(job, total_steps=sum(1 for _ in _lines(upload)))
        upload.seek(0)
        lines = enumerate(_lines(upload), start=1)
        worked = islice(lines, job.steps_done(job.total_steps))
        while some := list(islice(worked, work.batch)):
            if stopping.is_set():
                raise JobInterruptedError
            job = replace(work.take(job, some), completed_steps=some[-1][0])
            report(job)
        if job.end.startswith("Errored"):
            for number, line in lines:
                job = with_error(job, f"{_place(number, line)}: was not looked at before the job ended as {job.end}")
    return job


def parse_line(line: bytes) -> dict[str, Any]:
    """Parse one line of an upload.

    Raises:
        SceneError: It is too long, or not one JSON object of finite numbers.
    """
    if len(line) > MAX_LINE_BYTES:
        raise SceneError(f"a line may have at most {MAX_LINE_BYTES} bytes")
    try:
        document = parse_json(line)
        check_tree(document)
    except ValueError as error:
        raise SceneError(f"the line {error}") from None
    if not isinstance(document, dict):
        raise SceneError("the line is not a JSON object")
    return document


def _place(number: int, line: bytes) -> str:
    try:
        reference_id = parse_line(line).get("reference_id")
    except SceneError:
        reference_id = None
    return f"{reference_id!r}" if is_text(reference_id) else f"line {number}"


def _lines(upload: BinaryIO) -> Iterator[bytes]:
    """Yield the lines; of one that is too long only the first MAX_LINE_BYTES + 1 bytes."""
    while line := upload.readline(MAX_LINE_BYTES + 1):
        yield line
        while not line.endswith(b"\n") and (line := upload.readline(MAX_LINE_BYTES)):
            pass
