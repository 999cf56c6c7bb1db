# SPDX-License-Identifier: Apache-2.0
"""Programs on a ROS graph of their own, for live tests: the recorder, a replay, and an observer in this process."""

from __future__ import annotations

import itertools
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

HERE = Path(__file__).parent
DOMAINS = itertools.cycle(random.sample(range(1, 101), 100))
"""Another one for each test: a program that was killed stays visible in its domain for a while."""
CLAIMS: list[socket.socket] = []
LIMIT_S = 60.0
RECORDER = "/nucleus_recorder"


def wait_until(condition: Callable[[], Any], what: str, seen: Callable[[], str] = str) -> Any:
    """Wait for a true answer; ``seen`` tells what there was instead."""
    limit = time.monotonic() + LIMIT_S
    while not (answer := condition()):
        assert time.monotonic() < limit, f"not within {LIMIT_S:.0f} s: {what}\n{seen()}"
        time.sleep(0.02)
    return answer


def new_domain() -> None:
    """Choose a domain that no other test run claims and nobody on this machine listens to."""
    while CLAIMS:
        CLAIMS.pop().close()
    for domain in itertools.islice(DOMAINS, 100):
        claim, listener = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            claim.bind(f"\0nucleus_bridge.domain.{domain}")
            listener.bind(("", 7410 + 250 * domain))  # the first participant's port for discovery
        except OSError:
            claim.close()
        else:
            CLAIMS.append(claim)
            os.environ["ROS_DOMAIN_ID"] = str(domain)
            return
        finally:
            listener.close()
    raise AssertionError("every ROS domain of this machine is in use")


def environment() -> dict[str, str]:
    paths = [str(HERE.parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "PYTHONUNBUFFERED": "1",
    }


class Program:
    """A program with its output; ended at the latest when its block ends."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, text: str) -> str:
        def found() -> str | None:
            line = next((line for line in list(self.lines) if text in line), None)
            assert line or self.process.poll() is None, f"ended without {text!r}:\n{self.output}"
            return line

        return wait_until(found, f"{text!r} in the output", lambda: self.output)

    def say(self, line: str) -> None:
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def end(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        status = self.process.wait(LIMIT_S)
        self._reader.join(LIMIT_S)
        return status

    def __enter__(self) -> Program:  # noqa: PYI034 - Self came with Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(LIMIT_S)
        self._reader.join(LIMIT_S)
        self.process.stdin.close()
        self.process.stdout.close()


def recorder(config: Path, spool: Path, *parameters: str, autostart: bool = True, workers: int = 1) -> Program:
    """Start the recorder; ``parameters`` are of the form ``name:=value``."""
    own = [f"spool.path:={spool}", "spool.min_free_bytes:=0", f"autostart:={str(autostart).lower()}"]
    given = [*own, f"queue.workers:={workers}", *parameters]
    flags = [flag for parameter in given for flag in ("-p", parameter)]
    return Program("-m", "nucleus_bridge.ros.recorder", "--ros-args", "--params-file", str(config), *flags)


def replay(*bags: Path, flags: tuple[str, ...] = (), seen_by: Observer | None = None) -> Program:
    """Start a replay; ``seen_by``: only when this observer hears the recorder, so that it misses no report."""
    if seen_by is not None:
        seen_by.value("scenes", "state", lambda state: state == "active")
    return Program(str(HERE / "replay_program.py"), *map(str, bags), *flags)


class Observer:
    """A node in this process that reads /diagnostics and calls services."""

    def __init__(self) -> None:
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=int(os.environ["ROS_DOMAIN_ID"]))
        self.node = rclpy.create_node("observer", context=self._context)
        self._statuses: list[dict[str, DiagnosticStatus]] = []
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._take, 1000)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    def _take(self, array: DiagnosticArray) -> None:
        self._statuses.append({status.name.partition(": ")[2]: status for status in array.status})

    def forget(self) -> None:
        self._statuses.clear()

    def status(self, name: str, wanted: Callable[[DiagnosticStatus], bool]) -> DiagnosticStatus:
        """Wait for a status that is as wanted; earlier ones count too."""

        def found() -> DiagnosticStatus | None:
            every = [statuses[name] for statuses in list(self._statuses) if name in statuses]
            return next((status for status in every if wanted(status)), None)

        def latest() -> str:
            return "\n".join(
                f"{s[name].level} {s[name].message} {values(s[name])}" for s in self._statuses[-10:] if name in s
            )

        return wait_until(found, f"status {name!r}", latest)

    def hear(self, name: str, message: str, times: int) -> None:
        """Wait until a status came so often from now on."""
        self.forget()
        wait_until(lambda: self._count(name, message) >= times, f"{times} times {message!r} of {name!r}")

    def _count(self, name: str, message: str) -> int:
        return sum(statuses[name].message == message for statuses in list(self._statuses) if name in statuses)

    def value(self, name: str, key: str, wanted: Callable[[str], bool]) -> DiagnosticStatus:
        return self.status(name, lambda status: wanted(values(status).get(key, "")))

    def call(self, kind: Any, name: str, request: Any) -> Any:
        client = self.node.create_client(kind, name)
        try:
            wait_until(client.service_is_ready, f"service {name}")
            future = client.call_async(request)
            wait_until(future.done, f"answer of {name}")
            return future.result()
        finally:
            self.node.destroy_client(client)

    def trigger(self, name: str) -> Trigger.Response:
        return self.call(Trigger, f"{RECORDER}/{name}", Trigger.Request())

    def change_state(self, transition: int) -> bool:
        request = ChangeState.Request()
        request.transition.id = transition
        return bool(self.call(ChangeState, f"{RECORDER}/change_state", request).success)

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join(LIMIT_S)
        self.node.destroy_node()
        rclpy.shutdown(context=self._context)


def set_parameter(observer: Observer, name: str, value: object) -> str:
    """Set a parameter of the recorder; return why it was refused, or ""."""
    request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
    [result] = observer.call(SetParameters, f"{RECORDER}/set_parameters", request).results
    return "" if result.successful else result.reason or "refused"


def values(status: DiagnosticStatus) -> dict[str, str]:
    return {pair.key: pair.value for pair in status.values}


@contextmanager
def observing() -> Iterator[Observer]:
    new_domain()
    observer = Observer()
    try:
        yield observer
    finally:
        observer.close()
