# SPDX-License-Identifier: Apache-2.0
"""The examples in docstrings and on pages are run, in a folder that has a drive and its configuration."""

from __future__ import annotations

import doctest
import importlib
import shutil
from pathlib import Path

import pytest
from documents import ROOT, fenced, pages
from drives import Drive

import nucleus_bridge
from nucleus_bridge import config, convert, errors, geometry, labels, model, pipeline, recordings, warnings

PACKAGE = Path(nucleus_bridge.__file__).parent
OPTIONS = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL
NEEDED = [
    config.load_config,
    convert.convert_bag,
    convert.Observer,
    geometry.TransformTree,
    labels.label_of_cuboid,
    pipeline.Pipeline,
    recordings.open_recording,
    warnings.Finding,
    errors,
]
"""What must have an example."""


def name_of(path: Path) -> str:
    """The module that a file is."""
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = [name_of(path) for path in sorted(PACKAGE.rglob("*.py")) if ">>> " in path.read_text()]
PAGES = [page for page in pages() if any(language == "pycon" for language, _, _ in fenced(page))]


@pytest.fixture
def beside_a_drive(drive: Drive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with ``drive`` and ``drive.yaml``."""
    (tmp_path / "drive").symlink_to(drive.bag)
    shutil.copy(drive.config_path, tmp_path / "drive.yaml")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("beside_a_drive")
@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_hold(name: str) -> None:
    outcome = doctest.testmod(importlib.import_module(name), optionflags=OPTIONS)
    assert outcome.attempted
    assert not outcome.failed


@pytest.mark.usefixtures("beside_a_drive")
@pytest.mark.parametrize("page", PAGES)
def test_the_examples_of_a_page_hold(page: str) -> None:
    """All of a page's blocks are one session."""
    text = ""
    for language, start, lines in fenced(page):
        if language == "pycon":
            text += "\n" * (start - 1 - text.count("\n")) + "\n".join(lines) + "\n\n"
    test = doctest.DocTestParser().get_doctest(text, {}, page, str(ROOT / page), 0)
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    assert runner.run(test).attempted
    assert not runner.failures


def test_what_is_public_says_how_it_is_used() -> None:
    assert [thing for thing in NEEDED if ">>> " not in (thing.__doc__ or "")] == []


PUBLIC = {
    nucleus_bridge: nucleus_bridge.__all__,
    pipeline: pipeline.__all__,
    recordings: recordings.__all__,
    model: ["Frame", "Scene", "Transform", "Trajectory", "Sweep", "Image", "CameraModel", "Message"],
    convert: ["ConversionReport", "Observer"],
}


@pytest.mark.parametrize(
    ("room", "name"),
    [(room, name) for room, names in PUBLIC.items() for name in names if name not in ("Event", "Place")],
)
def test_each_public_name_is_described(room: object, name: str) -> None:
    thing = getattr(room, name)
    assert thing.__doc__
    for member, value in vars(thing).items() if isinstance(thing, type) else ():
        if callable(value) and not member.startswith("_") and getattr(value, "__module__", "") == thing.__module__:
            assert value.__doc__, f"{name}.{member}"
