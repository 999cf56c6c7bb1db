# SPDX-License-Identifier: Apache-2.0
"""Restart a driver again and again, and account for every sweep that the recorder received.

    python benchmarks/restarts.py                                  # 100 restarts over LARGE_DATA, about 12 minutes
    python benchmarks/restarts.py --transport UDPv4 --no-heal      # over UDP, without ros.heal
    python benchmarks/restarts.py --restarts 6                     # a minute

Half of the drivers end as they should, half are killed (SIGKILL). Printed are: runs of the driver that were missed
whole, the spans at the begin of each run in which the recorder was deaf, judged by the stamps in its scenes, what its
log says of them, and its handles. The exit status is 1 where a received sweep is neither in a scene nor counted, where
with ``ros.heal`` a span is longer than 10 s (on a machine that is otherwise idle), or where handles have grown.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import live
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import PointCloud2
from tf2_msgs.msg import TFMessage

from nucleus_bridge.ros.leaving import leaving

HEARD_S, PAUSE_S = (1.0, 4.0), (0.2, 1.5)
"""How long a run goes on after the recorder said that it hears it, and how long there is no driver then."""
LONGEST_RUN_S = 30.0
STARTED_WITHIN_S = 60.0
DEAF_S = 10.0
HANDLES_MORE = 12


@dataclass(frozen=True)
class Run:
    """One life of the driver.

    Attributes:
        first_ns: Stamp of its first sweep.
        last_ns: Stamp of its last sweep, or about when it was killed.
        is_killed: Whether it was killed.
        handles: Of the recorder, at the end.
    """

    first_ns: int
    last_ns: int
    is_killed: bool
    handles: int


class Watch(live.Watch):
    """Keeps what the recorder says of each topic, too."""

    def __init__(self, pid: int) -> None:
        self.pid, self.received = pid, 0
        super().__init__(pid)

    def _take(self, array: DiagnosticArray) -> None:
        super()._take(array)
        for status in array.status:
            if status.name.endswith(": sensor /lidar"):
                self.received = max(self.received, *(int(one.value) for one in status.values if one.key == "received"))

    def wait_for_state(self, state: str) -> None:
        """Wait until the recorder reports a state."""
        give_up_s = time.monotonic() + STARTED_WITHIN_S
        while self.values.get("state") != state and time.monotonic() < give_up_s:
            time.sleep(0.1)

    def deactivate(self) -> None:
        """Have the recorder seal its scene; it goes on to report."""
        client = self._node.create_client(ChangeState, "/nucleus_recorder/change_state")
        client.wait_for_service(STARTED_WITHIN_S)
        request = ChangeState.Request()
        request.transition.id = Transition.TRANSITION_DEACTIVATE
        client.call_async(request)
        self.wait_for_state("inactive")
        time.sleep(2.0)  # one more report


def publish(given: argparse.Namespace) -> None:
    """Be the driver until stdin closes; publish from the start, whoever listens."""
    rclpy.init()
    node = rclpy.create_node(f"driver_{os.getpid()}")
    latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    static, tf = node.create_publisher(TFMessage, "/tf_static", latched), node.create_publisher(TFMessage, "/tf", 100)
    lidar = node.create_publisher(PointCloud2, "/lidar", 20)
    static.publish(live.transform("base_link", "lidar", 0, 1.0))
    sweep = live.cloud(given.points)
    os.set_blocking(sys.stdin.fileno(), False)
    print(f"first {time.time_ns()}", flush=True)
    begin, tick = time.monotonic(), 0
    while sys.stdin.buffer.read(1) is None:
        now_ns = time.time_ns()
        tf.publish(live.transform("map", "base_link", now_ns, 0.01 * tick))
        if tick % 10 == 0:
            lidar.publish(live.stamped(sweep, now_ns))
        tick += 1
        time.sleep(max(0.0, begin + tick / live.TF_HZ - time.monotonic()))
    print(f"last {time.time_ns()}", flush=True)
    with leaving(2.0):
        rclpy.shutdown()


def run_driver(given: argparse.Namespace, chance: random.Random, watch: Watch, number: int) -> Run:
    """Run the driver once, until it was heard for a while or not for too long."""
    command = [sys.executable, __file__, "--publish", "--points", str(given.points)]
    driver = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    if driver.stdin is None or driver.stdout is None:
        raise TypeError(driver)
    with driver:
        before, give_up_s = watch.received, time.monotonic() + LONGEST_RUN_S
        first_ns = int(driver.stdout.readline().split()[1])
        while watch.received <= before + live.RATE_HZ and time.monotonic() < give_up_s:
            time.sleep(0.1)
        time.sleep(chance.uniform(*HEARD_S))
        is_killed = number % 2 == 1
        if is_killed:
            driver.kill()
        else:
            driver.stdin.close()
        told = driver.stdout.read().split() if not is_killed else []
        last_ns = int(told[1]) if told else time.time_ns()
        handles = entries(watch.pid)
    return Run(first_ns, last_ns, is_killed, handles)


def entries(pid: int) -> int:
    """Count the open files and sockets of a process; 0 when it has ended."""
    try:
        return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return 0


def stamps_in(spool: Path) -> tuple[list[int], list[str]]:
    """Return the stamps of all frames, and why scenes ended."""
    manifests = [json.loads(path.read_text()) for path in sorted(spool.glob("scenes/*/manifest.json"))]
    stamps = [stamp["stamp_ns"] for manifest in manifests for stamp in manifest["stamps"]]
    return sorted(stamps), [manifest["end_reason"] for manifest in manifests]


def deaf_spans(runs: list[Run], stamps: list[int]) -> list[float]:
    """Return for each run the seconds until its first recorded sweep; all of it where it was missed."""
    spans = []
    for run in runs:
        first = next((stamp for stamp in stamps if run.first_ns <= stamp <= run.last_ns), run.last_ns)
        spans.append((first - run.first_ns) / 1e9)
    return spans


def verdict(given: argparse.Namespace, spool: Path, runs: list[Run], watch: Watch, log: str) -> int:
    """Print the figures; return the exit status."""
    stamps, reasons = stamps_in(spool)
    losses = {key: int(value) for key, value in watch.values.items() if key.startswith("/lidar ")}
    received = watch.received
    arrived = {key: count for key, count in losses.items() if not key.endswith("lost_in_transport")}
    unaccounted = received - len(stamps) - sum(arrived.values())
    spans = deaf_spans(runs, stamps)
    missed = sum(not any(run.first_ns <= stamp <= run.last_ns for stamp in stamps) for run in runs)
    handles = [run.handles for run in runs]
    third = max(1, len(handles) // 3)
    said = [float(text) for text in re.findall(r"/lidar: heard again after [\d.]+ s, ([\d.]+) s of which", log)]
    print(f"runs              {len(runs)}, {sum(run.is_killed for run in runs)} killed; {missed} missed whole")
    print(f"sweeps received   {received}: {len(stamps)} in {len(reasons)} scenes, lost {losses or 'none'}")
    print(f"not accounted for {unaccounted}")
    print(f"deaf at begin, s  {sum(spans) / len(spans):.1f} on average, {max(spans):.1f} most")
    print(f"connected anew    {reasons.count('graph_rebuilt')} times; deaf by the log, s: {said or 'never'}")
    print(f"handles           {max(handles[:third])} most in the first third, {max(handles[-third:])} in the last")
    problems = []
    if unaccounted:
        problems.append(f"{unaccounted} received sweeps are neither in a scene nor counted")
    if given.heal and max(spans) > given.deaf_s:
        problems.append(f"the recorder was deaf for {max(spans):.1f} s")
    if max(handles[-third:]) > max(handles[:third]) + HANDLES_MORE:
        problems.append("handles have grown")
    print(*problems, sep="\n")
    return 1 if problems else 0


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--restarts", type=int, default=100)
    parser.add_argument("--transport", choices=("LARGE_DATA", "UDPv4"), default="LARGE_DATA")
    parser.add_argument("--no-heal", dest="heal", action="store_false")
    parser.add_argument("--points", type=int, default=20_000)
    parser.add_argument("--deaf-s", type=float, default=DEAF_S, help="longest span that is allowed with ros.heal")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path, help="file that keeps what the recorder says")
    parser.add_argument("--publish", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.publish:
        publish(given)
        return 0
    os.environ["FASTDDS_BUILTIN_TRANSPORTS"] = given.transport
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    given.cameras, given.armed = 0, 0
    with tempfile.TemporaryDirectory() as scratch:
        return run(given, Path(scratch))


def run(given: argparse.Namespace, scratch: Path) -> int:
    """Run everything in a folder; return the exit status."""
    config, spool, log = scratch / "config.yaml", scratch / "spool", given.log or scratch / "log"
    config.write_text(live.configuration(given).replace("    camera_names: []\n    cameras:\n", ""))
    parameters = [f"spool.path:={spool}", "autostart:=true", "queue.workers:=1", f"ros.heal:={str(given.heal).lower()}"]
    flags = [flag for parameter in parameters for flag in ("-p", parameter)]
    program = [sys.executable, "-m", "nucleus_bridge.ros.recorder", "--ros-args", "--params-file", str(config), *flags]
    chance, runs = random.Random(given.seed), []  # noqa: S311
    with log.open("wb") as output:
        recorder = subprocess.Popen(program, stderr=output, stdout=output)
    watch = Watch(recorder.pid)
    try:
        watch.wait_for_state("active")
        for number in range(given.restarts):
            runs.append(run_driver(given, chance, watch, number))
            print(f"{number + 1}: {(runs[-1].last_ns - runs[-1].first_ns) / 1e9:.1f} s", flush=True)
            time.sleep(chance.uniform(*PAUSE_S))
        time.sleep(3.0)  # the last report of what was received
        watch.deactivate()
        recorder.send_signal(signal.SIGTERM)
        recorder.wait(30)
        return verdict(given, spool, runs, watch, log.read_text())
    finally:
        recorder.kill()
        recorder.wait()


if __name__ == "__main__":
    sys.exit(main())
