# SPDX-License-Identifier: Apache-2.0
"""CPU time of converting the frames around events, beside that of converting all: a third of the drive is kept.

    python benchmarks/events.py                              # 30 s of 130,000 points and six JPEG cameras, 2.3 GB
    python benchmarks/events.py --seconds 60 --points 30000 --cameras 2

One event a minute with a window of 20 s, or the same in less time. Sweeps and pictures are those of one instant with
other stamps, so that the drive is made quickly. The event comes from a topic, so that the first pass counts as well.
Each way runs in a process of its own, in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"

from rosbags.rosbag2 import StoragePlugin, Writer

from nucleus_bridge.decode.cdr import with_stamp
from nucleus_bridge.testing.demo import DriveOptions, demo_config
from nucleus_bridge.testing.demo.messages import CAMERA_INFO, CLOUD, COMPRESSED_IMAGE, TYPESTORE
from nucleus_bridge.testing.demo.streams import Stream, streams_of

BRAKE_HZ = 50
BRAKE = "std_msgs/msg/Float64"


def events(seconds: float) -> str:
    """Return the event, whose window is a third of the drive, in its middle."""
    return f"""
    event_names: [brake]
    events:
      brake: {{topic: /brake, when: "> 0.5", before_s: {seconds / 6 - 0.5:.3f}, after_s: {seconds / 6 - 0.5:.3f}}}
"""


def write_bag(path: Path, options: DriveOptions) -> None:
    """Write the drive, with a brake that is pressed for a second in its middle."""
    rows: list[tuple[int, int, Stream]] = []
    streams = [_of_one_instant(stream) for stream in streams_of(options)]
    for stream in streams:
        rows += [(int(log_ns), index, stream) for index, log_ns in enumerate(stream.log_ns)]
    middle_s = options.seconds / 2
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {
            stream.topic: writer.add_connection(stream.topic, stream.type_name, typestore=TYPESTORE)
            for stream in streams
        }
        brake = writer.add_connection("/brake", BRAKE, typestore=TYPESTORE)
        count = 0
        for log_ns, index, stream in sorted(rows, key=lambda row: row[:2]):
            while options.start_ns + count * 10**9 // BRAKE_HZ <= log_ns:
                value = float(abs(count / BRAKE_HZ - middle_s) < 0.5)
                content = TYPESTORE.serialize_cdr(TYPESTORE.types[BRAKE](data=value), BRAKE)
                writer.write(brake, options.start_ns + count * 10**9 // BRAKE_HZ, content)
                count += 1
            writer.write(connections[stream.topic], log_ns, stream.message(index))


def _of_one_instant(stream: Stream) -> Stream:
    """Return a stream of sweeps, pictures or calibrations whose messages differ in their stamps alone."""
    if stream.type_name not in (CLOUD, COMPRESSED_IMAGE, CAMERA_INFO):
        return stream
    first = stream.message(0)
    message: Callable[[int], bytes] = lambda index: with_stamp(first, int(stream.stamps_ns[index]))  # noqa: E731
    return replace(stream, message=message)


def convert_in_process(bag: Path, config: Path, spool: Path, select: str) -> dict[str, float]:
    """Convert once, in this process; return what it took."""
    from nucleus_bridge.config import load_config  # noqa: PLC0415
    from nucleus_bridge.convert import convert_bag  # noqa: PLC0415

    small = bag.with_name("small")  # what is loaded once is nothing beside an hour
    convert_bag(small, load_config(config, [f"scene.select={select}"]), spool.with_name("warm"))
    shutil.rmtree(spool.with_name("warm"))
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
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--points", type=int, default=130_000)
    parser.add_argument("--cameras", type=int, default=6)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        bag, config, spool, select = given.one
        print(json.dumps(convert_in_process(Path(bag), Path(config), Path(spool), select)))
        return
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        options = DriveOptions(
            seconds=given.seconds, points=given.points, cameras=given.cameras, image_width=1920, image_height=1080
        )
        bag, config = place / "bag", place / "config.yaml"
        write_bag(bag, options)
        write_bag(place / "small", replace(options, seconds=1.0))
        config.write_text(demo_config(options) + events(given.seconds))
        best: dict[str, dict[str, float]] = {}
        for turn in range(given.turns):
            for select in ("all", "events"):
                spool = place / "spool"
                arguments = [sys.executable, __file__, "--one", str(bag), str(config), str(spool), select]
                shutil.rmtree(spool, ignore_errors=True)
                row = json.loads(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)
                best[select] = min(best.get(select, row), row, key=lambda one: one["cpu_s"])
                print(turn, select, json.dumps({key: round(value, 2) for key, value in row.items()}))
        share = best["events"]["cpu_s"] / best["all"]["cpu_s"]
        print(f"events take {share:.3f} of the CPU time of all frames (bar 0.45)")


if __name__ == "__main__":
    main()
