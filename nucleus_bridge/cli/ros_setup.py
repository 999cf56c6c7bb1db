# SPDX-License-Identifier: Apache-2.0
"""``nucleus-bridge ros-setup``: the message packages that a ROS 2 made of Python wheels lacks."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from nucleus_bridge.errors import InputError
from nucleus_bridge.ros.interface_definitions import BUILT_IN, InterfacePackage, read_interface_package


def add_parser(commands: Any) -> argparse.ArgumentParser:  # noqa: ANN401 - argparse keeps its type private
    """Add the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "ros-setup",
        help="build the message packages that the ROS 2 of Python wheels lacks",
        description="Build message packages into the virtual environment that this command runs in, with ROS 2's own "
        "generators: the types, hashes and bytes are those of a ROS 2 installation. It takes seconds. It needs "
        "the extra 'ros' (pip install 'nucleus-bridge[ros]'), g++ and the headers of Python (apt install g++ "
        "python3-dev). What is there and works is left as it is. A ROS 2 installation has these packages: "
        "there, use apt or colcon.",
        epilog="example: nucleus-bridge ros-setup",
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="PACKAGE",
        help=f"of: {', '.join(BUILT_IN)} (all of them when nothing is given)",
    )
    parser.add_argument("--package", metavar="NAME", help="build a package of your own, together with --msg-dir")
    parser.add_argument("--msg-dir", type=Path, metavar="DIR", help="the folder with its .msg files")
    parser.add_argument("--force", action="store_true", help="build also what is there and works")
    parser.set_defaults(run=run)
    return parser


def run(options: argparse.Namespace) -> int:
    """Build what is asked for."""
    from nucleus_bridge.ros.build_interfaces import Installation, build, why_unusable  # noqa: PLC0415 - loads numpy

    for package in _wanted(options):
        if not options.force and not why_unusable(package):
            print(f"{package.name} is there already")
            continue
        installation = Installation.active()
        print(f"building {package.name} ({', '.join(package.messages)}) ...", flush=True)
        build(package, installation)
        print(f"{package.name} is built into {sys.prefix}")
    return 0


def _wanted(options: argparse.Namespace) -> list[InterfacePackage]:
    for name in options.names:
        if name not in BUILT_IN:
            raise InputError(f"{name} is not known here (but {', '.join(BUILT_IN)} are); use --package and --msg-dir")
    if (options.package is None) != (options.msg_dir is None):
        raise InputError("--package and --msg-dir belong together")
    if options.package is not None:
        own = read_interface_package(options.package, options.msg_dir)
        return [*(BUILT_IN[name] for name in options.names), own]
    return [BUILT_IN[name] for name in options.names or BUILT_IN]
