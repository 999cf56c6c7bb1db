# SPDX-License-Identifier: Apache-2.0
"""The container of .sfs files beside Scale's own, and what becomes of damaged and hostile ones."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scale_sfs import VECTORS, assert_same, flat, leaves

from nucleus_bridge.errors import SceneError
from nucleus_bridge.formats.sfs.container import Blob, open_tree, read_header, read_tree, write_tree

NAMES = ("two_frames", "minimal", "labels_ego")
GOOD = (VECTORS / "two_frames.sfs").read_bytes()


def as_plain(value: Any) -> Any:
    """Return a vector's JSON with its arrays as numpy has them."""
    if isinstance(value, list):
        return [as_plain(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    if "$dtype" not in value:
        return {key: as_plain(entry) for key, entry in value.items()}
    dtype = np.dtype(value["$dtype"])
    array = np.frombuffer(bytes.fromhex(value["$hex"]), dtype) if "$hex" in value else np.array(value["$values"], dtype)
    return array.reshape(value["$shape"])


@pytest.mark.parametrize("name", NAMES)
def test_reads_what_scale_wrote(name: str) -> None:
    expected = as_plain(json.loads((VECTORS / f"{name}.json").read_text()))
    assert_same(flat(open_tree(VECTORS / f"{name}.sfs")), flat(expected))


@pytest.mark.parametrize("name", NAMES)
def test_scale_reads_what_is_written_again(name: str, tmp_path: Path) -> None:
    again = tmp_path / "again.sfs"
    again.write_bytes(b"".join(write_tree(open_tree(VECTORS / f"{name}.sfs"))))
    assert_same(leaves("read", again, tmp_path), leaves("read", VECTORS / f"{name}.sfs", tmp_path))


def test_scale_reads_arrays_of_every_type_and_size(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    tree: dict[str, Any] = {"text": "ä/\u0000", "number": 0.1 + 0.2, "whole": 2**60, "nothing": None, "list": []}
    for dtype in ("uint8", "int16", "uint32", "int64", "float32", "float64"):
        for size in (0, 1, 3, 4, 5):
            bits = random.integers(0, 100, size)
            tree["list"].append({dtype: bits.astype(np.dtype(dtype).newbyteorder(">" if size == 3 else "<"))})
    tree["rows"] = np.arange(12, dtype=np.float32).reshape(4, 3).T
    file = tmp_path / "all.sfs"
    file.write_bytes(b"".join(write_tree(tree)))
    assert_same(leaves("read", file, tmp_path), flat(open_tree(file)))
    assert_same(
        {path: np.asarray(leaf, leaf.dtype.newbyteorder("=")) if hasattr(leaf, "dtype") else leaf
         for path, leaf in flat(tree).items()},
        flat(open_tree(file)),
    )  # fmt: skip


def test_arrays_are_written_without_being_in_memory() -> None:
    piece = bytes(1 << 20)
    tree = {"big": [Blob("uint8", (64 << 20,), lambda: [piece] * 64) for _ in range(4)]}
    tracemalloc.start()
    written = sum(len(buffer) for buffer in write_tree(tree))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert written > 256 << 20
    assert peak < 4 << 20


def test_a_blob_of_another_size_than_it_said_is_refused() -> None:
    with pytest.raises(ValueError, match="has 3 bytes, not 4"):
        list(write_tree({"a": Blob("uint8", (4,), lambda: [b"abc"])}))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_not_written(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        list(write_tree({"a": value}))


def test_every_cut_is_noticed() -> None:
    last = GOOD.rstrip(b"\0")
    for size in range(0, len(last), 37):
        with pytest.raises(SceneError, match=r"cut|not a \.sfs file|header|length"):
            read_tree(GOOD[:size], "cut.sfs")


def item(**changes: Any) -> bytes:
    entry = {"keys": ["a"], "length": 4, "offset": 4, "dtype": "uint8", "shape": [4], **changes}
    entry = {key: value for key, value in entry.items() if value is not None}
    return json.dumps({"a": "", "b": [""], "$items": [entry]}).encode() + bytes(4) + b"\1\2\3\4"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "no zero byte"),
        (b"{}\0", "no list"),
        (b"[]\0", "no list"),
        (b'{"$items":{}}\0', "no list"),
        (b'{"a":NaN,"$items":[]}\0', "NaN"),
        (b"\xef\xbb\xbf{}\0", "not JSON"),
        (b"[" * 100_000 + b"\0", "not JSON"),
        (item(offset=5), "cut"),
        (item(length=2**62), "cut"),
        (item(offset=-4), "offset -4"),
        (item(length=True), "length True"),
        (item(dtype="object"), "object"),
        (item(dtype="V8"), "V8"),
        (item(shape=[2, 3]), "is not"),
        (item(shape=[-1]), "shape"),
        (item(shape=[0, 10**30], length=0), "cannot be read"),
        (item(shape=[1] * 9), "shape"),
        (item(keys=[]), "path"),
        (item(keys=["b", "0"]), "not in the header"),
        (item(keys=["b", 1]), "not in the header"),
        (item(keys=["a", "x"]), "not in the header"),
        (item(keys=["c", "x"]), "not in the header"),
        (item(keys=["$items", 0]), "not in the header"),
        (item(keys=[1]), "not in the header"),
        (item(keys=[["b"]]), "not in the header"),
    ],
)
def test_hostile_containers_are_refused_with_the_place(content: bytes, text: str) -> None:
    with pytest.raises(SceneError, match=text):
        read_tree(content, "bad.sfs")


@pytest.mark.parametrize(
    "changes", [{"shape": None}, {"dtype": None, "shape": None}, {"offset": 1, "length": 2, "shape": [2]}]
)
def test_what_scale_reads_too_is_read(changes: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "odd.sfs"
    file.write_bytes(item(**changes))
    assert_same(leaves("read", file, tmp_path), flat(open_tree(file)))


def test_only_the_header_is_read_where_the_rest_is_far_away(tmp_path: Path) -> None:
    file = tmp_path / "big.sfs"
    file.write_bytes(b"".join(write_tree({"metadata": {"x": 1}, "a": np.zeros(4_000_000, np.uint8)})))
    with file.open("rb", buffering=0) as opened:
        assert read_header(opened, "big.sfs") == {"metadata": {"x": 1}, "a": ""}
        assert opened.tell() < 1_000_000


def test_arrays_cannot_be_changed() -> None:
    array = open_tree(VECTORS / "minimal.sfs")["sensors"][0]["frames"][0]["points"]["positions"]
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1.0
