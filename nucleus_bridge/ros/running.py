# SPDX-License-Identifier: Apache-2.0
"""How a node's program runs: one executor in a thread, signals in the main thread, a clean end on each way out."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

from nucleus_bridge.config.parameter_files import readable_arguments
from nucleus_bridge.errors import BridgeError, InputError
from nucleus_bridge.ros.announcing import announce_often
from nucleus_bridge.ros.leaving import SIGNALS, hold_signals, leaving, release_signals, start_anew
from nucleus_bridge.ros.middleware import check_executor
from nucleus_bridge.ros.shared_memory import free_half_made_ports, half_made_text

DONE, FAILED, BAD_INPUT = 0, 1, 2
SHUTDOWN_S = 4.0
ERRORS_WITHIN_S = 10.0
_PIPE_BYTES = 4096
MOST_ERRORS = 1000
"""More errors within that time are not a callback's: the executor itself is broken."""


class Stop:
    """Asks the program to end; any thread may.

    Attributes:
        status: The exit status.
        resume: What the program needs to go on when it is to be started anew instead; None otherwise.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        self.status = DONE
        self.resume: Mapping[str, Any] | None = None
        self._is_final = False

    def request(self, status: int = DONE) -> None:
        """Ask for the end with an exit status; the worst one counts."""
        self.status = max(self.status, status)
        self._end()

    def request_new_start(self, resume: Mapping[str, Any]) -> None:
        """Ask for a new start of the program in this process, with a new connection to the graph."""
        if not self._is_final:
            self.resume = resume
        self._end()

    def signalled(self) -> None:
        """End, whatever else was asked for."""
        self._is_final, self.resume = True, None
        self._end()

    def hear_signals(self) -> None:
        """Have signals end a wait of the main thread, whichever thread the system gave them to.

        Python handles signals in the main thread alone, and does not wake it for one that another thread has got.
        """
        for number in SIGNALS:
            signal.signal(number, lambda _number, _frame: self.signalled())
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)

    def wait(self) -> None:
        """Wait until someone asks."""
        while not self._event.is_set():
            os.read(self._woken, _PIPE_BYTES)

    def _end(self) -> None:
        self._event.set()
        with suppress(BlockingIOError):  # full, which wakes as well
            os.write(self._wake, b"\0")


class Closable(Protocol):
    """What a node's program needs of its node."""

    def close(self) -> None:
        """Bring everything to safety; the executor has ended."""


def run(
    make_node: Callable[[Stop], Any],
    about: str,
    arguments: Sequence[str] | None = None,
    make_executor: Callable[[], Any] = SingleThreadedExecutor,
) -> int:
    """Run a node until a signal, its own wish or the end of its executor; return the exit status.

    Args:
        make_node: Makes the node.
        about: What the program does, for ``--help``.
        arguments: Those of the command line, without the program.
        make_executor: Makes the executor; ``MultiThreadedExecutor`` serves as well.
    """
    given = sys.argv if arguments is None else [sys.argv[0], *arguments]
    try:
        with readable_arguments(given) as readable:
            check_arguments(readable, about)
            for path in free_half_made_ports():
                print(f"warning: {half_made_text(path)}", file=sys.stderr)
            announce_often()
            rclpy.init(args=readable, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:  # ROS 2 could not read the arguments or the parameter file
        print(f"error: the arguments after --ros-args cannot be used: {str(error).strip()}", file=sys.stderr)
        return BAD_INPUT
    except SystemExit as end:  # --help, or an argument that is not known
        return int(end.code or DONE)
    stop = Stop()
    stop.hear_signals()
    release_signals()
    try:
        executor = make_executor()
        check_executor(executor)
        node = make_node(stop)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        return BAD_INPUT
    try:
        _spin_until(stop, node, executor)
        node.close()
        hold_signals()  # one that comes from here on is the new program's
        if stop.resume is not None and stop.status == DONE:
            start_anew(stop.resume, is_wanted=lambda: stop.resume is not None)
    except BridgeError as error:
        node.get_logger().error(str(error))
        stop.request(FAILED)
    finally:
        # Under `ros2 launch` a Ctrl-C comes twice, from the terminal and from launch. While Python ends, it has no
        # handlers any more, and the second one would make a failure of a clean end.
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        release_signals()
        with leaving():
            node.destroy_node()
            rclpy.try_shutdown()
    return stop.status


def check_arguments(given: Sequence[str], about: str) -> None:
    """Refuse arguments that nobody reads.

    Raises:
        SystemExit: One is not known, or help was asked for; all is told.
    """
    _, *rest = remove_ros_args(list(given))
    parser = argparse.ArgumentParser(
        prog=Path(given[0]).name,
        description=about,
        epilog="Parameters are given after --ros-args: --params-file FILE, -p NAME:=VALUE (docs/parameters.md has them "
        "all), -r FROM:=TO, --log-level LEVEL. Exit status: 0 after a signal, 2 when a person has to correct "
        "something, 1 for what may pass by itself.",
    )
    parser.parse_args(rest)


def _spin_until(stop: Stop, node: Node, executor: Any) -> None:
    executor.add_node(node)
    thread = threading.Thread(target=_spin, args=(executor, node, stop), name="executor", daemon=True)
    thread.start()
    stop.wait()
    executor.shutdown(SHUTDOWN_S)
    thread.join(SHUTDOWN_S)


def _spin(executor: Any, node: Node, stop: Stop) -> None:
    """Spin until the end; what a callback raises is logged and ends nothing, unless it happens all the time."""
    status, errors, since = FAILED, 0, time.monotonic()
    try:
        while status is FAILED and errors < MOST_ERRORS:
            try:
                executor.spin()
                status = DONE
            except ExternalShutdownException:
                status = DONE
            except Exception as error:  # noqa: BLE001 - whatever it is, recording goes on
                now = time.monotonic()
                errors, since = (errors + 1, since) if now - since < ERRORS_WITHIN_S else (1, now)
                text = f"a callback failed, everything else goes on: {type(error).__name__}: {error}"
                node.get_logger().error(text, throttle_duration_sec=ERRORS_WITHIN_S)
        if status is FAILED:
            node.get_logger().fatal(f"the executor ended: {errors} callbacks failed within {ERRORS_WITHIN_S:.0f} s")
    finally:
        stop.request(status)
