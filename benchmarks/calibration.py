# SPDX-License-Identifier: Apache-2.0
"""Measure how often a wrong calibration is found, a right one is suspected, and how near the proposed one comes.

    python benchmarks/calibration.py --seeds 40                  # the demo drive, every lens model in turn
    python benchmarks/calibration.py --seeds 4 --all             # every error in every drive
    python benchmarks/calibration.py --sample RECORDING          # a real recording: as recorded, then turned and moved

Each seed is a drive of its own (course, part of it, lens, noise of the ranges) that is converted once; then the poses
of its cameras are made wrong. Without ``--all`` each drive gets the errors of the bar (1 degree about each axis, 50 ms)
and a few of the others in turn. What cannot be judged (one frame, a vehicle that stands, bare ground) must be
``not_measured``.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "test")]

from nucleus_bridge.calibration.check import Verdict  # noqa: E402
from nucleus_bridge.calibration.looks import rotation_of, vector_of  # noqa: E402
from nucleus_bridge.config import Config, load_config  # noqa: E402
from nucleus_bridge.geometry import transforms  # noqa: E402
from nucleus_bridge.inspect.calibration import TrialCheck  # noqa: E402
from nucleus_bridge.inspect.scan import scan_bag  # noqa: E402
from nucleus_bridge.inspect.suggest import suggest  # noqa: E402
from nucleus_bridge.model import Frame, PosedImage, PosedSweep, Trajectory, Transform  # noqa: E402
from nucleus_bridge.pipeline.events import FrameReady  # noqa: E402
from nucleus_bridge.recordings import open_recording  # noqa: E402
from nucleus_bridge.replay import primed_pipeline  # noqa: E402
from nucleus_bridge.testing.demo import DriveOptions, demo_config, write_demo_drive  # noqa: E402
from nucleus_bridge.testing.demo.cameras import cameras_of  # noqa: E402
from nucleus_bridge.testing.demo.options import CAMERA_MODELS  # noqa: E402

AXES = ("pitch", "yaw", "roll")
PLACES = ("right", "down", "ahead")
BAR_DEG, BAR_MS = 1.0, 50.0


@dataclass(frozen=True)
class Error:
    """What is wrong with a calibration: turn (degrees) and shift (m) in the optical frame, and how late stamps are."""

    name: str
    turn_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shift_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    late_ms: float = 0.0

    @property
    def offset(self) -> Transform:
        """Return the calibrated camera's pose in the frame of the true one."""
        return Transform(np.array(self.shift_m), rotation_of(np.radians(self.turn_deg)))


RIGHT = Error("right")


def along(axis: int, size: float) -> tuple[float, float, float]:
    """Return a vector along an axis."""
    vector = [0.0, 0.0, 0.0]
    vector[axis] = size
    return vector[0], vector[1], vector[2]


def errors(rng: np.random.Generator, seed: int, *, everything: bool) -> list[Error]:
    """List the errors of one drive, each to a side at random."""

    def side(size: float) -> float:
        return float(size * rng.choice([-1, 1]))

    turns = {
        size: [Error(f"turn {size:g} deg, {AXES[axis]}", turn_deg=along(axis, side(size))) for axis in range(3)]
        for size in (0.5, 1.0, 2.0, 3.0)
    }
    shifts = {
        size: [Error(f"shift {size * 100:g} cm, {PLACES[axis]}", shift_m=along(axis, side(size))) for axis in range(3)]
        for size in (0.1, 0.2, 0.3)
    }
    late = {size: [Error(f"late {size:g} ms", late_ms=side(size))] for size in (20.0, 50.0, 100.0)}
    bar = [RIGHT, *turns[BAR_DEG], *late[BAR_MS]]
    others = [
        *turns[0.5],
        *turns[2.0],
        *turns[3.0],
        *(e for some in shifts.values() for e in some),
        *late[20.0],
        *late[100.0],
    ]
    return bar + (others if everything else [others[(4 * seed + k) % len(others)] for k in range(4)])


Poser = Callable[[PosedImage, int], Transform]


def made_wrong(frames: Sequence[Frame], error: Error, pose_at: Poser) -> Iterator[Frame]:
    """Give each image the pose, and the stamp, that a wrong calibration would give it."""
    late_ns = round(error.late_ms * 1e6)
    for frame in frames:
        images = [
            replace(
                posed,
                image=posed.image.moved(late_ns) if late_ns else posed.image,
                world_from_camera=transforms.compose(pose_at(posed, late_ns), error.offset),
            )
            for posed in frame.images
        ]
        yield replace(frame, images=tuple(images))


def verdicts(frames: Sequence[Frame], config: Config) -> list[Verdict]:
    """Judge the cameras of frames as ``inspect`` does."""
    check = TrialCheck(config, len(frames), deep=False)
    for frame in frames:
        check.add(frame)
    return check.verdicts()


@dataclass
class Row:
    """What became of one error."""

    suspect: int = 0
    agrees: int = 0
    not_measured: int = 0
    left_deg: list[float] = field(default_factory=list)

    def add(self, verdict: Verdict, error: Error) -> None:
        """Count a verdict."""
        setattr(self, verdict.state, getattr(self, verdict.state) + 1)
        fix = verdict.correction
        if fix is not None and any(error.turn_deg) and fix.kind in ("rotation", "mount"):
            corrected = transforms.compose(
                error.offset, Transform(np.zeros(3), rotation_of(np.radians(fix.rotation_deg)))
            )
            self.left_deg.append(float(np.degrees(np.linalg.norm(vector_of(corrected.rotation_xyzw)))))


def frames_of(bag: Path, config: Config | None) -> tuple[list[Frame], Config]:
    """Convert a recording as far as its frames."""
    with open_recording(bag) as source:
        if config is None:
            config = suggest(scan_bag(source, full=True, progress=lambda _: None)).config()
        if config is None:
            raise SystemExit(f"{bag} has no lidar")
        pipeline = primed_pipeline(source, config)
        events = [event for message in source.messages(list(pipeline.topics)) for event in pipeline.add(message)]
        events += pipeline.finish()
    return [event.frame for event in events if isinstance(event, FrameReady)], config


def drive(seed: int, folder: Path) -> tuple[list[Frame], Config, Poser]:
    """Make one drive; its cameras' true poses at any time are those of the demo's own mathematics."""
    rng = np.random.default_rng(seed)
    options = DriveOptions(
        seconds=5.5,
        standing_s=0.0,
        cameras=2,
        camera_model=CAMERA_MODELS[seed % len(CAMERA_MODELS)],
        course=("town", "town", "town", "ring")[seed // 4 % 4],
        range_noise_m=float(rng.choice([0.0, 0.01, 0.03])),
        points=int(rng.choice([30_000, 60_000])),
        seed=seed,
    )
    bag = folder / f"drive{seed}"
    write_demo_drive(bag, options)
    path = folder / "config.yaml"
    path.write_text(demo_config(options))
    frames, config = frames_of(bag, load_config(path))
    begin = int(rng.integers(0, 25))
    cameras = {camera.name: camera for camera in cameras_of(options)}

    def pose_at(posed: PosedImage, late_ns: int) -> Transform:
        pose = cameras[posed.camera].map_from_camera(np.array([posed.image.stamp_ns + late_ns]))
        return Transform(pose.translation[0], pose.rotation_xyzw[0])

    return frames[begin : begin + 30], config, pose_at


def blind(frames: Sequence[Frame]) -> dict[str, list[Frame]]:
    """Make what cannot be judged: one frame, a vehicle that stands, bare ground."""
    first = frames[0]
    step = round(1e8)
    still = [
        replace(first, stamp_ns=first.stamp_ns + k * step, images=tuple(
            replace(posed, image=posed.image.moved(k * step)) for posed in first.images
        ))
        for k in range(20)
    ]  # fmt: skip
    return {
        "one frame": [first],
        "standing": still,
        "bare ground": [replace(f, sweeps=tuple(map(_ground, f.sweeps))) for f in frames],
    }


def _ground(posed: PosedSweep) -> PosedSweep:
    """Keep the points that lie on the ground, which is flat and at 0."""
    pose = posed.world_from_lidar
    start = Transform(pose.translations[0], pose.rotations_xyzw[0]) if isinstance(pose, Trajectory) else pose
    points = posed.sweep.points
    height = transforms.apply(start, np.stack([points[axis] for axis in "xyz"], axis=1).astype(float))[:, 2]
    return replace(posed, sweep=replace(posed.sweep, points=points[height < 0.05]))


def sample(path: Path) -> None:
    """Try a real recording."""
    frames, config = frames_of(path, None)

    def pose_at(posed: PosedImage, _late_ns: int) -> Transform:
        return posed.world_from_camera

    sizes = (-3.0, -2.0, -1.0, 1.0, 2.0, 3.0)
    listed = [RIGHT]
    listed += [
        Error(f"turn {size:+g} deg, {AXES[axis]}", turn_deg=along(axis, size)) for axis in range(3) for size in sizes
    ]
    listed += [
        Error(f"shift {size * 100:+g} cm, {PLACES[axis]}", shift_m=along(axis, size))
        for axis in range(3)
        for size in (-0.3, 0.3)
    ]
    for error in listed:
        found = verdicts(list(made_wrong(frames, error, pose_at)), config)
        print(
            f"{error.name:24s}",
            *(f"{v.camera}: {v.state}{' ' + v.correction.words if v.correction else ''};" for v in found),
        )


def main() -> None:
    """Run, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--all", action="store_true", help="every error in every drive")
    parser.add_argument("--sample", type=Path, metavar="RECORDING")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    if options.sample:
        sample(options.sample)
        return
    rows: dict[str, Row] = defaultdict(Row)
    spent = time.process_time()
    for seed in range(options.first, options.first + options.seeds):
        with tempfile.TemporaryDirectory(prefix="calibration-") as folder:
            frames, config, pose_at = drive(seed, Path(folder))
        for error in errors(np.random.default_rng([1, seed]), seed, everything=options.all):
            for verdict in verdicts(list(made_wrong(frames, error, pose_at)), config):
                rows[error.name].add(verdict, error)
                if (verdict.state == "suspect") == (error is RIGHT):
                    print(
                        f"seed {seed} {error.name} {verdict.camera}: {verdict.state}: {verdict.text}", file=sys.stderr
                    )
        for name, seen in blind(frames).items():
            for verdict in verdicts(seen, config):
                rows[name].add(verdict, RIGHT)
        show(rows, f"after seed {seed}, {time.process_time() - spent:.0f} s of CPU time")


def show(rows: dict[str, Row], title: str) -> None:
    """Print the table so far."""
    left_over = "left after correction: median, 95 %, within 0.2 deg"
    print(f"\n{title}\n| error | cameras | suspect | agrees | not measured | {left_over} |")
    print("|---|---|---|---|---|---|", flush=True)
    for name in sorted(rows):
        row = rows[name]
        left = np.array(row.left_deg)
        text = f"{np.median(left):.2f}, {np.percentile(left, 95):.2f}, {np.mean(left <= 0.2):.0%}" if len(left) else ""
        total = row.suspect + row.agrees + row.not_measured
        print(f"| {name} | {total} | {row.suspect} | {row.agrees} | {row.not_measured} | {text} |", flush=True)


if __name__ == "__main__":
    main()
