#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""harness judge: selftests, a section each; splats that the base is expected to have; lists of cases."""

from judging import PANIC, WARNING, JudgeTest, marks, section, selftest_text
from support import main, write


class SelftestRun(JudgeTest):
    """A program of two cases, each with a section of its own. The base may splat by the second."""

    def setUp(self):
        super().setUp()
        self.base = self.selftest(self.plan('x86_64', 'base'))
        self.series = self.selftest(self.plan('x86_64', 'series'))
        self.list_cases()

    def expect(self, *lines):
        write(self.topics / 't/tests', '\n'.join(['selftest:p.f.v.a x86_64 PASS', *lines]) + '\n')

    def selftest(self, guest, second='ok', console='', said=''):
        """The result of f.v.a is ok; of global.b it is `second`, or nothing if that is empty."""
        text = selftest_text('global.b', second, said) if second else ''
        return self.good(guest, verdict=f'ran selftest:p.f.v.a 0\nran selftest:p.global.b {int(second != "ok")}\ncomplete\n',
                         console=marks('selftest:p.f.v.a') + marks('selftest:p.global.b', console),
                         ktap=section('selftest:p.f.v.a', selftest_text('f.v.a', 'ok')) + section('selftest:p.global.b', text))

    def list_cases(self, rows=(('f', 'v', 'a'), None, ('global', '', 'b')), status=4):
        """The series guest lists the program's cases, as kselftest_harness.h prints them."""
        lines = ['-' * 80 if row is None else '%-20s %-25s %s' % row for row in [('# FIXTURE', 'VARIANT', 'TEST'), *rows]]
        self.series.append('ktap', section('list:p', '\n'.join(lines) + '\n')).append('console', marks('list:p'))
        self.series.edit('verdict', 'complete', f'ran list:p {status}\ncomplete')

    def on_series(self, *args):
        self.selftest(self.series, *args)
        self.list_cases()

    def on_base(self, *args, **kwargs):
        return self.selftest(self.plan('x86_64', 'base', 'selftest:p.global.b'), *args, **kwargs)


class SplatOnBase(SelftestRun):
    """The kernel complains of global.b on base."""

    def setUp(self):
        super().setUp()
        self.expect('selftest:p.global.b x86_64 SPLAT the table is full')
        self.splats = self.on_base('ok', WARNING)

    def silent(self):
        """The base splats, and the test says nothing more."""
        self.on_base('', WARNING).write(verdict='ran selftest:p.f.v.a 0\nran selftest:p.global.b 124\ncomplete\n')

    def dead(self):
        """The base splats in the midst of the test, and the guest ends there."""
        self.on_base('', WARNING).write(verdict='cpus 2\n', smp='2\n')
        self.splats.write(ktap='#### begin selftest:p.global.b\nTAP version 13\n1..1\n# Starting\n')

    def test_expected(self):
        self.judge(0, '^2 passed, 0 failed')

    def test_then_silence(self):
        self.silent()
        self.judge(0, '^2 passed, 0 failed')

    def test_then_panic(self):
        self.dead()
        self.splats.append('console', PANIC)
        self.judge(0, r'p.global.b +x86_64 +SPLAT, PANIC +PASS')

    def test_then_hang(self):
        self.dead()
        self.splats.write(ended='timeout\n')
        self.judge(1, 'x86_64-base-p.global.b: TIMEOUT')

    def test_then_a_stall_outside(self):
        """A processor is lost: that is the splat's consequence."""
        self.splats.append('console', '[ 9.0] rcu: INFO: rcu_preempt detected stalls\n')
        self.judge(0, '^2 passed, 0 failed')

    def test_stall_before(self):
        self.splats.write(console='[ 0.1] rcu: INFO: rcu_preempt detected stalls\n' + self.splats.read('console'))
        self.judge(1, 'SPLAT in boot')

    def test_another(self):
        self.on_base('ok', WARNING.replace('full', 'empty'))
        self.judge(1, r'SPLAT \(another one\)')

    def test_none(self):
        self.on_base('ok')
        self.judge(1, 'want SPLAT')

    def test_in_skipped_test(self):
        self.splats.edit('ktap', 'ok 1 global.b', 'ok 1 global.b # SKIP no')
        self.judge(1, 'in a test that was skipped')

    def test_on_series_too(self):
        self.on_series('ok', WARNING)
        self.judge(1, 'p.global.b .*series: want PASS')

    def test_no_result_on_series(self):
        self.on_series('')
        self.judge(1, 'p.global.b .*NO-RESULT')

    def test_unlisted_case_in_its_guest(self):
        """The guest's name has dashes: its architecture comes from the plan."""
        self.splats.edit('ktap', '#### begin selftest:p.global.b', section('selftest:p.global.c', selftest_text('global.c', 'ok'))
                         + '#### begin selftest:p.global.b')
        self.splats.edit('verdict', 'complete', 'ran selftest:p.global.c 0\ncomplete')
        self.splats.append('console', marks('selftest:p.global.c'))
        self.judge(1, 'x86_64-base-p.global.b: selftest:p.global.c ran and is not in')

    def test_race_lost(self):
        self.expect('selftest:p.global.b x86_64 RACE SPLAT the table is full')
        self.judge(0, '^2 passed, 0 failed')

    def test_race_won(self):
        self.expect('selftest:p.global.b x86_64 RACE SPLAT the table is full')
        self.on_base('ok')
        self.judge(0, '^2 passed, 0 failed')

    def test_race_or_fail(self):
        """On base the kernel complains in some runs, and in others the case fails, by one assertion and no other."""
        self.expect('selftest:p.global.b x86_64 RACE SPLAT the table is full OR FAIL guards lost')
        self.judge(0, '^2 passed, 0 failed')
        lost = '# p.c:4:b:Expected lost (5) == 0 (0)\n# p.c:5:b:guards lost\n'
        self.on_base('not ok', said=lost)
        self.judge(0, '^2 passed, 0 failed')
        self.on_base('not ok', said=lost.replace('guards', 'pages'))
        self.judge(1, 'not as wanted: selftest:p.global.b x86_64')

    def test_race_another(self):
        self.expect('selftest:p.global.b x86_64 RACE SPLAT the table is full')
        self.on_base('ok', WARNING.replace('full', 'empty'))
        self.judge(1, r'SPLAT \(another one\)')

    def test_race_won_and_panic(self):
        self.expect('selftest:p.global.b x86_64 RACE SPLAT the table is full')
        self.on_base('ok').append('console', PANIC)
        self.judge(1, 'x86_64-base-p.global.b: PANIC')

    def test_warning(self):
        self.expect('selftest:p.global.b x86_64 WARN the table is full')
        self.judge(0, '^2 passed, 0 failed')

    def test_warning_and_panic(self):
        self.expect('selftest:p.global.b x86_64 WARN the table is full')
        self.dead()
        self.splats.append('console', PANIC)
        self.judge(1, 'x86_64-base-p.global.b: PANIC')

    def test_of_flavour(self):
        self.expect('selftest:p.global.b x86_64 PASS', 'selftest:p.global.b x86_64@debug+kasan SPLAT the table is full')
        self.request['flavour'] = 'debug+kasan'
        self.judge(0, '^2 passed')

    def test_of_another_flavour(self):
        self.expect('selftest:p.global.b x86_64 PASS', 'selftest:p.global.b x86_64@debug+kasan SPLAT the table is full')
        self.planned = [line for line in self.planned if line[3] == '-']
        self.judge(0, '^2 passed')


class SharedWarnings(SelftestRun):
    """Two cases that the kernel warns of on base share a guest."""

    def test_both(self):
        write(self.topics / 't/tests', 'selftest:p.f.v.a x86_64 WARN the pool is empty\n'
              'selftest:p.global.b x86_64 WARN the table is full\n')
        for case in ('f.v.a', 'global.b'):
            guest = self.plan('x86_64', 'base', f'selftest:p.{case}', 'x86_64-base-warn')
        self.selftest(guest, 'ok', WARNING).edit('console', '[ 1.1] mm: end selftest:p.f.v.a',
                                                 WARNING.replace('table is full', 'pool is empty') + '[ 1.1] mm: end selftest:p.f.v.a')
        self.judge(0, '^2 passed, 0 failed')


class SkipOnSeries(SelftestRun):
    """topics/*/tests says that the series skips a case."""

    def setUp(self):
        super().setUp()
        self.expect('selftest:p.global.b x86_64 SKIP there is no moon')

    def test_not_skipped(self):
        self.judge(1, 'series: want SKIP, there is no moon')

    def test_skipped(self):
        self.series.edit('ktap', 'ok 1 global.b', 'ok 1 global.b # SKIP no')
        self.judge(0, '^1 passed, 0 failed, 1 skipped')


class Listed(SelftestRun):
    """The cases that the program lists, against topics/*/tests."""

    def test_unlisted(self):
        self.expect()
        self.judge(1, 'selftest:p.global.b is in the program and not in')

    def test_never(self):
        self.expect('never: selftest:p.global.* no guest has a moon')
        self.judge(0, '^1 passed, 0 failed')

    def test_never_and_listed(self):
        self.expect('never: selftest:p.f.* it is listed', 'selftest:p.global.b x86_64 PASS')
        self.judge(1, 'matches a case that is listed')

    def test_never_matches_nothing(self):
        self.expect('never: selftest:p.x.* no such case', 'selftest:p.global.b x86_64 PASS')
        self.judge(1, 'matches nothing')

    def test_listed_for_another_flavour_only(self):
        self.expect('selftest:p.global.b x86_64@debug+kasan PASS')
        self.judge(0, '^1 passed, 0 failed')

    def test_no_list(self):
        self.expect('selftest:p.global.b x86_64 PASS')
        self.selftest(self.series)
        self.judge(1, 'p: no guest has listed its cases')

    def test_list_failed(self):
        self.expect('selftest:p.global.b x86_64 PASS')
        self.series.edit('verdict', 'ran list:p 4', 'ran list:p 139')
        self.judge(1, 'list:p: ended with 139')

    def test_empty_list(self):
        self.expect('selftest:p.global.b x86_64 PASS')
        self.selftest(self.series)
        self.list_cases(rows=())
        self.judge(1, 'list:p printed no test')

    def test_list_garbled(self):
        self.expect('selftest:p.global.b x86_64 PASS')
        self.series.edit('ktap', '# FIXTURE', 'what -l says\n# FIXTURE')
        self.judge(1, 'not a row of')


class Assertions(SelftestRun):
    """The assertion by which a selftest fails on base."""
    LOST = '# p.c:3:b:9 rounds, 5 lost\n# p.c:4:b:Expected lost (5) == 0 (0)\n# p.c:5:b:guards lost\n'

    def setUp(self):
        super().setUp()
        self.expect('selftest:p.global.b x86_64 FAIL guards lost')

    def test_named(self):
        self.selftest(self.base, 'not ok', said=self.LOST)
        self.judge(0, '^2 passed')

    def test_another(self):
        self.selftest(self.base, 'not ok', said=self.LOST.replace(':guards', ':markers'))
        self.judge(1, 'failed differently')

    def test_timeout_of_another_case(self):
        self.selftest(self.base, 'not ok', said=self.LOST)
        self.series.edit('verdict', 'ran selftest:p.global.b', 'ran selftest:p.f.v 124\nran selftest:p.global.b')
        self.series.append('console', marks('selftest:p.f.v'))
        self.judge(0, r'p.f.v.a +x86_64 +PASS +PASS')


if __name__ == '__main__':
    main()
