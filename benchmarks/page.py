# SPDX-License-Identifier: Apache-2.0
"""Measure how fast a review page opens and turns in Chromium on software rendering, and what making it costs.

    python -m benchmarks.page --seconds 10 --cameras 6
    python -m benchmarks.page --pages before.html after.html

The page has ten frames a second: the frames of several scenes on one page, since a scene ends at 300 clouds and images.
Turning is measured in a view of 1280 x 720 with every frame in the world: with the points that the page chooses to stay
fluent, and with all of them. Pages that are given are opened in turns, and nothing is made.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from nucleus_bridge.formats.content import SceneFrame, SceneImage
from nucleus_bridge.formats.reading import open_scene
from nucleus_bridge.preview.html_page import pages
from nucleus_bridge.preview.template import write_page

FLAGS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
TURN = """async ([seconds, adapts]) => {
  const { look, view3d } = window.nucleusPreview, canvas = view3d.canvas;
  Object.assign(canvas.style, { position: 'fixed', inset: 0, width: '1280px', height: '720px', zIndex: 99 });
  look.world = true;
  view3d.draw();
  const next = () => new Promise((done) => requestAnimationFrame(done));
  for (let i = 0; i < 30; i++) { view3d.turn += 0.01; if (adapts) view3d.draw(true); else view3d.draw(); await next(); }
  const start = performance.now();
  let frames = 0, points = 0;
  while (performance.now() - start < 1000 * seconds) {
    view3d.turn += 0.01;
    if (adapts) view3d.draw(true); else view3d.draw();
    await next();
    frames++; points += view3d.drawn;
  }
  const fps = frames / (performance.now() - start) * 1000;
  return { fps, frames: frames + 30, points: Math.round(points / frames), size: [canvas.width, canvas.height] };
}"""


def cpu_s(*arguments: object) -> float:
    """Run the command line and return the CPU time that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "nucleus_bridge", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def descendants_cpu_s() -> float:
    """Return the CPU time that this process's descendants, the browser among them, have taken until now."""
    parents, spent = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(folder.name)], spent[int(folder.name)] = int(fields[1]), int(fields[11]) + int(fields[12])
    mine = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in mine} - mine:
        mine |= more
    return sum(spent.get(pid, 0) for pid in mine - {os.getpid()}) / os.sysconf("SC_CLK_TCK")


class Joined:
    """Scenes of one drive and one world, without an offset, read as one."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._scenes = [open_scene(folder) for folder in folders]
        self._places = [(scene, index) for scene in self._scenes for index in range(len(scene))]
        first, manifests = self._scenes[0], [scene.manifest for scene in self._scenes]
        self._now = first
        self.folder, self.lidar, self.cameras, self.metadata = first.folder, first.lidar, first.cameras, first.metadata
        self.manifest = replace(
            first.manifest,
            frames=len(self._places),
            points=sum(manifest.points for manifest in manifests),
            files=tuple(file for manifest in manifests for file in manifest.files),
        )

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[SceneFrame]:
        """Read every frame."""
        return (self.frame(index) for index in range(len(self)))

    def frame(self, index: int, most_points: int | None = None) -> SceneFrame:
        """Read a frame, as ``SceneReader.frame``."""
        self._now, number = self._places[index]
        return self._now.frame(number, most_points)

    def image(self, image: SceneImage) -> bytes:
        """Return an image of the frame that was read last."""
        return self._now.image(image)


def measure(page: Path, seconds: float) -> dict[str, Any]:
    """Open a page and turn its cloud."""
    with sync_playwright() as tools:
        chromium = os.environ.get("NUCLEUS_BRIDGE_CHROMIUM", "/usr/bin/chromium")
        browser = tools.chromium.launch(executable_path=chromium, args=FLAGS)
        tab = browser.new_page(viewport={"width": 1280, "height": 800})
        tab.goto("about:blank")
        start, before = time.perf_counter(), descendants_cpu_s()
        tab.goto(page.as_uri(), wait_until="commit")
        tab.wait_for_function("() => window.nucleusPreview?.ready")
        tab.evaluate("() => window.nucleusPreview.ready")
        shown = time.perf_counter() - start
        tab.wait_for_load_state("load")
        opened, opening_cpu = time.perf_counter() - start, descendants_cpu_s() - before
        turns = {}
        for name in ("chosen", "all") if seconds else ():
            before = descendants_cpu_s()
            turn = tab.evaluate(TURN, [seconds, name == "chosen"])
            turns[name] = {**turn, "cpu_ms_a_frame": 1000 * (descendants_cpu_s() - before) / turn["frames"]}
        browser.close()
    return {"first_frame_s": shown, "opens_s": opened, "opens_cpu_s": opening_cpu, "turns": turns}


def compare(pages: Sequence[Path], rounds: int, seconds: float) -> dict[str, Any]:
    """Open pages in turns; return the median of each figure, and the least time."""
    found: dict[str, list[dict[str, Any]]] = {str(page): [] for page in pages}
    for number in range(rounds):
        for page in pages:
            found[str(page)].append(measure(page, seconds if number == rounds - 1 else 0.0))
    times = ("first_frame_s", "opens_s", "opens_cpu_s")
    return {
        page: {
            **{name: statistics.median(run[name] for run in runs) for name in times},
            **{f"least_{name}": min(run[name] for run in runs) for name in times},
            "turns": runs[-1]["turns"],
        }
        for page, runs in found.items()
    }


def main() -> None:
    """Make a drive, its scenes and their page, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--cameras", type=int, default=6)
    parser.add_argument("--points", type=int, default=60_000, help="rays a sweep")
    parser.add_argument("--turning-s", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=5, help="how often a page is opened")
    parser.add_argument("--pages", type=Path, nargs="+", default=[], help="pages to open; nothing is made")
    options = parser.parse_args()
    if options.pages:
        print(json.dumps(compare(options.pages, options.rounds, options.turning_s), indent=1))
        return
    with tempfile.TemporaryDirectory(prefix="page-") as name:
        folder = Path(name)
        drive, spool, page = folder / "drive", folder / "spool", folder / "page.html"
        size = ("--seconds", options.seconds, "--points", options.points, "--cameras", options.cameras)
        cpu_s("demo-drive", drive, *size)
        config = ("--config", folder / "drive.yaml", "--set", "scene.origin=none")
        converting = cpu_s("convert", drive, *config, "--output", spool)
        making = cpu_s("preview", spool, "-o", folder / "pages", "--no-calibration")
        scene = Joined(sorted((spool / "scenes").iterdir()))
        ((_, made, _),) = pages([scene], lambda _: None, measures=False)
        write_page(page, made)
        found = {"convert_cpu_s": converting, "preview_cpu_s": making, "bytes": page.stat().st_size}
        print(json.dumps({**found, **compare([page], options.rounds, options.turning_s)}, indent=1))


if __name__ == "__main__":
    main()
