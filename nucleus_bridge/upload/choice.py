# SPDX-License-Identifier: Apache-2.0
"""Which destination the settings ask for."""

from __future__ import annotations

import os
from collections.abc import Mapping

from nucleus_bridge.config import UploadConfig
from nucleus_bridge.upload.dataset import DatasetDestination
from nucleus_bridge.upload.http import key_from_environment


def destination_for(settings: UploadConfig) -> type[DatasetDestination]:
    """Return the kind of destination."""
    del settings
    return DatasetDestination


def key_for(settings: UploadConfig, environment: Mapping[str, str] = os.environ) -> str:
    """Return the API key that the destination needs.

    Raises:
        ConfigError: There is none.
    """
    return key_from_environment(destination_for(settings).key_variable, environment)
