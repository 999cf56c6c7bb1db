# SPDX-License-Identifier: Apache-2.0
"""The catalogue says what the drive's truth says, and keeps up with the spool."""

from __future__ import annotations

import json
import math
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from archives import Archive
from drives import Drive
from store_servers import moto
from upload_scenes import seal_scene

from nucleus_bridge.cli.main import main
from nucleus_bridge.convert import convert_bag
from nucleus_bridge.spool import Spool
from nucleus_bridge.spool.state import SceneState, StateBook

Rows = list[dict[str, Any]]


def rows(catalogue: Path, query: str) -> Rows:
    with closing(sqlite3.connect(catalogue)) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute(query)]


def everything(catalogue: Path) -> dict[str, Rows]:
    tables = ("recordings", "scenes", "sensors", "losses")
    return {table: rows(catalogue, f"SELECT * FROM {table} ORDER BY 1, 2, 3") for table in tables}


@pytest.fixture
def spool(drive: Drive, tmp_path: Path) -> Path:
    convert_bag(drive.bag, drive.config, tmp_path / "spool")
    return tmp_path / "spool"


def test_time_place_distance_and_sensors_are_the_truth(drive: Drive, spool: Path, tmp_path: Path) -> None:
    path = tmp_path / "drives.sqlite"
    assert main(["catalogue", str(spool), "-o", str(path)]) == 0
    (scene,) = rows(path, "SELECT * FROM scenes")
    sweeps = drive.truth["lidars"]["top"]["sweeps"]
    stops = [sweep["map_from_base_link"]["translation"] for sweep in sweeps]
    assert scene["distance_m"] == pytest.approx(sum(map(math.dist, stops, stops[1:])), abs=0.01)
    assert (scene["first_stamp_ns"], scene["last_stamp_ns"]) == (sweeps[0]["stamp_ns"], sweeps[-1]["stamp_ns"])
    assert scene["start_utc"] == "2023-11-14T22:13:20.000000Z"
    assert (scene["bag"], scene["drive"], scene["state"]) == (str(drive.bag.resolve()), "demo", "sealed")
    document = json.loads((spool / "scenes" / scene["reference_id"] / "top" / "000000.json").read_text())
    assert (scene["latitude"], scene["longitude"]) == (
        document["device_gps_pose"]["lat"],
        document["device_gps_pose"]["lon"],
    )
    assert scene["south"] <= scene["latitude"] <= scene["north"]
    assert scene["west"] <= scene["longitude"] <= scene["east"]
    metres = 111_195 * math.hypot(
        scene["north"] - scene["south"],
        (scene["east"] - scene["west"]) * math.cos(math.radians(scene["south"])),
    )
    assert metres == pytest.approx(math.dist(stops[0], stops[-1]), rel=0.05)
    sensors = {row["sensor"]: row for row in rows(path, "SELECT * FROM sensors")}
    assert {name: row["kind"] for name, row in sensors.items()} == {
        "top": "lidar",
        "front": "camera",
        "rear": "camera",
    }


def test_it_keeps_up_with_the_spool_and_equals_one_made_anew(archive: Archive, tmp_path: Path) -> None:
    spool, path, anew = tmp_path / "spool", tmp_path / "drives.sqlite", tmp_path / "anew.sqlite"

    def update(*options: str) -> None:
        assert main(["catalogue", str(spool), "-o", str(path), *options]) == 0
        anew.unlink(missing_ok=True)
        assert main(["catalogue", str(spool), "-o", str(anew)]) == 0
        assert everything(path) == everything(anew)

    reports = [convert_bag(bag, archive.config, spool) for bag in archive.bags[:4]]
    names = [report.scenes[0].manifest.reference_id for report in reports]
    update()
    assert [row["reference_id"] for row in rows(path, "SELECT * FROM scenes")] == names
    shutil.rmtree(spool / "scenes" / names[1])
    book = StateBook(Spool(spool))
    book.create()
    book.write(book.get(names[2]), SceneState.FAILED, error="the network was down")
    convert_bag(archive.cut, archive.config, spool)
    update()
    states = {row["reference_id"]: (row["state"], row["error"]) for row in rows(path, "SELECT * FROM scenes")}
    assert names[1] not in states
    assert states[names[2]] == ("failed", "the network was down")
    assert len(states) == 4
    (damaged,) = rows(path, "SELECT * FROM recordings WHERE damage IS NOT NULL")
    assert damaged["bag"] == str(archive.cut)
    update("--rebuild")


def test_a_scene_that_arrived_and_was_removed_stays_in_it(tmp_path: Path) -> None:
    spool, path = tmp_path / "spool", tmp_path / "drives.sqlite"
    name = seal_scene(spool, 1)
    assert main(["catalogue", str(spool), "-o", str(path)]) == 0
    book = StateBook(Spool(spool))
    book.create()
    record = book.get(name)
    for state in (SceneState.STORING, SceneState.STORED, SceneState.DONE):
        record = book.write(record, state)
    Spool(spool).remove_scene(name)
    assert main(["catalogue", str(spool), "-o", str(path)]) == 0
    assert [(row["reference_id"], row["state"]) for row in rows(path, "SELECT * FROM scenes")] == [(name, "done")]


def test_of_a_spool_in_a_store_it_says_the_same(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("obstore", reason="the extra 'cloud' is not installed")
    pytest.importorskip("moto.server", reason="moto is not installed")
    arguments = ["convert", str(archive.bags[0]), str(archive.bags[1]), "--config", str(archive.config), "--output"]
    with moto() as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        for target in ("s3://bucket/out", str(tmp_path / "spool")):
            assert main([*arguments, target]) == 0
        assert main(["catalogue", "s3://bucket/out", "-o", str(tmp_path / "stored.sqlite")]) == 0
    assert main(["catalogue", str(tmp_path / "spool"), "-o", str(tmp_path / "local.sqlite")]) == 0
    stored, local = everything(tmp_path / "stored.sqlite"), everything(tmp_path / "local.sqlite")
    for scene in (*stored["scenes"], *local["scenes"]):
        del scene["mark"]
    assert stored == local
    assert len(local["scenes"]) == 2


def test_nothing_but_a_catalogue_is_replaced_and_a_damaged_scene_is_told(
    spool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("dear reader")
    assert main(["catalogue", str(spool), "-o", str(letter)]) == 2
    assert main(["catalogue", str(spool), "-o", str(letter), "--rebuild"]) == 2
    assert letter.read_text() == "dear reader"
    assert main(["catalogue", str(tmp_path / "none"), "-o", str(tmp_path / "c.sqlite")]) == 2
    assert main(["catalogue", str(spool), "-o", str(tmp_path / "none" / "c.sqlite")]) == 2
    (scene,) = (spool / "scenes").iterdir()
    (scene / "manifest.json").write_text("{")
    capsys.readouterr()
    assert main(["catalogue", str(spool), "-o", str(tmp_path / "c.sqlite")]) == 1
    assert "is not a manifest" in capsys.readouterr().err
    assert not list(tmp_path.glob(".c.sqlite*"))
