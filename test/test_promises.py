# SPDX-License-Identifier: Apache-2.0
"""Each promise on paper names the tests that hold it, and they exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NAMED = re.compile(r"(test/[\w/]+\.py)::(test_\w+)")
DOCUMENTS = ["docs/reliability.md", "SECURITY.md"]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_test_that_is_named_exists(document: str) -> None:
    named = NAMED.findall((ROOT / document).read_text(encoding="utf-8"))
    assert len(named) > 10
    for path, name in named:
        assert re.search(rf"^def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE), f"{path}::{name}"


def test_every_promise_names_a_test() -> None:
    text = (ROOT / "docs/reliability.md").read_text(encoding="utf-8").partition("\n## Testing longer")[0]
    promises = re.split(r"\n\*\*", text)[1:]
    assert [promise[:3] for promise in promises[:8]] == [f"P{number}." for number in range(1, 9)]
    for promise in promises:
        assert NAMED.search(promise), promise[:60]


def test_every_requirement_has_a_lower_bound() -> None:
    text = (ROOT / "setup.py").read_text(encoding="utf-8")
    listed = re.search(r"^REQUIREMENTS = \[(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    assert listed is not None
    requirements = re.findall(r"""["'](.+)["'],""", listed[1])
    assert len(requirements) >= 8
    assert all(">=" in requirement for requirement in requirements)
