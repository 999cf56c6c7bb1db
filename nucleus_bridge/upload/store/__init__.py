# SPDX-License-Identifier: Apache-2.0
"""Object stores: URLs, clients, and puts that never overwrite."""
