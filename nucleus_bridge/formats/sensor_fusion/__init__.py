# SPDX-License-Identifier: Apache-2.0
"""Sensor-fusion frames, as JSON and as protocol buffers: one file a frame, with its points, and image files."""
