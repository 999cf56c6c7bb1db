# SPDX-License-Identifier: Apache-2.0
"""Measure ``.sfs`` scenes: memory, size, and the writer beside Scale's own library on the same tree.

    python -m benchmarks.scene_files --gigabytes 2

``NUCLEUS_BRIDGE_SFS_PYTHON`` names an interpreter with ``scale-json-binary`` and ``scale-sensor-fusion-io``. Times are
CPU time, each way in a process of its own, in alternating turns; the smallest of each way counts. Memory is what a
process has of its own at most, pages of mapped files apart: the kernel takes those back whenever it needs to.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from benchmarks.convert import measure
from nucleus_bridge.testing.demo import DriveOptions, demo_config, write_demo_drive

ROOT = Path(__file__).resolve().parent.parent
CLI = [sys.executable, "-m", "nucleus_bridge"]
START_NS = 1_700_000_000_000_000_000
FRAMES = 300  # more, no scene holds
POINT_BYTES = 12 + 1 + 4  # position, intensity, time
BAR_MB, BAR_WITHOUT, BAR_WITH = 200.0, 0.30, 0.40

WATCHED = """
import re, runpy, sys, threading
most, over = 0, threading.Event()
def watch():
    global most
    while not over.wait(0.005):
        with open("/proc/self/status") as file:
            most = max(most, int(re.search(r"RssAnon:\\s+(\\d+)", file.read()).group(1)))
thread = threading.Thread(target=watch)
thread.start()
try:
    exec(sys.argv.pop(1))
finally:
    over.set()
    thread.join()
    print(most / 1024)
"""
CONVERT = "sys.argv[0] = 'nucleus-bridge'\ntry:\n    runpy.run_module('nucleus_bridge', run_name='__main__')\n"
CONVERT += "except SystemExit as end:\n    assert not end.code, end.code"
READ = """
from pathlib import Path
from nucleus_bridge.formats.reading import open_scene
reader = open_scene(Path(sys.argv[1]))
print(sum(float(reader.frame(index).points.xyz.sum()) for index in range(len(reader))))
"""

TIMED = "import sys, time; paths = sys.argv[1:]; {before}; start = time.process_time(); {do}; "
TIMED += "print(time.process_time() - start)"
WAYS = {
    "writer": (
        (
            "from nucleus_bridge.formats.sfs.container import open_tree, write_tree; from pathlib import Path; "
            "tree = open_tree(Path(paths[0]))"
        ),
        "file = open(paths[1], 'wb', buffering=0); [file.write(piece) for piece in write_tree(tree)]; file.close()",
    ),
    "container writer of Scale's library": (
        "import scale_json_binary as j; tree = j.read_file(paths[0])",
        "j.write_file(paths[1], tree)",
    ),
    "its whole model path": (
        (
            "import scale_json_binary as j, dataclasses; from scale_sensor_fusion_io.loaders import SFSLoader; "
            "from scale_sensor_fusion_io.model_converters.sfs import to_scene_spec_sfs; "
            "tree = SFSLoader(paths[0]).load()"
        ),
        "j.write_file(paths[1], dataclasses.asdict(to_scene_spec_sfs(tree)))",
    ),
}


def write_large_bag(bag: Path, points: int) -> None:
    """Write a recording of one lidar whose scene is large: noise, with intensities and times."""
    types: Any = get_typestore(Stores.ROS2_HUMBLE)

    def make(name: str, *fields: object) -> Any:  # noqa: ANN401 - a message
        return types.types[name.replace("/", "/msg/")](*fields)

    def header(ns: int, frame: str) -> Any:  # noqa: ANN401
        return make("std_msgs/Header", make("builtin_interfaces/Time", ns // 10**9, ns % 10**9), frame)

    layout = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4"), ("t", "<u4")])
    fields = [
        make("sensor_msgs/PointField", name, 4 * place, 6 if name == "t" else 7, 1)
        for place, name in enumerate(("x", "y", "z", "intensity", "t"))
    ]
    rng = np.random.default_rng(0)
    rows = np.zeros(points, layout)
    for name in "xyz":
        rows[name] = rng.normal(0.0, 20.0, points)
    rows["intensity"] = rng.integers(0, 256, points)
    rows["t"] = np.linspace(0, 99_000_000, points)
    with Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        clouds = writer.add_connection("/points", "sensor_msgs/msg/PointCloud2", typestore=types)
        moves = writer.add_connection("/tf", "tf2_msgs/msg/TFMessage", typestore=types)
        for number in range(-1, 10 * FRAMES + 20):
            ns = START_NS + number * 10_000_000
            turn = make("geometry_msgs/Quaternion", 0.0, 0.0, 0.0, 1.0)
            pose = make("geometry_msgs/Transform", make("geometry_msgs/Vector3", number * 0.1, 0.0, 0.0), turn)
            moved = make("geometry_msgs/TransformStamped", header(ns, "map"), "base_link", pose)
            writer.write(moves, ns, types.serialize_cdr(make("tf2_msgs/TFMessage", [moved]), "tf2_msgs/msg/TFMessage"))
            if number % 10 == 0 and number < 10 * FRAMES:
                rows["x"] += np.float32(0.01)
                data = rows.view(np.uint8).reshape(-1)
                size = layout.itemsize
                cloud = make(
                    "sensor_msgs/PointCloud2", header(ns, "base_link"), 1, points, fields, False, size, size * points,
                    data, True,
                )  # fmt: skip
                writer.write(clouds, ns, types.serialize_cdr(cloud, "sensor_msgs/msg/PointCloud2"))


LARGE_CONFIG = """
/**:
  ros__parameters:
    lidar_names: [top]
    lidars: {top: {topic: /points}}
    scene: {format: sfs}
"""


def watched_mb(what: str, *arguments: str | Path) -> float:
    """Run Python text and return the most memory of its own that the process had."""
    command = [sys.executable, "-c", WATCHED, what, *map(str, arguments)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
    return float(out.split()[-1])


def memory(folder: Path, gigabytes: float) -> None:
    """Write and read a large scene."""
    write_large_bag(folder / "bag", round(gigabytes * 1e9 / FRAMES / POINT_BYTES))
    (folder / "large.yaml").write_text(LARGE_CONFIG)
    spool = folder / "large"
    written = watched_mb(CONVERT, "convert", folder / "bag", "--config", folder / "large.yaml", "--output", spool)
    (scene,) = (spool / "scenes").iterdir()
    print(f"scene of {(scene / 'scene.sfs').stat().st_size / 1e9:.2f} GB, bar {BAR_MB:.0f} MB:", flush=True)
    print(f"  convert, reading and writing   {written:6.0f} MB", flush=True)
    print(f"  every frame read back          {watched_mb(READ, scene):6.0f} MB", flush=True)
    print(f"  validate                       {watched_mb(CONVERT, 'validate', scene):6.0f} MB", flush=True)


def converted(drive: Path, config: Path, spool: Path, form: str) -> tuple[Path, float]:
    """Convert, and return the first scene's folder and the CPU time."""
    spent = measure([*CLI, "convert", drive, "--config", config, "--output", spool, "--format", form])["cpu_s"]
    return min((spool / "scenes").iterdir()), spent


def drive(folder: Path, options: DriveOptions, turns: int) -> None:
    """Compare sizes and times on a demo drive."""
    write_demo_drive(folder / "drive", options)
    config = folder / "drive.yaml"
    config.write_text(demo_config(options))
    spent: dict[str, list[float]] = {"sfs": [], "nucleus": []}
    for turn in range(turns):
        for form in spent if turn % 2 else reversed(list(spent)):
            scene, seconds = converted(folder / "drive", config, folder / f"{form}{turn}", form)
            spent[form].append(seconds)
    nucleus, scene = min((folder / "nucleus0/scenes").iterdir()), min((folder / "sfs0/scenes").iterdir())
    from nucleus_bridge.formats.sfs.container import open_tree  # noqa: PLC0415 - after what it is compared with

    tree = open_tree(scene / "scene.sfs")
    frames = [frame["points"] for sensor in tree["sensors"] if sensor["type"] == "lidar" for frame in sensor["frames"]]
    whole = sum(array.nbytes for columns in frames for array in columns.values())
    times = sum(columns["timestamps"].nbytes for columns in frames)
    cloud = sum(path.stat().st_size for path in nucleus.rglob("*.json") if path.name != "manifest.json")
    print(f"clouds: {cloud / 1e6:.1f} MB in the Nucleus scene")
    print(f"  without point times {(whole - times) / cloud:.3f} (bar {BAR_WITHOUT:.2f})")
    print(f"  with point times    {whole / cloud:.3f} (bar {BAR_WITH:.2f})")
    best = {form: min(seconds) for form, seconds in spent.items()}
    pairs = sorted(a / b for a, b in zip(spent["sfs"], spent["nucleus"], strict=True))
    print(f"convert --format sfs {best['sfs']:.2f} s, --format nucleus {best['nucleus']:.2f} s: ", end="")
    print(f"{best['sfs'] / best['nucleus']:.2f} (bar 1), pairs {pairs[0]:.2f} to {pairs[-1]:.2f}", flush=True)
    writers(scene / "scene.sfs", folder, turns)


def writers(scene: Path, folder: Path, turns: int) -> None:
    """Compare writers on the tree of a scene."""
    scales = os.environ.get("NUCLEUS_BRIDGE_SFS_PYTHON")
    if not scales:
        print("set NUCLEUS_BRIDGE_SFS_PYTHON to compare the writers")
        return
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    spent: dict[str, list[float]] = {way: [] for way in WAYS}
    for turn in range(turns):
        for way in WAYS if turn % 2 else reversed(list(WAYS)):
            before, do = WAYS[way]
            python, environment = (sys.executable, dict(os.environ)) if way == "writer" else (scales, clean)
            command = [python, "-c", TIMED.format(before=before, do=do), str(scene), str(folder / "written")]
            out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT)
            spent[way].append(float(out.stdout.split()[-1]))
    own = min(spent["writer"])
    print(f"writing the tree of a scene of {scene.stat().st_size / 1e6:.0f} MB:")
    for way, seconds in spent.items():
        print(f"  {way:36} {min(seconds) * 1e3:7.1f} ms  {min(seconds) / own:5.2f}")


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2.0, help="size of the large scene")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of the drive")
    parser.add_argument("--points", type=int, default=130_000, help="rays a sweep")
    parser.add_argument("--cameras", type=int, default=2)
    parser.add_argument("--turns", type=int, default=5, help="how often each way runs")
    options = parser.parse_args()
    print(json.dumps(vars(options)))
    with tempfile.TemporaryDirectory(prefix="scene-files-") as scratch:
        folder = Path(scratch)
        made = DriveOptions(seconds=options.seconds, points=options.points, cameras=options.cameras)
        drive(folder, made, options.turns)
        memory(folder, options.gigabytes)


if __name__ == "__main__":
    main()
