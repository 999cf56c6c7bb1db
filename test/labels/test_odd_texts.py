# SPDX-License-Identifier: Apache-2.0
"""Halves of characters in what a service or a file says: JSON can hold them, and no file or page can."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from label_cases import Held
from test_predict import world_rows, write_rows

from nucleus_bridge.cli.main import main
from nucleus_bridge.strict_text import loads
from nucleus_bridge.upload import http

HALF = "half \ud83d of it"
SHOWN = "half \ufffd of it"
FORMATS = ("json", "csv", "mcap", "nuscenes", "kitti")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'{"\ud83d": ["\udc00x", {"a": "\ud83d\ude00"}]}', {"\ufffd": ["\ufffdx", {"a": "\U0001f600"}]}),
        (r'"\\ud83d"', r"\ud83d"),
        ("[1, null, true, 2.5]", [1, None, True, 2.5]),
    ],
)
def test_only_halves_are_replaced(text: str, value: object) -> None:
    assert loads(text) == value
    assert loads(text.encode()) == value


@pytest.fixture
def odd(held: Held, tmp_path: Path) -> tuple[Held, str]:
    """The drive in a dataset of its own, with one annotation; what a file says in halves goes up whole."""
    name = f"odd-{tmp_path.name}"
    options = [name if given == "labelled" else given for given in held.options]
    assert main(["upload", str(held.spool), *options]) == 0
    row = world_rows(held, held.boxes[:1], attributes={HALF: HALF})[0]
    path = write_rows(tmp_path / "odd.jsonl", [{**row, "label": HALF, "track": HALF}])
    assert main(["predict", str(held.spool), "--as-labels", "--from", str(path), *options]) == 0
    return held, name


@pytest.mark.parametrize("written", FORMATS)
def test_every_writer_takes_them(
    odd: tuple[Held, str], written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, name = odd

    def halved(text: bytes) -> bytes:
        return text.replace("\ufffd".encode(), rb"\ud83d").replace(rb"\ufffd", rb"\ud83d")

    seen: list[bool] = []

    def spoilt(data: bytes) -> Any:
        seen.append(halved(data) != data)
        return loads(halved(data))

    monkeypatch.setattr(http, "loads", spoilt)
    options = [name if given == "labelled" else given for given in held.options]
    out = tmp_path / "out"
    assert main(["labels", str(held.spool), "-o", str(out), "--format", written, *options]) == 0
    assert any(seen)
    if written == "json":
        (row,) = (json.loads(line) for line in (out / "labels.jsonl").read_text().splitlines())
        assert (row["label"], row["attributes"]) == (SHOWN, {SHOWN: SHOWN})
        page = tmp_path / "page"
        assert main(["preview", str(held.spool), "--labels", str(out / "labels.jsonl"), "-o", str(page)]) == 0
