# SPDX-License-Identifier: Apache-2.0
"""Labels for the page of a scene: boxes of ``labels.jsonl`` in scene coordinates, put into a page that is written."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nucleus_bridge.errors import InputError, OutputError
from nucleus_bridge.labels.label import colour_of
from nucleus_bridge.strict_text import loads
from nucleus_bridge.text import why_not

_DATA = '<script type="application/json" id="data">'
_DECIMALS = 4
Row = list[Any]


class LabelFile:
    """The boxes of a file, by scene and frame.

    Raises:
        InputError: It cannot be read, or a row is not as ``nucleus-bridge labels`` writes them.
    """

    def __init__(self, path: Path) -> None:
        self._scenes: defaultdict[str, defaultdict[int, list[Row]]] = defaultdict(lambda: defaultdict(list))
        try:
            with path.open(encoding="utf-8") as file:
                for number, line in enumerate(file, 1):
                    scene, frame, box = _box(f"{path}:{number}", line)
                    self._scenes[scene][frame].append(box)
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} cannot be read: {why_not(error)}") from None

    def of_scene(self, reference_id: str, offset: Mapping[str, float]) -> dict[str, Any]:
        """Return what the page needs: classes, their colours, and a list of boxes for each frame.

        A box has the number of its class, x, y, z, the rotation x, y, z, w, length, width and height.
        """
        frames: Mapping[int, list[Row]] = self._scenes.get(reference_id, {})
        classes = sorted({row[0] for rows in frames.values() for row in rows})
        numbers = {name: number for number, name in enumerate(classes)}
        shift = (offset["x"], offset["y"], offset["z"])
        return {
            "classes": classes,
            "colours": [[round(part, 3) for part in colour_of(name)] for name in classes],
            "frames": {
                str(frame): [
                    [
                        numbers[row[0]],
                        *(round(value - start, _DECIMALS) for value, start in zip(row[1:4], shift, strict=True)),
                        *row[4:8],
                        *(round(value, _DECIMALS) for value in row[8:]),
                    ]
                    for row in rows
                ]
                for frame, rows in sorted(frames.items())
            },
        }


def _box(where: str, line: str) -> tuple[str, int, Row]:
    """Return scene, frame, and class, place, turn and size of a line."""
    try:
        row = loads(line)
        numbers = [row["position"][axis] for axis in "xyz"]
        numbers += [row["rotation"][axis] for axis in "xyzw"]
        numbers += [row["size"][side] for side in ("length", "width", "height")]
        return str(row["scene"]), int(row["frame"]), [str(row["label"]), *map(float, numbers)]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{where}: is not a label as nucleus-bridge labels --format json writes it: {why}") from None


def add_labels(page: Path, labels: Mapping[str, Any]) -> None:
    """Put labels into a page of a scene, which draws them.

    Raises:
        OutputError: The page cannot be written.
    """
    text = json.dumps(labels, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    try:
        head, found, tail = page.read_text(encoding="utf-8").partition(_DATA)
        element = f'<script type="application/json" id="labels">{text}</script>\n'
        page.write_text(f"{head}{element if found else ''}{found}{tail}", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{page} cannot be written: {error.strerror}") from None
