# SPDX-License-Identifier: Apache-2.0
"""A Nucleus dataset as the destination of scenes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from nucleus_bridge.config import UploadConfig
from nucleus_bridge.errors import AuthError, ConfigError, RejectedError, UnavailableError
from nucleus_bridge.formats.interface import UploadKind
from nucleus_bridge.spool.destination import DestinationKey
from nucleus_bridge.spool.manifest import Manifest
from nucleus_bridge.spool.state import StateBook, StateRecord
from nucleus_bridge.upload.destination import Changed, Note, Told
from nucleus_bridge.upload.nucleus.client import NucleusClient, api_key_from_environment, endpoint_from
from nucleus_bridge.upload.nucleus.comparison import Comparison, Match, compare_scenes
from nucleus_bridge.upload.nucleus.holdings import DatasetHoldings
from nucleus_bridge.upload.nucleus.payload import item_urls, sent_scene
from nucleus_bridge.upload.nucleus.submission import SceneSubmitter
from nucleus_bridge.upload.pool import DaemonPool
from nucleus_bridge.upload.retry import Retry
from nucleus_bridge.upload.scene_files import SceneSender
from nucleus_bridge.upload.store.objects import ObjectStore
from nucleus_bridge.upload.store.url import parse_store_url


class DatasetDestination:
    """Scenes become scenes of one dataset.

    Raises:
        ConfigError: The endpoint cannot be used.
    """

    kind: UploadKind = "dataset"
    remedy = "Nucleus does not take; make an annotation task of it with upload --task, or a Nucleus scene with export"
    submits_from_record = True
    key_from_environment = staticmethod(api_key_from_environment)

    def __init__(self, settings: UploadConfig, key: str, retry: Retry) -> None:
        self._settings = settings
        self._client = NucleusClient(self.endpoint(settings), key, timeout_s=settings.timeout_s, retry=retry)
        self.key: DestinationKey = DestinationKey(
            self._client.endpoint,
            parse_store_url(settings.store).text,
            settings.dataset_id,
            dataset_name=settings.dataset_name,
        )
        self._creating = threading.Lock()

    @staticmethod
    def endpoint(settings: UploadConfig) -> str:
        """Return the service's URL.

        Raises:
            ConfigError: It cannot be used.
        """
        return endpoint_from(settings.endpoint)

    @staticmethod
    def check(settings: UploadConfig) -> None:
        """Make sure that the settings name a dataset.

        Raises:
            ConfigError: They do not.
        """
        if bool(settings.dataset_id) == bool(settings.dataset_name):
            raise ConfigError("set one of upload.dataset_id and upload.dataset_name (--dataset NAME_OR_ID)")

    def open(self) -> None:
        """Find the dataset; one that does not exist is created when there is something to submit.

        Raises:
            AuthError: The key is refused.
            ConfigError: The dataset cannot be used.
            UploadError: The service gives no answer.
        """
        if (dataset_id := self._found()) is None:
            return
        if self._settings.privacy_mode and not self._client.uses_privacy_mode(dataset_id):
            message = f"upload.privacy_mode: dataset {dataset_id} was created without it, which cannot be changed"
            raise ConfigError(f"{message}; use another dataset, or a new name and it is created")

    def _found(self) -> str | None:
        settings = self._settings
        dataset_id = settings.dataset_id or self._client.find_dataset(settings.dataset_name)
        if dataset_id is not None:
            self._client.check_dataset(dataset_id)
            self.key = replace(self.key, dataset_id=dataset_id)
        return dataset_id

    def _created(self, book: StateBook, note: Note) -> str:
        """Return the dataset's id, and create the dataset when it does not exist yet."""
        with self._creating:
            if not self.key.dataset_id:
                name, privacy = self._settings.dataset_name, self._settings.privacy_mode
                dataset_id = self._found()  # another process may have created it meanwhile
                if dataset_id is None:
                    made = self._client.create_dataset(name, privacy_mode=privacy)
                    note(f"dataset {name!r} did not exist and was created{' in privacy mode' * privacy}: {made}")
                    dataset_id = self._client.find_dataset(name, ours=True) or made
                    if dataset_id != made:
                        note(self._without(made, dataset_id))
                self.key = book.destination = replace(self.key, dataset_id=dataset_id)
            return self.key.dataset_id

    def _without(self, made: str, older: str) -> str:
        """Remove a dataset that was just made, since another process made one of the name before; says so."""
        text = f"another process created dataset {older} of the same name first; it is used"
        try:
            if self._client.scene_references(made):
                return f"{text}; {made} holds scenes already: move or delete it"
            self._client.delete_dataset(made)
        except (AuthError, RejectedError, UnavailableError) as error:
            return f"{text}; {made} is empty and could not be deleted ({error}): delete it, or set upload.dataset_id"
        return f"{text}, and {made}, which was empty, is deleted"

    def sender(self, store: ObjectStore, files: DaemonPool, told: Told) -> SceneSender:
        """Return what sends the files."""
        return SceneSender(store, files, told)

    def submitter(
        self,
        store: ObjectStore,
        book: StateBook,
        changed: Changed,
        *,
        note: Note,
        idle: Callable[[], bool],
        watch: bool,
    ) -> SceneSubmitter:
        """Return what submits the scenes."""
        return SceneSubmitter(
            self._client,
            store,
            book,
            self._settings,
            dataset=lambda: self._created(book, note),
            changed=changed,
            note=note,
            idle=idle,
            watch=watch,
        )

    def outlook(self, record: StateRecord, folder: Path, store: ObjectStore) -> str:
        """Say what the dataset holds under a scene's id already; empty for nothing.

        Raises:
            SceneError: The scene cannot be read.
            UploadError: The service gives no answer.
        """
        found = self._compared(record, folder, store)
        if found is None:
            return ""
        if found.match is Match.EQUAL:
            return "the dataset holds it already"
        renewed = "; is renewed in place" if found.match is Match.DIFFERS and self._settings.update else ""
        return f"{found.match.value}: the dataset {found.text}{renewed}"

    def holds(self, record: StateRecord, folder: Path, store: ObjectStore) -> bool:
        """Ask the dataset whether it holds a scene, complete and with its content's digest.

        Raises:
            SceneError: The scene cannot be read.
            UploadError: The service gives no answer.
        """
        found = self._compared(record, folder, store)
        return found is not None and found.match is Match.EQUAL and found.is_proven

    def _compared(self, record: StateRecord, folder: Path, store: ObjectStore) -> Comparison | None:
        dataset_id = self.key.dataset_id
        if not dataset_id or record.reference_id not in self._client.scene_references(dataset_id):
            return None
        urls = partial(item_urls, record.reference_id, store=store, settings=self._settings)
        payload = sent_scene(folder, Manifest.read(folder), urls)
        try:
            return compare_scenes(payload, self._client.get_scene(dataset_id, record.reference_id))
        except RejectedError as error:
            return Comparison(Match.INCOMPLETE, f"lists the scene and does not show it ({error})")

    def holdings(self, store: ObjectStore) -> DatasetHoldings:
        """Return what tells which scenes the dataset has.

        Raises:
            AuthError: The key is refused.
            ConfigError: There is no such dataset, or none for scenes.
            UploadError: The service gives no answer.
        """
        if (dataset_id := self._found()) is None:
            message = f"upload.dataset_name: there is no dataset called {self._settings.dataset_name!r}"
            raise ConfigError(f"{message}; upload first")
        return DatasetHoldings(self._client, dataset_id, partial(item_urls, store=store, settings=self._settings))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
