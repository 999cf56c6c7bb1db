# SPDX-License-Identifier: Apache-2.0
"""The uploader: scenes of a spool go to the object store and to Nucleus, through crashes, faults and company."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures import wait
from contextlib import suppress
from functools import partial
from pathlib import Path

from nucleus_bridge.config import UploadConfig
from nucleus_bridge.errors import (
    OutputError,
    RejectedError,
    SceneError,
    SceneUnreadableError,
    StoppedError,
    StoreConflictError,
    UnavailableError,
)
from nucleus_bridge.spool import Spool
from nucleus_bridge.spool.leases import LEASE_S, Lease, Leases
from nucleus_bridge.spool.manifest import Manifest
from nucleus_bridge.spool.state import ENDED, LEFT, SceneState, StateBook, StateRecord, content_digest
from nucleus_bridge.upload.board import RETRY_FAILED_S, Board, Stamp, Summary, folder_stamp
from nucleus_bridge.upload.choice import destination_for
from nucleus_bridge.upload.destination import Destination, Submitter
from nucleus_bridge.upload.observer import UploadObserver
from nucleus_bridge.upload.plan import check_formats, check_settings, is_foreign
from nucleus_bridge.upload.pool import DaemonPool
from nucleus_bridge.upload.retry import Retry
from nucleus_bridge.upload.store.objects import open_store

SCENES_AT_ONCE = 4
STOP_S = 4.0
JOIN_S = 1.5
_LOOK_S = 0.25


class Uploader:
    """Uploads the scenes of one spool; make one for each run.

    Args:
        spool: Folder of the spool.
        settings: The ``upload`` group of the configuration.
        key: API key; Nucleus's, or with a task template that for tasks.
        observer: Is called with what happens.
        retry: How to try again; its ``stop`` event stops the upload.
        lease_s: How long a process on another machine may be silent before its scenes are taken over.
        retry_quarantined: Take up again what was set aside.

    Raises:
        ConfigError: The settings cannot be used together.
    """

    def __init__(  # noqa: PLR0913 - what a caller may want to say
        self,
        spool: Path,
        settings: UploadConfig,
        *,
        key: str,
        observer: UploadObserver | None = None,
        retry: Retry | None = None,
        lease_s: float = LEASE_S,
        retry_quarantined: bool = False,
    ) -> None:
        check_settings(settings)
        self._settings = settings
        self._retry = retry or Retry(give_up_after_s=settings.give_up_after_s)
        self._stop = self._retry.stop
        self._board = Board(observer or UploadObserver(), self._stop)
        self._retry.told = self._board.waiting
        self._book = StateBook(Spool(spool))
        self._leases = Leases(self._book.spool, lease_s=lease_s)
        self._destination: Destination = destination_for(settings)(settings, key, self._retry)
        self._store = open_store(settings.store, timeout_s=settings.timeout_s, retry=self._retry)
        self._files = DaemonPool(settings.max_concurrency, "upload-file")
        self._scenes = DaemonPool(SCENES_AT_ONCE, "upload-scene")
        self._sender = self._destination.sender(self._store, self._files, self._board.count)
        self._retry_quarantined = retry_quarantined
        self._held = 0
        self._is_beginning = True

    def stop(self) -> None:
        """Ask a running upload to end; it does within seconds, and the next one goes on where it was.

        To be called from another thread, not from a signal handler, which may interrupt a lock that is needed here.
        """
        self._stop.set()
        self._board.changed.set()

    def run(self, *, watch: bool = False) -> Summary:
        """Upload what is sealed, and with ``watch`` what will be, until told to stop.

        Raises:
            AuthError: The key or the store's credentials are refused.
            ConfigError: The destination cannot be used, or every scene that waits is of a format it does not take.
            OutputError: The spool cannot be written to.
            UploadError: Nothing can go on.
        """
        ended = False
        try:
            self._book.create()
            self._look_before_asking()
            self._leases.start(self._board.progress)
            self._open()
            self._book.destination = self._destination.key
            if self._retry_quarantined:
                self._take_up_quarantined()
            check_formats(self._book, self._destination.kind, self._destination.remedy)
            submitter = self._destination.submitter(
                self._store, self._book, self._moved, note=self._board.note, idle=self._is_idle, watch=watch
            )
            submitting = threading.Thread(target=self._guarded(submitter.run), name="upload-submit", daemon=True)
            submitting.start()
            self._feed(submitter, watch=watch)
            submitter.close()
            ended = self._wait_for_the_end(submitting)
        except StoppedError:
            self._stop.set()
        finally:
            self._files.close()
            self._scenes.close()
            if ended or not self._stop.is_set():
                self._leases.close()  # else threads may still write: the leases end with the process
            self._destination.close()
        if self._board.fatal is not None and not isinstance(self._board.fatal, StoppedError):
            raise self._board.fatal
        return self._board.summary(self._held)

    def _look_before_asking(self) -> None:
        """Refuse a spool of another format without a word to the service."""
        self._book.destination = self._destination.key
        check_formats(self._book, self._destination.kind, self._destination.remedy)

    def _open(self) -> None:
        """Have the destination looked at, by a thread that a silent service may keep."""
        opening = self._scenes.submit(self._open_both)
        while not opening.done():
            wait([opening], _LOOK_S)
            if self._stop.is_set():
                with suppress(FutureTimeoutError):
                    opening.result(STOP_S)
                raise StoppedError("stopped")
        opening.result()

    def _open_both(self) -> None:
        self._destination.open()
        if self._settings.url == "presigned":
            self._store.check_signing()  # before anything is sent: URLs are signed when a scene is submitted

    def _take_up_quarantined(self) -> None:
        """Put back what was set aside and is of a format that goes this way."""
        for reference_id in self._book.quarantined():
            record = self._book.get(reference_id)
            if is_foreign(record, self._destination.kind) or self._leases.take(reference_id) is not Lease.TAKEN:
                continue
            if not self._book.take_up_again(reference_id):
                self._board.note(f"{reference_id} stays in quarantine: a scene of this id is in the spool")
            self._leases.release(reference_id)

    def _wait_for_the_end(self, submitting: threading.Thread) -> bool:
        """Wait for the threads, not for long when told to stop; returns whether all ended."""
        deadline = None
        while submitting.is_alive():
            if self._stop.is_set():
                deadline = deadline or time.monotonic() + STOP_S
                if time.monotonic() > deadline:
                    return False
            submitting.join(_LOOK_S)
        self._scenes.close()
        if not self._scenes.join(JOIN_S):
            return False
        self._files.close()  # not before: a scene that hands in a file then would wait for it forever
        return self._files.join(JOIN_S)

    def _feed(self, submitter: Submitter, *, watch: bool) -> None:
        """Begin with scenes as long as there are any, or until told to stop."""
        folder_seen, looked = None, 0.0
        while not self._stop.is_set():
            folder, now = folder_stamp(self._book.spool.scenes_dir), time.monotonic()
            due = not watch or folder != folder_seen or now - looked > RETRY_FAILED_S
            self._board.changed.clear()
            self._is_beginning = True
            unsure = self._begin_with_what_there_is(submitter) if due else False
            self._is_beginning = False
            if due and not unsure:
                folder_seen, looked = folder, now
            if not watch and not unsure and not self._board.busy:
                return
            self._board.changed.wait(self._settings.watch_interval_s if watch and not unsure else _LOOK_S)

    def _is_idle(self) -> bool:
        """Whether every scene that there is was handed to the submitter."""
        return not self._is_beginning and self._board.storing == 0

    def _begin_with_what_there_is(self, submitter: Submitter) -> bool:
        """Begin with every scene that is free; returns whether a lease may yet turn out to be a dead process's."""
        unsure, held = False, 0
        for reference_id, stamp in self._board.untouched(self._book.spool.scenes()):
            if self._needs_nothing(reference_id, stamp):
                continue
            while self._board.storing >= 2 * SCENES_AT_ONCE and not self._stop.is_set():
                self._board.changed.wait(_LOOK_S)
                self._board.changed.clear()
            if self._stop.is_set():
                break
            lease = self._leases.take(reference_id)
            unsure |= lease is Lease.UNSURE
            held += lease is Lease.HELD
            if lease is Lease.TAKEN:
                self._begin(reference_id, submitter)
        self._held = held
        return unsure

    def _needs_nothing(self, reference_id: str, stamp: Stamp) -> bool:
        """Whether a scene is to be left as it is, now and until its folder changes."""
        try:
            record = self._book.get(reference_id)
        except SceneError:
            return False
        foreign = is_foreign(record, self._destination.kind)
        is_done = record.state is SceneState.DONE or (foreign and self._book.was_done(reference_id))
        if foreign and not is_done:
            self._board.note_foreign(reference_id, stamp)
        elif is_done and (foreign or not self._settings.delete_after):
            self._board.note_done(reference_id, stamp)
        else:
            return False
        return True

    def _begin(self, reference_id: str, submitter: Submitter) -> None:
        """Go on with a scene from the state that it is in, now that it cannot change under our hands."""
        try:
            record = self._book.get(reference_id)
        except SceneError as error:
            if self._book.spool.scene_folder(reference_id).is_dir():
                self._give_up(StateRecord(reference_id, SceneState.SEALED, ""), error)
            else:
                self._leases.release(reference_id)  # another process finished it meanwhile
            return
        if record.state is SceneState.DONE and self._settings.delete_after:
            self._board.begin(record, to_store=False)
            self._scenes.submit(self._guarded(partial(self._finish_deleting, record, submitter)))
            return
        if record.state in ENDED:  # by another process
            self._leave(reference_id, None)
            return
        elsewhere = record.store != self._store.url.text
        if record.state is SceneState.STORED and (elsewhere or not self._destination.submits_from_record):
            record = self._book.write(record, SceneState.SEALED)
        to_store = record.state not in (SceneState.STORED, SceneState.SUBMITTED)
        self._board.begin(record, to_store=to_store)
        self._go_on(record, submitter, to_store=to_store)

    def _go_on(self, record: StateRecord, submitter: Submitter, *, to_store: bool) -> None:
        if to_store:
            self._scenes.submit(self._guarded(partial(self._store_scene, record, submitter)))
        else:
            self._board.moved(record)
            submitter.add(record)

    def _store_scene(self, record: StateRecord, submitter: Submitter) -> None:
        """Send the files of one scene and hand it on to be submitted."""
        try:
            self._retry.check()
            if record.state is not SceneState.STORING:
                record = self._book.write(record, SceneState.STORING, store=self._store.url.text)
            self._board.moved(record)
            folder = self._book.spool.scene_folder(record.reference_id)
            frames = self._sender.send(folder, Manifest.read(folder))
            if self._leases.keeps(record.reference_id):
                record = self._book.write(record, SceneState.STORED, store=self._store.url.text)
                self._board.moved(record)
                submitter.add(record, frames)
            else:
                self._leave(record.reference_id, None)
        except StoreConflictError as error:
            self._moved(self._book.write(record, SceneState.CONFLICT, error=str(error)))
        except SceneError as error:
            self._give_up(record, error)
        except UnavailableError as error:
            self._moved(self._book.write(record, SceneState.FAILED, error=str(error)))
        finally:
            self._board.stored(record.reference_id)

    def _give_up(self, record: StateRecord, error: SceneError) -> None:
        """Set a scene aside that cannot be uploaded as it is; one that the disk cannot read now is tried again."""
        if isinstance(error, SceneUnreadableError):
            self._moved(self._book.write(record, SceneState.FAILED, error=str(error)))
        else:
            self._moved(self._book.quarantine(record, str(error)))

    def _guarded(self, work: Callable[[], None]) -> Callable[[], None]:
        """Return work whose errors stop everything."""

        def run() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - run() raises it
                self._board.end(error)

        return run

    def _moved(self, record: StateRecord) -> None:
        """Take note of a scene's new state; one that has ended makes room for others."""
        if record.state is SceneState.DONE and self._settings.delete_after:
            self._delete(record)
        self._board.moved(record)
        if record.state in LEFT:
            self._leave(record.reference_id, record.state)

    def _leave(self, reference_id: str, state: SceneState | None) -> None:
        with suppress(OSError):
            self._leases.release(reference_id)
        self._board.leave(reference_id, state, folder_stamp(self._book.spool.scene_folder(reference_id)))

    def _finish_deleting(self, record: StateRecord, submitter: Submitter) -> None:
        """Delete a scene that was done before; one that service or store do not hold any more is sent again."""
        if self._delete(record):
            self._leave(record.reference_id, None)
            return
        folder = self._book.spool.scene_folder(record.reference_id)
        try:
            is_held = bool(self._destination.outlook(record, folder, self._store))
            is_stored = self._sender.verify(Manifest.read(folder))
        except SceneError as error:
            self._give_up(self._book.write(record, SceneState.SEALED), error)
            return
        # a task reads its frames under the names that it was made with, and signed URLs in them make other names
        has_same_names = self._destination.submits_from_record or self._settings.url != "presigned"
        if is_held and (is_stored or not has_same_names):
            self._leave(record.reference_id, None)
            return
        record = self._book.write(record, SceneState.SEALED)
        self._board.begin(record, to_store=True)
        self._go_on(record, submitter, to_store=True)

    def _delete(self, record: StateRecord) -> bool:
        """Delete a scene from the spool if service and store, asked just now, hold it, complete; returns whether."""
        folder = self._book.spool.scene_folder(record.reference_id)
        try:
            if not folder.is_dir():
                return True
            manifest = Manifest.read(folder)
            is_there = self._destination.holds(record, folder, self._store) and self._sender.verify(manifest)
            if (
                not is_there
                or content_digest(manifest) != record.content
                or not self._leases.keeps(record.reference_id)
            ):
                self._board.kept(record.reference_id)
                return False
            self._book.keep_manifest(record)
            self._book.spool.remove_scene(record.reference_id)
            self._board.deleted(record.reference_id)
        except (SceneError, UnavailableError, RejectedError) as error:
            self._board.kept(record.reference_id)
            self._board.note(f"{record.reference_id} is not deleted: {error}")
            return False
        except OSError as error:
            raise OutputError(f"{folder}: cannot be deleted: {error.strerror}") from None
        return True
