# SPDX-License-Identifier: Apache-2.0
"""What is known before anything is sent: whether the settings make sense, and what an upload would do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nucleus_bridge.config import UploadConfig
from nucleus_bridge.errors import ConfigError, OutputError
from nucleus_bridge.spool import Spool
from nucleus_bridge.spool.state import SceneState, StateBook, StateRecord
from nucleus_bridge.upload.store_url import check_url_kind, parse_store_url

_ACTIONS = {
    SceneState.SEALED: "send",
    SceneState.STORING: "go on sending",
    SceneState.STORED: "submit",
    SceneState.SUBMITTED: "follow the job",
    SceneState.FAILED: "try again",
}


def check_settings(settings: UploadConfig, endpoint: str) -> None:
    """Make sure that the settings say where to and can be used together.

    Raises:
        ConfigError: They cannot.
    """
    if not settings.store:
        raise ConfigError("upload.store is not set: say which object store the clouds and images go to (--store URL)")
    if bool(settings.dataset_id) == bool(settings.dataset_name):
        raise ConfigError("set one of upload.dataset_id and upload.dataset_name (--dataset NAME_OR_ID)")
    check_url_kind(parse_store_url(settings.store), settings.url, settings.public_base_url, endpoint)


def plan(spool: Path) -> Iterator[tuple[StateRecord, str]]:
    """Yield each scene and what an upload would do with it now, without doing anything.

    Raises:
        OutputError: There is no such spool.
    """
    if not spool.is_dir():
        raise OutputError(f"spool {spool}: there is no such folder; convert or record into it first")
    for record in StateBook(Spool(spool)).all():
        if record.state in _ACTIONS:
            yield record, _ACTIONS[record.state]
