# SPDX-License-Identifier: Apache-2.0
"""``convert --around``: lists of times in several forms, the windows by hand on the other side."""

from __future__ import annotations

from pathlib import Path

import pytest
from bags import CONFIG, MS, Recording, recording, write_config
from event_drives import at, frames_in, kept_s, named, settings, signal, text, twist

from nucleus_bridge.around import read_around
from nucleus_bridge.cli.main import main
from nucleus_bridge.config import load_config
from nucleus_bridge.convert import convert_bag
from nucleus_bridge.errors import InputError
from nucleus_bridge.spool import SealedScene

FRAMES = 60
AT_NS = at(3.0)
DEFAULT_NS = 10_000_000_000


def scenes_of(spool: Path) -> list[SealedScene]:
    return [SealedScene.read(folder) for folder in sorted((spool / "scenes").iterdir())]


@pytest.mark.parametrize(
    "content",
    [
        f"stamp_ns,name,before_s,after_s\n{AT_NS},pothole,1.0,0.5\n",
        f"# by hand\nname,after_s,before_s,time\n\npothole,0.5,1,{AT_NS // 10**9}\n",
        "time,name,before_s,after_s\n2023-11-14T22:13:23.000Z,pothole,1,0.5\n",
        "Begin,Name,before_s,after_s\n2023-11-14T23:13:23+01:00,pothole,1,0.5\n",
        f"time,end,name,before_s,after_s\n{AT_NS - 500 * MS},{AT_NS},pothole,0.5,0.5\n",
        f"id,name,stamp_ns,before_s,after_s\nmark-7,pothole,{AT_NS},1,0.5\n",
    ],
)
def test_what_lies_around_a_time_is_kept(tmp_path: Path, content: str) -> None:
    bag = recording(FRAMES).write(tmp_path / "bag")
    times = tmp_path / "times.csv"
    times.write_text(content)
    write_config(tmp_path)
    arguments = ["--config", str(tmp_path / "config.yaml"), "--output", str(tmp_path / "spool")]
    assert main(["convert", str(bag), *arguments, "--around", str(times)]) == 0
    scenes = scenes_of(tmp_path / "spool")
    assert kept_s(scenes) == frames_in([(2.0, 3.5)], FRAMES)
    assert [(name, end) for name, _, end in named(scenes[0].manifest)] == [("pothole", 3.0)]


def test_a_plain_list_of_times_has_the_windows_of_the_configured_event(tmp_path: Path) -> None:
    times = tmp_path / "times.csv"
    times.write_text(f"{AT_NS},brake\n{AT_NS / 1e9:.3f},\n")
    config = settings(tmp_path, 'brake: {topic: /brake, when: "> 1", before_s: 2.0, after_s: 3.0, hold_s: 1.0}')
    brake, mark = sorted(read_around(times, config), key=lambda event: event.name)
    assert (brake.name, brake.begin_ns, brake.end_ns) == ("brake", AT_NS, AT_NS + 10**9)
    assert (brake.before_ns, brake.after_ns) == (2 * 10**9, 3 * 10**9)
    assert (mark.name, mark.begin_ns, mark.end_ns) == ("mark", AT_NS, AT_NS)
    assert (mark.before_ns, mark.after_ns) == (DEFAULT_NS, DEFAULT_NS)


def test_a_recording_of_marks_is_a_list_of_times(tmp_path: Path) -> None:
    bag = recording(FRAMES).write(tmp_path / "bag")
    marks = Recording()
    marks.add("/operator/events", text("near miss"), AT_NS)
    marks.add("/chatter", text("hello"), AT_NS + MS)
    config = settings(tmp_path, "mark: {before_s: 1.0, after_s: 0.5}")
    (event,) = read_around(marks.write(tmp_path / "marks"), config)
    assert (event.name, event.begin_ns) == ("near miss", AT_NS)
    stamped = Recording()
    stamped.add("/only", twist(AT_NS, 1.0), AT_NS + 700 * MS)
    folder = stamped.write(tmp_path / "stamped")
    (event,) = read_around(next(folder.glob("*.mcap")), config)
    assert (event.name, event.begin_ns) == ("mark", AT_NS)
    report = convert_bag(bag, config, tmp_path / "spool", around=folder)
    assert kept_s(report.scenes) == frames_in([(2.0, 3.5)], FRAMES)


def test_events_and_times_go_together_only_where_events_select(tmp_path: Path) -> None:
    bag = signal(recording(FRAMES), [(1.0, 1.2)], 6.0, lambda stamp, on: twist(stamp, float(on)))
    path = bag.write(tmp_path / "bag")
    times = tmp_path / "times.csv"
    times.write_text(f"stamp_ns,before_s,after_s\n{AT_NS},0.2,0.1\n")
    events = 'hit: {topic: /signal, field: twist.linear.x, when: "> 0", before_s: 0.1, after_s: 0.0}'
    both = convert_bag(path, settings(tmp_path, events), tmp_path / "both", around=times)
    assert kept_s(both.scenes) == frames_in([(0.9, 1.2), (2.8, 3.1)], FRAMES)
    all_frames = load_config(tmp_path / "config.yaml", ["scene.select=all"])
    alone = convert_bag(path, all_frames, tmp_path / "alone", around=times)
    assert kept_s(alone.scenes) == frames_in([(2.8, 3.1)], FRAMES)


def test_other_times_are_another_conversion(tmp_path: Path) -> None:
    bag = recording(FRAMES).write(tmp_path / "bag")
    config = load_config(write_config(tmp_path, CONFIG))
    times = tmp_path / "times.csv"
    times.write_text(f"stamp_ns,before_s,after_s\n{AT_NS},0.2,0.1\n")
    assert not convert_bag(bag, config, tmp_path / "spool", around=times).skipped
    assert convert_bag(bag, config, tmp_path / "spool", around=times).skipped
    times.write_text(f"stamp_ns,before_s,after_s\n{AT_NS + 10**9},0.2,0.1\n")
    assert not convert_bag(bag, config, tmp_path / "spool", around=times).skipped
    assert len(scenes_of(tmp_path / "spool")) == 2
    assert len({scene.manifest.config_digest for scene in scenes_of(tmp_path / "spool")}) == 2


def test_a_list_of_times_counts_by_its_content_in_what_a_scene_is_known_by(tmp_path: Path) -> None:
    bag = recording(FRAMES).write(tmp_path / "bag")
    config = load_config(write_config(tmp_path, CONFIG))
    digests = []
    for name, content in (("a", f"stamp_ns\n{AT_NS}\n"), ("b", f"# the same\nname,time_ns\n,{AT_NS}\n"), ("c", None)):
        times = tmp_path / f"{name}.csv"
        times.write_text(content or "")
        (scene,) = convert_bag(bag, config, tmp_path / name, around=times if content else None).scenes
        digests.append(scene.manifest.config_digest)
    assert digests[0] == digests[1] != digests[2] == config.digest


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "holds no time"),
        ("name,before_s\nbrake,3\n", "no column of times"),
        ("stamp_ns,name\nyesterday,x\n", "line 2: 'yesterday' is not a time"),
        (f"begin_ns,end_ns\n{AT_NS},{AT_NS - 1}\n", "line 2: the event ends"),
        (f"stamp_ns,before_s\n{AT_NS},-3\n", "line 2: '-3' is not a length"),
        (f"stamp_ns,before_s\n{AT_NS},long\n", "line 2: "),
        ("stamp_ns\ninf\n", "line 2: 'inf' is not a time"),
        (f'stamp_ns,name\n{AT_NS},"a,b"\n', "without a comma"),
        ("\x00\x01", "line 1"),
    ],
)
def test_what_is_no_list_of_times_is_refused(tmp_path: Path, content: str, says: str) -> None:
    times = tmp_path / "times.csv"
    times.write_text(content)
    with pytest.raises(InputError) as refused:
        read_around(times, load_config(write_config(tmp_path)))
    assert says in str(refused.value)
    assert str(times) in str(refused.value)


def test_a_missing_list_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = recording(3).write(tmp_path / "bag")
    arguments = ["--config", str(write_config(tmp_path)), "--output", str(tmp_path / "spool")]
    assert main(["convert", str(bag), *arguments, "--around", str(tmp_path / "none.csv")]) == 2
    assert "none.csv" in capsys.readouterr().err
    assert not (tmp_path / "spool").exists()
