# SPDX-License-Identifier: Apache-2.0
"""The recorder with a callback that raises once a scene is open: its executor dies."""

from __future__ import annotations

import sys
from typing import Any

from nucleus_bridge.ros.recorder import RecorderNode
from nucleus_bridge.ros.running import run


class DyingRecorder(RecorderNode):
    def __init__(self, stop: Any) -> None:
        super().__init__(stop)
        self.create_timer(0.1, self._die)

    def _die(self) -> None:
        if self._session is not None and self._session.progress.open_frames > 3:
            raise RuntimeError("as the test wants")


if __name__ == "__main__":
    sys.exit(run(DyingRecorder))
