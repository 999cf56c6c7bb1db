# SPDX-License-Identifier: Apache-2.0
"""Threads that share work and never keep the process from ending."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")


class DaemonPool:
    """Like ThreadPoolExecutor, but a thread that hangs in a transfer does not hold up the end of the program.

    Its threads start with the first work that is handed in: one that never gets any leaves nothing behind.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._names = [f"{name}-{number}" for number in range(threads)]
        self._threads: list[threading.Thread] = []
        self._starting = threading.Lock()

    def submit(self, work: Callable[[], Result]) -> Future[Result]:
        """Have some work done."""
        with self._starting:
            while len(self._threads) < len(self._names):
                thread = threading.Thread(target=self._work, name=self._names[len(self._threads)], daemon=True)
                thread.start()
                self._threads.append(thread)
        future: Future[Result] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
                future.set_exception(error)

        self._tasks.put(run)
        return future

    def close(self) -> None:
        """Let the threads end after the work that was handed in."""
        for _ in self._names:
            self._tasks.put(None)

    def join(self, timeout_s: float) -> bool:
        """Wait for the threads to end, so long for all of them; returns whether all did."""
        end = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            task()
