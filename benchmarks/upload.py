# SPDX-License-Identifier: Apache-2.0
"""Measure uploads against the local receiver: small scenes, large files, faults; time, memory and where time goes.

Everything runs on this machine: the object store is a folder, or an S3 server with ``--s3``. The receiver and the S3
server run in processes of their own, so that memory and CPU time here are the uploader's alone. The share of
time that is not network or disk is the uploader's own CPU time in Python and Rust (user mode) over the time
that passed.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "test" / "upload")]

from store_servers import moto  # noqa: E402
from upload_scenes import KEY, seal_scene, states  # noqa: E402

from nucleus_bridge.config import UploadConfig  # noqa: E402
from nucleus_bridge.upload.uploader import Uploader  # noqa: E402

MEMORY_BAR_MB = 200.0
FAULT_BAR = 3.0
FAULTS = ("server_error", "error_after_commit", "unavailable", "reset", "cut_body", "wrong_json", "expired_url")


def measure(folder: Path, spool: Path, store: str, serve: list[str]) -> tuple[float, float]:
    """Upload a spool once and return seconds passed and user-mode processor seconds."""
    server = subprocess.Popen(
        [sys.executable, "-m", "nucleus_bridge", "serve", str(folder / "kept"), *serve],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        url = server.stdout.readline().strip() if server.stdout else ""
        settings = UploadConfig(endpoint=url, store=store, dataset_name="drives", poll_interval_s=0.2)
        began, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_utime
        summary = Uploader(spool, settings, key=KEY).run()
        passed = time.perf_counter() - began
        used = resource.getrusage(resource.RUSAGE_SELF).ru_utime - used
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)
    if not summary.complete or set(states(spool).values()) != {"done"}:
        raise SystemExit(f"the upload failed: {summary}")
    return passed, used


@dataclass(frozen=True)
class Case:
    """One row: how many scenes of what, where to, and the options of the receiver."""

    name: str
    scenes: int
    frames: int
    image_bytes: int
    store: str = ""
    serve: tuple[str, ...] = ()


def run(case: Case, base: float = 0.0) -> float:
    """Run one case in a child, so that its memory is its own, print its row and return the seconds it took."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return _row_time(child)
    folder = Path(tempfile.mkdtemp(prefix="upload-benchmark-"))
    try:
        _seal_apart(folder / "spool", case)
        size = sum(path.stat().st_size for path in (folder / "spool").rglob("*") if path.is_file()) / 1e6
        target = case.store or f"file://{folder}/objects"
        options = [*case.serve] if case.store else ["--store", target, *case.serve]
        passed, used = measure(folder, folder / "spool", target, options)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        times = f"{passed / base:5.2f}x" if base else "      "
        print(
            f"{case.name:34} {case.scenes:6d} {size:9.1f} {passed:8.2f} {case.scenes / passed:9.1f} "
            f"{size / passed:8.1f} {used / passed:7.0%} {memory:8.0f} {times}"
        )
        (Path(tempfile.gettempdir()) / f"upload-benchmark-{os.getpid()}.time").write_text(str(passed))
        sys.stdout.flush()
        os._exit(0 if memory < MEMORY_BAR_MB else 3)
    except BaseException as error:  # noqa: BLE001 - the child must not go on as the parent
        print(f"{case.name}: {type(error).__name__}: {error}")
        sys.stdout.flush()
        os._exit(1)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _seal_apart(spool: Path, case: Case) -> None:
    """Make the scenes in another process, whose memory does not count."""
    child = os.fork()
    if not child:
        for number in range(case.scenes):
            seal_scene(spool, number, frames=case.frames, image_bytes=case.image_bytes)
        os._exit(0)
    os.waitpid(child, 0)


def _row_time(child: int) -> float:
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    note = Path(tempfile.gettempdir()) / f"upload-benchmark-{child}.time"
    if code == 3:
        print(f"  over the bar of {MEMORY_BAR_MB:.0f} MB")
    elif code:
        raise SystemExit(code)
    passed = float(note.read_text())
    note.unlink()
    return passed


def main() -> int:
    """Run every case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=2000, help="small scenes (default: %(default)s)")
    parser.add_argument("--s3", action="store_true", help="also send to an S3 server over HTTP (needs moto)")
    options = parser.parse_args()
    print(f"{'':34} scenes        MB        s  scenes/s     MB/s    own     MB peak")
    run(Case("small scenes, folder", options.scenes, 1, 0))
    base = run(Case("100 scenes, folder", 100, 2, 100_000))
    rates = tuple(part for fault in FAULTS for part in ("--fault", f"{fault}={0.3 / len(FAULTS):.4f}"))
    shares = run(Case("  with 30 % faults", 100, 2, 100_000, serve=rates), base) / base
    run(Case("large files, folder", 8, 2, 40_000_000))
    if options.s3:
        os.environ.update(AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x", AWS_REGION="us-east-1")  # noqa: S106
        with moto() as url:
            serve = ("--store", f"s3+{url}")
            run(Case("100 scenes, S3 over HTTP", 100, 2, 100_000, f"s3://bucket/a?endpoint={url}", serve))
            run(Case("large files, S3 over HTTP", 4, 1, 40_000_000, f"s3://bucket/b?endpoint={url}", serve))
    print(f"with faults {shares:.2f} times as long; the bar is {FAULT_BAR:.0f}")
    return 0 if shares <= FAULT_BAR else 1


if __name__ == "__main__":
    raise SystemExit(main())
