# SPDX-License-Identifier: Apache-2.0
"""Fuzzed: .sfs files, whoever wrote them, and sealed scenes whose one file was damaged."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from bags import recording, write_config
from harness import Target, is_refused, scratch_folder

from nucleus_bridge.config import load_config
from nucleus_bridge.convert import convert_bag
from nucleus_bridge.errors import BridgeError, SceneError
from nucleus_bridge.formats import registry
from nucleus_bridge.formats.reading import open_scene
from nucleus_bridge.formats.rules.findings import Findings
from nucleus_bridge.formats.sfs.container import read_tree
from nucleus_bridge.formats.sfs.rules import SFS_RULES, check_tree
from nucleus_bridge.formats.sfs.scene_tree import SCENE_FILE
from nucleus_bridge.preview.html_page import preview_page
from nucleus_bridge.spool import Manifest, Spool
from nucleus_bridge.validate.scenes import validate_path

SCRATCH = scratch_folder("fuzzed-sfs-")
VECTORS = Path(__file__).parent.parent / "vectors/sfs"
TOKENS = (
    b"$items",
    b'"keys":',
    b'"offset":4',
    b'"length":',
    b'"shape":',
    b'"dtype":"float32"',
    b"-1",
    b"1e999",
    b"NaN",
)
TOKENS += (b"\0\0\0\0", b"null", b"[]", b"{}", b'""', b"9" * 30, b"[" * 2000, b'"timestamps":', b'"nucleus_bridge":')


@cache
def sealed() -> Path:
    bag = recording(frames=2).write(SCRATCH / "bag")
    convert_bag(bag, load_config(write_config(SCRATCH), ["scene.format=sfs"]), SCRATCH / "spool")
    return Spool(SCRATCH / "spool").scenes()[0]


def use_foreign(data: bytes) -> None:
    """Check a file as one that somebody else wrote."""
    tree = read_tree(data, "fuzzed.sfs")
    findings = Findings(SFS_RULES)
    check_tree(tree, findings)
    assert not any("Traceback" in str(failure) for result in findings.results() for failure in result.failures)


def use_sealed(data: bytes) -> None:
    """Read a scene in every way there is; each may refuse it."""
    file = sealed() / SCENE_FILE
    file.unlink()  # a mapping of the file that was there stays as it is
    file.write_bytes(data)
    (report,) = validate_path(sealed())
    assert not any("Traceback" in str(failure) for rule in report.rules for failure in rule.failures)
    manifest = Manifest.read(sealed())
    is_refused(lambda: preview_page(open_scene(sealed()), lambda _: None), (BridgeError,))
    is_refused(lambda: registry.of("sfs").track(sealed(), manifest), (BridgeError,))


TARGETS = [
    Target(
        "sfs",
        use_foreign,
        lambda: [file.read_bytes() for file in sorted(VECTORS.glob("*.sfs"))],
        (SceneError,),
        tokens=TOKENS,
        cases=2_000,
    ),
    Target("sfs_scene", use_sealed, lambda: [(sealed() / SCENE_FILE).read_bytes()], (), tokens=TOKENS, cases=300),
]
