# SPDX-License-Identifier: Apache-2.0
"""A scene is there whole or not at all, whoever dies when."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nucleus_bridge.errors import OutputError, SceneExistsError
from nucleus_bridge.spool import Manifest, OpenScene, Spool, durable

ID = "drive-20231114T221320.000000000Z"


def manifest(files: tuple, digest: str = "0" * 64) -> Manifest:
    return Manifest(
        reference_id=ID,
        format="nucleus",
        frames=1,
        items=1,
        points=1,
        first_stamp_ns=1,
        last_stamp_ns=1,
        world_frame="map",
        device_frame="base_link",
        world_offset={"x": 0.0, "y": 0.0, "z": 0.0},
        sensors={},
        sync={},
        missing={},
        losses={},
        end_reason="end_of_data",
        config_digest=digest,
        software="test",
        files=files,
    )


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    made = Spool(tmp_path / "spool")
    made.create()
    return made


def seal(spool: Spool, text: bytes, *, force: bool = False) -> tuple[OpenScene, Path | None]:
    scene = spool.open_scene(ID)
    record = scene.write("top/000000.json", [text[:1], text[1:]])
    payload = scene.write("scene.json", [b"{}\n"])
    return scene, spool.seal(scene, manifest((record, payload), text.hex()), replace_existing=force)


def test_a_sealed_scene_has_its_files_and_a_manifest_that_names_them(spool: Spool) -> None:
    _, folder = seal(spool, b"points")
    assert folder == spool.scenes_dir / ID
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == [
        "manifest.json",
        "scene.json",
        "top/000000.json",
    ]
    assert [record.path for record in Manifest.read(folder).files] == ["scene.json", "top/000000.json"]
    assert spool.scenes() == [folder]
    assert list(spool.open_dir.iterdir()) == []


def test_the_same_scene_again_is_no_new_scene_and_another_one_needs_force(spool: Spool) -> None:
    seal(spool, b"points")
    assert seal(spool, b"points")[1] is None
    with pytest.raises(SceneExistsError, match="--force"):
        seal(spool, b"others")
    _, folder = seal(spool, b"others", force=True)
    assert folder is not None
    assert (folder / "top/000000.json").read_bytes() == b"others"
    assert list(spool.open_dir.iterdir()) == []


WRITER = """
import os, sys
from pathlib import Path
from nucleus_bridge.spool import Spool
scene = Spool(Path(sys.argv[1])).open_scene("drive-abandoned")
scene.write("top/000000.json", [b"half"])
print(scene.folder, flush=True)
sys.stdin.read()
"""


def test_a_dead_writers_scene_is_cleared_away_and_a_living_ones_is_not(spool: Spool) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(spool.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    folder = Path(writer.stdout.readline().strip())
    Spool(spool.path).create()
    assert (folder / "top/000000.json").read_bytes() == b"half"
    writer.kill()
    writer.communicate()
    Spool(spool.path).create()
    assert not folder.exists()


def test_a_crash_while_a_scene_is_replaced_loses_neither(spool: Spool) -> None:
    _, folder = seal(spool, b"points")
    assert folder is not None
    folder.rename(spool.open_dir / f".replaced-{ID}")
    Spool(spool.path).create()
    assert (folder / "top/000000.json").read_bytes() == b"points"
    assert list(spool.open_dir.iterdir()) == []


@pytest.mark.parametrize("step", ["make_new_folder", "lock_file", "rename_folder"])
def test_nothing_is_left_of_a_scene_that_an_interruption_kept_from_being_opened(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A signal that comes during a system call is seen after it: the folder is there and nobody has its name."""
    other = spool.open_scene("other")
    done = getattr(durable, step)

    def interrupted(*arguments: object) -> None:
        done(*arguments)
        raise KeyboardInterrupt

    mine = Spool(spool.path)
    monkeypatch.setattr(durable, step, interrupted)
    with pytest.raises(KeyboardInterrupt):
        mine.open_scene(ID)
    assert len(list(spool.open_dir.iterdir())) == 2
    mine.discard_open()
    assert list(spool.open_dir.iterdir()) == [other.folder]


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file.*cannot be written to"):
        Spool(tmp_path / "file").create()


def test_a_file_is_written_once(spool: Spool) -> None:
    scene = spool.open_scene(ID)
    scene.write("top/000000.json", [b"a"])
    with pytest.raises(FileExistsError):
        scene.write("top/000000.json", [b"b"])
    scene.discard()
    assert not os.path.lexists(scene.folder)


CHANGING = {"chmod", "fsync", "hardlink_to", "link", "mkdir", "mkdtemp", "open", "rename", "rmdir", "rmtree"}
CHANGING |= {"symlink_to", "touch", "truncate", "unlink", "write", "write_bytes", "write_text"}


def test_every_change_goes_through_the_module_that_the_crash_tests_record() -> None:
    folder = Path(durable.__file__).parent
    for path in folder.glob("*.py"):
        if path.name == "durable.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGING:
                owner = ast.unparse(node.func.value)
                assert owner in {"self", "book", "scene"}, f"{path.name}:{node.lineno} calls {ast.unparse(node.func)}"


def test_what_killed_processes_left_is_cleared_away(spool: Spool) -> None:
    _, folder = seal(spool, b"points")
    assert folder is not None
    folder.rename(spool.open_dir / f".removed-{ID}.123")
    (spool.open_dir / ".unnamed-abc").mkdir()
    (spool.open_dir / ".probe-123").touch()
    Spool(spool.path).create()
    assert list(spool.open_dir.iterdir()) == []
    assert spool.scenes() == []


def test_a_spool_below_a_folder_that_may_not_be_read_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def may_read(path: Path) -> None:
        if path == tmp_path:
            raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(durable, "sync_folder", may_read)
    Spool(tmp_path / "spool").create()
    assert Spool(tmp_path / "spool").scenes_dir.is_dir()
