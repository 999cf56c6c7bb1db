# SPDX-License-Identifier: Apache-2.0
"""The arrows between the rooms point one way, and heavy libraries stay where they are used."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import nucleus_bridge

PACKAGE = Path(nucleus_bridge.__file__).parent
ROOT = PACKAGE.parent

MAY_USE = {
    "causes": set(),
    "errors": {"causes"},
    "model": set(),
    "loss_causes": set(),
    "kinds": set(),
    "strict_text": {"errors"},
    "text": set(),
    "memory": set(),
    "image_header": {"errors"},
    "config": {"errors", "kinds", "strict_text", "formats"},
    "geometry": {"errors", "model"},
    "decode": {"causes", "errors", "model", "kinds", "image_header", "config"},
    "warnings": set(),
    "poses": {"causes", "errors", "model", "kinds", "config", "geometry", "decode", "warnings"},
    "calibration": {"model", "geometry", "formats"},
    "clock_steps": set(),
    "recordings": {"errors", "model", "clock_steps", "warnings"},
    "pipeline": {
        "causes",
        "errors",
        "around",
        "model",
        "clock_steps",
        "config",
        "geometry",
        "decode",
        "poses",
        "warnings",
        "formats",
    },
    "formats": {"errors", "model", "text", "geometry", "image_header", "spool", "strict_text"},
    "spool": {"errors", "model"},
    "render": {
        "causes",
        "errors",
        "memory",
        "model",
        "warnings",
        "config",
        "geometry",
        "decode",
        "pipeline",
        "formats",
        "spool",
    },
    "replay": {"errors", "kinds", "text", "model", "config", "decode", "poses", "recordings", "pipeline"},
    "inspect": {
        "causes",
        "errors",
        "kinds",
        "model",
        "text",
        "warnings",
        "config",
        "geometry",
        "decode",
        "formats",
        "calibration",
        "poses",
        "recordings",
        "pipeline",
        "render",
        "replay",
    },
    "around": {"errors", "config", "decode", "recordings"},
    "convert": {
        "causes",
        "errors",
        "config",
        "around",
        "decode",
        "recordings",
        "pipeline",
        "replay",
        "render",
        "spool",
        "warnings",
        "inspect",
    },
    "odometry": {
        "errors",
        "model",
        "config",
        "geometry",
        "decode",
        "poses",
        "recordings",
        "pipeline",
        "replay",
        "spool",
    },
    "export": {"errors", "model", "formats", "spool"},
    "upload": {"causes", "errors", "model", "strict_text", "config", "formats", "spool"},
    "labels": {
        "errors",
        "strict_text",
        "text",
        "image_header",
        "model",
        "config",
        "geometry",
        "decode",
        "poses",
        "recordings",
        "formats",
        "spool",
        "upload",
    },
    "testing": {"errors", "spool", "strict_text"},
    "archive": {
        "causes",
        "errors",
        "model",
        "config",
        "decode",
        "recordings",
        "pipeline",
        "formats",
        "render",
        "spool",
        "replay",
        "convert",
        "inspect",
        "upload",
        "warnings",
    },
}
"""Rooms that may use anything below them (``ros``, ``cli``, ``validate``, ``preview``) are not listed."""

ONLY_IN = {
    "rclpy": {"ros"},
    "cv2": {"calibration", "decode", "testing", "inspect", "validate", "preview"},
    "requests": {"upload", "testing"},
    "rich": {"cli"},
    "yaml": {"strict_text", "config", "decode", "recordings", "testing", "inspect"},
    "rosbags": {"recordings", "decode", "labels", "testing"},
    "obstore": {"upload", "testing"},
    "distributed": {"archive"},
    "pypatchworkpp": {"render"},
    "small_gicp": {"poses"},
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms_used(path: Path) -> set[str]:
    used = set()
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "nucleus_bridge" and len(parts) > 1:
            used.add(parts[1])
    return used - {room_of(path), "version"}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_arrows_point_one_way(path: Path) -> None:
    room = room_of(path)
    if room in MAY_USE:
        assert rooms_used(path) <= MAY_USE[room]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_libraries_stay_in_their_rooms(path: Path) -> None:
    for name in imports(path):
        library = name.split(".")[0]
        if library in ONLY_IN:
            assert room_of(path) in ONLY_IN[library], f"{path} imports {library}"


def test_nothing_is_used_before_it_is_below() -> None:
    for room, below in MAY_USE.items():
        for other in below & set(MAY_USE):
            assert room not in MAY_USE[other], f"{room} and {other} use each other"


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_no_two_files_import_each_other() -> None:
    """Also not by a detour; an import within a function, or for types alone, counts like any other."""
    paths = {module_name(path): path for path in modules()}
    uses: dict[str, set[str]] = {}
    for name, path in paths.items():
        found = {used if used in paths else used.rpartition(".")[0] for used in imports(path)}
        uses[name] = (found & set(paths)) - {name}
    while leaves := {name for name, used in uses.items() if not used & set(uses)}:
        for name in leaves:
            del uses[name]
    assert not uses, f"these import each other, or what does: {sorted(uses)}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_says_what_it_is_for_and_its_licence(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# SPDX-License-Identifier: Apache-2.0\n")
    assert ast.get_docstring(ast.parse(text))


def test_printing_and_leaving_are_for_the_command_line() -> None:
    for path in modules():
        if room_of(path) in ("cli", "ros") or path.name in ("docs.py", "__main__.py", "ground_truth.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("print", "sys.exit", "exit"), f"{path} calls {called}"


def test_what_renders_starts_without_the_message_types_and_the_other_commands() -> None:
    program = "import sys, nucleus_bridge.cli.main, nucleus_bridge.render.frame; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert not {"rosbags", "requests", "nucleus_bridge.preview", "nucleus_bridge.upload"} & set(loaded.stdout.split())


def test_the_public_names_are_what_the_documentation_says() -> None:
    assert sorted(nucleus_bridge.__all__) == ["Frame", "Scene", "TransformTree", "convert_bag", "load_config"]
    for name in nucleus_bridge.__all__:
        assert getattr(nucleus_bridge, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = nucleus_bridge.nothing
