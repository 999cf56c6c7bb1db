# SPDX-License-Identifier: Apache-2.0
"""An uploaded scene has the same review page as the sealed one it was made from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nucleus_bridge.convert import ConversionReport
from nucleus_bridge.errors import SceneError
from nucleus_bridge.formats.reading import open_scene
from nucleus_bridge.preview.html_page import preview_page
from nucleus_bridge.preview.received import received_page

BASE = "s3://bucket/drives/scene"


def test_the_page_is_that_of_the_sealed_scene(converted: ConversionReport) -> None:
    folder = converted.scenes[0].folder
    payload = json.loads((folder / "scene.json").read_text())
    for frame in payload["frames"]:
        for item in frame.values():
            item["url"] = f"{BASE}/{item['url']}"
    page = received_page(payload, lambda url: (folder / url.removeprefix(f"{BASE}/")).read_bytes())
    assert page.decode() == preview_page(open_scene(folder), lambda _share: None)


@pytest.mark.parametrize("url", ["s3://bucket/../file.json", "file.json", "s3://bucket/drives/top/a.json?sig=1", "/"])
def test_urls_that_lead_elsewhere_are_refused(url: str) -> None:
    with pytest.raises(SceneError, match="review page"):
        received_page({"frames": [{"top": {"url": url}}]}, lambda url: Path(url).read_bytes())
