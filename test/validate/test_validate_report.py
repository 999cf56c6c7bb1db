# SPDX-License-Identifier: Apache-2.0
"""What a report says: where each failure is, in text fit for a terminal; and which scenes are reported on."""

from __future__ import annotations

from pathlib import Path

import pytest
from good_scene import SCENE_ID, Recording, check

from nucleus_bridge.errors import InputError
from nucleus_bridge.validate.scenes import validate_path


def test_a_failure_names_file_frame_and_item(recording: Recording, tmp_path: Path) -> None:
    recording.edit_file("top/000000.json", '"i":1.000', '"i":7.000')
    report = check(recording.write(tmp_path))
    (rule,) = (rule for rule in report.rules if not rule.ok)
    (failure,) = rule.failures
    assert (rule.rule, failure.file, failure.frame) == ("intensity-range", "top/000000.json", 0)
    assert failure.item == f"{SCENE_ID}-top-000000"
    assert failure.text == "point 1 has i = 7"


def test_one_failure_stands_for_all_points_of_a_file(recording: Recording, tmp_path: Path) -> None:
    text = recording.files["top/000000.json"].decode()
    recording.files["top/000000.json"] = text.replace('"i":0.5', '"i":1.5').replace('"i":1.0', '"i":2.0').encode()
    report = check(recording.write(tmp_path))
    (rule,) = (rule for rule in report.rules if not rule.ok)
    assert [failure.text for failure in rule.failures] == ["point 0 has i = 1.5, and so on in 2 points"]


def test_foreign_text_reaches_a_terminal_escaped(recording: Recording, tmp_path: Path) -> None:
    recording.scene["frames"][0]["front"]["reference_id"] = "\x1b[2J\ud800" + "a" * 10_000
    report = check(recording.write(tmp_path))
    for rule in report.rules:
        for failure in rule.failures:
            text = f"{failure.file} {failure.item} {failure.text}"
            assert text.isprintable()
            assert len(text) < 1000
            text.encode()


def test_all_scenes_of_a_spool_are_checked_and_counted(recording: Recording, tmp_path: Path) -> None:
    good = recording.write(tmp_path / "scenes")
    (tmp_path / "scenes" / "broken").mkdir()
    (tmp_path / "scenes" / ".hidden").mkdir()
    (tmp_path / "open" / "unfinished").mkdir(parents=True)
    calls: list[tuple[int, int]] = []
    reports = validate_path(tmp_path, progress=lambda done, total: calls.append((done, total)))
    assert [(report.path, report.ok) for report in reports] == [(tmp_path / "scenes" / "broken", False), (good, True)]
    assert calls == [(1, 2), (2, 2)]
    assert [report.path for report in validate_path(tmp_path / "scenes")] == [report.path for report in reports]


def test_an_empty_spool_has_no_scenes(tmp_path: Path) -> None:
    (tmp_path / "scenes").mkdir()
    assert validate_path(tmp_path) == []


@pytest.mark.parametrize("name", ["nowhere", "file", "empty"])
def test_anything_else_is_an_input_error_that_names_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "empty" / "folder").mkdir(parents=True)
    with pytest.raises(InputError, match=name):
        validate_path(tmp_path / name)
