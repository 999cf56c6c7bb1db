# SPDX-License-Identifier: Apache-2.0
"""What is in a recording, what it is good for, and a configuration for it."""
