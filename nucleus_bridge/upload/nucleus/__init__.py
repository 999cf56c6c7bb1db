# SPDX-License-Identifier: Apache-2.0
"""Nucleus datasets: the calls, the submission of scenes, what the service holds."""
