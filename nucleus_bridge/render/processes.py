# SPDX-License-Identifier: Apache-2.0
"""Worker processes that read the arrays of their calls from shared memory, driven without a thread."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import BrokenExecutor, Executor, Future
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.util import Finalize
from typing import Any, TypeVar

from nucleus_bridge.memory import keep_freed_memory

Result = TypeVar("Result")

_LEFT_TO_PARENT = (signal.SIGINT, signal.SIGTERM)  # a service manager sends them to every process of a service


class SharedMemoryExecutor(Executor):
    """A process pool whose calls carry arrays in shared memory instead of through a pipe.

    It has no thread that would take turns with the one that uses it: answers are taken when a call is handed over or
    a future is asked, so only one thread may use it at a time. A process carries out its calls in order.
    The memory is anonymous: it is gone with the processes, however they end.
    """

    def __init__(self, workers: int, start_method: str = "spawn") -> None:
        """Start the processes; forked ones before there is a thread or a lock to inherit."""
        context = multiprocessing.get_context(start_method)
        self._workers: list[_Worker] = []
        for _ in range(workers):
            self._workers.append(_Worker(context, self._workers))

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:  # noqa: ANN401
        """Hand the call to the process that has the fewest."""
        for worker in self._workers:
            worker.take_answers()
        return min(self._workers, key=lambda worker: worker.calls).hand_over(fn, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as its base
        """End the processes and give the memory back; without ``wait`` what they are at is given up, too."""
        for worker in self._workers:
            if wait and not cancel_futures:
                worker.finish()
            worker.end()


class _Worker:
    """Another process, and the calls that it has not answered yet."""

    def __init__(self, context: BaseContext, earlier: Iterable[_Worker]) -> None:
        self._pipe, theirs = context.Pipe()
        # A forked process inherits this one's ends, and would keep itself and the earlier ones from seeing them closed.
        inherited = [self._pipe, *(worker._pipe for worker in earlier)]  # noqa: SLF001 - its own class
        is_forked = context.get_start_method() == "fork"
        arguments = (theirs, inherited if is_forked else [])
        self._process = context.Process(target=_work, args=arguments, daemon=True)  # type: ignore[attr-defined]
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _LEFT_TO_PARENT)
        self._process.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        # Should nobody shut it down, the interpreter would wait for it and never end.
        self._at_exit = Finalize(self, self._pipe.close, exitpriority=0)
        self._open: deque[tuple[_Answer, _Arena]] = deque()
        self._idle: list[_Arena] = []

    @property
    def calls(self) -> int:
        """How many calls are not answered."""
        return len(self._open)

    def hand_over(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        buffers: list[pickle.PickleBuffer] = []
        call = pickle.dumps((fn, args, kwargs), protocol=5, buffer_callback=buffers.append)
        arena = self._idle.pop() if self._idle else _Arena()
        spans = arena.fill([memoryview(call), *(buffer.raw() for buffer in buffers)])
        answer = _Answer(self)
        answer.set_running_or_notify_cancel()
        self._open.append((answer, arena))
        try:
            self._pipe.send((arena.path, arena.size, spans))
        except OSError:
            self.end()
        except BaseException:
            self.end()
            raise
        return answer

    def take_answers(self, within_s: float | None = 0.0) -> None:
        """Give the answers that are there to their futures; wait so long for the first, None without an end."""
        while self._open and self._pipe.poll(within_s):
            within_s = 0.0
            try:
                answer, arena = self._open[0]
                answer.give(self._pipe.recv_bytes())
                self._idle.append(arena)
                self._open.popleft()
            except (EOFError, OSError):
                self.end()
            except BaseException:  # an interrupt: half an answer may have been read
                self.end()
                raise

    def finish(self) -> None:
        """Wait for every answer."""
        while self._open:
            self.take_answers(None)

    def end(self) -> None:
        """End the process, at once if it owes answers; those who wait for them are told."""
        if self._open:
            self._process.kill()
        self._at_exit()
        self._process.join()
        while self._open:
            answer, arena = self._open.popleft()
            if not answer.is_given:
                answer.set_exception(BrokenExecutor("a worker process ended unexpectedly"))
            self._idle.append(arena)
        while self._idle:
            self._idle.pop().close()


class _Answer(Future[Any]):
    """What a call in another process will return; looks for it when asked."""

    def __init__(self, worker: _Worker) -> None:
        super().__init__()
        self._worker = worker

    @property
    def is_given(self) -> bool:
        """Whether it has come."""
        return super().done()

    def give(self, packed: bytes) -> None:
        """Take what the other process sent."""
        try:
            result, error, trace = pickle.loads(packed)  # noqa: S301 - from our own child
        except Exception as unreadable:  # noqa: BLE001 - handed to whoever asks for the result
            result, error, trace = None, unreadable, ""
        if error is None:
            self.set_result(result)
        else:
            error.__cause__ = error.__cause__ or _InWorker(trace)
            self.set_exception(error)

    def done(self) -> bool:
        """Whether the call has ended."""
        if not self.is_given:
            self._worker.take_answers()
        return self.is_given

    def result(self, timeout: float | None = None) -> Any:  # noqa: ANN401
        """Wait for the call and return its result or raise its error."""
        self._wait(timeout)
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the call and return its error."""
        self._wait(timeout)
        return super().exception(0)

    def _wait(self, timeout: float | None) -> None:
        end = None if timeout is None else time.monotonic() + timeout
        while not self.is_given:
            left = None if end is None else end - time.monotonic()
            if left is not None and left < 0.0:
                return
            self._worker.take_answers(left)


class _InWorker(Exception):  # noqa: N818 - tells where another error happened
    """The traceback of an error in another process."""

    def __str__(self) -> str:
        return "\n" + str(self.args[0])


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
        if self._map is None or end > self.size:
            self._map = self._grown(end)
        for buffer, (start, stop) in zip(buffers, spans, strict=True):
            self._map[start:stop] = buffer
        return spans

    def close(self) -> None:
        """Give the memory back."""
        if self._map is not None:
            self._map.close()
        os.close(self._descriptor)

    def _grown(self, size: int) -> mmap.mmap:
        if self._map is not None:
            self._map.close()
        self.size = size + size // 4
        os.ftruncate(self._descriptor, self.size)
        return mmap.mmap(self._descriptor, self.size)


_mapped: dict[str, mmap.mmap] = {}


def _work(pipe: Connection, inherited: Iterable[Connection]) -> None:
    """Carry out calls until the parent closes its end."""
    for end in inherited:
        end.close()
    keep_freed_memory()
    follow_parent()
    while True:
        try:
            path, size, spans = pipe.recv()
            pipe.send_bytes(_carry_out(path, size, spans))
        except (EOFError, OSError):
            return


def _carry_out(path: str, size: int, spans: list[tuple[int, int]]) -> bytes:
    try:
        view = memoryview(_map(path, size))
        call, *buffers = (view[start:stop] for start, stop in spans)
        function, args, kwargs = pickle.loads(call, buffers=buffers)  # noqa: S301 - from our own parent
        return pickle.dumps((function(*args, **kwargs), None, ""))
    except Exception as error:  # noqa: BLE001 - handed to whoever asks for the result
        try:
            return pickle.dumps((None, error, traceback.format_exc()))
        except Exception:  # noqa: BLE001 - one that cannot be sent
            return pickle.dumps((None, RuntimeError(repr(error)), traceback.format_exc()))


def _map(path: str, size: int) -> mmap.mmap:
    mapped = _mapped.get(path)
    if mapped is None or len(mapped) != size:
        descriptor = os.open(path, os.O_RDWR)
        try:
            mapped = _mapped[path] = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
    return mapped


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
