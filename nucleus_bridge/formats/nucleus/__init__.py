# SPDX-License-Identifier: Apache-2.0
"""Nucleus scenes: a payload, a point cloud file and image files a frame."""
