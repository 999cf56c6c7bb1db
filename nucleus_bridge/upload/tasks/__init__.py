# SPDX-License-Identifier: Apache-2.0
"""Annotation tasks: the calls, the submission of scenes, what the service holds."""
