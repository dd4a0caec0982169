# SPDX-License-Identifier: GPL-2.0
"""The one exception for bad input."""

from pathlib import Path


class HarnessError(Exception):
    """Bad input. The message is one line that says what to do; __main__ prints it and exits 1."""


def read_text(path: Path) -> str:
    """The text of a file that may be absent: then it is empty."""
    try:
        return path.read_text(encoding='utf-8', errors='replace')
    except FileNotFoundError:
        return ''


def need_text(path: Path) -> str:
    """The text of a file that must be there."""
    try:
        return path.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else 'not UTF-8'
        raise HarnessError(f'cannot read {path}: {reason}') from error
