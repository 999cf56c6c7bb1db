# SPDX-License-Identifier: Apache-2.0
"""Time and memory of ``convert`` beside plain scripts and beside merely copying the bytes.

Each way runs in a process of its own on the same demo drive, numpy's threads switched off; CPU time and peak
memory are the kernel's figures, those of worker processes included. Growth with each quantity is a list of drives:

    python -m benchmarks.convert --seconds 10 30 60
    python -m benchmarks.convert --points 30000 130000 260000
    python -m benchmarks.convert --cameras 0 3 6
    python -m benchmarks.convert --workers 1 2
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.rows import Row

COPY_SYNCED = "copying messages, synced"
BARS = {"plain script, json": 12.0, COPY_SYNCED: 0.25}
READERS = ("validate", "preview", "preview, cameras measured")
SFS = "convert --format sfs"
BAR_READER = BAR_SFS = 1.0  # no more CPU time than a conversion of the same frames
BAR_TWO_WORKERS = 1.8
BAR_PEAK_MB = 400.0

PLAIN_SCRIPT = """
import sys
from pathlib import Path
import numpy as np
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore
bag, out = Path(sys.argv[1]), Path(sys.argv[2])
if sys.argv[3] == "orjson":
    from orjson import dumps
else:
    import json
    def dumps(document):
        return json.dumps(document).encode()
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
            (out / f"{number:06d}.json").write_bytes(dumps({"points": points}))
        elif connection.msgtype == "sensor_msgs/msg/CompressedImage":
            image = types.deserialize_cdr(data, connection.msgtype)
            (out / f"{number:06d}.jpg").write_bytes(image.data.tobytes())
        number += 1
"""

COPY = """
import os, sys
from pathlib import Path
bag, target, size, way = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
target.mkdir()
if way == "messages":
    from rosbags.rosbag2 import Reader
    with Reader(bag) as reader:
        for _ in reader.messages():
            pass
else:
    for path in bag.iterdir():
        with path.open("rb", buffering=0) as file:
            while file.read(1 << 18):
                pass
block, number = os.urandom(1 << 18), 0
while size > 0:
    with (target / f"{number:06d}").open("wb", buffering=0) as file:
        for _ in range(24):
            size -= file.write(block[: max(0, min(size, 1 << 18))])
    number += 1
if way == "messages":
    for path in target.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
"""
"""Read the messages and write as many bytes to the disk, as convert does; or the bare files to the page cache."""


@dataclass(frozen=True)
class Drive:
    """What is converted."""

    seconds: float
    points: int
    cameras: int


def measure(command: Sequence[str | Path]) -> dict[str, float]:
    """Run a command; return its wall time, CPU time and peak memory, its children's included."""
    reader, writer = os.pipe()
    start = time.perf_counter()
    child = os.fork()
    if child == 0:
        os.close(reader)
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package is compiled
        status = subprocess.run(command, stdout=subprocess.DEVNULL, env=environment, check=False).returncode
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        record = {"status": status, "cpu_s": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024}
        os.write(writer, json.dumps(record).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        record = json.loads(pipe.read())
    os.waitpid(child, 0)
    if record.pop("status"):
        sys.exit(f"failed: {' '.join(map(str, command))}")
    return {"wall_s": time.perf_counter() - start, **record}


def release_cache(folder: Path) -> None:
    """Write earlier output to the disk and free its memory: a run that gets memory no run has used takes far longer."""
    os.sync()
    for path in folder.glob("out-*/**/*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def compare(
    folder: Path, drive: Drive, rounds: int, workers: Sequence[int] = (1, 2), *, scripts: bool = True
) -> dict[str, Any]:
    """Make a drive and convert it in every way, taking turns; of each way the fastest run counts."""
    tool: list[str | Path] = [sys.executable, "-m", "nucleus_bridge"]
    bag = folder / "drive"
    # Nothing is removed before the last run: for each file that is made, ext4 passes one by one over the inodes of
    # files that were removed in the last minutes, and with thousands of them that costs seconds.
    places = (folder / f"out-{number}" for number in itertools.count())
    options = [f"--{name}={value}" for name, value in asdict(drive).items()]
    subprocess.run([*tool, "demo-drive", str(bag), *options], check=True, stdout=subprocess.DEVNULL)
    convert = [*tool, "convert", bag, "--config", f"{bag}.yaml"]
    runs: dict[str, list[dict[str, float]]] = {}
    spool, written = folder, 0

    def run(name: str, command: Sequence[object]) -> None:
        release_cache(folder)
        runs.setdefault(name, []).append(measure([str(part) for part in command]))

    for turn in range(rounds):
        for count in workers if turn % 2 == 0 else reversed(workers):
            spool = next(places)
            name = f"convert, {count} worker{'s' * (count > 1)}"
            run(name, [*convert, "--workers", str(count), "--output", spool])
        written = sum(path.stat().st_size for path in spool.rglob("*") if path.is_file())
        run(SFS, [*convert, "--format", "sfs", "--output", next(places)])
        run("validate", [*tool, "validate", spool])
        run("preview", [*tool, "preview", spool, "-o", next(places), "--no-calibration"])
        run("preview, cameras measured", [*tool, "preview", spool, "-o", next(places)])
        copy: list[str | Path] = [sys.executable, "-c", COPY, bag]
        ways: dict[str, list[str | Path]] = {
            COPY_SYNCED: [*copy, next(places), str(written), "messages"],
            "copying files, not synced": [*copy, next(places), str(written), "files"],
        }
        if scripts and turn == 0:  # they take minutes, and vary less than they are slower
            for library in filter(importlib.util.find_spec, ("json", "orjson")):
                ways[f"plain script, {library}"] = [sys.executable, "-c", PLAIN_SCRIPT, bag, next(places), library]
        for name, command in ways.items():
            run(name, command)
    best = {name: min(taken, key=lambda run: run["wall_s"]) for name, taken in runs.items()}
    return {**asdict(drive), "bytes_out": written, "rows": best}


def rows(result: dict[str, Any]) -> Iterator[Row]:
    """Yield the lines of the common table."""
    taken = dict(result["rows"])
    one, two = taken.pop("convert, 1 worker"), taken.pop("convert, 2 workers")
    for reader in READERS:
        name = f"{reader} of the same frames, cpu"
        yield Row(name, taken.pop(reader)["cpu_s"], "s", "convert, 1 worker", one["cpu_s"], BAR_READER)
    yield Row(f"{SFS}, cpu", taken.pop(SFS)["cpu_s"], "s", "convert, 1 worker", one["cpu_s"], BAR_SFS)
    for figure in ("cpu_s", "wall_s"):
        name = f"convert {result['seconds']:g} s of driving, {figure.partition('_')[0]}"
        for peer, row in taken.items():
            yield Row(name, one[figure], "s", peer, row[figure], BARS.get(peer))
    yield Row("convert with two workers, wall", two["wall_s"], "s", "with one", one["wall_s"], BAR_TWO_WORKERS)
    yield Row("convert with two workers, cpu", two["cpu_s"], "s", "with one", one["cpu_s"])
    yield Row("peak memory with one worker", one["peak_mb"], "MB", bar=BAR_PEAK_MB)


def show(result: dict[str, Any]) -> None:
    """Print one drive's table."""
    taken = result["rows"]
    base = next(iter(taken.values()))
    print(f"\n{result['seconds']:g} s, {result['points']} points a sweep, {result['cameras']} cameras, "
          f"{result['bytes_out'] / 1e6:.0f} MB written")  # fmt: skip
    print(f"{'':28}{'wall s':>9}{'cpu s':>9}{'peak MB':>9}{'wall, in converts':>19}{'cpu, in converts':>18}")
    for name, row in taken.items():
        ratios = (row[figure] / base[figure] for figure in ("wall_s", "cpu_s"))
        print(
            f"{name:28}{row['wall_s']:9.2f}{row['cpu_s']:9.2f}{row['peak_mb']:9.0f}{next(ratios):19.2f}{next(ratios):18.2f}"
        )


def main() -> None:
    """Run the comparison for each drive."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, nargs="+", default=[10.0])
    parser.add_argument("--points", type=int, nargs="+", default=[130_000])
    parser.add_argument("--cameras", type=int, nargs="+", default=[6])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--no-script", action="store_true", help="leave the slow plain scripts out")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = []
    for chosen in itertools.product(options.seconds, options.points, options.cameras):
        with tempfile.TemporaryDirectory(prefix="convert-") as folder:
            given = (Drive(*chosen), options.rounds, options.workers)
            results.append(compare(Path(folder), *given, scripts=not options.no_script))
        if not options.json:
            show(results[-1])
    if options.json:
        print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
