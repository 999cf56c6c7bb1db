# SPDX-License-Identifier: Apache-2.0
"""The Nucleus REST calls that an upload needs, each tried again as long as that makes sense."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from nucleus_bridge.errors import ConfigError, RejectedError, UnavailableError
from nucleus_bridge.spool.destination import NUCLEUS_ENDPOINT, NUCLEUS_ENDPOINT_VARIABLE
from nucleus_bridge.upload.http import HttpChannel, LimitedKey, check_endpoint, expect, key_from_environment
from nucleus_bridge.upload.retry import Retry, TransientError

MAX_UPLOAD_BYTES = 0x1FFFFFE8
MAX_METADATA = 500
"""Scenes or items whose metadata one call may change."""
KEY_VARIABLE = "NUCLEUS_API_KEY"
LIMITED_KEY_VARIABLE = "NUCLEUS_LIMITED_ACCESS_KEY"
_SIGNED_URLS = 8
_MESSAGE_CHARACTERS = 500
_IDS = ("dataset_id", "datasetId")

COMPLETED = "Completed"
CANCELLED = "Cancelled"
USUAL = frozenset({"Queued", "Running", COMPLETED})
_WORTH_ANOTHER_TRY = frozenset({"Errored", "Errored_Server", "Errored_Hanging"})


def api_key_from_environment(environment: Mapping[str, str] = os.environ) -> str:
    """Return the API key, or the limited access key.

    Raises:
        ConfigError: There is none, or both.
    """
    limited = environment.get(LIMITED_KEY_VARIABLE, "").strip()
    if not limited:
        return key_from_environment(KEY_VARIABLE, environment)
    if environment.get(KEY_VARIABLE, "").strip():
        raise ConfigError(f"{KEY_VARIABLE} and {LIMITED_KEY_VARIABLE} are both set; unset one of them")
    return LimitedKey(limited)


def endpoint_from(configured: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the endpoint: the environment's, the configured one, or the public one.

    Raises:
        ConfigError: It cannot be used.
    """
    return check_endpoint(environment.get(NUCLEUS_ENDPOINT_VARIABLE, "").strip() or configured or NUCLEUS_ENDPOINT)


@dataclass(frozen=True)
class JobStatus:
    """How a job stands.

    Attributes:
        job_id: The job.
        status: The service's own word.
        message: What the service says besides, as one line.
        is_lost: Whether the service does not know the job.
        detail: The message, where it is an object: its counts.
    """

    job_id: str
    status: str
    message: str = ""
    is_lost: bool = False
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether the status is final; one that is not known is not."""
        return self.status == COMPLETED or self.failed

    @property
    def failed(self) -> bool:
        """Whether it ended in another way than well."""
        return self.status.startswith("Errored") or self.cancelled

    @property
    def cancelled(self) -> bool:
        """Whether a person stopped it."""
        return self.status == CANCELLED

    @property
    def may_pass(self) -> bool:
        """Whether another try with the same scenes may end well: the fault was the service's."""
        return self.status in _WORTH_ANOTHER_TRY

    @property
    def text(self) -> str:
        """Status and message for a person."""
        return f"{self.status}: {self.message}" if self.message else self.status


@dataclass(frozen=True)
class Annotated:
    """What became of the annotations of one request: how many were there, and what was not taken."""

    ignored: int
    errors: list[str]


class NucleusClient:
    """A client of one endpoint; one thread at a time."""

    def __init__(self, endpoint: str, key: str, *, timeout_s: float = 120.0, retry: Retry | None = None) -> None:
        self.endpoint = check_endpoint(endpoint)
        self.retry = retry or Retry()
        variable = LIMITED_KEY_VARIABLE if isinstance(key, LimitedKey) else KEY_VARIABLE
        self._http = HttpChannel(key, timeout_s, key_variable=variable, stop=self.retry.stop)

    def __repr__(self) -> str:
        return f"NucleusClient({self.endpoint!r}, key=***)"

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def find_dataset(self, name_or_id: str, *, ours: bool = False) -> str | None:
        """Return the id of the dataset of that id or name, or None.

        ``ours`` says that this process has just created one: of several, which other processes created at the same
        time, all take the one whose id is the first, which is the oldest as the service counts its ids up.

        Raises:
            ConfigError: Several have that name, or the endpoint is not that of Nucleus.
        """

        def details() -> list[dict[str, Any]]:
            answer = self._http.call("GET", self._url("dataset/details"))
            shown: list[dict[str, Any]] = expect(
                "dataset/details", answer, lambda rows: all(isinstance(row["id"], str) for row in rows) or not rows
            )
            return [dict(row) for row in shown]

        try:
            rows = self.retry.again(details)
        except RejectedError as error:
            if error.status != 404:
                raise
            message = f"endpoint {self.endpoint}: there is no Nucleus ({error})"
            raise ConfigError(f"{message}; its address ends with /v1/nucleus, as `serve` prints it") from None
        if any(row["id"] == name_or_id for row in rows):
            return name_or_id
        found = [row["id"] for row in rows if row.get("name") == name_or_id]
        if len(found) > 1 and ours:
            return str(min(found))
        if len(found) > 1:
            message = f"upload.dataset_name: {len(found)} datasets are called {name_or_id!r} ({', '.join(found)})"
            raise ConfigError(f"{message}; set upload.dataset_id to one of them")
        return found[0] if found else None

    def create_dataset(self, name: str, *, privacy_mode: bool) -> str:
        """Create a dataset for scenes and return its id.

        After an unclear answer it is looked for before it is asked for again.
        """
        document = {
            "name": name,
            "is_scene": True,
            "use_privacy_mode": privacy_mode,
            "annotation_metadata_schema": None,
            "item_metadata_schema": None,
        }

        def create() -> str:
            answer = self._http.call("POST", self._url("dataset/create"), document)
            return str(expect("dataset/create", answer, lambda a: isinstance(a["dataset_id"], str))["dataset_id"])

        return self.retry.call(create, lambda error: self.find_dataset(name, ours=True) if error.unclear else None)

    def delete_dataset(self, dataset_id: str) -> None:
        """Delete a dataset with all that is in it; one that is gone already is fine.

        Raises:
            RejectedError: The service does not allow it.
        """
        try:
            self.retry.again(lambda: self._http.call("DELETE", self._url(f"dataset/{_quoted(dataset_id)}"), {}))
        except RejectedError as error:
            if error.status != 404:
                raise

    def check_dataset(self, dataset_id: str) -> None:
        """Make sure that a dataset exists and takes scenes.

        Raises:
            ConfigError: It does not.
        """
        try:
            answer = self._get(f"dataset/{_quoted(dataset_id)}/is_scene", lambda a: isinstance(a["is_scene"], bool))
        except RejectedError as error:
            raise ConfigError(f"upload.dataset_id: there is no dataset {dataset_id!r} ({error})") from None
        if not answer["is_scene"]:
            message = f"dataset {dataset_id} was created for single images, which cannot be changed"
            raise ConfigError(f"{message}; use another one, or a new name and it is created for scenes")

    def uses_privacy_mode(self, dataset_id: str) -> bool:
        """Whether the dataset's items are read by people's browsers only, never copied by the service."""
        route = f"dataset/{_quoted(dataset_id)}/use_privacy_mode"
        return bool(self._get(route, lambda a: isinstance(a["use_privacy_mode"], bool))["use_privacy_mode"])

    def scene_references(self, dataset_id: str) -> set[str]:
        """Return the reference ids of all scenes of a dataset."""
        route = f"dataset/{_quoted(dataset_id)}/scenes_list"
        rows = self._get(route, lambda a: all(isinstance(row["reference_id"], str) for row in a["scenes"]))
        return {row["reference_id"] for row in rows["scenes"]}

    def get_scene(self, dataset_id: str, reference_id: str) -> dict[str, Any]:
        """Return a scene as the service holds it.

        Raises:
            RejectedError: There is none, for one.
        """
        route = f"dataset/{_quoted(dataset_id)}/scene/{_quoted(reference_id)}"
        scene: dict[str, Any] = self._get(
            route, lambda a: isinstance(a["frames"], list) and a["reference_id"] == reference_id
        )
        return scene

    def training_rows(self, dataset_id: str, page_rows: int) -> Iterator[dict[str, Any]]:
        """Yield the items of a dataset with their annotations, page by page.

        Each has ``item`` and, among others, the list ``cuboid``.
        """
        url = self._url(f"dataset/{_quoted(dataset_id)}/exportForTrainingPage")
        token: str | None = None
        while True:
            document = {
                "pageToken": token,
                "pageSize": page_rows,
                "query": None,
                "chip": False,
                "onlyMostRecentTask": True,
            }
            page = self.retry.again(
                lambda document=document: expect(  # type: ignore[misc]
                    "exportForTrainingPage",
                    self._http.call("POST", url, document),
                    lambda a: all(
                        isinstance(row["item"], dict) and isinstance(row["cuboid"], list) for row in a["data"]
                    ),
                )
            )
            rows, token = page["data"], page.get("nextPageToken")
            del page  # not kept beside the next one
            yield from rows
            del rows
            if not token:
                return

    def merge_metadata(self, dataset_id: str, level: str, entries: Sequence[Mapping[str, Any]]) -> None:
        """Change metadata, and cameras of images, of what is in the dataset; keys that are not given stay.

        Args:
            dataset_id: The dataset.
            level: ``scene`` or ``item``.
            entries: Each with ``reference_id``, ``metadata`` and, for images, ``camera_params``.

        Raises:
            RejectedError: Something is not there, or may not be changed so.
        """
        url = self._url(f"dataset/{_quoted(dataset_id)}/metadata?async=0")
        for first in range(0, len(entries), MAX_METADATA):
            document = {"level": level, "metadata": list(entries[first : first + MAX_METADATA])}
            self.retry.again(lambda document=document: self._http.call("POST", url, document))  # type: ignore[misc]

    def delete_scene(self, dataset_id: str, reference_id: str) -> None:
        """Delete a scene; one that is gone already is fine."""
        url = self._url(f"dataset/{_quoted(dataset_id)}/scene/{_quoted(reference_id)}")
        try:
            self.retry.again(lambda: self._http.call("DELETE", url, {}))
        except RejectedError as error:
            if error.status != 404:
                raise

    def put_scenes(self, dataset_id: str, body: bytes) -> str:
        """Put newline-delimited scenes and return the request id to start the job with.

        Raises:
            RejectedError: The dataset or the body is refused, also under fresh signed URLs.
        """
        if not 0 < len(body) <= MAX_UPLOAD_BYTES:
            raise RejectedError(f"{len(body)} bytes of scenes; 1 to {MAX_UPLOAD_BYTES} are taken", status=413)
        refused = 0

        def sign_and_put() -> str:
            nonlocal refused
            request_id = uuid.uuid4().hex
            route = self._url(f"dataset/{_quoted(dataset_id)}/signedUrl/{request_id}")
            answer = expect("signedUrl", self._http.call("GET", route), lambda a: a["signed_url"].startswith("http"))
            try:
                self._http.put(answer["signed_url"], body)
            except RejectedError as error:
                refused += 1
                if error.status == 413 or refused == _SIGNED_URLS:
                    raise
                raise TransientError(f"{error} (a new signed URL may be taken)") from None
            return request_id

        return self.retry.again(sign_and_put)

    def start_job(self, dataset_id: str, request_id: str, *, update: bool) -> str:
        """Start the job on what was put and return its id, after one attempt.

        Raises:
            TransientError: It may or may not have started; see ``unclear``.
        """
        url = self._url(f"{_quoted(dataset_id)}/upload_scenes?async=1")
        answer = self._http.call("POST", url, {"requestId": request_id, "update": update})
        return str(expect("upload_scenes", answer, lambda a: isinstance(a["job_id"], str))["job_id"])

    def find_model(self, name_or_id: str) -> str | None:
        """Return the id of the model of that id, reference id or name, or None.

        Raises:
            ConfigError: Several have that name, and none that reference id.
        """
        rows = self._get(
            "models/", lambda a: all(isinstance(row["id"], str) for row in a["models"]) or not a["models"]
        )["models"]
        for key in ("id", "ref_id", "name"):
            found = [str(row["id"]) for row in rows if row.get(key) == name_or_id]
            if len(found) > 1:
                raise ConfigError(
                    f"--model: {len(found)} models are called {name_or_id!r}: {', '.join(found)}; name one"
                )
            if found:
                return found[0]
        return None

    def create_model(self, name: str) -> str:
        """Create a model whose reference id is its name, and return its id.

        After an unclear answer it is looked for before it is asked for again.
        """
        document = {"name": name, "reference_id": name, "metadata": {}}

        def create() -> str:
            answer = self._http.call("POST", self._url("models/add"), document)
            return str(expect("models/add", answer, lambda a: isinstance(a["model_id"], str))["model_id"])

        return self.retry.call(create, lambda error: self.find_model(name) if error.unclear else None)

    def cuboid_predictions(self, dataset_id: str, model_id: str, item: str) -> list[dict[str, Any]]:
        """Return the cuboids that a model predicted on one item; none where it predicted nothing in the dataset."""
        route = f"dataset/{_quoted(dataset_id)}/model/{_quoted(model_id)}/referenceId/{_quoted(item)}"
        try:
            answer = self._get(route, lambda a: isinstance(a.get("annotations", a).get("cuboid", []), list))
        except RejectedError as error:
            if error.status == 404:
                return []
            raise
        found: list[dict[str, Any]] = answer.get("annotations", answer).get("cuboid", [])
        return found

    def start_predictions(self, dataset_id: str, model_id: str, request_id: str, *, update: bool) -> str:
        """Start the job on predictions that were put and return its id, after one attempt.

        Raises:
            TransientError: It may or may not have started; see ``unclear``.
        """
        route = f"dataset/{_quoted(dataset_id)}/model/{_quoted(model_id)}/uploadPredictions?async=1"
        answer = self._http.call("POST", self._url(route), {"requestId": request_id, "update": update})
        return str(expect("uploadPredictions", answer, lambda a: isinstance(a["job_id"], str))["job_id"])

    def annotate(self, dataset_id: str, annotations: Sequence[Mapping[str, Any]], *, update: bool) -> Annotated:
        """Put annotations on items; those whose ids are there are ignored, or with ``update`` overwritten.

        Raises:
            RejectedError: There is no such dataset, or none of them can be taken.
        """
        route = f"dataset/{_quoted(dataset_id)}/annotate"
        document = {"update": update, "annotations": list(annotations)}

        def put() -> dict[str, Any]:
            answer: dict[str, Any] = expect(
                route,
                self._http.call("POST", self._url(route), document),
                lambda a: isinstance(a["annotations_ignored"], int) and isinstance(a.get("errors") or [], list),
            )
            return answer

        taken = self.retry.again(put)
        return Annotated(taken["annotations_ignored"], [_unescaped(str(text)) for text in taken.get("errors") or []])

    def job_status(self, job_id: str) -> JobStatus:
        """Return how a job stands, after one attempt.

        Raises:
            TransientError: There was no usable answer this time.
            RejectedError: The service does not know the job, for one.
        """
        answer = self._http.call("GET", self._url(f"job/{_quoted(job_id)}"))
        expect("job", answer, lambda a: isinstance(a["status"], str) and a.get("job_id") in (None, job_id))
        message = answer.get("message")
        detail = message if isinstance(message, dict) else {}
        return JobStatus(job_id, answer["status"], _message(message), detail=detail)

    def job_errors(self, job_id: str) -> list[str]:
        """Return what a job found wrong; empty when the service does not say."""
        try:
            answer = self._get(f"job/{_quoted(job_id)}/errors", lambda a: isinstance(a, list))
        except (RejectedError, UnavailableError):
            return []
        return [_unescaped(str(text)) for text in answer]

    def _get(self, route: str, shape: Any) -> Any:  # noqa: ANN401 - JSON
        return self.retry.again(lambda: expect(route, self._http.call("GET", self._url(route)), shape))

    def _url(self, route: str) -> str:
        return f"{self.endpoint}/{route}"


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _message(message: object) -> str:
    """Return a job's message, which is a text or an object, as one line; numbers alone say nothing to a person."""
    if isinstance(message, dict):
        parts = [_message(value) for key, value in message.items() if key not in _IDS]
        return "; ".join(dict.fromkeys(part for part in parts if part))[:_MESSAGE_CHARACTERS]
    if isinstance(message, list):
        return "; ".join(part for part in map(_message, message[:3]) if part)[:_MESSAGE_CHARACTERS]
    return " ".join(_unescaped(message).split())[:_MESSAGE_CHARACTERS] if isinstance(message, str) else ""


def _unescaped(text: str) -> str:
    return text.replace("\\n", " ").replace("\\t", " ").replace('\\"', '"').strip()
