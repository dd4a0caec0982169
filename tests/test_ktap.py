#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""harness: KTAP and the kernel log, line by line."""

import tempfile
import unittest
from pathlib import Path

from judging import kunit_tools
from support import main, write

from harness.ktap import directive, failures, ktap_only, parse_list, plan_errors
from harness.splats import SPLAT, read_log, read_rules
from harness.verdict import Reason, Verdict


class Plans(unittest.TestCase):
    """plan_errors()"""

    def faults(self, *lines):
        return plan_errors(list(lines))

    def test_kept(self):
        self.assertEqual(self.faults('1..2', 'ok 1 a', 'ok 2 b'), [])
        self.assertEqual(self.faults('1..1', '    1..2', '    ok 1 a', '    not ok 2 b', 'not ok 1 s'), [])
        self.assertEqual(self.faults('1..1 # SKIP', 'ok 1 a'), [])

    def test_two_suites(self):
        self.assertEqual(self.faults('1..2', '    1..1', '    ok 1 a', 'ok 1 s', '    1..1', '    ok 1 b', 'ok 2 t'), [])

    def test_second_plan_of_a_level(self):
        self.assertEqual(self.faults('1..1', 'ok 1 a', '1..1', 'ok 1 b'), [])
        self.assertEqual(self.faults('1..2', 'ok 1 a', '1..1', 'ok 1 b'), ['planned 2, saw 1'])

    def test_too_few(self):
        self.assertEqual(self.faults('1..2', 'ok 1 a'), ['planned 2, saw 1'])

    def test_too_many(self):
        self.assertEqual(self.faults('1..1', 'ok 1 a', 'ok 2 b'), ['planned 1, saw 2'])

    def test_no_plan(self):
        self.assertEqual(self.faults('ok 1 a'), ['1 results without a plan'])

    def test_inner_plan_not_kept(self):
        self.assertEqual(self.faults('1..1', '    1..2', '    ok 1 a', 'ok 1 s'), ['planned 2, saw 1'])

    def test_wrong_number(self):
        self.assertIn('result 3 where 2 was due', self.faults('1..2', 'ok 1 a', 'ok 3 b'))

    def test_nothing(self):
        self.assertEqual(self.faults('hello'), ['no plan and no result'])


class Failures(unittest.TestCase):
    """failures(), directive(), ktap_only()"""

    def test_kunit(self):
        self.assertEqual(failures(['    # one: EXPECTATION FAILED at mm/x.c:1', '    Expected a == b, but', 'the rule',
                                   '    # two: ASSERTION FAILED at mm/x.c:2', '    other']),
                         ['    # one: EXPECTATION FAILED at mm/x.c:1\n    Expected a == b, but\nthe rule',
                          '    # two: ASSERTION FAILED at mm/x.c:2\n    other'])

    def test_selftest(self):
        self.assertEqual(failures(['# p.c:3:b:9 rounds', '# p.c:4:b:Expected lost (5) == 0 (0)', '# p.c:5:b:guards lost', '# b: Test failed']),
                         ['# p.c:4:b:Expected lost (5) == 0 (0)\n# p.c:5:b:guards lost'])

    def test_messages_without_failure(self):
        self.assertEqual(failures(['# p.c:3:b:9 rounds', '# Starting', 'not ok 1 b']), [])

    def test_directives(self):
        for line, word in (('ok 1 a # SKIP no', 'SKIP'), ('    ok 1 a # skip no', 'SKIP'), ('ok 1 - a # XFAIL', 'XFAIL'),
                           ('not ok 1 a # todo', 'TODO'), ('ok 1 a # XPASS', 'XPASS'), ('ok 1 b # SKIP no', ''), ('ok 1 a', ''),
                           ('ok 1 a # skipping', '')):
            with self.subTest(line):
                self.assertEqual(directive([line], 'a'), word)

    def test_version_line(self):
        self.assertEqual(ktap_only(['Linux', 'KTAP version 1', '1..0']), ['KTAP version 1', '1..0'])
        self.assertEqual(ktap_only(['TAP version 13']), ['TAP version 13'])
        self.assertEqual(ktap_only(['the KTAP version 1']), [])


class Parser(unittest.TestCase):
    """A kernel's kunit_parser.py, with its words corrected."""

    def leaves(self, *lines):
        return {leaf.name: (leaf.parsed, leaf.result.verdict, leaf.result.reason) for leaf in kunit_tools().leaves(list(lines))}

    def test_words(self):
        found = self.leaves('TAP version 13', '1..5', 'ok 1 a', 'not ok 2 b', 'ok 3 c # SKIP no', 'ok 4 d # XFAIL', 'ok 5 e # skip no')
        self.assertEqual(found, {'a': (Verdict.PASS, Verdict.PASS, Reason.SAID), 'b': (Verdict.FAIL, Verdict.FAIL, Reason.SAID),
                                 'c': (Verdict.SKIP, Verdict.SKIP, Reason.SAID), 'd': (Verdict.PASS, Verdict.FAIL, Reason.DIRECTIVE),
                                 'e': (Verdict.PASS, Verdict.SKIP, Reason.SAID)})

    def test_skip_reason(self):
        leaf, = kunit_tools().leaves(['TAP version 13', '1..1', 'ok 1 c # SKIP no moon'])
        self.assertEqual(leaf.result.note, 'no moon')


class List(unittest.TestCase):
    """parse_list(): rows as kselftest_harness.h prints them with -l."""
    HEAD = ('# FIXTURE', 'VARIANT', 'TEST')

    def rows(self, *rows):
        return ['-' * 80 if row is None else '%-20s %-25s %s' % row for row in (self.HEAD, *rows)]

    def test_variants_and_tests_are_two_columns(self):
        self.assertEqual(parse_list(self.rows(('f', 'v', 'a'), ('', 'w', 'b'), ('', '', 'c'), None, ('global', '', 'd'))),
                         ['f.v.a', 'f.v.b', 'f.v.c', 'f.w.a', 'f.w.b', 'f.w.c', 'global.d'])

    def test_messages_of_setup(self):
        self.assertEqual(parse_list(['# [INFO] detected hugetlb page size: 2048 KiB', *self.rows(('f', 'v', 'a'))]), ['f.v.a'])

    def test_more_variants_than_tests(self):
        self.assertEqual(parse_list(self.rows(('f', 'v', 'a'), ('', 'w', ''))), ['f.v.a', 'f.w.a'])

    def test_long_names(self):
        fixture, variant = 'a_fixture_longer_than_its_column', 'a_variant_longer_than_its_column'
        self.assertEqual(parse_list(self.rows((fixture, variant, 'a'), ('', 'w', 'b'))),
                         [f'{fixture}.{v}.{t}' for v in (variant, 'w') for t in 'ab'])

    def test_garbled(self):
        for line in ('a line of words', ' ' * 21 + 'v' + ' ' * 25 + 'a', '%-20s %-25s a b' % ('f', 'v')):
            with self.subTest(line), self.assertRaises(ValueError):
                parse_list(['%-20s %-25s %s' % self.HEAD, line])

    def test_nothing(self):
        self.assertEqual(parse_list([]), [])


class KernelLog(unittest.TestCase):
    """read_log() and the expressions of complaints."""

    def test_complaints(self):
        for line in ('WARNING: mm/x.c:1 at f+0x1', 'BUG: sleeping function called', 'BUG kmalloc-8 (Not tainted)', 'kernel BUG at mm/x.c:1!',
                     'KASAN: slab-use-after-free', 'UBSAN: shift-out-of-bounds', 'KFENCE: x', 'KCSAN: data-race', 'kmemleak: 1 new', 'Oops: 0000',
                     'general protection fault', 'Unable to handle kernel paging request', 'BUG: Bad page state', 'Bad swap file entry',
                     'Call Trace:', 'Call trace:', 'bad pmd 00000000', 'page allocation failure', 'trying to register non-static key',
                     'rcu: INFO: rcu_preempt', 'INFO: task a:1 blocked for more than 120 s', 'soft lockup', 'hard LOCKUP',
                     'page_table_check', 'possible circular locking dependency', 'inconsistent lock state', 'suspicious RCU usage'):
            with self.subTest(line):
                self.assertTrue(SPLAT.search(line))
        self.assertFalse(SPLAT.search('debug: nothing to see'))

    def test_sections(self):
        log = read_log('[ 0.1] BUG: a\n[ 1.0][ T1] mm: begin s\n[ 1.1] said\n[ 1.2] WARNING: b\n[ 1.3] mm: end s\n[ 1.4] BUG: c\n', [])
        self.assertEqual([(s.section, s.line) for s in log.splats], [(None, 'BUG: a'), ('s', 'WARNING: b'), (None, 'BUG: c')])
        self.assertEqual(log.splats[1].message, 'said\nWARNING: b')
        self.assertEqual(log.splats[2].message, '\nBUG: c')
        self.assertTrue(log.has_section('s'))
        self.assertFalse(log.panicked or log.lost_messages)

    def test_allowed(self):
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder) / 'splats', '# comment\n\nBUG: a\tit is known\n')
            log = read_log('BUG: a\nBUG: b\n', read_rules(Path(folder) / 'splats'))
        self.assertEqual(([s.line for s in log.splats], log.allowed), (['BUG: b'], {'BUG: a'}))

    def test_panic_and_gap(self):
        log = read_log('Kernel panic - not syncing: x\n** 9 printk messages dropped **\n', [])
        self.assertTrue(log.panicked and log.lost_messages)

    def test_rules_of_the_repository(self):
        self.assertTrue(all(rule.reason for rule in read_rules()))


if __name__ == '__main__':
    main()
