# SPDX-License-Identifier: Apache-2.0
"""Entry point of ``nucleus-bridge``: picks the command, turns errors into one line and an exit status."""

from __future__ import annotations

import argparse
import atexit
import gc
import logging
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from types import FrameType
from typing import NoReturn

from nucleus_bridge.errors import BridgeError, InputError
from nucleus_bridge.version import __version__

DESCRIPTION = "Lidar and camera data from ROS 2, live or recorded, to Scale Nucleus lidar scenes."
FIRST_STEPS = """first steps with a bag of your own (demo-drive makes one):
  nucleus-bridge inspect my_bag                     what is in it, and is each sensor usable?
  nucleus-bridge init my_bag -o drive.yaml          a configuration, each choice with its reason
  nucleus-bridge convert my_bag --config drive.yaml --output spool
  nucleus-bridge preview spool -o review            open review/index.html

COMMAND --help says more.
Exit status: 0 all done, 1 failed or something was lost, 2 bad usage, configuration or input.
"""
COMMANDS = (
    "demo-drive",
    "inspect",
    "init",
    "convert",
    "export",
    "validate",
    "preview",
    "upload",
    "status",
    "labels",
    "predict",
    "reconcile",
    "catalogue",
    "odometry",
    "serve",
    "ros-setup",
)
"""Each is a module of this room, loaded only when it is asked for: worker processes load this one, too."""

DONE, FAILED, BAD_INPUT = 0, 1, 2
KEPT = "run it again"
"""What a person should know of a command that was interrupted, where the command does not say more."""
LOG_LEVELS = ("debug", "info", "warn", "error")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    # A thread a core, which nothing here has use for, would keep workers from being forked.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    atexit.register(gc.freeze)  # a last look for cycles would find none worth its time
    gc.disable()  # what is loaded stays, so that nobody has to look through it
    try:
        options = _parsed(sys.argv[1:] if arguments is None else arguments)
    finally:
        gc.freeze()
        gc.enable()
    logging.basicConfig(
        level={"warn": "WARNING"}.get(options.log_level, options.log_level.upper()),
        format="%(levelname)s: %(message)s",
        stream=sys.stderr,
        force=True,
    )
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        status = options.run(options)
        sys.stdout.flush()
    except InputError as error:
        return _complain(error, BAD_INPUT)
    except BridgeError as error:
        return _complain(error, FAILED)
    except KeyboardInterrupt:
        return _complain(f"interrupted; {getattr(options, 'kept', KEPT)}", FAILED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return int(status)


def _parsed(given: Sequence[str]) -> argparse.Namespace:
    parser = build_parser(given[:1] if given and given[0] in COMMANDS else COMMANDS)
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete  # noqa: PLC0415 - only while a shell completes a command line

        argcomplete.autocomplete(parser)
    return parser.parse_args(given)


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with the arguments, without all the options before it."""

    def error(self, message: str) -> NoReturn:
        """End with it; argparse prints the usage first, which is a screenful."""
        self.exit(BAD_INPUT, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def build_parser(names: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """Return the parser with these commands."""
    parser = _Parser(
        prog="nucleus-bridge",
        description=DESCRIPTION,
        epilog=FIRST_STEPS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"nucleus-bridge {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in names:
        sub = import_module(f"nucleus_bridge.cli.{name.replace('-', '_')}").add_parser(commands)
        sub.add_argument(
            "--log-level",
            choices=LOG_LEVELS,
            default="warn",
            help="least severe messages on stderr (default: %(default)s)",
        )
    return parser


def _complain(error: object, status: int) -> int:
    from nucleus_bridge.text import printable  # noqa: PLC0415 - worker processes load this module too

    text = str(error)
    print(f"nucleus-bridge: error: {printable(text, len(text))}", file=sys.stderr)
    return status


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
