# SPDX-License-Identifier: Apache-2.0
"""Measure how often a wrong calibration is found, a right one is suspected, and how near the proposed one comes.

    python benchmarks/calibration.py --seeds 40                  # the demo drive, every lens model in turn
    python benchmarks/calibration.py --seeds 40 --all            # every error in every drive
    python benchmarks/calibration.py --first 20 --seeds 20 --all --output second.jsonl      # in parts, side by side
    python benchmarks/calibration.py --tables first.jsonl second.jsonl                      # ... and put together
    python benchmarks/calibration.py --sample RECORDING          # a real recording: as recorded, then turned and moved

Each seed is a drive of its own (course, part of it, lens, noise of the ranges) that is converted once; then the poses
of its cameras are made wrong. Without ``--all`` each drive gets the errors of the bar (1 degree about each axis, 50 ms)
and a few of the others in turn. What cannot be judged (one frame, a vehicle that stands, bare ground) must be
``not_measured``. The second table counts the errors that were found, lens by lens; not measured is not found.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "test")]

from nucleus_bridge.calibration import fit, scans  # noqa: E402
from nucleus_bridge.calibration.check import Verdict  # noqa: E402
from nucleus_bridge.calibration.looks import rotation_of, vector_of  # noqa: E402
from nucleus_bridge.config import Config, load_config  # noqa: E402
from nucleus_bridge.geometry import transforms  # noqa: E402
from nucleus_bridge.inspect import calibration as judging  # noqa: E402
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
STATES = ("suspect", "agrees", "not_measured")
BLIND = ("one frame", "standing", "bare ground")


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
ALL_RIGHT = (RIGHT.name, *BLIND)


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


@dataclass(frozen=True)
class Outcome:
    """What was said of one camera with one error.

    Attributes:
        seed: Of the drive.
        lens: Of its cameras.
        error: What was wrong.
        camera: Which.
        state: The verdict's.
        text: The verdict's.
        left_deg: By how much a turned camera is off after the proposed correction; None unless it is suspect.
    """

    seed: int
    lens: str
    error: str
    camera: str
    state: str
    text: str
    left_deg: float | None


def outcome(seed: int, lens: str, name: str, verdict: Verdict, error: Error = RIGHT) -> Outcome:
    """Note a verdict."""
    fix, left_deg = verdict.correction, None
    if fix is not None and any(error.turn_deg):
        turn = Transform(np.zeros(3), rotation_of(np.radians(fix.rotation_deg)))
        left = transforms.compose(error.offset, turn).rotation_xyzw
        left_deg = float(np.degrees(np.linalg.norm(vector_of(left))))
    return Outcome(seed, lens, name, verdict.camera, verdict.state, verdict.text, left_deg)


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


def lens_of(seed: int) -> str:
    """Return the lens of a drive's cameras."""
    return CAMERA_MODELS[seed % len(CAMERA_MODELS)]


def drive(seed: int, folder: Path) -> tuple[list[Frame], Config, Poser]:
    """Make one drive; its cameras' true poses at any time are those of the demo's own mathematics."""
    rng = np.random.default_rng(seed)
    options = DriveOptions(
        seconds=5.5,
        standing_s=0.0,
        cameras=2,
        camera_model=lens_of(seed),
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


@contextmanager
def remembered() -> Iterator[None]:
    """Find the edges of each sweep and image once, however often the cameras of a drive are judged: errors leave them.

    What is known is told by what it was made of: the sweeps of a frame, a sweep, the pixels of a picture.
    """
    known: dict[Hashable, Any] = {}

    def once(function: Callable[..., Any], of: Callable[..., Hashable]) -> Callable[..., object]:
        def found(*given: object) -> object:
            key = function, of(*given)
            if key not in known:
                known[key] = given, function(*given)  # what is given lives on, so that nothing else gets its number
            return known[key][1]

        return found

    steps: tuple[tuple[ModuleType, str, Callable[..., Hashable]], ...] = (
        (judging, "lidar_sweeps", lambda frame, offset, *_: (id(frame.sweeps), offset)),
        (judging, "pixels", lambda image: image.data.tobytes()),
        (scans, "_scan_of", lambda sweep, _up: id(sweep)),
        (fit, "edge_maps", lambda gray, sigmas: (gray.shape, gray.tobytes(), *sigmas)),
    )
    with ExitStack() as patches:
        for module, name, of in steps:
            patches.enter_context(patch.object(module, name, once(getattr(module, name), of)))
        yield


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
    bare = [replace(frame, sweeps=tuple(map(_ground, frame.sweeps))) for frame in frames]
    return dict(zip(BLIND, ([first], still, bare), strict=True))


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
    with remembered():
        for error in listed:
            found = verdicts(list(made_wrong(frames, error, pose_at)), config)
            said = (f"{v.camera}: {v.state}{' ' + v.correction.words if v.correction else ''};" for v in found)
            print(f"{error.name:24s}", *said, flush=True)


def judged(seed: int, *, everything: bool) -> Iterator[Outcome]:
    """Judge the cameras of one drive with every error, and without what is needed to judge them."""
    with tempfile.TemporaryDirectory(prefix="calibration-") as folder:
        frames, config, pose_at = drive(seed, Path(folder))
    with remembered():
        yield from _judged(seed, frames, config, pose_at, everything=everything)


def _judged(
    seed: int, frames: Sequence[Frame], config: Config, pose_at: Poser, *, everything: bool
) -> Iterator[Outcome]:
    lens = lens_of(seed)
    for error in errors(np.random.default_rng([1, seed]), seed, everything=everything):
        for verdict in verdicts(list(made_wrong(frames, error, pose_at)), config):
            yield outcome(seed, lens, error.name, verdict, error)
    for name, seen in blind(frames).items():
        for verdict in verdicts(seen, config):
            yield outcome(seed, lens, name, verdict)


def main() -> None:
    """Run, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--all", action="store_true", help="every error in every drive")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write what was said, a line of JSON a verdict")
    parser.add_argument("--tables", type=Path, nargs="+", metavar="FILE", help="print the tables of such files")
    parser.add_argument("--sample", type=Path, metavar="RECORDING")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    if options.sample:
        sample(options.sample)
        return
    if options.tables:
        lines = [line for path in options.tables for line in path.read_text().splitlines()]
        show([Outcome(**json.loads(line)) for line in lines])
        return
    found: list[Outcome] = []
    for seed in range(options.first, options.first + options.seeds):
        new = list(judged(seed, everything=options.all))
        found += new
        for one in new:
            if (one.state == "suspect") == (one.error in ALL_RIGHT):
                print(f"seed {seed} {one.lens} {one.error} {one.camera}: {one.state}: {one.text}", file=sys.stderr)
        if options.output:
            with options.output.open("a") as file:
                file.writelines(json.dumps(asdict(one)) + "\n" for one in new)
        print(f"after seed {seed}: {time.process_time():.0f} s of CPU time", file=sys.stderr, flush=True)
    show(found)


def show(found: Sequence[Outcome]) -> None:
    """Print what was said of every error, and how many were found with every lens."""
    names = list(dict.fromkeys(one.error for one in sorted(found, key=lambda one: _place(one.error))))
    left_over = "left after the correction: median, 95 %, within 0.2 deg"
    print(f"| calibration | cameras | suspect | agrees | not measured | {left_over} |")
    print("|---|---|---|---|---|---|")
    for name in names:
        same = [one for one in found if one.error == name]
        counts = [sum(one.state == state for one in same) for state in STATES]
        left = np.array([one.left_deg for one in same if one.left_deg is not None])
        text = f"{np.median(left):.2f}, {np.percentile(left, 95):.2f}, {np.mean(left <= 0.2):.0%}" if len(left) else ""
        print(f"| {name} | {len(same)} | {' | '.join(map(str, counts))} | {text} |")
    print(f"\n| suspect of all | {' | '.join(CAMERA_MODELS)} |")
    print("|---|" + "---|" * len(CAMERA_MODELS))
    for name in names:
        cells = []
        for lens in CAMERA_MODELS:
            same = [one for one in found if (one.error, one.lens) == (name, lens)]
            cells.append(f"{sum(one.state == 'suspect' for one in same)} of {len(same)}" if same else "")
        print(f"| {name} | {' | '.join(cells)} |")


def _place(name: str) -> tuple[int, float, int]:
    """Where an error stands in the tables."""
    kind, _, rest = name.partition(" ")
    kinds = ("right", "turn", "shift", "late")
    axis = next((n for n, word in enumerate((*AXES, *PLACES)) if name.endswith(word)), 0)
    number = rest.partition(" ")[0]
    return (kinds.index(kind), float(number or 0), axis) if kind in kinds else (len(kinds), 0.0, 0)


if __name__ == "__main__":
    main()
