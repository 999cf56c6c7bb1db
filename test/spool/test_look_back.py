# SPDX-License-Identifier: Apache-2.0
"""Frames that wait for an event: bounded, unchanged, and gone with whoever has them."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np
import pytest

from nucleus_bridge.model import CameraModel, Frame, Image, PosedImage, PosedSweep, Sweep, Transform
from nucleus_bridge.spool.look_back import LookBack

POINT = np.dtype({"names": ["x", "t"], "formats": ["<f4", "<u2"], "offsets": [0, 8], "itemsize": 12})
HERE = Transform(np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]))
MODEL = CameraModel("brown_conrady", 4, 3, 1.0, 1.0, 0.0, 0.0)


def frame(number: int, points: int = 1000, pixels: int = 5000) -> Frame:
    chance = np.random.default_rng(number)
    cloud = np.frombuffer(chance.bytes(points * POINT.itemsize), POINT)
    sweep = Sweep(number, "lidar", cloud, None, number, number, 1, time_is_relative=True)
    image = Image(number, "camera", 4, 3, "jpeg", np.frombuffer(chance.bytes(pixels), np.uint8))
    return Frame(number, HERE, None, (PosedSweep("top", sweep, HERE),), (PosedImage("front", 0, image, MODEL, HERE),))


def content(one: Frame) -> list[bytes]:
    return [one.sweeps[0].sweep.points.tobytes(), one.images[0].image.data.tobytes()]


@pytest.mark.parametrize("memory_bytes", [0, 20_000, 10_000_000])
def test_a_frame_comes_back_as_it_was(tmp_path: Path, memory_bytes: int) -> None:
    look_back = LookBack(tmp_path / "open", 10_000_000, memory_bytes, segment_bytes=100_000)
    numbers = range(40)
    held = [look_back.put(frame(number)) for number in numbers]
    assert all(one is not None for one in held)
    for number, one in zip(numbers, held, strict=True):
        assert one is not None
        assert content(one) == content(frame(number))
        assert one.sweeps[0].sweep.points.dtype == POINT
    assert look_back.in_memory.bytes <= memory_bytes


def test_the_limit_holds_and_what_is_let_go_makes_room(tmp_path: Path) -> None:
    look_back = LookBack(tmp_path, 500_000, 50_000, segment_bytes=100_000)
    held = []
    while (one := look_back.put(frame(len(held)))) is not None:
        held.append(one)
        assert look_back.bytes <= 500_000
    assert len(held) > 20
    del held[: len(held) // 2], one
    gc.collect()
    assert look_back.put(frame(99)) is not None
    held.clear()
    gc.collect()
    assert look_back.bytes <= 100_000  # the file that is being filled
    assert look_back.in_memory.bytes == 0


def test_nothing_has_a_name(tmp_path: Path) -> None:
    look_back = LookBack(tmp_path, 1_000_000, 0)
    held = look_back.put(frame(1))
    assert held is not None
    assert look_back.on_disk.bytes > 0
    assert not list(tmp_path.iterdir())


def test_a_frame_larger_than_a_file_has_its_own(tmp_path: Path) -> None:
    look_back = LookBack(tmp_path, 1_000_000, 0, segment_bytes=1000)
    held = look_back.put(frame(1, points=20_000))
    assert held is not None
    assert content(held) == content(frame(1, points=20_000))


def test_a_full_disk_is_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert LookBack(tmp_path, 1_000_000, 0).put(frame(1)) is None


def test_the_disk_keeps_what_it_has_to(tmp_path: Path) -> None:
    assert LookBack(tmp_path, 1_000_000, 0, min_free_bytes=1 << 60).put(frame(1)) is None
    assert LookBack(tmp_path, 1_000_000, 1_000_000, min_free_bytes=1 << 60).put(frame(1)) is not None  # in memory
