# SPDX-License-Identifier: Apache-2.0
"""How a node's program comes to its end."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

WITHOUT_ROS = """
import sys
sys.modules["rclpy"] = None
import nucleus_bridge.ros
sys.exit(nucleus_bridge.ros.run_{program}())
"""


@pytest.mark.parametrize("program", ["recorder", "uploader"])
def test_without_ros_2_a_program_says_how_to_get_it(program: str) -> None:
    run = [sys.executable, "-c", WITHOUT_ROS.format(program=program)]
    ended = subprocess.run(run, check=False, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert "pip install 'nucleus-bridge[ros]' && nucleus-bridge ros-setup" in ended.stderr


SLOW_ROS = """
import time
print("imported", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("program", ["recorder", "uploader"])
def test_ctrl_c_in_the_first_seconds_ends_a_program_without_a_word(program: str, tmp_path: Path) -> None:
    (tmp_path / "rclpy.py").write_text(SLOW_ROS)
    start = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import nucleus_bridge.ros as ros; "
    run = [sys.executable, "-c", f"{start}sys.exit(ros.run_{program}())"]
    with subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started:
        assert started.stdout.readline() == "imported\n"
        started.send_signal(signal.SIGINT)
        assert started.wait(120) == 0
        assert started.stderr.read() == ""


pytest.importorskip("rclpy", reason="needs ROS 2")

STUCK = "warning: the middleware does not let go; everything is safe, and the process ends without waiting for it"
LEAVE = """
import ctypes
import signal
from nucleus_bridge.ros.leaving import hold_signals, leaving
hold_signals()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with leaving({within_s}):
    ctypes.PyDLL(None).sleep({seconds})  # keeps the interpreter's lock
print("left")
"""


@pytest.mark.parametrize(("seconds", "within_s", "status", "told"), [(0, 60.0, 0, "left\n"), (600, 1.0, 1, "")])
def test_a_middleware_that_never_lets_go_does_not_keep_the_process(
    seconds: int, within_s: float, status: int, told: str
) -> None:
    program = [sys.executable, "-c", LEAVE.format(seconds=seconds, within_s=within_s)]
    ended = subprocess.run(program, check=False, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stdout) == (status, told)
    assert ended.stderr == ("" if told else f"{STUCK}\n")


ANEW = """
import signal, sys
from nucleus_bridge.ros.leaving import hold_signals, release_signals, resumed, start_anew
if not resumed():
    hold_signals()
    print("before", flush=True)
    sys.stdin.readline()
    start_anew({"again": True})
print("anew", flush=True)
sys.stdin.readline()
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(7))
release_signals()
sys.exit(1)
"""


@pytest.mark.parametrize("moment", ["before", "anew"])
def test_a_signal_that_comes_while_the_program_starts_anew_is_heard(moment: str) -> None:
    program = [sys.executable, "-c", ANEW]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in ("before", "anew"):
            assert process.stdout.readline() == f"{line}\n"
            if line == moment:
                process.send_signal(signal.SIGTERM)
            process.stdin.write("\n")
            process.stdin.flush()
        assert process.wait(60) == 7


IN_ANOTHER_THREAD = """
import signal, threading, time
from nucleus_bridge.ros.running import Stop
threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
stop = Stop()
stop.hear_signals()
print("ready", flush=True)
stop.wait()
print("heard", flush=True)
"""


def test_a_signal_that_another_thread_has_got_ends_the_program() -> None:
    program = [sys.executable, "-c", IN_ANOTHER_THREAD]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        try:
            assert process.communicate(timeout=60) == ("heard\n", None)
        finally:
            process.kill()


NOT_WANTED = """
import signal, threading, time
from nucleus_bridge.ros.leaving import hold_signals, start_anew
threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
ended = []
signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
hold_signals()
print("held", flush=True)
while not ended:
    time.sleep(0.01)
start_anew({}, is_wanted=lambda: not ended)
print("not started anew", flush=True)
"""


def test_a_signal_before_the_last_moment_keeps_a_program_from_starting_anew() -> None:
    with subprocess.Popen([sys.executable, "-c", NOT_WANTED], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        process.send_signal(signal.SIGTERM)
        try:
            assert process.communicate(timeout=60) == ("not started anew\n", None)
        finally:
            process.kill()
