# SPDX-License-Identifier: Apache-2.0
"""A progress bar on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

_PERIOD_S = 0.1


class Bar(Protocol):
    """Takes how much of the work is done, from 0 to 1."""

    def __call__(self, share: float) -> None:
        """Show this much as done."""


def _no_bar(share: float) -> None:
    """Show nothing."""


@contextmanager
def progress_bar(title: str) -> Iterator[Bar]:
    """Show a bar on stderr while the block runs, if stderr is a terminal."""
    if not sys.stderr.isatty():
        yield _no_bar
        return
    from rich.console import Console  # noqa: PLC0415 - only for people
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    # Without a thread of its own, so that workers can be forked beside it.
    with Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as progress:
        task = progress.add_task(title, total=1.0)
        shown_s = 0.0

        def show(share: float) -> None:
            nonlocal shown_s
            now = time.monotonic()
            progress.update(task, completed=share)
            if now - shown_s >= _PERIOD_S:
                shown_s = now
                progress.refresh()

        yield show
