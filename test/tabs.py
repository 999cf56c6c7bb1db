# SPDX-License-Identifier: Apache-2.0
"""A page opened from disk in a browser, everything it complains of or asks the network for noted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

PAINTED = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


class Tab:
    """A page opened from disk."""

    def __init__(
        self, browser: Any, path: Path, ready: str = "() => window.nucleusPreview.ready", page: Any = None
    ) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page = page or browser.new_page(viewport={"width": 1280, "height": 800})
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        self.page.evaluate(ready)
        self.requests = [url for url in self.requests if not url.startswith("data:")][1:]

    def run(self, script: str, argument: Any = None) -> Any:
        return self.page.evaluate(script, argument)

    def pixels(self, camera: str) -> np.ndarray:
        return self.canvas(f"canvas[data-camera={camera}]")

    def canvas(self, selector: str) -> np.ndarray:
        self.page.evaluate(PAINTED)
        shot = np.frombuffer(self.page.locator(selector).screenshot(), np.uint8)
        return cv2.imdecode(shot, cv2.IMREAD_COLOR)
