# SPDX-License-Identifier: Apache-2.0
"""A lidar falls silent: the recorder says so at once, and finds out whose fault it is."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("tf2_msgs", reason="needs tf2_msgs: nucleus-bridge ros-setup tf2_msgs")
from live_graph import HERE, RECORDER, Observer, Program, new_domain, observing, set_parameter, values
from rcl_interfaces.srv import GetParameters

from nucleus_bridge.ros import healing
from nucleus_bridge.ros.healing import (
    FIRST_PAUSE_S,
    GRACE_S,
    IN_VAIN_AFTER_S,
    IN_VAIN_S,
    NEW_GRACE_S,
    PROBE_S,
    Healed,
    Healer,
)

pytestmark = pytest.mark.live

DRIVER = HERE.parent.parent / "benchmarks/live.py"
CONFIG = """
/**:
  ros__parameters:
    lidar_names: [top]
    lidars:
      top: {topic: /lidar}
    diagnostics: {silent_s: 1.0}
"""
LIDAR = "sensor /lidar"


@pytest.fixture
def observer() -> Iterator[Observer]:
    with observing() as made:
        yield made


def driver(seconds: int = 60) -> Program:
    return Program(str(DRIVER), "--publish", "--seconds", str(seconds), "--points", "2000", "--cameras", "0")


def recorder(folder: Path, *parameters: str) -> Program:
    config = folder / "config.yaml"
    config.write_text(CONFIG)
    own = [f"spool.path:={folder / 'spool'}", "spool.min_free_bytes:=0", "autostart:=true", "queue.workers:=1"]
    flags = [flag for parameter in [*own, *parameters] for flag in ("-p", parameter)]
    return Program(str(HERE / "deaf_recorder.py"), "--ros-args", "--params-file", str(config), *flags)


def handles(node: Program) -> int:
    return sum(1 for _ in Path(f"/proc/{node.process.pid}/fd").iterdir())


def shared_memory(pid: str) -> set[str]:
    try:
        maps = Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return set()
    return set(re.findall(r"/dev/shm/fast(?:dds|rtps)_(?!port)\w+", maps))


def manifests(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("spool/scenes/*/manifest.json"))]


def test_what_others_hear_is_heard_again_by_a_new_connection(tmp_path: Path, observer: Observer) -> None:
    with recorder(tmp_path, "ros.heal:=true") as node, driver() as publisher:
        observer.value("scenes", "open_frames", lambda count: count.isdigit() and int(count) > 5)
        assert not set_parameter(observer, "queue.thin_at", 0.75)
        before, memory = handles(node), shared_memory(str(node.process.pid))
        node.process.send_signal(signal.SIGUSR1)
        node.wait_for("deaf now")
        observer.forget()
        node.wait_for(" s, 1 publisher is announced; a probe listens whether it can be heard")
        node.wait_for("/lidar: others hear it and the recorder does not: the open scene is sealed")
        heard = node.wait_for(" s of which others heard it and the recorder did not")
        assert "/lidar: heard again after " in heard
        observer.forget()  # what the connection before it reported
        observer.value("scenes", "deaf_s", lambda seconds: seconds not in ("", "0.0"))
        observer.value("scenes", "graph_rebuilt", lambda count: count not in ("", "0"))
        observer.value("scenes", "open_frames", lambda count: count.isdigit() and int(count) > 5)
        answer = observer.call(
            GetParameters, f"{RECORDER}/get_parameters", GetParameters.Request(names=["queue.thin_at"])
        )
        assert answer.values[0].double_value == 0.75
        assert handles(node) <= before + 3
        used = {path for process in Path("/proc").glob("[0-9]*") for path in shared_memory(process.name)}
        assert memory
        assert not [path for path in memory - used if Path(path).exists()]
        publisher.end()
        observer.value(LIDAR, "age_s", lambda age: age != "" and float(age) > 1.0)
        observer.forget()
        settled = observer.status(LIDAR, lambda status: values(status)["rate_hz"] == "0.0")
        assert node.end() == 0, node.output
    first, *rest = manifests(tmp_path)
    assert first["end_reason"] == "graph_rebuilt"
    assert rest, node.output
    received = int(values(settled)["received"])
    frames = sum(manifest["frames"] for manifest in (first, *rest))
    losses = [manifest["losses"].get("/lidar", {}) for manifest in (first, *rest)]
    lost = sum(count for one in losses for cause, count in one.items() if cause != "lost_in_transport")
    assert frames + lost == received, node.output


@pytest.mark.parametrize("heals", [True, False])
def test_a_dead_driver_is_named_at_once(tmp_path: Path, observer: Observer, heals: bool) -> None:
    with recorder(tmp_path, f"ros.heal:={str(heals).lower()}") as node, driver() as publisher:
        observer.value("scenes", "open_frames", lambda count: count.isdigit() and int(count) > 5)
        publisher.process.kill()
        told = node.wait_for("/lidar: silent for ")
        assert float(told.partition("silent for ")[2].partition(" s")[0]) < 5.0
        if heals:
            node.wait_for("/lidar, /tf: a probe does not hear it either: check the driver and start it again")
        else:
            assert told.endswith("restart its driver, or set ros.heal")
        assert "connects to the graph anew" not in node.output
        with driver():  # which, on a busy machine, the probe may hear long before the recorder does
            node.wait_for("/lidar: heard again after ")
            assert node.end() == 0, node.output
    expected = {"gap", "end_of_data", "pose_jump"}
    assert {manifest["end_reason"] for manifest in manifests(tmp_path)} <= expected | (
        {"graph_rebuilt"} if heals else set()
    )


class Log:
    """A node of which only the log is wanted."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.warning = self.error = self.info = self.lines.append

    def get_logger(self) -> Log:
        return self

    def resolve_topic_name(self, name: str) -> str:
        return name


class Ear:
    """A probe that hears what it is told to."""

    started = 0
    participants: set[str] = set()  # noqa: RUF012 - each test has its own
    hears: set[str] = set()  # noqa: RUF012 - each test sets its own
    types: set[str] = set()  # noqa: RUF012 - each test sets its own

    def __init__(self, types: dict[str, str], now: float) -> None:
        assert types == dict.fromkeys(self.types, "sensor_msgs/msg/PointCloud2")
        Ear.started += 1
        self._started_s = now
        self._name = f"probe {Ear.started}"
        Ear.participants.add(self._name)

    def heard(self) -> set[str]:
        return self.hears

    def memory(self) -> frozenset[str]:
        return frozenset({self._name})

    def is_over(self, now: float) -> bool:
        return now - self._started_s > PROBE_S

    def end(self, now: float) -> None:
        pass

    def has_ended(self, now: float) -> bool:
        Ear.participants.discard(self._name)
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    made = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(healing.time, "monotonic", lambda: made.now)
    monkeypatch.setattr(healing, "Probe", Ear)
    monkeypatch.setattr(healing, "participants", lambda: frozenset(Ear.participants))
    Ear.participants = {"recorder"}
    Ear.started, Ear.hears, Ear.types = 0, set(), {"/lidar"}
    return made


def lidar(last_s: float | None, publishers: int = 1, problem: str = "", period_s: float | None = 0.1) -> Any:
    match = SimpleNamespace(type_name="sensor_msgs/msg/PointCloud2")
    made = SimpleNamespace(name="/lidar", needed=True, comes_again=True, publishers=publishers, problem=problem)
    made.last_s, made.match, made.period_s = last_s, match, None if last_s is None else period_s
    return made


def looks(healer: Healer, topic: Any, clock: SimpleNamespace, seconds: float, *, heals: bool = True) -> list[str]:
    """Look four times a second for so long, or until the connection is to be made anew."""
    for _ in range(round(4 * seconds)):
        clock.now += 0.25
        if deaf := healer.look([topic], 2.0, heals=heals):
            return deaf
    return []


def test_one_line_a_silence_and_one_when_it_ends(clock: SimpleNamespace) -> None:
    log, topic = Log(), lidar(clock.now)
    healer = Healer(log)
    assert not looks(healer, topic, clock, 1.75, heals=False)
    assert not log.lines
    assert not looks(healer, topic, clock, 30, heals=False)
    assert log.lines == [
        "/lidar: silent for 2.5 s, 1 publisher is announced; restart its driver, or set ros.heal",
    ]
    topic.last_s = clock.now
    looks(healer, topic, clock, 0.25, heals=False)
    assert log.lines[1:] == ["/lidar: heard again after 32.0 s"]
    assert not Ear.started


def test_sockets_of_ended_drivers_call_for_a_new_connection_only_while_a_driver_is_silent(
    clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = SimpleNamespace(count=20)
    monkeypatch.setattr(healing, "dead_sockets", lambda: there.count)
    log, topic = Log(), lidar(clock.now)
    healer = Healer(log)
    there.count += healing.MOST_DEAD_SOCKETS + 1
    looks(healer, topic, clock, 0.25)
    assert not healer.is_worn(heals=True)
    looks(healer, topic, clock, 3)
    assert healer.is_worn(heals=True)
    assert healer.reason == "11 sockets of drivers that have ended are still open"
    assert not healer.is_worn(heals=False)
    assert healer.rebuilding([]).deaf == {}  # nobody was missed
    there.count -= 1
    assert not healer.is_worn(heals=True)
    there.count += 100
    renewed = Healer(log, healer.rebuilding([]))  # not again and again, whatever is counted there
    looks(renewed, lidar(None, publishers=0), clock, 3)
    assert not renewed.is_worn(heals=True)


def test_a_standstill_of_the_machine_is_no_silence(clock: SimpleNamespace) -> None:
    log, topic = Log(), lidar(clock.now)
    healer = Healer(log)
    clock.now += 60
    healer.look([topic], 2.0, heals=True)  # messages that came meanwhile were not taken yet
    topic.last_s = clock.now
    looks(healer, topic, clock, 1)
    assert not log.lines


@pytest.mark.parametrize(("period_s", "started_s"), [(0.1, 1.5), (0.5, 2.5)])
def test_a_probe_starts_early_where_messages_come_often_and_all_is_told_in_order(
    clock: SimpleNamespace, period_s: float, started_s: float
) -> None:
    """At half of ``diagnostics.silent_s``, and a look later; a probe that hears it early makes nothing anew before."""
    log, topic = Log(), lidar(clock.now, period_s=period_s)
    begun_s, healer = clock.now, Healer(log)
    Ear.hears = {"/lidar"}
    while not Ear.started:
        assert not looks(healer, topic, clock, 0.25)
    assert clock.now - begun_s == started_s
    assert not log.lines or period_s > 0.25
    assert looks(healer, topic, clock, 10) == ["/lidar"]
    assert clock.now - begun_s <= 2.5 + GRACE_S + 1.0
    assert [line.split(",")[0] for line in log.lines] == ["/lidar: silent for 2.5 s"]


def test_a_silence_that_ends_early_is_not_told(clock: SimpleNamespace) -> None:
    log, topic = Log(), lidar(clock.now)
    healer = Healer(log)
    looks(healer, topic, clock, 1.75)
    assert Ear.started == 1
    topic.last_s = clock.now
    looks(healer, topic, clock, 0.5)
    assert not log.lines


def test_a_standstill_is_no_grace(clock: SimpleNamespace) -> None:
    """While the machine stands still this process hears nothing, either."""
    topic = lidar(clock.now)
    healer = Healer(Log())
    looks(healer, topic, clock, 3)
    Ear.hears = {"/lidar"}
    assert not looks(healer, topic, clock, GRACE_S / 2)
    clock.now += 60
    assert not healer.look([topic], 2.0, heals=True)
    assert looks(healer, topic, clock, GRACE_S) == ["/lidar"]


def test_a_look_is_due_where_it_would_find_anything_new(clock: SimpleNamespace) -> None:
    """So that the executor has no turn for others: each is due, or it changes nothing that is told or started."""
    log, topic = Log(), lidar(clock.now)
    healer = Healer(log)
    for _ in range(400):
        clock.now += 0.25
        before = (len(log.lines), Ear.started)
        is_due = healer.is_due([topic], 2.0, heals=False)
        healer.look([topic], 2.0, heals=False)
        assert is_due or before == (len(log.lines), Ear.started)
    assert len(log.lines) == 1
    assert not is_due
    topic.last_s = clock.now
    assert healer.is_due([topic], 2.0, heals=False)
    healer.look([topic], 2.0, heals=False)
    assert log.lines[1].startswith("/lidar: heard again after")
    assert not healer.is_due([topic], 2.0, heals=False)


def test_what_has_a_problem_of_its_own_is_not_probed_after_a_new_connection_either(clock: SimpleNamespace) -> None:
    Ear.hears = {"/lidar"}
    healed = Healed(times=1, deaf={"/lidar": (clock.now - 5, clock.now - 3)})
    assert not looks(Healer(Log(), healed), lidar(None, problem="its QoS does not fit"), clock, 60)
    assert not Ear.started


def test_what_never_came_and_has_a_reason_of_its_own_is_not_probed(clock: SimpleNamespace) -> None:
    log = Log()
    assert not looks(Healer(log), lidar(None, problem="its QoS does not fit"), clock, 60)
    assert not log.lines
    assert not Ear.started


def test_what_nobody_is_seen_to_publish_is_probed_without_a_word_until_it_is_heard(clock: SimpleNamespace) -> None:
    log, topic = Log(), lidar(None, publishers=0)
    healer = Healer(log)
    assert not looks(healer, topic, clock, 600)
    assert 8 <= Ear.started <= 14
    assert not log.lines
    Ear.hears = {"/lidar"}
    assert looks(healer, topic, clock, 60 + NEW_GRACE_S + 1.0) == ["/lidar"]
    assert not looks(Healer(log), topic, clock, 600, heals=False)
    topic.publishers = 1
    looks(Healer(log), topic, clock, 3)
    assert log.lines[0].startswith("/lidar: nothing has come yet, 1 publisher is announced")


def test_a_new_participant_on_this_machine_is_listened_to_at_once(clock: SimpleNamespace) -> None:
    topic = lidar(clock.now)
    healer = Healer(Log())
    looks(healer, topic, clock, 600)
    started = Ear.started
    while Ear.started == started:
        looks(healer, topic, clock, 0.25)
    looks(healer, topic, clock, PROBE_S + 20.0)
    started = Ear.started  # long pauses by now, whatever the probes themselves had
    Ear.participants.add("driver")
    looks(healer, topic, clock, 0.25)
    assert Ear.started == started + 1
    looks(healer, topic, clock, PROBE_S - 2.0)
    Ear.participants.add("driver anew")  # the probe is older than it, and may not hear it
    looks(healer, topic, clock, 3.0)
    assert Ear.started == started + 2
    looks(healer, topic, clock, PROBE_S + FIRST_PAUSE_S - 0.5)
    assert Ear.started == started + 2


def test_what_comes_within_the_grace_needs_no_new_connection(clock: SimpleNamespace) -> None:
    log, topic = Log(), lidar(clock.now)
    healer = Healer(log)
    looks(healer, topic, clock, 3)
    Ear.hears = {"/lidar"}
    assert not looks(healer, topic, clock, GRACE_S)
    topic.last_s = clock.now
    assert not looks(healer, topic, clock, 1.5)


def test_a_new_connection_that_hears_nothing_is_made_anew_once_whatever_a_probe_hears(clock: SimpleNamespace) -> None:
    healed = Healed(times=1, deaf={"/lidar": (clock.now - 5, clock.now - 3)})
    first = Healer(Log(), healed)
    assert first.is_due([lidar(None)], 2.0, heals=True)
    assert not first.is_due([lidar(None, problem="its QoS does not fit")], 2.0, heals=True)
    assert not looks(first, lidar(None), clock, IN_VAIN_AFTER_S - 0.5)
    clock.now += 60  # the machine stood still
    assert not looks(first, lidar(None), clock, 0.25)
    assert looks(first, lidar(None), clock, 1.0) == ["/lidar"]
    second = first.rebuilding(["/lidar"])
    assert (second.times, second.in_vain, second.deaf) == (2, 1, healed.deaf)
    assert not looks(Healer(Log(), second), lidar(None), clock, 60)
    Ear.hears = {"/lidar"}
    assert looks(Healer(Log(), second), lidar(None), clock, NEW_GRACE_S + 1.0) == ["/lidar"]


@pytest.mark.parametrize("silent_s", [1.0, 5.0])
def test_a_topic_that_nobody_publishes_calls_for_no_new_connection(clock: SimpleNamespace, silent_s: float) -> None:
    healed = Healed(times=1, deaf={"/lidar": (clock.now - 5, clock.now - 3)})
    first, other = Healer(Log(), healed), lidar(None, publishers=0)
    other.name, Ear.types = "/other", {"/lidar", "/other"}
    begun_s = clock.now
    while not (deaf := first.look([lidar(None), other], silent_s, heals=True)):
        clock.now += 0.25
    assert deaf == ["/lidar"]
    assert clock.now - begun_s == pytest.approx(max(IN_VAIN_AFTER_S, silent_s), abs=0.5)
    assert first.reason == "nothing is heard after the new connection either"
    assert set(first.rebuilding(deaf).deaf) == {"/lidar"}
    refused = lidar(None, problem="its QoS does not fit")
    assert not looks(Healer(Log(), healed), refused, clock, 60)


def test_probes_come_further_and_further_apart(clock: SimpleNamespace) -> None:
    log, topic = Log(), lidar(clock.now)
    Ear.hears = {"/tf"}
    assert not looks(Healer(log), topic, clock, 600)
    assert 8 <= Ear.started <= 16
    assert [line for line in log.lines if "a probe does not hear it" in line] == [
        "/lidar: a probe does not hear it either: check the driver and start it again"
    ]


def test_new_connections_that_hear_nothing_either_come_further_and_further_apart(clock: SimpleNamespace) -> None:
    log, healed, begun_s = Log(), Healed(), []
    Ear.hears = {"/lidar"}
    topic = lidar(clock.now)
    for _ in range(6):
        healer = Healer(log, Healed.from_json(json.loads(json.dumps(healed.as_json()))))
        assert looks(healer, topic, clock, 600) == ["/lidar"]
        healed = healer.rebuilding(["/lidar"])
        begun_s.append(clock.now)
        topic = lidar(None)
    waited = [later - earlier for earlier, later in pairwise(begun_s)]
    assert max(waited[:2]) < NEW_GRACE_S + 2.0
    assert waited[2:] == pytest.approx([IN_VAIN_S, 2 * IN_VAIN_S, 4 * IN_VAIN_S], abs=1.0)
    assert (healed.times, healed.in_vain) == (6, 5)
    healer = Healer(log, healed)
    topic.last_s = clock.now + 0.25
    looks(healer, topic, clock, 0.25)
    assert healer.healed.in_vain == 0
    assert healer.healed.deaf_s > 60
    assert "of which others heard it and the recorder did not" in log.lines[-1]


@contextmanager
def half_made_ports() -> Iterator[list[Path]]:
    """Have ports as a process leaves them that was killed while it made them, and remove what comes of them."""
    first = 7411 + 250 * int(os.environ["ROS_DOMAIN_ID"])
    names = [f"{kind}_port{first + 2 * number}" for kind in ("fastdds", "fastrtps") for number in range(20)]
    made = [path for path in (Path("/dev/shm") / name for name in names) if not path.exists()]
    for path in made:
        path.touch()
    try:
        yield made
    finally:
        for path in made:
            if path.exists() and path.stat().st_size <= 1:
                path.unlink()


def test_ports_that_a_killed_process_left_half_made_hold_up_no_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTDDS_BUILTIN_TRANSPORTS", "LARGE_DATA")
    new_domain()
    with half_made_ports() as ports, recorder(tmp_path) as node:
        node.wait_for("recording to ")
        assert ports
        assert not [path for path in ports if path.exists() and not path.stat().st_size]  # it freed them, or another
        assert node.end() == 0, node.output


def test_a_driver_that_waits_for_a_half_made_port_is_freed(
    tmp_path: Path, observer: Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTDDS_BUILTIN_TRANSPORTS", "LARGE_DATA")
    with recorder(tmp_path, "ros.heal:=true") as node:
        observer.value("scenes", "state", lambda state: state == "active")
        with half_made_ports() as ports, driver():
            node.wait_for("/lidar: the first message has come")
            assert ports
            assert not [path for path in ports if path.exists() and not path.stat().st_size]
            assert node.end() == 0, node.output
