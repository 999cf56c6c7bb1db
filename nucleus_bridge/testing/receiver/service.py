# SPDX-License-Identifier: Apache-2.0
"""What the routes work with: the state of one running receiver."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nucleus_bridge.testing.receiver.access import Access
from nucleus_bridge.testing.receiver.datasets import Store
from nucleus_bridge.testing.receiver.jobs import JobBoard
from nucleus_bridge.testing.receiver.tasks import TaskBook

Route = Callable[..., Any]
ReviewPage = Callable[[Mapping[str, Any]], bytes] | None


@dataclass(frozen=True)
class Service:
    """The parts of a receiver; ``origin`` is ``http://127.0.0.1:PORT``."""

    origin: str
    store: Store
    jobs: JobBoard
    tasks: TaskBook
    access: Access
    review_page: ReviewPage
