# SPDX-License-Identifier: Apache-2.0
"""The transform tree in words: why a lookup fails, and what the tree looks like."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from nucleus_bridge.errors import ConnectivityError, ExtrapolationError, TransformGapError, UnknownFrameError
from nucleus_bridge.geometry.edge import DynamicEdge, Edge


def unknown_frame(frame: str, frames: Collection[str]) -> UnknownFrameError:
    """Say that a frame ID is unknown."""
    return UnknownFrameError(f"unknown frame ID {frame!r}: no transform so far names it; {_known(frames)}")


def not_connected(
    target: str, source: str, stamp_ns: int, roots: tuple[str, str], edges: Mapping[str, Edge]
) -> ConnectivityError:
    """Say that two frames hang from different roots."""
    frames = {frame for child, edge in edges.items() for frame in (child, edge.parent) if frame}
    return ConnectivityError(
        f"no transforms connect {source!r} to {target!r} {_when(stamp_ns)}: {target!r} hangs from {roots[0]!r}, "
        f"{source!r} from {roots[1]!r}; publish a transform between the two; {_known(frames)}"
    )


def loop(climbed: Sequence[str]) -> ConnectivityError:
    """Say that climbing came back to a frame it had crossed before."""
    *before, last = climbed
    lap = before[::-1].index(last) + 1
    members = climbed[-lap - 1 :]
    return ConnectivityError(
        f"the transforms form a loop, child to parent: {' -> '.join(members)}; one of these frames must be the root"
    )


def not_covered(target: str, source: str, stamp_ns: int, child: str, edge: DynamicEdge) -> ExtrapolationError:
    """Say on which edge and by how much a stamp is outside of the recorded history."""
    asked = f"cannot express {source!r} in {target!r} {_when(stamp_ns)}"
    if edge.span is None:
        return ExtrapolationError(
            f"{asked}: frame {child!r} has no poses since its history was restarted",
            direction="future",
        )
    oldest, newest = edge.span
    known = f"{asked}: {edge.parent!r} -> {child!r} is known in [{oldest}, {newest}] ns"
    if oldest < stamp_ns < newest and (gap := edge.gap_around(stamp_ns)) is not None:
        return TransformGapError(
            f"{asked}: transforms of {child!r} have a gap of {(gap[1] - gap[0]) / 1e9:.1f} s around it, from {gap[0]} "
            f"to {gap[1]} ns, over which nothing is interpolated",
            child=child,
            begin_ns=gap[0],
            end_ns=gap[1],
        )
    if stamp_ns > newest:
        return ExtrapolationError(f"{known}, which ends {stamp_ns - newest} ns too early", direction="future")
    return ExtrapolationError(
        f"{known}, which begins {oldest - stamp_ns} ns too late; record transforms earlier or keep them longer",
        direction="past",
    )


def describe(frames: Collection[str], edges: Mapping[str, Edge]) -> str:
    """Return the tree as text, a frame a line, children indented under their newest parent; loops are listed last."""
    children: defaultdict[str | None, list[str]] = defaultdict(list)
    for frame in sorted(frames):
        edge = edges.get(frame)
        children[edge.parent if edge else None].append(frame)
    lines: list[str] = []
    rooted: set[str] = set()
    open_frames = [(root, 0) for root in reversed(children[None])]
    while open_frames:
        frame, depth = open_frames.pop()
        rooted.add(frame)
        lines.append(f"{'  ' * depth}{frame}{_edge_note(edges.get(frame))}")
        open_frames += [(child, depth + 1) for child in reversed(children[frame])]
    lines += [
        f"{frame}{_edge_note(edges[frame])}, in or below a loop, parent {edges[frame].parent}"
        for frame in sorted(set(frames) - rooted)
    ]
    return "\n".join(lines)


def _edge_note(edge: Edge | None) -> str:
    if edge is None:
        return ""
    if not isinstance(edge, DynamicEdge):
        return "  static"
    if edge.span is None:
        return "  dynamic, no samples"
    oldest, newest = edge.span
    return f"  dynamic, {len(edge)} samples in [{oldest}, {newest}] ns"


def _when(stamp_ns: int) -> str:
    return f"at {stamp_ns} ns" if stamp_ns else "at the latest common time"


def _known(frames: Collection[str]) -> str:
    return f"known frames: {', '.join(sorted(frames)) or 'none'}"
