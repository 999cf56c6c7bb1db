# SPDX-License-Identifier: Apache-2.0
"""From the model to the bytes that are stored and uploaded."""
