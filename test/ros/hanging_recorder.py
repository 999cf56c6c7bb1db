# SPDX-License-Identifier: Apache-2.0
"""The recorder over a middleware that never lets a subscription go, with the interpreter's lock held."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

from nucleus_bridge.ros.recorder import RecorderNode
from nucleus_bridge.ros.running import run


class HangingRecorder(RecorderNode):
    def destroy_subscription(self, subscription: Any) -> bool:
        ctypes.PyDLL(None).sleep(600)
        return super().destroy_subscription(subscription)


if __name__ == "__main__":
    sys.exit(run(HangingRecorder, "for a test"))
