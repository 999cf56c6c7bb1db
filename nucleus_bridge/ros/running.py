# SPDX-License-Identifier: Apache-2.0
"""How a node's program runs: one executor in a thread, signals in the main thread, a clean end on each way out."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from nucleus_bridge.config.parameter_files import readable_arguments
from nucleus_bridge.errors import BridgeError, InputError

DONE, FAILED, BAD_INPUT = 0, 1, 2
SIGNALS = (signal.SIGINT, signal.SIGTERM)
SHUTDOWN_S = 4.0
LEAVE_WITHIN_S = 5.0


class Stop:
    """Asks the program to end; any thread may."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.status = DONE

    def request(self, status: int = DONE) -> None:
        """Ask for the end with an exit status; the worst one counts."""
        self.status = max(self.status, status)
        self._event.set()

    def wait(self) -> None:
        """Wait until someone asks."""
        self._event.wait()


class Closable(Protocol):
    """What a node's program needs of its node."""

    def close(self) -> None:
        """Bring everything to safety; the executor has ended."""


def run(make_node: Callable[[Stop], Any], arguments: Sequence[str] | None = None) -> int:
    """Run a node until a signal, its own wish or the end of its executor; return the exit status."""
    try:
        with readable_arguments(sys.argv if arguments is None else arguments) as readable:
            rclpy.init(args=readable, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:  # ROS 2 could not read the arguments or the parameter file
        print(f"error: {str(error).strip()}", file=sys.stderr)
        return BAD_INPUT
    stop = Stop()
    for number in SIGNALS:
        signal.signal(number, lambda _number, _frame: stop.request())
    try:
        node = make_node(stop)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        return BAD_INPUT
    try:
        _spin_until(stop, node)
        node.close()
    except BridgeError as error:
        node.get_logger().error(str(error))
        stop.request(FAILED)
    finally:
        # Under `ros2 launch` a Ctrl-C comes twice, from the terminal and from launch. While Python ends, it has no
        # handlers any more, and the second one would make a failure of a clean end.
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        with leaving():
            node.destroy_node()
            rclpy.try_shutdown()
    return stop.status


@contextmanager
def leaving(within_s: float = LEAVE_WITHIN_S) -> Iterator[None]:
    """End the process with status 1 if leaving the graph takes longer than ``within_s``; all work must be safe.

    Fast DDS may wait for ever when it closes a connection with ``LARGE_DATA`` (up to 3.2, eProsima/Fast-DDS#6066). It
    does so with the interpreter's lock held, so that nothing written in Python could end it.
    """
    with Path(os.devnull).open("w") as nowhere:
        faulthandler.dump_traceback_later(within_s, exit=True, file=nowhere)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()


def _spin_until(stop: Stop, node: Node) -> None:
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=_spin, args=(executor, node, stop), name="executor", daemon=True)
    thread.start()
    stop.wait()
    executor.shutdown(timeout_sec=SHUTDOWN_S)
    thread.join(SHUTDOWN_S)


def _spin(executor: SingleThreadedExecutor, node: Node, stop: Stop) -> None:
    status = FAILED
    try:
        executor.spin()
        status = DONE
    except ExternalShutdownException:
        status = DONE
    except Exception as error:  # noqa: BLE001 - whatever ends the executor, the open scene is to be sealed
        node.get_logger().fatal(f"the executor ended: {type(error).__name__}: {error}")
    finally:
        stop.request(status)
