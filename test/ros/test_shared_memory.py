# SPDX-License-Identifier: Apache-2.0
"""Ports of Fast DDS that killed processes leave half made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nucleus_bridge.ros.shared_memory import HALF_MADE_S, LOOK_COUNTS_S, HalfMadePorts, free_half_made_ports

STEP_S = 0.25


def half_made(folder: Path, name: str = "fastdds_port7411") -> Path:
    path = folder / name
    path.touch()
    return path


def looks(ports: HalfMadePorts, seconds: float, since_s: float = 100.0) -> list[Path]:
    """Look four times a second for so long, and once at the beginning."""
    return [path for number in range(round(seconds / STEP_S) + 1) for path in ports.free(since_s + number * STEP_S)]


@pytest.mark.parametrize("name", ["fastdds_port7411", "fastrtps_port7411"])
def test_a_port_without_a_size_is_damaged_once_it_is_old_and_then_removed(tmp_path: Path, name: str) -> None:
    path, ports = half_made(tmp_path, name), HalfMadePorts(tmp_path)
    assert looks(ports, HALF_MADE_S - STEP_S) == []
    assert path.stat().st_size == 0
    assert ports.free(100.0 + HALF_MADE_S) == [path]
    assert path.stat().st_size == 1
    assert not ports.is_done
    assert ports.free(102.0) == []
    assert not path.exists()
    assert ports.is_done


@pytest.mark.parametrize(
    "name",
    ["fastdds_port7411_el", "fastdds_port7400_sl", "fastdds_0123456789abcdef", "sem.fastdds_port7411_mutex"],
)
def test_other_files_are_left_alone(tmp_path: Path, name: str) -> None:
    path, ports = half_made(tmp_path, name), HalfMadePorts(tmp_path)
    assert not looks(ports, 10)
    assert path.stat().st_size == 0


def test_what_is_no_file_is_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fastdds_port7411")
    (tmp_path / "fastdds_port7413").symlink_to(half_made(tmp_path, "elsewhere"))
    assert not looks(HalfMadePorts(tmp_path), 10)
    assert (tmp_path / "elsewhere").stat().st_size == 0


def test_a_port_that_gets_its_size_or_is_another_one_is_left_alone(tmp_path: Path) -> None:
    made, other, ports = half_made(tmp_path), half_made(tmp_path, "fastdds_port7413"), HalfMadePorts(tmp_path)
    looks(ports, HALF_MADE_S - STEP_S)
    made.write_bytes(bytes(100))
    half_made(tmp_path, "new").rename(other)
    assert not looks(ports, HALF_MADE_S - STEP_S, since_s=100.0 + HALF_MADE_S)
    assert made.read_bytes() == bytes(100)
    assert other.stat().st_size == 0


def test_a_port_that_is_made_after_all_is_not_removed(tmp_path: Path) -> None:
    path, ports = half_made(tmp_path), HalfMadePorts(tmp_path)
    assert looks(ports, HALF_MADE_S) == [path]
    os.truncate(path, 100)
    ports.free(200.0)
    assert path.stat().st_size == 100


def test_a_standstill_of_the_machine_makes_no_port_old(tmp_path: Path) -> None:
    path, ports = half_made(tmp_path), HalfMadePorts(tmp_path)
    ports.free(100.0)
    assert LOOK_COUNTS_S < HALF_MADE_S
    assert ports.free(1000.0) == []
    assert path.stat().st_size == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
def test_another_user_s_port_is_left_alone(tmp_path: Path) -> None:
    path, ports = half_made(tmp_path), HalfMadePorts(tmp_path)
    os.chown(path, 12345, 12345)
    assert not looks(ports, 10)
    assert path.stat().st_size == 0


def test_at_a_start_half_made_ports_are_waited_for_damaged_and_removed(tmp_path: Path) -> None:
    path = half_made(tmp_path)
    assert free_half_made_ports(tmp_path) == [path]
    assert not path.exists()
    assert free_half_made_ports(tmp_path) == []
    assert free_half_made_ports(tmp_path / "missing") == []
