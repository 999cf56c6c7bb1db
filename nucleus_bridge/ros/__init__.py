# SPDX-License-Identifier: Apache-2.0
"""The live side: the only place that needs ROS 2, and importing this package alone does not."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

_NO_ROS = 2


def run_recorder() -> int:
    """Run the program ``nucleus_recorder``; return its exit status."""
    return _run("recorder")


def run_uploader() -> int:
    """Run the program ``nucleus_uploader``; return its exit status."""
    return _run("uploader")


def _run(name: str) -> int:
    try:
        program = _program(name)
        return _NO_ROS if program is None else int(program.main())
    except KeyboardInterrupt:  # before the program hears signals itself: there is nothing to be brought to safety yet
        return 0


def _program(name: str) -> Any:
    try:
        return import_module(f"nucleus_bridge.ros.{name}")
    except ImportError as error:
        if (error.name or "").startswith("nucleus_bridge"):
            raise
        print(
            f"error: there is no usable ROS 2 here: {error}\n"
            "Source your ROS 2 installation, or in a virtual environment: "
            "pip install 'nucleus-bridge[ros]' && nucleus-bridge ros-setup",
            file=sys.stderr,
        )
        return None
