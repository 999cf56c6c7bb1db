# SPDX-License-Identifier: Apache-2.0
"""Notes in the spool of which recordings were converted, so that doing it again is quick and harmless."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nucleus_bridge
from nucleus_bridge.config import Config
from nucleus_bridge.errors import SceneError
from nucleus_bridge.spool.durable import replace_file
from nucleus_bridge.spool.manifest import Manifest, SealedScene
from nucleus_bridge.spool.spool import Spool

FOLDER = "conversions"


@dataclass(frozen=True)
class Conversion:
    """What a finished conversion left behind."""

    scenes: Sequence[SealedScene]
    losses: dict[str, dict[str, int]]
    reasons: dict[str, str]


def key(files: Iterable[Path], config: Config) -> str:
    """Name a conversion by its input files (name, size, time of change), configuration and software version."""
    identity = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(files)]
    text = json.dumps([identity, config.digest, nucleus_bridge.__version__])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def find(spool: Spool, name: str) -> Conversion | None:
    """Return what an earlier conversion made, if all of it is still in the spool."""
    try:
        record = json.loads((spool.path / FOLDER / f"{name}.json").read_bytes())
        folders = [spool.scene_folder(reference_id) for reference_id in record["scenes"]]
        scenes = [SealedScene(folder, Manifest.read(folder), existed=True) for folder in folders]
        return Conversion(scenes, record["losses"], record["reasons"])
    except (OSError, ValueError, KeyError, TypeError, SceneError):
        return None


def note(
    spool: Spool,
    name: str,
    scenes: Iterable[SealedScene],
    losses: Mapping[str, Mapping[str, int]],
    reasons: Mapping[str, str],
) -> None:
    """Write down that a conversion is complete."""
    folder = spool.path / FOLDER
    folder.mkdir(exist_ok=True)
    record = {"scenes": [scene.manifest.reference_id for scene in scenes], "losses": losses, "reasons": reasons}
    replace_file(folder / f"{name}.json", (json.dumps(record, indent=1) + "\n").encode())
