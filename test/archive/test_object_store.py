# SPDX-License-Identifier: Apache-2.0
"""Recordings in an object store, over real HTTP: what is read of them, and a spool that is there as well."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("obstore", reason="the extra 'cloud' is not installed")
pytest.importorskip("moto.server", reason="moto is not installed")

import requests
from archives import Archive, Run, tree
from bags import START_NS, TYPES, raw_image, recording, write_config
from counting_proxy import CountingProxy, counting
from drives import Drive
from mcap.writer import CompressionType, Writer
from store_servers import moto

from nucleus_bridge.convert import convert_bag


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with moto() as url:
        yield url


@pytest.fixture
def proxy(s3: str) -> Iterator[CountingProxy]:
    with counting(s3) as running:
        yield running


def put(s3: str, folder: Path, prefix: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            key = f"{prefix}/{path.relative_to(folder)}"
            assert requests.put(f"{s3}/bucket/{key}", data=path.read_bytes(), timeout=60).status_code == 200


def stored(s3: str, prefix: str, folder: Path) -> dict[str, str]:
    """Bring what is below a prefix into a folder and return its digests."""
    import obstore
    from obstore.store import S3Store

    options = {"endpoint": s3, "client_options": {"allow_http": True}, "virtual_hosted_style_request": False}
    store = S3Store("bucket", prefix=prefix, **options)
    for page in obstore.list(store):
        for entry in page:
            path = folder / entry["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(obstore.get(store, entry["path"]).bytes()))
    return tree(folder)


def test_an_mcap_recording_is_read_once_and_not_copied(
    drive: Drive, s3: str, proxy: CountingProxy, tmp_path: Path, convert: Callable[..., Run]
) -> None:
    put(s3, drive.bag, "once/drive")
    url = f"s3://bucket/once/**?endpoint={proxy.url}"
    run = convert(url, "--config", drive.config_path, "--output", tmp_path / "spool", "--scratch-limit", "0.000001")
    assert (run.status, run.counts) == (0, {"done": 1}), run.err
    name = next(drive.bag.glob("*.mcap"))
    assert proxy.bytes_read(f"once/drive/{name.name}") < 1.2 * name.stat().st_size
    convert_bag(drive.bag, drive.config, tmp_path / "local")
    assert tree(tmp_path / "spool" / "scenes") == tree(tmp_path / "local" / "scenes")


def test_only_the_chunks_of_wanted_topics_are_read(
    s3: str, proxy: CountingProxy, tmp_path: Path, convert: Callable[..., Run]
) -> None:
    """The large rest is on another topic, most of it in chunks of its own."""
    config, path = write_config(tmp_path), tmp_path / "large" / "drive.mcap"
    path.parent.mkdir()
    noise = np.random.default_rng(0)
    rows = recording(frames=20).rows
    for number in range(20):
        picture = raw_image(START_NS + number * 10**8, width=600, height=400)
        picture.data[:] = noise.integers(0, 256, len(picture.data), np.uint8)
        content = bytes(TYPES.serialize_cdr(picture, picture.__msgtype__))
        rows.append((START_NS + 30 * 10**9 + number * 10**8, "/debug", picture.__msgtype__, content))
    with path.open("wb") as file:
        writer = Writer(file, chunk_size=20_000, compression=CompressionType.NONE)
        writer.start("ros2")
        channels: dict[str, int] = {}
        for log_ns, topic, kind, data in sorted(rows):
            if topic not in channels:
                schema = writer.register_schema(kind, "ros2msg", TYPES.generate_msgdef(kind, ros_version=2)[0].encode())
                channels[topic] = writer.register_channel(topic, "cdr", schema)
            writer.add_message(channels[topic], log_ns, data, log_ns)
        writer.finish()
    put(s3, path.parent, "large")
    run = convert(
        f"s3://bucket/large/drive.mcap?endpoint={proxy.url}", "--config", config, "--output", tmp_path / "out"
    )
    assert (run.status, run.counts) == (0, {"done": 1}), run.err
    size = path.stat().st_size
    assert size > 14_000_000
    assert proxy.bytes_read("large/drive.mcap") < size / 10
    convert_bag(path, config, tmp_path / "local")
    assert tree(tmp_path / "out" / "scenes") == tree(tmp_path / "local" / "scenes")


def test_what_cannot_be_read_in_place_is_fetched_within_a_limit_and_removed(
    s3: str, tmp_path: Path, convert: Callable[..., Run]
) -> None:
    config, scratch = write_config(tmp_path), tmp_path / "scratch"
    scratch.mkdir()
    database = recording(frames=5).write(tmp_path / "drives" / "database", "sqlite3")
    cut = recording(frames=5, start_ns=START_NS + 10**12).write(tmp_path / "drives" / "cut")
    file = cut / "cut.mcap"
    file.write_bytes(file.read_bytes()[:-200])
    with closing(sqlite3.connect(database / "database.db3")) as open_database:  # as a killed recorder leaves it
        open_database.execute("PRAGMA journal_mode = WAL")
        open_database.execute("PRAGMA wal_autocheckpoint = 0")
        open_database.execute("UPDATE messages SET timestamp = timestamp")
        open_database.commit()
        put(s3, tmp_path / "drives", "fetched")
    url = f"s3://bucket/fetched/*?endpoint={s3}"
    arguments = (url, "--config", config, "--scratch", scratch)
    small = convert(*arguments, "--output", tmp_path / "none", "--scratch-limit", "0.00001")
    assert (small.status, small.counts) == (2, {"failed": 2})
    assert "more than the limit of 10000" in small.document["errors"][0]["error"]
    run = convert(*arguments, "--output", tmp_path / "spool", "--scratch-limit", "0.1")
    assert run.counts == {"done": 2}, run.err
    assert [bag["bag"] for bag in run.document["bags"] if bag["damage"]] == ["s3://bucket/fetched/cut"]
    assert "s3://bucket/fetched/cut/cut.mcap" in run.document["bags"][0]["damage"][0]
    assert list(scratch.iterdir()) == []
    for bag in (database, cut):
        convert_bag(bag, config, tmp_path / "local")
    assert tree(tmp_path / "spool" / "scenes") == tree(tmp_path / "local" / "scenes")


@pytest.mark.parametrize("options", [[], ["--chunk", "0.002", "--set", "scene.max_frames=2"]], ids=["whole", "chunks"])
def test_a_spool_in_a_store_has_the_scenes_of_one_on_disk(
    archive: Archive, s3: str, tmp_path: Path, convert: Callable[..., Run], options: list[str]
) -> None:
    bags, prefix = archive.bags[:4], f"made{len(options)}"
    arguments = ("--config", archive.config, *options)
    target = f"s3://bucket/{prefix}?endpoint={s3}"
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    run = convert(*bags, *arguments, "--output", target, "--scratch", scratch, "--workers", "2")
    assert (run.status, run.counts) == (0, {"done": 4}), run.err
    convert(*bags, *arguments, "--output", tmp_path / "local")
    there = stored(s3, prefix, tmp_path / "there")
    local = tree(tmp_path / "local")
    wanted = {path: digest for path, digest in local.items() if path.startswith(("scenes/", "conversions/"))}
    assert there == wanted
    again = convert(*bags, *arguments, "--output", target)
    assert (again.status, again.counts) == (0, {"skipped": 4}), again.err
    other = convert(*bags, *arguments, "--output", target, "--set", "image.quality=1", "--set", "point_fields=[]")
    assert (other.status, other.counts) == (1, {"failed": 4})
    assert "never overwritten" in other.document["errors"][0]["error"]
    assert stored(s3, prefix, tmp_path / "after") == there
    assert list(scratch.iterdir()) == []


def test_a_recording_whose_store_is_gone_fails_alone(
    archive: Archive, s3: str, tmp_path: Path, convert: Callable[..., Run]
) -> None:
    put(s3, archive.bags[0], "alone/drive")
    arguments = ("--config", archive.config, "--output", tmp_path / "spool")
    run = convert(f"s3://bucket/alone/drive?endpoint={s3}", f"s3://bucket/nothing/**?endpoint={s3}", *arguments)
    assert (run.status, run.counts) == (1, {"done": 1, "failed": 1})
    assert "no recording was found" in run.document["errors"][0]["error"]
