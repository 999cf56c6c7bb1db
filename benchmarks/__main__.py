# SPDX-License-Identifier: Apache-2.0
"""All of the converter's figures in one table: each stage and end to end, beside peers on the same input.

    python -m benchmarks                                # about five minutes on a quiet machine
    python -m benchmarks --json after.json              # and keep the figures
    python -m benchmarks --compare before.json after.json

Scale's own writer takes part where NUCLEUS_BRIDGE_LIDAR_IO_PYTHON names an interpreter that has ``scale-lidar-io``.
The recorder and the uploader have programs of their own: benchmarks/live.py and benchmarks/upload.py.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy is loaded: one core is compared with one core

import numpy as np

from benchmarks import convert, encoder, stages
from benchmarks.rows import Row, show, show_change
from benchmarks.turns import few_and_all, sweep


def encoding(points: int, rounds: int) -> Iterator[Row]:
    """Yield the encoder beside json, orjson and pandas."""
    for keys, given in few_and_all(sweep(points)).items():
        rows = encoder.compare(given, rounds)["rows"]
        ours = rows.pop(encoder.OURS)["ms"]
        for peer, row in rows.items():
            yield Row(f"encode {keys}", ours, "ms", peer, row["ms"], encoder.BARS.get(peer))


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=130_000, help="rays a sweep")
    parser.add_argument("--cameras", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=30.0, help="length of the drive that is converted")
    parser.add_argument("--rounds", type=int, default=2, help="how often each way is taken; the best counts")
    parser.add_argument("--stages-only", action="store_true", help="leave whole drives out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures")
    parser.add_argument("--compare", type=Path, nargs=2, metavar="FILE", help="compare two runs that were kept")
    options = parser.parse_args()
    if options.compare:
        show_change(*(json.loads(path.read_text()) for path in options.compare))
        return
    about = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "points": options.points,
        "cameras": options.cameras,
        "seconds": options.seconds,
    }
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    rows = [*stages.measure(options.points), *encoding(options.points, options.rounds)]
    if not options.stages_only:
        with tempfile.TemporaryDirectory(prefix="convert-") as folder:
            drive = convert.Drive(options.seconds, options.points, options.cameras)
            rows += convert.rows(convert.compare(Path(folder), drive, options.rounds))
    show(rows)
    if options.json:
        kept = [{**asdict(row), "ratio": row.ratio, "met": row.met} for row in rows]
        options.json.write_text(json.dumps({**about, "rows": kept}, indent=1) + "\n")


if __name__ == "__main__":
    main()
