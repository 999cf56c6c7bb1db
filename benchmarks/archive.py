# SPDX-License-Identifier: Apache-2.0
"""What an archive costs beside ``convert_bag`` in a loop: on the same recordings, in the same run, as ratios.

``python benchmarks/archive.py --bags 8 --seconds 6 --points 130000``
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from nucleus_bridge.archive.chunks import chunks_of
from nucleus_bridge.archive.executors import local_processes
from nucleus_bridge.archive.output import LocalOutput
from nucleus_bridge.archive.plain import to_json
from nucleus_bridge.archive.run import convert_archive
from nucleus_bridge.archive.work import Settings
from nucleus_bridge.config import Config, load_config
from nucleus_bridge.convert import convert_bag
from nucleus_bridge.recordings import open_recording
from nucleus_bridge.replay import primed_pipeline
from nucleus_bridge.testing.demo import DriveOptions, demo_config, write_demo_drive

SCENE_ITEMS = 45  # short scenes, so that a short drive has chunks


def make_bags(folder: Path, options: argparse.Namespace) -> tuple[list[Path], Config]:
    """Write recordings of one drive, an hour apart."""
    drive = DriveOptions(seconds=options.seconds, points=options.points, cameras=options.cameras)
    starts = [drive.start_ns + number * 3600 * 10**9 for number in range(options.bags)]
    bags = [
        write_demo_drive(folder / f"drive_{number}", replace(drive, start_ns=start))
        for number, start in enumerate(starts)
    ]
    (folder / "config.yaml").write_text(demo_config(drive))
    return bags, load_config(folder / "config.yaml", [f"scene.max_items={SCENE_ITEMS}"])


def loop(bags: list[Path], config: Config, spool: Path) -> None:
    """Convert one recording after the other in this process."""
    for bag in bags:
        convert_bag(bag, config, spool)


def archive(bags: list[Path], config: Config, spool: Path, workers: int, chunk_s: float = 0.0) -> None:
    """Convert them as an archive."""
    settings = Settings(config, str(spool), chunk_ns=round(chunk_s * 1e9))
    for result in convert_archive(bags, settings, LocalOutput(spool), local_processes(workers)):
        if not result.complete:
            sys.exit(f"{result.bag}: {result.state} {result.error}")


def decide(bags: list[Path], config: Config, spool: Path) -> None:
    """Do what is done once before the chunks of a recording are rendered."""
    del spool
    for bag in bags:
        with open_recording(bag) as recording:
            for chunk in chunks_of(recording, primed_pipeline(recording, config), 0):
                to_json(chunk)


def measure(name: str, work: Callable[..., None], *arguments: object, spool: Path) -> dict[str, Any]:
    """Return wall and CPU time of a way, its processes included."""
    before, start = os.times(), time.perf_counter()
    work(*arguments)
    wall = time.perf_counter() - start
    after = os.times()
    cpu = sum(after[:4]) - sum(before[:4])
    size = sum(path.stat().st_size for path in spool.rglob("*") if path.is_file()) if spool.exists() else 0
    return {"way": name, "wall_s": wall, "cpu_s": cpu, "bytes_out": size}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bags", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--points", type=int, default=130_000)
    parser.add_argument("--cameras", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="archive-") as top:
        bags, config = make_bags(Path(top), options)
        size = sum(path.stat().st_size for bag in bags for path in bag.iterdir())
        rows = []
        for name, work, extra in (
            ("loop in one process", loop, ()),
            ("archive, 1 worker", archive, (1,)),
            ("archive, 2 workers", archive, (2,)),
            ("archive, 2 workers, again", archive, (2,)),
            ("archive, 2 workers, chunks", archive, (2, options.seconds / 4)),
            ("first pass over chunks", decide, ()),
        ):
            spool = Path(top) / "spool"
            if not name.endswith("again"):
                shutil.rmtree(spool, ignore_errors=True)
            rows.append(measure(name, work, bags, config, spool, *extra, spool=spool))
    if options.json:
        print(json.dumps({"bytes_in": size, **vars(options), "rows": rows}, indent=1))
        return
    what = f"{options.bags} recordings of {options.seconds:g} s, {options.points} points, {options.cameras} cameras"
    print(f"{what}; {size / 1e6:.0f} MB in, {rows[0]['bytes_out'] / 1e6:.0f} MB out")
    print(f"{'':30}{'wall s':>8}{'cpu s':>8}{'wall, in loops':>16}{'cpu, in loops':>15}")
    for row in rows:
        ratios = f"{row['wall_s'] / rows[0]['wall_s']:16.2f}{row['cpu_s'] / rows[0]['cpu_s']:15.2f}"
        print(f"{row['way']:30}{row['wall_s']:8.1f}{row['cpu_s']:8.1f}{ratios}")


if __name__ == "__main__":
    main()
