# SPDX-License-Identifier: Apache-2.0
"""How a page is put together: a template, a style, scripts and data, all in one file."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path

from nucleus_bridge.errors import OutputError

PAGE = Path(__file__).parent / "page"


def filled(
    template: str, scripts: Sequence[str], title: str, data: Sequence[str], parts_of_frames: Sequence[str] = ()
) -> str:
    """Fill in a template of ``page``.

    Args:
        template: Its name.
        scripts: Names of the scripts.
        title: Of the page.
        data: What the scripts need to begin, in pieces, so that they are copied once.
        parts_of_frames: Elements with what is large of each frame; only the first of them comes before the scripts.
    """
    script = "\n".join((PAGE / name).read_text(encoding="utf-8") for name in scripts)
    parts: dict[str, Sequence[str]] = {
        "TITLE": [html.escape(title)],
        "STYLE": [(PAGE / "preview.css").read_text(encoding="utf-8")],
        "DATA": data,
        "FIRST": parts_of_frames[:1],
        "OTHERS": parts_of_frames[1:],
        "SCRIPT": [f"(() => {{\n'use strict';\n{script}\n}})();"],
    }
    pieces = (PAGE / template).read_text(encoding="utf-8").split("@@")
    return "".join(text for number, piece in enumerate(pieces) for text in (parts[piece] if number % 2 else [piece]))


def encoded(value: object) -> str:
    """Return JSON in which "<" never appears, so that nothing in it can end its element of a page."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def write_page(path: Path, text: str) -> None:
    """Write a page.

    Raises:
        OutputError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())  # a third of the time of write_text
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from None
