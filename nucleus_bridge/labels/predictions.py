# SPDX-License-Identifier: Apache-2.0
"""Detections as cuboid predictions of a model in Nucleus: parts of JSON lines, each a job that is followed to its end.

Every prediction has an ``annotation_id`` made of its frame, source and track, so that the service takes what is sent
again for what it holds already: a run that was interrupted is simply repeated.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

from nucleus_bridge.config import UploadConfig
from nucleus_bridge.errors import RejectedError, UploadError
from nucleus_bridge.labels.label import Label, SceneStamps
from nucleus_bridge.spool.failpoints import failpoint
from nucleus_bridge.upload.nucleus.client import USUAL, JobStatus, NucleusClient

PART_PREDICTIONS = 20_000
"""Predictions of one job."""
PART_ANNOTATIONS = 2_000
"""Annotations of one request."""
_TRIES = 3
_FIRST_LOOK_S = 0.05
_DECIMALS = 6
_COMPARED = ("label", "geometry", "confidence")

Note = Callable[[str], None]
"""Takes one line of text for the user."""


def prediction(label: Label, stamps: SceneStamps, annotation_id: str) -> dict[str, Any]:
    """Return a detection as a ``CuboidPrediction``, in the conventions that ``label_of_cuboid`` undoes.

    The centre is in the coordinates of the cloud that was sent, ``dimensions`` has x = width, y = length, z = height,
    and ``yaw`` is 0 along +y. The service has no pitch and roll. Track ids are unique in a scene only, and in a dataset
    with the scene's id before them.
    """
    length, width, height = label.size
    center = (value - offset for value, offset in zip(label.position, stamps.offset, strict=True))
    metadata = {**label.attributes, "stamp_ns": str(label.stamp_ns), "source": label.source}
    is_sure = label.score is not None and 0.0 <= label.score <= 1.0
    return {
        "label": label.label,
        "type": "cuboid",
        "geometry": {
            "position": _vector(center),
            "dimensions": _vector((width, length, height)),
            "yaw": round(math.remainder(label.heading - math.pi / 2, math.tau), 9),
        },
        "reference_id": stamps.item(label.frame),
        "annotation_id": annotation_id,
        **({"confidence": label.score} if is_sure else {}),
        **({"track_reference_id": f"{label.scene}-{label.track}"} if label.track else {}),
        "metadata": {**metadata, "track": label.track} if label.track else metadata,
    }


def _vector(values: Iterable[float]) -> dict[str, float]:
    return {axis: round(value, _DECIMALS) for axis, value in zip("xyz", values, strict=True)}


def annotation(label: Label, stamps: SceneStamps, annotation_id: str) -> dict[str, Any]:
    """Return a label as the ``CuboidAnnotation`` that ``label_of_cuboid`` makes it of again."""
    row = prediction(label, stamps, annotation_id)
    row.pop("confidence", None)
    return {
        **row,
        **({"track_reference_id": label.track} if label.track else {}),
        "metadata": dict(label.attributes),
    }


Made = Callable[[Label, SceneStamps, str], dict[str, Any]]
"""Makes what the service takes of a label, its scene and an id."""


def predictions(
    labels: Iterable[Label], scenes: Mapping[str, SceneStamps], made: Made = prediction
) -> Iterator[dict[str, Any]]:
    """Yield detections as predictions, each with an id of its own that is the same every time.

    Those that have neither track nor id are numbered; a track that a frame has twice in a row is, too.
    """
    unnamed: Counter[tuple[str, int, str]] = Counter()
    last = ""
    repeats = 0
    for label in labels:
        stamps = scenes[label.scene]
        source = hashlib.sha256(label.source.encode()).hexdigest()[:8]
        own = label.id or label.track
        name = f"{stamps.item(label.frame)}-{source}-{own}"
        if not own:
            unnamed[label.scene, label.frame, source] += 1
            name += f"#{unnamed[label.scene, label.frame, source]}"
        repeats = repeats + 1 if name == last else 0
        last = name
        yield made(label, stamps, f"{name}#{repeats + 1}" if repeats else name)


def annotate(client: NucleusClient, dataset_id: str, rows: Iterable[Mapping[str, Any]], *, update: bool) -> Outcome:
    """Put labels into a dataset as what annotators made of it; return what became of them.

    Raises:
        UploadError: It cannot go on; what was sent until then stays.
    """
    outcome = Outcome()
    for part in _parts(rows):
        taken = client.annotate(dataset_id, part, update=update)
        outcome.sent += len(part)
        outcome.there += taken.ignored
        outcome.errors += taken.errors
    return outcome


def _parts(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    rest = iter(rows)
    while part := list(islice(rest, PART_ANNOTATIONS)):
        yield part


class Held:
    """How predictions compare with those that the service holds of a model.

    Attributes:
        equal: It holds them.
        different: It holds others under their ids; only an update changes those.
        missing: It does not hold them.
        orphaned: It holds them, and nobody predicts them now; known once ``look_for_orphans`` was called.
    """

    def __init__(self, client: NucleusClient, dataset_id: str, model_id: str | None) -> None:
        self._client, self.dataset_id, self.model_id = client, dataset_id, model_id
        self.equal = self.different = self.missing = 0
        self.orphaned: Counter[str] = Counter()
        self._unseen: dict[str, set[str]] = {}

    @property
    def text(self) -> str:
        """Describe it."""
        parts = [f"{self.missing} new", f"{self.equal} there"]
        parts += [f"{self.different} there with other content"] if self.different else []
        return ", ".join([*parts, f"{self.orphans} there without a detection"] if self.orphaned else parts)

    @property
    def orphans(self) -> int:
        """How many the service holds that nobody predicts now."""
        return self.orphaned.total()

    def differing(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """Compare predictions, one request an item, and yield those that the service lacks or holds otherwise.

        Raises:
            UploadError: The service gives no answer.
        """
        for item, group in groupby(rows, key=itemgetter("reference_id")):
            known = self._known(str(item))
            for row in group:
                other = known.get(row["annotation_id"])
                self._unseen[str(item)].discard(row["annotation_id"])
                if other is not None and all(other.get(key) == row.get(key) for key in _COMPARED):
                    self.equal += 1
                    continue
                if other is None:
                    self.missing += 1
                else:
                    self.different += 1
                yield row

    def look_for_orphans(self, scenes: Iterable[SceneStamps]) -> None:
        """Count, by scene, what the service holds on the clouds of scenes and ``differing`` did not meet.

        Raises:
            UploadError: The service gives no answer.
        """
        for stamps in scenes:
            for frame in range(len(stamps.stamps_ns)):
                item = stamps.item(frame)
                if item not in self._unseen:
                    self._known(item)
                if count := len(self._unseen.pop(item)):
                    self.orphaned[stamps.scene] += count

    def _known(self, item: str) -> dict[str, Mapping[str, Any]]:
        found = self._client.cuboid_predictions(self.dataset_id, self.model_id, item) if self.model_id else []
        known: dict[str, Mapping[str, Any]] = {str(entry.get("annotation_id")): entry for entry in found}
        self._unseen.setdefault(item, set(known))
        return known


@dataclass
class Outcome:
    """What became of the predictions that were sent.

    Attributes:
        sent: How many the service was given.
        there: Of those, how many it held already.
        errors: What it did not take, in its words.
        failed: How many were in jobs that came to no good end.
    """

    sent: int = 0
    there: int = 0
    errors: list[str] = field(default_factory=list)
    failed: int = 0


class PredictionUpload:
    """Sends predictions of one model to one dataset."""

    def __init__(
        self, client: NucleusClient, dataset_id: str, model_id: str, settings: UploadConfig, note: Note
    ) -> None:
        self._client, self._dataset_id, self._model_id = client, dataset_id, model_id
        self._settings, self._note = settings, note
        self.outcome = Outcome()

    def send(self, rows: Iterable[Mapping[str, Any]]) -> Outcome:
        """Send all; return what became of them.

        Raises:
            UploadError: It cannot go on; what was sent until then stays.
        """
        part: list[bytes] = []
        for row in rows:
            part.append(json.dumps(row, allow_nan=False).encode())
            if len(part) == PART_PREDICTIONS:
                self._send_part(part)
                part = []
        if part:
            self._send_part(part)
        return self.outcome

    def _send_part(self, part: list[bytes]) -> None:
        body = b"\n".join(part) + b"\n"
        for tries_left in reversed(range(_TRIES)):
            request_id = self._client.put_scenes(self._dataset_id, body)
            failpoint("predictions_put")
            job_id = self._client.retry.again(  # what is started twice is taken once
                lambda request_id=request_id: self._client.start_predictions(  # type: ignore[misc]
                    self._dataset_id, self._model_id, request_id, update=self._settings.update
                )
            )
            failpoint("predictions_started")
            status = self._followed(job_id)
            if not (status.is_lost or status.may_pass) or not tries_left:
                break
            self._note(f"job {job_id} is {status.text}; sent again")
        self.outcome.sent += len(part)
        self.outcome.there += _count(status.detail, "ignored")
        errors = self._client.job_errors(job_id)
        if status.failed or status.is_lost or not status.ended:
            self._note(f"job {job_id} is {status.text}")
            done = _count(status.detail, "processed") + _count(status.detail, "ignored")
            self.outcome.failed += max(0, len(part) - done)
        self.outcome.errors += errors
        failpoint("predictions_done")

    def _followed(self, job_id: str) -> JobStatus:
        """Return how a job ended, or stands when it takes too long."""
        retry = self._client.retry
        began, shown, wait_s = retry.clock(), "", _FIRST_LOOK_S
        while True:
            try:
                status = retry.again(lambda: self._client.job_status(job_id))
            except RejectedError as error:
                if error.status != 404:
                    raise UploadError(f"job {job_id} cannot be followed: {error}") from None
                return JobStatus(job_id, "unknown to the service", str(error), is_lost=True)
            if status.ended:
                return status
            if status.status not in USUAL and status.status != shown:
                self._note(f"job {job_id} is {status.text}")
            shown = status.status
            if 0 < self._settings.job_timeout_s < retry.clock() - began:
                return status
            wait_s = min(2.0 * wait_s, self._settings.poll_interval_s)
            retry.wait(wait_s)


def _count(message: Mapping[str, Any], key: str) -> int:
    """Return a count of a job's message, wherever in it that stands."""
    for name, value in message.items():
        if name == key and isinstance(value, (int, float)) and not isinstance(value, bool):
            return int(value)
        if isinstance(value, Mapping) and (found := _count(value, key)):
            return found
    return 0
