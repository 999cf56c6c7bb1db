# SPDX-License-Identifier: Apache-2.0
"""The catalogue of recordings says what the drive's truth says; conditions on it choose, and can only read."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bags import CONFIG, MS, START_NS, TYPES, recording, write_config
from drives import SHORT, Drive, make_drive
from store_servers import moto

from nucleus_bridge.archive.choice import choose
from nucleus_bridge.cli.main import main
from nucleus_bridge.errors import InputError
from nucleus_bridge.recordings import digest_of
from nucleus_bridge.testing.demo.course import true_poses

SECOND = 1_000_000_000
COLUMNS = "the columns of drives are bag, place, name"
SMALL = replace(SHORT, seconds=5.0, points=500, cameras=1, image_width=64, image_height=64)


def rows(catalogue: Path, query: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(catalogue)) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute(query)]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def drives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a demo drive, one at 1 m/s, one that stands, and a file that is no recording."""
    top = tmp_path_factory.mktemp("drives")
    recording(frames=20, speed=1.0).write(top / "slow")
    recording(frames=20, speed=0.0, start_ns=START_NS + 100 * SECOND).write(top / "standing", "sqlite3")
    (top / "rubbish.mcap").write_bytes(b"no recording" * 100)
    return top


@pytest.fixture(scope="module")
def demo(drives: Path) -> Drive:
    (drives / "fleet").mkdir()
    return make_drive(drives / "fleet", SMALL)


@pytest.fixture(scope="module")
def catalogue(demo: Drive, drives: Path) -> Path:
    assert demo.bag.is_dir()
    path = drives.parent / f"{drives.name}.sqlite"
    assert main(["catalogue", str(drives), "-o", str(path)]) == 1  # rubbish.mcap
    return path


def test_a_drive_is_what_its_truth_says(demo: Drive, catalogue: Path) -> None:
    (seen,) = rows(catalogue, "SELECT * FROM drives WHERE name = 'drive'")
    start_ns, end_ns = seen["start_ns"], seen["end_ns"]
    stamps = np.arange(start_ns, end_ns, 10_000_000)
    way = true_poses(SMALL, stamps).translation
    steps = np.linalg.norm(np.diff(way, axis=0), axis=1)
    assert seen["distance_m"] == pytest.approx(steps.sum(), rel=0.02)
    assert seen["max_speed_mps"] == pytest.approx(steps.max() * 100, rel=0.05)
    assert seen["mean_speed_mps"] == pytest.approx(steps.sum() / (end_ns - start_ns) * 1e9, rel=0.05)
    first = demo.truth["lidars"]["top"]["sweeps"][0]
    assert seen["latitude"] == pytest.approx(first["antenna"]["latitude"], abs=1e-5)  # it stands for a second
    assert seen["longitude"] == pytest.approx(first["antenna"]["longitude"], abs=1e-5)
    assert (seen["day_night"], seen["lidars"], seen["cameras"], seen["error"]) == ("night", 1, 1, None)
    assert seen["digest"] == digest_of(demo.bag)
    assert (seen["bag"], seen["place"]) == (str(demo.bag.resolve()), str(demo.bag.resolve()))


def test_places_have_the_speed_that_the_truth_has_there(demo: Drive, catalogue: Path) -> None:
    places = rows(catalogue, f"SELECT * FROM drive_places WHERE bag = '{demo.bag.resolve()}' ORDER BY stamp_ns")
    assert len(places) >= 5
    for place in places:
        around = true_poses(SMALL, np.array([place["stamp_ns"] - 100_000_000, place["stamp_ns"] + 100_000_000]))
        speed = float(np.linalg.norm(np.diff(around.translation, axis=0))) / 0.2
        assert place["speed_mps"] == pytest.approx(speed, abs=0.6)  # over 0.2 s that begin before it, at 3 m/s2
    assert np.diff([place["stamp_ns"] for place in places]).min() >= SECOND


def test_topics_and_health_are_those_of_the_recordings(demo: Drive, catalogue: Path) -> None:
    bag = str(demo.bag.resolve())
    topics = {row["topic"]: row for row in rows(catalogue, f"SELECT * FROM drive_topics WHERE bag = '{bag}'")}
    lidar = topics["/lidar/top/points"]
    assert (lidar["kind"], lidar["name"], lidar["messages"], lidar["rate_hz"]) == ("lidar", "top", 50, 10.0)
    assert topics["/camera/front/image_raw/compressed"]["kind"] == "camera"
    assert topics["/tf"]["kind"] == "transforms"
    (rubbish,) = rows(catalogue, "SELECT * FROM drives WHERE error IS NOT NULL")
    assert rubbish["name"] == "rubbish.mcap"
    assert rubbish["distance_m"] is None
    (standing,) = rows(catalogue, "SELECT * FROM drives WHERE name = 'standing'")
    assert standing["distance_m"] == 0.0


def test_only_what_changed_is_read_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bags, path = tmp_path / "bags", tmp_path / "drives.sqlite"
    bags.mkdir()
    for number in range(3):
        recording(frames=3, start_ns=START_NS + 100 * number * SECOND).write(bags / f"drive_{number}")

    def update(*options: str) -> dict[str, Any]:
        assert main(["catalogue", str(bags), "-o", str(path), "--json", *options]) == 0
        document: dict[str, Any] = json.loads(capsys.readouterr().out)
        return document

    assert update() == {"drives": 3, "drives_read": 3, "drives_removed": 0, "unreadable": []}
    before = rows(path, "SELECT * FROM drives")
    assert update("--workers", "2")["drives_read"] == 0
    assert rows(path, "SELECT * FROM drives") == before
    shutil.rmtree(bags / "drive_0")
    shutil.rmtree(bags / "drive_1")
    recording(frames=5, start_ns=START_NS + 100 * SECOND).write(bags / "drive_1")
    changed = update("--workers", "2")
    assert (changed["drives"], changed["drives_read"], changed["drives_removed"]) == (2, 1, 1)
    assert [row["name"] for row in rows(path, "SELECT * FROM drives ORDER BY start_ns")] == ["drive_1", "drive_2"]
    assert update("--rebuild")["drives_read"] == 2


def test_what_cannot_be_read_is_its_health(tmp_path: Path) -> None:
    bag = recording(frames=40).write(tmp_path / "cut")
    file = bag / "cut.mcap"
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 3 // 4])
    path = tmp_path / "drives.sqlite"
    assert main(["catalogue", str(bag), "-o", str(path)]) == 0
    (seen,) = rows(path, "SELECT damage, problems FROM drives")
    assert seen["damage"]
    assert seen["problems"] >= 1
    codes = {row["code"] for row in rows(path, "SELECT code FROM drive_health")}
    assert "recording_damaged" in codes


def test_scenes_and_recordings_share_one_file(demo: Drive, tmp_path: Path) -> None:
    spool, path = tmp_path / "spool", tmp_path / "all.sqlite"
    assert main(["convert", str(demo.bag), "--config", str(demo.config_path), "--output", str(spool)]) == 0
    assert main(["catalogue", str(spool), str(demo.bag.parent), "-o", str(path)]) == 0
    (joined,) = rows(path, "SELECT scenes.reference_id, drives.max_speed_mps FROM scenes JOIN drives USING (bag)")
    assert joined["max_speed_mps"] > 1.0
    assert main(["catalogue", str(spool), "-o", str(path), "--rebuild"]) == 0
    assert len(rows(path, "SELECT * FROM drives")) == 1
    assert choose(path, "bag NOT IN (SELECT bag FROM recordings)").places == ()


def test_recordings_in_a_store_are_catalogued_and_converted_from_there(
    drives: Path, catalogue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("obstore", reason="the extra 'cloud' is not installed")
    requests = pytest.importorskip("requests")
    path = tmp_path / "stored.sqlite"
    with moto() as s3:
        for file in sorted((drives / "slow").iterdir()):
            requests.put(f"{s3}/bucket/fleet/slow/{file.name}", data=file.read_bytes(), timeout=60).raise_for_status()
        assert main(["catalogue", f"s3://bucket/fleet?endpoint={s3}", "-o", str(path)]) == 0
        same = "name, digest, start_ns, end_ns, messages, bytes, distance_m, max_speed_mps, lidars, cameras, problems"
        there = rows(path, f"SELECT {same} FROM drives")
        assert there == rows(catalogue, f"SELECT {same} FROM drives WHERE name = 'slow'")
        config = write_config(tmp_path)
        capsys.readouterr()
        command = ["convert", str(path), "--where", "max_speed_mps > 0.5", "--config", str(config)]
        assert main([*command, "--output", str(tmp_path / "spool"), "--json"]) == 0
        (bag,) = json.loads(capsys.readouterr().out)["bags"]
        assert bag["bag"] == "s3://bucket/fleet/slow"
        assert len(bag["scenes"]) == 1


def test_a_condition_names_what_is_converted(drives: Path, catalogue: Path, tmp_path: Path) -> None:
    assert len(list(drives.iterdir())) == 4
    config, spool = write_config(tmp_path), tmp_path / "spool"
    where = "error IS NULL AND max_speed_mps < 0.1 AND bag IN (SELECT bag FROM drive_topics WHERE topic = '/points')"
    command = ["convert", str(catalogue), "--where", where, "--config", str(config), "--output", str(spool)]
    assert main(command) == 0
    (scene,) = (spool / "scenes").iterdir()
    assert scene.name == "drive-20231114T221500.000000000Z"  # 100 s after the other


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("1); DROP TABLE drives; --", "may only be one condition that reads"),
        ("1 = 1) ; DELETE FROM drives WHERE (1", "may only be one condition that reads"),
        ("bag IN (SELECT load_extension('x'))", "may only be one condition that reads"),
        ("(SELECT count(*) FROM pragma_table_info('drives'))", "may only be one condition that reads"),
        ("bag IN (WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c)", "takes too long"),
        ("speed > 3", f"no such column: speed; did you mean .*_speed_mps.*{COLUMNS}"),
        ("rate_hz > 3", f"no such column: rate_hz.*drive_topics has it.*{COLUMNS}"),
        ("bag IN (SELECT bag FROM topics)", "the tables of recordings are drives, drive_topics"),
        ("max_speed_mps >", COLUMNS),
        ("", COLUMNS),
        ("name = 'a\0b'", "--where"),
    ],
)
def test_a_hostile_or_wrong_condition_is_refused_and_changes_nothing(
    catalogue: Path, where: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nucleus_bridge.archive.choice.MOST_STEPS", 2_000_000)
    before = digest(catalogue), sorted(path.name for path in catalogue.parent.iterdir())
    with pytest.raises(InputError, match=f"(?s){text}"):
        choose(catalogue, where)
    assert (digest(catalogue), sorted(path.name for path in catalogue.parent.iterdir())) == before


def test_a_condition_cannot_name_what_is_not_in_the_catalogue(catalogue: Path, tmp_path: Path) -> None:
    assert choose(catalogue, "0) UNION SELECT '/etc/passwd' WHERE (1").places == ()
    everything = choose(catalogue, "1")
    assert len(everything.places) == everything.of == 4
    for wrong in (tmp_path / "absent.sqlite", write_config(tmp_path)):
        with pytest.raises(InputError, match="is no catalogue"):
            choose(wrong, "1")


def test_a_damaged_catalogue_is_reported(catalogue: Path, tmp_path: Path) -> None:
    content = catalogue.read_bytes()
    for number in range(0, len(content), 4096):
        damaged = tmp_path / f"{number}.sqlite"
        damaged.write_bytes(content[:number] + b"\xff" * 4096 + content[number + 4096 :])
        try:
            assert choose(damaged, "max_speed_mps > 0").of <= 4
        except InputError as error:
            assert str(damaged) in str(error) or "--where" in str(error)  # noqa: PT017 - some pages do not matter


def test_nothing_that_fits_is_status_2(catalogue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path)
    command = ["convert", str(catalogue), "--where", "distance_m > 1e6", "--config", str(config)]
    assert main([*command, "--output", str(tmp_path / "spool")]) == 2
    assert "fits none of 4 recordings" in capsys.readouterr().err


def test_events_are_those_of_the_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = recording(frames=40)
    for number in range(40):
        speed = TYPES.types["std_msgs/msg/Float64"](20.0 if number in {10, 11, 12, 30} else 0.0)
        made.add("/speed", speed, START_NS + 100 * number * MS)
    bag, other = made.write(tmp_path / "bags" / "fast"), recording().write(tmp_path / "bags" / "without")
    events = "    event_names: [fast]\n    events: {fast: {topic: /speed, when: '> 10', before_s: 0.2, after_s: 0.2}}\n"
    config, path = write_config(tmp_path, f"{CONFIG}{events}"), tmp_path / "drives.sqlite"
    assert main(["catalogue", str(bag), "-o", str(path), "--config", str(config)]) == 0
    spans = [(START_NS + 1_000 * MS, START_NS + 1_300 * MS), (START_NS + 3_000 * MS, START_NS + 3_100 * MS)]
    found = rows(path, "SELECT name, begin_ns, end_ns FROM drive_events ORDER BY begin_ns")
    assert [(row["begin_ns"], row["end_ns"]) for row in found] == spans
    assert {row["name"] for row in found} == {"fast"}
    named = "events > 1 AND bag IN (SELECT bag FROM drive_events WHERE name = 'fast')"
    assert choose(path, named).places == (str(bag),)
    capsys.readouterr()
    assert main(["catalogue", str(other), "-o", str(path), "--config", str(config)]) == 1
    assert "no events are looked for: events.fast.topic: /speed is not in" in capsys.readouterr().err
    assert rows(path, "SELECT name, events FROM drives ORDER BY name") == [
        {"name": "fast", "events": 2},
        {"name": "without", "events": None},
    ]
