# SPDX-License-Identifier: Apache-2.0
"""The recorder with a callback that raises ten times a second once a scene is open."""

from __future__ import annotations

import sys
from typing import Any

from nucleus_bridge.ros.recorder import RecorderNode
from nucleus_bridge.ros.running import run


class FailingRecorder(RecorderNode):
    def __init__(self, stop: Any) -> None:
        super().__init__(stop)
        self.create_timer(0.1, self._fail)

    def _fail(self) -> None:
        if self._session is not None and self._session.progress.open_frames > 3:
            raise RuntimeError("as the test wants")


if __name__ == "__main__":
    sys.exit(run(FailingRecorder, "for a test"))
