# SPDX-License-Identifier: Apache-2.0
"""Sources of poses: each yields edges of the one transform tree."""
