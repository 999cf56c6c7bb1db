# SPDX-License-Identifier: Apache-2.0
"""From the spool to the object store, and to a Nucleus dataset or into annotation tasks."""
