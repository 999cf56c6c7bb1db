# SPDX-License-Identifier: Apache-2.0
"""How a page is put together: a template, a style, scripts and data, all in one file."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path

from nucleus_bridge.errors import OutputError

PAGE = Path(__file__).parent / "page"


Pieces = Sequence[bytes]
"""A page, or a part of one, one piece after the other: nothing large is copied until it is written."""


def filled(
    template: str, scripts: Sequence[str], title: str, data: str, parts_of_frames: Sequence[Pieces] = ()
) -> Pieces:
    """Fill in a template of ``page``.

    Args:
        template: Its name.
        scripts: Names of the scripts.
        title: Of the page.
        data: What the scripts need to begin.
        parts_of_frames: Elements with what is large of each frame; only the first of these comes before the scripts.
    """
    script = "\n".join((PAGE / name).read_text(encoding="utf-8") for name in scripts)
    parts: dict[str, Pieces] = {
        "TITLE": [html.escape(title).encode()],
        "STYLE": [(PAGE / "preview.css").read_bytes()],
        "DATA": [data.encode()],
        "FIRST": [piece for part in parts_of_frames[:1] for piece in part],
        "OTHERS": [piece for part in parts_of_frames[1:] for piece in part],
        "SCRIPT": [f"(() => {{\n'use strict';\n{script}\n}})();".encode()],
    }
    given = (PAGE / template).read_text(encoding="utf-8").split("@@")
    return [piece for number, text in enumerate(given) for piece in (parts[text] if number % 2 else [text.encode()])]


def encoded(value: object) -> str:
    """Return JSON in which "<" never appears, so that nothing in it can end its element of a page."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def write_page(path: Path, page: Pieces) -> None:
    """Write a page.

    Raises:
        OutputError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.writelines(page)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from None
