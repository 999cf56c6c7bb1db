# SPDX-License-Identifier: Apache-2.0
"""An archive of 40 short recordings, two of them damaged, and the command line in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path += [str(Path(__file__).parent), str(Path(__file__).parent.parent / "upload")]

from archives import Archive, Run, make_archive


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return make_archive(tmp_path_factory.mktemp("archive"), recordings=40)


@pytest.fixture(autouse=True)
def _store_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "NUCLEUS_BRIDGE_FAILPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")


@pytest.fixture
def convert() -> Callable[..., Run]:
    """Run ``convert`` to its end."""

    def run(*arguments: object) -> Run:
        command = [sys.executable, "-m", "nucleus_bridge", "convert", *map(str, arguments), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=dict(os.environ), check=False)
        return Run(done.returncode, done.stdout, done.stderr)

    return run
