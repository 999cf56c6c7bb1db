# SPDX-License-Identifier: Apache-2.0
"""The recorder, whose connection to the lidar's publisher ends without its knowledge on SIGUSR1."""

from __future__ import annotations

import signal
import sys
from typing import Any

from nucleus_bridge.ros.recorder import RecorderNode
from nucleus_bridge.ros.running import run


class DeafRecorder(RecorderNode):
    def __init__(self, stop: Any) -> None:
        super().__init__(stop)
        self._is_asked = False
        signal.signal(signal.SIGUSR1, self._ask)
        self.create_timer(0.05, self._become_deaf, clock=self._steady)

    def _ask(self, *_: object) -> None:
        self._is_asked = True

    def _become_deaf(self) -> None:
        if self._is_asked:
            self._is_asked = False
            intake, topic = self._listening._intake, self._listening.topics["/lidar"]
            intake._sources = [one for one in intake._sources if one.subscription is not topic.subscription]
            self.destroy_subscription(topic.subscription)
            print("deaf now", flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(run(DeafRecorder, "for a test"))
