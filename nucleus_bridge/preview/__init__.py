# SPDX-License-Identifier: Apache-2.0
"""Sealed scenes as pages and views for people."""
