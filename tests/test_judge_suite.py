#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""harness judge: the tree's own suite; guests that only boot."""

from judging import PANIC, JudgeTest, marks, section
from support import main

# The second program prints the same text as the first, and has a folder of mktemp's in its name.
OUTPUT = ('running ./p\nTAP version 13\n1..2\nok 1 one\nok 2 one\n[PASS]\n'
          'running ./q /tmp/d_Ab12Cd\nTAP version 13\n1..1\nok 1 one\n[PASS]\n')


class SuiteTest(JudgeTest):
    """A category with two programs."""
    verb = 'kselftest'

    def suite(self, variant='series', output=OUTPUT, status=0):
        return self.good(self.plan('x86_64', variant, 'c'), verdict=f'ran suite:c {status}\ncomplete\n',
                         console=marks('suite:c'), ktap=section('suite:c', output))


class OneVariant(SuiteTest):
    """Nothing to compare with: each failure counts."""

    def test_name_used_twice(self):
        self.suite()
        self.judge(0, '^5 passed, 0 failed, 0 skipped$')

    def test_second_of_a_name_fails(self):
        self.suite(output=OUTPUT.replace('ok 2 one', 'not ok 2 one'))
        self.judge(1, r'suite:c.p.one \(2\) FAIL')

    def test_case_of_second_program_fails(self):
        self.suite(output=OUTPUT.replace('1..1\nok 1', '1..1\nnot ok 1'))
        self.judge(1, 'suite:c.q /tmp/d_.one FAIL')

    def test_program_fails_without_case(self):
        self.suite(output=OUTPUT.replace('[PASS]', '[FAIL]'), status=1)
        self.judge(1, 'suite:c.q /tmp/d_ FAIL')

    def test_program_cut_off(self):
        self.suite(output=OUTPUT.replace('[PASS]\n', '', 1))
        self.judge(1, 'suite:c.p NO-RESULT cut off')

    def test_limit(self):
        self.suite(output=OUTPUT.replace('[PASS]\n', '', 1), status=124)
        self.judge(1, 'suite:c.p TIMEOUT cut off', 'TIMEOUT of suite:c in the guest')

    def test_plan_of_program_not_kept(self):
        self.suite(output=OUTPUT.replace('1..2', '1..3'))
        self.judge(1, 'suite:c.p.one NO-RESULT planned 3, saw 2')

    def test_splat(self):
        self.suite().write(console=marks('suite:c', '[ 1.05] BUG: x\n'))
        self.judge(1, 'suite:c.p.one SPLAT', 'SPLAT in suite:c')

    def test_no_program(self):
        self.suite(output='')
        self.judge(1, 'suite:c ran no program')

    def test_all_skipped(self):
        self.suite(output='', status=4)
        self.judge(1, '^0 passed, 0 failed, 0 skipped$')

    def test_failed_and_no_failed_program(self):
        self.suite(status=1)
        self.judge(1, 'ended with 1 and no failed program')

    def test_cut_off(self):
        self.suite().edit('ktap', '#### end suite:c\n', '')
        self.judge(1, 'suite:c was cut off')


class TwoVariants(SuiteTest):
    """Only what is new on the series counts."""

    def test_same(self):
        self.suite('base')
        self.suite('series')
        self.judge(0, '^5 passed, 0 failed, 0 skipped$')

    def test_fails_on_both(self):
        for variant in ('base', 'series'):
            self.suite(variant, OUTPUT.replace('ok 2 one', 'not ok 2 one'))
        self.judge(0, r'x86_64-series-c: suite:c.p.one \(2\) FAIL', '^4 passed, 0 failed')

    def test_fails_on_series(self):
        self.suite('base')
        self.suite('series', OUTPUT.replace('ok 2 one', 'not ok 2 one'))
        self.judge(1, '^New on the series:', r'x86_64-series-c +suite:c.p.one \(2\) +PASS +FAIL', '^4 passed, 1 failed')

    def test_skipped_on_series(self):
        self.suite('base')
        self.suite('series', OUTPUT.replace('ok 2 one', 'ok 2 one # SKIP no'))
        self.judge(1, r'suite:c.p.one \(2\) +PASS +SKIP')

    def test_absent_on_series(self):
        self.suite('base')
        self.suite('series', OUTPUT.partition('running ./q')[0])
        self.judge(1, r'suite:c.q /tmp/d_ +PASS +absent')

    def test_new_case_fails(self):
        self.suite('base', OUTPUT.partition('running ./q')[0])
        self.suite('series', OUTPUT.replace('1..1\nok 1', '1..1\nnot ok 1'))
        self.judge(1, r'suite:c.q /tmp/d_.one +absent +FAIL')

    def test_skipped_on_both(self):
        for variant in ('base', 'series'):
            self.suite(variant, OUTPUT.replace('ok 2 one', 'ok 2 two # SKIP no'))
        self.judge(0, '^4 passed, 0 failed, 1 skipped$')

    def test_stale(self):
        self.suite('base')
        self.suite('series')
        (self.results / 'stale').write_text('x86_64-base-c\tthe image has changed\n')
        self.judge(1, '^0 passed, 6 failed', '^stale: x86_64-base-c: the image has changed')


class Boots(JudgeTest):
    """Guests that only have to boot and end."""
    verb = 'boots'

    def setUp(self):
        super().setUp()
        self.guest = self.good(self.plan('x86_64', 'prefix', '1', 'x86_64-prefix-1'), verdict='cpus 2\ncomplete\n', smp='2\n')

    def test_good(self):
        self.judge(0, r'x86_64-prefix-1 +PASS', '^1 passed, 0 failed, 0 skipped$')

    def test_panic(self):
        self.guest.append('console', PANIC)
        self.judge(1, r'x86_64-prefix-1 +PANIC', '^0 passed, 1 failed, 0 skipped$')

    def test_splat(self):
        self.guest.append('console', '[ 1.0] BUG: x\n')
        self.judge(1, r'x86_64-prefix-1 +SPLAT', 'SPLAT in boot: BUG: x')

    def test_cpu_missing(self):
        self.guest.edit('verdict', 'cpus 2', 'cpus 1')
        self.judge(1, r'x86_64-prefix-1 +NO-RESULT', '1 CPUs and not 2')

    def test_hang(self):
        self.guest.write(ended='timeout\n', verdict='')
        self.judge(1, r'x86_64-prefix-1 +TIMEOUT')

    def test_stale(self):
        (self.results / 'stale').write_text('x86_64-prefix-1\tthe job has changed\n')
        self.judge(1, r'x86_64-prefix-1 +PASS +STALE', '^0 passed, 2 failed')


if __name__ == '__main__':
    main()
