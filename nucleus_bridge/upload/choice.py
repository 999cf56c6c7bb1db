# SPDX-License-Identifier: Apache-2.0
"""Which destination the settings ask for: annotation tasks when they name a task template, else a Nucleus dataset."""

from __future__ import annotations

import os
from collections.abc import Mapping

from nucleus_bridge.config import UploadConfig
from nucleus_bridge.upload.nucleus.dataset import DatasetDestination
from nucleus_bridge.upload.tasks.destination import TaskDestination


def destination_for(settings: UploadConfig) -> type[DatasetDestination | TaskDestination]:
    """Return the kind of destination."""
    return TaskDestination if settings.task_template else DatasetDestination


def key_for(settings: UploadConfig, environment: Mapping[str, str] = os.environ) -> str:
    """Return the API key that the destination needs: a Nucleus key makes no tasks, and the other way round.

    Raises:
        ConfigError: There is none.
    """
    return destination_for(settings).key_from_environment(environment)
