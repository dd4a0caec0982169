#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""harness judge: the series' tests on base and series."""

import os
from unittest import mock

from judging import BAD, GOOD, PANIC, SKIPPED, WARNING, JudgeTest, kunit_text, marks, section
from support import main, write

from harness.errors import HarnessError


class KunitTest(JudgeTest):
    """A suite of two cases; the first fails on base."""

    def setUp(self):
        super().setUp()
        self.tests('kunit:s.one x86_64 FAIL the rule', 'kunit:s.two x86_64 PASS')
        self.base = self.kunit(self.plan('x86_64', 'test'), BAD)
        self.series = self.kunit(self.plan('x86_64', 'series'))

    def tests(self, *lines):
        write(self.topics / 't/tests', '\n'.join(lines) + '\n')


class KunitRun(KunitTest):
    """Good and spoiled guests."""

    def test_good(self):
        self.judge(0, '^2 passed, 0 failed, 0 skipped$')

    def test_base_fails_differently(self):
        self.kunit(self.base, BAD.replace('the rule', 'another rule'))
        self.judge(1, r'kunit:s.one .*NO-RESULT \(failed differently\)')
        row = self.data()['cases'][0]
        self.assertEqual((row['verdict'], row['reason']), ('NO-RESULT', 'other_assertion'))

    def test_base_passes(self):
        self.kunit(self.base)
        self.judge(1, r'kunit:s.one +x86_64 +PASS +PASS .*want FAIL')

    def test_absent_from_base(self):
        """Only the series has the suite: no guest of base is looked at."""
        self.tests('kunit:s.one x86_64 ABSENT f() is new', 'kunit:s.two x86_64 ABSENT f() is new')
        self.planned.remove(('x86_64-test', 'x86_64', 'test', '-'))
        self.judge(0, r'kunit:s.one +x86_64 +NO-RESULT \(not on base\) +PASS', '^2 passed, 0 failed, 0 skipped$')
        self.kunit(self.series, BAD)
        self.judge(1, 'kunit:s.one .*series: want PASS', '^1 passed, 1 failed, 0 skipped$')

    def test_race_won(self):
        self.tests('kunit:s.one x86_64 RACE the rule', 'kunit:s.two x86_64 PASS')
        self.kunit(self.base)
        self.judge(0, '^2 passed, 0 failed, 0 skipped$')

    def test_race_lost(self):
        self.tests('kunit:s.one x86_64 RACE the rule', 'kunit:s.two x86_64 PASS')
        self.judge(0, '^2 passed, 0 failed, 0 skipped$')

    def test_race_lost_differently(self):
        self.tests('kunit:s.one x86_64 RACE the rule', 'kunit:s.two x86_64 PASS')
        self.kunit(self.base, BAD.replace('the rule', 'another rule'))
        self.judge(1, r'kunit:s.one .*NO-RESULT \(failed differently\)')

    def test_race_lost_on_series(self):
        self.tests('kunit:s.one x86_64 RACE the rule', 'kunit:s.two x86_64 PASS')
        self.kunit(self.series, BAD)
        self.judge(1, 'kunit:s.one .*series: want PASS')

    def test_reason_at_end_of_log(self):
        self.kunit(self.series, BAD)
        self.judge(1, '^series: Expected a == b, but')
        self.assertNotIn('\nbase: ', self.text)

    def test_panic(self):
        self.series.append('console', PANIC).write(verdict='').cut('ktap', 'ok 2 two')
        self.judge(1, 'series: PANIC', r'kunit:s.two .*PANIC .*did not get there')

    def test_timeout_of_guest(self):
        self.series.write(ended='timeout\n', verdict='').cut('ktap', 'ok 2 two')
        self.judge(1, 'series: TIMEOUT')

    def test_timeout_of_test(self):
        self.series.write(verdict='ran kunit:s 143\ncomplete\n')
        self.judge(1, 'TIMEOUT of kunit:s', r'kunit:s.two .*TIMEOUT')

    def test_splat(self):
        self.series.write(console=marks('kunit:s', WARNING))
        self.judge(1, r'kunit:s.one .*SPLAT', '^x86_64-series: SPLAT in kunit:s: WARNING: mm/x.c')

    def test_no_kernel_log(self):
        self.series.write(console='')
        self.judge(1, 'kunit:s.one .*not in the kernel log')

    def test_kernel_log_cut_off(self):
        self.series.edit('console', '[ 1.1] mm: end kunit:s\n', '')
        self.judge(1, 'kunit:s is not in the kernel log')

    def test_kernel_log_with_gap(self):
        self.series.append('console', '** 812 printk messages dropped **\n')
        self.judge(1, 'has lost messages')

    def test_splat_at_boot(self):
        self.series.write(console='[ 0.5] BUG: x\n' + self.series.read('console'))
        self.judge(1, 'SPLAT in boot')

    def test_guest_stops_in_ktap(self):
        self.series.cut('ktap', 'ok 2 two').write(verdict='')
        self.judge(1, r'kunit:s.two .*NO-RESULT')

    def test_plan_not_kept(self):
        self.series.edit('ktap', '    ok 2 two\n', '')
        self.judge(1, 'planned 2, saw 1')

    def test_no_verdict(self):
        self.series.write(verdict='')
        self.judge(1, 'x86_64-series: NO-RESULT')

    def test_absent_suite(self):
        self.series.write(ktap='', verdict='absent kunit:s\ncomplete\n')
        self.judge(1, 'kunit:s is not in this guest')

    def test_unlisted_case(self):
        self.series.edit('ktap', '1..2', '1..3').edit('ktap', '    ok 2 two\n', '    ok 2 two\n    ok 3 three\n')
        self.judge(1, 'kunit:s.three ran and is not in')

    def test_cpu_missing(self):
        self.series.write(smp='2\n', verdict='cpus 1\nran kunit:s 0\ncomplete\n')
        self.judge(1, '1 CPUs and not 2')

    def test_empty_folder(self):
        self.series.remove('ktap', 'verdict', 'console', 'ended')
        self.judge(1, 'NO-RESULT')

    def test_no_folder(self):
        self.series.remove('ktap', 'verdict', 'console', 'ended', 'job').path.rmdir()
        self.judge(1, 'x86_64-series: NO-RESULT', r'kunit:s.two .*did not get there')

    def test_not_planned(self):
        self.planned = [line for line in self.planned if line[2] != 'series']
        self.series.remove('ktap', 'verdict', 'console', 'ended', 'job').path.rmdir()
        self.judge(1, 'x86_64-series: NO-RESULT')

    def test_all_skipped(self):
        self.kunit(self.base, SKIPPED)
        self.kunit(self.series, SKIPPED)
        self.judge(1, 'kunit:s.two was skipped in every guest', '^0 passed, 2 failed, 2 skipped$')

    def test_crash_after_plan(self):
        self.series.write(verdict='ran kunit:s 139\ncomplete\n')
        self.judge(1, 'ended with 139')

    def test_suite_not_ok_by_itself(self):
        self.series.edit('ktap', '\nok 1 s', '\nnot ok 1 s')
        self.judge(1, 'belongs to no case')

    def test_bail_out(self):
        self.series.edit('ktap', '    ok 2 two\n', '    ok 2 two\nBail out!\n')
        self.judge(1, 'kunit:s: Bail out!', r'kunit:s.two .*NO-RESULT')

    def test_expected_failure(self):
        self.series.edit('ktap', 'ok 2 two', 'ok 2 two # XFAIL later')
        self.judge(1, 'kunit:s.two .*FAIL')
        self.assertEqual(self.data()['cases'][1]['columns'][1]['why'], 'directive')

    def test_todo(self):
        self.series.edit('ktap', 'ok 2 two', 'ok 2 two # todo later')
        self.judge(1, 'kunit:s.two .*FAIL')

    def test_skip_in_lower_case(self):
        self.series.edit('ktap', 'ok 2 two', 'ok 2 two # skip no')
        self.judge(1, 'kunit:s.two .*SKIP')

    def test_case_that_ran_twice(self):
        text = section('kunit:s', kunit_text(GOOD))
        self.series.write(ktap=text + text)
        self.judge(1, r'kunit:s.two .*NO-RESULT .*ran twice')

    def test_section_that_never_ended(self):
        self.series.edit('ktap', '#### end kunit:s\n', section('kunit:x', ''))
        self.judge(1, r'kunit:s.two .*NO-RESULT .*cut off')

    def test_qemu_crashed(self):
        self.series.write(ended='exit 139\n')
        self.judge(1, '^x86_64-series: NO-RESULT')

    def test_bad_pmd(self):
        self.series.write(console=marks('kunit:s', '[ 1.05] mm/pgtable-generic.c:56: bad pmd 00000000\n'))
        self.judge(1, 'SPLAT')

    def test_architecture_not_asked_for(self):
        self.tests('kunit:s.one x86_64,arm64 FAIL the rule', 'kunit:s.two x86_64 PASS')
        self.judge(0, '^2 passed, 0 failed, 0 skipped$')

    def test_nothing_matches(self):
        self.request['test'] = 'gone'
        with self.assertRaisesRegex(HarnessError, "no test matches TEST='gone'"):
            self.judge(1)

    def test_unknown_topic(self):
        self.request['topic'] = 'gone'
        with self.assertRaisesRegex(HarnessError, "unknown TOPIC 'gone'; choose one of: t"):
            self.judge(1)

    def test_selection(self):
        self.request['test'] = 'two'
        self.judge(0, '^1 passed, 0 failed, 0 skipped$')


class AllowedSplats(KunitTest):
    """guest/splats; SPLATS= names another file."""

    def setUp(self):
        super().setUp()
        self.rules = self.work / 'splats'
        write(self.rules, 'WARNING: mm/x\tthe fixture says so\n')
        self.enterContext(mock.patch.dict(os.environ, SPLATS=str(self.rules)))

    def test_not_on_base(self):
        self.series.write(console=marks('kunit:s', WARNING))
        self.judge(1, 'does not happen on base')

    def test_on_base(self):
        for guest in (self.base, self.series):
            guest.write(console=marks('kunit:s', WARNING))
        self.judge(0, '^2 passed, 0 failed, 0 skipped$')

    def report(self, *more):
        """A warning that is allowed, to its end."""
        return marks('kunit:s', '\n'.join(f'[ 1.0] {line}' for line in (
            '------------[ cut here ]------------', 'WARNING: mm/x.c:1 at f+0x1/0x2', 'pc : __page_table_check_ptes_set+0x1/0x2',
            'Call trace:', ' __page_table_check_ptes_set+0x1/0x2 (P)', *more)) + '\n')

    def test_rest_of_the_report(self):
        for guest in (self.base, self.series):
            guest.write(console=self.report('---[ end trace 0000000000000000 ]---'))
        self.judge(0, '^2 passed, 0 failed, 0 skipped$')

    def test_another_report(self):
        for guest in (self.base, self.series):
            guest.write(console=self.report('---[ end trace 0000000000000000 ]---', 'Call trace:'))
        self.judge(1, 'SPLAT')

    def test_another_complaint_in_the_report(self):
        for guest in (self.base, self.series):
            guest.write(console=self.report('BUG: sleeping function called from invalid context'))
        self.judge(1, 'SPLAT')

    def test_without_reason(self):
        write(self.rules, 'WARNING: mm/x\n')
        with self.assertRaisesRegex(HarnessError, 'has no reason'):
            self.judge(1)

    def test_bad_expression(self):
        write(self.rules, 'WARNING: (\tthe fixture says so\n')
        with self.assertRaisesRegex(HarnessError, 'is no regular expression'):
            self.judge(1)


class Uml(JudgeTest):
    """UML: no ports, the console has the KTAP. guest/arch/um says so, not an absent file."""

    def setUp(self):
        super().setUp()
        self.request['archs'] = ['um']
        write(self.topics / 't/tests', 'kunit:s.one um FAIL the rule\nkunit:s.two um PASS\n')
        self.base, self.series = self.uml('test', BAD), self.uml('series', GOOD)

    def uml(self, variant, cases):
        text = ''.join(f'[    0.1] {line}\n' for line in kunit_text(cases).splitlines())
        return self.plan('um', variant).write(ended='exit 0\n', job='', console=f'[    0.0] Linux\n{text}[    0.2] reboot\n')

    def test_good(self):
        self.judge(0, '^2 passed, 0 failed, 0 skipped$')

    def test_splat(self):
        self.series.edit('console', '[    0.2] reboot', '[    0.2] WARNING: mm/x.c:1 at f+0x1\nreboot')
        self.judge(1, r'kunit:s.two .*SPLAT', 'SPLAT in boot')

    def test_panic(self):
        self.series.append('console', 'Kernel panic - not syncing: x\n')
        self.judge(1, 'um-series: PANIC', r'kunit:s.two .*PANIC .*cut off')

    def test_two_texts(self):
        self.series.append('console', kunit_text(GOOD))
        self.judge(1, 'not one KTAP text')


if __name__ == '__main__':
    main()
