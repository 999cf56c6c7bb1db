# SPDX-License-Identifier: Apache-2.0
"""Calls in other processes: what they are given, what comes back, and what is said of a process that dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from concurrent.futures import TimeoutError as NotInTime
from pathlib import Path

import numpy as np
import pytest
from waiting import WAIT_S, wait_for

from nucleus_bridge.render.processes import SharedMemoryExecutor
from nucleus_bridge.spool import durable


class _Untold(Exception):  # noqa: N818 - an error that cannot be sent to another process
    def __init__(self) -> None:
        super().__init__("of the lock")
        self.lock = open(os.devnull)  # noqa: SIM115, PTH123


def raise_untold() -> None:
    raise _Untold


def add(array: np.ndarray, number: int) -> np.ndarray:
    return array + number


@pytest.fixture(params=["spawn", "fork"])
def executor(request: pytest.FixtureRequest) -> Iterator[SharedMemoryExecutor]:
    with SharedMemoryExecutor(2, request.param) as executor:
        yield executor


def test_arrays_arrive_whole_in_order_whatever_their_size(executor: SharedMemoryExecutor) -> None:
    arrays = [np.arange(size, dtype=np.float32) for size in (0, 1, 100_000, 3, 1_000_000, 70_000)] * 3
    futures = [executor.submit(add, array, number) for number, array in enumerate(arrays)]
    for number, (array, future) in enumerate(zip(arrays, futures, strict=True)):
        np.testing.assert_array_equal(future.result(), array + number)


def test_both_processes_are_used_and_one_call_waits_for_the_other_of_its_process(
    executor: SharedMemoryExecutor, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    futures = [executor.submit(wait_for, go) for _ in range(4)]
    assert not any(future.done() for future in futures)
    assert futures[0].running()
    with pytest.raises(NotInTime):
        futures[0].result(0.01)
    go.touch()
    processes = [future.result() for future in futures]
    assert processes[0] == processes[2] != processes[1] == processes[3]
    assert os.getpid() not in processes


def test_an_error_comes_with_its_class_text_and_the_place_it_happened(executor: SharedMemoryExecutor) -> None:
    future = executor.submit(durable.sync_file, Path("/nowhere/at.all"))
    with pytest.raises(FileNotFoundError) as caught:
        future.result()
    assert caught.value.filename == "/nowhere/at.all"
    assert "in sync_file" in str(caught.value.__cause__)
    assert executor.submit(os.getpid).exception() is None


def test_an_error_that_cannot_be_sent_is_told_in_words(executor: SharedMemoryExecutor) -> None:
    with pytest.raises(RuntimeError, match="of the lock"):
        executor.submit(raise_untold).result()


def test_all_calls_of_a_process_that_dies_end_and_no_new_one_waits(
    executor: SharedMemoryExecutor, tmp_path: Path
) -> None:
    doomed = executor.submit(os.getpid).result()
    futures = [executor.submit(wait_for, tmp_path / "never") for _ in range(2)]
    os.kill(doomed, signal.SIGKILL)
    with pytest.raises(BrokenExecutor, match="ended unexpectedly"):
        futures[0].result(WAIT_S)
    with pytest.raises(BrokenExecutor):
        executor.submit(os.getpid).result(WAIT_S)
    (tmp_path / "never").touch()
    assert futures[1].result(WAIT_S) != doomed


def test_shutting_down_waits_for_the_answers_unless_told_otherwise(tmp_path: Path) -> None:
    executor = SharedMemoryExecutor(1, "fork")
    future = executor.submit(add, np.ones(1), 1)
    executor.shutdown()
    assert future.result() == 2
    executor = SharedMemoryExecutor(1, "fork")
    future = executor.submit(wait_for, tmp_path / "never")
    executor.shutdown(cancel_futures=True)
    with pytest.raises(BrokenExecutor):
        future.result()


def test_an_interrupt_while_waiting_ends_the_processes_and_every_wait(tmp_path: Path) -> None:
    program = f"""
import os, signal, sys, threading
from pathlib import Path
sys.path[:0] = {sys.path!r}
from nucleus_bridge.render.processes import SharedMemoryExecutor
from waiting import wait_for
executor = SharedMemoryExecutor(1, "fork")
process = executor.submit(os.getpid).result()
future = executor.submit(wait_for, Path({str(tmp_path / "never")!r}))
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    future.result()
except KeyboardInterrupt:
    executor.shutdown(cancel_futures=True)
print(process, type(future.exception()).__name__)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    ended = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=WAIT_S, env=environment
    )
    process, error = ended.stdout.split()
    assert error == "BrokenExecutor"
    assert not Path(f"/proc/{process}").exists()


@pytest.mark.parametrize("ending", ["pass", "sys.exit(3)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_no_process_outlives_its_parent_and_none_keeps_it_from_ending(ending: str) -> None:
    program = f"""
import os, signal, sys
from nucleus_bridge.render.processes import SharedMemoryExecutor
if __name__ == "__main__":
    executor = SharedMemoryExecutor(2, "spawn")
    print(*[future.result() for future in [executor.submit(os.getpid) for _ in range(2)]], flush=True)
    {ending}
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=WAIT_S, check=False)
    processes = ended.stdout.split()
    assert len(set(processes)) == 2
    end = time.monotonic() + WAIT_S
    while any(_is_alive(process) for process in processes):
        assert time.monotonic() < end
        time.sleep(0.01)


def _is_alive(process: str) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
