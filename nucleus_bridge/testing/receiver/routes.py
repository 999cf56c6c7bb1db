# SPDX-License-Identifier: Apache-2.0
"""Which request is answered by what; credentials are checked here, before anything else."""

from __future__ import annotations

from nucleus_bridge.testing.receiver import (
    dataset_routes,
    item_routes,
    label_routes,
    model_routes,
    pages,
    scene_routes,
    task_routes,
)
from nucleus_bridge.testing.receiver.messages import Request, Response
from nucleus_bridge.testing.receiver.service import Routes, Service, call_route


def dispatch(service: Service, request: Request) -> Response:
    """Answer one request.

    Raises:
        Refusal: It is answered with an error.
    """
    path = request.segments
    if path[:2] == ("v1", "nucleus"):
        service.access.check_nucleus(request.headers)
        return call_route(_NUCLEUS, path[2:], service, request)
    if path[:1] == ("v1",) and path[1:2] and path[1] in task_routes.ROOMS:
        return task_routes.answer(service, request)
    if len(path) == 3 and path[0] == "put":
        return scene_routes.put_upload(service, request, path[1], path[2])
    if len(path) == 3 and path[0] == "results":
        return task_routes.public_result(service, request, path[1], path[2])
    return call_route(pages.ROUTES, path, service, request)


_NUCLEUS: Routes = {
    **dataset_routes.ROUTES,
    **scene_routes.ROUTES,
    **item_routes.ROUTES,
    **label_routes.ROUTES,
    **model_routes.ROUTES,
    **task_routes.NUCLEUS_ROUTES,
}
