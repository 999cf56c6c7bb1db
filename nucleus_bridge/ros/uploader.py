# SPDX-License-Identifier: Apache-2.0
"""The node ``nucleus_uploader``: uploads a spool in a process of its own, so that no upload can slow a callback."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from nucleus_bridge.config import Config
from nucleus_bridge.errors import BridgeError, ConfigError, JobCancelledError
from nucleus_bridge.ros.diagnostics import ERROR, OK, WARN, hardware_id, make_status
from nucleus_bridge.ros.first_start import described
from nucleus_bridge.ros.parameters import NodeParameters
from nucleus_bridge.ros.running import Stop, run
from nucleus_bridge.spool.state import SceneState, StateRecord
from nucleus_bridge.upload.choice import key_for
from nucleus_bridge.upload.observer import UploadObserver
from nucleus_bridge.upload.uploader import Uploader

NAME = "nucleus_uploader"
REPORT_PERIOD_S = 1.0
TRY_AGAIN_S = 60.0
STOP_WITHIN_S = 5.0
_TOLD = (SceneState.DONE, SceneState.FAILED, SceneState.QUARANTINED, SceneState.CONFLICT, SceneState.DIFFERS)


@dataclass
class UploadProgress(UploadObserver):
    """What the upload has reported so far, and the logger for scenes that came to an end."""

    logger: Any
    states: dict[str, SceneState] = field(default_factory=dict)
    sent_bytes: int = 0
    skipped_bytes: int = 0
    waits_for: str = ""
    last_error: str = ""

    def sent(self, size: int, *, skipped: bool) -> None:
        """Add up the bytes."""
        self.waits_for = ""
        if skipped:
            self.skipped_bytes += size
        else:
            self.sent_bytes += size

    def changed(self, record: StateRecord) -> None:
        """Keep the scene's state, and log where it ended."""
        self.waits_for = ""
        self.states[record.reference_id] = record.state
        if record.state in _TOLD:
            told = self.logger.info if record.state is SceneState.DONE else self.logger.error
            told(f"{record.reference_id}: {record.state.value}" + (f": {record.error}" if record.error else ""))
        if record.error:
            self.last_error = f"{record.reference_id}: {record.error}"

    def noted(self, text: str) -> None:
        """Log what a person should know."""
        self.logger.warning(text)

    def waiting(self, reason: str, seconds: float) -> None:
        """Keep what is waited for."""
        self.waits_for = f"{reason}; again in {seconds:.0f} s"


class UploaderNode(Node):
    """Runs the uploader in a thread and reports on it."""

    def __init__(self, stop: Stop, **arguments: Any) -> None:
        """Declare the parameters and begin.

        Raises:
            ConfigError: A parameter is wrong, or the API key is not in the environment.
        """
        super().__init__(NAME, **arguments)
        del stop
        self._settings = NodeParameters(self, self._ignore)
        if not self._settings.config.spool.path:
            raise ConfigError("spool.path: set it to the folder that holds the scenes")
        self._key = key_for(self._settings.config.upload)
        self._progress = UploadProgress(self.get_logger())
        self._failure = ""
        self._ending = threading.Event()
        self._uploader = self._make_uploader()
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_timer(REPORT_PERIOD_S, self._on_report, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._thread = threading.Thread(target=self._upload, name="upload", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the upload; the next one goes on where it was."""
        self._ending.set()
        self._uploader.stop()
        self._thread.join(STOP_WITHIN_S)

    def _ignore(self, config: Config) -> None:
        """Do nothing: no parameter of the uploader can be changed while it runs."""

    def _make_uploader(self) -> Uploader:
        config = self._settings.config
        return Uploader(Path(config.spool.path), config.upload, key=self._key, observer=self._progress)

    def _upload(self) -> None:
        """Upload until told to end; after an error, such as a refused key, try again after a while."""
        is_first = True
        while not self._ending.is_set():
            try:
                self._uploader = self._uploader if is_first else self._make_uploader()
                is_first, self._failure = False, ""
                if not self._ending.is_set():  # else whoever ends all may have stopped the one before
                    self._uploader.run(watch=True)
            except JobCancelledError as error:  # not submitted again behind a person's back
                self._failure = f"{error}, or start this node again"
                self.get_logger().error(self._failure)
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, the upload goes on later
                self._failure = str(error) if isinstance(error, BridgeError) else described(error)
                self.get_logger().error(f"upload stopped, again in {TRY_AGAIN_S:.0f} s: {self._failure}")
                self._ending.wait(TRY_AGAIN_S)

    def _on_report(self) -> None:
        progress = self._progress
        counts = Counter(state.value for state in list(progress.states.values()))
        bad = sum(counts[state.value] for state in _TOLD if state is not SceneState.DONE)
        level, text = OK, "uploading"
        if self._failure:
            level, text = ERROR, self._failure
        elif bad:
            level, text = ERROR, f"{bad} scenes failed; the last: {progress.last_error}"
        elif progress.waits_for:
            level, text = WARN, progress.waits_for
        values = {**counts, "sent_bytes": progress.sent_bytes, "skipped_bytes": progress.skipped_bytes}
        name, hardware = f"{self.get_fully_qualified_name()}: upload", hardware_id(self._settings.config)
        array = DiagnosticArray(status=[make_status(name, level, text, values, hardware)])
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(array)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node; return the exit status."""
    return run(UploaderNode, "Upload the scenes of a spool as they are sealed.", arguments)


if __name__ == "__main__":
    sys.exit(main())
