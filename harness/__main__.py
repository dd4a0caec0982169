# SPDX-License-Identifier: GPL-2.0
"""harness COMMAND: plan guests, boot them, judge their results."""

import argparse
import importlib
import sys

from .errors import HarnessError

MODULES = ('cli_plan', 'cli_judge', 'cli_list', 'cli_page', 'cli_post', 'evidence', 'figures')


def main() -> int:
    """Run one command."""
    parser = argparse.ArgumentParser(prog='harness', description=__doc__)
    commands = parser.add_subparsers(metavar='COMMAND', required=True)
    for name in MODULES:
        importlib.import_module(f'.{name}', __package__).add_commands(commands)
    args = parser.parse_args()
    try:
        return args.func(args)
    except HarnessError as error:
        print(f'harness: {error}', file=sys.stderr)
        return 1


if __name__ == '__main__':
    sys.exit(main())
