# SPDX-License-Identifier: Apache-2.0
"""What imitates the world: the demo drive and the local receiver."""
