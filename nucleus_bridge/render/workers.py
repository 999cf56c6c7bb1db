# SPDX-License-Identifier: Apache-2.0
"""Where frames are rendered: in this process, or in a few others that read the sensors' bytes from shared memory."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

Result = TypeVar("Result")

CALLS_AHEAD = 6
"""As many calls wait for each other process before this one carries one out itself: to read on, carry one out and seal
a scene takes less time than that process needs for so many."""

_KEPT_BYTES = 31 << 20
_LEFT_TO_PARENT = (signal.SIGINT, signal.SIGTERM)  # a service manager sends them to every process of a service


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


class SharedMemoryExecutor(Executor):
    """A process pool whose calls carry arrays in shared memory instead of through a pipe.

    The memory is anonymous: it is gone with the processes, however they end. What a call returns must not refer to
    its arguments.
    """

    def __init__(self, workers: int, start_method: str = "spawn") -> None:
        """Start the processes: forked ones at once, before there is a thread or a lock to inherit, else when needed."""
        context = multiprocessing.get_context(start_method)
        self._pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
        self._idle: list[_Arena] = []
        if start_method == "fork":
            before = signal.pthread_sigmask(signal.SIG_BLOCK, _LEFT_TO_PARENT)
            self._pool.submit(os.getpid)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:  # noqa: ANN401
        """Run the call in another process."""
        buffers: list[pickle.PickleBuffer] = []
        call = pickle.dumps((fn, args, kwargs), protocol=5, buffer_callback=buffers.append)
        arena = self._idle.pop() if self._idle else _Arena()
        spans = arena.fill([buffer.raw() for buffer in buffers])
        future = self._pool.submit(_call, arena.path, arena.size, spans, call)
        future.add_done_callback(partial(self._recycle, arena))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as its base
        """End the processes and give the memory back."""
        self._pool.shutdown(wait, cancel_futures=cancel_futures)
        while self._idle:
            self._idle.pop().close()

    def _recycle(self, arena: _Arena, _done: Future[Any]) -> None:
        self._idle.append(arena)


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


class _Arena:
    """A piece of memory that other processes of this user can map."""

    def __init__(self) -> None:
        self._descriptor = os.memfd_create("nucleus_bridge")
        self._map: mmap.mmap | None = None
        self.size = 0
        self.path = f"/proc/{os.getpid()}/fd/{self._descriptor}"

    def fill(self, buffers: list[memoryview]) -> list[tuple[int, int]]:
        """Copy buffers in, one behind the other, and return where they lie."""
        spans, end = [], 0
        for buffer in buffers:
            start = (end + 63) & ~63
            end = start + buffer.nbytes
            spans.append((start, end))
        if end > self.size:
            self._grow(end)
        if self._map is not None:
            for buffer, (start, stop) in zip(buffers, spans, strict=True):
                self._map[start:stop] = buffer
        return spans

    def close(self) -> None:
        """Give the memory back."""
        if self._map is not None:
            self._map.close()
        os.close(self._descriptor)

    def _grow(self, size: int) -> None:
        if self._map is not None:
            self._map.close()
        self.size = size + size // 4
        os.ftruncate(self._descriptor, self.size)
        self._map = mmap.mmap(self._descriptor, self.size)


def executor_for(workers: int) -> Executor:
    """Return an executor: this process for one worker, that many processes for more."""
    keep_freed_memory()
    if workers <= 1:
        return InlineExecutor()
    return processes(workers)


def crew_for(workers: int) -> Executor:
    """Return an executor for a process that has nothing else to do: it is one of the workers itself."""
    if workers <= 1:
        return executor_for(workers)
    keep_freed_memory()
    others = processes(workers - 1, "fork" if _has_one_thread() else "spawn")
    return CrewExecutor(others, CALLS_AHEAD * (workers - 1))


def processes(workers: int, start_method: str = "spawn") -> Executor:
    """Return an executor of worker processes."""
    if hasattr(os, "memfd_create"):
        return SharedMemoryExecutor(workers, start_method)
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker)


def _has_one_thread() -> bool:
    """Whether forking is safe: what another thread holds, a lock or half a change, would stay so in the child."""
    try:
        return len(list(Path("/proc/self/task").iterdir())) == 1
    except OSError:
        return False


_mapped: dict[str, mmap.mmap] = {}


def _call(path: str, size: int, spans: list[tuple[int, int]], call: bytes) -> Any:  # noqa: ANN401
    """Carry out a call in a worker."""
    view = memoryview(_map(path, size)) if size else memoryview(b"")
    function, args, kwargs = pickle.loads(call, buffers=[view[start:stop] for start, stop in spans])  # noqa: S301 - from our own parent
    return function(*args, **kwargs)


def _map(path: str, size: int) -> mmap.mmap:
    mapped = _mapped.get(path)
    if mapped is None or len(mapped) != size:
        descriptor = os.open(path, os.O_RDWR)
        try:
            mapped = _mapped[path] = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
    return mapped


def keep_freed_memory() -> None:
    """Let the memory of one frame serve the next, instead of being returned to the system and fetched page by page.

    The C library of GNU raises its limits, for what it gets by itself and for what it keeps, to the largest block that
    was given back (mallopt(3), M_MMAP_THRESHOLD); elsewhere this does nothing.
    """
    np.empty(_KEPT_BYTES, np.uint8)


def _start_worker() -> None:
    keep_freed_memory()
    follow_parent()


def follow_parent() -> None:
    """Leave signals to the parent, which lets the workers finish their frames, and end when it is gone."""
    for number in _LEFT_TO_PARENT:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
