#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""README.md: its figures, verbs, settings and places are those of the repository."""

import re
import subprocess
import sys
import unittest
from fnmatch import fnmatch

from support import SETTINGS, TOP, main

sys.path.insert(0, str(TOP))
# pylint: disable=wrong-import-position
from harness import plan
from harness.topics import Kind, read_order, read_series

TEXT = (TOP / 'README.md').read_text()
MAKEFILE = (TOP / 'Makefile').read_text()
# Not for users: tests point them at fixtures, or one script hands them to another.
INTERNAL = {'TOPICS', 'STAGE_TIMES', 'MAKEFLAGS', 'MAKELEVEL'}


def rows(heading):
    """The rows of the tables below that heading, a list of cells each."""
    part = TEXT.split(f'\n## {heading}\n', 1)[1].split('\n## ', 1)[0]
    return [[cell.strip() for cell in line.strip('|').split(' | ')] for line in part.splitlines() if line.startswith('| ')]


class Readme(unittest.TestCase):
    """A test for each table."""

    def test_patches_of_each_topic(self):
        for name, topic in read_order(TOP / 'topics').items():
            series = read_series(topic)
            fixes = sum(patch.kind is Kind.FIX for patch in series)
            row = next(line for line in TEXT.splitlines() if line.startswith(f'| [{name}]('))
            self.assertTrue(row.endswith(f'| {len(series)}, of them {fixes} fixes |'), row)

    def test_verbs(self):
        verbs = {verb for row in rows('See the results') for verb in re.findall(r'`([a-z]+)`', row[0]) if len(row) == 3}
        self.assertEqual(verbs, set(re.findall(r'^([a-z]+):.*## ', MAKEFILE, re.M)) - {'help'})

    def test_settings(self):
        said = {name for row in rows('All settings') for name in re.findall(r'\b([A-Z_]+)=', row[0])}
        self.assertEqual(said, set(SETTINGS) - INTERNAL)

    def test_settings_that_check_ignores(self):
        starred = {name for row in rows('All settings') if row[0].endswith('*') for name in re.findall(r'\b([A-Z_]+)=', row[0])}
        self.assertEqual(starred, set(re.findall(r'^check evidence repeat: override (\w+) :=', MAKEFILE, re.M)))

    def test_defaults(self):
        defaults = {row[0].split('=')[0].strip('`'): row[2].strip('`') for row in rows('All settings')}
        self.assertEqual({name: defaults[name] for name in ('MEMORY', 'SMP', 'HUGETLB', 'CASE_SECONDS')},
                         {**plan.DEFAULTS, 'HUGETLB': plan.HUGETLB, 'CASE_SECONDS': plan.CASE_SECONDS})

    def test_how_long_a_race_takes(self):
        header = (TOP / 'tools/testing/selftests/mm/race_util.h').read_text()
        enough, seconds, least, most = (re.search(rf'^#define RACE_{name}\s+(\d+)$', header, re.M)[1]
                                        for name in ('ENOUGH_OVERLAPS', 'SECONDS', 'MIN_OVERLAPS', 'MAX_SECONDS'))
        text = ' '.join(next(part for part in TEXT.split('\n\n') if part.startswith('A race ends')).split())
        self.assertIn(f'after {int(enough):,} overlaps or after {seconds} seconds; with fewer than {least} overlaps it goes on for up to '
                      f'{most}.', text)

    def test_places(self):
        for row in rows('Change it'):
            for place in re.findall(r'`([\w./]+)`', row[0]):
                found = (TOP / place).exists() or (TOP / 'topics' / place).exists()
                self.assertTrue(found, place)

    def test_every_folder_has_a_row(self):
        said = ' '.join(row[0] for row in rows('Change it'))
        for path in TOP.iterdir():
            if path.is_dir() and path.name not in ('.git', 'out', '__pycache__'):
                self.assertIn(f'`{path.name}/`', said)

    def test_every_file_has_a_maintainer(self):
        patterns = re.findall(r'^F:\t(.*)$', (TOP / 'MAINTAINERS').read_text(), re.M)
        listed = subprocess.run(['git', 'ls-files'], cwd=TOP, capture_output=True, text=True, check=True).stdout.split()
        self.assertEqual([path for path in listed if path not in ('COPYING', 'MAINTAINERS', '.gitignore', '.shellcheckrc') and
                          not any(path.startswith(f) if f.endswith('/') else fnmatch(path, f) for f in patterns)], [])

    def test_evidence_runs_every_flavour(self):
        """A case, or a mutant, of another flavour than debug has a stage of make evidence that runs it there."""
        evidence = (TOP / 'topics/evidence').read_text()
        runs = re.findall(r'FLAVOUR=([\w+]+)(?: TEST=([\w.]+))? scripts/run (.*)', evidence)
        for path in (TOP / 'topics').glob('*/tests'):
            for case, places in re.findall(r'(?m)^(\S+:\S+)\s+(\S*@\S+)', path.read_text()):
                for arch, flavour in (place.split('@') for place in places.split(',') if '@' in place):
                    self.assertTrue(any(flavour == f and test in case and arch in archs.split() for f, test, archs in runs),
                                    f'no stage runs {case} on {arch}@{flavour}')
        mutants = set(re.findall(r'FLAVOUR=([\w+]+) scripts/mutants', evidence))
        for path in (TOP / 'topics').glob('*/mutants/*'):
            self.assertLessEqual(set(re.findall(r'(?m)^Caught-by: \w+@(\S+)', path.read_text())), mutants, path.name)


if __name__ == '__main__':
    main()
