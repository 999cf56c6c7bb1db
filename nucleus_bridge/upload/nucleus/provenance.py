# SPDX-License-Identifier: Apache-2.0
"""What a scene's metadata get at submission: where the scene comes from, and what is known to be missing or odd.

It is no part of ``scene.json``, whose bytes depend on the drive and the configuration alone. A key that the
configuration sets itself stays as it is set.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nucleus_bridge.causes import faults
from nucleus_bridge.spool import Manifest, Spool, conversions
from nucleus_bridge.spool.conversions import Conversion

PROVENANCE = ("recording", "recording_digest", "software", "losses", "warnings")


class Provenance:
    """Knows which recording each scene of a spool was converted from; notes are read when there are new ones."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._made: dict[str, Conversion] = {}
        self._seen: tuple[int, int] | None = None

    def of(self, manifest: Manifest) -> dict[str, Any]:
        """Return what is added to a scene's metadata: name and digest of the recording, software, losses, warnings.

        A scene that was recorded live, or whose conversion is not complete yet, has no recording.
        """
        made = self._conversion(manifest.reference_id)
        codes = sorted({str(warning["code"]) for warning in manifest.warnings if "code" in warning})
        told: dict[str, Any] = {"software": manifest.software, "losses": faults(manifest.losses)}
        if made is not None and made.recording:
            told["recording"] = made.recording
        if made is not None and made.digest:
            told["recording_digest"] = made.digest
        if codes:
            told["warnings"] = ", ".join(codes)
        return {key: told[key] for key in PROVENANCE if key in told}

    def _conversion(self, reference_id: str) -> Conversion | None:
        if reference_id not in self._made and (seen := _state_of(self._spool.path / conversions.FOLDER)) != self._seen:
            self._seen = seen
            self._made = {
                scene.reference_id: conversion
                for conversion in conversions.notes(self._spool)
                for scene in conversion.scenes
            }
        return self._made.get(reference_id)


def _state_of(folder: Path) -> tuple[int, int] | None:
    """Return what changes when a note is made."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_nlink
