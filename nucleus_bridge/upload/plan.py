# SPDX-License-Identifier: Apache-2.0
"""What is known before anything is sent: whether the settings make sense, and what an upload would do."""

from __future__ import annotations

from collections.abc import Iterator

from nucleus_bridge.config import UploadConfig
from nucleus_bridge.errors import ConfigError
from nucleus_bridge.formats import registry
from nucleus_bridge.formats.interface import UploadKind
from nucleus_bridge.spool.state import SceneState, StateBook, StateRecord
from nucleus_bridge.upload.choice import destination_for
from nucleus_bridge.upload.store.url import StoreUrl, check_url_kind, parse_store_url

LEAVE_ALONE = "leave alone"
_TO_DO = {
    SceneState.SEALED: "send",
    SceneState.UNVERIFIED: "ask the destination, send what it lacks",
    SceneState.STORING: "go on sending",
    SceneState.STORED: "submit",
    SceneState.SUBMITTED: "follow the job",
    SceneState.FAILED: "try again",
    SceneState.DIFFERS: "compare again",
    SceneState.CONFLICT: "compare again",
}


def check_settings(settings: UploadConfig) -> None:
    """Make sure that the settings say where to and can be used together.

    Raises:
        ConfigError: They cannot.
    """
    if not settings.store:
        raise ConfigError("upload.store is not set: say which object store the clouds and images go to (--store URL)")
    destination = destination_for(settings)
    destination.check(settings)
    endpoint = destination.endpoint(settings)
    store = parse_store_url(settings.store)
    check_url_kind(store, settings.url, settings.public_base_url, endpoint)
    if settings.privacy_mode and not settings.task_template:
        _check_private_urls(settings, store)


def _check_private_urls(settings: UploadConfig, store: StoreUrl) -> None:
    """Make sure that browsers can fetch the items for good: in privacy mode nobody else ever does.

    Raises:
        ConfigError: They cannot.
    """
    if settings.url == "presigned":
        why = "signed URLs end, and in privacy mode the items are fetched by browsers as long as the dataset lives"
    elif settings.url == "native" and not store.blob_address:
        why = f"browsers cannot fetch {store.scheme}:// URLs, and in privacy mode nobody else fetches the items"
    else:
        return
    raise ConfigError(f"upload.privacy_mode with upload.url {settings.url}: {why}; set upload.url: public")


def check_formats(book: StateBook, kind: UploadKind, remedy: str) -> None:
    """Make sure that an upload has something to do if there is anything to be done.

    Args:
        book: The spool's states.
        kind: What the scenes become.
        remedy: What to do with a scene of another format.

    Raises:
        ConfigError: No scene that waits is of a format for that.
    """
    waiting = [record for record in book.all() if record.state in _TO_DO]
    foreign = [record for record in waiting if is_foreign(record, kind)]
    if foreign and len(foreign) == len(waiting):
        first = foreign[0]
        if first.format in registry.names() and registry.of(first.format).upload is None:
            remedy = "no upload takes; make a scene of another format of it with nucleus-bridge export"
        raise ConfigError(f"{first.reference_id}: is a scene of format {first.format}, which {remedy}")


def is_foreign(record: StateRecord, kind: UploadKind) -> bool:
    """Whether a scene is surely of a format for something else."""
    return bool(record.format) and record.format not in registry.names_for(kind)


def plan(book: StateBook, kind: UploadKind) -> Iterator[tuple[StateRecord, str]]:
    """Yield each scene and what an upload would do with it now, without doing anything."""
    for record in book.all():
        if record.state in _TO_DO:
            yield record, LEAVE_ALONE if is_foreign(record, kind) else _TO_DO[record.state]
