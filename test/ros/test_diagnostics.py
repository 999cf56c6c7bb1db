# SPDX-License-Identifier: Apache-2.0
"""What the reports say of the spool's disk, and that what does not change is not made anew."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

pytest.importorskip("rclpy", reason="needs ROS 2")
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.serialization import deserialize_message, serialize_message

from nucleus_bridge.config import Config, load_config
from nucleus_bridge.ros import diagnostics, disk
from nucleus_bridge.ros.diagnostics import Reporter, Snapshot
from nucleus_bridge.ros.session import Progress

CONFIG = """
/**:
  ros__parameters:
    lidar_names: [top]
    lidars:
      top: {topic: /lidar}
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    (tmp_path / "spool" / "scenes" / "one").mkdir(parents=True)
    return load_config(path, [f"spool.path={tmp_path / 'spool'}", "spool.min_free_bytes=0"])


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    made = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(disk, "time", SimpleNamespace(monotonic=lambda: made.now))
    return made


def status(reporter: Reporter, config: Config, name: str, scenes: int = 0, state: str = "active") -> DiagnosticStatus:
    told = reporter.report(config, None, Snapshot(state, Progress(scenes=scenes), 0), 5 * 10**9)
    array = deserialize_message(told, DiagnosticArray)
    assert array.header.stamp.sec == 5
    [found] = [one for one in array.status if one.name == f"/recorder: {name}"]
    return found


def value(found: DiagnosticStatus, key: str) -> str:
    return {pair.key: pair.value for pair in found.values}[key]


def settled(reporter: Reporter) -> None:
    reporter._disk._thread.join(60.0)
    assert not reporter._disk._thread.is_alive()


@pytest.mark.parametrize(
    ("state", "tf", "synchronisation", "spool"),
    [
        ("active", "receiving", "matching", DiagnosticStatus.ERROR),
        ("paused", "receiving", "matching", DiagnosticStatus.ERROR),
        ("inactive", "inactive", "inactive", DiagnosticStatus.WARN),
    ],
)
def test_what_does_not_record_is_not_said_to_receive(
    config: Config, clock: SimpleNamespace, state: str, tf: str, synchronisation: str, spool: bytes
) -> None:
    shutil.rmtree(config.spool.path)
    reporter = Reporter("/recorder")
    status(reporter, config, "spool", state=state)
    settled(reporter)
    assert status(reporter, config, "tf", state=state).message == tf
    assert status(reporter, config, "synchronisation", state=state).message == synchronisation
    found = status(reporter, config, "spool", state=state)
    assert found.level == spool
    assert "No such file or directory" in found.message
    assert found.message.endswith("the folder is made when the node is configured") == (state == "inactive")


def test_scenes_are_counted_at_once_after_one_was_sealed_and_else_now_and_then(
    config: Config, clock: SimpleNamespace
) -> None:
    reporter, spool = Reporter("/recorder"), Path(config.spool.path)
    assert value(status(reporter, config, "upload"), "scenes_in_spool") == "1"
    (spool / "scenes" / "two").mkdir()
    status(reporter, config, "upload", scenes=1)
    settled(reporter)
    assert value(status(reporter, config, "upload", scenes=1), "scenes_in_spool") == "2"
    (spool / "scenes" / "one").rmdir()  # as an uploader does
    clock.now += disk.LOOK_EVERY_S / 2
    status(reporter, config, "upload", scenes=1)
    settled(reporter)
    assert value(status(reporter, config, "upload", scenes=1), "scenes_in_spool") == "2"
    clock.now += disk.LOOK_EVERY_S
    status(reporter, config, "upload", scenes=1)
    settled(reporter)
    assert value(status(reporter, config, "upload", scenes=1), "scenes_in_spool") == "1"


def test_a_disk_that_does_not_answer_holds_nothing_up_and_is_an_error(
    config: Config, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, usage = threading.Event(), shutil.disk_usage

    def hangs(path: str) -> object:
        answers.wait(60.0)
        return usage(path)

    monkeypatch.setattr(disk.shutil, "disk_usage", hangs)
    reporter = Reporter("/recorder")
    found = status(reporter, config, "spool")
    assert (found.level, value(found, "free_bytes")) == (DiagnosticStatus.OK, "")
    clock.now += 60.0
    found = status(reporter, config, "spool")
    assert (found.level, found.message) == (DiagnosticStatus.ERROR, "the disk has not answered for 60 s")
    answers.set()
    settled(reporter)
    found = status(reporter, config, "spool")
    assert (found.level, found.message) == (DiagnosticStatus.OK, "space left")
    assert int(value(found, "free_bytes")) > 0


def test_a_folder_that_is_not_there_is_an_error(config: Config, clock: SimpleNamespace) -> None:
    reporter = Reporter("/recorder")
    shutil.rmtree(config.spool.path)
    found = status(reporter, config, "spool")
    assert found.level == DiagnosticStatus.ERROR
    assert found.message == f"{config.spool.path}: No such file or directory"


def test_what_did_not_change_is_serialised_once(
    config: Config, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[DiagnosticArray] = []

    def counted(array: DiagnosticArray) -> bytes:
        made.append(array)
        return bytes(serialize_message(array))

    monkeypatch.setattr(diagnostics, "serialize_message", counted)
    reporter, idle = Reporter("/recorder"), Snapshot("active", Progress(), 0)
    first = reporter.report(config, None, idle, 10**9)
    later = reporter.report(config, None, idle, 2 * 10**9 + 7)
    assert len(made) == 1
    one, two = (deserialize_message(told, DiagnosticArray) for told in (first, later))
    assert (two.header.stamp.sec, two.header.stamp.nanosec) == (2, 7)
    assert one.status == two.status
    paused = deserialize_message(reporter.report(config, None, Snapshot("paused", Progress(), 0), 3), DiagnosticArray)
    assert len(made) == 2
    before, after = (next(s for s in array.status if s.name.endswith(": scenes")) for array in (two, paused))
    assert (value(before, "state"), value(after, "state")) == ("active", "paused")


def test_the_aggregator_that_is_installed_has_one_place_for_every_status(config: Config) -> None:
    text = (Path(__file__).resolve().parents[2] / "config" / "diagnostics_aggregator.yaml").read_text()
    groups = yaml.safe_load(text)["analyzers"]["ros__parameters"]["recorder"]["analyzers"].values()
    wanted = [part for group in groups for part in group["contains"]]
    told = Reporter("/nucleus_recorder").report(config, None, Snapshot("active", Progress(), 0), 0)
    names = [status.name for status in deserialize_message(told, DiagnosticArray).status]
    assert len(names) > 3
    for name in names:
        assert sum(part in name for part in wanted) == 1, name
    assert [part for part in wanted if not any(part in name for name in names)] == ["nucleus_recorder: sensor "]
