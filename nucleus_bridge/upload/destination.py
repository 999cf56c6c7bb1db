# SPDX-License-Identifier: Apache-2.0
"""What differs between the things that scenes become at the service; a dataset's scenes or annotation tasks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from nucleus_bridge.formats.interface import UploadKind
from nucleus_bridge.spool.destination import DestinationKey
from nucleus_bridge.spool.manifest import Manifest
from nucleus_bridge.spool.state import StateBook, StateRecord
from nucleus_bridge.upload.holdings import Holdings
from nucleus_bridge.upload.pool import DaemonPool
from nucleus_bridge.upload.store.objects import ObjectStore

Changed = Callable[[StateRecord], None]
Told = Callable[[str, int, bool], None]
Note = Callable[[str], None]
"""Takes one line of text for the user."""
FrameKeys = tuple[str, ...]
"""Keys of the files that were made for a submission, in the order of the frames; none when it needs no such files."""


class Sender(Protocol):
    """Sends the files of scenes to the object store; several scenes may be sent at the same time."""

    def send(self, folder: Path, manifest: Manifest) -> FrameKeys:
        """Put every file of a scene that is not in the store yet.

        Raises:
            SceneError: A file is missing or changed, or is not what it should be.
            StoreConflictError: Other content is under a key.
            UploadError: The store does not take it.
        """
        ...

    def verify(self, manifest: Manifest) -> bool:
        """Whether the store holds every file of a scene, by its listing."""
        ...


class Submitter(Protocol):
    """Takes scenes whose files are stored to their end; runs in a thread of its own."""

    def add(self, record: StateRecord, frames: FrameKeys = ()) -> None:
        """Hand in a scene that is stored or submitted."""
        ...

    def close(self) -> None:
        """End after what was handed in."""
        ...

    def run(self) -> None:
        """Work until closed and everything has ended.

        Raises:
            UploadError: Nothing can go on.
        """
        ...


class Destination(Protocol):
    """One way to hand in scenes.

    Attributes:
        key: What tells it from others; complete once ``open`` has looked and the dataset exists.
        kind: What scenes become; those of formats for something else are left alone.
        remedy: What to do with a scene of another format.
        submits_from_record: Whether a scene can be submitted by a process that did not send its files.
    """

    key: DestinationKey
    kind: UploadKind
    remedy: str
    submits_from_record: bool

    def open(self) -> None:
        """Make sure that the service can be used, before anything is sent; nothing is created.

        Raises:
            AuthError: The key is refused.
            ConfigError: The settings do not fit the service.
            UploadError: It gives no answer.
        """
        ...

    def sender(self, store: ObjectStore, files: DaemonPool, told: Told) -> Sender:
        """Return what sends the files."""
        ...

    def submitter(
        self,
        store: ObjectStore,
        book: StateBook,
        changed: Changed,
        *,
        note: Note,
        idle: Callable[[], bool],
        watch: bool,
    ) -> Submitter:
        """Return what submits the scenes.

        Args:
            store: Where their files are.
            book: Their states.
            changed: Is called with each new state.
            note: Is called with what a person should know.
            idle: Returns whether every scene that there is was handed in.
            watch: Whether there may be others later.
        """
        ...

    def outlook(self, record: StateRecord, folder: Path, store: ObjectStore) -> str:
        """Say what the service holds under a scene's id already; empty for nothing.

        Raises:
            SceneError: The scene cannot be read.
            UploadError: The service gives no answer.
        """
        ...

    def holds(self, record: StateRecord, folder: Path, store: ObjectStore) -> bool:
        """Ask the service whether it holds a scene, complete, so that the spool may let it go.

        Raises:
            SceneError: The scene cannot be read.
            UploadError: The service gives no answer.
        """
        ...

    def holdings(self, store: ObjectStore) -> Holdings:
        """Return what tells which scenes the service holds, their files being in a store.

        Raises:
            AuthError: The key is refused.
            ConfigError: There is nothing that could hold any.
            UploadError: The service gives no answer.
        """
        ...

    def close(self) -> None:
        """Close the connections."""
        ...
