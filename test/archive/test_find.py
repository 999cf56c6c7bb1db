# SPDX-License-Identifier: Apache-2.0
"""Which recordings folders, patterns and file names stand for."""

from __future__ import annotations

from pathlib import Path

import pytest
from archives import Archive

from nucleus_bridge.archive.find import find_bags, group


@pytest.mark.parametrize(
    ("names", "recordings"),
    [
        (["metadata.yaml", "a_0.mcap", "a_1.mcap"], [""]),
        (["drive_0.mcap", "drive_1.mcap", "drive_10.mcap"], [""]),
        (["drive_0.db3", "drive_0.db3-wal", "notes.txt"], ["drive_0.db3"]),
        (["a_0.mcap", "b_0.mcap"], ["a_0.mcap", "b_0.mcap"]),
        (["one.mcap", "two.mcap.zstd", "two.yaml"], ["one.mcap", "two.mcap.zstd"]),
        (["readme.md"], []),
    ],
)
def test_a_folder_is_one_recording_or_its_files_are(names: list[str], recordings: list[str]) -> None:
    assert group(names) == recordings


def test_folders_patterns_and_names_find_the_same_recordings_once_each(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = {str(path) for path in archive.bags}
    for argument in (str(archive.folder), f"{archive.folder}/*", f"{archive.folder}/**", f"{archive.folder}/*/drive_*"):
        assert {str(bag) for bag in find_bags([argument]).bags} == every
    both = find_bags([str(archive.folder), str(archive.bags[3])])
    assert len(both.bags) == len(every)
    monkeypatch.chdir(archive.folder)
    assert len(find_bags(["vehicle_1", str(archive.folder / "vehicle_1")]).bags) == len(every) // 3
    assert [str(bag) for bag in find_bags([str(archive.bags[0])]).bags] == [str(archive.bags[0])]


def test_a_pattern_without_a_recording_is_a_problem_and_a_missing_name_is_left_to_the_reader(tmp_path: Path) -> None:
    found = find_bags([f"{tmp_path}/*.mcap", str(tmp_path / "missing.mcap")])
    assert [argument for argument, _ in found.problems] == [f"{tmp_path}/*.mcap"]
    assert [str(bag) for bag in found.bags] == [str(tmp_path / "missing.mcap")]
