# SPDX-License-Identifier: Apache-2.0
"""Frames rendered by this process and others: who gets a call, and what is said of one that dies."""

from __future__ import annotations

import filecmp
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from drives import Drive
from waiting import wait_for

from nucleus_bridge.config import load_config
from nucleus_bridge.convert import ConversionReport, Observer, convert_bag
from nucleus_bridge.errors import BridgeError, SceneExistsError
from nucleus_bridge.render.workers import CALLS_AHEAD, crew_for
from nucleus_bridge.spool import SealedScene
from nucleus_bridge.validate.scenes import validate_path


def test_a_call_is_carried_out_here_only_while_the_others_have_enough_to_do(tmp_path: Path) -> None:
    go = tmp_path / "go"
    with crew_for(2) as crew:
        handed = [crew.submit(wait_for, go) for _ in range(CALLS_AHEAD)]
        assert crew.submit(os.getpid).result() == os.getpid()
        go.touch()
        others = {call.result() for call in handed}
        assert len(others) == 1
        assert os.getpid() not in others
        assert crew.submit(os.getpid).result() in others


def test_one_worker_is_this_process() -> None:
    with crew_for(1) as crew:
        assert crew.submit(os.getpid).result() == os.getpid()


class _Killer(Observer):
    """Kills each process that this one has started."""

    def __init__(self) -> None:
        self.killed: set[int] = set()

    def progress(self, _done_ns: int, _total_ns: int) -> None:
        for child in multiprocessing.active_children():
            if child.pid is not None and child.pid not in self.killed:
                self.killed.add(child.pid)
                os.kill(child.pid, signal.SIGKILL)


def test_a_worker_that_is_killed_is_named_as_the_cause_and_no_scene_is_left(drive: Drive, tmp_path: Path) -> None:
    killer = _Killer()
    with pytest.raises(BridgeError, match="a worker process ended unexpectedly"):
        convert_bag(drive.bag, drive.config, tmp_path, workers=2, observer=killer)
    assert killer.killed
    assert list((tmp_path / "open").iterdir()) == list((tmp_path / "scenes").iterdir()) == []


COMMAND = """
import multiprocessing, sys
from nucleus_bridge.cli.main import main

asked_for, get_context = [], multiprocessing.get_context

def noting(method=None):
    asked_for.append(method)
    return get_context(method)

multiprocessing.get_context = noting
sys.exit(main(sys.argv[1:]) or "spawn" in asked_for or "fork" not in asked_for)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it cannot be told whether forking is safe")
def test_the_command_forks_its_workers_and_the_bytes_are_those_of_one_process(
    drive: Drive, converted: ConversionReport, tmp_path: Path
) -> None:
    arguments = ["convert", drive.bag, "--config", drive.config_path, "--output", tmp_path, "--workers", "2"]
    subprocess.run([sys.executable, "-c", COMMAND, *map(str, arguments)], check=True, timeout=120)
    one = converted.scenes[0].folder
    names = [str(path.relative_to(one)) for path in one.rglob("*") if path.is_file()]
    same, *_ = filecmp.cmpfiles(one, tmp_path / "scenes" / one.name, names, shallow=False)
    assert sorted(same) == sorted(names)


def test_a_scene_of_another_content_is_kept_and_told_of_also_when_sealing_goes_on_beside(
    drive: Drive, tmp_path: Path
) -> None:
    kept = convert_bag(drive.bag, drive.config, tmp_path, workers=2).scenes[0]
    with pytest.raises(SceneExistsError, match="--force"):
        convert_bag(drive.bag, load_config(drive.config_path, ["deskew=false"]), tmp_path, workers=2)
    assert validate_path(tmp_path)[0].ok
    assert SealedScene.read(kept.folder).manifest == kept.manifest
    assert list((tmp_path / "open").iterdir()) == []
