#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""harness: guests as they are on disk, in tests/fixtures/guests/NAME, are loaded as their file `expected` says.

The lines of `expected`: arch and mutant are those of load_guest(); then the guest's state, and each case with
verdict, reason and the test's own word; complaints with their section; problems; lists of programs.
"""

import unittest
from pathlib import Path

from judging import kunit_tools
from support import main

from harness.arch import find_arch
from harness.guest import Guest, load_guest, read_folder
from harness.verdict import Verdict

FIXTURES = Path(__file__).resolve().parent / 'fixtures' / 'guests'
FILES = ('console', 'ktap', 'verdict', 'ended')


def described(guest: Guest) -> list[str]:
    """A guest as lines of `expected`."""
    lines = [f'state {guest.state.value}']
    lines += [f'case {name} {c.verdict.value} {c.reason.name.lower()} {c.said.value}' for name, c in guest.cases.items()]
    lines += [f'splat {s.section or "-"} {s.line}' for s in guest.splats]
    lines += [f'problem {p.section or "-"} {p.fault.name.lower()}' for p in guest.problems]
    lines += [f'list {program} {" ".join(names)}' for program, names in guest.lists.items()]
    return lines


class Fixtures(unittest.TestCase):
    """A test for each folder is added below."""
    maxDiff = None

    def check(self, folder: Path) -> None:
        before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
        lines = (folder / 'expected').read_text().splitlines()
        given = dict(line.split(' ', 1) for line in lines if line.startswith(('arch ', 'mutant ')))
        guest = load_guest(read_folder(folder, []), find_arch(given['arch']), kunit_tools(), given.get('mutant', ''))
        self.assertEqual(lines[len(given):], described(guest))
        self.assertEqual(before, {path: path.stat().st_mtime_ns for path in folder.iterdir()}, 'loading has changed the folder')

    def test_every_verdict_has_a_fixture(self):
        words = [line.rsplit(' ', 3)[1] for path in FIXTURES.glob('*/expected') for line in path.read_text().splitlines()
                 if line.startswith('case ')]
        self.assertEqual(set(words), {verdict.value for verdict in Verdict})

    def test_fixtures_are_whole(self):
        for folder in FIXTURES.iterdir():
            with self.subTest(folder.name):
                self.assertLessEqual({*FILES, 'expected'}, {path.name for path in folder.iterdir()})


def _add(folder: Path) -> None:
    setattr(Fixtures, 'test_' + folder.name.replace('-', '_'), lambda self: self.check(folder))


for _folder in sorted(FIXTURES.iterdir()):
    _add(_folder)


if __name__ == '__main__':
    main()
