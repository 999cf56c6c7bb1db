# SPDX-License-Identifier: Apache-2.0
"""Measure how labels come home: 300 scenes of 100 frames with 50 boxes, from a server that only sends prepared pages.

    python benchmarks/labels.py [--scenes 300] [--frames 100] [--boxes 50] [--format json] [--again]

The server has a process of its own. Time and peak memory are the command's, of a first run and with ``--again`` of a
second one; they must not grow with the number of scenes: compare with ``--scenes 30``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "test" / "upload")]

from upload_scenes import KEY, scene_name  # noqa: E402

TIME_BAR_S = 60.0
START_NS = 1_700_000_000_000_000_000


def manifest_of(name: str, frames: int) -> bytes:
    """Return the manifest of a scene that was deleted after its upload."""
    stamps = [{"stamp_ns": START_NS + 10**8 * frame, "time_ns": START_NS + 10**8 * frame} for frame in range(frames)]
    manifest = {
        "format_version": 1,
        "reference_id": name,
        "format": "nucleus",
        "frames": frames,
        "items": frames,
        "points": 0,
        "first_stamp_ns": START_NS,
        "last_stamp_ns": START_NS,
        "world_frame": "map",
        "device_frame": "base_link",
        "world_offset": {"x": 100.0, "y": 200.0, "z": 3.0},
        "sensors": {"top": {"kind": "lidar", "topic": "/points", "frame_id": "top"}},
        "sync": {},
        "missing": {},
        "losses": {},
        "end_reason": "end_of_data",
        "config_digest": "",
        "software": "",
        "files": [],
        "stamps": stamps,
    }
    return json.dumps(manifest).encode()


class Pages:
    """The rows of a dataset, made as text."""

    def __init__(self, scenes: int, frames: int, boxes: int) -> None:
        self.names = [scene_name(number) for number in range(scenes)]
        self._frames = frames
        cuboids = [
            {
                "label": ("car", "pedestrian", "truck")[box % 3],
                "type": "cuboid",
                "geometry": {
                    "position": {"x": 1.25 * box, "y": -0.5 * box, "z": 0.75},
                    "dimensions": {"x": 1.9, "y": 4.5, "z": 1.6},
                    "yaw": 0.1 * box - 2.0,
                },
                "reference_id": "ITEM",
                "annotation_id": f"{box}-ITEM",
                "track_reference_id": f"track-{box}",
                "metadata": {"occlusion": "none"},
                "dataset_item_id": "di_1",
            }
            for box in range(boxes)
        ]
        empty: dict[str, Any] = {kind: [] for kind in ("box", "polygon", "line", "keypoints")}
        row = {"item": {"reference_id": "ITEM"}, **empty, "cuboid": cuboids, "category": [], "multicategory": []}
        self._row = json.dumps(row)

    def page(self, first: int, size: int) -> bytes:
        """Return some rows as the service answers them."""
        total = len(self.names) * self._frames
        last = min(total, first + size)
        rows = (
            self._row.replace("ITEM", f"{self.names[number // self._frames]}-top-{number % self._frames:06d}")
            for number in range(first, last)
        )
        token = json.dumps(str(last) if last < total else None)
        return f'{{"data":[{",".join(rows)}],"nextPageToken":{token}}}'.encode()


def serve(pages: Pages) -> None:
    """Answer what ``labels`` asks, until the parent ends this process."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            parts = self.path.strip("/").split("/")
            if parts[-1] == "details":
                self._answer(b'[{"id": "ds_1", "name": "town"}]')
            elif parts[-1] == "scenes_list":
                self._answer(json.dumps({"scenes": [{"reference_id": name} for name in pages.names]}).encode())
            else:
                self._answer(json.dumps({"reference_id": parts[-1], "frames": [], "metadata": {}}).encode())

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._answer(pages.page(int(asked["pageToken"] or 0), asked["pageSize"]))

    server = HTTPServer(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


def run(spool: Path, url: str, out: Path, form: str, wanted: int) -> tuple[float, float, float]:
    """Run the command in a child and return seconds, those of its CPU time, and peak MB of memory."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "nucleus_bridge", "labels", str(spool), "-o", str(out)]
    child = subprocess.Popen(
        [*command, "--format", form, "--dataset", "town"],
        env={**os.environ, "NUCLEUS_ENDPOINT": url, "NUCLEUS_API_KEY": KEY},
        stdout=subprocess.PIPE,
        text=True,
    )
    said = child.stdout.read() if child.stdout else ""
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode or not said.startswith(f"{wanted} labels"):
        raise SystemExit(f"labels ended with {child.returncode}: {said}")
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--boxes", type=int, default=50)
    parser.add_argument("--format", default="json")
    parser.add_argument("--again", action="store_true", help="run a second time")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    pages = Pages(options.scenes, options.frames, options.boxes)
    if options.serve:
        serve(pages)
    numbers = [f"--{name}={getattr(options, name)}" for name in ("scenes", "frames", "boxes")]
    server = subprocess.Popen([sys.executable, __file__, "--serve", *numbers], stdout=subprocess.PIPE, text=True)
    try:
        url = server.stdout.readline().strip() if server.stdout else ""
        with tempfile.TemporaryDirectory(prefix="labels-benchmark-") as folder:
            spool = Path(folder) / "spool"
            for name in pages.names:
                scene = spool / "scenes" / name
                scene.mkdir(parents=True)
                (scene / "manifest.json").write_bytes(manifest_of(name, options.frames))
            wanted = options.scenes * options.frames * options.boxes
            for _ in range(1 + options.again):
                passed, cpu_s, memory = run(spool, url, Path(folder) / "out", options.format, wanted)
                print(f"{wanted} labels: {passed:.1f} s, {cpu_s:.1f} s of CPU time, {memory:.0f} MB peak", flush=True)
    finally:
        server.terminate()
        server.wait()
    print(f"the bar is {TIME_BAR_S:.0f} s for 1500000")
    return 0 if passed < TIME_BAR_S or wanted != 1_500_000 else 1


if __name__ == "__main__":
    raise SystemExit(main())
