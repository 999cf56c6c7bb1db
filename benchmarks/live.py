# SPDX-License-Identifier: Apache-2.0
"""Measure the running recorder: one lidar and several cameras at 10 Hz over DDS, from another process.

    python benchmarks/live.py --seconds 60                       # 130,000 points, six JPEG cameras
    python benchmarks/live.py --seconds 60 --cameras 2 --image raw
    python benchmarks/live.py --seconds 60 --cameras 2 --view 2     # and somebody watches
    python benchmarks/live.py --seconds 20 --idle                # no sensor: nothing at all, then /tf and /clock
    python benchmarks/live.py --seconds 60 --armed 10            # events with 10 s of look-back, and none fires
    python benchmarks/live.py --seconds 60 --armed 30 --mark 40  # ~/mark after 40 s, with 30 s of look-back

Prints frames published and recorded, every loss, the duration of callbacks, memory over time and CPU time; with
--yardstick, and with --idle, also the CPU time of a bare subscriber that takes the same messages and throws them away.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TransformStamped
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import serialize_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from nucleus_bridge.ros.leaving import leaving

WIDTH, HEIGHT = 1920, 1080
RATE_HZ, TF_HZ = 10, 100
CLOUD = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4"), ("ring", "<u2"), ("time", "<f4")])
SETTLE_S = 10.0
AFTER_S = 5
FOUND_WITHIN_S, NOT_FOUND = 30.0, 3
Publishing = list[tuple[Any, bytes]]


def stamped(message: bytes, stamp_ns: int) -> bytes:
    """Put another stamp into a serialised message that begins with a header."""
    return message[:4] + struct.pack("<iI", *divmod(stamp_ns, 10**9)) + message[12:]


def cloud(points: int) -> bytes:
    """Return a sweep of this many points, 0.1 s long."""
    chance = np.random.default_rng(1)
    rows = np.zeros(points, CLOUD)
    for axis, reach in (("x", 60.0), ("y", 60.0), ("z", 3.0)):
        rows[axis] = chance.uniform(-reach, reach, points)
    rows["intensity"] = chance.uniform(0, 255, points)
    rows["time"] = np.linspace(0, 0.0999, points)
    kinds = {"<f4": PointField.FLOAT32, "<u2": PointField.UINT16}
    message = PointCloud2(height=1, width=points, point_step=CLOUD.itemsize, row_step=CLOUD.itemsize * points)
    message.header.frame_id = "lidar"
    message.fields = [
        PointField(name=name, offset=offset, datatype=kinds[kind.str], count=1)
        for name, (kind, offset, *_) in (CLOUD.fields or {}).items()
    ]
    message.data.frombytes(rows.tobytes())
    return bytes(serialize_message(message))


def image(kind: str) -> bytes:
    """Return a picture with about as much detail as a street."""
    chance = np.random.default_rng(2)
    coarse = chance.integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
    picture = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    if kind == "raw":
        message: Any = Image(height=HEIGHT, width=WIDTH, encoding="rgb8", step=3 * WIDTH)
        message.data.frombytes(picture.tobytes())
    else:
        message = CompressedImage(format="jpeg")
        message.data.frombytes(cv2.imencode(".jpg", picture)[1].tobytes())
    message.header.frame_id = "camera"
    return bytes(serialize_message(message))


def camera_info() -> bytes:
    """Return a calibration without distortion."""
    message = CameraInfo(height=HEIGHT, width=WIDTH, distortion_model="plumb_bob", d=[0.0] * 5)
    message.k = [1000.0, 0.0, WIDTH / 2, 0.0, 1000.0, HEIGHT / 2, 0.0, 0.0, 1.0]
    message.header.frame_id = "camera"
    return bytes(serialize_message(message))


def transform(parent: str, child: str, stamp_ns: int, x: float) -> TFMessage:
    """Return one transform along x."""
    made = TransformStamped(child_frame_id=child)
    made.header.frame_id = parent
    made.header.stamp.sec, made.header.stamp.nanosec = divmod(stamp_ns, 10**9)
    made.transform.translation.x, made.transform.rotation.w = x, 1.0
    return TFMessage(transforms=[made])


def events(given: argparse.Namespace) -> str:
    """Return events of which none fires by itself: of the poses, of a rate, and ``~/mark``."""
    window = f"before_s: {given.armed}, after_s: {AFTER_S}"
    return f"""    event_names: [brake, fast, mark]
    events:
      brake: {{topic: device, field: acceleration, when: "< -50", {window}}}
      fast: {{topic: /camera0/info, field: rate, when: "> 1000", {window}}}
      mark: {{{window}}}
    scene: {{select: events}}
"""


def mark() -> str:
    """Call ``~/mark``; return what it answers."""
    node = rclpy.create_node("operator")
    client = node.create_client(Trigger, "/nucleus_recorder/mark")
    client.wait_for_service(FOUND_WITHIN_S)
    future = client.call_async(Trigger.Request())
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    executor.spin_until_future_complete(future, FOUND_WITHIN_S)
    node.destroy_node()
    return str(future.result().message)


def publish(given: argparse.Namespace) -> None:
    """Publish until the time is over; runs in a process of its own."""
    rclpy.init()
    node = rclpy.create_node("load")
    latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    static, tf = node.create_publisher(TFMessage, "/tf_static", latched), node.create_publisher(TFMessage, "/tf", 100)
    static.publish(TFMessage(transforms=[transform("base_link", c, 0, 1.0).transforms[0] for c in ("lidar", "camera")]))
    picture, info = image(given.image), camera_info()
    sensors: Publishing = [(node.create_publisher(PointCloud2, "/lidar", 20), cloud(given.points))]
    for index in range(given.cameras):
        kind = Image if given.image == "raw" else CompressedImage
        sensors.append((node.create_publisher(CameraInfo, f"/camera{index}/info", 20), info))
        sensors.append((node.create_publisher(kind, f"/camera{index}/image", 20), picture))
    listeners = 2 if given.yardstick else 1
    give_up_s = time.monotonic() + FOUND_WITHIN_S
    while any(one.get_subscription_count() < listeners for one in (tf, *(sensor for sensor, _ in sensors))):
        time.sleep(0.05)
        if time.monotonic() > give_up_s:
            print("the recorder was not found: the middleware does not connect", flush=True)
            os._exit(NOT_FOUND)
    start_ns, begin = time.time_ns(), time.monotonic()
    size = sum(len(message) for _, message in sensors)
    print(f"{size * RATE_HZ / 1e6:.0f} MB/s", flush=True)
    ticks = TF_HZ // RATE_HZ
    gap_from = given.seconds * TF_HZ // 4
    for tick in range(given.seconds * TF_HZ + 5 * ticks):
        time.sleep(max(0.0, begin + tick / TF_HZ - time.monotonic()))
        stamp_ns = start_ns + tick * 10**9 // TF_HZ
        if not 0 <= tick - gap_from < given.tf_gap * TF_HZ:
            tf.publish(transform("map", "base_link", stamp_ns, 0.1 * tick / ticks))
        frame, slot = divmod(tick - ticks, ticks)  # a sweep is published when it is over
        if 0 <= frame < given.seconds * RATE_HZ:
            for sensor, message in sensors[slot::ticks]:
                sensor.publish(stamped(message, start_ns + frame * 10**9 // RATE_HZ))
    for sensor, _ in sensors:
        sensor.wait_for_all_acked(Duration(seconds=20))
    with leaving():
        rclpy.shutdown()


def publish_idle(given: argparse.Namespace) -> None:
    """Publish transforms and the clock at 100 Hz, and nothing else."""
    rclpy.init()
    node = rclpy.create_node("load")
    tf, clock = node.create_publisher(TFMessage, "/tf", 100), node.create_publisher(Clock, "/clock", 10)
    begin = time.monotonic()
    for tick in range(given.seconds * TF_HZ):
        time.sleep(max(0.0, begin + tick / TF_HZ - time.monotonic()))
        now = transform("map", "base_link", time.time_ns(), 0.0)
        tf.publish(now)
        clock.publish(Clock(clock=now.transforms[0].header.stamp))
    with leaving():
        rclpy.shutdown()


def subscribe(given: argparse.Namespace) -> None:
    """Take the sensors' messages and throw them away, as little as rclpy can do; until a signal comes."""
    rclpy.init()
    simulated = [Parameter("use_sim_time", value=given.idle and given.sim_time)]
    node = rclpy.create_node("yardstick", parameter_overrides=simulated)
    kind = Image if given.image == "raw" else CompressedImage
    wanted = [(PointCloud2, "/lidar"), (TFMessage, "/tf"), (TFMessage, "/tf_static")]
    for index in range(given.cameras):
        wanted += [(kind, f"/camera{index}/image"), (CameraInfo, f"/camera{index}/info")]
    for message_type, topic in wanted:
        node.create_subscription(message_type, topic, lambda _: None, 100, raw=True)
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(node)


def measure_idle(given: argparse.Namespace, recorder: int, bare: int) -> int:
    """Print the CPU time of a recorder that has nothing to record, and of a bare node with the same topics."""
    for what, program in (("silent", ["sleep", str(given.seconds)]), ("/tf and /clock", myself("--publish-idle"))):
        time.sleep(10.0)  # the start, and warnings of topics that nobody publishes come first
        before = [sum(map(cpu_seconds, family(pid))) for pid in (recorder, bare)]
        subprocess.run(program, check=True)
        after = [sum(map(cpu_seconds, family(pid))) for pid in (recorder, bare)]
        used, least = ((last - first) / given.seconds for first, last in zip(before, after, strict=True))
        print(f"CPU, {what:15} {used:.4f} cores; a bare rclpy node {least:.4f}", flush=True)
    return 0


def myself(flag: str) -> list[str]:
    """Return the command that runs this program in another role."""
    return [sys.executable, __file__, flag, *sys.argv[1:]]


def configuration(given: argparse.Namespace) -> str:
    """Return the recorder's parameter file."""
    names = [f"camera{index}" for index in range(given.cameras)]
    cameras = [f"      {n}: {{image_topic: /{n}/image, info_topic: /{n}/info, required: true}}" for n in names]
    lines = ["/**:", "  ros__parameters:", "    lidar_names: [top]", "    lidars:", "      top: {topic: /lidar}"]
    return (
        "\n".join([*lines, f"    camera_names: [{', '.join(names)}]", "    cameras:", *cameras])
        + "\n"
        + (events(given) if given.armed else "")
    )


def resident_bytes(pid: int) -> int:
    """Return the memory of a process without its libraries; what it shares with others counts for each."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0  # it has ended
    fields = dict(line.split(":", 1) for line in lines)
    return sum(int(fields.get(name, "0 kB").split()[0]) for name in ("RssAnon", "RssShmem")) * 1024


def family(pid: int) -> list[int]:
    """Return a process and its children, whichever of its threads started them."""
    found = [pid]
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread has ended meanwhile
            found += map(int, path.read_text().split())
    return found


class Watch:
    """Reads diagnostics and memory while the recorder runs."""

    def __init__(self, pid: int, viewed_cameras: int = 0) -> None:
        rclpy.init()
        self._pid = pid
        self._node = rclpy.create_node("watch")
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._take, 10)
        self.shown = 0
        for index in range(viewed_cameras):
            topic = f"/nucleus_recorder/overlay/camera{index}/compressed"
            self._node.create_subscription(CompressedImage, topic, self._count, 10, raw=True)
        self.values: dict[str, str] = {}
        self.waits: dict[str, str] = {}
        self.held: list[dict[str, str]] = []
        self.memory: list[int] = []
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        threading.Thread(target=self._executor.spin, daemon=True).start()

    def _count(self, _: bytes) -> None:
        self.shown += 1

    def _take(self, array: DiagnosticArray) -> None:
        for status in array.status:
            if status.name.endswith(": scenes"):
                self.values = {pair.key: pair.value for pair in status.values}
            if status.name.endswith(": events"):
                self.held.append({pair.key: pair.value for pair in status.values})
            if status.name.endswith(": tf"):
                self.waits = {pair.key: pair.value for pair in status.values}
        self.memory.append(sum(map(resident_bytes, family(self._pid))))


def report(given: argparse.Namespace, spool: Path, watch: Watch, cpu_s: float, sealing_s: float) -> int:
    """Print the figures; return the exit status."""
    manifests = [json.loads(path.read_text()) for path in sorted(spool.glob("scenes/*/manifest.json"))]
    frames, wanted = sum(m["frames"] for m in manifests), given.seconds * RATE_HZ
    if given.armed:
        wanted = (given.armed + AFTER_S) * RATE_HZ if given.mark else 0  # a mark lies between two frames
        for key in ("memory_bytes", "disk_bytes", "reach_s"):
            print(f"{key:17} {max(float(held[key]) for held in watch.held):.1f} at most")
    losses = {k: v for k, v in watch.values.items() if k.startswith("/") and v != "0"}
    memory = [size / 1e6 for size in watch.memory[5:] or watch.memory]
    third = max(1, len(memory) // 3)
    print(f"frames            {frames} of {wanted}, in {len(manifests)} scenes")
    print(f"losses            {losses or 'none'}")
    if given.view:
        print(f"images shown      {watch.shown}")
    print(f"callback p99      under {watch.values.get('callback_p99_ms', '?')} ms")
    first, last = sum(memory[:third]) / third, sum(memory[-third:]) / third
    print(f"memory, own MB    {first:.0f} first third, {last:.0f} last third, {max(memory):.0f} most")
    print(f"CPU               {cpu_s / given.seconds:.2f} cores (recorder and its workers)")
    print(f"sealing at SIGTERM {sealing_s:.1f} s")
    return 0 if frames == wanted else 1


def arguments() -> argparse.ArgumentParser:
    """Return what can be chosen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--points", type=int, default=130_000)
    parser.add_argument("--cameras", type=int, default=6)
    parser.add_argument("--image", choices=("jpeg", "raw"), default="jpeg")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--armed", type=int, default=0, metavar="S", help="select by events, with S seconds before")
    parser.add_argument(
        "--mark", type=float, default=0.0, metavar="S", help="with --armed: call ~/mark after S seconds"
    )
    parser.add_argument("--tf-gap", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--idle", action="store_true", help="measure a recorder that has nothing to record")
    parser.add_argument("--sim-time", action="store_true", help="with --idle: take the time from /clock")
    parser.add_argument("--yardstick", action="store_true", help="run a bare subscriber beside the recorder")
    parser.add_argument("--view", type=int, default=0, metavar="N", help="watch N cameras with points drawn on them")
    parser.add_argument("--publish-idle", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--subscribe", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--publish", action="store_true", help=argparse.SUPPRESS)
    return parser


def main() -> int:
    """Run the benchmark."""
    given = arguments().parse_args()
    for chosen, role in ((given.publish, publish), (given.publish_idle, publish_idle), (given.subscribe, subscribe)):
        if chosen:
            role(given)
            return 0
    os.environ.setdefault("FASTDDS_BUILTIN_TRANSPORTS", "LARGE_DATA")  # as docs/vehicle.md advises
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    with tempfile.TemporaryDirectory() as scratch:
        config, spool = Path(scratch, "config.yaml"), Path(scratch, "spool")
        config.write_text(configuration(given))
        parameters = [f"spool.path:={spool}", "autostart:=true", f"queue.workers:={given.workers}"]
        parameters.append(f"use_sim_time:={str(given.idle and given.sim_time).lower()}")
        flags = [flag for parameter in parameters for flag in ("-p", parameter)]
        program = [sys.executable, "-m", "nucleus_bridge.ros.recorder", "--ros-args", "--params-file", str(config)]
        recorder = subprocess.Popen([*program, *flags])
        bare = subprocess.Popen(myself("--subscribe")) if given.yardstick or given.idle else None
        try:
            if given.idle and bare is not None:
                return measure_idle(given, recorder.pid, bare.pid)
            watch = Watch(recorder.pid, given.view)
            load = subprocess.Popen(myself("--publish"))  # what it does not publish is missed below
            if given.mark:
                time.sleep(given.mark)
                print(f"marked            {mark()}")
            load.wait()
            last, settled = "", time.monotonic() + SETTLE_S
            while time.monotonic() < settled and (last != watch.values.get("frames") or not last):
                last = watch.values.get("frames", "")
                time.sleep(2.0)
            cpu_s = sum(cpu_seconds(pid) for pid in family(recorder.pid))
            if bare is not None:
                print(f"CPU, bare rclpy   {cpu_seconds(bare.pid) / given.seconds:.2f} cores, for the same messages")
            begin = time.monotonic()
        finally:
            if bare is not None:
                bare.terminate()
                bare.wait(30)
            recorder.send_signal(signal.SIGTERM)
            recorder.wait(30)
        return report(given, spool, watch, cpu_s, time.monotonic() - begin)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
