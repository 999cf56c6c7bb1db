# SPDX-License-Identifier: Apache-2.0
"""Measure how fast a review page opens and turns in Chromium on software rendering, and what making it costs.

    python -m benchmarks.page --seconds 10 --cameras 6

The scene has ten frames a second, and is an SFS one: others end at 300 clouds and images. Turning is measured in a view
of 1280 x 720 with every frame in the world: with the points that the page chooses to stay fluent, and with all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

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


def measure(page: Path, seconds: float) -> dict[str, Any]:
    """Open a page and turn its cloud."""
    with sync_playwright() as tools:
        chromium = os.environ.get("NUCLEUS_BRIDGE_CHROMIUM", "/usr/bin/chromium")
        browser = tools.chromium.launch(executable_path=chromium, args=FLAGS)
        tab = browser.new_page(viewport={"width": 1280, "height": 800})
        start, before = time.perf_counter(), descendants_cpu_s()
        tab.goto(page.as_uri())
        tab.evaluate("() => window.nucleusPreview.ready")
        opened, opening_cpu = time.perf_counter() - start, descendants_cpu_s() - before
        turns = {}
        for name in ("chosen", "all"):
            before = descendants_cpu_s()
            turn = tab.evaluate(TURN, [seconds, name == "chosen"])
            turns[name] = {**turn, "cpu_ms_a_frame": 1000 * (descendants_cpu_s() - before) / turn["frames"]}
        browser.close()
    return {"opens_s": opened, "opens_cpu_s": opening_cpu, "turns": turns}


def main() -> None:
    """Make a drive, its scene and its page, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--cameras", type=int, default=6)
    parser.add_argument("--points", type=int, default=60_000, help="rays a sweep")
    parser.add_argument("--turning-s", type=float, default=4.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="page-") as name:
        folder = Path(name)
        drive, config = folder / "drive", folder / "drive.yaml"
        cpu_s(
            "demo-drive", drive, "--seconds", options.seconds, "--points", options.points, "--cameras", options.cameras
        )
        converting = cpu_s("convert", drive, "--config", config, "--output", folder / "spool", "--format", "sfs")
        scene = next((folder / "spool" / "scenes").iterdir())
        making = cpu_s("preview", scene, "-o", folder / "page.html")
        found = {"convert_cpu_s": converting, "preview_cpu_s": making, "bytes": (folder / "page.html").stat().st_size}
        print(json.dumps({**found, **measure(folder / "page.html", options.turning_s)}, indent=1))


if __name__ == "__main__":
    main()
