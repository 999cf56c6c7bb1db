# SPDX-License-Identifier: Apache-2.0
"""Metadata from frames and topics: against the truth of the demo drive, and against the messages themselves."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bags import CONFIG, MS, START_NS, TYPES, Recording, header, recording, write_config
from drives import Drive, make_drive
from rosbags.rosbag2 import Reader

from nucleus_bridge.cli.main import main
from nucleus_bridge.config import load_config
from nucleus_bridge.config.sources import BUILTIN_METADATA
from nucleus_bridge.convert import ConversionReport, convert_bag
from nucleus_bridge.errors import ConfigError, InputError
from nucleus_bridge.export import export_scene
from nucleus_bridge.formats.reading import open_scene
from nucleus_bridge.testing.demo import DriveOptions
from nucleus_bridge.validate.scenes import validate_path

FRAMES = 8
SETTINGS = (
    "metadata_builtin=true",
    f"scene.max_frames={FRAMES}",
    "metadata.vehicle=7",
    "metadata_from_names=['altitude','highest','turn','status','frame']",
    "metadata_from.altitude.topic=/gnss/fix",
    "metadata_from.altitude.field=altitude",
    "metadata_from.altitude.reduce=mean",
    "metadata_from.altitude.per_item=true",
    "metadata_from.highest.topic=/gnss/fix",
    "metadata_from.highest.field=altitude",
    "metadata_from.highest.reduce=max",
    "metadata_from.turn.topic=/gnss/heading",
    "metadata_from.turn.field=orientation.z",
    "metadata_from.turn.per_item=true",
    "metadata_from.status.topic=/gnss/fix",
    "metadata_from.status.field=status.status",
    "metadata_from.status.reduce=min",
    "metadata_from.frame.topic=/gnss/fix",
    "metadata_from.frame.field=header.frame_id",
    "metadata_from.frame.reduce=first",
)


@dataclass(frozen=True)
class Case:
    drive: Drive
    report: ConversionReport

    @property
    def scenes(self) -> list[dict[str, Any]]:
        return [json.loads((scene.folder / "scene.json").read_text()) for scene in self.report.scenes]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("told")
    drive = make_drive(folder, DriveOptions(seconds=3.0, points=600, cameras=1, image_width=64, image_height=64))
    return Case(drive, convert_bag(drive.bag, load_config(drive.config_path, SETTINGS), folder / "spool"))


def sweeps_of(case: Case, number: int) -> list[dict[str, Any]]:
    sweeps: list[dict[str, Any]] = case.drive.truth["lidars"]["top"]["sweeps"]
    return sweeps[FRAMES * number : FRAMES * (number + 1)]


def messages(bag: Path, topic: str, value: Callable[[Any], Any]) -> list[tuple[int, Any]]:
    """Header stamps and values of a topic, read by somebody else."""
    with Reader(bag) as reader:
        wanted = [connection for connection in reader.connections if connection.topic == topic]
        read = [TYPES.deserialize_cdr(raw, connection.msgtype) for connection, _, raw in reader.messages(wanted)]
    return sorted((m.header.stamp.sec * 10**9 + m.header.stamp.nanosec, value(m)) for m in read)


def test_what_frames_tell_is_the_truth(case: Case) -> None:
    assert case.report.findings == ()
    assert case.report.complete
    assert len(case.scenes) == 4
    for number, scene in enumerate(case.scenes):
        told, truth = scene["metadata"], sweeps_of(case, number)
        places = np.array([sweep["map_from_base_link"]["translation"] for sweep in truth])
        stamps = np.array([sweep["stamp_ns"] for sweep in truth])
        steps = np.linalg.norm(np.diff(places, axis=0), axis=1)
        assert told["start_unix_s"] == stamps[0] / 1e9
        assert told["duration_s"] == (stamps[-1] - stamps[0]) / 1e9
        assert told["distance_m"] == pytest.approx(steps.sum(), abs=2e-3)
        assert told["mean_speed_mps"] == pytest.approx(steps.sum() / np.ptp(stamps) * 1e9, abs=5e-3)
        assert told["max_speed_mps"] == pytest.approx((steps / np.diff(stamps) * 1e9).max(), abs=2e-2)
        assert told["heading_deg"] == pytest.approx(truth[0]["bearing"], abs=0.01)
        assert told["lat"] == pytest.approx(truth[0]["antenna"]["latitude"], abs=1e-6)  # 0.1 m; the antenna leans
        assert told["lon"] == pytest.approx(truth[0]["antenna"]["longitude"], abs=1e-6)
        assert told["day_night"] == "night"
    assert case.scenes[0]["metadata"]["start"] == "2023-11-14T22:13:20.000000000Z"
    assert case.scenes[0]["metadata"]["distance_m"] < 0.01  # it stands for the first second
    assert case.scenes[3]["metadata"]["mean_speed_mps"] > 1.0
    # By the NREL algorithm as pvlib 0.13 has it, at that place and time, without refraction
    assert case.scenes[0]["metadata"]["sun_elevation_deg"] == pytest.approx(-58.838, abs=0.02)


def test_every_name_of_what_frames_tell_is_refused_elsewhere(case: Case) -> None:
    told = [name for name in case.scenes[0]["metadata"] if name in BUILTIN_METADATA]
    assert tuple(told) == BUILTIN_METADATA
    for name in BUILTIN_METADATA:
        with pytest.raises(ConfigError, match=f"metadata.{name}: metadata_builtin makes it too"):
            load_config(case.drive.config_path, ["metadata_builtin=true", f"metadata.{name}=1"])


def test_signals_come_to_what_their_messages_say(case: Case) -> None:
    altitudes = messages(case.drive.bag, "/gnss/fix", lambda fix: fix.altitude)
    turns = messages(case.drive.bag, "/gnss/heading", lambda imu: imu.orientation.z)
    for number, scene in enumerate(case.scenes):
        stamps = [sweep["stamp_ns"] for sweep in sweeps_of(case, number)]
        inside = [value for stamp, value in altitudes if stamps[0] <= stamp <= stamps[-1]]
        assert len(inside) > 1
        told = scene["metadata"]
        assert told["altitude"] == pytest.approx(np.mean(inside), rel=1e-12)
        assert told["highest"] == max(inside)
        assert told["turn"] == [value for stamp, value in turns if stamp <= stamps[-1]][-1]
        assert (told["status"], type(told["status"]), told["frame"]) == (0, int, "gnss")
        assert (told["vehicle"], type(told["altitude"])) == (7, float)


def test_items_have_what_was_sent_since_the_frame_before(case: Case) -> None:
    altitudes = messages(case.drive.bag, "/gnss/fix", lambda fix: fix.altitude)
    for number, scene in enumerate(case.scenes):
        before_ns: int | None = None
        for frame, sweep in zip(scene["frames"], sweeps_of(case, number), strict=True):
            stamp_ns = sweep["stamp_ns"]
            since_ns = stamp_ns - 1 if before_ns is None else before_ns
            since = [value for stamp, value in altitudes if since_ns < stamp <= stamp_ns]
            wanted = np.mean(since) if since else [value for stamp, value in altitudes if stamp <= stamp_ns][-1]
            for item in frame.values():
                assert item["metadata"]["altitude"] == pytest.approx(wanted, rel=1e-12)
                assert set(item["metadata"]) - {"camera_params"} == {"altitude", "turn"}
            assert "camera_params" in frame["front"]["metadata"]
            before_ns = stamp_ns


def test_scenes_with_metadata_are_valid_and_the_same_by_workers_and_in_chunks(case: Case, tmp_path: Path) -> None:
    config = tmp_path / "drive.yaml"
    config.write_text(case.drive.config_path.read_text())
    arguments = [argument for setting in SETTINGS for argument in ("--set", setting)]
    for name, how in (("workers", ["--workers", "2"]), ("chunks", ["--chunk", "0.01"])):
        spool = tmp_path / name
        assert (
            main(["convert", str(case.drive.bag), "--config", str(config), "--output", str(spool), *how, *arguments])
            == 0
        )
        for scene in case.report.scenes:
            there = spool / "scenes" / scene.manifest.reference_id / "scene.json"
            assert there.read_bytes() == (scene.folder / "scene.json").read_bytes()
    reports = validate_path(case.report.scenes[0].folder.parents[1])
    assert len(reports) == 4
    assert all(report.ok for report in reports)


def test_formats_without_items_keep_the_metadata_of_scenes(case: Case, tmp_path: Path) -> None:
    first, wanted = case.report.scenes[0], case.scenes[0]["metadata"]
    for scene_format in ("sfs", "sensor_fusion_json"):
        exported = export_scene(first.folder, scene_format, tmp_path / scene_format)
        config = load_config(case.drive.config_path, [*SETTINGS, f"scene.format={scene_format}"])
        converted = convert_bag(case.drive.bag, config, tmp_path / f"{scene_format}_converted").scenes[0]
        assert open_scene(exported.folder).metadata == open_scene(converted.folder).metadata == wanted


WORD = TYPES.types["std_msgs/msg/String"]
NUMBER = TYPES.types["std_msgs/msg/Float64"]
COUNT = TYPES.types["std_msgs/msg/Int32"]
SWITCH = TYPES.types["std_msgs/msg/Bool"]
STAMPED = TYPES.types["geometry_msgs/msg/TwistStamped"]
TWIST, VECTOR = TYPES.types["geometry_msgs/msg/Twist"], TYPES.types["geometry_msgs/msg/Vector3"]


def twist(stamp_ns: int, speed: float) -> Any:
    return STAMPED(header(stamp_ns, "base_link"), TWIST(VECTOR(speed, 0.0, 0.0), VECTOR(0.0, 0.0, 0.0)))


def converted(folder: Path, made: Recording, signals: dict[str, str], *more: str) -> dict[str, Any]:
    """Metadata of the one scene of a small recording of five frames, from START_NS to 400 ms later."""
    lines = [f"metadata_from_names=[{','.join(repr(name) for name in signals)}]"]
    for name, setting in signals.items():
        topic, *rest = setting.split()
        lines += [f"metadata_from.{name}.topic={topic}", *(f"metadata_from.{name}.{part}" for part in rest)]
    folder.mkdir(exist_ok=True)
    config = load_config(write_config(folder), [*lines, *more])
    report = convert_bag(made.write(folder / "bag"), config, folder / "spool")
    (scene,) = report.scenes
    told: dict[str, Any] = json.loads((scene.folder / "scene.json").read_text()).get("metadata", {})
    return told


def test_types_stay_and_each_reduction_is_what_it_is_called(tmp_path: Path) -> None:
    made = recording()
    for number, value in enumerate((4, 9, 2, 5)):
        at_ns = START_NS + 100 * number * MS
        made.add("/count", COUNT(value), at_ns)
        made.add("/switch", SWITCH(value > 4), at_ns)
        made.add("/word", WORD(f"w{value}"), at_ns)
    ways = ("first", "last", "mean", "min", "max")
    counts = {f"count_{way}": f"/count reduce={way}" for way in ways}
    switches = {f"switch_{way}": f"/switch reduce={way}" for way in ways}
    told = converted(tmp_path, made, {**counts, **switches, "w1": "/word reduce=first", "w2": "/word"})
    assert [told[f"count_{way}"] for way in ways] == [4, 5, 5.0, 2, 9]
    assert [type(told[f"count_{way}"]) for way in ways] == [int, int, float, int, int]
    assert [told[f"switch_{way}"] for way in ways] == [False, True, 0.5, False, True]
    assert (told["w1"], told["w2"]) == ("w4", "w5")


def test_stamps_of_headers_count_before_log_times(tmp_path: Path) -> None:
    made = recording()
    for number in range(5):  # logged long before they were stamped, and one from after the last frame
        made.add("/twist", twist(START_NS + 100 * number * MS, float(number)), START_NS - (50 - number) * MS)
    made.add("/twist", twist(START_NS + 401 * MS, 99.0), START_NS + 20 * MS)
    signals = {"mean": "/twist field=twist.linear.x reduce=mean", "last": "/twist field=twist.linear.x"}
    assert converted(tmp_path, made, signals) == {"mean": 2.0, "last": 4.0}


def test_the_last_message_before_a_scene_counts_and_one_after_it_never(tmp_path: Path) -> None:
    made = recording()
    made.add("/before", NUMBER(1.0), START_NS - 300 * MS)
    made.add("/before", NUMBER(2.0), START_NS - 200 * MS)
    made.add("/before", NUMBER(3.0), START_NS + 401 * MS)
    made.add("/after", NUMBER(4.0), START_NS + 401 * MS)
    made.add("/nan", NUMBER(5.0), START_NS)
    made.add("/nan", NUMBER(math.nan), START_NS + 200 * MS)
    signals = {"before": "/before reduce=mean", "after": "/after", "real": "/nan"}
    assert converted(tmp_path, made, signals) == {"before": 2.0, "real": 5.0}


def test_a_signal_that_no_scene_has_is_reported(tmp_path: Path) -> None:
    made = recording()
    made.add("/late", NUMBER(4.0), START_NS + 401 * MS)
    config = load_config(write_config(tmp_path), ["metadata_from_names=['late']", "metadata_from.late.topic=/late"])
    report = convert_bag(made.write(tmp_path / "bag"), config, tmp_path / "spool")
    assert [(found.code.value, found.name) for found in report.findings] == [("metadata_absent", "/late")]
    assert report.complete


def test_what_is_stamped_before_a_clock_step_does_not_reach_the_scene_after_it(tmp_path: Path) -> None:
    made = recording(frames=30)
    back_ns = START_NS - 60_000 * MS
    later = recording(frames=30, start_ns=back_ns)
    shift_ns = START_NS + 3_200 * MS - back_ns  # they are logged after the first ones
    made.rows += [(log_ns + shift_ns, *rest) for log_ns, *rest in later.without("/tf_static").rows]
    for number in range(30):
        made.add("/twist", twist(START_NS + (100 * number + 5) * MS, 1.0), START_NS + (100 * number + 6) * MS)
        made.add("/twist", twist(back_ns + (100 * number + 5) * MS, 3.0), back_ns + shift_ns + (100 * number + 6) * MS)
    names = [
        "metadata_from_names=['low','high']",
        *(f"metadata_from.{name}.topic=/twist" for name in ("low", "high")),
        *(f"metadata_from.{name}.field=twist.linear.x" for name in ("low", "high")),
        "metadata_from.low.reduce=min",
        "metadata_from.high.reduce=max",
    ]
    report = convert_bag(made.write(tmp_path / "bag"), load_config(write_config(tmp_path), names), tmp_path / "spool")
    told = [json.loads((scene.folder / "scene.json").read_text())["metadata"] for scene in report.scenes]
    assert told == [{"low": 1.0, "high": 1.0}, {"low": 3.0, "high": 3.0}]


@pytest.mark.parametrize(
    ("signal", "text"),
    [
        ("/twist field=twist.lineer.x", "nearest field of geometry_msgs/msg/TwistStamped is twist.linear.x .float64."),
        ("/twist field=twist.linear", "is geometry_msgs/msg/Vector3, which is not a single value; the nearest one is"),
        ("/twist", "has no field 'data'"),
        ("/word reduce=mean", "is string, which does not have a mean; choose last or first"),
        ("/twists field=twist.linear.x", "/twists is not in .*; the nearest names are /twist"),
    ],
)
def test_what_cannot_be_read_is_refused_before_anything_is_written(tmp_path: Path, signal: str, text: str) -> None:
    made = recording()
    made.add("/twist", twist(START_NS, 1.0), START_NS)
    made.add("/word", WORD("a"), START_NS)
    with pytest.raises(InputError, match=text):
        converted(tmp_path, made, {"speed": signal})
    assert not (tmp_path / "spool").exists() or not list((tmp_path / "spool").rglob("*.json"))


def test_a_clash_of_names_is_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = recording().write(tmp_path / "bag")
    config = write_config(tmp_path, CONFIG)
    given = ["metadata_from_names=['speed']", "metadata_from.speed.topic=/points", "metadata.speed=1"]
    arguments = [argument for setting in given for argument in ("--set", setting)]
    assert main(["convert", str(bag), "--config", str(config), "--output", str(tmp_path / "spool"), *arguments]) == 2
    assert "metadata_from.speed makes it too" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="items have a key of that name already"):
        load_config(config, ["metadata_from_names=['camera_params']", "metadata_from.camera_params.topic=/points"])


def test_scenes_of_events_have_the_values_of_their_own_frames(tmp_path: Path) -> None:
    made = recording(frames=30)
    for number in range(30):
        made.add("/speed", NUMBER(float(number)), START_NS + 100 * number * MS)
    names = [
        "scene.select=events",
        "event_names=['fast']",
        "events.fast.topic=/speed",
        "events.fast.when='>= 20'",
        "events.fast.before_s=0.3",
        "events.fast.after_s=5.0",
        "metadata_builtin=true",
        "metadata_from_names=['low','high']",
        *(f"metadata_from.{name}.topic=/speed" for name in ("low", "high")),
        "metadata_from.low.reduce=min",
        "metadata_from.high.reduce=max",
        "metadata_from.low.per_item=true",
    ]
    report = convert_bag(made.write(tmp_path / "bag"), load_config(write_config(tmp_path), names), tmp_path / "spool")
    (scene,) = (json.loads((scene.folder / "scene.json").read_text()) for scene in report.scenes)
    told = scene["metadata"]
    assert (told["low"], told["high"], told["events"], told["duration_s"]) == (17.0, 29.0, "fast", 1.2)
    assert [frame["top"]["metadata"]["low"] for frame in scene["frames"]] == [float(n) for n in range(17, 30)]
