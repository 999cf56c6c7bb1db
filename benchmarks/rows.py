# SPDX-License-Identifier: Apache-2.0
"""One line of the table: what was measured, beside what, and the bar it has to meet."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """A figure and, where there is one, a peer's figure for the same work in the same run.

    Attributes:
        name: What was measured.
        value: Our figure.
        unit: Of both figures.
        peer: Whose figure the other one is; empty where the bar is a figure of its own.
        peer_value: The peer's figure.
        bar: For a peer the least ratio peer / ours (or, below 1, how much of the limit must be reached); else the
            largest value. None: no bar.
    """

    name: str
    value: float
    unit: str
    peer: str = ""
    peer_value: float | None = None
    bar: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times our figure the peer's is."""
        return None if self.peer_value is None else self.peer_value / self.value

    @property
    def met(self) -> bool | None:
        """Whether the bar is met; None without one."""
        if self.bar is None:
            return None
        return self.value <= self.bar if self.ratio is None else self.ratio >= self.bar


def cpu_ms(work: Callable[[], Any], rounds: int = 15) -> float:
    """Return the least CPU time of one run, in ms."""
    best = float("inf")
    gc.collect()
    gc.disable()
    for _ in range(rounds):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    gc.enable()
    return best * 1e3


def show(rows: Iterable[Row]) -> None:
    """Print the table."""
    print(f"{'':44}{'ours':>10} {'unit':12}{'peer':34}{'peer has':>10}{'ratio':>8}{'bar':>8}")
    for row in rows:
        peer = "" if row.peer_value is None else f"{row.peer_value:10.2f}{row.ratio:8.2f}"
        bar = "" if row.bar is None else f"{row.bar:8.5g}" + ("" if row.met else "  MISSED")
        print(f"{row.name:44}{row.value:10.2f} {row.unit:12}{row.peer:34}{peer:18}{bar}")


def show_change(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Print two runs side by side; ratios to peers compare better between machines than times do."""
    old = {(row["name"], row["peer"]): row for row in before["rows"]}
    print(f"{'':44}{'peer':34}{'before':>10}{'after':>10}{'after/before':>14}")
    for row in after["rows"]:
        known = old.get((row["name"], row["peer"]))
        if known:
            share = row["value"] / known["value"]
            print(f"{row['name']:44}{row['peer']:34}{known['value']:10.2f}{row['value']:10.2f}{share:14.2f}")
