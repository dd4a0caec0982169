# SPDX-License-Identifier: GPL-2.0
"""The harness: reads topics/, plans guests, judges the results that guests leave."""
