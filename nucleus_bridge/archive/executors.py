# SPDX-License-Identifier: Apache-2.0
"""Where the work of an archive is done: processes of this machine, or a Dask cluster."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from multiprocessing.synchronize import Event
from typing import Any

from nucleus_bridge.errors import ConfigError, StoppedError
from nucleus_bridge.render.processes import follow_parent

CLUSTER_AT_ONCE = 1000
CLUSTER_TIMEOUT_S = 30


@dataclass(frozen=True)
class Workplace:
    """Where tasks are carried out.

    Attributes:
        start: Gives an executor; called again when one broke.
        at_once: Tasks that are given to it before one is done.
        stop: Tells running tasks to end, where they can be told.
    """

    start: Callable[[], Executor]
    at_once: int
    stop: Callable[[], None] = lambda: None


def local_processes(workers: int) -> Workplace:
    """Return a workplace of processes on this machine: what ends one of them leaves the others alone."""
    context = multiprocessing.get_context("spawn")
    stop = context.Event()

    def start() -> Executor:
        return ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(stop,))

    return Workplace(start, workers, stop.set)


@contextmanager
def dask_cluster(address: str) -> Iterator[Workplace]:
    """Connect to a Dask scheduler, which gives the work of a lost worker to another one by itself.

    Raises:
        ConfigError: It cannot be reached, or the package distributed is not installed.
    """
    try:
        distributed: Any = import_module("distributed")
    except ImportError:
        message = "--cluster needs distributed, which is not installed: pip install 'nucleus-bridge[cluster]'"
        raise ConfigError(message) from None
    try:
        import_module("distributed.comm").resolve_address(address)  # a client that cannot begin complains as it goes
        client = distributed.Client(address, timeout=CLUSTER_TIMEOUT_S, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise ConfigError(f"--cluster {address}: no Dask scheduler can be reached there ({lines[0]})") from None
    try:
        yield Workplace(partial(client.get_executor, pure=False), CLUSTER_AT_ONCE)
    finally:
        client.close()


_stop: Event | None = None


def _begin(stop: Event) -> None:
    global _stop  # noqa: PLW0603 - what a worker process is told once
    _stop = stop
    follow_parent()


def check_stop() -> None:
    """End the task at hand when it is time to stop.

    Raises:
        StoppedError: It is.
    """
    if _stop is not None and _stop.is_set():
        raise StoppedError("interrupted")
