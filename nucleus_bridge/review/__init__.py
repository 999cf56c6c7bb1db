# SPDX-License-Identifier: Apache-2.0
"""Looking at what was recorded and written: checks and views for people."""
