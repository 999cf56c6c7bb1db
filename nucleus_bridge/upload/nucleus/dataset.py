# SPDX-License-Identifier: Apache-2.0
"""A Nucleus dataset as the destination of scenes."""

from __future__ import annotations

from collections.abc import Callable

from nucleus_bridge.config import UploadConfig
from nucleus_bridge.errors import ConfigError
from nucleus_bridge.formats.interface import UploadKind
from nucleus_bridge.spool.state import StateBook
from nucleus_bridge.upload.destination import Changed, Told
from nucleus_bridge.upload.nucleus.client import KEY_VARIABLE, NucleusClient, endpoint_from
from nucleus_bridge.upload.nucleus.holdings import DatasetHoldings
from nucleus_bridge.upload.nucleus.submission import SceneSubmitter
from nucleus_bridge.upload.pool import DaemonPool
from nucleus_bridge.upload.retry import Retry
from nucleus_bridge.upload.scene_files import SceneSender
from nucleus_bridge.upload.store.objects import ObjectStore


class DatasetDestination:
    """Scenes become scenes of one dataset.

    Raises:
        ConfigError: The endpoint cannot be used.
    """

    kind: UploadKind = "dataset"
    remedy = "Nucleus does not take; make an annotation task of it with upload --task, or a Nucleus scene with export"
    key_variable = KEY_VARIABLE
    submits_from_record = True

    def __init__(self, settings: UploadConfig, key: str, retry: Retry) -> None:
        self._settings = settings
        self._client = NucleusClient(self.endpoint(settings), key, timeout_s=settings.timeout_s, retry=retry)
        self._dataset_id = ""

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
        """Find or create the dataset.

        Raises:
            AuthError: The key is refused.
            ConfigError: The dataset cannot be used.
            UploadError: The service gives no answer.
        """
        settings = self._settings
        dataset_id = settings.dataset_id or self._client.find_dataset(settings.dataset_name)
        if dataset_id is None:
            self._dataset_id = self._client.create_dataset(settings.dataset_name, privacy_mode=settings.privacy_mode)
            return
        self._client.check_dataset(dataset_id)
        if settings.privacy_mode and not self._client.uses_privacy_mode(dataset_id):
            message = f"upload.privacy_mode: dataset {dataset_id} was created without it, which cannot be changed"
            raise ConfigError(f"{message}; use another dataset, or a new name and it is created")
        self._dataset_id = dataset_id

    def sender(self, store: ObjectStore, files: DaemonPool, told: Told) -> SceneSender:
        """Return what sends the files."""
        return SceneSender(store, files, told)

    def submitter(
        self, store: ObjectStore, book: StateBook, changed: Changed, idle: Callable[[], bool], *, watch: bool
    ) -> SceneSubmitter:
        """Return what submits the scenes."""
        del watch
        return SceneSubmitter(self._client, store, book, self._settings, self._dataset_id, changed=changed, idle=idle)

    def holdings(self) -> DatasetHoldings:
        """Return what tells which scenes the dataset has.

        Raises:
            AuthError: The key is refused.
            ConfigError: There is no such dataset, or none for scenes.
            UploadError: The service gives no answer.
        """
        settings = self._settings
        dataset_id = settings.dataset_id or self._client.find_dataset(settings.dataset_name)
        if dataset_id is None:
            message = f"upload.dataset_name: there is no dataset called {settings.dataset_name!r}"
            raise ConfigError(f"{message}; upload first")
        self._client.check_dataset(dataset_id)
        return DatasetHoldings(self._client, dataset_id)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
