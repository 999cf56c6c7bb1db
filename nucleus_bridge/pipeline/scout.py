# SPDX-License-Identifier: Apache-2.0
"""A first look at a recording: which events are in it, and when, without making frames."""

from __future__ import annotations

from nucleus_bridge.causes import EndReason
from nucleus_bridge.config import Config
from nucleus_bridge.model import Message
from nucleus_bridge.pipeline.events import EventSpan
from nucleus_bridge.pipeline.pipeline import Pipeline, stamp_of
from nucleus_bridge.pipeline.selection import Windows, united
from nucleus_bridge.pipeline.topics import WantedTopic


class Scout(Pipeline):
    """Looks for events alone: reads the topics that show them, and steps of their clocks, as a pipeline does.

    Its ``topics`` are those alone. No event is to be missed; that one is told too many does no harm.
    """

    is_scout = True

    def __init__(self, config: Config) -> None:
        """Set up what tells events; ``config.scene.select`` must be ``events``.

        Raises:
            ConfigError: A file that the configuration names cannot be used.
        """
        super().__init__(config)
        self._windows: list[tuple[int, int]] = []
        self._spans: list[EventSpan] = []
        self._newest_ns = -1

    def look(self, message: Message) -> None:
        """Look for events in the next message."""
        self.add(message)
        self._newest_ns = max(self._newest_ns, stamp_of(message))
        if self.selection is not None:
            self.selection.begin(self._newest_ns)
            list(self.selection.advance(self._newest_ns))

    def found(self) -> tuple[Windows, tuple[EventSpan, ...]]:
        """Return the windows of all events, those that touch made one, and the events; no message is to come."""
        self._epochs.finish()
        self._keep()
        return united(self._windows), tuple(dict.fromkeys(self._spans))

    def advance(self) -> None:
        """Decide nothing: there are no frames."""

    def _reads(self, topic: WantedTopic) -> bool:
        if self.selection is None:
            return False
        return (
            topic.role == "event"
            or (topic.role == "poses" and self.selection.needs_poses)
            or (topic.role == "gps" and topic.kind == "fix" and self.selection.needs_fixes)
        )

    def _flush(self, reason: EndReason) -> None:  # noqa: ARG002 - no scene ends
        if self.selection is not None:
            list(self.selection.finish(self.message_time_ns))
            self._keep()
            self.selection.restart()

    def _keep(self) -> None:
        """Keep the events of the time before a step of the clock, or before the end."""
        if self.selection is not None:
            self.selection.settle_all(self._newest_ns)
            self._windows.extend(self.selection.windows())
            self._spans.extend(self.selection.events_between(0, max(0, self._newest_ns)))
            self._newest_ns = -1
