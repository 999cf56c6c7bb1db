# SPDX-License-Identifier: Apache-2.0
"""The receiver as an object: start it, point a client at ``url``, look at what it got, stop it."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, cast

from nucleus_bridge.errors import InputError, OutputError
from nucleus_bridge.spool import durable
from nucleus_bridge.testing.receiver.access import Access, load_signing_key
from nucleus_bridge.testing.receiver.datasets import Store
from nucleus_bridge.testing.receiver.faults import Fault, FaultInjector
from nucleus_bridge.testing.receiver.jobs import ITEMS, SCENES, Job, JobBoard, JobEnd, JobPace
from nucleus_bridge.testing.receiver.label_intake import LabelIntake
from nucleus_bridge.testing.receiver.labels import LabelStore
from nucleus_bridge.testing.receiver.messages import Limits, Request, Response
from nucleus_bridge.testing.receiver.resolve import ItemReader, Resolver
from nucleus_bridge.testing.receiver.routes import dispatch
from nucleus_bridge.testing.receiver.scene_rules import SceneRules
from nucleus_bridge.testing.receiver.scenes import SceneIntake
from nucleus_bridge.testing.receiver.server import HOST, LoopbackServer
from nucleus_bridge.testing.receiver.service import Service
from nucleus_bridge.testing.receiver.task_rules import RESPONSE_NAMES, ResponseName, TaskRules
from nucleus_bridge.testing.receiver.tasks import TaskBook

MAX_RECORDS = 10_000
_STOP_S = 5.0


class RequestRecord(NamedTuple):
    """One request as it was answered; the path is without its query, status 0 is a connection reset."""

    method: str
    path: str
    status: int


class Receiver:
    """A Nucleus-compatible server on 127.0.0.1 that keeps what it is sent in a folder.

    Args:
        directory: Where everything is kept; made when absent. What is there already is served again.
        port: 0 for any free one.
        host: 127.0.0.1 or localhost; nothing else is served.
        api_keys: The keys that are accepted; None for any.
        task_api_keys: The same for annotation tasks.
        faults: What to spoil, and how often.
        seed: Of the generator that draws the faults.
        resolvers: How to read item URLs, by scheme; http and https are known.
        rules: What may be chosen about the rules for scenes.
        strict: Refuse what the service takes and a writer hardly means, see SceneRules; None: as ``rules`` say.
        pace: How slowly jobs seem to proceed.
        job_ends: How the next jobs are made to end, one after the other; the others end by themselves.
        secure_results: Give out URLs of finished tasks' results that need the key, as accounts can choose.
        limits: Bounds on requests.
        signed_url_expires_s: How long an upload URL can be put to.
        review_page: Makes the page of a scene from its payload.
    """

    def __init__(  # noqa: PLR0913 - one keyword a choice, all but two of them rarely made
        self,
        directory: str | os.PathLike[str],
        port: int = 0,
        *,
        host: str = HOST,
        api_keys: Collection[str] | None = None,
        task_api_keys: Collection[str] | None = None,
        faults: Sequence[Fault] = (),
        seed: int = 0,
        resolvers: Mapping[str, Resolver] | None = None,
        rules: SceneRules | None = None,
        strict: bool | None = None,
        pace: JobPace | None = None,
        job_ends: Sequence[JobEnd] = (),
        secure_results: bool = False,
        limits: Limits | None = None,
        signed_url_expires_s: float = 3600.0,
        review_page: Callable[[Mapping[str, Any]], bytes] | None = None,
    ) -> None:
        if host not in (HOST, "localhost"):
            raise InputError(f"host {host!r}: the receiver has no real access control and serves {HOST} only")
        self.directory = Path(directory)
        self.limits = limits or Limits()
        self.injector = FaultInjector(faults, seed)
        self.stopping = threading.Event()
        self._port = port
        self._keys = {"api_keys": api_keys, "task_api_keys": task_api_keys}
        self._url_expires_s = signed_url_expires_s
        self._resolvers = resolvers
        self._rules = rules or SceneRules()
        if strict is not None:
            self._rules = replace(self._rules, strict=strict)
        self._pace = pace or JobPace()
        self._job_ends = job_ends
        self._secure_results = secure_results
        self._review_page = review_page
        self._records: deque[RequestRecord] = deque(maxlen=MAX_RECORDS)
        self._lock: int | None = None
        self._server: LoopbackServer | None = None
        self._service: Service | None = None

    def start(self) -> Receiver:
        """Begin to serve.

        Raises:
            InputError: It was started before, the port or the folder is in use, or the folder's content is damaged.
            OutputError: The folder cannot be written to.
        """
        if self._lock is not None or self.stopping.is_set():
            raise InputError("a receiver can be started once; make a new one on the same folder")
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._take_folder()
            self._service = self._open(self._bind())
        except OSError as error:
            self._abandon()
            raise OutputError(f"{self.directory}: cannot be served from: {error.strerror or error}") from None
        except InputError:
            self._abandon()
            raise
        self._service.jobs.start()
        serve = partial(cast("LoopbackServer", self._server).serve_forever, poll_interval=0.05)
        threading.Thread(target=serve, name="receiver", daemon=True).start()
        return self

    def stop(self) -> None:
        """End every connection and the work; what is unfinished goes on at the next start."""
        self.stopping.set()
        if self._server is None or self._service is None:
            return
        server, self._server = self._server, None
        server.shutdown()
        server.close_connections(_STOP_S)
        self._service.jobs.stop(_STOP_S)
        self._service.labels.close()
        server.server_close()
        self._release()

    def serve_forever(self) -> None:
        """Serve until another thread stops it or an exception such as KeyboardInterrupt comes."""
        if self._server is None:
            self.start()
        try:
            self.stopping.wait()
        finally:
            self.stop()

    def __enter__(self) -> Receiver:  # noqa: PYI034 - Self is younger than Python 3.10
        """Start."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    @property
    def origin(self) -> str:
        """Where it listens, such as ``http://127.0.0.1:8080``; the index page is there.

        Raises:
            InputError: It was not started.
        """
        return self._running.origin

    @property
    def url(self) -> str:
        """The endpoint for a Nucleus client.

        Raises:
            InputError: It was not started.
        """
        return f"{self.origin}/v1/nucleus"

    @property
    def requests(self) -> list[RequestRecord]:
        """The latest requests, oldest first."""
        return list(self._records)

    @property
    def fault_counts(self) -> dict[str, int]:
        """How often each fault struck."""
        return self.injector.counts

    def scenes(self, dataset_id: str) -> list[Mapping[str, Any]]:
        """Return the payloads of a dataset's scenes, oldest first.

        Raises:
            InputError: There is no such dataset, or the receiver was not started.
        """
        store = self._running.store
        if dataset_id not in {dataset.dataset_id for dataset in store.datasets()}:
            raise InputError(f"there is no dataset {dataset_id!r}")
        found = [store.find_scene(dataset_id, entry.reference_id) for entry in store.entries(dataset_id)]
        return [scene.payload for scene in found if scene is not None]

    def revoke(self, key: str) -> None:
        """Refuse an API key from now on.

        Raises:
            InputError: The receiver was not started.
        """
        self._running.access.revoke(key)

    def finish_task(self, task: str, **responses: object) -> None:
        """Complete an annotation task, as the service's people would, with what it answers.

        ``annotations`` is a list of ``{"cuboids": [...]}``, one a frame, or the bytes of an annotated ``.sfs`` file;
        ``point_segmentations`` is ``{"objects": [...], "point_objects": [...]}``. The conventions are the service's:
        ``ground_truth`` in this package has them. A file in ``DIR/responses/<task id>/``, such as
        ``annotations.json``, does the same from outside.

        Args:
            task: Its id or its ``unique_id``.
            responses: What it answers, by name; the content as bytes, or what is to be written as JSON.

        Raises:
            InputError: There is no such task, it does not answer such things, or the receiver was not started.
        """
        names: dict[str, ResponseName] = {name: name for name in RESPONSE_NAMES}
        unknown = sorted(set(responses) - set(names))
        if unknown or not responses:
            raise InputError(f"a task answers {' and '.join(RESPONSE_NAMES)}, not {', '.join(unknown) or 'nothing'}")
        self._running.tasks.finish(task, {names[name]: content for name, content in responses.items()})

    def fail_task(self, task: str, reason: str) -> None:
        """End an annotation task, named by its id or its ``unique_id``, in an error.

        Raises:
            InputError: There is no such task, or the receiver was not started.
        """
        self._running.tasks.fail(task, reason)

    def answer(self, request: Request) -> Response:
        """Work on a request; the server's side of this class."""
        return dispatch(self._running, request)

    def record(self, method: str, path: str, status: int) -> None:
        """Take note of a request; the server's side of this class."""
        self._records.append(RequestRecord(method, path, status))

    @property
    def _running(self) -> Service:
        if self._service is None:
            raise InputError("the receiver was not started; call start() or use it in a with statement")
        return self._service

    def _take_folder(self) -> None:
        self._lock = durable.lock_file(self.directory / "lock")
        if self._lock is None:
            raise InputError(f"{self.directory}: another receiver is serving it; stop that one or serve another folder")

    def _bind(self) -> str:
        try:
            self._server = LoopbackServer(self._port, self)
        except (OSError, OverflowError) as error:
            message = f"port {self._port} cannot be used ({error}); choose another one, or 0 for any free one"
            raise InputError(message) from None
        return f"http://{HOST}:{self._server.server_port}"

    def _open(self, origin: str) -> Service:
        reader = ItemReader(self._resolvers, self.limits.max_item_bytes)
        signing_key = load_signing_key(self.directory / "signing_key")
        store = Store(self.directory)
        intake = SceneIntake(store, reader, self._rules, self.stopping)

        def result_root(task_id: str) -> str:
            return f"{origin}/v1/task/{task_id}/response_url" if self._secure_results else f"{origin}/results/{task_id}"

        def work(job: Job, report: Callable[[Job], None]) -> Job:
            return (intake if job.kind in (SCENES, ITEMS) else label_intake).run(job, report)

        tasks = TaskBook(self.directory, TaskRules(reader, self._rules), signing_key, result_root)
        jobs = JobBoard(self.directory, self._pace, work, self.stopping, self._job_ends)
        labels = LabelStore(self.directory)  # the last to be opened, so that it need not be closed when others fail
        label_intake = LabelIntake(store, labels, self._rules, self.stopping)
        return Service(
            origin=origin,
            store=store,
            labels=labels,
            intake=intake,
            label_intake=label_intake,
            jobs=jobs,
            tasks=tasks,
            access=Access(signing_key, url_expires_s=self._url_expires_s, **self._keys),
            reader=reader,
            rules=self._rules,
            review_page=self._review_page,
        )

    def _abandon(self) -> None:
        if self._server is not None:
            self._server.server_close()
            self._server = None
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
