# SPDX-License-Identifier: Apache-2.0
"""Two recorders of one drive: their recordings are one, whatever their order, their clocks and what both have."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from bags import MS, START_NS, Recording, recording, write_config

from nucleus_bridge.cli.main import main
from nucleus_bridge.config import load_config
from nucleus_bridge.convert import ConversionReport, convert_bag
from nucleus_bridge.errors import BagError, InputError, SceneExistsError
from nucleus_bridge.recordings import Merged, open_recording

CAMERA = ("/image", "/info")


def split(made: Recording, folder: Path, late_ns: int = 0) -> Merged:
    """Write the camera's topics apart from the others, by a recorder whose clock is ahead."""
    others = made.without("/image").without("/info").write(folder / "sensors")
    camera = Recording([(log + late_ns, *rest) for log, *rest in made.rows if rest[0] in CAMERA])
    return Merged.of([others, camera.write(folder / "camera")])


def contents(spool: Path) -> dict[str, bytes]:
    return {str(path.relative_to(spool)): path.read_bytes() for path in sorted(spool.glob("scenes/*/**/*.*"))}


def convert(bag: Path | Merged, folder: Path, spool: str) -> ConversionReport:
    return convert_bag(bag, write_config(folder), folder / spool)


@pytest.mark.parametrize("late_ns", [0, 400 * MS, 5_000 * MS, -20_000 * MS, 7_200_000 * MS])
def test_the_scenes_are_those_of_one_recording_whatever_the_recorders_clocks(tmp_path: Path, late_ns: int) -> None:
    made = recording(10)
    whole = convert(made.write(tmp_path / "whole"), tmp_path, "one")
    merged = convert(split(made, tmp_path, late_ns), tmp_path, "two")
    assert merged.losses == whole.losses
    assert contents(tmp_path / "two") == contents(tmp_path / "one") != {}


def test_a_clock_that_differs_is_told_and_nothing_is_called_damaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = [str(part) for part in split(recording(10), tmp_path, 5_000 * MS).parts]
    config = write_config(tmp_path)
    assert main(["convert", *parts, "--merge", "--config", str(config), "--output", str(tmp_path / "spool")]) == 0
    said = capsys.readouterr()
    assert "the clock of the recorder of" in said.err
    assert re.search(r"camera\S* is (5|4\.9\d*|5\.0\d*) s ahead", said.err)
    assert "[recorder_clock]" in said.err
    assert "damaged" not in said.err + said.out
    assert main(["inspect", *parts, "--merge", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [warning["code"] for warning in told["warnings"] if "clock" in warning["code"]] == ["recorder_clock"]
    assert told["damage"] == []


def test_a_folder_of_recordings_is_told_from_one_that_holds_none(tmp_path: Path) -> None:
    split(recording(2), tmp_path / "drive")
    with pytest.raises(BagError, match=r"a folder of recordings \(camera, sensors\); give one of them, or add --merge"):
        open_recording(tmp_path / "drive")


def test_a_later_part_without_mounts_names_the_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = recording(6).without("/tf_static").write(tmp_path / "later")
    main(["inspect", str(bag)])
    assert "an earlier part of the drive has it, give both with --merge" in capsys.readouterr().out


def test_what_both_recorders_have_counts_once(tmp_path: Path) -> None:
    made = recording(6)
    both = Merged.of([made.write(tmp_path / "a"), made.without("/image").write(tmp_path / "b")])
    with open_recording(both) as merged, open_recording(tmp_path / "a") as single:
        topics = [topic.name for topic in single.topics]
        assert list(merged.messages(topics)) == list(single.messages(topics))


def test_the_order_of_the_parts_does_not_matter(tmp_path: Path) -> None:
    merged = split(recording(4), tmp_path)
    assert Merged.of(reversed(merged.parts)) == merged
    convert(merged, tmp_path, "spool")
    assert convert(Merged.of(reversed(merged.parts)), tmp_path, "spool").skipped


def test_a_part_converted_alone_makes_the_same_ids_and_is_refused(tmp_path: Path) -> None:
    made = recording(4)
    convert(split(made, tmp_path), tmp_path, "spool")
    alone = load_config(write_config(tmp_path), ["camera_names=[]"])
    with pytest.raises(SceneExistsError):
        convert_bag(tmp_path / "sensors", alone, tmp_path / "spool")


def test_a_topic_that_another_recording_has_names_the_option(tmp_path: Path) -> None:
    merged = split(recording(2), tmp_path)
    with pytest.raises(InputError, match="add --merge"):
        convert(tmp_path / "sensors", tmp_path, "spool")
    assert merged.name == "camera+sensors"


def test_a_single_recording_cannot_be_merged(tmp_path: Path) -> None:
    bag = recording(2).write(tmp_path / "bag")
    with pytest.raises(BagError, match="several recordings"):
        Merged.of([bag, bag])


def test_commands_take_several_recordings_or_their_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "drive"
    folder.mkdir()
    split(recording(10), folder)
    assert main(["inspect", str(folder), "--merge", "--json"]) == 0
    assert '"/image"' in capsys.readouterr().out
    parts = [str(folder / "sensors"), str(folder / "camera")]
    assert main(["inspect", *parts]) == 2
    assert "add --merge" in capsys.readouterr().err
    assert main(["init", *parts, "--merge", "-o", str(tmp_path / "made.yaml")]) == 0
    config, spool = str(write_config(tmp_path)), str(tmp_path / "spool")
    arguments = ["--config", config, "--output", spool, "--set", "spool.min_free_bytes=0"]
    assert main(["convert", str(folder), "--merge", *arguments]) == 0
    assert main(["convert", *parts, "--merge", "--chunk", "1", *arguments]) == 0
    assert main(["convert", *parts, *arguments]) == 2
    assert main(["convert", parts[0], "--merge", *arguments]) == 2


def test_recordings_of_many_drives_are_sorted_by_a_pattern(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two recorders of two drives, and one drive that a single recorder has."""
    for number in range(3):
        made = recording(10, start_ns=START_NS + number * 60_000 * MS)
        made.write(tmp_path / "whole" / f"drive_{number}")
        if number < 2:
            parts = split(made, tmp_path / f"{number}").parts
            for part in parts:
                (tmp_path / "vehicle" / part.name).mkdir(parents=True, exist_ok=True)
                shutil.move(str(part), tmp_path / "vehicle" / part.name / f"drive_{number}")
    shutil.copytree(tmp_path / "whole" / "drive_2", tmp_path / "vehicle" / "sensors" / "drive_2")
    config = ["--config", str(write_config(tmp_path)), "--set", "spool.min_free_bytes=0", "--json"]
    convert_all = ["convert", str(tmp_path / "vehicle"), *config, "--output", str(tmp_path / "two")]
    assert main(["convert", str(tmp_path / "whole"), *config, "--output", str(tmp_path / "one")]) == 0
    capsys.readouterr()
    assert main([*convert_all, "--merge-by", "drive_([0-9])"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["bags"]) == 3
    assert contents(tmp_path / "two") == contents(tmp_path / "one") != {}
    assert main([*convert_all, "--merge-by", "drive_[01]"]) == 2
    assert "matches nothing in" in capsys.readouterr().err
    assert main([*convert_all, "--merge-by", "drive_("]) == 2
    assert "not a regular expression" in capsys.readouterr().err


def test_a_part_that_is_gone_is_an_error(tmp_path: Path) -> None:
    merged = split(recording(2), tmp_path)
    shutil.rmtree(tmp_path / "camera")
    with pytest.raises(BagError, match="camera"):
        open_recording(merged)
