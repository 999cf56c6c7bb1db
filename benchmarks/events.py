# SPDX-License-Identifier: Apache-2.0
"""CPU time of converting the frames around events, beside that of converting all: one window of 20 s a minute.

    python benchmarks/events.py                     # a demo drive of a minute, two JPEG cameras, 30,000 points
    python benchmarks/events.py --seconds 120 --points 130000 --cameras 6

The event comes from a topic, so that the first pass counts as well. Each way runs in a process of its own, in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"

from rosbags.rosbag2 import Writer

from nucleus_bridge.recordings import open_recording
from nucleus_bridge.testing.demo import DriveOptions, demo_config, write_demo_drive
from nucleus_bridge.testing.demo.messages import TYPESTORE

EVENTS = """
    event_names: [brake]
    events:
      brake: {topic: /brake, when: "> 0.5", before_s: 10.0, after_s: 9.0}
"""
BRAKE_HZ, PERIOD_S, BEGIN_S, LENGTH_S = 50, 60, 25.0, 1.0


def with_brake(source: Path, target: Path, seconds: float, start_ns: int) -> Path:
    """Copy a recording and add a brake that is pressed once a minute."""
    kind = TYPESTORE.types["std_msgs/msg/Float64"]
    with open_recording(source) as bag, Writer(target, version=9) as writer:
        connections = {
            topic.name: writer.add_connection(topic.name, topic.type_name, typestore=TYPESTORE) for topic in bag.topics
        }
        brake = writer.add_connection("/brake", kind.__msgtype__, typestore=TYPESTORE)
        count = 0
        for message in bag.messages([topic.name for topic in bag.topics]):
            while count < seconds * BRAKE_HZ and start_ns + count * 10**9 // BRAKE_HZ <= message.log_ns:
                pressed = BEGIN_S <= count / BRAKE_HZ % PERIOD_S < BEGIN_S + LENGTH_S
                content = TYPESTORE.serialize_cdr(kind(data=float(pressed)), kind.__msgtype__)
                writer.write(brake, start_ns + count * 10**9 // BRAKE_HZ, content)
                count += 1
            writer.write(connections[message.topic], message.log_ns, message.data)
    return target


def convert_in_process(bag: Path, config: Path, spool: Path, select: str) -> dict[str, float]:
    """Convert once, in this process; return what it took."""
    from nucleus_bridge.config import load_config  # noqa: PLC0415
    from nucleus_bridge.convert import convert_bag  # noqa: PLC0415

    begin_s, begin_cpu = time.monotonic(), time.process_time()
    report = convert_bag(bag, load_config(config, [f"scene.select={select}"]), spool)
    return {
        "cpu_s": time.process_time() - begin_cpu,
        "wall_s": time.monotonic() - begin_s,
        "frames": sum(scene.manifest.frames for scene in report.scenes),
        "scenes": len(report.scenes),
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--points", type=int, default=30_000)
    parser.add_argument("--cameras", type=int, default=2)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        bag, config, spool, select = given.one
        print(json.dumps(convert_in_process(Path(bag), Path(config), Path(spool), select)))
        return
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        options = DriveOptions(seconds=given.seconds, points=given.points, cameras=given.cameras)
        plain = write_demo_drive(place / "plain", options)
        bag = with_brake(plain, place / "bag", given.seconds, options.start_ns)
        config = place / "config.yaml"
        config.write_text(demo_config(options) + EVENTS)
        best: dict[str, dict[str, float]] = {}
        for turn in range(given.turns):
            for select in ("all", "events"):
                spool = place / f"{select}{turn}"
                arguments = [sys.executable, __file__, "--one", str(bag), str(config), str(spool), select]
                row = json.loads(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)
                best[select] = min(best.get(select, row), row, key=lambda one: one["cpu_s"])
                print(turn, select, json.dumps({key: round(value, 2) for key, value in row.items()}))
        share = best["events"]["cpu_s"] / best["all"]["cpu_s"]
        print(f"events take {share:.3f} of the CPU time of all frames (bar 0.45)")


if __name__ == "__main__":
    main()
