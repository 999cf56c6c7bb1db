# SPDX-License-Identifier: Apache-2.0
"""Measure how fast point clouds become JSON, beside json, orjson and pandas, on one core.

Every route starts from the same arrays and ends with the bytes of the array of points; two rows leave out making the
dicts. All take turns, and the least CPU time of each counts, so that other load on the machine favours none.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.turns import KEYS, Columns, few_and_all, least_cpu_s, stay_on_one_core, sweep
from nucleus_bridge.formats.point_json import encode_points

OURS = "nucleus_bridge"
BARS = {"json.dumps of dicts": 30.0, "orjson of dicts": 8.0, "pandas records": 8.0}
BAR_POINTS_PER_S = 15e6  # of x y z i, on a machine where json.dumps of dicts does 0.55e6

_RUNS = 3


def dicts(columns: Columns) -> list[dict[str, Any]]:
    """Make a dict of each point, as one would by hand."""
    x, y, z = np.round(columns["xyz"], 3).T.tolist()
    i = np.round(columns["intensity"].astype(np.float64), 3).tolist()
    if "device" not in columns:
        return [{"x": x, "y": y, "z": z, "i": i} for x, y, z, i in zip(x, y, z, i, strict=True)]
    rest = (columns[name].tolist() for name in ("device", "time_ns", "is_ground"))
    return [
        {"x": x, "y": y, "z": z, "i": i, "d": d, "t": t, "is_ground": ground}
        for x, y, z, i, d, t, ground in zip(x, y, z, i, *rest, strict=True)
    ]


def routes(columns: Columns) -> tuple[dict[str, Callable[[], Any]], list[str]]:
    """Return the ways to encode the columns, and the peers that are not installed."""
    ready = dicts(columns)
    if json.loads(bytes(encode_points(**columns))) != ready:
        raise SystemExit("our JSON differs from the dicts'")
    found: dict[str, Callable[[], Any]] = {
        OURS: lambda: encode_points(**columns),
        "json.dumps of dicts": lambda: json.dumps(dicts(columns)).encode(),
        "json.dumps, dicts ready": lambda: json.dumps(ready).encode(),
    }
    missing = []
    try:
        orjson = importlib.import_module("orjson")
        found["orjson of dicts"] = lambda: orjson.dumps(dicts(columns))
        found["orjson, dicts ready"] = lambda: orjson.dumps(ready)
    except ImportError:
        missing.append("orjson")
    try:
        pandas = importlib.import_module("pandas")
        named = dict(zip("xyz", columns["xyz"].T, strict=True))
        named.update({KEYS[name]: column for name, column in columns.items() if name != "xyz"})
        found["pandas records"] = lambda: pandas.DataFrame(named).to_json(orient="records", double_precision=4).encode()
    except ImportError:
        missing.append("pandas")
    return found, missing


def measure(ways: Mapping[str, Callable[[], Any]], points: int, rounds: int) -> dict[str, dict[str, float]]:
    """Return each way's figures, of its fastest run."""
    return {
        name: {"ms": s * 1e3, "points_per_s": points / s, "bytes_per_point": len(ways[name]()) / points}
        for name, s in least_cpu_s(ways, rounds, _RUNS).items()
    }


def compare(columns: Columns, rounds: int) -> dict[str, Any]:
    """Measure us and the peers on the same columns and say which bars are met."""
    ways, missing = routes(columns)
    rows = measure(ways, len(columns["xyz"]), rounds)
    for row in rows.values():
        row["ours_is_faster_by"] = row["ms"] / rows[OURS]["ms"]
    met = {name: rows[name]["ours_is_faster_by"] >= bar for name, bar in BARS.items() if name in rows}
    if "device" not in columns:
        met[OURS] = rows[OURS]["points_per_s"] >= BAR_POINTS_PER_S
    return {"rows": rows, "missing": missing, "bars_met": met}


def ours_elsewhere(columns: Columns, rounds: int) -> dict[str, Any]:
    """Measure us alone on other clouds."""
    xyz, intensity = columns["xyz"], columns["intensity"]
    clouds = {
        "x y z": {"xyz": xyz},
        "x y z t": {"xyz": xyz, "time_ns": columns["time_ns"]},
        "x y z i, within 60 m": {"xyz": xyz / 3, "intensity": intensity},
        "x y z i, 5 km away": {"xyz": np.add(xyz, (4000.0, -3000.0, 0.0)), "intensity": intensity},
        "x y z i, 32-bit floats": {"xyz": xyz.astype(np.float32), "intensity": intensity},
    }
    ways = {name: partial(encode_points, **cloud) for name, cloud in clouds.items()}
    return {"rows": measure(ways, len(xyz), rounds), "missing": [], "bars_met": {}}


def show(title: str, result: dict[str, Any]) -> None:
    """Print one table."""
    compared = "  ours is faster by" if result["bars_met"] else ""
    print(f"\n{title:26}{'ms':>9}{'M points/s':>12}{'bytes/point':>13}{compared}")
    for name, row in result["rows"].items():
        print(
            f"{name:26}{row['ms']:9.2f}{row['points_per_s'] / 1e6:12.2f}{row['bytes_per_point']:13.1f}"
            + (f"{row['ours_is_faster_by']:9.1f}" if "ours_is_faster_by" in row else "")
            + (f"  bar: {BARS[name]:.0f}" if name in BARS else "")
            + (f"  bar: {BAR_POINTS_PER_S / 1e6:.0f} M points/s" if name in result["bars_met"] and name == OURS else "")
            + ("" if result["bars_met"].get(name, True) else "  MISSED")
        )
    for name in result["missing"]:
        print(f"{name:26} missing: not installed")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=130_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    stay_on_one_core()
    columns = sweep(options.points)
    results = {
        **{keys: compare(given, options.rounds) for keys, given in few_and_all(columns).items()},
        "ours, other clouds": ours_elsewhere(columns, options.rounds),
    }
    about = {"points": options.points, "python": platform.python_version(), "numpy": np.__version__}
    if options.json:
        print(json.dumps({**about, "results": results}, indent=1))
        return
    print("{points} points, one core, Python {python}, numpy {numpy}; least CPU time of each".format(**about))
    for title, result in results.items():
        show(title, result)


if __name__ == "__main__":
    main()
