# SPDX-License-Identifier: Apache-2.0
"""Hand tasks to an executor, and again to a new one when a worker process died."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from dataclasses import dataclass, field
from typing import Any

from nucleus_bridge.archive.executors import Workplace
from nucleus_bridge.errors import BridgeError

MAX_DEATHS = 2


class WorkerDiedError(BridgeError):
    """The processes that carried out a task died."""


@dataclass(eq=False)
class Task:
    """A call that is carried out elsewhere.

    Attributes:
        function: What is called; must be importable.
        argument: Its only argument.
        owner: For whoever takes the result.
        deaths: Worker processes that died over it.
    """

    function: Callable[[Any], Any]
    argument: Any
    owner: Any
    deaths: int = field(default=0)


class TaskRunner:
    """Carries out tasks; more may be added while results come in.

    When a worker process dies, every task that was under way may have been the cause. Each of them is tried once more,
    alone, which tells for certain.
    """

    def __init__(self, workplace: Workplace) -> None:
        self._workplace = workplace
        self._waiting: deque[Task] = deque()
        self._suspects: deque[Task] = deque()
        self._flying: dict[Future[Any], Task] = {}
        self._executor: Executor | None = None

    def add(self, task: Task, *, first: bool = False) -> None:
        """Add a task, at the front of the line if asked for."""
        if first:
            self._waiting.appendleft(task)
        else:
            self._waiting.append(task)

    def results(self) -> Iterator[tuple[Task, Any]]:
        """Yield each task with its result, or with the exception that it ended with, as they are done."""
        try:
            while self._waiting or self._suspects or self._flying:
                self._submit()
                done, _ = wait(self._flying, return_when=FIRST_COMPLETED)
                if any(isinstance(_outcome(future), BrokenExecutor) for future in done):
                    wait(self._flying)
                    yield from self._after_a_death()
                    continue
                for future in done:
                    yield self._flying.pop(future), _outcome(future)
        finally:
            self._close()

    def _submit(self) -> None:
        executor = self._executor = self._executor or self._workplace.start()
        alone = any(task.deaths for task in self._flying.values())
        at_once = 1 if self._suspects else self._workplace.at_once
        line = self._suspects or self._waiting
        try:
            while line and not alone and len(self._flying) < at_once:
                self._flying[executor.submit(line[0].function, line[0].argument)] = line[0]
                line.popleft()
        except BrokenExecutor:  # a worker died while it had nothing to do
            if not self._flying:
                self._end_executor()

    def _after_a_death(self) -> Iterator[tuple[Task, Any]]:
        """Sort out what was under way."""
        flying, self._flying = self._flying, {}
        self._end_executor()
        for future, task in flying.items():
            outcome = _outcome(future)
            if not isinstance(outcome, BrokenExecutor):
                yield task, outcome
                continue
            task.deaths += 1
            if task.deaths < MAX_DEATHS:
                self._suspects.append(task)
            else:
                yield task, WorkerDiedError("its worker process died twice, perhaps for lack of memory")

    def _end_executor(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=False)
            self._executor = None

    def _close(self) -> None:
        """End everything; what is under way only where it was interrupted."""
        for future in self._flying:
            future.cancel()
        if self._flying:
            self._workplace.stop()
        if self._executor is not None:
            self._executor.shutdown(wait=True)


def _outcome(future: Future[Any]) -> Any:  # noqa: ANN401 - whatever the task returns
    try:
        error = future.exception()
    except CancelledError:
        return WorkerDiedError("the cluster gave it up")
    if error is None:
        return future.result()
    if type(error).__name__ == "KilledWorker":  # of distributed, an extra
        return WorkerDiedError("the workers of the cluster that took it died, perhaps for lack of memory")
    return error
