# SPDX-License-Identifier: Apache-2.0
"""Ports of Fast DDS that killed processes leave half made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nucleus_bridge.ros.shared_memory import HALF_MADE_S, HalfMadePorts, free_half_made_ports

AFTER_S = HALF_MADE_S + 0.1


def half_made(folder: Path, name: str = "fastdds_port7411") -> Path:
    path = folder / name
    path.touch()
    return path


@pytest.mark.parametrize("name", ["fastdds_port7411", "fastrtps_port7411"])
def test_a_port_without_a_size_is_damaged_once_it_is_old(tmp_path: Path, name: str) -> None:
    path, ports = half_made(tmp_path, name), HalfMadePorts(tmp_path)
    assert ports.free(100.0) == []
    assert ports.free(100.0 + HALF_MADE_S / 2) == []
    assert path.stat().st_size == 0
    assert ports.free(100.0 + AFTER_S) == [path]
    assert path.stat().st_size == 1
    assert ports.free(200.0) == []
    assert ports.is_none


@pytest.mark.parametrize("name", ["fastdds_port7411_el", "fastdds_0123456789abcdef", "sem.fastdds_port7411_mutex"])
def test_other_files_are_left_alone(tmp_path: Path, name: str) -> None:
    path, ports = half_made(tmp_path, name), HalfMadePorts(tmp_path)
    assert not ports.free(100.0)
    assert not ports.free(200.0)
    assert path.stat().st_size == 0


def test_a_port_that_gets_its_size_or_is_another_one_is_left_alone(tmp_path: Path) -> None:
    made, other, ports = half_made(tmp_path), half_made(tmp_path, "fastdds_port7413"), HalfMadePorts(tmp_path)
    ports.free(100.0)
    made.write_bytes(bytes(100))
    half_made(tmp_path, "new").rename(other)
    assert not ports.free(200.0)
    assert made.read_bytes() == bytes(100)
    assert other.stat().st_size == 0
    assert ports.free(200.0 + AFTER_S) == [other]


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
def test_another_user_s_port_is_left_alone(tmp_path: Path) -> None:
    path, ports = half_made(tmp_path), HalfMadePorts(tmp_path)
    os.chown(path, 12345, 12345)
    ports.free(100.0)
    assert not ports.free(200.0)
    assert path.stat().st_size == 0


def test_at_a_start_half_made_ports_are_waited_for_and_damaged(tmp_path: Path) -> None:
    path = half_made(tmp_path)
    assert free_half_made_ports(tmp_path) == [path]
    assert path.stat().st_size == 1
    assert free_half_made_ports(tmp_path) == []
    assert free_half_made_ports(tmp_path / "missing") == []
