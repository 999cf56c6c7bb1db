# SPDX-License-Identifier: Apache-2.0
"""How two versions of labels differ, or the labels of two tasks: what was added and removed, what moved by how much.

Labels of a frame are matched by track, then by id, then by class and place: two tasks share no ids.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

from nucleus_bridge.errors import InputError, OutputError
from nucleus_bridge.labels.label import Label
from nucleus_bridge.strict_text import loads
from nucleus_bridge.text import why_not

CHANGES = "changes.jsonl"
NEAR_M = 2.0
"""Two boxes of one class whose centres are at most that far apart are the same object, where no id says so."""
SAME_M = 1e-3
SAME_DEG = 0.01

Kind = Literal["added", "removed", "changed"]


@dataclass
class Difference:
    """What a comparison came to.

    Attributes:
        added: Labels that are new.
        removed: Labels that are gone.
        moved: Labels whose centre moved by more than a millimetre.
        turned: Labels that turned by more than a hundredth of a degree.
        resized: Labels of another size, by more than a millimetre.
        renamed: Labels of another class.
        otherwise: Labels with other attributes.
        same: Labels without a change.
        most_m: The furthest move.
        sum_m: All moves together.
        most_deg: The largest turn.
    """

    added: int = 0
    removed: int = 0
    moved: int = 0
    turned: int = 0
    resized: int = 0
    renamed: int = 0
    otherwise: int = 0
    same: int = 0
    most_m: float = 0.0
    sum_m: float = 0.0
    most_deg: float = 0.0
    scenes: set[str] = field(default_factory=set)

    @property
    def text(self) -> str:
        """Describe it in one line."""
        parts = [f"{self.added} added", f"{self.removed} removed", f"{self.moved} moved"]
        if self.moved:
            parts[-1] += f" (by {self.sum_m / self.moved:.3f} m on average, {self.most_m:.3f} m at most)"
        parts += [f"{self.turned} turned (by {self.most_deg:.2f} deg at most)"] if self.turned else []
        parts += [f"{self.resized} resized"] if self.resized else []
        parts += [f"{self.renamed} of another class"] if self.renamed else []
        parts += [f"{self.otherwise} with other attributes"] if self.otherwise else []
        return ", ".join([*parts, f"{self.same} the same"])


def labels_of_file(path: Path) -> Iterator[Label]:
    """Yield the labels of a file that ``labels --format json`` wrote.

    Raises:
        InputError: It cannot be read, or a row is not a label.
    """
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                yield _label(f"{path}:{number}", line)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {why_not(error)}") from None


def _label(where: str, line: str) -> Label:
    try:
        row = loads(line)
        position, size, turn = row["position"], row["size"], row["rotation"]
        return Label(
            row["scene"],
            int(row["frame"]),
            int(row["stamp_ns"]),
            row["frame_id"],
            row["label"],
            row["track"],
            row["id"],
            (float(position["x"]), float(position["y"]), float(position["z"])),
            (float(size["length"]), float(size["width"]), float(size["height"])),
            (float(turn["x"]), float(turn["y"]), float(turn["z"]), float(turn["w"])),
            row["source"],
            dict(row["attributes"]),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{where}: is not a label as labels --format json writes it: {why}") from None


def compared(
    scenes: Iterable[list[Label]], before: Iterable[list[Label]], folder: Path, found: Difference
) -> Iterator[list[Label]]:
    """Pass labels on, scene by scene, and write how they differ from those of before to ``changes.jsonl``.

    Both are sorted by scene. A scene of which there are no labels now counts as removed only where it was asked for:
    where ``found.scenes`` has it.

    Raises:
        OutputError: It cannot be written.
    """
    path = folder / CHANGES
    temporary = path.with_name(f".{CHANGES}.{os.getpid()}.tmp")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as file:

            def note(change: dict[str, Any]) -> None:
                file.write(json.dumps(change) + "\n")

            olds = iter(before)
            old = next(olds, None)
            for labels in scenes:
                while old is not None and old[0].scene < labels[0].scene:
                    _compare_scene(old, [], found, note)
                    old = next(olds, None)
                if old is not None and old[0].scene == labels[0].scene:
                    _compare_scene(old, labels, found, note)
                    old = next(olds, None)
                else:
                    _compare_scene([], labels, found, note)
                yield labels
            while old is not None:
                _compare_scene(old, [], found, note)
                old = next(olds, None)
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)


def _compare_scene(
    old: list[Label], new: list[Label], found: Difference, note: Callable[[dict[str, Any]], None]
) -> None:
    if not new and old[0].scene not in found.scenes:
        return
    frames: dict[int, tuple[list[Label], list[Label]]] = {}
    for number, labels in enumerate((old, new)):
        for label in labels:
            frames.setdefault(label.frame, ([], []))[number].append(label)
    for _, (before, after) in sorted(frames.items()):
        pairs, gone, come = _matched(before, after)
        for one, other in pairs:
            _compare(one, other, found, note)
        for label in gone:
            found.removed += 1
            note(_change("removed", label))
        for label in come:
            found.added += 1
            note(_change("added", label))


def _matched(before: list[Label], after: list[Label]) -> tuple[list[tuple[Label, Label]], list[Label], list[Label]]:
    """Return which label is which, and those that have no other."""
    pairs: list[tuple[Label, Label]] = []
    for own in (attrgetter("track"), attrgetter("id")):
        known: dict[str, Label] = {own(label): label for label in after if own(label)}
        rest = []
        for label in before:
            other = known.pop(own(label), None)
            if other is None:
                rest.append(label)
            else:
                pairs.append((label, other))
                after = [one for one in after if one is not other]
        before = rest
    near = sorted(
        (
            (math.dist(one.position, other.position), first, second)
            for first, one in enumerate(before)
            for second, other in enumerate(after)
            if one.label == other.label
        ),
    )
    gone, come = dict(enumerate(before)), dict(enumerate(after))
    for distance, first, second in near:
        if distance <= NEAR_M and first in gone and second in come:
            pairs.append((gone.pop(first), come.pop(second)))
    return pairs, list(gone.values()), list(come.values())


def _compare(one: Label, other: Label, found: Difference, note: Callable[[dict[str, Any]], None]) -> None:
    moved = math.dist(one.position, other.position)
    dot = abs(sum(a * b for a, b in zip(one.rotation, other.rotation, strict=True)))
    turned = math.degrees(2.0 * math.acos(min(1.0, dot)))
    resized = max(abs(a - b) for a, b in zip(one.size, other.size, strict=True))
    changes: dict[str, Any] = {}
    if moved > SAME_M:
        found.moved += 1
        found.sum_m += moved
        found.most_m = max(found.most_m, moved)
        changes["moved_m"] = round(moved, 4)
    if turned > SAME_DEG:
        found.turned += 1
        found.most_deg = max(found.most_deg, turned)
        changes["turned_deg"] = round(turned, 3)
    if resized > SAME_M:
        found.resized += 1
        changes["size"] = [list(one.size), list(other.size)]
    if one.label != other.label:
        found.renamed += 1
        changes["label"] = [one.label, other.label]
    if dict(one.attributes) != dict(other.attributes):
        found.otherwise += 1
        changes["attributes"] = [dict(one.attributes), dict(other.attributes)]
    if changes:
        note({**_change("changed", other), **changes})
    else:
        found.same += 1


def _change(kind: Kind, label: Label) -> dict[str, Any]:
    return {
        "change": kind,
        "scene": label.scene,
        "frame": label.frame,
        "stamp_ns": label.stamp_ns,
        "label": label.label,
        "track": label.track,
        "id": label.id,
    }
