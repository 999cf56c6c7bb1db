# SPDX-License-Identifier: Apache-2.0
"""The files that a preview page is put together from."""
