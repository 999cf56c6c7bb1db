# SPDX-License-Identifier: Apache-2.0
"""The recorder under another executor: ``executor_recorder.py MODULE.CLASS --ros-args ...``."""

from __future__ import annotations

import sys
from importlib import import_module

from nucleus_bridge.ros.recorder import RecorderNode
from nucleus_bridge.ros.running import run

if __name__ == "__main__":
    module, _, name = sys.argv.pop(1).rpartition(".")
    sys.exit(run(RecorderNode, "for a test", make_executor=getattr(import_module(module), name)))
