# SPDX-License-Identifier: Apache-2.0
"""Demo drives on disk, for tests."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nucleus_bridge.config import Config, load_config
from nucleus_bridge.testing.demo import DriveOptions, demo_config, write_demo_drive


@dataclass(frozen=True)
class Drive:
    """A demo drive on disk with its configuration and its truth."""

    bag: Path
    config_path: Path
    truth: dict[str, Any]

    @property
    def config(self) -> Config:
        return load_config(self.config_path)


def make_drive(folder: Path, options: DriveOptions) -> Drive:
    bag = folder / "drive"
    truth = write_demo_drive(bag, options)
    truth_path = truth if truth.suffix == ".json" else bag.with_name("drive.truth.json")
    config = folder / "drive.yaml"
    config.write_text(demo_config(options))
    return Drive(bag, config, json.loads(truth_path.read_text()))


SHORT = DriveOptions(seconds=4.0, points=8000, cameras=2)
