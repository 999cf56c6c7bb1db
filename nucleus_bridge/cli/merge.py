# SPDX-License-Identifier: Apache-2.0
"""The arguments of commands that take one recording, or several that are one."""

from __future__ import annotations

import argparse
from pathlib import Path

from nucleus_bridge.archive.find import find_bags, merged
from nucleus_bridge.errors import InputError
from nucleus_bridge.recordings import Place


def add_merge_argument(parser: argparse.ArgumentParser, *, by_pattern: bool = False) -> None:
    """Add the option that makes one recording of several, and ``--merge-by`` where there may be many drives."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--merge", action="store_true", help="the recordings are one drive: transforms of one serve the others"
    )
    if by_pattern:
        group.add_argument(
            "--merge-by",
            metavar="PATTERN",
            help="recordings are one drive where this regular expression matches the same text in their paths, "
            "such as 'drive_[0-9]+'",
        )


def add_recording_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the recording, or the recordings with ``--merge``."""
    parser.add_argument(
        "bags",
        metavar="BAG",
        nargs="+",
        help="rosbag2 folder, or a bare .mcap, .db3 or .bag file; several with --merge",
    )
    add_merge_argument(parser)


def recording_of(options: argparse.Namespace) -> Place:
    """Return the recording that the arguments name.

    Raises:
        InputError: There are several, and ``--merge`` is not given.
    """
    if options.merge:
        return merged(options.bags, find_bags(options.bags))
    if len(options.bags) > 1:
        raise InputError(f"{len(options.bags)} recordings are given; where they are one drive, add --merge")
    return Path(options.bags[0])
