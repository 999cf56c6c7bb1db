# SPDX-License-Identifier: Apache-2.0
"""A recording that ends anywhere is converted as far as it goes: every frame before the cut, and the loss is told."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from bags import TYPES, Recording, recording, write_config

from nucleus_bridge.cli.main import main
from nucleus_bridge.validate.scenes import validate_path

FRAMES = 5
CUTS = 100
PAGE_BYTES = 4096
TABLE_PAGES = 8  # schema, tables and indexes begin here; without them nothing can be found


@cache
def made() -> Recording:
    return recording(frames=FRAMES)


def mcap_file(folder: Path, **options: object) -> Path:
    """Write it with the mcap project's own writer."""
    writer_module = pytest.importorskip("mcap.writer", reason="the mcap package is not installed")
    path = folder / "drive.mcap"
    with path.open("wb") as file:
        writer = writer_module.Writer(file, **options)
        writer.start(profile="ros2")
        channels: dict[str, int] = {}
        for log_ns, topic, kind, data in sorted(made().rows):
            if topic not in channels:
                definition = TYPES.generate_msgdef(kind, ros_version=2)[0].encode()
                channels[topic] = writer.register_channel(
                    topic, "cdr", writer.register_schema(kind, "ros2msg", definition)
                )
            writer.add_message(channels[topic], log_ns, data, log_ns)
        writer.finish()
    return path


def mcap_chunks(compression: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        kinds = pytest.importorskip("mcap.writer", reason="the mcap package is not installed")
        return mcap_file(folder, chunk_size=2000, compression=kinds.CompressionType[compression])

    return write


def sqlite_file(folder: Path) -> Path:
    made().write(folder / "bag", "sqlite3")
    (path,) = (folder / "bag").glob("*.db3")
    return path


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "mcap of chunks": mcap_chunks("NONE"),
    "mcap of zstd chunks": mcap_chunks("ZSTD"),
    "mcap without chunks": lambda folder: mcap_file(folder, use_chunking=False),
    "db3": sqlite_file,
}


def payloads_before(whole: bytes, cut: int, suffix: str) -> set[bytes]:
    """Return the messages that lie before the cut, found without the reader that is tested."""
    if suffix == ".db3":
        pages = cut - cut % PAGE_BYTES
        known = {data: whole.find(data) for _, _, _, data in made().rows}
        assert min(known.values()) > 0
        return {data for data, at in known.items() if at + len(data) <= pages and pages > TABLE_PAGES * PAGE_BYTES}
    reader = pytest.importorskip("mcap.reader", reason="the mcap package is not installed")
    found: set[bytes] = set()
    try:
        for _, _, message in reader.NonSeekingReader(io.BytesIO(whole[:cut])).iter_messages(log_time_order=False):
            found.add(message.data)
    except Exception:  # noqa: BLE001 - whatever that reader makes of a cut file
        return found
    return found


def whole_frames(before: set[bytes]) -> int:
    """Count the frames that have everything they need: all that was logged up to their image."""
    frames, complete = 0, True
    for _, topic, _, data in sorted(made().rows):
        complete = complete and data in before
        frames += complete and topic == "/image"
    return frames


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_whole_frame_before_the_cut_is_kept(
    layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], hang_guard: None
) -> None:
    source = LAYOUTS[layout](tmp_path)
    whole, path = source.read_bytes(), tmp_path / f"cut{source.suffix}"
    config, spool = write_config(tmp_path), tmp_path / "spool"
    kept = []
    for number in range(CUTS):
        cut = len(whole) * number // CUTS
        path.write_bytes(whole[:cut])
        shutil.rmtree(spool, ignore_errors=True)
        expected = whole_frames(payloads_before(whole, cut, source.suffix))
        status = main(["convert", str(path), "--config", str(config), "--output", str(spool), "--json"])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        (bag,) = json.loads(out)["bags"] or [{"scenes": [], "damage": []}]
        frames = sum(scene["frames"] for scene in bag["scenes"])
        items = sum(scene["items"] for scene in bag["scenes"])
        assert expected <= frames <= FRAMES
        assert items >= 2 * expected
        kept.append(frames)
        if status == 2:
            assert (expected, frames) == (0, 0)
            assert path.name in out + err
            continue
        assert list((spool / "open").iterdir()) == []
        assert any(path.name in damage for damage in bag["damage"])
        if items < 2 * FRAMES:
            assert status == 1
            assert any("cut" in damage for damage in bag["damage"])
        if number % 20 == 0:
            assert all(report.ok for report in validate_path(spool))
    assert max(kept) >= FRAMES - 1


def test_a_cut_recording_says_what_was_kept_and_what_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = LAYOUTS["mcap of zstd chunks"](tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    spool = tmp_path / "spool"
    assert main(["convert", str(path), "--config", str(write_config(tmp_path)), "--output", str(spool)]) == 1
    out = capsys.readouterr().out
    assert f"damaged: {path} at byte" in out
    assert "the rest is lost" in out
    assert out.endswith("lost: what was in the damaged parts\n")
    (scene,) = (spool / "scenes").iterdir()
    manifest = json.loads((scene / "manifest.json").read_text())
    assert f"1 scene (1 new), {manifest['frames']} frames, {manifest['items']} items" in out
    assert 0 < manifest["frames"] < FRAMES
