# SPDX-License-Identifier: Apache-2.0
"""Versions of labels compared: changes that were made on purpose are found, and no others."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from label_cases import Held

from nucleus_bridge.cli.main import main
from nucleus_bridge.errors import InputError
from nucleus_bridge.labels.compare import Difference, compared, labels_of_file
from nucleus_bridge.labels.label import Label

STILL = (0.0, 0.0, 0.0, 1.0)


def box(number: int, **changes: Any) -> Label:
    label = Label(
        "s",
        0,
        17,
        "map",
        "car",
        f"t{number}",
        f"i{number}",
        (10.0 * number, 0.0, 1.0),
        (4.0, 2.0, 1.5),
        STILL,
        "nucleus",
    )
    return replace(label, **changes)


def compare(before: list[Label], after: list[Label], folder: Path) -> tuple[Difference, list[dict[str, Any]]]:
    found = Difference(scenes={"s"})
    passed = list(compared([after] if after else [], [before] if before else [], folder, found))
    assert passed == ([after] if after else [])
    return found, [json.loads(line) for line in (folder / "changes.jsonl").read_text().splitlines()]


def test_each_kind_of_change_is_found(tmp_path: Path) -> None:
    before = [box(number) for number in range(7)]
    turned = (0.0, 0.0, math.sin(0.05), math.cos(0.05))
    after = [
        before[0],
        replace(before[1], position=(10.3, 0.4, 1.0)),
        replace(before[2], rotation=turned),
        replace(before[3], size=(4.5, 2.0, 1.5)),
        replace(before[4], label="truck"),
        replace(before[5], attributes={"parked": True}),
        box(9),
    ]
    found, changes = compare(before, after, tmp_path)
    assert (found.same, found.added, found.removed) == (1, 1, 1)
    assert (found.moved, found.turned, found.resized, found.renamed, found.otherwise) == (1, 1, 1, 1, 1)
    assert found.most_m == pytest.approx(0.5)
    assert found.most_deg == pytest.approx(math.degrees(0.1))
    by_track = {change["track"]: change for change in changes}
    assert by_track["t1"]["moved_m"] == 0.5
    assert by_track["t2"]["turned_deg"] == pytest.approx(math.degrees(0.1), abs=1e-3)
    assert by_track["t3"]["size"] == [[4.0, 2.0, 1.5], [4.5, 2.0, 1.5]]
    assert by_track["t4"]["label"] == ["car", "truck"]
    assert by_track["t5"]["attributes"] == [{}, {"parked": True}]
    assert (by_track["t6"]["change"], by_track["t9"]["change"]) == ("removed", "added")
    assert "1 moved (by 0.500 m on average, 0.500 m at most)" in found.text


def test_two_tasks_without_common_ids_are_matched_by_class_and_place(tmp_path: Path) -> None:
    before = [box(0), box(1), box(2, label="pedestrian")]
    after = [
        box(0, track="a", id="x", position=(0.2, 0.0, 1.0)),
        box(1, track="b", id="y", position=(14.0, 0.0, 1.0)),
        box(2, track="c", id="z"),
    ]
    found, _ = compare(before, after, tmp_path)
    assert (found.moved, found.added, found.removed) == (1, 2, 2)
    assert found.most_m == pytest.approx(0.2)


def test_the_nearest_of_several_is_the_same_object(tmp_path: Path) -> None:
    before = [box(0, track="", id="", position=(x, 0.0, 0.0)) for x in (0.0, 1.5)]
    after = [box(0, track="", id="", position=(x, 0.0, 0.0)) for x in (1.4, 0.1)]
    found, _ = compare(before, after, tmp_path)
    assert (found.moved, found.added, found.removed) == (2, 0, 0)
    assert found.most_m == pytest.approx(0.1)


def test_a_scene_that_was_not_asked_for_is_no_removal(tmp_path: Path) -> None:
    found, changes = compare([box(0, scene="other")], [box(1)], tmp_path)
    assert (found.removed, found.added, len(changes)) == (0, 1, 1)
    found, _ = compare([box(0)], [], tmp_path)
    assert found.removed == 1


def test_labels_that_come_home_are_compared_with_those_of_before(
    held: Held, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["labels", str(held.spool), "-o", str(tmp_path), *held.options]
    assert main(command) == 0
    path = tmp_path / "labels.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    capsys.readouterr()
    assert main([*command, "--compare"]) == 0
    assert f"0 added, 0 removed, 0 moved, {len(rows)} the same" in capsys.readouterr().out
    earlier = tmp_path / "earlier.jsonl"
    rows[1]["position"]["z"] += 0.25
    earlier.write_text("".join(json.dumps(row) + "\n" for row in rows[1:]))
    assert main([*command, "--compare", str(earlier)]) == 0
    said = capsys.readouterr().out
    assert f"1 added, 0 removed, 1 moved (by 0.250 m on average, 0.250 m at most), {len(rows) - 2} the same" in said
    assert len((tmp_path / "changes.jsonl").read_text().splitlines()) == 2


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        list(labels_of_file(tmp_path / "none.jsonl"))
    (tmp_path / "some.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match=r"some\.jsonl:1"):
        list(labels_of_file(tmp_path / "some.jsonl"))
