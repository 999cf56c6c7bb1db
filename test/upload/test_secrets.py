# SPDX-License-Identifier: Apache-2.0
"""The API key and signed URLs show nowhere: not in logs, states, errors, crashes, or the list of processes."""

from __future__ import annotations

import base64
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from upload_scenes import held_scenes, seal_scenes, states

from nucleus_bridge.testing.receiver import Fault, Receiver
from nucleus_bridge.testing.receiver.faults import FAULT_NAMES, STALL

LIMIT_S = 120.0
SIGNATURE = re.compile(rb"Signature=[0-9A-Za-z%]{8}")
CRASHING = """
import sys
from nucleus_bridge.upload import http

def crash(self, *arguments, **options):
    raise RuntimeError("what nobody thought of")

http.HttpChannel._send = crash
from nucleus_bridge.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


class Watch:
    """Gathers everything that anybody else may see of an upload, and looks for secrets in it."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.secrets = {key, base64.b64encode(f"{key}:".encode()).decode(), base64.b64encode(key.encode()).decode()}
        self.texts: list[tuple[str, bytes]] = []

    def processes(self) -> None:
        """Note the command line of every process; what ``ps`` shows."""
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                self.texts.append((str(path), path.read_bytes()))
            except OSError:
                continue  # ended meanwhile

    def files(self, *folders: Path) -> None:
        for folder in folders:
            for path in folder.rglob("*"):
                if path.is_file():
                    self.texts.append((str(path), path.read_bytes()))
                self.texts.append(("name", str(path).encode()))

    def check(self) -> None:
        for where, text in self.texts:
            for secret in self.secrets:
                assert secret.encode() not in text, f"in {where}"


@pytest.fixture
def watch() -> Watch:
    return Watch(f"live_{secrets.token_hex(16)}")


def start(spool: Path, objects: Path, receiver: Receiver, watch: Watch, log: Path) -> subprocess.Popen[bytes]:
    """Start an upload that tells as much as it can, into a file."""
    command = [sys.executable, "-m", "nucleus_bridge", "upload", str(spool), "--store", f"file://{objects}"]
    command += ["--dataset", "drives", "--set", "upload.poll_interval_s=0.05", "--log-level", "debug"]
    environment = {"NUCLEUS_ENDPOINT": receiver.url, "NUCLEUS_API_KEY": watch.key, "PYTHONFAULTHANDLER": "1"}
    with log.open("ab") as file:
        return subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, **environment})


def test_nothing_secret_shows_in_a_whole_upload_with_faults(
    spool: Path, objects: Path, serve: Callable[..., Receiver], watch: Watch, tmp_path: Path
) -> None:
    faults = [Fault(name, rate=0.3, times=2, seconds=0.2) for name in FAULT_NAMES if name != STALL]
    receiver = serve(faults=faults, api_keys={watch.key})
    names = seal_scenes(spool, 12)
    log = tmp_path / "log.txt"
    for how, wanted in ((signal.SIGKILL, 0), (signal.SIGABRT, 2), (signal.SIGTERM, 4), (None, 0)):
        process = start(spool, objects, receiver, watch, log)
        deadline = time.monotonic() + LIMIT_S
        while process.poll() is None and time.monotonic() < deadline:
            watch.processes()
            if how and sum(state != "sealed" for state in states(spool).values()) > wanted:
                process.send_signal(how)
            time.sleep(0.02)
        assert process.poll() is not None
    assert states(spool) == dict.fromkeys(names, "done"), log.read_text()
    assert len(held_scenes(serve())) == len(names)
    watch.files(spool, objects, tmp_path / "kept")
    watch.texts.append(("log", log.read_bytes()))
    assert b"12 done" in log.read_bytes()
    assert SIGNATURE.search(log.read_bytes()) is None
    watch.check()


def test_a_refused_key_is_not_repeated(
    spool: Path, objects: Path, serve: Callable[..., Receiver], watch: Watch, tmp_path: Path
) -> None:
    seal_scenes(spool, 1)
    log = tmp_path / "log.txt"
    assert start(spool, objects, serve(api_keys={"another"}), watch, log).wait(LIMIT_S) == 1
    assert "refused" in log.read_text()
    watch.texts.append(("log", log.read_bytes()))
    watch.files(spool)
    watch.check()


def test_a_crash_shows_no_key(spool: Path, objects: Path, receiver: Receiver, watch: Watch) -> None:
    seal_scenes(spool, 1)
    done = subprocess.run(
        [sys.executable, "-c", CRASHING, "upload", str(spool), "--store", f"file://{objects}", "--dataset", "drives"],
        env={**os.environ, "NUCLEUS_ENDPOINT": receiver.url, "NUCLEUS_API_KEY": watch.key},
        capture_output=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert b"what nobody thought of" in done.stderr
    watch.texts += [("stdout", done.stdout), ("stderr", done.stderr)]
    watch.files(spool)
    watch.check()
