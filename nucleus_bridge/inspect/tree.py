# SPDX-License-Identifier: Apache-2.0
"""The transform tree of a recording as text: rates, coverage, static or moving, parts that hang apart."""

from __future__ import annotations

import numpy as np

from nucleus_bridge.inspect.scan import Scan


def draw_tree(scan: Scan, start_ns: int) -> str:
    """Draw the tree, a frame a line.

    Args:
        scan: What was read.
        start_ns: Log time of the recording's first message.
    """
    children: dict[str | None, list[str]] = {}
    for frame in scan.tree.frames():
        children.setdefault(scan.tree.parent_of(frame), []).append(frame)
    roots = children.get(None, [])
    lines: list[str] = []
    if len(roots) > 1:
        lines.append(f"{len(roots)} parts that nothing connects: {', '.join(roots)}")
    drawn: set[str] = set()

    def draw(frame: str, lead: str, branch: str, below: str) -> None:
        drawn.add(frame)
        lines.append(f"{lead}{branch}{frame}{_note(scan, frame, start_ns)}")
        kids = [kid for kid in children.get(frame, []) if kid not in drawn]
        for kid in kids:
            last = kid == kids[-1]
            draw(kid, lead + below, "└─ " if last else "├─ ", "   " if last else "│  ")

    for root in roots:
        draw(root, "", "", "")
    lines += [f"{frame}: in a loop of transforms" for frame in scan.tree.frames() if frame not in drawn]
    return "\n".join(lines) or "no transforms"


def _note(scan: Scan, frame: str, start_ns: int) -> str:
    edge = scan.edges.get(frame)
    if edge is None:
        return ""
    if edge.static:
        return "  static"
    stamps = np.unique(np.array(edge.stamps, dtype=np.int64))
    if len(stamps) < 2:
        return "  moving, 1 sample"
    steps = np.diff(stamps) / 1e9
    first, last = (stamps[0] - start_ns) / 1e9, (stamps[-1] - start_ns) / 1e9
    return (
        f"  moving, {1 / np.median(steps):.0f} Hz, {first:+.1f} to {last:+.1f} s of {scan.read_s:.1f} s"
        f", longest hole {steps.max() * 1e3:.0f} ms"
    )
