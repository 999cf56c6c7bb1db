# SPDX-License-Identifier: Apache-2.0
"""An archive of 40 recordings, two of them damaged: by processes, by a Dask cluster that loses a worker, again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from archives import Archive, Run, identities, tree
from store_servers import free_port

from nucleus_bridge.convert import convert_bag
from nucleus_bridge.errors import BridgeError

WAIT_S = 120.0


@pytest.fixture(scope="module")
def expected(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive as a plain loop in one process converts it."""
    spool = tmp_path_factory.mktemp("expected") / "spool"
    for bag in archive.bags:
        if bag == archive.rubbish:
            with pytest.raises(BridgeError):
                convert_bag(bag, archive.config, spool)
        else:
            convert_bag(bag, archive.config, spool)
    return spool


def check_first_run(run: Run, archive: Archive, spool: Path, expected: Path) -> None:
    assert run.status == 1
    assert run.counts == {"done": 39, "failed": 1}
    (error,) = run.document["errors"]
    assert (error["bag"], "neither mcap nor sqlite3" in error["error"]) == (str(archive.rubbish), True)
    damaged = [bag["bag"] for bag in run.document["bags"] if bag["damage"]]
    assert damaged == [str(archive.cut)]
    assert tree(spool / "scenes") == tree(expected / "scenes")
    assert tree(spool / "conversions") == tree(expected / "conversions")
    assert list((spool / "open").iterdir()) == []


def check_second_run(run: Run, before: dict[str, tuple[int, int]], spool: Path) -> None:
    assert run.status == 1
    assert run.counts == {"skipped": 39, "failed": 1}
    assert len([bag for bag in run.document["bags"] if bag["damage"]]) == 1
    assert identities(spool / "scenes") == before


def test_processes_make_the_same_bytes_as_a_loop_and_a_second_run_makes_nothing(
    archive: Archive, expected: Path, tmp_path: Path, convert: Callable[..., Run]
) -> None:
    spool = tmp_path / "spool"
    arguments = (archive.folder, "--config", archive.config, "--output", spool, "--workers", 2)
    check_first_run(convert(*arguments), archive, spool, expected)
    before = identities(spool / "scenes")
    check_second_run(convert(*arguments), before, spool)


@pytest.fixture
def dask_cluster(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A Dask scheduler and two workers, each a process that nothing starts again."""
    pytest.importorskip("distributed", reason="the extra 'cluster' is not installed")
    address = f"tcp://127.0.0.1:{free_port()}"
    dask = [sys.executable, "-m", "dask"]
    environment = {**os.environ, "DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION": "1.0"}
    scheduler = [*dask, "scheduler", "--host", "127.0.0.1", "--port", address.rpartition(":")[2], "--no-dashboard"]
    worker = [*dask, "worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1"]
    with (tmp_path / "cluster.log").open("wb") as log:
        processes = [
            subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
            for command in (scheduler, *([*worker, "--local-directory", str(tmp_path / f"dask{n}")] for n in (1, 2)))
        ]
        try:
            yield address, processes[1:]
        finally:
            for process in processes:
                process.kill()
                process.wait(30)


def test_a_cluster_that_loses_a_worker_loses_nothing(
    archive: Archive,
    expected: Path,
    tmp_path: Path,
    convert: Callable[..., Run],
    dask_cluster: tuple[str, list[subprocess.Popen[bytes]]],
) -> None:
    address, workers = dask_cluster
    spool = tmp_path / "spool"
    arguments = ("--config", archive.config, "--output", spool, "--cluster", address)
    command = [sys.executable, "-m", "nucleus_bridge", "convert", archive.folder, *arguments, "--json"]
    process = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for_scenes(process, spool, 5)
    workers[0].kill()
    left = len(archive.bags) - len(list((spool / "scenes").iterdir()))
    assert left > 1, "the worker was killed too late to tell anything"
    out, err = process.communicate(timeout=WAIT_S)
    check_first_run(Run(process.returncode, out, err), archive, spool, expected)
    before = identities(spool / "scenes")
    check_second_run(convert(archive.folder, *arguments), before, spool)


def wait_for_scenes(process: subprocess.Popen[str], spool: Path, count: int) -> None:
    deadline = time.monotonic() + WAIT_S
    while not (spool / "scenes").is_dir() or len(list((spool / "scenes").iterdir())) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def wait_for_the_end_of_session(leader: int) -> None:
    """Wait until no process of a session runs any more; who has ended but was not asked for it counts as ended."""
    deadline = time.monotonic() + WAIT_S
    while True:
        left = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                state, _, _, session = path.read_text().rpartition(")")[2].split()[:4]
                if int(session) == leader and state != "Z":
                    left.append(path)
        if not left:
            return
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_interrupted_it_ends_with_its_processes_and_goes_on_later(
    archive: Archive, expected: Path, tmp_path: Path, convert: Callable[..., Run]
) -> None:
    spool = tmp_path / "spool"
    arguments = [archive.folder, "--config", archive.config, "--output", spool, "--workers", "2"]
    command = [str(part) for part in (sys.executable, "-m", "nucleus_bridge", "convert", *arguments)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_for_scenes(process, spool, 3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 1
    assert "interrupted" in err
    assert "Traceback" not in err
    wait_for_the_end_of_session(process.pid)
    run = convert(*arguments)
    assert run.counts["failed"] == 1
    assert run.counts["skipped"] >= 1
    assert tree(spool / "scenes") == tree(expected / "scenes")


def test_a_copy_of_a_recording_is_converted_once(archive: Archive, tmp_path: Path, convert: Callable[..., Run]) -> None:
    for name in ("one", "two"):
        shutil.copytree(archive.bags[0], tmp_path / "drives" / name / archive.bags[0].name)
    run = convert(tmp_path / "drives", "--config", archive.config, "--output", tmp_path / "spool")
    assert (run.status, run.counts) == (0, {"done": 1, "skipped": 1})


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--cluster", "tcp://127.0.0.1:1"], "no Dask scheduler can be reached"),
        (["--cluster", "nonsense://x"], "no Dask scheduler can be reached"),
        (["--scratch", "/nowhere/at/all"], "no such folder"),
        (["--output", "s3://", "--workers", "2"], "names no bucket"),
        (["--output", "s3://bucket/x", "--force"], "never overwritten"),
    ],
)
def test_what_cannot_be_used_is_named(
    archive: Archive, tmp_path: Path, convert: Callable[..., Run], arguments: list[str], text: str
) -> None:
    pytest.importorskip("distributed", reason="the extra 'cluster' is not installed")
    pytest.importorskip("obstore", reason="the extra 'cloud' is not installed")
    given = ["--config", str(archive.config), "--output", str(tmp_path / "spool"), *arguments]
    run = convert(*archive.bags[:2], *given)
    assert run.status == 2, run.err
    assert text in run.err
    assert "Traceback" not in run.err
