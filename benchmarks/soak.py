# SPDX-License-Identifier: Apache-2.0
"""Let recorder, uploader and receiver run for long, with everything going wrong that goes wrong on a vehicle.

    python benchmarks/soak.py                             # a minute at a quarter of the sensors' load
    python benchmarks/soak.py --seconds 600
    python benchmarks/soak.py --seconds 3600 --points 130000 --cameras 6 --keep-every 10

Drivers restart every twelfth of the time, in each of their runs transforms stop for three seconds, and the receiver
is down half of the time. Prints a line every --every seconds and at the end what became of every sweep and scene.
An hour at full load is 400 GB, and the receiver, which reads every point, takes longer for a scene than a drive does:
with --keep-every one scene of so many is uploaded, and deleted everywhere once it is in the dataset; the others are
deleted as soon as they are sealed and counted.
Exit status 1: a sweep or a scene is not accounted for, or handles, threads or memory have grown.
"""

from __future__ import annotations

import argparse
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

from nucleus_bridge.spool import Spool

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
    """Run the drivers again and again; return how many sweeps they published.

    One that does not find the recorder, which happens with Fast DDS 3.2 over TCP, ends and is started again.
    """
    seconds = max(2 * TF_GAP_S, given.seconds // PERIODS)
    options = ["--seconds", str(seconds), "--points", str(given.points), "--cameras", str(given.cameras)]
    sweeps, over_s = 0, time.monotonic() + given.seconds - seconds
    while not stop.is_set() and (not sweeps or time.monotonic() < over_s):
        command = [sys.executable, live.__file__, "--publish", "--tf-gap", str(TF_GAP_S), *options]
        ended = subprocess.run(command, check=False)  # sweeps that it did not publish are missed at the end
        sweeps += seconds * live.RATE_HZ if ended.returncode != live.NOT_FOUND else 0
    return sweeps


def states(spool: Path) -> dict[str, str]:
    """Return the state of each scene in the spool."""
    command = [sys.executable, "-m", "nucleus_bridge", "status", str(spool), "--json"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return {scene["reference_id"]: scene["state"] for scene in found["scenes"]}


class Ledger:
    """Notes each scene as soon as it is sealed, and hands over those that are to be uploaded."""

    def __init__(self, spool: Path, sent: Path, store: Path, keep_every: int) -> None:
        """Take where scenes are sealed, where the uploader looks, where it stores, and how many it gets: 0 for all."""
        self._spool, self._sent, self._store, self._keep_every = spool, sent, store, keep_every
        self._sealed: list[Path] = []
        self._waiting: set[str] = set()
        self.frames: dict[str, int] = {}
        self.losses: Counter[str] = Counter()
        self.kept: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Look for the last time."""
        self._stop.set()
        self._thread.join()

    def _keep(self) -> None:
        while not self._stop.wait(1.0):
            self._look()
        self._look()
        self._look()

    def _look(self) -> None:
        """Note the scenes that are new; clear away those that are not wanted or in the dataset."""
        for folder in self._sealed:  # at the look before: the recorder itself reads it once more
            if folder.name not in self.frames:
                manifest = json.loads((folder / "manifest.json").read_text())
                self.frames[folder.name] = manifest["frames"]
                self.losses.update(manifest["losses"].get("/lidar", {}))
                if self._keep_every and len(self.frames) % self._keep_every:
                    shutil.rmtree(folder)
                    continue
                self.kept.add(folder.name)
                if self._keep_every:
                    folder.rename(self._sent / "scenes" / folder.name)
        self._sealed = sorted(self._spool.glob("scenes/*"))
        waiting = {folder.name for folder in self._sent.glob("scenes/*")}
        for name in self._waiting - waiting:
            for folder in self._store.glob(f"**/{name}"):
                shutil.rmtree(folder)
        self._waiting = waiting


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
    if ends != dict.fromkeys(ledger.kept, "done"):
        problems.append(f"not every scene is uploaded: {ends}")
    if valid.returncode:
        problems.append(f"scenes are not valid: {valid.stdout.decode()[-2000:]}")
    allowed = {"handles": HANDLES_MORE, "threads": THREADS_MORE, "memory_mb": MEMORY_MORE_MB}
    for name, more in allowed.items():
        most = max(getattr(one, name) for one in first)
        if getattr(last, name) > most + more:
            problems.append(f"{name} has grown from {most} to {getattr(last, name)}")
    print(f"sweeps published  {sweeps}: {frames} frames in {len(ledger.frames)} scenes, lost {dict(losses) or 'none'}")
    print(f"uploaded          {sum(state == 'done' for state in ends.values())} of {len(ledger.kept)} scenes")
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
    parser.add_argument("--keep-every", type=int, default=0, metavar="N", help="upload one scene of N, keep none")
    given = parser.parse_args()
    given.image, given.armed = "jpeg", 0
    os.environ.setdefault("FASTDDS_BUILTIN_TRANSPORTS", "LARGE_DATA")
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    os.environ["NUCLEUS_API_KEY"] = "soak"
    with tempfile.TemporaryDirectory() as scratch:
        return run(given, Path(scratch))


def run(given: argparse.Namespace, scratch: Path) -> int:
    """Run everything in a folder; return the exit status."""
    config, spool, objects = scratch / "config.yaml", scratch / "spool", scratch / "objects"
    objects.mkdir()
    sent = scratch / "sent" if given.keep_every else spool
    Spool(sent).create()
    config.write_text(live.configuration(given))
    receiver = Receiver(scratch / "receiver", f"file://{objects}")
    receiver.up()
    os.environ["NUCLEUS_ENDPOINT"] = receiver.url
    common = ["spool.min_free_bytes:=1000000000", "scene.max_frames:=50"]
    recording = [f"spool.path:={spool}", "autostart:=true", "queue.workers:=2"]
    recorder = node("nucleus_bridge.ros.recorder", config, [*common, *recording])
    sending = [f"upload.store:=file://{objects}", "upload.dataset_name:=soak", "upload.poll_interval_s:=0.5"]
    sending += [f"spool.path:={sent}", f"upload.delete_after:={str(bool(given.keep_every)).lower()}"]
    uploader = node("nucleus_bridge.ros.uploader", config, [*common, *sending])
    watch, stop, started_s = live.Watch(recorder.pid), threading.Event(), time.monotonic()
    ledger = Ledger(spool, sent, objects, given.keep_every)
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
        ledger.end()
        receiver.up()
        limit = time.monotonic() + UPLOADED_WITHIN_S
        while set(states(sent).values()) != {"done"} and time.monotonic() < limit:
            time.sleep(1.0)
        if not published:
            print("the drivers could not be run")
            return 1
        return max(status, verdict(sent, samples, published[0], ledger))
    finally:
        stop.set()
        for process in (recorder, uploader):
            process.terminate()
            process.wait(30)
        receiver.down()


if __name__ == "__main__":
    sys.exit(main())
