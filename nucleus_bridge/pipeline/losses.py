# SPDX-License-Identifier: Apache-2.0
"""The ledger of everything that does not reach a scene, by topic and cause."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nucleus_bridge.causes import Cause

MAX_PENDING = 20_000
"""This many losses keep their stamps; older ones, in a long pause for one, simply go to the next scene that ends."""

Table = dict[str, dict[str, int]]


def merge(into: Table, other: Mapping[str, Mapping[str, int]]) -> None:
    """Add one table of counts to another."""
    for topic, causes in other.items():
        row = into.setdefault(topic, {})
        for cause, count in causes.items():
            row[cause] = row.get(cause, 0) + count


def ordered(table: Mapping[str, Mapping[str, int]]) -> Table:
    """Return the same counts with topics and causes in alphabetical order."""
    return {topic: dict(sorted(table[topic].items())) for topic in sorted(table)}


@dataclass(frozen=True)
class _Loss:
    topic: str
    cause: Cause
    stamp_ns: int


@dataclass
class LossLedger:
    """Losses until a scene takes them, each with its stamp so that it goes to the right scene.

    Attributes:
        totals: Everything ever counted.
        reasons: For each cause, the text of its first occurrence.
    """

    totals: Table = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    _pending: list[_Loss] = field(default_factory=list)
    _folded: Table = field(default_factory=dict)

    def count(self, topic: str, cause: Cause, stamp_ns: int, reason: str = "") -> None:
        """Count one message as lost."""
        merge(self.totals, {topic: {cause: 1}})
        if reason:
            self.reasons.setdefault(cause, reason)
        self._pending.append(_Loss(topic, cause, stamp_ns))
        if len(self._pending) > MAX_PENDING:
            self._fold(MAX_PENDING // 2)

    def take_before(self, stamp_ns: int | None) -> Table:
        """Take what was lost before a stamp (None: everything) off the ledger."""
        taken, self._folded = self._folded, {}
        kept: list[_Loss] = []
        for loss in self._pending:
            if stamp_ns is None or loss.stamp_ns < stamp_ns:
                merge(taken, {loss.topic: {loss.cause: 1}})
            else:
                kept.append(loss)
        self._pending = kept
        return taken

    def _fold(self, count: int) -> None:
        for loss in self._pending[:count]:
            merge(self._folded, {loss.topic: {loss.cause: 1}})
        del self._pending[:count]
