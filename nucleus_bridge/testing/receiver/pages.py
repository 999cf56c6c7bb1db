# SPDX-License-Identifier: Apache-2.0
"""The few pages for a browser: what is here, and the review page of a scene."""

from __future__ import annotations

import html
import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from nucleus_bridge.testing.receiver.messages import Refusal, Request, Response
from nucleus_bridge.testing.receiver.service import Routes, Service

MAX_LISTED = 1000

logger = logging.getLogger(__name__)

_INDEX_POLICY = (("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),)
_REVIEW_POLICY = (("Content-Security-Policy", "default-src 'unsafe-inline' data: blob:"),)
_STYLE = "body{font:15px system-ui,sans-serif;margin:2em;max-width:60em}td,th{text-align:left;padding:.2em 1em .2em 0}"


def index(service: Service, _: Request) -> Response:
    """List every dataset with its scenes, and the annotation tasks."""
    parts = [f"<!DOCTYPE html><html lang=en><meta charset=utf-8><title>Receiver</title><style>{_STYLE}</style>"]
    parts.append("<h1>Local receiver</h1>")
    for dataset in service.store.datasets():
        entries = service.store.entries(dataset.dataset_id)
        parts.append(f"<h2>{html.escape(dataset.name)}</h2>")
        parts.append(f"<p>{html.escape(dataset.dataset_id)}: {len(entries)} scenes</p>")
        parts.append("<table><tr><th>scene<th>items</tr>")
        for entry in entries[-MAX_LISTED:]:
            name = html.escape(entry.reference_id)
            if service.review_page is not None:
                address = f"/review/{quote(dataset.dataset_id, safe='')}/{_quoted(entry.reference_id)}"
                name = f'<a href="{html.escape(address)}">{name}</a>'
            parts.append(f"<tr><td>{name}<td>{len(entry.items)}</tr>")
        parts.append("</table>")
    tasks = service.tasks.listed()
    if tasks:
        parts.append(f"<h2>Annotation tasks</h2><p>{len(tasks)} tasks</p>")
        parts.append("<table><tr><th>unique id<th>task<th>frames<th>project<th>status</tr>")
        parts.extend(_task_row(task) for task in tasks[-MAX_LISTED:])
        parts.append("</table>")
    return _page("\n".join(parts).encode("utf-8", "replace"), _INDEX_POLICY)


def _task_row(task: Mapping[str, Any]) -> str:
    params = task["params"]
    cells = (
        task["unique_id"] or "",
        task["task_id"],
        len(params["attachments"]),
        params.get("project", ""),
        task["status"],
    )
    return f"<tr>{''.join(f'<td>{html.escape(str(cell))}' for cell in cells)}</tr>"


def review(service: Service, _: Request, dataset_id: str, reference_id: str) -> Response:
    """Show one scene through the page maker that the receiver was given.

    Raises:
        Refusal: 404 without a page maker or scene, 500 when the page maker fails.
    """
    if service.review_page is None:
        raise Refusal(404, "this receiver was started without review pages")
    scene = service.store.scene(dataset_id, reference_id)
    try:
        return _page(service.review_page(scene.payload), _REVIEW_POLICY)
    except Exception:
        logger.exception("the review page of scene %r failed", reference_id)
        raise Refusal(500, "the review page could not be made; the receiver's log says why") from None


def _quoted(reference_id: str) -> str:
    return quote(reference_id.encode("utf-8", "replace"), safe="")


def _page(content: bytes, policy: tuple[tuple[str, str], ...]) -> Response:
    return Response(200, content, "text/html; charset=utf-8", policy)


ROUTES: Routes = {
    ("GET", ""): index,
    ("GET", "review/{}/{}"): review,
}
