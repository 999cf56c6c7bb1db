# SPDX-License-Identifier: Apache-2.0
"""CompressedPointCloud2: what comes out of each packing is what went in, bytes or half a step of the quantisation."""

from __future__ import annotations

import base64
import gzip
import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lz4.block
import numpy as np
import pytest
import zstandard
from rosbags.typesys import get_types_from_msg
from serialised import STAMP_NS, STORE, cloud_of, header

from nucleus_bridge.config.settings import LidarConfig
from nucleus_bridge.decode.compressed_cloud import COMPRESSED_CLOUD, INTERFACES, compressed_as_cloud
from nucleus_bridge.decode.pointcloud2 import decode_sweep
from nucleus_bridge.errors import CloudError, DecodeError, InputError
from nucleus_bridge.model import Message, Sweep
from nucleus_bridge.recordings import open_recording
from nucleus_bridge.testing.demo.draco import draco
from nucleus_bridge.testing.demo.forms import packed_cloud

LIDAR = LidarConfig(name="top", topic="/points")
INPUTS = Path(os.environ.get("NUCLEUS_BRIDGE_TEST_DATA", "/nowhere"), "inputs", "made")
NEEDS_DATA = pytest.mark.skipif(not INPUTS.exists(), reason="NUCLEUS_BRIDGE_TEST_DATA is not set")
DRACO_VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "draco.json").read_text())
ANOTHER_ENCODER = Path(__file__).with_name("cloudini_program.py")
DEFINITION = (
    "std_msgs/Header header\nuint32 height\nuint32 width\nsensor_msgs/PointField[] fields\nbool is_bigendian\n"
    "uint32 point_step\nuint32 row_step\nuint8[] compressed_data\nbool is_dense\nstring format\n"
)
STORE.register(get_types_from_msg(DEFINITION, COMPRESSED_CLOUD))
POINT = [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4"), ("ring", "<u2"), ("time", "<f4")]


def points_of(dtype: Sequence[tuple[str, str]], count: int = 500) -> np.ndarray:
    chance = np.random.default_rng(3)
    points = np.zeros(count, np.dtype(list(dtype)))
    for name, kind in dtype:
        if np.dtype(kind).kind == "f":
            points[name] = np.round(chance.normal(0, 20, count), 3) / (1000 if name == "time" else 1)
        else:
            limit = np.iinfo(kind)
            points[name] = chance.integers(limit.min // 3, limit.max // 3, count)
    return points


def packed(points: np.ndarray, data: bytes, fmt: str, **changes: Any) -> Message:
    raw = STORE.deserialize_cdr(cloud_of(points).data, "sensor_msgs/msg/PointCloud2")
    values = {
        "header": header(STAMP_NS, "lidar_top"),
        "height": raw.height,
        "width": raw.width,
        "fields": raw.fields,
        "is_bigendian": raw.is_bigendian,
        "point_step": raw.point_step,
        "row_step": raw.row_step,
        "compressed_data": np.frombuffer(data, np.uint8),
        "is_dense": raw.is_dense,
        "format": fmt,
        **changes,
    }
    content = STORE.types[COMPRESSED_CLOUD](**values)
    return Message("/points", COMPRESSED_CLOUD, STAMP_NS, bytes(STORE.serialize_cdr(content, COMPRESSED_CLOUD)))


def unpacked(message: Message) -> np.ndarray:
    """Return the points that come out, without judging their times."""
    cloud = STORE.deserialize_cdr(compressed_as_cloud(message).data, "sensor_msgs/msg/PointCloud2")
    from nucleus_bridge.decode.pointcloud2 import read_points

    return read_points(cloud)


@pytest.mark.parametrize(
    ("fmt", "pack"),
    [("zlib", gzip.compress), ("zlib", zlib.compress), ("zstd", zstandard.compress), ("", gzip.compress)],
)
def test_packed_bytes_come_back(fmt: str, pack: Any) -> None:
    points = points_of(POINT)
    cloud = STORE.deserialize_cdr(
        compressed_as_cloud(packed(points, pack(points.tobytes()), fmt)).data, "sensor_msgs/msg/PointCloud2"
    )
    assert cloud.data.tobytes() == points.tobytes()
    assert [(field.name, field.offset) for field in cloud.fields] == [
        ("x", 0),
        ("y", 4),
        ("z", 8),
        ("intensity", 12),
        ("ring", 16),
        ("time", 18),
    ]


@NEEDS_DATA
@pytest.mark.parametrize(
    ("packing", "tolerance"),
    [
        ("zlib", {}),
        ("zstd", {}),
        ("draco", {}),
        ("cloudini", {"x": 0.00051, "y": 0.00051, "z": 0.00051, "intensity": 0.0051, "time": 5.1e-7}),
    ],
)
def test_recorded_clouds_are_the_raw_ones_beside_them(packing: str, tolerance: dict[str, float]) -> None:
    for raw, again in _pairs(packing):
        assert again.points.dtype == raw.points.dtype
        assert (again.stamp_ns, again.frame_id) == (raw.stamp_ns, raw.frame_id)
        for name in raw.points.dtype.names or ():
            error = np.abs(again.points[name].astype(np.float64) - raw.points[name]).max()
            assert error <= tolerance.get(name, 0.0), name


@NEEDS_DATA
def test_quantised_draco_clouds_lose_their_order_and_no_more_than_a_step() -> None:
    for raw, again in _pairs("draco_quantised"):
        assert len(again.points) == len(raw.points)
        for name in "xyz":
            assert np.abs(np.sort(again.points[name]) - np.sort(raw.points[name])).max() < 0.005


def _pairs(packing: str) -> list[tuple[Sweep, Sweep]]:
    topic = "/lidar/top/points"
    with open_recording(INPUTS / "clouds_compressed") as recording:
        raw = [decode_sweep(message, LIDAR) for message in recording.messages([topic])]
        decoder = INTERFACES[0].decoder(LIDAR)
        again = [sweep for message in recording.messages([f"{topic}/{packing}"]) for sweep in decoder.decode(message)]
    assert len(raw) == 5
    return list(zip(raw, again, strict=True))


# ---------------------------------------------------------------- Draco: its own encoder


def draco_vector(name: str) -> tuple[np.ndarray, bytes]:
    """Return points and what Draco's own library makes of them."""
    case = DRACO_VECTORS[name]
    kinds = np.dtype([(field, kind) for field, kind in case["point"]])
    return np.frombuffer(base64.b64decode(case["points"]), kinds), base64.b64decode(case["draco"])


@pytest.mark.parametrize("name", ["all_types", "no_signed"])
def test_fields_of_every_type_come_back_exactly_from_draco(name: str) -> None:
    """Its Python library rounds 64-bit floats to steps of 128 s, and 32-bit integers to steps of 32."""
    points, data = draco_vector(name)
    assert points["timestamp"][0] == 1_700_000_000
    again = unpacked(packed(points, data, "draco"))
    assert again.dtype == points.dtype
    assert again.tobytes() == points.tobytes()


def test_the_demo_packs_as_draco_itself_does() -> None:
    points, data = draco_vector("no_signed")
    assert draco(points) == data


@NEEDS_DATA
def test_the_demo_packs_clouds_as_draco_itself_does() -> None:
    topic = "/lidar/top/points"
    with open_recording(INPUTS / "clouds_compressed") as recording:
        raw, wanted = (list(recording.messages([name])) for name in (topic, f"{topic}/draco"))
    for cloud, true in zip(raw, wanted, strict=True):
        assert packed_cloud(cloud.data, "draco") == true.data


def test_draco_data_is_refused_at_every_length() -> None:
    points, data = draco_vector("all_types")
    for length in range(5, len(data)):
        with pytest.raises(CloudError, match="Draco"):
            compressed_as_cloud(packed(points, data[:length], "draco"))


@NEEDS_DATA
def test_doubles_that_draco_cannot_give_back_are_left_out() -> None:
    with open_recording(INPUTS / "clouds_compressed") as recording:
        message = next(iter(recording.messages(["/lidar/top/points/draco"])))
    content = STORE.deserialize_cdr(message.data, COMPRESSED_CLOUD)
    content.fields[5].datatype, content.point_step = 8, 26
    content.row_step = 26 * content.width
    changed = Message(message.topic, COMPRESSED_CLOUD, 0, bytes(STORE.serialize_cdr(content, COMPRESSED_CLOUD)))
    assert unpacked(changed).dtype.names == ("x", "y", "z", "intensity", "ring")


@pytest.mark.parametrize(
    "data", [b"DRACO", b"DRACO\x02\x02\x00\x01\x00\x00" + bytes(900), b"DRACO" + bytes(range(250))]
)
def test_draco_data_that_is_damaged_is_refused(data: bytes) -> None:
    with pytest.raises(CloudError, match="Draco") as caught:
        compressed_as_cloud(packed(points_of(POINT), data, "draco"))
    assert caught.value.cause == "damaged"


def test_a_missing_library_is_one_line_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "DracoPy", None)
    with pytest.raises(InputError, match=r"pip install 'nucleus-bridge\[draco\]'"):
        compressed_as_cloud(packed(points_of(POINT), b"DRACO" + bytes(20), "draco"))


# ---------------------------------------------------------------- Cloudini: an encoder by the format's description


def varint(difference: int) -> bytes:
    value = ((difference << 1) ^ (difference >> 63)) + 1
    return uvarint(value & ((1 << 64) - 1))


def uvarint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


class BitPacker:
    """A float64 as the bits that differ from the one before."""

    def __init__(self) -> None:
        self.before: int | None = None
        self.leading = self.trailing = 0

    def pack(self, value: float) -> bytes:
        (bits,) = struct.unpack("<Q", struct.pack("<d", value))
        before, self.before = self.before, bits
        if before is None:
            return struct.pack("<Q", bits)
        changed = bits ^ before
        if not changed:
            return b"\0"
        leading, trailing = min(64 - changed.bit_length(), 31), (changed & -changed).bit_length() - 1
        if leading >= self.leading and trailing >= self.trailing and (self.leading or self.trailing):
            length = 64 - self.leading - self.trailing
            word, used = 0b01 | (changed >> self.trailing) << 2, 2 + length
        else:
            self.leading, self.trailing, length = leading, trailing, 64 - leading - trailing
            word = 0b11 | leading << 2 | (length - 1) << 7 | (changed >> trailing) << 13
            used = 13 + length
        return word.to_bytes((used + 7) // 8, "little")


def cloudini(  # noqa: C901, PLR0912 - each branch is a line of the format's description
    points: np.ndarray,
    resolution: dict[str, float],
    version: int = 4,
    compression: str = "ZSTD",
    mode: int = 0,
    encoding: str = "LOSSY",
) -> bytes:
    """Pack points point by point; integers in sections of the given mode in version 5."""
    names = points.dtype.names or ()
    kinds = {name: points.dtype[name] for name in names}
    word = {
        "f4": "FLOAT32",
        "f8": "FLOAT64",
        "u1": "UINT8",
        "i1": "INT8",
        "u2": "UINT16",
        "i4": "INT32",
        "u4": "UINT32",
    }
    lines = [f"version: {version}", f"width: {len(points)}", "height: 1", f"point_step: {points.dtype.itemsize}"]
    lines += [f"encoding_opt: {encoding}", f"compression_opt: {compression}", "fields:"]
    for name in names:
        offset = points.dtype.fields[name][1]  # type: ignore[index]
        lines += [f"  - name: {name}", f"    offset: {offset}", f"    type: {word[kinds[name].str[1:]]}"]
        lines.append(f"    resolution: {resolution.get(name, 'null')}")
    out = f"CLOUDINI_V{version:02d}\n".encode() + "\n".join(lines).encode() + b"\n\0"
    for start in range(0, len(points), 32_768):
        chunk = points[start : start + 32_768]
        apart = [n for n in names if version >= 5 and kinds[n].kind in "ui" and kinds[n].itemsize > 1]
        before = dict.fromkeys(names, 0)
        packers = {name: BitPacker() for name in names}
        plain = bytearray()
        for point in chunk:
            for name in names:
                kind, value = kinds[name], point[name]
                if name in apart:
                    continue
                if kind.itemsize == 1 or (encoding == "NONE"):
                    plain += value.tobytes()
                elif encoding == "LOSSLESS" and kind == np.float32:
                    bits = int(value.view(np.uint32))
                    plain += (bits ^ before[name]).to_bytes(4, "little")
                    before[name] = bits
                elif kind.kind in "ui":
                    plain += varint(int(value) - before[name])
                    before[name] = int(value)
                elif name in resolution and np.isnan(value):
                    plain += b"\0"
                    before[name] = 0
                elif name in resolution:
                    step = round(float(value) / resolution[name])
                    plain += varint(step - before[name])
                    before[name] = step
                elif kind == np.float64:
                    plain += packers[name].pack(float(value))
                else:
                    plain += value.tobytes()
        for name in apart:
            plain += section(chunk[name], mode)
        pack = {
            "ZSTD": zstandard.compress,
            "LZ4": lambda data: lz4.block.compress(data, store_size=False),
            "NONE": bytes,
        }
        content = pack[compression](bytes(plain))
        out += len(content).to_bytes(4, "little") + content
    return out


def section(column: np.ndarray, mode: int) -> bytes:
    values = [int(value) for value in column]
    differences = [value - before for before, value in zip([0, *values], values, strict=False)]
    if mode == 0:
        return b"\0" + b"".join(map(varint, differences))
    if mode == 1:
        palette = list(dict.fromkeys(values))
        bits = max(len(palette) - 1, 0).bit_length()
        word = sum(palette.index(value) << bits * place for place, value in enumerate(values))
        raw = np.array(palette, column.dtype).tobytes()
        return b"\1" + struct.pack("<H", len(palette)) + raw + word.to_bytes((bits * len(values) + 7) // 8, "little")
    runs: list[list[int]] = []
    for value in values if mode == 2 else differences:
        if runs and runs[-1][0] == value:
            runs[-1][1] += 1
        else:
            runs.append([value, 1])
    out = bytes([mode]) + struct.pack("<I", len(runs))
    for value, length in runs:
        out += (np.array(value, column.dtype).tobytes() if mode == 2 else varint(value)) + uvarint(length)
    return out


RESOLUTION = {"x": 0.001, "y": 0.001, "z": 0.001, "intensity": 0.01, "time": 1e-6}


def assert_same(points: np.ndarray, again: np.ndarray, resolution: dict[str, float]) -> None:
    assert len(again) == len(points)
    for name in points.dtype.names or ():
        error = np.abs(again[name].astype(np.float64) - points[name].astype(np.float64))
        assert np.array_equal(np.isnan(again[name]), np.isnan(points[name]))
        assert np.nanmax(error) <= 0.501 * resolution.get(name, 0.0) + 4e-6 * (name in resolution), name


@pytest.mark.parametrize("compression", ["ZSTD", "LZ4", "NONE"])
@pytest.mark.parametrize(("version", "mode"), [(4, 0), (5, 0), (5, 1), (5, 2), (5, 3)])
def test_cloudini_clouds_come_back_within_half_a_step(compression: str, version: int, mode: int) -> None:
    points = points_of(POINT)
    points["ring"] = np.arange(len(points)) // 7 % 16
    points["x"][[3, 40]] = np.nan
    data = cloudini(points, RESOLUTION, version, compression, mode)
    assert_same(points, unpacked(packed(points, data, "")), RESOLUTION)


TYPE_NAMES = {"<f4": "FLOAT32", "<f8": "FLOAT64", "|u1": "UINT8", "<u2": "UINT16", "<u4": "UINT32"}


def by_another_encoder(points: np.ndarray, scratch: Path, **layout: Any) -> bytes:
    """Pack points by an implementation that is not ours; skipped where it is not there."""
    python = os.environ.get("NUCLEUS_BRIDGE_CLOUDINI_PYTHON")
    if not python:
        pytest.skip("set NUCLEUS_BRIDGE_CLOUDINI_PYTHON to a Python that has pureini")
    steps = layout.pop("resolution")
    fields = [
        {"name": name, "offset": offset, "type": TYPE_NAMES[dtype.str], "resolution": steps.get(name)}
        for name, (dtype, offset, *_) in (points.dtype.fields or {}).items()
    ]
    (scratch / "layout.json").write_text(
        json.dumps({"fields": fields, "width": len(points), "point_step": points.itemsize, **layout})
    )
    (scratch / "points").write_bytes(points.tobytes())
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [python, str(ANOTHER_ENCODER), *(str(scratch / name) for name in ("layout.json", "points", "out"))]
    subprocess.run(command, env=clean, check=True)
    return (scratch / "out").read_bytes()


@pytest.mark.parametrize("compression", ["ZSTD", "LZ4", "NONE"])
@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("encoding", ["LOSSY", "LOSSLESS", "NONE"])
def test_cloudini_clouds_of_another_encoder_come_back(
    tmp_path: Path, encoding: str, version: int, compression: str
) -> None:
    kinds = [*POINT, ("tag", "u1"), ("stamp", "<f8"), ("t", "<u4")]
    points = points_of(kinds, 40_000)[:33_000]  # more than one chunk
    points["ring"] = np.arange(len(points)) // 7 % 16
    points["stamp"] = 1.7e9 + np.arange(len(points)) * 1e-6
    steps = RESOLUTION if encoding == "LOSSY" else {}
    data = by_another_encoder(
        points, tmp_path, resolution=steps, encoding=encoding, version=version, compression=compression
    )
    assert_same(points, unpacked(packed(points, data, "cloudini")), steps)


@pytest.mark.parametrize("version", [4, 5])
def test_cloudini_bytes_and_doubles_between_the_others_come_back(version: int) -> None:
    kinds = [
        ("x", "<f4"),
        ("y", "<f4"),
        ("z", "<f4"),
        ("tag", "u1"),
        ("timestamp", "<f8"),
        ("line", "u1"),
        ("t", "<u4"),
    ]
    points = points_of(kinds)
    points["timestamp"] = 1.7e9 + np.arange(len(points)) * 1e-6
    points["timestamp"][7:12] = points["timestamp"][7]
    steps = {"x": 0.001, "y": 0.001, "z": 0.001}
    assert_same(points, unpacked(packed(points, cloudini(points, steps, version), "cloudini")), steps)


@pytest.mark.parametrize("encoding", ["LOSSLESS", "NONE"])
def test_cloudini_clouds_without_loss_come_back_exactly(encoding: str) -> None:
    points = points_of([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "u1"), ("ring", "<u2")])
    data = cloudini(points, {}, 4, encoding=encoding)
    assert unpacked(packed(points, data, "cloudini")).tobytes() == points.tobytes()


def test_cloudini_clouds_of_several_chunks_come_back() -> None:
    points = points_of(POINT, 40_000)
    assert_same(points, unpacked(packed(points, cloudini(points, RESOLUTION, 5), "")), RESOLUTION)


def test_another_cloudini_version_is_named() -> None:
    points = points_of(POINT)
    data = cloudini(points, RESOLUTION).replace(b"CLOUDINI_V04", b"CLOUDINI_V06", 1)
    with pytest.raises(CloudError, match="V06") as caught:
        compressed_as_cloud(packed(points, data, "cloudini"))
    assert caught.value.cause == "unknown_encoding"


@pytest.mark.parametrize("fmt", ["zlib", "zstd", "cloudini"])
def test_cut_data_is_refused_at_every_length(fmt: str) -> None:
    points = points_of(POINT, 40)
    plain = points.tobytes()
    data = {
        "zlib": gzip.compress(plain),
        "zstd": zstandard.compress(plain),
        "cloudini": cloudini(points, RESOLUTION, 5),
    }
    for length in range(len(data[fmt])):
        with pytest.raises(DecodeError):
            decode_sweep(compressed_as_cloud(packed(points, data[fmt][:length], fmt)), LIDAR)


def test_an_unknown_format_is_named() -> None:
    with pytest.raises(CloudError, match="'lzma'") as caught:
        compressed_as_cloud(packed(points_of(POINT), b"some bytes", "lzma"))
    assert caught.value.cause == "unknown_encoding"


def test_what_unpacks_to_far_more_than_a_sweep_is_refused() -> None:
    bomb = zlib.compress(bytes(300_000_000), 9)
    with pytest.raises(CloudError, match="more than"):
        compressed_as_cloud(packed(points_of(POINT), bomb, "zlib"))
