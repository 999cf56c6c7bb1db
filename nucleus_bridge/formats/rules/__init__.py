# SPDX-License-Identifier: Apache-2.0
"""What formats check their scenes with: findings, files, and the rules that several of them have in common."""
