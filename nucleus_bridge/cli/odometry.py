# SPDX-License-Identifier: Apache-2.0
"""``nucleus-bridge odometry``: estimate the device's trajectory from its lidar."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from nucleus_bridge.cli.progress import progress_bar
from nucleus_bridge.config import load_config

_WORLD = "odom_lidar"
"""A frame of the trajectory's own: no other frame is where it begins."""


def add_parser(commands: Any) -> argparse.ArgumentParser:  # noqa: ANN401 - argparse keeps its type private
    """Add the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "odometry",
        help="estimate the device's trajectory from its lidar",
        description="Estimate how the device moved where a recording has no poses: each sweep is registered to those "
        "before it. The result is a TUM file for poses.<name>.file. Its poses are relative to the first sweep and "
        "drift; stretches that cannot be registered are gaps, at which scenes end. Needs the extra 'odometry'.",
        epilog="example: nucleus-bridge odometry /data/drive --config config.yaml -o drive.tum",
    )
    parser.add_argument("bag", metavar="BAG", type=Path, help="recording")
    parser.add_argument("--config", metavar="FILE", type=Path, required=True, help="configuration: lidars and mounts")
    parser.add_argument("-o", "--output", metavar="FILE.tum", type=Path, required=True, help="trajectory to write")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="override a parameter, such as world_frame=map (repeatable)",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(run=run)
    return parser


def run(options: argparse.Namespace) -> int:
    """Estimate, write and report; 1 when a stretch could not be registered."""
    from nucleus_bridge.odometry import DRIFT, estimate_trajectory, write_trajectory  # noqa: PLC0415 - loads numpy
    from nucleus_bridge.recordings import open_recording  # noqa: PLC0415

    # The poses that the configuration names may be those that are to be written.
    config = load_config(options.config, [*options.set, "pose_names=[]"])
    with open_recording(options.bag) as recording, progress_bar(f"odometry {options.bag.name}") as bar:
        estimate = estimate_trajectory(recording, config, bar)
    write_trajectory(options.output, estimate)
    poses, way_m = estimate.poses, estimate.way_m
    report = {
        "poses": len(poses),
        "seconds": (poses[-1].stamp_ns - poses[0].stamp_ns) / 1e9,
        "way_m": round(way_m, 1),
        "sweeps": estimate.sweeps,
        "failed": estimate.failed,
        "gaps": estimate.gaps,
        "degenerate": estimate.degenerate,
        "least_inliers": round(min(pose.inliers for pose in poses), 3),
        "largest_residual": round(max(pose.residual for pose in poses), 3),
        "undecoded": estimate.undecoded,
        "distorted": estimate.distorted,
        "drift_m": round(DRIFT * way_m, 1),
    }
    if options.json:
        print(json.dumps({"file": str(options.output), **report}))
    else:
        _print(options.output, report, config.device_frame)
        file = os.path.relpath(options.output.resolve(), options.config.resolve().parent)
        print(f"to use it: world_frame: {_WORLD}, pose_names: [ego], poses.ego.file: {file}")
    if estimate.distorted:
        _warn("the points of a lidar have no times: estimated from sweeps that the motion distorts")
    if estimate.degenerate:
        _warn(f"{estimate.degenerate} poses can slide in one direction: their surroundings look alike along it")
    return 1 if estimate.failed or estimate.undecoded else 0


def _print(output: Path, report: dict[str, Any], device: str) -> None:
    print(
        f"{output}: {report['poses']} poses of {device} over {report['seconds']:.1f} s and {report['way_m']:.1f} m, "
        f"{report['gaps']} {'gap' if report['gaps'] == 1 else 'gaps'}"
    )
    print(
        f"{report['failed']} of {report['sweeps']} sweeps not registered; at least {report['least_inliers']:.0%} of "
        f"the points on the map, residual at most {report['largest_residual']:.2f}"
    )
    print(f"estimated: expect a drift of {report['drift_m']:.1f} m (1 % of the way); no position on the globe")


def _warn(text: str) -> None:
    print(f"nucleus-bridge: warning: {text}", file=sys.stderr)
