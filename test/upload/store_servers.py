# SPDX-License-Identifier: Apache-2.0
"""Object stores that speak real HTTP, each in a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, "the store did not start"
        try:
            requests.get(url, timeout=1)
        except requests.RequestException:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the store did not answer")


@contextmanager
def moto(buckets: tuple[str, ...] = ("bucket",)) -> Iterator[str]:
    """Run an S3 server and yield its URL."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(url, process)
        for bucket in buckets:
            assert requests.put(f"{url}/{bucket}", timeout=60).status_code == 200
        yield url
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def azurite(folder: Path) -> Iterator[int]:
    """Run an Azure blob server and yield its port; NUCLEUS_BRIDGE_AZURITE names its program."""
    port = free_port()
    process = subprocess.Popen(
        [
            *(os.environ["NUCLEUS_BRIDGE_AZURITE"], "--silent", "--disableTelemetry", "--skipApiVersionCheck"),
            *("--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder)),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(f"http://127.0.0.1:{port}", process)
        yield port
    finally:
        process.terminate()
        process.wait(10)
