# SPDX-License-Identifier: Apache-2.0
"""Whatever stands in the files, the answer is a report."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from good_scene import Recording, check
from hypothesis import given, settings
from hypothesis import strategies as st
from random_edits import mutate, places

from nucleus_bridge.validate.scenes import SceneReport


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_change_of_structure_gives_a_report(data: st.DataObject) -> None:
    recording = Recording()
    name = data.draw(st.sampled_from(["scene", "manifest", "top/000000.json", "top/000001.json"]))
    document = getattr(recording, name) if name in ("scene", "manifest") else json.loads(recording.files[name])
    for _ in range(data.draw(st.integers(1, 3))):
        if any(places(document)):
            mutate(document, data)
    if name not in ("scene", "manifest"):
        recording.files[name] = json.dumps(document).encode()
    with tempfile.TemporaryDirectory() as parent:
        report = check(recording.write(Path(parent)))
    assert_printable(report)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_change_of_bytes_gives_a_report_and_is_noticed(data: st.DataObject) -> None:
    recording = Recording()
    with tempfile.TemporaryDirectory() as parent:
        folder = recording.write(Path(parent))
        name = data.draw(st.sampled_from([*sorted(recording.files), "scene.json", "manifest.json"]))
        content = (folder / name).read_bytes()
        start = data.draw(st.integers(0, len(content)))
        end = data.draw(st.integers(start, len(content)))
        inserted = data.draw(st.binary(max_size=8) | st.sampled_from([b"[" * 50_000, b'"', b"9" * 5000, b"NaN", b"{}"]))
        damaged = content[:start] + inserted + content[end:]
        (folder / name).write_bytes(damaged)
        report = check(folder)
    assert_printable(report)
    assert damaged == content or name == "manifest.json" or not report.ok


def assert_printable(report: SceneReport) -> None:
    for rule in report.rules:
        for failure in rule.failures:
            assert f"{failure.file}{failure.item}{failure.text}".isprintable()
