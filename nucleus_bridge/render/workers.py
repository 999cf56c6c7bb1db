# SPDX-License-Identifier: Apache-2.0
"""Who renders frames: this process, a few others, or both."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from nucleus_bridge.memory import keep_freed_memory
from nucleus_bridge.render.processes import SharedMemoryExecutor, follow_parent

Result = TypeVar("Result")

CALLS_AHEAD = 4
"""Calls that wait for each other process before this process runs one itself, which takes less time than the other
process needs for its queue."""


class InlineExecutor(Executor):
    """Runs each call at once, in this process."""

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:  # noqa: ANN401
        """Run the call and return its finished future."""
        future: Future[Result] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - handed to whoever asks for the result
            future.set_exception(error)
        return future


class CrewExecutor(Executor):
    """This process and others: a call is carried out here, at once, while the others have enough to do."""

    def __init__(self, others: Executor, most: int) -> None:
        """Take the executor of the others, and how many calls it is given before one of them is done."""
        self._others = others
        self._most = most
        self._own = InlineExecutor()
        self._given: list[Future[Any]] = []

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:  # noqa: ANN401
        """Hand the call over, or carry it out."""
        self._given = [future for future in self._given if not future.done()]
        if len(self._given) >= self._most:
            return self._own.submit(fn, *args, **kwargs)
        future = self._others.submit(fn, *args, **kwargs)
        self._given.append(future)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as its base
        """End the others."""
        self._others.shutdown(wait, cancel_futures=cancel_futures)


def executor_for(workers: int) -> Executor:
    """Return an executor: this process for one worker, that many processes for more."""
    keep_freed_memory()
    return InlineExecutor() if workers <= 1 else _processes(workers, "spawn")


def crew_for(workers: int) -> Executor:
    """Return an executor for a process that has nothing else to do: it is one of the workers itself."""
    keep_freed_memory()
    if workers <= 1:
        return InlineExecutor()
    return CrewExecutor(_processes(workers - 1, _quickest_start()), CALLS_AHEAD * (workers - 1))


def attendant_for(workers: int) -> Executor:
    """Return an executor for what is mostly waiting: this process for one worker, one of its own for more."""
    return InlineExecutor() if workers <= 1 else _processes(1, _quickest_start())


def _processes(count: int, start_method: str) -> Executor:
    if hasattr(os, "memfd_create"):
        return SharedMemoryExecutor(count, start_method)
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(count, mp_context=context, initializer=follow_parent)


def _quickest_start() -> str:
    """Fork while that is safe: what another thread holds, a lock or half a change, would stay so in the child."""
    try:
        has_one_thread = len(list(Path("/proc/self/task").iterdir())) == 1
    except OSError:
        has_one_thread = False
    return "fork" if has_one_thread else "spawn"
