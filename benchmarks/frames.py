# SPDX-License-Identifier: Apache-2.0
"""Measure how fast points become the messages of a sensor-fusion frame, beside filling protobuf's own, on one core.

Every route starts from the same arrays and ends with the same bytes, which is checked. All take turns, and the least
CPU time of each counts, so that other load on the machine favours none.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.internal import api_implementation

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "test")]

from lidar_frame_messages import messages  # noqa: E402

from benchmarks.turns import KEYS, Columns, few_and_all, least_cpu_s, stay_on_one_core, sweep  # noqa: E402
from nucleus_bridge.formats.sensor_fusion.point_protobuf import encode_points  # noqa: E402

BAR_MS = 40.0
BAR_RATIO = 20.0


def rounded(columns: Columns) -> Columns:
    """Round to the decimals of the format, as protobuf's own message does not."""
    xyz = columns["xyz"].round(3) + 0.0  # no -0.0
    return {**columns, "xyz": xyz, "intensity": columns["intensity"].round(3)}


def filled(columns: Columns) -> bytes:
    """Fill a message point by point, as one would by hand."""
    frame = messages()["LidarFrame"]()
    add = frame.points.add
    keys = ("x", "y", "z", *(KEYS[name] for name in columns if name != "xyz"))
    values = [*columns["xyz"].T.tolist(), *(column.tolist() for name, column in columns.items() if name != "xyz")]
    for row in zip(*values, strict=True):
        add(**dict(zip(keys, row, strict=True)))
    return bytes(frame.SerializePartialToString())


def filled_plainly(columns: Columns) -> bytes:
    """Fill a message point by point with the keys written out: the fastest way of those tried."""
    frame = messages()["LidarFrame"]()
    add = frame.points.add
    values = [*columns["xyz"].T.tolist(), *(column.tolist() for name, column in columns.items() if name != "xyz")]
    if "device" not in columns:
        for x, y, z, i in zip(*values, strict=True):
            add(x=x, y=y, z=z, i=i)
    else:
        for x, y, z, i, d, t, ground in zip(*values, strict=True):
            add(x=x, y=y, z=z, i=i, d=d, t=t, is_ground=ground)
    return bytes(frame.SerializePartialToString())


def measure(columns: Columns, rounds: int) -> dict[str, Any]:
    """Return each way's least CPU time, and whether the bars are met."""
    ways: dict[str, Callable[[], Any]] = {
        "nucleus_bridge": lambda: encode_points(**columns),
        "protobuf, keys written out": lambda: filled_plainly(columns),
        "protobuf, keys by name": lambda: filled(columns),
    }
    if len({bytes(way()) for way in ways.values()}) != 1:
        raise SystemExit("the ways give different bytes")
    best = least_cpu_s(ways, rounds)
    ours = best["nucleus_bridge"]
    ratio = best["protobuf, keys written out"] / ours
    rows = {name: {"ms": seconds * 1e3, "ours_is_faster_by": seconds / ours} for name, seconds in best.items()}
    return {"rows": rows, "bars_met": ours * 1e3 < BAR_MS and ratio >= BAR_RATIO}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    stay_on_one_core()
    columns = rounded(sweep(options.points))
    results = {keys: measure(given, options.rounds) for keys, given in few_and_all(columns).items()}
    about = f"{options.points} points, one core, Python {platform.python_version()}, numpy {np.__version__}, "
    about += f"protobuf's {api_implementation.Type()} implementation; least CPU time of each"
    if options.json:
        print(json.dumps({"about": about, "results": results}, indent=1))
        return
    print(about)
    for title, result in results.items():
        print(f"\n{title:28}{'ms':>9}  ours is faster by")
        for name, row in result["rows"].items():
            print(f"{name:28}{row['ms']:9.2f}{row['ours_is_faster_by']:9.1f}")
        print(
            f"bars: under {BAR_MS:.0f} ms, at least {BAR_RATIO:.0f} times: {'met' if result['bars_met'] else 'MISSED'}"
        )


if __name__ == "__main__":
    main()
