# SPDX-License-Identifier: Apache-2.0
"""Let recorder, uploader and receiver run for long, with everything going wrong that goes wrong on a vehicle.

    python benchmarks/soak.py                             # a minute at a quarter of the sensors' load
    python benchmarks/soak.py --seconds 600
    python benchmarks/soak.py --seconds 3600 --points 130000 --cameras 6 --delete

Drivers restart every twelfth of the time, in each of their runs transforms stop for three seconds, and the receiver
is down half of the time. Prints a line every --every seconds and at the end what became of every sweep and scene.
An hour at full load is 240 GB: --delete lets the uploader delete what the dataset holds, and clears the store of it.
Exit status 1: a sweep or a scene is not accounted for, or handles, threads or memory have grown.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import live

PERIODS = 12
TF_GAP_S = 3
UPLOADED_WITHIN_S = 180.0
HANDLES_MORE, THREADS_MORE, MEMORY_MORE_MB = 40, 20, 300.0
"""How much more there may be at the end than in the first third; the uploader's connections come and go."""


@dataclass(frozen=True)
class Sample:
    """The recorder and the uploader at one moment."""

    at_s: float
    memory_mb: float
    handles: int
    threads: int
    frames: int
    sealed: int
    waited_s: float


class Receiver:
    """The local receiver, up and down."""

    def __init__(self, folder: Path, store: str) -> None:
        self._command = [sys.executable, "-m", "nucleus_bridge", "serve", str(folder), "--store", store]
        self._port = "0"
        self.url = ""
        self._process: subprocess.Popen[str] | None = None

    def up(self) -> None:
        """Start it, on the same port as before."""
        if self._process is None:
            command = [*self._command, "--port", self._port]
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            if not self.url and self._process.stdout is not None:
                self.url = self._process.stdout.readline().strip()
                self._port = self.url.partition("127.0.0.1:")[2].partition("/")[0]

    def down(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None


def node(module: str, config: Path, parameters: list[str]) -> subprocess.Popen[bytes]:
    """Start one of the nodes."""
    flags = [flag for parameter in parameters for flag in ("-p", parameter)]
    return subprocess.Popen([sys.executable, "-m", module, "--ros-args", "--params-file", str(config), *flags])


def entries(folder: Path) -> int:
    """Count what is in a folder of a process; 0 when it has ended."""
    try:
        return sum(1 for _ in folder.iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return 0


def sample(watch: live.Watch, pids: list[int], started_s: float) -> Sample:
    """Look at the nodes and all their processes."""
    every = [one for pid in pids for one in live.family(pid)]
    values = watch.values
    return Sample(
        at_s=time.monotonic() - started_s,
        memory_mb=sum(map(live.resident_bytes, every)) / 1e6,
        handles=sum(entries(Path(f"/proc/{pid}/fd")) for pid in every),
        threads=sum(entries(Path(f"/proc/{pid}/task")) for pid in every),
        frames=int(values.get("frames", 0)),
        sealed=int(values.get("scenes", 0)),
        waited_s=float(watch.waits.get("longest_wait_s", 0.0)),
    )


def drive(given: argparse.Namespace, stop: threading.Event) -> int:
    """Run the drivers again and again; return how many sweeps they published."""
    seconds = max(2 * TF_GAP_S, given.seconds // PERIODS)
    options = ["--seconds", str(seconds), "--points", str(given.points), "--cameras", str(given.cameras)]
    sweeps, over_s = 0, time.monotonic() + given.seconds - seconds
    while not stop.is_set() and (not sweeps or time.monotonic() < over_s):
        command = [sys.executable, live.__file__, "--publish", "--tf-gap", str(TF_GAP_S), *options]
        subprocess.run(command, check=False)  # sweeps that it did not publish are missed at the end
        sweeps += seconds * live.RATE_HZ
    return sweeps


def states(spool: Path) -> dict[str, str]:
    """Return the state of each scene in the spool."""
    command = [sys.executable, "-m", "nucleus_bridge", "status", str(spool), "--json"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return {scene["reference_id"]: scene["state"] for scene in found["scenes"]}


class Ledger:
    """Notes each scene as soon as it is sealed; looks several times in the least time that one stays in the spool."""

    def __init__(self, spool: Path, store: Path | None) -> None:
        """Take the store's folder to clear it of what has left the spool."""
        self._spool, self._store = spool, store
        self._last: set[Path] = set()
        self.frames: dict[str, int] = {}
        self.losses: Counter[str] = Counter()

    def keep(self, stop: threading.Event) -> None:
        """Look until told to stop, and once more after that."""
        while not stop.wait(0.1):
            self.look()
        self.look()

    def look(self) -> None:
        """Note the scenes that are new, and clear away the objects of those that are gone."""
        there = set(self._spool.glob("scenes/*"))
        for folder in there - self._last:
            with contextlib.suppress(FileNotFoundError):
                manifest = json.loads((folder / "manifest.json").read_text())
                self.frames[folder.name] = manifest["frames"]
                self.losses.update(manifest["losses"].get("/lidar", {}))
        gone, self._last = self._last - there, there
        if self._store is not None:
            for folder in (found for scene in gone for found in self._store.glob(f"**/{scene.name}")):
                shutil.rmtree(folder)


def verdict(spool: Path, samples: list[Sample], sweeps: int, ledger: Ledger) -> int:
    """Print what became of everything; return the exit status."""
    frames, losses = sum(ledger.frames.values()), ledger.losses
    ends = states(spool)
    valid = subprocess.run(
        [sys.executable, "-m", "nucleus_bridge", "validate", str(spool)], check=False, capture_output=True
    )
    third = max(1, len(samples) // 3)
    first, last = samples[:third], samples[-1]
    problems = []
    if frames + sum(losses.values()) != sweeps:
        problems.append(f"{sweeps - frames - sum(losses.values())} sweeps are not accounted for")
    if ends != dict.fromkeys(ledger.frames, "done"):
        problems.append(f"not every scene is uploaded: {ends}")
    if valid.returncode:
        problems.append(f"scenes are not valid: {valid.stdout.decode()[-2000:]}")
    allowed = {"handles": HANDLES_MORE, "threads": THREADS_MORE, "memory_mb": MEMORY_MORE_MB}
    for name, more in allowed.items():
        most = max(getattr(one, name) for one in first)
        if getattr(last, name) > most + more:
            problems.append(f"{name} has grown from {most} to {getattr(last, name)}")
    print(f"sweeps published  {sweeps}: {frames} frames in {len(ledger.frames)} scenes, lost {dict(losses) or 'none'}")
    print(f"uploaded          {sum(state == 'done' for state in ends.values())} of {len(ledger.frames)} scenes")
    for name in ("memory_mb", "handles", "threads", "waited_s"):
        thirds = [[getattr(one, name) for one in part] for part in (samples[:third], samples[-third:])]
        means = [sum(part) / len(part) for part in thirds]
        print(f"{name:17} {means[0]:.1f} first third, {means[1]:.1f} last third, {max(map(max, thirds)):.1f} most")
    print(*problems, sep="\n")
    return 1 if problems else 0


def main() -> int:
    """Run the soak."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--points", type=int, default=32_000)
    parser.add_argument("--cameras", type=int, default=2)
    parser.add_argument("--every", type=float, default=10.0, help="seconds between two printed lines")
    parser.add_argument("--delete", action="store_true", help="keep nothing of what is uploaded")
    given = parser.parse_args()
    given.image = "jpeg"
    os.environ.setdefault("FASTDDS_BUILTIN_TRANSPORTS", "LARGE_DATA")
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    os.environ["NUCLEUS_API_KEY"] = "soak"
    with tempfile.TemporaryDirectory() as scratch:
        return run(given, Path(scratch))


def run(given: argparse.Namespace, scratch: Path) -> int:
    """Run everything in a folder; return the exit status."""
    config, spool, objects = scratch / "config.yaml", scratch / "spool", scratch / "objects"
    objects.mkdir()
    config.write_text(live.configuration(given))
    receiver = Receiver(scratch / "receiver", f"file://{objects}")
    receiver.up()
    os.environ["NUCLEUS_ENDPOINT"] = receiver.url
    common = [f"spool.path:={spool}", "spool.min_free_bytes:=0", "scene.max_frames:=50"]
    recorder = node("nucleus_bridge.ros.recorder", config, [*common, "autostart:=true", "queue.workers:=2"])
    sending = [f"upload.store:=file://{objects}", "upload.dataset_name:=soak", "upload.poll_interval_s:=0.5"]
    sending.append(f"upload.delete_after:={str(given.delete).lower()}")
    uploader = node("nucleus_bridge.ros.uploader", config, [*common, *sending])
    watch, stop, started_s = live.Watch(recorder.pid), threading.Event(), time.monotonic()
    ledger = Ledger(spool, objects if given.delete else None)
    keeper = threading.Thread(target=ledger.keep, args=[stop], daemon=True)
    keeper.start()
    samples: list[Sample] = []
    published: list[int] = []
    driver = threading.Thread(target=lambda: published.append(drive(given, stop)), daemon=True)
    driver.start()
    next_line_s = 0.0
    try:
        while driver.is_alive():
            time.sleep(1.0)
            samples.append(sample(watch, [recorder.pid, uploader.pid], started_s))
            if int(2 * PERIODS * samples[-1].at_s / given.seconds) % 2:
                receiver.down()
            else:
                receiver.up()
            if samples[-1].at_s >= next_line_s:
                print(samples[-1], flush=True)
                next_line_s += given.every
        time.sleep(3.0)  # the last report
        recorder.send_signal(signal.SIGTERM)
        status = recorder.wait(30)
        receiver.up()
        limit = time.monotonic() + UPLOADED_WITHIN_S
        while set(states(spool).values()) != {"done"} and time.monotonic() < limit:
            time.sleep(1.0)
        stop.set()
        keeper.join()
        if not published:
            print("the drivers could not be run")
            return 1
        return max(status, verdict(spool, samples, published[0], ledger))
    finally:
        stop.set()
        for process in (recorder, uploader):
            process.terminate()
            process.wait(30)
        receiver.down()


if __name__ == "__main__":
    sys.exit(main())
