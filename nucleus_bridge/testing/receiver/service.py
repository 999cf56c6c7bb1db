# SPDX-License-Identifier: Apache-2.0
"""What the routes work with, the state of one running receiver, and how a table of routes is searched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nucleus_bridge.testing.receiver.access import Access
from nucleus_bridge.testing.receiver.datasets import Store
from nucleus_bridge.testing.receiver.jobs import JobBoard
from nucleus_bridge.testing.receiver.label_intake import LabelIntake
from nucleus_bridge.testing.receiver.labels import LabelStore
from nucleus_bridge.testing.receiver.messages import Refusal, Request, Response, json_response
from nucleus_bridge.testing.receiver.resolve import ItemReader
from nucleus_bridge.testing.receiver.scene_rules import SceneRules
from nucleus_bridge.testing.receiver.scenes import SceneIntake
from nucleus_bridge.testing.receiver.tasks import TaskBook

Route = Callable[..., Any]
Routes = Mapping[tuple[str, str], Route]
"""Method and path to what answers; a part of the path that is ``{}`` is handed to the route as an argument."""
ReviewPage = Callable[[Mapping[str, Any]], bytes] | None


@dataclass(frozen=True)
class Service:
    """The parts of a receiver; ``origin`` is ``http://127.0.0.1:PORT``."""

    origin: str
    store: Store
    labels: LabelStore
    intake: SceneIntake
    label_intake: LabelIntake
    jobs: JobBoard
    tasks: TaskBook
    access: Access
    reader: ItemReader
    rules: SceneRules
    review_page: ReviewPage


def call_route(table: Routes, path: tuple[str, ...], service: Service, request: Request) -> Response:
    """Answer a request by the route of its method and path; a slash at the path's end does not count.

    What a route returns that is not a response yet is answered as JSON.

    Raises:
        Refusal: 404 for an unknown path, 405 for a method that is not possible there, or the route's own.
    """
    if len(path) > 1 and not path[-1]:
        path = path[:-1]
    allowed = []
    for (method, pattern), route in table.items():
        parts = tuple(pattern.split("/"))
        if len(parts) == len(path) and all(part in ("{}", name) for part, name in zip(parts, path, strict=True)):
            if method == request.method:
                arguments = (name for part, name in zip(parts, path, strict=True) if part == "{}")
                found = route(service, request, *arguments)
                return found if isinstance(found, Response) else json_response(found)
            allowed.append(method)
    if allowed:
        raise Refusal(405, f"{request.method} is not possible here", headers=(("Allow", ", ".join(allowed)),))
    raise Refusal(404, "there is nothing at this path")
