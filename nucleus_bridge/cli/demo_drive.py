# SPDX-License-Identifier: Apache-2.0
"""``nucleus-bridge demo-drive``: write the synthetic drive and its ground truth."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from nucleus_bridge.cli.progress import progress_bar
from nucleus_bridge.testing.demo import DriveOptions, demo_config, truth_path_of, write_demo_drive
from nucleus_bridge.testing.demo.options import CAMERA_KINDS, CAMERA_MODELS, CLOUD_KINDS, DRIVERS, FORMATS


def add_parser(commands: Any) -> argparse.ArgumentParser:  # noqa: ANN401 - argparse keeps its type private
    """Add the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "demo-drive",
        help="write a synthetic drive as rosbag2, with its ground truth",
        description="Write a synthetic drive as rosbag2, OUT_BAG.truth.json with the ground truth and OUT_BAG.yaml "
        "with a configuration that converts it.",
        epilog="example: nucleus-bridge demo-drive /tmp/drive --seconds 10 --cameras 3",
    )
    default = DriveOptions()
    parser.add_argument("out_bag", metavar="OUT_BAG", type=Path, help="folder to write the bag to")
    parser.add_argument(
        "--storage", choices=("mcap", "sqlite3"), default=default.storage, help="of the bag (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds", type=float, default=default.seconds, help="length of the drive (default: %(default)s)"
    )
    parser.add_argument("--points", type=int, default=default.points, help="points a sweep (default: %(default)s)")
    parser.add_argument("--cameras", type=int, default=default.cameras, help="0 to 6 (default: %(default)s)")
    parser.add_argument(
        "--image",
        choices=("raw", "jpeg"),
        default=default.image,
        help="Image or CompressedImage (default: %(default)s)",
    )
    parser.add_argument(
        "--camera",
        choices=CAMERA_KINDS,
        default=default.camera,
        help="still images, or the codec of a video, which needs the extra video",
    )
    parser.add_argument(
        "--cloud", choices=CLOUD_KINDS, default=default.cloud, help="compression of the clouds (default: %(default)s)"
    )
    parser.add_argument("--format", choices=FORMATS, default=default.format, help="ros1 writes OUT_BAG as a .bag file")
    parser.add_argument("--lidars", type=int, default=default.lidars, help="1 to 3 (default: %(default)s)")
    parser.add_argument(
        "--events", action="store_true", help="brake hard now and then, with topics of the brake and of marks"
    )
    parser.add_argument("--radars", type=int, default=default.radars, help="0 or 1 (default: %(default)s)")
    parser.add_argument(
        "--driver",
        metavar="NAME",
        default=default.driver,
        help=f"lidar driver whose layout is written: {', '.join(DRIVERS)} (default: %(default)s)",
    )
    parser.add_argument(
        "--camera-model",
        metavar="NAME",
        default=default.camera_model,
        help=f"distortion model of all cameras, or one for each, by commas: {', '.join(CAMERA_MODELS)} "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--course",
        choices=("town", "ring"),
        default=default.course,
        help="a drive through a town, or a ring at 15 m/s and 30 deg/s throughout (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=default.seed, help="another seed is another drive (default: %(default)s)"
    )
    parser.add_argument("--force", action="store_true", help="replace OUT_BAG")
    parser.set_defaults(run=run)
    return parser


def run(options: argparse.Namespace) -> int:
    """Write the drive."""
    drive = DriveOptions(
        seconds=options.seconds,
        points=options.points,
        cameras=options.cameras,
        image=options.image,
        camera=options.camera,
        cloud=options.cloud,
        format=options.format,
        storage=options.storage,
        driver=options.driver,
        camera_model=options.camera_model,
        lidars=options.lidars,
        radars=options.radars,
        events=options.events,
        course=options.course,
        seed=options.seed,
    )
    with progress_bar("demo drive") as bar:
        write_demo_drive(options.out_bag, drive, progress=bar, force=options.force)
    config = options.out_bag.with_name(f"{options.out_bag.name}.yaml")
    config.write_text(demo_config(drive), encoding="utf-8")
    print(f"bag     {options.out_bag}\ntruth   {truth_path_of(options.out_bag)}\nconfig  {config}")
    return 0
