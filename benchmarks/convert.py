# SPDX-License-Identifier: Apache-2.0
"""Time and memory of ``convert`` beside what a plain script takes and beside merely copying the bytes.

Each way runs in a process of its own on the same demo drive; processor time and peak memory are the kernel's figures.
``python benchmarks/convert.py --seconds 10 60 --points 130000 --cameras 6``
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
from pathlib import Path
from typing import Any

PLAIN_SCRIPT = """
import json, sys
from pathlib import Path
import numpy as np
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore
bag, out = Path(sys.argv[1]), Path(sys.argv[2])
types = get_typestore(Stores.ROS2_HUMBLE)
out.mkdir()
turn, shift = np.eye(3), np.array([1.0, 2.0, 3.0])
number = 0
with Reader(bag) as reader:
    for connection, _, data in reader.messages():
        if connection.msgtype == "sensor_msgs/msg/PointCloud2":
            cloud = types.deserialize_cdr(data, connection.msgtype)
            dtype = {"names": [], "formats": [], "offsets": [], "itemsize": cloud.point_step}
            for field in cloud.fields:
                if field.name in ("x", "y", "z", "intensity"):
                    dtype["names"].append(field.name)
                    dtype["formats"].append("<f4")
                    dtype["offsets"].append(field.offset)
            rows = np.frombuffer(cloud.data, np.dtype(dtype))
            xyz = np.stack([rows["x"], rows["y"], rows["z"]], axis=1) @ turn.T + shift
            points = [
                {"x": round(x, 3), "y": round(y, 3), "z": round(z, 3), "i": round(i, 3)}
                for (x, y, z), i in zip(xyz.tolist(), (rows["intensity"] / 255).tolist())
            ]
            (out / f"{number:06d}.json").write_text(json.dumps({"points": points}))
        elif connection.msgtype == "sensor_msgs/msg/CompressedImage":
            image = types.deserialize_cdr(data, connection.msgtype)
            (out / f"{number:06d}.jpg").write_bytes(image.data.tobytes())
        number += 1
"""

COPY = """
import os, sys
source, target, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
for path in os.scandir(source):
    if path.is_file():
        with open(path, "rb", buffering=0) as file:
            while file.read(1 << 20):
                pass
block, left = os.urandom(1 << 20), size
os.mkdir(target)
number = 0
while left > 0:
    with open(f"{target}/{number:06d}", "wb", buffering=0) as file:
        for _ in range(6):
            left -= file.write(block[: max(0, min(left, 1 << 20))])
    number += 1
"""


def measure(command: list[str]) -> dict[str, float]:
    """Run a command; return its wall time, processor time and peak memory, its children's included."""
    reader, writer = os.pipe()
    start = time.perf_counter()
    child = os.fork()
    if child == 0:
        os.close(reader)
        status = subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        record = {"status": status, "cpu_s": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024}
        os.write(writer, json.dumps(record).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        record = json.loads(pipe.read())
    os.waitpid(child, 0)
    if record.pop("status"):
        sys.exit(f"failed: {' '.join(command)}")
    return {"wall_s": time.perf_counter() - start, **record}


def compare(folder: Path, seconds: float, options: argparse.Namespace) -> dict[str, Any]:
    """Make a drive and convert it in every way."""
    tool = [sys.executable, "-m", "nucleus_bridge"]
    bag, spool = folder / "drive", folder / "spool"
    arguments = ["--seconds", str(seconds), "--points", str(options.points), "--cameras", str(options.cameras)]
    subprocess.run([*tool, "demo-drive", str(bag), *arguments], check=True, stdout=subprocess.DEVNULL)
    convert = [*tool, "convert", str(bag), "--config", f"{bag}.yaml", "--output", str(spool)]
    rows: dict[str, Any] = {}
    for workers in options.workers:
        shutil.rmtree(spool, ignore_errors=True)
        rows[f"convert, {workers} worker{'s' * (workers > 1)}"] = measure([*convert, "--workers", str(workers)])
    written = sum(path.stat().st_size for path in spool.rglob("*") if path.is_file())
    rows["copy of the same bytes"] = measure([sys.executable, "-c", COPY, str(bag), str(folder / "copy"), str(written)])
    shutil.rmtree(folder / "copy")
    if not options.no_script:
        rows["plain script"] = measure([sys.executable, "-c", PLAIN_SCRIPT, str(bag), str(folder / "plain")])
        shutil.rmtree(folder / "plain")
    return {
        "seconds": seconds,
        "points": options.points,
        "cameras": options.cameras,
        "bytes_out": written,
        "rows": rows,
    }


def show(result: dict[str, Any]) -> None:
    """Print one drive's table."""
    rows = result["rows"]
    base = rows["convert, 1 worker"] if "convert, 1 worker" in rows else next(iter(rows.values()))
    print(f"\n{result['seconds']:g} s, {result['points']} points a sweep, {result['cameras']} cameras, "
          f"{result['bytes_out'] / 1e6:.0f} MB written")  # fmt: skip
    print(f"{'':28}{'wall s':>9}{'cpu s':>9}{'peak MB':>9}{'cpu, in converts':>18}")
    for name, row in rows.items():
        ratio = row["cpu_s"] / base["cpu_s"]
        print(f"{name:28}{row['wall_s']:9.1f}{row['cpu_s']:9.1f}{row['peak_mb']:9.0f}{ratio:18.2f}")


def main() -> None:
    """Run the comparison for each length."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, nargs="+", default=[10.0])
    parser.add_argument("--points", type=int, default=130_000)
    parser.add_argument("--cameras", type=int, default=2)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--no-script", action="store_true", help="leave the slow plain script out")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = []
    for seconds in options.seconds:
        with tempfile.TemporaryDirectory(prefix="convert-") as folder:
            results.append(compare(Path(folder), seconds, options))
        if not options.json:
            show(results[-1])
    if options.json:
        print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
