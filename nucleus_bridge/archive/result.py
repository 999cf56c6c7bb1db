# SPDX-License-Identifier: Apache-2.0
"""What became of a recording of an archive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nucleus_bridge.causes import faults
from nucleus_bridge.spool.conversions import Conversion
from nucleus_bridge.warnings import says_incomplete

DONE, SKIPPED, FAILED = "done", "skipped", "failed"


@dataclass(frozen=True)
class BagResult:
    """What became of one recording.

    Attributes:
        bag: Its path or URL.
        state: ``done``, ``skipped`` (converted before, with the same settings) or ``failed``.
        conversion: What came of it; None when it failed.
        new: Ids of the scenes that were not there before.
        error: Why it failed, or was skipped though it was not converted before.
        warnings: What explains the error.
        is_input_error: Whether the recording or a setting was at fault.
    """

    bag: str
    state: str
    conversion: Conversion | None = None
    new: frozenset[str] = frozenset()
    error: str = ""
    is_input_error: bool = False
    warnings: tuple[Mapping[str, str], ...] = ()

    @property
    def complete(self) -> bool:
        """Whether it was converted and nothing was lost by fault."""
        done = self.conversion
        if done is None or faults(done.losses) or any(part.loses_messages for part in done.damage):
            return False
        return not any(says_incomplete(warning) for warning in done.findings)
