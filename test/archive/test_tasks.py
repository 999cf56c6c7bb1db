# SPDX-License-Identifier: Apache-2.0
"""Tasks on real worker processes, some of which die."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from archives import Archive, tree
from dying_tasks import answer, worker_number

from nucleus_bridge.archive.executors import local_processes
from nucleus_bridge.archive.tasks import Task, TaskRunner, WorkerDiedError
from nucleus_bridge.convert import convert_bag


def outcomes(arguments: list[str], workers: int) -> dict[str, Any]:
    runner = TaskRunner(local_processes(workers))
    for argument in arguments:
        runner.add(Task(answer, argument, argument))
    return {task.owner: outcome for task, outcome in runner.results()}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_task_that_kills_its_worker_is_tried_again_and_takes_no_other_with_it(tmp_path: Path, workers: int) -> None:
    marker = f"once:{tmp_path / 'marker'}"
    arguments = ["a", "b", marker, "c", "always", "d", "e"]
    found = outcomes(arguments, workers)
    assert isinstance(found.pop("always"), WorkerDiedError)
    assert found == {argument: argument for argument in arguments if argument != "always"}


def test_a_worker_that_dies_idle_is_replaced() -> None:
    runner = TaskRunner(local_processes(1))
    runner.add(Task(worker_number, None, "first"))
    found = {}
    for task, outcome in runner.results():
        found[task.owner] = outcome
        if task.owner == "first":
            os.kill(outcome, signal.SIGKILL)
            wait_for_the_end(outcome)
            runner.add(Task(worker_number, None, "second"))
    assert found["second"] not in (found["first"], os.getpid())


def wait_for_the_end(process: int) -> None:
    deadline = time.monotonic() + 60
    while Path(f"/proc/{process}").exists() and "(zombie)" not in Path(f"/proc/{process}/status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_many_at_once_convert_one_recording_into_one_spool(archive: Archive, tmp_path: Path) -> None:
    bag, spool = archive.bags[0], tmp_path / "spool"
    with ThreadPoolExecutor(6) as threads:
        reports = list(threads.map(lambda _: convert_bag(bag, archive.config, spool), range(12)))
    assert sum(not scene.existed for report in reports for scene in report.scenes) == 1
    convert_bag(bag, archive.config, tmp_path / "alone")
    assert tree(spool / "scenes") == tree(tmp_path / "alone" / "scenes")
    assert list((spool / "open").iterdir()) == []
