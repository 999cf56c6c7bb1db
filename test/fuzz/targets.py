# SPDX-License-Identifier: Apache-2.0
"""Every fuzzed target by its name."""

from __future__ import annotations

import catalogue_targets
import decoder_targets
import message_targets
import recording_targets
import scene_file_targets
import service_targets
import text_targets

MODULES = (
    catalogue_targets,
    decoder_targets,
    message_targets,
    recording_targets,
    text_targets,
    service_targets,
    scene_file_targets,
)
TARGETS = {target.name: target for module in MODULES for target in module.TARGETS}
