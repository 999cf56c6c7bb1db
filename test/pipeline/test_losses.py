# SPDX-License-Identifier: Apache-2.0
"""The ledger of losses: each goes to the scene of its time, and memory stays bounded."""

from __future__ import annotations

from nucleus_bridge.causes import faults
from nucleus_bridge.pipeline.losses import MAX_PENDING, LossLedger


def test_losses_go_to_the_scene_of_their_time() -> None:
    ledger = LossLedger()
    for stamp in (1, 5, 9):
        ledger.count("/image", "surplus", stamp)
    assert ledger.take_before(6) == {"/image": {"surplus": 2}}
    assert ledger.take_before(None) == {"/image": {"surplus": 1}}
    assert ledger.take_before(None) == {}
    assert ledger.totals == {"/image": {"surplus": 3}}
    assert faults(ledger.totals) == 0


def test_a_long_pause_takes_no_memory_and_loses_no_count() -> None:
    ledger = LossLedger()
    for stamp in range(5 * MAX_PENDING):
        ledger.count("/points", "paused", stamp)
        assert len(ledger._pending) <= MAX_PENDING
    assert ledger.take_before(None) == {"/points": {"paused": 5 * MAX_PENDING}}
