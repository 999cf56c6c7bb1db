# SPDX-License-Identifier: Apache-2.0
"""Serialised messages to the vocabulary of :mod:`nucleus_bridge.model`, one module a message family."""
