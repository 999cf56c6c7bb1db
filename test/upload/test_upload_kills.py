# SPDX-License-Identifier: Apache-2.0
"""Uploads that are killed, at random moments and at every named step, end whole and hold nothing twice."""

from __future__ import annotations

import json
import random
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from upload_scenes import assert_whole, command, finish, held_scenes, seal_scenes, states

from nucleus_bridge.testing.receiver import Fault, Receiver

SCENES = 20
STEPS = (
    *(f"{side}_{state}" for state in ("storing", "stored", "submitted", "done") for side in ("before", "after")),
    "claimed",
    "file_sent",
    "scenes_put",
    "job_started",
    "job_ended",
)


class History:
    """What was confirmed at each kill, to compare with what is sent later."""

    def __init__(self, spool: Path, objects: Path, kept: Path) -> None:
        self._spool, self._objects, self._kept = spool, objects, kept
        self._confirmed: list[tuple[set[Path], set[str]]] = []
        self._inodes: dict[Path, int] = {}

    def note(self) -> None:
        done = {name for name, state in states(self._spool).items() if state == "done"}
        self._confirmed.append((self._uploads(), done))
        for path in self._objects.rglob("*"):
            if path.is_file() and "#" not in path.name:
                assert self._inodes.setdefault(path, path.stat().st_ino) == path.stat().st_ino, "sent again"

    def check(self) -> None:
        for uploads, done in self._confirmed:
            for later in self._uploads() - uploads:
                sent = {json.loads(line)["reference_id"] for line in later.read_bytes().splitlines()}
                assert not sent & done, "a confirmed scene was submitted again"

    def _uploads(self) -> set[Path]:
        return {path for path in self._kept.glob("datasets/*/uploads/*") if not path.name.startswith(".")}


def start(spool: Path, objects: Path, receiver: Receiver, failpoint: str = "") -> subprocess.Popen[str]:
    arguments = ["upload", spool, "--store", f"file://{objects}", "--dataset", "drives"]
    arguments += ["--set", "upload.poll_interval_s=0.05"]
    environment = {"NUCLEUS_ENDPOINT": receiver.url}
    if failpoint:
        environment["NUCLEUS_BRIDGE_FAILPOINT"] = failpoint
    return command(*arguments, environment=environment)


def check_end(spool: Path, objects: Path, receiver: Receiver, names: list[str]) -> None:
    assert states(spool) == dict.fromkeys(names, "done")
    held = Counter(scene["reference_id"] for scene in held_scenes(receiver))
    assert held == Counter(names)
    assert_whole(spool, objects, names)


@pytest.mark.parametrize("times", [1, 7])
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_a_named_step_it_ends_whole(
    spool: Path, objects: Path, receiver: Receiver, tmp_path: Path, step: str, times: int
) -> None:
    names = seal_scenes(spool, SCENES, frames=1)
    history = History(spool, objects, tmp_path / "kept")
    times = 1 if step in ("scenes_put", "job_started", "job_ended") else times
    status, out, err = finish(start(spool, objects, receiver, f"{step}:{times}"))
    assert status == -signal.SIGKILL, (out, err)
    history.note()
    assert set(states(spool).values()) != {"done"} or step == "after_done"
    status, out, err = finish(start(spool, objects, receiver))
    assert status == 0, (out, err)
    check_end(spool, objects, receiver, names)
    history.check()


def kill_at_random(
    spool: Path,
    objects: Path,
    receiver: Receiver,
    kept: Path,
    kills: int,
    calm: Callable[[], Receiver] | None = None,
) -> None:
    """Kill so often; when everything is done before, begin again with 20 new scenes; end with a ``calm`` receiver."""
    chance = random.Random(4)
    history = History(spool, objects, kept)
    names: list[str] = []
    done_kills = 0
    span = 1.0
    while done_kills < kills:
        if all(state == "done" for state in states(spool).values()):
            names = seal_scenes(spool, len(names) + SCENES, frames=2)
        process = start(spool, objects, receiver)
        try:
            process.communicate(timeout=0.25 + chance.random() * span)
            span *= 0.8
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            done_kills += 1
        history.note()
    status, out, err = finish(start(spool, objects, receiver))
    assert status == 0, (out, err)
    if calm is not None:
        receiver = calm()
    check_end(spool, objects, receiver, names)
    history.check()


def test_killed_12_times_at_random_it_ends_whole(
    spool: Path, objects: Path, receiver: Receiver, tmp_path: Path
) -> None:
    kill_at_random(spool, objects, receiver, tmp_path / "kept", 12)


@pytest.mark.slow
def test_killed_100_times_at_random_it_ends_whole(
    spool: Path, objects: Path, receiver: Receiver, tmp_path: Path
) -> None:
    kill_at_random(spool, objects, receiver, tmp_path / "kept", 100)


@pytest.mark.slow
def test_killed_60_times_under_faults_it_ends_whole(
    spool: Path, objects: Path, serve: Callable[..., Receiver], tmp_path: Path
) -> None:
    kinds = ("rate_limited", "server_error", "error_after_commit", "unavailable", "reset", "cut_body", "wrong_json")
    faults = [Fault(kind, 0.03, seconds=0.0 if kind == "rate_limited" else None) for kind in kinds]
    receiver = serve(faults=faults, seed=3)
    kill_at_random(spool, objects, receiver, tmp_path / "kept", 60, calm=serve)
    assert receiver.fault_counts


def test_killed_while_it_sets_a_scene_aside_it_is_set_aside_in_the_end(
    spool: Path, objects: Path, serve: Callable[..., Receiver]
) -> None:
    receiver = serve()
    names = seal_scenes(spool, 2)
    (spool / "scenes" / names[0] / "lidar" / "000000.json").write_bytes(b"changed")
    for step in ("before_quarantined", "after_quarantined", "quarantine_moved"):
        status, _, err = finish(start(spool, objects, receiver, step))
        assert status == -signal.SIGKILL, err
    status, out, _ = finish(start(spool, objects, receiver))
    assert states(spool) == {names[0]: "quarantined", names[1]: "done"}, out
    assert (spool / "quarantine" / names[0] / "manifest.json").exists()
    status, out, _ = finish(start(spool, objects, receiver))
    assert status == 0, out
