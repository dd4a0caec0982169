#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""No Python or shell file is longer than 350 lines, and no function in one longer than 50."""

import ast
import re
import subprocess
import unittest
from collections.abc import Iterator
from pathlib import Path

from support import TOP, main

FILE_LINES, FUNCTION_LINES = 350, 50


def python_functions(text: str) -> Iterator[tuple[str, int]]:
    """(name, lines) of each function."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def shell_functions(text: str) -> Iterator[tuple[str, int]]:
    """(name, lines) of each function; a function ends with a brace at the start of a line."""
    for match in re.finditer(r'^(\w+)\(\) \{\n(.*?)^\}', text, re.MULTILINE | re.DOTALL):
        yield match[1], match[0].count('\n') + 1


def our_files() -> Iterator[tuple[Path, str]]:
    """(path, text) of each Python or shell file of the repository."""
    listed = subprocess.run(['git', '-C', str(TOP), 'ls-files', '-z'], capture_output=True, text=True, check=True)
    for name in listed.stdout.split('\0'):
        path = TOP / name
        if not name or path.is_symlink() or not path.is_file() or path.suffix not in ('', '.py', '.sh'):
            continue
        text = path.read_text(errors='replace')
        if path.suffix or re.match(r'#!.*\b(sh|bash|python3)\b', text):
            yield path, text


class Lengths(unittest.TestCase):
    """The limits of the project."""

    def test_files_and_functions(self) -> None:
        """Each over-long file or function is named."""
        wrong, files, functions = [], 0, 0
        for path, text in our_files():
            is_python = path.suffix == '.py' or 'python3' in text.partition('\n')[0]
            files += 1
            if text.count('\n') > FILE_LINES:
                wrong.append(f'{path.relative_to(TOP)} has {text.count(chr(10))} lines')
            for name, lines in (python_functions if is_python else shell_functions)(text):
                functions += 1
                if lines > FUNCTION_LINES:
                    wrong.append(f'{path.relative_to(TOP)}: {name}() has {lines} lines')
        self.assertEqual(wrong, [])
        self.assertGreater(files, 50)
        self.assertGreater(functions, 300)


if __name__ == '__main__':
    main()
