# SPDX-License-Identifier: Apache-2.0
"""Sealed scenes against the format rules and their checksums."""
