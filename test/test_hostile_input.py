# SPDX-License-Identifier: Apache-2.0
"""Input that was made to do harm: nothing leaves the output folder, takes all memory, or drives a terminal."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bags import (
    CONFIG,
    MS,
    START_NS,
    UNIT,
    Recording,
    cloud,
    compressed,
    info,
    raw_image,
    recording,
    transforms,
    write_config,
)

from nucleus_bridge.cli.main import main
from nucleus_bridge.config import load_config

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LATER = START_NS + 250 * MS
MEMORY_BYTES = 4 << 30  # address space, libraries and their threads included; the bombs want ten times that
LIMITED = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, ({MEMORY_BYTES}, {MEMORY_BYTES}))
from nucleus_bridge.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
LONGEST_OUTPUT = 50_000

NAMES = {
    "path upwards": "/../../../../tmp/escaped",
    "absolute path": "//etc/passwd",
    "only dots": "/..",
    "backslashes": "/..\\..\\escaped",
    "control characters": "/lidar\x00\x07\x1b[2J\r\npoints",
    "turned text": "/lidar\u202e\u2066points",
    "letters of the world": "/激光雷达/točke/🚗",
    "reserved on Windows": "/CON",
    "leading dashes": "/--help",
    "a space and quotes": "/li dar'\";$(touch escaped)`id`",
    "markup": "/</script><img src=x onerror=alert(1)>",
    "very long": "/" + "x" * 20_000,
    "empty": "",
}


def with_topic(name: str) -> Recording:
    made = recording()
    made.rows = [(log_ns, name if topic == "/points" else topic, kind, data) for log_ns, topic, kind, data in made.rows]
    return made


def with_frame(name: str) -> Recording:
    made = recording().without("/points")
    for number in range(5):
        stamp = START_NS + 100 * number * MS
        made.add("/points", cloud(stamp, frame_id=name), stamp + 3 * MS)
    made.add("/tf_static", transforms(("base_link", name, 1, (0, 0, 1), UNIT)), START_NS)
    return made


@pytest.mark.parametrize("where", [with_topic, with_frame])
@pytest.mark.parametrize("case", NAMES)
def test_names_from_a_recording_stay_inside_and_harmless(
    where: Callable[[str], Recording], case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = where(NAMES[case]).write(tmp_path / "bag")
    made, spool = tmp_path / "made.yaml", tmp_path / "spool"
    commands = [
        ["inspect", str(bag)],
        ["init", str(bag), "-o", str(made)],
        ["convert", str(bag), "--config", str(write_config(tmp_path)), "--output", str(spool)],
    ]
    before = {path for path in tmp_path.rglob("*") if spool not in path.parents}
    statuses = [main(command) for command in commands]
    assert set(statuses) <= {0, 1, 2}
    if made.exists():
        load_config(made)
        assert main(["convert", str(bag), "--config", str(made), "--output", str(spool)]) in (0, 1, 2)
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    assert all(letter.isprintable() or letter == "\n" for letter in out + err)
    outside = {path for path in tmp_path.rglob("*") if spool not in path.parents} - before
    assert outside <= {made, spool, tmp_path / "config.yaml"}
    for path in spool.rglob("*"):
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,255}", path.name)


@pytest.mark.parametrize("name", [*NAMES.values(), ".", "..", ".hidden", "-x", "a/b", "a b", "con\n"])
@pytest.mark.parametrize("parameter", ["scene.prefix", "lidar_names"])
def test_names_of_files_cannot_be_configured_to_leave_the_folder(parameter: str, name: str, tmp_path: Path) -> None:
    bag = recording().write(tmp_path / "bag")
    value = f"[{name!r}]" if parameter == "lidar_names" else repr(name)
    arguments = ["--set", f"{parameter}={value}", "--output", str(tmp_path / "spool" / "deep")]
    status = main(["convert", str(bag), "--config", str(write_config(tmp_path)), *arguments])
    made = {path.name for path in tmp_path.iterdir()} - {"bag", "config.yaml"}
    assert made <= {"spool"}
    scenes = list((tmp_path / "spool" / "deep" / "scenes").glob("*"))
    assert status == 2 or all(re.fullmatch(r"[A-Za-z0-9._-]+", scene.name) for scene in scenes)


def png(width: int, height: int, *, depth: int = 8) -> bytes:
    """Write a PNG of zeros: some hundred kilobytes that stand for gigabytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    row = bytes(1 + width * 3 * depth // 8)
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def huge_raw_image() -> Any:
    image = raw_image(LATER)
    image.width = image.height = 100_000
    image.step = 300_000
    return image


def png_that_lies(width: int, height: int) -> bytes:
    whole = png(width, 1)
    head = struct.pack(">II", width, 1)
    return whole.replace(head, struct.pack(">II", width, height))


BOMBS: dict[str, tuple[str, Callable[[], Any]]] = {
    "cloud of 4 billion points": ("/points", lambda: cloud(LATER, width=4_000_000_000, row_step=4_000_000_000)),
    "cloud of points of 4 GB": ("/points", lambda: cloud(LATER, point_step=0xFFFF_FFFF, width=1)),
    "cloud of 4 billion rows": ("/points", lambda: cloud(LATER, height=0xFFFF_FFFF, row_step=0)),
    "image of 100,000 x 100,000": ("/image", huge_raw_image),
    "PNG of 60,000 x 60,000": ("/image", lambda: compressed(LATER, png_that_lies(60_000, 60_000))),
}


@pytest.mark.parametrize("case", BOMBS)
def test_a_size_is_checked_before_memory_is_taken(case: str, tmp_path: Path) -> None:
    topic, make = BOMBS[case]
    made = recording()
    made.add(topic, make(), LATER)
    status, said = convert_with_limits(tmp_path, made.write(tmp_path / "bag"))
    assert status == 1
    assert f"lost: {topic}: 1 " in said
    assert "5 frames, 10 items" in said


def test_a_picture_that_unpacks_to_gigabytes_is_refused_where_it_has_to_be_decoded(tmp_path: Path) -> None:
    """50 kB that stand for 16,000 x 16,000 pixels; a lens that cannot be expressed makes decoding necessary."""
    made = recording(frames=3).without("/image").without("/info")
    bomb = png(16_000, 16_000)
    assert len(bomb) < 1_000_000
    for number in range(3):
        stamp = START_NS + 100 * number * MS
        made.add("/image", compressed(stamp, bomb), stamp)
        lens = info(stamp, width=16_000, height=16_000, distortion_model="rational_polynomial", d=np.full(8, 0.01))
        made.add("/info", lens, stamp)
    status, said = convert_with_limits(tmp_path, made.write(tmp_path / "bag"))
    assert status == 1
    assert "/image: 3 too_large" in said


def test_lengths_that_lie_cost_only_their_message(tmp_path: Path) -> None:
    made = recording()
    for topic in ("/points", "/image", "/info", "/tf"):
        kind, data = [(kind, data) for log_ns, name, kind, data in made.rows if name == topic and log_ns < LATER][-1]
        for place in range(16, min(len(data) - 4, 160), 4):
            made.add_raw(topic, kind, data[:place] + b"\xff\xff\xff\xff" + data[place + 4 :], LATER + place)
    status, said = convert_with_limits(tmp_path, made.write(tmp_path / "bag"))
    assert status == 1
    assert "5 frames, 10 items" in said


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_message_that_unpacks_to_gigabytes_is_left_out(storage: str, tmp_path: Path) -> None:
    """2 GB of zeros take 200 kB in zstd; the recorder compressed each message by itself."""
    made = recording()
    packer = zstd.ZstdCompressor(level=1)
    block = bytes(1 << 24)
    bomb = b"".join(packer.compress(block) for _ in range(128)) + packer.flush()
    made.add_raw("/image", "sensor_msgs/msg/CompressedImage", bomb, LATER)
    status, said = convert_with_limits(tmp_path, made.write(tmp_path / "bag", storage))
    assert status == 1
    assert "unpacks to more than the limit" in said
    assert "5 frames, 10 items" in said


LEVELS = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 12))
CONFIGS = {
    "aliases that stand for 10^11 words": (f"l0: &l0 [x]\n{LEVELS}/**: {{ros__parameters: {{a: *l11}}}}", "aliases"),
    "alias of itself": ("/**: &a {ros__parameters: {metadata: *a}}", "aliases"),
    "python object": ("/**: {ros__parameters: {a: !!python/object/apply:os.system ['touch escaped']}}", "not valid"),
    "nested without end": ("[" * 100_000, "not valid"),
    "number without end": (
        f"/**: {{ros__parameters: {{sync: {{wait_s: 0x{'f' * 100_000}}}}}}}",
        "sync.wait_s: must be a number from 0 to 60",
    ),
    "file without end": ("x: " + "y" * 1_000_000, "more than 1000000 bytes"),
    "no text": ("\x00\x01\x02", "not valid"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_hostile_configuration_is_refused(case: str, tmp_path: Path) -> None:
    text, told = CONFIGS[case]
    status, said = convert_with_limits(tmp_path, recording().write(tmp_path / "bag"), config=text)
    assert status == 2
    assert told in said
    assert not Path("escaped").exists()


def test_names_are_never_read_as_markup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = "</script><img src=x onerror=alert(1)>"
    config = CONFIG.replace("/points", f'"/{evil}"').replace("map", f'"{evil}"')
    made = with_topic(f"/{evil}")
    made.rows = [row for row in made.rows if row[1] != "/tf"]
    for number in range(-1, 52):
        stamp = START_NS + 10 * number * MS
        made.add("/tf", transforms((evil, "base_link", stamp, (0.1 * number, 0.0, 0.0), UNIT)), stamp)
    bag, spool = made.write(tmp_path / "bag"), tmp_path / "spool"
    assert main(["convert", str(bag), "--config", str(write_config(tmp_path, config)), "--output", str(spool)]) == 0
    assert main(["preview", str(spool), "-o", str(tmp_path / "pages")]) == 0
    pages = [path.read_text() for path in (tmp_path / "pages").iterdir()]
    assert len(pages) == 2
    assert any("onerror=alert(1)" in page for page in pages)
    assert not any("<img src=x" in page for page in pages)


def convert_with_limits(tmp_path: Path, bag: Path, *arguments: str, config: str = CONFIG) -> tuple[int, str]:
    """Run the program as users do, with less memory than any bomb wants."""
    command = [sys.executable, "-c", LIMITED, "convert", str(bag), "--output", str(tmp_path / "spool")]
    command += ["--config", str(write_config(tmp_path, config)), *arguments]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    assert "MemoryError" not in done.stdout + done.stderr
    assert len(done.stdout + done.stderr) < LONGEST_OUTPUT
    return done.returncode, done.stdout + done.stderr
