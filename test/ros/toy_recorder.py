# SPDX-License-Identifier: Apache-2.0
"""The recorder, for which a type of a camera is known that the package does not have; ``--hide``: nor has ROS 2."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent))

from toy_camera import INTERFACE

from nucleus_bridge.decode import registry
from nucleus_bridge.ros.recorder import RecorderNode
from nucleus_bridge.ros.running import run

if __name__ == "__main__":
    registry.add(INTERFACE)
    if "--hide" in sys.argv:
        sys.argv.remove("--hide")
        sys.modules["toy_msgs"] = None  # type: ignore[assignment] - as if it was not installed
    sys.exit(run(RecorderNode, "A recorder for a test."))
