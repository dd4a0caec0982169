#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""harness/series_check.py: the data of topics/*/series against mails and tests."""

import sys
import unittest
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from small_tree import FIX, FIX_DATA, HEAD
from support import TOP, main, write

sys.path.insert(0, str(TOP))
# pylint: disable=wrong-import-position
from harness.errors import HarnessError  # noqa: E402
from harness.series_check import check_series, has_fixes  # noqa: E402
from harness.topics import Kind, topics_folder  # noqa: E402

OTHER = HEAD + 'other\n\nWhy.\n---\nFixes: not in the message\n'


class SeriesCheck(unittest.TestCase):
    """On a folder with one topic."""

    def setUp(self):
        folder = TemporaryDirectory()  # pylint: disable=consider-using-with
        self.addCleanup(folder.cleanup)
        self.topics = Path(folder.name) / 'topics'
        write(self.topics / 'order', 'demo\n')
        write(self.topics / 'demo/tests', 'selftest:s.a x86_64 FAIL the rule\nselftest:s.b x86_64 PASS\n')
        write(self.topics / 'demo/0001-fix.patch', FIX)
        write(self.topics / 'demo/0002-other.patch', OTHER)
        self.series(FIX_DATA, 'development')

    def series(self, *data):
        names = ('0001-fix.patch', '0002-other.patch')
        write(self.topics / 'demo/series', ''.join(f'{name} {text}\n' for name, text in zip(names, data)))

    def refuses(self, pattern):
        with self.assertRaisesRegex(HarnessError, pattern) as caught:
            check_series(self.topics)
        self.assertEqual(len(str(caught.exception).splitlines()), 1)

    def with_fact(self, name, value):
        words = [f'{name}={value}' if word.startswith(f'{name}=') else word for word in FIX_DATA.split()]
        self.series(' '.join(words), 'development')

    def test_good(self):
        self.assertEqual(check_series(self.topics), Counter({Kind.FIX: 1, Kind.DEVELOPMENT: 1}))

    def test_inspection_without_case(self):
        self.series('fix group=alone trigger=none evidence=inspection case=none stable=6.1', 'test')
        self.assertEqual(check_series(self.topics)[Kind.TEST], 1)

    def test_each_fact_is_wanted(self):
        for word in FIX_DATA.split()[1:]:
            with self.subTest(word):
                self.series(FIX_DATA.replace(f' {word}', ''), 'development')
                self.refuses(f'a fix without {word.partition("=")[0]}=')

    def test_each_fact_is_to_be_filled_in(self):
        for word in FIX_DATA.split()[1:]:
            name = word.partition('=')[0]
            with self.subTest(name):
                self.with_fact(name, '?')
                self.refuses(rf"{name}='\?' does not match")

    def test_unknown_kind(self):
        self.series(FIX_DATA, 'nonsense')
        self.refuses('want FILE KIND')

    def test_line_without_kind(self):
        self.series(FIX_DATA, '')
        self.refuses('want FILE KIND')

    def test_fix_without_tag(self):
        write(self.topics / 'demo/0001-fix.patch', OTHER)
        self.refuses("0001-fix.patch is a fix and has no 'Fixes:'")

    def test_tag_without_fix(self):
        write(self.topics / 'demo/0002-other.patch', FIX)
        self.refuses("0002-other.patch has 'Fixes:' and is no fix")

    def test_fix_that_comes_late(self):
        write(self.topics / 'demo/series', f'0002-other.patch test\n0001-fix.patch {FIX_DATA}\n')
        self.refuses('0001-fix.patch is a fix and comes after 0002-other.patch; fixes come first')

    def test_unknown_case(self):
        self.with_fact('case', 'selftest:s.c')
        self.refuses("has no case 'selftest:s.c'")

    def test_seen_by_a_case_that_passes(self):
        self.with_fact('case', 'selftest:s.b')
        self.refuses('evidence=seen wants case= to be one that does not pass on base')

    def test_seen_by_no_case(self):
        self.with_fact('case', 'none')
        self.refuses('evidence=seen wants case=')

    def test_seen_and_never_triggered(self):
        self.with_fact('trigger', 'none')
        self.refuses('evidence=seen and trigger=none contradict')

    def test_group_of_one(self):
        self.with_fact('group', 'pair')
        self.refuses("group 'pair' has no other fix; say group=alone")

    def test_missing_patch(self):
        (self.topics / 'demo/0002-other.patch').unlink()
        self.refuses('cannot read .*0002-other.patch')

    def test_patch_that_series_does_not_name(self):
        write(self.topics / 'demo/0003-stray.patch', OTHER)
        self.refuses('does not name 0003-stray.patch')

    def test_patch_that_is_there_twice(self):
        write(self.topics / 'demo/series', f'0001-fix.patch {FIX_DATA}\n0001-fix.patch {FIX_DATA}\n')
        self.refuses('0001-fix.patch is there twice')

    def test_tag_below_the_message(self):
        self.assertTrue(has_fixes(FIX))
        self.assertFalse(has_fixes(OTHER))

    def test_the_series_itself(self):
        self.assertGreater(check_series(topics_folder())[Kind.FIX], 0)


if __name__ == '__main__':
    main()
