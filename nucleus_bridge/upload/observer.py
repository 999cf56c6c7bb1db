# SPDX-License-Identifier: Apache-2.0
"""What an upload reports while it runs; the command line and the node each show it in their own way."""

from __future__ import annotations

from nucleus_bridge.spool.state import StateRecord


class UploadObserver:
    """Does nothing; override what is wanted. Calls come one at a time, from several threads."""

    def planned(self, scenes: int, size: int) -> None:
        """Take note that more scenes are to be sent, with their bytes."""

    def sent(self, size: int, *, skipped: bool) -> None:
        """Take note of bytes that are in the object store now; ``skipped``: they were there."""

    def changed(self, record: StateRecord) -> None:
        """Take note that a scene is in another state."""

    def waiting(self, reason: str, seconds: float) -> None:
        """Take note that something is tried again after so long."""

    def noted(self, text: str) -> None:
        """Take note of what a person should know: a dataset was created, a job is in an unusual state."""
