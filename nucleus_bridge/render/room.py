# SPDX-License-Identifier: Apache-2.0
"""Room in the spool for what a conversion makes: the same limits and policies as for the recorder."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from nucleus_bridge.config import Config, UploadConfig
from nucleus_bridge.errors import BridgeError
from nucleus_bridge.pipeline.events import Event, FrameReady, SceneEnded, SceneStarted
from nucleus_bridge.pipeline.losses import LossLedger
from nucleus_bridge.spool import Spool
from nucleus_bridge.spool.destination import (
    NUCLEUS_ENDPOINT,
    NUCLEUS_ENDPOINT_VARIABLE,
    TASK_ENDPOINT,
    TASK_ENDPOINT_VARIABLE,
    normalised_endpoint,
)
from nucleus_bridge.spool.leases import Leases
from nucleus_bridge.spool.look_back import LookBack
from nucleus_bridge.spool.quota import Quota, Room
from nucleus_bridge.spool.state import StateRecord

ASK_AGAIN_S = 1.0

logger = logging.getLogger(__name__)


def arrived_where_configured(
    upload: UploadConfig, environment: Mapping[str, str] = os.environ
) -> Callable[[StateRecord], bool]:
    """Return what tells whether a record is about the destination that the settings name; without one, any is meant."""
    store = upload.store.partition("?")[0].rstrip("/")
    is_task = bool(upload.task_template)
    variable, configured, public = (
        (TASK_ENDPOINT_VARIABLE, upload.task_endpoint, TASK_ENDPOINT)
        if is_task
        else (NUCLEUS_ENDPOINT_VARIABLE, upload.endpoint, NUCLEUS_ENDPOINT)
    )
    endpoint = normalised_endpoint(environment.get(variable, "").strip() or configured or public)

    def is_about_it(record: StateRecord) -> bool:
        if not store:
            return True
        if (record.endpoint, record.store) != (endpoint, store):
            return False
        if is_task:
            return bool(record.template)
        if upload.dataset_id:
            return record.dataset_id == upload.dataset_id
        return record.dataset_name == upload.dataset_name

    return is_about_it


class RoomForScenes:
    """Asks for room before each scene, and counts the frames of scenes that get none as ``spool_full``.

    A recording waits on the disk, so ``block`` loses nothing: the conversion waits as long as another process uploads
    the spool, which may free some, and ends with an error when none does.

    Attributes:
        last_bytes: Size of the last scene; the next one is taken to be as large.
    """

    def __init__(self, spool: Spool, config: Config, ledger: LossLedger, *, force: bool) -> None:
        self.last_bytes = 0
        self._spool = spool
        self._quota = Quota(spool, config.spool, is_uploaded=arrived_where_configured(config.upload))
        self._topics = {sensor.name: sensor.topic for sensor in config.sensors}
        self._ledger = ledger
        self._max_bytes = config.spool.max_bytes
        self._force = force
        self._reason = ""

    def admitted(self, events: Iterable[Event]) -> Iterator[Event]:
        """Yield the events of scenes that have room.

        Raises:
            BridgeError: There is none, and nothing may be left out or removed.
        """
        for event in events:
            if isinstance(event, SceneStarted):
                is_there = not self._force and self._spool.scene_folder(event.scene.reference_id).is_dir()
                self._reason = "" if is_there else self._refusal()
            if not self._reason:
                yield event
            elif isinstance(event, FrameReady):
                for name, _ in event.frame.samples:
                    self._ledger.count(self._topics[name], "spool_full", event.frame.stamp_ns, self._reason)
            elif isinstance(event, SceneEnded):
                self._reason = ""

    def _refusal(self) -> str:
        """Return why there is no room for a scene; empty when there is, for which one may have to wait."""
        is_told = False
        while True:
            admission = self._quota.admit(self.last_bytes)
            if admission.room is not Room.BLOCKED:
                return admission.reason if admission.room is Room.DROPPED else ""
            is_too_large = 0 < self._max_bytes < self.last_bytes
            if is_too_large or not any(True for _ in Leases(self._spool).others()):
                remedy = "make room (upload with upload.delete_after), or set spool.when_full to drop_oldest"
                raise BridgeError(f"{admission.reason}; {remedy}; the next convert goes on from here")
            if not is_told:
                logger.warning("%s; waiting for the upload to make room", admission.reason)
                is_told = True
            time.sleep(ASK_AGAIN_S)


def look_back_of(config: Config, spool: Spool, *, in_memory: int = 1) -> LookBack:
    """Return where frames wait for an event, beside the open scenes of a spool.

    Args:
        config: The configuration.
        spool: The spool.
        in_memory: So many times ``look_back.memory_bytes`` may be left in memory.
    """
    limits = config.look_back
    return LookBack(
        spool.path / "open",
        limits.max_bytes,
        in_memory * limits.memory_bytes,
        min_free_bytes=config.spool.min_free_bytes,
    )
