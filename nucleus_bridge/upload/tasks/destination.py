# SPDX-License-Identifier: Apache-2.0
"""Tasks as the destination of scenes: a scene is one task, its frames or its one file the attachments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from nucleus_bridge.config import UploadConfig
from nucleus_bridge.config.task_template import load_task_template
from nucleus_bridge.formats.interface import UploadKind
from nucleus_bridge.spool import Manifest, Spool
from nucleus_bridge.spool.destination import DestinationKey
from nucleus_bridge.spool.state import StateBook, StateRecord, content_digest
from nucleus_bridge.upload.destination import Changed, Note, Told
from nucleus_bridge.upload.http import key_from_environment
from nucleus_bridge.upload.pool import DaemonPool
from nucleus_bridge.upload.retry import Retry
from nucleus_bridge.upload.store.objects import ObjectStore
from nucleus_bridge.upload.store.url import parse_store_url
from nucleus_bridge.upload.tasks.client import (
    KEY_VARIABLE,
    TaskClient,
    endpoint_from,
    is_proven_task,
    is_task_of,
    other_type,
)
from nucleus_bridge.upload.tasks.frames import TaskSender, frame_to_send, split_files, task_upload
from nucleus_bridge.upload.tasks.holdings import TaskHoldings
from nucleus_bridge.upload.tasks.submission import TaskSubmitter

_REMEDIES: dict[UploadKind, str] = {
    "annotation_task": "no task is made of; make a sensor-fusion scene of it with nucleus-bridge export, or upload "
    "without --task",
    "scene_task": "no {type} task is made of; convert the recording with --format sfs",
}
"""What to do with a scene that a template makes no task of."""


def planned_request(spool: Path, reference_id: str, settings: UploadConfig) -> tuple[str, dict[str, Any]]:
    """Return the URL and the body of the request that would make a scene's task; of signed URLs without signature.

    Raises:
        ConfigError: The settings cannot be used.
        SceneError: The scene cannot become a task.
    """
    template = load_task_template(Path(settings.task_template))
    folder = Spool(spool).scene_folder(reference_id)
    manifest = Manifest.read(folder)
    store = parse_store_url(settings.store)
    base = settings.public_base_url if settings.url == "public" else ""

    def urls(paths: Sequence[str]) -> list[str]:
        return store.item_urls([store.key(reference_id, path) for path in paths], base)

    upload = task_upload(manifest.format)
    frames = [frame_to_send(folder, manifest, record, urls)[0].path for record in split_files(manifest)[0]]
    attachments = urls(frames or upload.attachments(manifest.frames))
    request = template.request(reference_id, attachments, upload.form, content_digest(manifest))
    return f"{endpoint_from(settings.task_endpoint)}/task/{template.type}", request


class TaskDestination:
    """Scenes become annotation tasks.

    Raises:
        ConfigError: The endpoint or the task template cannot be used.
    """

    submits_from_record = False  # the frames were given the URLs of that time

    key_from_environment = staticmethod(partial(key_from_environment, KEY_VARIABLE))

    def __init__(self, settings: UploadConfig, key: str, retry: Retry) -> None:
        self._settings = settings
        self._template = load_task_template(Path(settings.task_template))
        self.kind: UploadKind = self._template.kind
        self.remedy = _REMEDIES[self.kind].format(type=self._template.type)
        self._client = TaskClient(
            self.endpoint(settings), key, task_type=self._template.type, timeout_s=settings.timeout_s, retry=retry
        )
        self.key: DestinationKey = DestinationKey(
            self._client.endpoint,
            parse_store_url(settings.store).text,
            project=self._template.project,
            template=self._template.digest,
        )

    @staticmethod
    def endpoint(settings: UploadConfig) -> str:
        """Return the service's URL.

        Raises:
            ConfigError: It cannot be used.
        """
        return endpoint_from(settings.task_endpoint)

    @staticmethod
    def check(settings: UploadConfig) -> None:
        """Make sure that the settings say what is needed.

        Raises:
            ConfigError: They do not.
        """
        load_task_template(Path(settings.task_template))

    def open(self) -> None:
        """Make sure that the key is taken.

        Raises:
            AuthError: It is refused.
            UploadError: The service gives no answer.
        """
        self._client.check_key()

    def sender(self, store: ObjectStore, files: DaemonPool, told: Told) -> TaskSender:
        """Return what sends the files."""
        return TaskSender(store, files, told, lambda keys: self._urls(store, keys))

    def submitter(
        self,
        store: ObjectStore,
        book: StateBook,
        changed: Changed,
        *,
        note: Note,
        idle: Callable[[], bool],
        watch: bool,
    ) -> TaskSubmitter:
        """Return what makes the tasks."""
        del note
        return TaskSubmitter(
            self._client,
            book,
            self._settings,
            self._template,
            urls=lambda keys: self._urls(store, keys),
            changed=changed,
            is_last=lambda: idle() and not watch,
        )

    def outlook(self, record: StateRecord, folder: Path, store: ObjectStore) -> str:
        """Say which task there is of a scene already; empty for none.

        Raises:
            UploadError: The service gives no answer.
        """
        del folder, store
        task = self._task(record)
        if task is None:
            return ""
        what = f"task {task['task_id']} ({task['status']})"
        if found := other_type(task, self._template.type):
            return f"conflict: {what} is a {found} task of its unique_id"
        return f"{what} was made of it" if is_task_of(task, record) else f"conflict: {what} has its unique_id"

    def holds(self, record: StateRecord, folder: Path, store: ObjectStore) -> bool:
        """Ask the service whether there is a task of a scene, with all its frames and its content's digest.

        Raises:
            UploadError: The service gives no answer.
        """
        del folder, store
        task = self._task(record)
        return task is not None and is_proven_task(task, record)

    def _task(self, record: StateRecord) -> dict[str, Any] | None:
        return self._client.retry.again(lambda: self._client.find(record.reference_id))

    def holdings(self, store: ObjectStore) -> TaskHoldings:
        """Return what tells which tasks there are."""
        del store
        return TaskHoldings(self._client, self.kind)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _urls(self, store: ObjectStore, keys: Sequence[str]) -> list[str]:
        base, life = self._settings.public_base_url, self._settings.url_expires_s
        return store.item_urls(keys, self._settings.url, public_base_url=base, expires_s=life)
