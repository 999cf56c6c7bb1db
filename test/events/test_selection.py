# SPDX-License-Identifier: Apache-2.0
"""Which frames are kept around events: the windows by hand on the other side."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from bags import CONFIG, MS, START_NS, Recording, recording
from event_drives import (
    Span,
    at,
    boolean,
    braking,
    diagnostics,
    fix,
    frames_in,
    kept_s,
    named,
    number,
    settings,
    signal,
    text,
    twist,
)

from nucleus_bridge.cli.main import main
from nucleus_bridge.config import load_config
from nucleus_bridge.convert import convert_bag

FRAMES = 150
PULSES: list[Span] = [(4.0, 5.0), (10.5, 10.7)]
WINDOWS: list[Span] = [(3.0, 5.5), (9.5, 11.2)]
"""A second before, half a second after."""
EARTH_M = 6_371_008.8


@pytest.mark.parametrize(
    ("message", "condition"),
    [
        (lambda _, on: number(1.0 if on else 0.0), 'when: "> 0.5"'),
        (lambda _, on: number(-4.0 if on else 1.0), 'when: "abs >= 4"'),
        (lambda _, on: number(math.nan if not on else 2.0) if on else number(0.0), 'when: "== 2.0"'),
        (lambda _, on: boolean(on), 'when: "== true"'),
        (lambda _, on: boolean(not on), 'when: "!= True"'),
        (lambda _, on: boolean(on), 'when: "> 0.5"'),
        (lambda _, on: text("MANUAL" if on else "AUTO"), 'when: "!= AUTO"'),
        (lambda _, on: text("fault: brake" if on else "fine"), "when: \"== 'fault:*'\""),
        (lambda stamp, on: twist(stamp, 3.0 if on else 1.0, 4.0), 'field: twist.linear, when: "norm > 4.9"'),
        (lambda stamp, on: twist(stamp, 0.0, -2.0 if on else 0.0), 'field: twist.linear.y, when: "<= -2"'),
        (lambda stamp, on: diagnostics(stamp, 0, 2 if on else 1), 'field: "status[1].level", when: ">= 2"'),
        (lambda stamp, on: diagnostics(stamp, *([0, 0] if on else [0])), 'field: rate, when: "> 0"'),
    ],
)
def test_the_frames_of_the_windows_are_kept_and_no_others(
    tmp_path: Path, message: Callable[[int, bool], Any], condition: str
) -> None:
    bag = recording(FRAMES)
    if "rate" in condition:  # a topic that is silent but for the events, which last a second longer
        for low, high in PULSES:
            for count in range(round((high - 1.0 - low if high - 1.0 > low else 0.0) * 50) + 1):
                stamp_ns = at(low + count / 50)
                bag.add("/signal", message(stamp_ns, True), stamp_ns)
        pulses = [(4.0, 5.0), (10.5, 11.5)]
    else:
        signal(bag, PULSES, FRAMES / 10, message)
        pulses = PULSES
    config = settings(tmp_path, f"hit: {{topic: /signal, {condition}, before_s: 1.0, after_s: 0.5}}")
    report = convert_bag(bag.write(tmp_path / "bag"), config, tmp_path / "spool")
    windows = [(low - 1.0, high + 0.5) for low, high in pulses]
    assert kept_s(report.scenes) == frames_in(windows, FRAMES)
    assert [named(scene.manifest) for scene in report.scenes] == [[("hit", *pulse)] for pulse in pulses]
    kept = sum(scene.manifest.frames for scene in report.scenes)
    assert report.losses == {topic: {"no_event": FRAMES - kept} for topic in ("/image", "/points")}
    assert report.complete


def test_each_scene_says_which_events_it_holds(tmp_path: Path) -> None:
    bag = signal(recording(FRAMES), PULSES, 15.0, lambda _, on: boolean(on))
    signal(bag, [(4.5, 4.8)], 15.0, lambda _, on: boolean(on), "/other")
    events = """
        hit: {topic: /signal, when: "== true", before_s: 1.0, after_s: 0.5}
        other: {topic: /other, when: "== true", before_s: 0.0, after_s: 0.0}
    """
    report = convert_bag(bag.write(tmp_path / "bag"), settings(tmp_path, events), tmp_path / "spool")
    assert [named(scene.manifest) for scene in report.scenes] == [
        [("hit", 4.0, 5.0), ("other", 4.5, 4.8)],
        [("hit", 10.5, 10.7)],
    ]
    metadata = [json.loads((scene.folder / "scene.json").read_text())["metadata"] for scene in report.scenes]
    assert [each["events"] for each in metadata] == ["hit,other", "hit"]
    assert [scene.manifest.end_reason for scene in report.scenes] == ["window_end", "window_end"]
    assert main(["validate", str(tmp_path / "spool")]) == 0


@pytest.mark.parametrize(
    "events",
    [
        [],
        {},
        [{"name": "hit"}],
        [{"name": "hit", "begin_ns": 2, "end_ns": 1}],
        [{"name": 3, "begin_ns": 1, "end_ns": 1}],
    ],
)
def test_a_manifest_whose_events_are_none_is_found_by_validate(tmp_path: Path, events: object) -> None:
    bag = signal(recording(10), [(0.4, 0.5)], 1.0, lambda _, on: boolean(on)).write(tmp_path / "bag")
    config = settings(tmp_path, 'hit: {topic: /signal, when: "== true", before_s: 0.2, after_s: 0.0}')
    [scene] = convert_bag(bag, config, tmp_path / "spool").scenes
    assert main(["validate", str(tmp_path / "spool")]) == 0
    path = scene.folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "events": events}))
    assert main(["validate", str(tmp_path / "spool")]) == 1


def test_windows_that_overlap_or_touch_are_one_and_the_drive_bounds_them(tmp_path: Path) -> None:
    pulses = [(0.0, 0.2), (4.0, 4.2), (5.7, 6.0), (14.8, 15.0)]
    bag = signal(recording(FRAMES), pulses, 15.0, lambda _, on: boolean(on))
    config = settings(tmp_path, 'hit: {topic: /signal, when: "== true", before_s: 1.0, after_s: 0.5}')
    report = convert_bag(bag.write(tmp_path / "bag"), config, tmp_path / "spool")
    assert kept_s(report.scenes) == frames_in([(0.0, 0.7), (3.0, 6.5), (13.8, 14.9)], FRAMES)
    assert named(report.scenes[1].manifest) == [("hit", 4.0, 4.2), ("hit", 5.7, 6.0)]
    assert named(report.scenes[-1].manifest) == [("hit", 14.8, 14.9)]
    assert report.scenes[-1].manifest.end_reason == "end_of_data"


def test_windows_without_a_frame_between_them_are_two_scenes(tmp_path: Path) -> None:
    bag = signal(recording(FRAMES), [(4.0, 4.02), (5.06, 5.08)], 15.0, lambda _, on: boolean(on))
    config = settings(tmp_path, 'hit: {topic: /signal, when: "== true", before_s: 1.0, after_s: 0.0}')
    report = convert_bag(bag.write(tmp_path / "bag"), config, tmp_path / "spool")
    assert kept_s(report.scenes) == frames_in([(3.0, 4.0), (4.1, 5.0)], FRAMES)


def test_changes_hold_and_interval(tmp_path: Path) -> None:
    bag = signal(recording(FRAMES), PULSES, 15.0, lambda _, on: text("B" if on else "A"))
    events = "hit: {topic: /signal, when: changes, before_s: 0.2, after_s: 0.1"
    write = bag.write(tmp_path / "bag")
    plain = convert_bag(write, settings(tmp_path, f"{events}}}"), tmp_path / "plain")
    assert kept_s(plain.scenes) == frames_in([(3.8, 4.1), (4.8, 5.1), (10.3, 10.8)], FRAMES)
    assert named(plain.scenes[2].manifest) == [("hit", 10.5, 10.5), ("hit", 10.7, 10.7)]
    held = convert_bag(write, settings(tmp_path, f"{events}, hold_s: 0.3}}"), tmp_path / "held")
    assert kept_s(held.scenes) == frames_in([(3.8, 4.4), (4.8, 5.4), (10.3, 10.9)], FRAMES)
    assert named(held.scenes[2].manifest) == [("hit", 10.5, 10.8)]
    apart = convert_bag(write, settings(tmp_path, f"{events}, min_interval_s: 5.0}}"), tmp_path / "apart")
    assert kept_s(apart.scenes) == frames_in([(3.8, 4.1), (10.3, 10.6)], FRAMES)


def test_silence_is_a_rate(tmp_path: Path) -> None:
    bag = recording(FRAMES)
    for count in range(150):  # ten a second, but for a gap after 6.0
        seconds = count / 10
        if not 6.0 < seconds < 9.0:
            bag.add("/signal", number(1.0), at(seconds))
    config = settings(tmp_path, 'silent: {topic: /signal, field: rate, when: "< 4", before_s: 1.0, after_s: 0.0}')
    report = convert_bag(bag.write(tmp_path / "bag"), config, tmp_path / "spool")
    # The last ten messages leave the second before 6.7 with three of them; the fourth after the gap comes at 9.3.
    assert [named(scene.manifest) for scene in report.scenes] == [[("silent", 6.7, 9.3)]]
    assert kept_s(report.scenes) == frames_in([(5.7, 9.3)], FRAMES)


def test_a_place_is_entered_and_left_where_the_way_crosses_its_edge(tmp_path: Path) -> None:
    bag = recording(FRAMES)
    for count in range(-2, 78):  # five a second, ten metres a second to the north
        seconds = count / 5
        latitude = 48.0 + math.degrees(10.0 * seconds / EARTH_M)
        bag.add("/fix", fix(at(seconds), latitude, 11.0), at(seconds) + MS)
    place = 48.0 + math.degrees(73.0 / EARTH_M)
    events = f'crossing: {{topic: gps, field: "inside({place:.9f}, 11.0, 15.0)", before_s: 0.5, after_s: 0.5}}'
    config = settings(tmp_path, events, more="    gps: {topic: /fix}\n")
    report = convert_bag(bag.write(tmp_path / "bag"), config, tmp_path / "spool")
    ((name, begin, end),) = named(report.scenes[0].manifest)
    assert (name, begin, end) == ("crossing", pytest.approx(5.8, abs=0.005), pytest.approx(8.8, abs=0.005))
    (times,) = kept_s(report.scenes)
    assert (times[0], times[-1]) == (5.3, 9.3) or (times[0], times[-1]) == (5.4, 9.3)


def test_braking_is_told_by_the_poses(tmp_path: Path) -> None:
    brake = (6.0, 7.5)
    bag = braking(FRAMES, brake, 12.0, 5.0)
    config = settings(tmp_path, 'brake: {topic: device, field: acceleration, when: "< -2.5", before_s: 2, after_s: 1}')
    report = convert_bag(bag.write(tmp_path / "bag"), config, tmp_path / "spool")
    ((name, begin, end),) = named(report.scenes[0].manifest)
    assert name == "brake"
    assert abs(begin - brake[0]) <= 0.1
    assert abs(end - brake[1]) <= 0.1


@pytest.mark.parametrize(
    ("field", "when", "span"),
    [("speed", "< 7.0", (7.0, 15.0)), ("distance", "> 60.0", (5.0, 15.0))],
)
def test_speed_and_distance_are_those_of_the_device(tmp_path: Path, field: str, when: str, span: Span) -> None:
    bag = braking(FRAMES, (6.0, 7.5), 12.0, 5.0)
    config = settings(tmp_path, f'slow: {{topic: device, field: {field}, when: "{when}", before_s: 0, after_s: 0}}')
    report = convert_bag(bag.write(tmp_path / "bag"), config, tmp_path / "spool")
    ((_, begin, _),) = named(report.scenes[0].manifest)
    assert abs(begin - span[0]) <= 0.25  # what was driven before the first sweep counts
    assert kept_s(report.scenes)[0][-1] == pytest.approx(14.9, abs=0.31)


def test_every_so_many_metres(tmp_path: Path) -> None:
    bag = recording(FRAMES, speed=10.0)
    config = settings(
        tmp_path,
        "every: {topic: device, field: distance, when: changes, min_distance_m: 40.0, before_s: 0.1, after_s: 0.1}",
    )
    report = convert_bag(bag.write(tmp_path / "bag"), config, tmp_path / "spool")
    begins = [named(scene.manifest)[0][1] for scene in report.scenes]
    assert len(begins) == 4
    assert [round(later - earlier, 2) for earlier, later in pairwise(begins)] == [4.0, 4.0, 4.0]


def test_stride_and_distance_count_before_the_selection(tmp_path: Path) -> None:
    bag = signal(recording(FRAMES), PULSES, 15.0, lambda _, on: boolean(on)).write(tmp_path / "bag")
    events = 'hit: {topic: /signal, when: "== true", before_s: 1.0, after_s: 0.5}'
    every = convert_bag(bag, settings(tmp_path, events, "scene.frame_stride=4"), tmp_path / "stride")
    strided = [count / 10 for count in range(0, FRAMES, 4)]
    assert kept_s(every.scenes) == [[t for t in strided if low <= t <= high] for low, high in WINDOWS]
    far = convert_bag(bag, settings(tmp_path, events, "scene.min_distance_m=0.295"), tmp_path / "far")
    apart = [count / 10 for count in range(0, FRAMES, 3)]  # a metre a second
    assert kept_s(far.scenes) == [[t for t in apart if low <= t <= high] for low, high in WINDOWS]


def test_no_event_is_no_scene_and_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = signal(recording(30), [], 3.0, lambda _, on: boolean(on)).write(tmp_path / "bag")
    settings(tmp_path, 'hit: {topic: /signal, when: "== true"}')
    arguments = ["convert", str(bag), "--config", str(tmp_path / "config.yaml"), "--output", str(tmp_path / "spool")]
    assert main(arguments) == 0
    assert "no_event" in capsys.readouterr().out
    assert not list((tmp_path / "spool" / "scenes").iterdir())
    assert main(arguments) == 0


@pytest.mark.parametrize(
    ("event", "says"),
    [
        ('{topic: /signal, field: dat, when: "> 1"}', "the nearest field of std_msgs/msg/Float64 is data (float64)"),
        ('{topic: /signal, when: "> 5 km/h"}', "hit.when: /signal: data of std_msgs/msg/Float64 is float64"),
        ('{topic: /signal, when: "> 5 km/h"}', "without it, not with '5 km/h'"),
        ('{topic: /signal, when: "> nan"}', "not with 'nan'"),
        ('{topic: device, field: speed, when: "< inf"}', "'inf' is none"),
        ('{topic: device, field: velocity, when: "> 5"}', "the nearest is speed (float64, m/s)"),
        ('{topic: device, field: yawrate, when: "> 5"}', "the nearest is yaw_rate"),
        ('{topic: device, when: "> 5"}', "device has speed, yaw_rate, acceleration, distance"),
        ('{topic: /signal, when: "norm > 5"}', "not a vector"),
        ('{topic: /nowhere, when: "> 5"}', "/nowhere is not in"),
        ('{topic: device, field: speeed, when: "> 5"}', "the nearest is speed (float64, m/s)"),
        ('{topic: device, field: speed, when: "> 50 km/h"}', "(m/s, written without it)"),
        ("{topic: /signal, field: rate, when: changes}", "messages a second"),
        ('{topic: gps, field: "inside(11.0, 48.0, 5.0)"}', "gps stands for gps.topic, which is not set"),
        ('{topic: /signal, field: "inside(48.0, 11.0, 5.0)"}', "set events.hit.topic: gps"),
        ('{topic: /tf, field: "transforms[0].transform.rotation", when: "> 1"}', "a vector: compare its length"),
        ('{topic: /image, field: format, when: "> 1"}', "a text"),
    ],
)
def test_what_cannot_be_an_event_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], event: str, says: str
) -> None:
    bag = signal(recording(10), [], 1.0, lambda _, on: number(float(on))).write(tmp_path / "bag")
    config = tmp_path / "config.yaml"
    settings_text = f"    event_names: [hit]\n    events:\n      hit: {event}\n    scene: {{select: events}}\n"
    config.write_text(CONFIG + settings_text)
    status = main(["convert", str(bag), "--config", str(config), "--output", str(tmp_path / "spool")])
    message = capsys.readouterr().err
    assert status == 2
    assert says in message
    assert "events.hit." in message
    assert not (tmp_path / "spool").exists()


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stepped() -> Recording:
    """Two drives in one recording: the clock is set back by ten seconds between them."""
    made = Recording()
    drives = ((START_NS, [(2.0, 2.5), (7.5, 8.0)], 0), (START_NS - at(2.0, 0), [(6.0, 6.5)], at(10.0, 0)))
    for start_ns, pulses, log_ns in drives:
        bag = recording(80, start_ns=start_ns)
        part = signal(bag, pulses, 8.0, lambda stamp, on: twist(stamp, float(on)), start_ns=start_ns)
        made.rows += [(row[0] - start_ns + START_NS + log_ns, *row[1:]) for row in part.rows]
    return made


def test_a_clock_step_closes_windows(tmp_path: Path) -> None:
    config = settings(
        tmp_path, 'hit: {topic: /signal, field: twist.linear.x, when: "> 0", before_s: 1.0, after_s: 2.0}'
    )
    report = convert_bag(stepped().write(tmp_path / "bag"), config, tmp_path / "spool")
    times = kept_s(report.scenes)
    first = frames_in([(1.0, 4.5), (6.5, 7.9)], 80)
    assert times[:2] == first
    second = [round(time - 2.0, 1) for time in frames_in([(5.0, 7.9)], 80)[0]]
    assert [round(time, 1) for time in times[2]] == second
    assert report.scenes[1].manifest.end_reason == "clock_jump"
    assert named(report.scenes[1].manifest) == [("hit", 7.5, 7.9)]


@pytest.mark.parametrize("way", ["workers", "chunks", "no look-ahead", "little memory"])
def test_the_bytes_are_the_same_whatever_the_way(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bag = signal(recording(FRAMES), PULSES, 15.0, lambda _, on: boolean(on)).write(tmp_path / "bag")
    events = 'hit: {topic: /signal, when: "== true", before_s: 1.0, after_s: 0.5}'
    config = settings(tmp_path, events)
    convert_bag(bag, config, tmp_path / "plain")
    if way == "workers":
        convert_bag(bag, config, tmp_path / "other", workers=2)
    elif way == "chunks":
        arguments = ["convert", str(bag), "--config", str(tmp_path / "config.yaml"), "--chunk", "0.001"]
        assert main([*arguments, "--output", str(tmp_path / "other")]) == 0
    elif way == "no look-ahead":
        monkeypatch.setattr("nucleus_bridge.replay._windows_ahead", lambda *_: ((0, 1),))
        convert_bag(bag, config, tmp_path / "other")
    else:
        settings(tmp_path, events)
        convert_bag(bag, load_config(tmp_path / "config.yaml", ["look_back.memory_bytes=0"]), tmp_path / "other")
    assert tree(tmp_path / "other" / "scenes") == tree(tmp_path / "plain" / "scenes")
    assert len(list((tmp_path / "plain" / "scenes").iterdir())) == 2
